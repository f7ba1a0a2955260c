//! Bytes as they come: `tcp`.
//!
//! A message is what one read brings, so its borders mean nothing: the application finds its own.

use bytes::Bytes;
use wire::Payload;

use super::{Broken, Codec, Decoder, Received};

/// A message is some bytes.
pub(crate) struct Tcp;

impl Codec for Tcp {
    fn decoder(&self, max_message: usize) -> Box<dyn Decoder> {
        Box::new(Chunks { max_message })
    }

    fn message(&self, payload: &Payload) -> Bytes {
        match payload {
            Payload::Text(text) => text.as_bytes().clone(),
            Payload::Binary(bytes) => bytes.clone(),
        }
    }
}

struct Chunks {
    max_message: usize,
}

impl Decoder for Chunks {
    fn decode(&mut self, bytes: &mut &[u8]) -> Result<Option<Received>, Broken> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let (chunk, rest) = bytes.split_at(bytes.len().min(self.max_message));
        *bytes = rest;
        Ok(Some(Received::binary(Bytes::copy_from_slice(chunk))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::{binaries, decoded};

    #[test]
    fn each_read_is_a_message_and_a_large_one_is_several() {
        assert_eq!(
            decoded(&Tcp, 4, &[b"abc", b"", b"123456789"]),
            Ok(binaries(&[b"abc", b"1234", b"5678", b"9"]))
        );
    }

    #[test]
    fn what_goes_out_is_as_it_is() {
        assert_eq!(Tcp.message(&Payload::Text("abc".into())), "abc");
        let bytes = Payload::Binary(Bytes::from_static(b"\0\xff"));
        assert_eq!(Tcp.message(&bytes), b"\0\xff".as_slice());
    }
}

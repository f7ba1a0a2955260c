//! Binary messages with their length before them: `frame`.
//!
//! The length has 4 bytes, the highest first, and counts itself.

use bytes::{BufMut, Bytes, BytesMut};
use wire::Payload;

use super::{Broken, Codec, Decoder, Received};

/// What the length takes.
const HEAD: usize = 4;

/// A message is its length and its bytes.
pub(crate) struct Frame;

impl Codec for Frame {
    fn decoder(&self, max_message: usize) -> Box<dyn Decoder> {
        Box::new(Frames { max_message })
    }

    fn message(&self, payload: &Payload) -> Bytes {
        let bytes = payload.as_bytes();
        let length = u32::try_from(HEAD + bytes.len()).expect("a message is far below 4 GiB");
        let mut frame = BytesMut::with_capacity(HEAD + bytes.len());
        frame.put_u32(length);
        frame.put_slice(bytes);
        frame.freeze()
    }
}

struct Frames {
    max_message: usize,
}

impl Decoder for Frames {
    fn decode(&mut self, bytes: &mut &[u8]) -> Result<Option<Received>, Broken> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*head)).map_err(|_| Broken::TooBig)?;
        let length = length.checked_sub(HEAD).ok_or(Broken::Protocol)?;
        if length > self.max_message {
            return Err(Broken::TooBig);
        }
        let Some((message, rest)) = rest.split_at_checked(length) else {
            return Ok(None);
        };
        *bytes = rest;
        Ok(Some(Received::binary(Bytes::copy_from_slice(message))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::{binaries, decoded};

    #[test]
    fn a_length_counts_itself() {
        let frames = b"\0\0\0\x07abc\0\0\0\x04\0\0\0\x05d\0\0\0\x06e";
        assert_eq!(
            decoded(&Frame, 100, &[frames]),
            Ok(binaries(&[b"abc", b"", b"d"]))
        );
        let payload = Payload::Text("abc".into());
        assert_eq!(Frame.message(&payload), b"\0\0\0\x07abc".as_slice());
    }

    #[test]
    fn a_length_below_its_own_breaks_the_protocol() {
        for head in [b"\0\0\0\0", b"\0\0\0\x03"] {
            assert_eq!(decoded(&Frame, 100, &[head]), Err(Broken::Protocol));
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_its_head() {
        assert_eq!(decoded(&Frame, 8, &[b"\0\0\0\x0c"]), Ok(vec![]));
        assert_eq!(decoded(&Frame, 8, &[b"\0\0\0\x0d"]), Err(Broken::TooBig));
        assert_eq!(
            decoded(&Frame, 8, &[b"\xff\xff\xff\xff"]),
            Err(Broken::TooBig)
        );
        assert_eq!(
            decoded(&Frame, 8, &[b"\0\0\0\x0c12345678"]),
            Ok(binaries(&[b"12345678"]))
        );
    }
}

//! A gateway that speaks one protocol more: netstrings, `5:hello,`.
//!
//! `cargo run -p gatebus-codec -- --listen 'netstring://127.0.0.1:7275?service=chat'`

use std::process::ExitCode;

use bytes::Bytes;
use gateway_svc::{
    Protocols,
    codec::{Broken, Codec, Decoder, Payload, Received},
    program,
};

/// A message is its length in digits, a colon, its bytes, and a comma.
struct Netstring;

impl Codec for Netstring {
    fn decoder(&self, max_message: usize) -> Box<dyn Decoder> {
        Box::new(Reader { max_message })
    }

    fn message(&self, payload: &Payload) -> Bytes {
        let (length, bytes) = (payload.len().to_string(), payload.as_bytes());
        [length.as_bytes(), b":", bytes, b","].concat().into()
    }
}

struct Reader {
    max_message: usize,
}

impl Decoder for Reader {
    fn decode(&mut self, bytes: &mut &[u8]) -> Result<Option<Received>, Broken> {
        let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
        let Some(colon) = bytes.get(digits).filter(|_| digits < 10) else {
            return if digits < 10 {
                Ok(None)
            } else {
                Err(Broken::TooBig)
            };
        };
        let length = str::from_utf8(&bytes[..digits])
            .ok()
            .and_then(|d| d.parse().ok());
        let length: usize = length.filter(|_| *colon == b':').ok_or(Broken::Protocol)?;
        if length > self.max_message {
            return Err(Broken::TooBig);
        }
        let Some((message, [comma, rest @ ..])) = bytes[digits + 1..].split_at_checked(length)
        else {
            return Ok(None);
        };
        *bytes = rest;
        match comma {
            b',' => Received::text(Bytes::copy_from_slice(message)).map(Some),
            _ => Err(Broken::Protocol),
        }
    }
}

fn main() -> ExitCode {
    program::run(Protocols::default().with("netstring", Netstring))
}

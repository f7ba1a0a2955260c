//! Lines of text: `text`.
//!
//! A message is a line of UTF-8; its end, `\n` or `\r\n`, is no part of it, so that a client may be
//! `telnet`. What goes out ends with `\n`, and is otherwise as it is: a message with a line's end in
//! it reaches the client as two.

use bytes::{BufMut, Bytes, BytesMut};
use wire::Payload;

use super::{Broken, Codec, Decoder, Received};

/// A message is a line.
pub(crate) struct Text;

impl Codec for Text {
    fn decoder(&self, max_message: usize) -> Box<dyn Decoder> {
        Box::new(Lines {
            max_message,
            searched: 0,
        })
    }

    fn message(&self, payload: &Payload) -> Bytes {
        let bytes = payload.as_bytes();
        let mut line = BytesMut::with_capacity(bytes.len() + 1);
        line.put_slice(bytes);
        line.put_u8(b'\n');
        line.freeze()
    }
}

struct Lines {
    max_message: usize,
    /// How far the line that is not complete has no end, so that nothing is searched twice.
    searched: usize,
}

impl Decoder for Lines {
    fn decode(&mut self, bytes: &mut &[u8]) -> Result<Option<Received>, Broken> {
        let end = bytes[self.searched..].iter().position(|b| *b == b'\n');
        let Some(end) = end.map(|at| self.searched + at) else {
            self.searched = bytes.len();
            let line = bytes.strip_suffix(b"\r").unwrap_or(bytes);
            return if line.len() > self.max_message {
                Err(Broken::TooBig)
            } else {
                Ok(None)
            };
        };
        self.searched = 0;
        let line = &bytes[..end];
        *bytes = &bytes[end + 1..];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.max_message {
            return Err(Broken::TooBig);
        }
        Received::text(Bytes::copy_from_slice(line)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::{decoded, texts};

    #[test]
    fn a_line_ends_with_a_newline_before_which_one_return_may_stand() {
        let lines = decoded(&Text, 100, &[b"one\ntwo\r\n\n\r\nth\rree\r\r\nrest"]);
        assert_eq!(lines, Ok(texts(&["one", "two", "", "", "th\rree\r"])));
    }

    #[test]
    fn a_line_of_the_limit_passes_and_a_longer_one_does_not_wait_for_its_end() {
        for end in ["\n", "\r\n"] {
            let line = format!("12345678{end}");
            assert_eq!(
                decoded(&Text, 8, &[line.as_bytes()]),
                Ok(texts(&["12345678"]))
            );
            let over = format!("123456789{end}");
            assert_eq!(decoded(&Text, 8, &[over.as_bytes()]), Err(Broken::TooBig));
        }
        assert_eq!(decoded(&Text, 8, &[b"12345678\r"]), Ok(vec![]));
        assert_eq!(decoded(&Text, 8, &[b"12345678", b"9"]), Err(Broken::TooBig));
    }

    #[test]
    fn a_line_that_is_not_utf8_breaks_the_rules() {
        assert_eq!(
            decoded(&Text, 8, &[b"caf\xc3", b"(\n"]),
            Err(Broken::InvalidText)
        );
        assert_eq!(
            decoded(&Text, 8, &["caf\u{e9}\n".as_bytes()]),
            Ok(texts(&["café"]))
        );
    }

    #[test]
    fn what_goes_out_is_a_line_of_the_same_bytes() {
        assert_eq!(Text.message(&Payload::Text("a\r".into())), "a\r\n");
        let bytes = Payload::Binary(Bytes::from_static(b"\xff"));
        assert_eq!(Text.message(&bytes), b"\xff\n".as_slice());
        assert!(Text.ping().is_none() && Text.close(1000, "").is_none());
    }
}

//! Messages: what clients say and hear.

use std::fmt;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use wire::Payload;

use crate::{Error, ErrorKind};

/// One message of or for a client: a text frame or a binary frame.
///
/// Text stays text and bytes stay bytes, in both directions. Cloning is cheap, and sending a message
/// on, as an echo does, copies nothing. `Debug` shows type and length only, so that no message ends
/// up in a log by accident.
///
/// ```
/// use worker_sdk::Message;
/// assert!(Message::from("hello").is_text());
/// assert_eq!(Message::from("hello"), "hello");
/// assert_eq!(Message::from(vec![1, 2, 3]).as_bytes(), [1, 2, 3]);
/// assert_eq!(Message::from(vec![1, 2, 3]).as_text(), None);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Message(pub(crate) Payload);

impl Message {
    /// Whether it is a text frame.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        matches!(self.0, Payload::Text(_))
    }

    /// The text of a text frame; `None` for a binary frame, whatever its bytes are.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.0 {
            Payload::Text(text) => Some(text),
            Payload::Binary(_) => None,
        }
    }

    /// The bytes, of text too.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is not one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads it as JSON; [`ErrorKind::Json`] if it is not.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(self.as_bytes()).map_err(|e| {
            // Without its source's text: serde quotes what it found, and that is message content.
            let at = format!("line {} column {}", e.line(), e.column());
            Error::new(
                ErrorKind::Json,
                format!(
                    "the message is not the expected JSON ({:?} at {at})",
                    e.classify()
                ),
            )
        })
    }

    /// A text message that holds `value` as JSON.
    pub fn json_of<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        serde_json::to_string(value)
            .map(Self::from)
            .map_err(|e| Error::new(ErrorKind::Json, "the value has no JSON form").with(e))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self(Payload::Text(text.into()))
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self(Payload::Text(text.into()))
    }
}

impl From<&String> for Message {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self(Payload::Binary(Bytes::copy_from_slice(bytes)))
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Payload::Binary(bytes.into()))
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self(Payload::Binary(bytes))
    }
}

impl From<&Self> for Message {
    fn from(message: &Self) -> Self {
        message.clone()
    }
}

impl PartialEq<str> for Message {
    fn eq(&self, text: &str) -> bool {
        self.as_text() == Some(text)
    }
}

impl PartialEq<&str> for Message {
    fn eq(&self, text: &&str) -> bool {
        self.as_text() == Some(text)
    }
}

impl PartialEq<String> for Message {
    fn eq(&self, text: &String) -> bool {
        self.as_text() == Some(text)
    }
}

impl PartialEq<&[u8]> for Message {
    fn eq(&self, bytes: &&[u8]) -> bool {
        !self.is_text() && self.as_bytes() == *bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sending_a_message_on_copies_nothing() {
        let message = Message::from(String::from("a text that lives on the heap"));
        let at = message.as_bytes().as_ptr();
        let onward = Message::from(&message);
        assert_eq!(onward.as_bytes().as_ptr(), at);
    }

    #[test]
    fn a_json_error_does_not_quote_the_message() {
        let error = Message::from("\"secret\"").json::<u32>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Json);
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn text_and_bytes_are_never_equal() {
        assert_ne!(Message::from("a"), Message::from(b"a".as_slice()));
        assert_ne!(Message::from(b"a".as_slice()), "a");
    }
}

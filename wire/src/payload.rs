//! What travels between a client and the application.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One message of or for a client. Its CBOR type is its frame type, in both directions:
/// a text string is a text frame, a byte string a binary frame.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// A text frame.
    Text(ByteString),
    /// A binary frame.
    Binary(Bytes),
}

impl Payload {
    /// The bytes, whatever their type.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether there is not one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }
}

/// Says type and length only: message content is never logged.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => to.serialize_str(text),
            Self::Binary(bytes) => to.serialize_bytes(bytes),
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = Payload;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text string or a byte string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Payload, E> {
                Ok(Payload::Text(text.into()))
            }
            fn visit_string<E: de::Error>(self, text: String) -> Result<Payload, E> {
                Ok(Payload::Text(text.into()))
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Payload, E> {
                Ok(Payload::Binary(Bytes::copy_from_slice(bytes)))
            }
            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Payload, E> {
                Ok(Payload::Binary(bytes.into()))
            }
            /// Passes over a tag.
            fn visit_enum<A: de::EnumAccess<'de>>(self, data: A) -> Result<Payload, A::Error> {
                use de::VariantAccess as _;
                data.variant::<de::IgnoredAny>()?.1.newtype_variant()
            }
        }
        from.deserialize_any(Either)
    }
}

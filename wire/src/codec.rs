//! CBOR, with limits. Whatever the bytes are, decoding ends with a value or an error.

use serde::{Serialize, de::DeserializeOwned};

use crate::reader::Reader;

/// Largest envelope that is decoded, in bytes. NATS's own default limit is 1 MiB.
pub const MAX_ENVELOPE: usize = 8 * 1024 * 1024;
/// Deepest nesting that is decoded, unknown fields included.
pub const MAX_DEPTH: usize = 32;
/// Most items in any one list of an envelope.
pub const MAX_ITEMS: usize = 65_536;

/// Why bytes are not the message they should be.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Over [`MAX_ENVELOPE`].
    #[error("{0} bytes are more than the {MAX_ENVELOPE} that an envelope may have")]
    TooLong(usize),
    /// Not CBOR, nested too deep, or not the message's shape. The text is short, and may repeat a
    /// few words of the message.
    #[error("not the expected CBOR: {0}")]
    Malformed(String),
    /// Bytes after the end of the message.
    #[error("{0} bytes stand after the end of the message")]
    Trailing(usize),
}

/// The CBOR bytes of a message.
///
/// # Panics
/// Never for the types of this crate; a foreign `Serialize` that fails would be a bug.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    encode_into(value, &mut out);
    out
}

/// Writes a message behind what is there.
pub fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    ciborium::into_writer(value, out).expect("writing to memory does not fail");
}

/// Reads a message; takes any bytes at all.
///
/// Whatever another encoder may write is understood: unknown fields, lengths of any width or none,
/// strings in pieces, tags. An announced length costs no memory until its bytes are there; what is
/// decoded takes at most some ten times the memory of the message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode_nested(bytes, MAX_DEPTH)
}

/// The same with another limit than [`MAX_DEPTH`].
pub(crate) fn decode_nested<T: DeserializeOwned>(
    bytes: &[u8],
    depth: usize,
) -> Result<T, DecodeError> {
    if bytes.len() > MAX_ENVELOPE {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    let mut reader = Reader::new(bytes, depth);
    let value = T::deserialize(&mut reader).map_err(|e| DecodeError::Malformed(e.to_string()))?;
    match reader.left() {
        0 => Ok(value),
        left => Err(DecodeError::Trailing(left)),
    }
}

/// The same, read by a seed.
pub(crate) fn decode_seed<'de, S: serde::de::DeserializeSeed<'de>>(
    seed: S,
    bytes: &'de [u8],
    depth: usize,
) -> Result<S::Value, DecodeError> {
    let mut reader = Reader::new(bytes, depth);
    seed.deserialize(&mut reader)
        .map_err(|e| DecodeError::Malformed(e.to_string()))
}

/// A list of at most [`MAX_ITEMS`]; one more is an error, not memory.
pub(crate) fn bounded<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    struct Items<T>(std::marker::PhantomData<T>);
    impl<'de, T: serde::Deserialize<'de>> serde::de::Visitor<'de> for Items<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a list of at most {MAX_ITEMS} items")
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(256));
            while let Some(item) = seq.next_element()? {
                if items.len() == MAX_ITEMS {
                    return Err(serde::de::Error::custom(format_args!(
                        "more than {MAX_ITEMS} items"
                    )));
                }
                items.push(item);
            }
            Ok(items)
        }
    }
    from.deserialize_seq(Items(std::marker::PhantomData))
}

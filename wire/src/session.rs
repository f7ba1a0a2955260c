//! Sessions: the small map that a gateway keeps for a client.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    fmt,
};

use bytes::Bytes;
use ciborium::Value;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeSeed},
};

use crate::{
    codec::{self, DecodeError},
    filter::Wanted,
};

/// Largest session, in encoded bytes.
pub const MAX_SESSION: usize = 64 * 1024;
/// Deepest nesting in a session.
pub const MAX_SESSION_DEPTH: usize = 16;

/// The keys and values of a session, decoded.
pub type SessionMap = BTreeMap<String, Value>;

/// Why something cannot be a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Over [`MAX_SESSION`].
    #[error("a session has at most {MAX_SESSION} bytes, this one has {0}")]
    TooLarge(usize),
    /// Not a map with text keys, or one from the bus that nests deeper than [`MAX_SESSION_DEPTH`].
    #[error("a session is a map with text keys: {0}")]
    NotAMap(DecodeError),
    /// Nested deeper than [`MAX_SESSION_DEPTH`].
    #[error("a session nests at most {MAX_SESSION_DEPTH} deep")]
    TooDeep,
}

/// A session as it travels: a byte string that holds an encoded CBOR map with text keys.
///
/// Gateways carry it as bytes with every event, and workers decode it only if they want it.
/// The empty session has no bytes; an empty map that comes from elsewhere is read as it.
/// Otherwise bytes from the bus are taken as they are, within the size: [`Session::checked`],
/// [`Session::merged`] and [`Session::changed`] find out whether they are a session.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Session(Bytes);

impl Session {
    /// Encodes a map, within the limits.
    pub fn from_map(map: &SessionMap) -> Result<Self, SessionError> {
        if map.is_empty() {
            return Ok(Self::default());
        }
        if map.values().any(|v| depth(v) >= MAX_SESSION_DEPTH) {
            return Err(SessionError::TooDeep);
        }
        let bytes = codec::encode(map);
        match bytes.len() {
            0..=MAX_SESSION => Ok(Self(bytes.into())),
            n => Err(SessionError::TooLarge(n)),
        }
    }

    /// Decodes the map. Only here it shows whether bytes that came from the bus are a session.
    pub fn to_map(&self) -> Result<SessionMap, SessionError> {
        if self.0.is_empty() {
            return Ok(SessionMap::new());
        }
        codec::decode_nested(&self.0, MAX_SESSION_DEPTH).map_err(SessionError::NotAMap)
    }

    /// The same session in our own encoding, or what is wrong with it: for bytes that came from the
    /// bus and are to be kept. Keys are in order, so that equal sessions have equal bytes.
    pub fn checked(&self) -> Result<Self, SessionError> {
        Self::from_map(&self.to_map()?)
    }

    /// Whether it has all these keys with these values. It looks through the bytes and keeps nothing
    /// of them; what is no session has nothing.
    #[must_use]
    pub fn has(&self, wanted: &Wanted) -> bool {
        if wanted.is_empty() {
            return true;
        }
        if self.0.is_empty() {
            return false;
        }
        codec::decode_seed(Compare(wanted), &self.0, MAX_SESSION_DEPTH).unwrap_or(false)
    }

    /// Whether it has no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The encoded map; nothing where it is empty.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// This session with some keys taken out and others set to new values, whole ones; a key that
    /// is in both is set.
    pub fn changed(&self, set: &Self, removed: &[String]) -> Result<Self, SessionError> {
        let mut map = self.to_map()?;
        for key in removed {
            map.remove(key);
        }
        map.extend(set.to_map()?);
        Self::from_map(&map)
    }

    /// This session with another merged into it, map by map (PHP's `array_replace_recursive`):
    /// where both hold a map the maps are merged, else the other's value stands. A list is a value:
    /// it is replaced, not merged by position.
    pub fn merged(&self, other: &Self) -> Result<Self, SessionError> {
        let mut map = self.to_map()?;
        for (key, new) in other.to_map()? {
            match map.get_mut(&key) {
                Some(old) => merge(old, new),
                None => {
                    map.insert(key, new);
                }
            }
        }
        Self::from_map(&map)
    }
}

/// Compares a session, while it is read, with what it must have.
struct Compare<'a>(&'a Wanted);

impl<'de> DeserializeSeed<'de> for Compare<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> de::Visitor<'de> for Compare<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map with text keys")
    }
    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = 0;
        while let Some(wanted) = map.next_key_seed(Place(self.0))? {
            match wanted {
                None => drop(map.next_value::<de::IgnoredAny>()?),
                Some(wanted) => found += usize::from(map.next_value::<Value>()? == *wanted),
            }
        }
        Ok(found == self.0.0.len())
    }
}

/// Finds the value that is wanted for a key.
struct Place<'a>(&'a Wanted);

impl<'de, 'a> DeserializeSeed<'de> for Place<'a> {
    type Value = Option<&'a Value>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'a> de::Visitor<'_> for Place<'a> {
    type Value = Option<&'a Value>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text key")
    }
    fn visit_str<E: de::Error>(self, key: &str) -> Result<Self::Value, E> {
        let wanted = self.0.0.iter().find(|(name, _)| name == key);
        Ok(wanted.map(|(_, value)| value))
    }
}

fn merge(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Map(old), Value::Map(new)) => {
            // Looked up, not searched: two large maps must not take the product of their sizes.
            let name = |key: &Value| codec::encode(key);
            let mut places: HashMap<_, _> = old
                .iter()
                .enumerate()
                .map(|(at, (key, _))| (name(key), at))
                .collect();
            for (key, value) in new {
                match places.entry(name(&key)) {
                    Entry::Occupied(at) => merge(&mut old[*at.get()].1, value),
                    Entry::Vacant(place) => {
                        place.insert(old.len());
                        old.push((key, value));
                    }
                }
            }
        }
        (old, new) => *old = new,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(items) => {
            1 + items
                .iter()
                .map(|(k, v)| depth(k).max(depth(v)))
                .max()
                .unwrap_or(0)
        }
        Value::Tag(_, value) => 1 + depth(value),
        _ => 0,
    }
}

/// Says the length only: a session may hold secrets.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} bytes)", self.0.len())
    }
}

impl Serialize for Session {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Session {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Encoded;
        impl de::Visitor<'_> for Encoded {
            type Value = Session;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a byte string of at most {MAX_SESSION} bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Session, E> {
                match bytes {
                    b"" | b"\xa0" | b"\xbf\xff" => Ok(Session::default()),
                    _ if bytes.len() > MAX_SESSION => {
                        Err(E::custom(SessionError::TooLarge(bytes.len())))
                    }
                    _ => Ok(Session(Bytes::copy_from_slice(bytes))),
                }
            }
        }
        from.deserialize_byte_buf(Encoded)
    }
}

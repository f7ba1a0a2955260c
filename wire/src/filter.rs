//! Filters: which clients of a target a query is about.

use ciborium::Value;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{Group, Session, SessionError, Uid, codec};

/// Most items in each list of a filter, and most names that a query asks for one by one: a gateway
/// looks each of them up for every page.
pub const MAX_WHERE: usize = 1024;
/// Most session keys that a filter compares.
pub const MAX_WHERE_KEYS: usize = 16;

/// Which clients of the target are meant: those for whom everything holds that stands here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// The client's uid is one of these. An empty list lets nobody through.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_of_few"
    )]
    pub uids: Option<Vec<Uid>>,
    /// The client is in at least one of these groups. An empty list lets nobody through.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_of_few"
    )]
    pub groups: Option<Vec<Group>>,
    /// The client has a uid (`true`), or has none (`false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<bool>,
    /// The client's session has these keys, with these values: scalars, equal in kind and value.
    #[serde(
        skip_serializing_if = "Session::is_empty",
        deserialize_with = "scalars"
    )]
    pub session: Session,
}

impl Filter {
    /// Whether it lets everybody through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The keys and values that a session must have.
    pub fn wanted(&self) -> Result<Wanted, FilterError> {
        Wanted::new(&self.session)
    }
}

/// Why something cannot stand in a filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// Not a session at all.
    #[error("what a session is compared with is none")]
    Session(#[from] SessionError),
    /// Over [`MAX_WHERE_KEYS`].
    #[error("a filter compares at most {MAX_WHERE_KEYS} session keys, not {0}")]
    TooMany(usize),
    /// A list or a map.
    #[error("a filter compares texts, numbers, bytes, booleans and null; `{0}` is a list or a map")]
    NotAScalar(String),
}

/// Keys and values that a session must have, ready to be compared.
#[derive(Debug, Clone, Default)]
pub struct Wanted(pub(crate) Vec<(String, Value)>);

impl Wanted {
    fn new(session: &Session) -> Result<Self, FilterError> {
        let map = session.to_map()?;
        if map.len() > MAX_WHERE_KEYS {
            return Err(FilterError::TooMany(map.len()));
        }
        let scalar = |value: &Value| !matches!(value, Value::Array(_) | Value::Map(_));
        match map.iter().find(|(_, value)| !scalar(value)) {
            Some((key, _)) => Err(FilterError::NotAScalar(key.clone())),
            None => Ok(Self(map.into_iter().collect())),
        }
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn scalars<'de, D: Deserializer<'de>>(from: D) -> Result<Session, D::Error> {
    let session = Session::deserialize(from)?;
    match Wanted::new(&session) {
        Ok(_) => Ok(session),
        Err(error) => Err(D::Error::custom(error)),
    }
}

fn some_of_few<'de, T, D>(from: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    few(from).map(Some)
}

/// A list of at most [`MAX_WHERE`].
pub(crate) fn few<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let items: Vec<T> = codec::bounded(from)?;
    match items.len() {
        0..=MAX_WHERE => Ok(items),
        n => Err(D::Error::custom(format_args!(
            "at most {MAX_WHERE} items may stand here, not {n}"
        ))),
    }
}

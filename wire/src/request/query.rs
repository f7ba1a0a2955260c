//! Queries: what can be asked about the clients of a target.

use serde::{Deserialize, Serialize};

use crate::{ConnId, Filter};

/// How many clients or names a page has if nobody says.
pub const DEFAULT_LIMIT: u32 = 1000;

/// What can be asked about the clients of a target.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// How many there are.
    Count,
    /// Who they are, in pages, ordered by connection id.
    List {
        /// What is wanted of each.
        fields: Fields,
        /// Which of them.
        filter: Filter,
        /// Only those after this one: the `next` of the page before.
        after: Option<ConnId>,
        /// At most so many in the page; the gateway may give fewer.
        limit: u32,
    },
    /// The distinct uids that they have, with the number of clients of each, in pages, ordered by
    /// name.
    Uids(Names),
    /// The distinct groups that they are in, likewise.
    Groups(Names),
}

/// Which names a query is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Only these, at most [`MAX_WHERE`](crate::filter::MAX_WHERE); all, if it is empty.
    pub names: Vec<String>,
    /// Only those after this one, byte by byte: the `next_name` of the page before.
    pub after: Option<String>,
    /// `after` itself is not done: first it, with its clients after this one, the `next_within` of
    /// the page before.
    pub within: Option<ConnId>,
    /// At most so many in the page; the gateway may give fewer.
    pub limit: u32,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            after: None,
            within: None,
            limit: DEFAULT_LIMIT,
        }
    }
}

/// What a list is to say of each client, beside its id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fields {
    /// Its uid.
    #[serde(skip_serializing_if = "is_false")]
    pub uid: bool,
    /// Its session.
    #[serde(skip_serializing_if = "is_false")]
    pub session: bool,
    /// Its groups.
    #[serde(skip_serializing_if = "is_false")]
    pub groups: bool,
    /// Its address.
    #[serde(skip_serializing_if = "is_false")]
    pub remote: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(b: &bool) -> bool {
    !*b
}

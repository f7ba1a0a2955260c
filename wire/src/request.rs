//! Requests: commands and queries, sent to a target's subject.
//!
//! The subject names whom, so every command and every query works on every target: one client,
//! all clients of a uid, all members of a group, everybody. With a NATS reply subject each gateway
//! that is addressed answers with an [`Answer`](crate::Answer); without one it says nothing.

mod command;
mod query;
mod raw;

use serde::{Deserialize, Serialize};

use self::raw::Raw;
pub use self::{
    command::{Command, MAX_REASON},
    query::{DEFAULT_LIMIT, Fields, Names, Query},
};
use crate::{ClientId, ConnId};

/// What is sent to a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Request {
    /// The real name of the uid or group that the subject's token stands for; the gateway compares
    /// it. Required there, absent for a client and for all. For a query that goes to a gateway's
    /// own subject it names whose clients are meant, together with `target`.
    pub to: Option<String>,
    /// On `all` and on a gateway's own subject: whose clients are meant.
    pub target: Option<TargetKind>,
    /// On a gateway's own subject, with `target` client: which of its clients are meant.
    pub conns: Vec<ConnId>,
    /// Clients that are left out.
    pub except: Vec<ClientId>,
    /// Of a command: clients whose session has another version are left out. Where that leaves
    /// nobody, the answer is `conflict`.
    pub version: Option<u64>,
    /// What to do or to answer.
    pub kind: RequestKind,
}

/// A command or a query.
#[derive(Debug, Clone, PartialEq)]
pub enum RequestKind {
    /// Does something to each client of the target.
    Command(Command),
    /// Asks something about the clients of the target.
    Query(Query),
}

/// The four kinds of target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// One client.
    Client,
    /// All clients of a uid.
    Uid,
    /// All members of a group.
    Group,
    /// Everybody.
    All,
}

impl Request {
    /// A command for a client or for all.
    #[must_use]
    pub fn command(command: Command) -> Self {
        Self {
            to: None,
            target: None,
            conns: Vec::new(),
            except: Vec::new(),
            version: None,
            kind: RequestKind::Command(command),
        }
    }

    /// A query about a client, or about all.
    #[must_use]
    pub fn query(query: Query) -> Self {
        Self {
            to: None,
            target: None,
            conns: Vec::new(),
            except: Vec::new(),
            version: None,
            kind: RequestKind::Query(query),
        }
    }

    /// The same for the uid or group of this name.
    #[must_use]
    pub fn to(mut self, name: impl Into<String>) -> Self {
        self.to = Some(name.into());
        self
    }

    /// The same, leaving these clients out.
    #[must_use]
    pub fn except(mut self, clients: Vec<ClientId>) -> Self {
        self.except = clients;
        self
    }

    /// The same for these clients of the gateway on whose own subject it is published.
    #[must_use]
    pub fn conns(mut self, conns: Vec<ConnId>) -> Self {
        self.target = Some(TargetKind::Client);
        self.conns = conns;
        self
    }

    /// The same, leaving out clients whose session has another version.
    #[must_use]
    pub const fn version(mut self, version: Option<u64>) -> Self {
        self.version = version;
        self
    }
}

/// Why a request makes no sense although it is well-formed CBOR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Neither `do` nor `ask`, or both.
    #[error("a request has either `do` or `ask`")]
    NeitherOrBoth,
    /// A field that the command needs is absent.
    #[error("`{0}` needs the field `{1}`")]
    Missing(&'static str, &'static str),
    /// A code that an application may not close with.
    #[error("an application closes with code 1000 or 3000 to 4999, not {0}")]
    Code(u16),
    /// A reason that does not fit a close frame.
    #[error("a close reason has at most {MAX_REASON} bytes, this one has {0}")]
    Reason(usize),
}

//! Requests: commands and queries, sent to a target's subject.
//!
//! The subject names whom, so every command and every query works on every target: one client,
//! all clients of a uid, all members of a group, everybody. With a NATS reply subject each gateway
//! that is addressed answers with an [`Answer`](crate::Answer); without one it says nothing.

use serde::{Deserialize, Serialize};

use crate::{
    ClientId, CloseCode, ConnId, Filter, Group, Payload, Policy, Rank, Session, Uid, codec,
    filter::few,
};

/// Longest close reason, in bytes (RFC 6455, section 5.5).
pub const MAX_REASON: usize = 123;

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

/// What can be done to a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub enum Command {
    /// Puts a message into its mailbox.
    Send(Payload),
    /// Sends what is pending, then the last message if there is one, then closes.
    Close {
        /// 1000, or 3000 to 4999.
        code: u16,
        /// At most 123 bytes.
        reason: String,
        /// The last message.
        message: Option<Payload>,
    },
    /// Drops the connection at once, with what is pending.
    Destroy,
    /// Makes it a client of this uid, and of no other.
    BindUid(Uid),
    /// Makes it a client of no uid.
    UnbindUid,
    /// Puts it into the group.
    Join(Group),
    /// Takes it out of the group.
    Leave(Group),
    /// Puts this session in the place of its own.
    SetSession(Session),
    /// Merges this session into its own, map by map.
    UpdateSession(Session),
    /// Claims a uid for it alone; see [`claim`](crate::claim).
    Claim {
        /// What it is to have.
        uid: Uid,
        /// By which policy.
        policy: Policy,
        /// One more than the highest that was there when the bind began.
        ticket: u64,
    },
    /// Holds a claim against those who have the uid or claim it; without one only looks.
    Contest {
        /// What is contested.
        uid: Uid,
        /// The claim.
        by: Option<Rank>,
    },
    /// Makes it the client of the uid that it claimed, if the claim stands.
    Settle {
        /// What it claimed.
        uid: Uid,
        /// The claim's.
        ticket: u64,
    },
    /// Takes a claim back, settled or not.
    Withdraw {
        /// What it claimed.
        uid: Uid,
        /// The claim's.
        ticket: u64,
    },
}

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
    /// At most so many in the page; the gateway may give fewer.
    pub limit: u32,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            after: None,
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

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Do {
    Send,
    Close,
    Destroy,
    BindUid,
    UnbindUid,
    Join,
    Leave,
    SetSession,
    UpdateSession,
    Claim,
    Contest,
    Settle,
    Withdraw,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    Count,
    List,
    Uids,
    Groups,
}

/// The flat map that requests and commands are on the wire.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Raw {
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    verb: Option<Do>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ask: Option<Ask>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<TargetKind>,
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "codec::bounded"
    )]
    except: Vec<ClientId>,
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "codec::bounded"
    )]
    conns: Vec<ConnId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<Uid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<Group>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Session>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Policy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<Rank>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Fields>,
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    filter: Option<Filter>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "few")]
    names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<ConnId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
}

impl From<Command> for Raw {
    fn from(command: Command) -> Self {
        let raw = |verb| Self {
            verb: Some(verb),
            ..Self::default()
        };
        match command {
            Command::Send(message) => Self {
                message: Some(message),
                ..raw(Do::Send)
            },
            Command::Close {
                code,
                reason,
                message,
            } => Self {
                code: (code != CloseCode::Normal.code()).then_some(code),
                reason: (!reason.is_empty()).then_some(reason),
                message,
                ..raw(Do::Close)
            },
            Command::Destroy => raw(Do::Destroy),
            Command::BindUid(uid) => Self {
                uid: Some(uid),
                ..raw(Do::BindUid)
            },
            Command::UnbindUid => raw(Do::UnbindUid),
            Command::Join(group) => Self {
                group: Some(group),
                ..raw(Do::Join)
            },
            Command::Leave(group) => Self {
                group: Some(group),
                ..raw(Do::Leave)
            },
            Command::SetSession(session) => Self {
                session: Some(session),
                ..raw(Do::SetSession)
            },
            Command::UpdateSession(session) => Self {
                session: Some(session),
                ..raw(Do::UpdateSession)
            },
            Command::Claim {
                uid,
                policy,
                ticket,
            } => Self {
                uid: Some(uid),
                policy: Some(policy),
                ticket: Some(ticket),
                ..raw(Do::Claim)
            },
            Command::Contest { uid, by } => Self {
                uid: Some(uid),
                by,
                ..raw(Do::Contest)
            },
            Command::Settle { uid, ticket } => Self {
                uid: Some(uid),
                ticket: Some(ticket),
                ..raw(Do::Settle)
            },
            Command::Withdraw { uid, ticket } => Self {
                uid: Some(uid),
                ticket: Some(ticket),
                ..raw(Do::Withdraw)
            },
        }
    }
}

impl From<Query> for Raw {
    fn from(query: Query) -> Self {
        let names = |ask, names: Names| Self {
            ask: Some(ask),
            names: names.names,
            after_name: names.after,
            limit: Some(names.limit),
            ..Self::default()
        };
        match query {
            Query::Count => Self {
                ask: Some(Ask::Count),
                ..Self::default()
            },
            Query::List {
                fields,
                filter,
                after,
                limit,
            } => Self {
                ask: Some(Ask::List),
                fields: (fields != Fields::default()).then_some(fields),
                filter: (!filter.is_empty()).then_some(filter),
                after,
                limit: Some(limit),
                ..Self::default()
            },
            Query::Uids(asked) => names(Ask::Uids, asked),
            Query::Groups(asked) => names(Ask::Groups, asked),
        }
    }
}

impl From<Request> for Raw {
    fn from(request: Request) -> Self {
        let raw = match request.kind {
            RequestKind::Command(command) => Self::from(command),
            RequestKind::Query(query) => Self::from(query),
        };
        Self {
            to: request.to,
            target: request.target,
            conns: request.conns,
            except: request.except,
            version: request.version,
            ..raw
        }
    }
}

impl TryFrom<Raw> for Command {
    type Error = RequestError;

    fn try_from(raw: Raw) -> Result<Self, RequestError> {
        use RequestError::Missing;
        Ok(match raw.verb.ok_or(RequestError::NeitherOrBoth)? {
            Do::Send => Self::Send(raw.message.ok_or(Missing("send", "message"))?),
            Do::Close => {
                let code = raw.code.unwrap_or(CloseCode::Normal.code());
                let reason = raw.reason.unwrap_or_default();
                if !CloseCode::is_allowed(code) {
                    return Err(RequestError::Code(code));
                }
                if reason.len() > MAX_REASON {
                    return Err(RequestError::Reason(reason.len()));
                }
                Self::Close {
                    code,
                    reason,
                    message: raw.message,
                }
            }
            Do::Destroy => Self::Destroy,
            Do::BindUid => Self::BindUid(raw.uid.ok_or(Missing("bind_uid", "uid"))?),
            Do::UnbindUid => Self::UnbindUid,
            Do::Join => Self::Join(raw.group.ok_or(Missing("join", "group"))?),
            Do::Leave => Self::Leave(raw.group.ok_or(Missing("leave", "group"))?),
            Do::SetSession => {
                Self::SetSession(raw.session.ok_or(Missing("set_session", "session"))?)
            }
            Do::UpdateSession => {
                Self::UpdateSession(raw.session.ok_or(Missing("update_session", "session"))?)
            }
            Do::Claim => Self::Claim {
                uid: raw.uid.ok_or(Missing("claim", "uid"))?,
                policy: raw.policy.ok_or(Missing("claim", "policy"))?,
                ticket: raw.ticket.ok_or(Missing("claim", "ticket"))?,
            },
            Do::Contest => Self::Contest {
                uid: raw.uid.ok_or(Missing("contest", "uid"))?,
                by: raw.by,
            },
            Do::Settle => Self::Settle {
                uid: raw.uid.ok_or(Missing("settle", "uid"))?,
                ticket: raw.ticket.ok_or(Missing("settle", "ticket"))?,
            },
            Do::Withdraw => Self::Withdraw {
                uid: raw.uid.ok_or(Missing("withdraw", "uid"))?,
                ticket: raw.ticket.ok_or(Missing("withdraw", "ticket"))?,
            },
        })
    }
}

/// How many clients or names a page has if nobody says.
pub const DEFAULT_LIMIT: u32 = 1000;

impl TryFrom<Raw> for Request {
    type Error = RequestError;

    fn try_from(mut raw: Raw) -> Result<Self, RequestError> {
        let (to, target, version) = (raw.to.take(), raw.target, raw.version);
        let conns = std::mem::take(&mut raw.conns);
        let except = std::mem::take(&mut raw.except);
        let limit = raw.limit.unwrap_or(DEFAULT_LIMIT);
        let names = Names {
            names: std::mem::take(&mut raw.names),
            after: raw.after_name.take(),
            limit,
        };
        let kind = match (raw.verb, raw.ask) {
            (Some(_), None) => RequestKind::Command(raw.try_into()?),
            (None, Some(Ask::Count)) => RequestKind::Query(Query::Count),
            (None, Some(Ask::List)) => RequestKind::Query(Query::List {
                fields: raw.fields.unwrap_or_default(),
                filter: raw.filter.unwrap_or_default(),
                after: raw.after,
                limit,
            }),
            (None, Some(Ask::Uids)) => RequestKind::Query(Query::Uids(names)),
            (None, Some(Ask::Groups)) => RequestKind::Query(Query::Groups(names)),
            _ => return Err(RequestError::NeitherOrBoth),
        };
        Ok(Self {
            to,
            target,
            conns,
            except,
            version,
            kind,
        })
    }
}

//! The flat map that requests and commands are on the wire, and what makes sense in it.

use serde::{Deserialize, Serialize};

use super::{
    Command, DEFAULT_LIMIT, Fields, MAX_REASON, Names, Query, Request, RequestError, RequestKind,
    TargetKind,
};
use crate::{
    ClientId, CloseCode, ConnId, Filter, Group, Payload, Policy, Rank, Session, Uid, codec,
    filter::few,
};

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

/// The command to send, as [`Raw`] would write it.
#[derive(Serialize)]
pub(super) struct Sending<'a> {
    #[serde(rename = "do")]
    verb: Do,
    message: &'a Payload,
}

impl<'a> Sending<'a> {
    pub(super) const fn new(message: &'a Payload) -> Self {
        Self {
            verb: Do::Send,
            message,
        }
    }
}

/// The flat map that requests and commands are on the wire.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Raw {
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
    within: Option<ConnId>,
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
            within: names.within,
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
            within: raw.within,
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

//! Answers: what a gateway says to a request that has a reply subject.

use serde::{Deserialize, Serialize};

use crate::{ClientId, ConnId, GatewayId, Group, Session, Uid, codec};

/// One gateway's answer.
///
/// After `bind_uid` and `join` it is sent when the gateway has subscribed, on the connection of the
/// subscription: whoever got the answer can send to the uid or group and be heard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Who answers.
    pub gateway: GatewayId,
    /// What went wrong, if something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AnswerError>,
    /// Of a command: how many clients it was applied to. Of `count` and `list`: how many clients the
    /// target has, whatever a filter says. Of `uids` and `groups`: how many names stand in this page.
    #[serde(default)]
    pub count: u64,
    /// Of a list: this page.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "codec::bounded"
    )]
    pub clients: Vec<ClientInfo>,
    /// Of a list: where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ConnId>,
    /// Of `uids` and `groups`: this page.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "codec::bounded"
    )]
    pub names: Vec<NameCount>,
    /// Of `uids` and `groups`: where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_name: Option<String>,
    /// Of `uids` and `groups`: the clients of `next_name` are not all counted; the next page begins
    /// with it again, and counts those after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_within: Option<ConnId>,
    /// Of a session command to one client: counts the changes of its session, this one included; on
    /// `conflict` the version that it has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u64,
    /// Of `contest`: the highest ticket of the uid here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ticket: u64,
    /// Of `contest`: a client that has the uid and keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<ClientId>,
    /// Of `contest`: a client whose claim stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rival: Option<ClientId>,
}

impl Answer {
    /// The answer that so many clients were reached or counted.
    #[must_use]
    pub const fn count(gateway: GatewayId, count: u64) -> Self {
        Self {
            gateway,
            error: None,
            count,
            clients: Vec::new(),
            next: None,
            names: Vec::new(),
            next_name: None,
            next_within: None,
            version: 0,
            ticket: 0,
            holder: None,
            rival: None,
        }
    }

    /// The answer that it did not work.
    #[must_use]
    pub const fn error(gateway: GatewayId, error: AnswerError) -> Self {
        Self {
            gateway,
            error: Some(error),
            count: 0,
            clients: Vec::new(),
            next: None,
            names: Vec::new(),
            next_name: None,
            next_within: None,
            version: 0,
            ticket: 0,
            holder: None,
            rival: None,
        }
    }
}

/// Why a gateway did not do what it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerError {
    /// The client is not there, or not any more.
    NoClient,
    /// The request did not decode, or misses something.
    Malformed,
    /// The session would grow over its limit.
    SessionTooLarge,
    /// It was on a condition that does not hold: the session has another version, the claim is gone.
    Conflict,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// What a list says of one client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientInfo {
    /// Who.
    pub client: ClientId,
    /// Its uid, if asked for and bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// Its session, if asked for and not empty, and if it has room.
    #[serde(default, skip_serializing_if = "Session::is_empty")]
    pub session: Session,
    /// Its session was asked for, and does not fit a message of the NATS server.
    #[serde(default, skip_serializing_if = "is_false")]
    pub session_left_out: bool,
    /// Counts the session's changes, if the session was asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u64,
    /// Its groups, if asked for.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "codec::bounded"
    )]
    pub groups: Vec<Group>,
    /// It is in more groups than have room here: the query `groups` gives them all.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more_groups: bool,
    /// Its address, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(b: &bool) -> bool {
    !*b
}

/// A uid or a group, and how many of the clients asked about have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameCount {
    /// The uid or the group.
    pub name: String,
    /// How many of the target's clients at this gateway; at least one.
    pub count: u64,
}

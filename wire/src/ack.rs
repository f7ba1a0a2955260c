//! Acks: a worker's answer to a batch of events.

use serde::{Deserialize, Serialize};

use crate::{Command, ConnId, Session, WorkerId, codec};

/// Acks of one worker for one gateway, several in one message when several were ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AckMessage {
    /// Who handled the events.
    pub worker: WorkerId,
    /// Whether the worker takes an [`EventMessage`](crate::EventMessage), or one batch at a time.
    #[serde(default, skip_serializing_if = "is_false")]
    pub many: bool,
    /// One for a batch, in the order in which they are to be applied.
    #[serde(deserialize_with = "codec::bounded")]
    pub acks: Vec<Ack>,
}

/// The answer to one delivery of one batch.
///
/// An ack whose `seq` and `attempt` are not the ones in flight is ignored, with all it carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// The client within the gateway.
    pub conn: ConnId,
    /// The batch.
    pub seq: u64,
    /// The delivery.
    pub attempt: u32,
    /// What became of it.
    pub status: AckStatus,
    /// Of `retry`: how many events at the batch's head are done; the rest comes again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub handled: u32,
    /// How many of the handled events failed: an error or a panic in the handler.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u32,
    /// What the handlers changed in the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionChange>,
    /// Commands for this very client, in order.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "codec::bounded"
    )]
    pub commands: Vec<Command>,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(yes: &bool) -> bool {
    !*yes
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckStatus {
    /// Every event was handled; the next batch may come.
    Done,
    /// A handler asked for the event again: it and those after it come with the next attempt.
    Retry,
    /// Still at it: `ack_wait` starts anew.
    Progress,
    /// All handlers are taken: somebody else, please. Does not count as an attempt.
    Busy,
}

/// Keys of a session that changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionChange {
    /// New values.
    #[serde(default, skip_serializing_if = "Session::is_empty")]
    pub set: Session,
    /// Keys that are gone.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "codec::bounded"
    )]
    pub removed: Vec<String>,
}

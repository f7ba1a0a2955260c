//! Commands: what can be done to a client.

use serde::{Deserialize, Serialize, Serializer};

use super::raw::{Raw, Sending};
use crate::{Group, Payload, Policy, Rank, Session, Uid};

/// Longest close reason, in bytes (RFC 6455, section 5.5).
pub const MAX_REASON: usize = 123;

/// What can be done to a client.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Raw")]
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

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            // nearly every ack has one, so it does without a map of every field that there is
            Self::Send(message) => Sending::new(message).serialize(to),
            rare => Raw::from(rare.clone()).serialize(to),
        }
    }
}

//! The outbox: everything a process publishes, in one order.
//!
//! Handlers put requests and acks in, one task takes them out to NATS. Acks that become ready at
//! about the same time are gathered, one message for each gateway, and sealed before the next
//! request goes in, so that the order in which things were issued is the order on the wire.
//!
//! It is bounded in bytes. When it is full, requests are refused with
//! [`ErrorKind::Full`], and the worker begins no new batch. Acks, and commands
//! that were to ride in one, are always taken: a batch has at most 64 KiB of them, so the worker's
//! concurrency bounds what goes above the limit.

mod acks;
mod queue;

use std::sync::Arc;

use wire::{Ack, GatewayId};

#[cfg(test)]
pub(crate) use self::queue::Seen;
pub(crate) use self::{
    acks::{command_weight, weight},
    queue::Queue,
};
use crate::{Error, testing::Hub};

/// What a message weighs beside its payload.
pub(crate) const OVERHEAD: usize = 128;

/// Where everything goes that a process publishes.
pub(crate) enum Outbox {
    /// To NATS, through a queue.
    Nats(Arc<Queue>),
    /// To the in-memory gateway of the test entrance, at once.
    Memory(Arc<Hub>),
}

/// One message to be published.
pub(crate) struct Letter {
    pub(crate) subject: String,
    pub(crate) reply: Option<String>,
    pub(crate) payload: Vec<u8>,
}

impl Outbox {
    /// Puts a message at the end.
    pub(crate) fn publish(&self, letter: Letter) -> Result<(), Error> {
        match self {
            Self::Nats(queue) => queue.publish(letter),
            Self::Memory(hub) => {
                hub.publish(&letter);
                Ok(())
            }
        }
    }

    /// Puts messages at the end, all of them or none.
    pub(crate) fn publish_all(&self, letters: Vec<Letter>) -> Result<(), Error> {
        match self {
            Self::Nats(queue) => queue.publish_all(letters),
            Self::Memory(hub) => {
                letters.iter().for_each(|letter| hub.publish(letter));
                Ok(())
            }
        }
    }

    /// Puts a message at the end that was taken before: room or not.
    pub(crate) fn publish_promised(&self, letter: Letter) {
        match self {
            Self::Nats(queue) => queue.push(letter),
            Self::Memory(hub) => hub.publish(&letter),
        }
    }

    /// Puts an ack at the end.
    pub(crate) fn ack(&self, gateway: GatewayId, ack: Arc<Ack>) {
        match self {
            Self::Nats(queue) => queue.ack(gateway, ack),
            Self::Memory(hub) => hub.ack(&ack),
        }
    }

    /// Whether it is not full.
    pub(crate) fn has_room(&self) -> bool {
        self.check(0).is_ok()
    }

    /// How many bytes wait.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Nats(queue) => queue.bytes(),
            Self::Memory(_) => 0,
        }
    }

    /// Whether so many bytes would be taken now; for commands that wait for an ack to ride in.
    pub(crate) fn check(&self, len: usize) -> Result<(), Error> {
        match self {
            Self::Nats(queue) => queue.check(len),
            Self::Memory(_) => Ok(()),
        }
    }
}

//! Twins: the messages that two servers bring, each of which counts once.
//!
//! Messages have no numbers on NATS, so twins are known by their bytes, within [`TWINS_WITHIN`].
//! Where equal messages follow each other within that, those that the old server alone brought, before
//! the cluster knew of the other, are taken for twins of later ones: so many of the equal ones are
//! lost. A server that is further behind than that brings a message twice.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::Instant;

use super::{MOST_UNWRITTEN, Message};

/// The same bytes from both servers within this are one message. Shorter than
/// [`SETTLE`](super::handover::SETTLE), so that what came before the cluster knew is forgotten when
/// the old server is left.
const TWINS_WITHIN: Duration = Duration::from_millis(100);

/// Messages that two servers bring.
#[derive(Default)]
pub(super) struct Twins {
    hasher: RandomState,
    /// What the old server brought lately and the next one did not.
    brought: VecDeque<(Instant, u64)>,
    /// What the next one brought and the old one did not, in order.
    held: VecDeque<(u64, Message)>,
    held_bytes: usize,
}

impl Twins {
    /// Whether so much is held that the next server should not be read.
    pub(super) fn is_full(&self) -> bool {
        self.held_bytes > MOST_UNWRITTEN
    }

    /// The old server brought this.
    pub(super) fn brought(&mut self, message: &Message) {
        let bytes = self.hasher.hash_one(message);
        match self.held.iter().position(|(held, _)| *held == bytes) {
            Some(at) => {
                self.held.remove(at);
                self.held_bytes -= message.size();
            }
            None => self.brought.push_back((Instant::now(), bytes)),
        }
        self.forget();
    }

    /// Whether the old server brought it already. Of equal ones the first is taken for its twin.
    pub(super) fn is_twin(&mut self, message: &Message) -> bool {
        if self.brought.is_empty() {
            return false;
        }
        self.forget();
        let bytes = self.hasher.hash_one(message);
        let twin = self.brought.iter().position(|(_, b)| *b == bytes);
        twin.and_then(|at| self.brought.remove(at)).is_some()
    }

    pub(super) fn hold(&mut self, message: Message) {
        self.held_bytes += message.size();
        let bytes = self.hasher.hash_one(&message);
        self.held.push_back((bytes, message));
    }

    pub(super) fn release(&mut self) -> Option<Message> {
        let (_, message) = self.held.pop_front()?;
        self.held_bytes -= message.size();
        Some(message)
    }

    fn forget(&mut self) {
        while let Some((at, _)) = self.brought.front()
            && at.elapsed() > TWINS_WITHIN
        {
            self.brought.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(payload: &'static str) -> Message {
        Message {
            sid: 1,
            subject: Bytes::from_static(b"a"),
            reply: None,
            headers: Bytes::new(),
            payload: Bytes::from_static(payload.as_bytes()),
        }
    }

    fn released(twins: &mut Twins) -> Vec<Bytes> {
        std::iter::from_fn(|| twins.release().map(|m| m.payload)).collect()
    }

    #[test]
    fn what_both_bring_is_one_message_whoever_is_first() {
        let mut twins = Twins::default();
        twins.brought(&message("old first"));
        assert!(twins.is_twin(&message("old first")));
        twins.hold(message("next first"));
        twins.hold(message("next only"));
        twins.brought(&message("next first"));
        assert!(
            !twins.is_twin(&message("next first")),
            "another of the same"
        );
        assert_eq!(released(&mut twins), ["next only"]);
        assert_eq!(twins.held_bytes, 0);
    }

    #[test]
    fn what_the_old_one_brought_long_ago_is_no_twin_of_what_comes_now() {
        let mut twins = Twins::default();
        twins.brought(&message("tick"));
        twins.brought[0].0 -= 2 * TWINS_WITHIN;
        twins.brought(&message("tick"));
        assert!(twins.is_twin(&message("tick")));
        assert!(!twins.is_twin(&message("tick")));
    }
}

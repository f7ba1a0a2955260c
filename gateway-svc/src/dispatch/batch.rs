//! A batch: the events at a queue's head that travel together.

use std::collections::VecDeque;

use serde::{Serialize, Serializer, ser::SerializeSeq};
use wire::EventKind;

use super::Event;

/// A run of events; its kind is that of the last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub(crate) kind: EventKind,
    pub(crate) seq: u64,
    pub(crate) attempt: u32,
    /// It shares no message with others.
    pub(crate) alone: bool,
    pub(super) queue: &'a VecDeque<Event>,
    pub(super) len: usize,
}

impl<'a> Batch<'a> {
    /// Its events.
    pub(crate) fn events(&self) -> impl ExactSizeIterator<Item = &'a Event> + use<'a> {
        self.queue.iter().take(self.len)
    }

    /// The last of them, which says what the batch carries unless that is messages.
    pub(crate) fn last(&self) -> &'a Event {
        &self.queue[self.len - 1]
    }

    /// Whether a WebSocket client's `connect` comes before its handshake.
    pub(crate) fn has_connect(&self) -> bool {
        self.kind == EventKind::Websocket && self.len > 1
    }

    /// Its messages, if that is what it has.
    pub(crate) fn messages(self) -> Option<Messages<'a>> {
        (self.kind == EventKind::Message).then_some(Messages(self))
    }
}

/// The messages of a batch, as a list on the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Messages<'a>(Batch<'a>);

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(self.0.len))?;
        for event in self.0.events() {
            if let Event::Message(payload) = event {
                list.serialize_element(payload)?;
            }
        }
        list.end()
    }
}

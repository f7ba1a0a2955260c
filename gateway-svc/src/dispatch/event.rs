//! What happens to a client.

use wire::{CloseEvent, EventKind, Handshake, Payload};

/// Something that happened to a client.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Connect,
    Websocket(Box<Handshake>),
    Message(Payload),
    Close(Box<CloseEvent>),
}

impl Event {
    pub(crate) const fn kind(&self) -> EventKind {
        match self {
            Self::Connect => EventKind::Connect,
            Self::Websocket(_) => EventKind::Websocket,
            Self::Message(_) => EventKind::Message,
            Self::Close(_) => EventKind::Close,
        }
    }

    pub(super) fn size(&self) -> usize {
        match self {
            Self::Message(payload) => payload.len(),
            _ => 0,
        }
    }
}

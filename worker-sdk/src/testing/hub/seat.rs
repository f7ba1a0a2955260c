//! One client's seat in the in-memory gateway, and what it received.

use std::{collections::BTreeSet, fmt, ops::Deref};

use wire::{
    Ack, AnswerError, ClientId, ClientInfo, CloseEvent, ClosedBy, Command, Fields, Filter, Group,
    Payload, Session, Uid, Wanted,
};

use crate::{Close, Message, testing::harness};

/// What the gateway holds for one client. It stays after the client is gone, to be looked at.
#[derive(Default)]
pub(crate) struct Seat {
    pub(crate) uid: Option<Uid>,
    pub(crate) groups: BTreeSet<Group>,
    pub(crate) session: Session,
    pub(crate) version: u64,
    pub(crate) received: Vec<Received>,
    /// Batches so far.
    pub(crate) seq: u64,
    /// The latest ack.
    pub(crate) acked: Option<Ack>,
    /// Closed by a command; the `close` event is still to come.
    pub(crate) closing: Option<CloseEvent>,
    pub(crate) closed: Option<Close>,
    pub(crate) gone: bool,
}

/// What one client got. Compares with text and bytes; in a failed assertion it shows its content,
/// which a [`Message`] does not.
#[derive(Clone, PartialEq, Eq)]
pub struct Received(pub Message);

impl Seat {
    /// Whether commands still reach it.
    pub(crate) fn is_there(&self) -> bool {
        self.closing.is_none() && !self.gone
    }

    pub(super) fn fits(&self, filter: &Filter, wanted: &Wanted) -> bool {
        let has_uid = |uids: &Vec<Uid>| self.uid.as_ref().is_some_and(|uid| uids.contains(uid));
        filter.uids.as_ref().is_none_or(has_uid)
            && filter
                .groups
                .as_ref()
                .is_none_or(|groups| groups.iter().any(|group| self.groups.contains(group)))
            && filter.bound.is_none_or(|bound| bound == self.uid.is_some())
            && self.session.has(wanted)
    }

    pub(super) fn info(&self, client: ClientId, fields: Fields) -> ClientInfo {
        ClientInfo {
            client,
            uid: self.uid.clone().filter(|_| fields.uid),
            session: match fields.session {
                true => self.session.clone(),
                false => Session::default(),
            },
            version: if fields.session { self.version } else { 0 },
            groups: match fields.groups {
                true => self.groups.iter().cloned().collect(),
                false => Vec::new(),
            },
            more_groups: false,
            session_left_out: false,
            remote: fields.remote.then(|| harness::REMOTE.to_owned()),
        }
    }

    pub(super) fn keep(&mut self, session: Session) {
        self.session = session;
        self.version += 1;
    }

    /// Whether it was done.
    pub(super) fn apply(&mut self, command: &Command) -> Result<bool, AnswerError> {
        match command {
            Command::Send(message) => self.receive(message),
            Command::Close {
                code,
                reason,
                message,
            } => {
                if let Some(message) = message {
                    self.receive(message);
                }
                self.end(*code, reason);
                self.closed = Some(Close {
                    code: *code,
                    reason: reason.clone(),
                    message: message.clone().map(Message),
                });
            }
            Command::Destroy => self.end(1006, "destroyed"),
            Command::BindUid(uid) => self.uid = Some(uid.clone()),
            Command::UnbindUid => self.uid = None,
            Command::Join(group) => {
                self.groups.insert(group.clone());
            }
            Command::Leave(group) => return Ok(self.groups.remove(group)),
            Command::SetSession(session) => self.keep(session.clone()),
            Command::UpdateSession(session) => {
                let merged = self.session.merged(session);
                self.keep(merged.map_err(|_| AnswerError::SessionTooLarge)?);
            }
            // The hub's.
            Command::Claim { .. }
            | Command::Contest { .. }
            | Command::Settle { .. }
            | Command::Withdraw { .. } => return Ok(false),
        }
        Ok(true)
    }

    fn receive(&mut self, message: &Payload) {
        self.received.push(Received(Message(message.clone())));
    }

    fn end(&mut self, code: u16, reason: &str) {
        self.closing = Some(CloseEvent {
            by: ClosedBy::Command,
            code,
            reason: reason.to_owned(),
            groups: self.groups.iter().cloned().collect(),
        });
    }
}

impl Deref for Received {
    type Target = Message;
    fn deref(&self) -> &Message {
        &self.0
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_text() {
            Some(text) => text.fmt(f),
            None => self.0.as_bytes().fmt(f),
        }
    }
}

impl PartialEq<&str> for Received {
    fn eq(&self, text: &&str) -> bool {
        self.0 == *text
    }
}

impl PartialEq<String> for Received {
    fn eq(&self, text: &String) -> bool {
        self.0 == *text
    }
}

impl PartialEq<&[u8]> for Received {
    fn eq(&self, bytes: &&[u8]) -> bool {
        self.0 == *bytes
    }
}

impl PartialEq<Message> for Received {
    fn eq(&self, message: &Message) -> bool {
        self.0 == *message
    }
}

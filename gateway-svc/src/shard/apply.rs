//! Commands: what is done to the clients of a target.

use wire::{
    Answer, AnswerError, ClosedBy, Command, Payload, Request, RequestKind, Session, TargetKind,
};

use super::{Shard, client::End};
use crate::{hub::TopicKind, outgoing::Outgoing, topics::Slot};

/// Whom a message is for, as its subject says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// A client that is not here, or not any more.
    Nobody,
    Client(Slot),
    Topic(TopicKind, u32),
    All,
    /// This gateway itself: the request says whose clients are meant.
    Gateway,
}

impl Shard {
    /// The slot of a client that may be sent to.
    pub(super) fn open_client(&self, conn: wire::ConnId) -> Option<Slot> {
        self.hub.find(conn).filter(|slot| {
            self.clients[*slot as usize]
                .as_ref()
                .is_some_and(|c| c.open)
        })
    }

    /// Does what is asked, and says what to answer; `None`: it was not meant for us.
    pub(super) fn answer(&mut self, target: Target, request: &Request) -> Option<Answer> {
        let target = match self.meant(target, request) {
            Ok(target) => target?,
            Err(error) => return Some(Answer::error(self.gateway, error)),
        };
        match &request.kind {
            RequestKind::Query(query) => {
                self.metrics.queries.inc();
                Some(self.query(target, request, query))
            }
            RequestKind::Command(command) => {
                self.metrics.commands.inc();
                Some(match self.apply(target, request, command) {
                    Ok(count) => Answer::count(self.gateway, count),
                    Err(error) => Answer::error(self.gateway, error),
                })
            }
        }
    }

    /// Holds the subject against the real name in the request. Two names may share a token.
    fn meant(&self, target: Target, request: &Request) -> Result<Option<Target>, AnswerError> {
        let named = |kind| {
            let name = request.to.as_deref().ok_or(AnswerError::Malformed)?;
            Ok(Some(
                self.hub
                    .topics(kind)
                    .find(name)
                    .map_or(Target::Nobody, |topic| Target::Topic(kind, topic)),
            ))
        };
        match (target, request.target) {
            (Target::Topic(kind, topic), _) => {
                let name = request.to.as_deref().ok_or(AnswerError::Malformed)?;
                Ok((**self.hub.topics(kind).name(topic) == *name).then_some(target))
            }
            (Target::All | Target::Gateway, None | Some(TargetKind::All)) => Ok(Some(Target::All)),
            (Target::All | Target::Gateway, Some(TargetKind::Uid)) => named(TopicKind::Uid),
            (Target::All | Target::Gateway, Some(TargetKind::Group)) => named(TopicKind::Group),
            (Target::All | Target::Gateway, Some(TargetKind::Client)) => {
                Err(AnswerError::Malformed)
            }
            (Target::Client(_) | Target::Nobody, _) => Ok(Some(target)),
        }
    }

    /// The open clients of a target, less those that are left out.
    pub(super) fn slots(&self, target: Target, request: &Request) -> Vec<Slot> {
        let mut slots: Vec<Slot> = match target {
            Target::Nobody | Target::Gateway => Vec::new(),
            Target::Client(slot) => vec![slot],
            Target::Topic(kind, topic) => self.hub.topics(kind).members(topic).collect(),
            Target::All => self
                .hub
                .slots()
                .filter(|s| self.clients[*s as usize].as_ref().is_some_and(|c| c.open))
                .collect(),
        };
        if !request.except.is_empty() {
            let ours = request
                .except
                .iter()
                .filter(|id| id.gateway == self.gateway);
            let mut except: Vec<Slot> = ours.filter_map(|id| self.hub.find(id.conn)).collect();
            except.sort_unstable();
            slots.retain(|slot| except.binary_search(slot).is_err());
        }
        slots
    }

    /// Does a command to every client of a target; says to how many.
    fn apply(
        &mut self,
        target: Target,
        request: &Request,
        command: &Command,
    ) -> Result<u64, AnswerError> {
        if matches!(target, Target::Nobody) && request.to.is_none() {
            return Err(AnswerError::NoClient);
        }
        // kept bytes are in our own encoding, so that equal sessions are equal bytes
        let checked = |session: &Session| session.checked().map_err(|_| AnswerError::Malformed);
        let kept;
        let command = match command {
            Command::SetSession(session) => {
                kept = Command::SetSession(checked(session)?);
                &kept
            }
            Command::UpdateSession(session) => {
                kept = Command::UpdateSession(checked(session)?);
                &kept
            }
            other => other,
        };
        let mut message = payload(command).map(Outgoing::new);
        let (mut done, mut failed) = (0, None);
        for slot in self.slots(target, request) {
            match self.apply_one(slot, command, message.as_mut()) {
                Ok(true) => done += 1,
                Ok(false) => {}
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if done == 0 => Err(error),
            _ => Ok(done),
        }
    }

    /// A command that came with a client's ack.
    pub(super) fn command(&mut self, slot: Slot, command: &Command) {
        if self.clients[slot as usize].as_ref().is_some_and(|c| c.open)
            && let Err(error) =
                self.apply_one(slot, command, payload(command).map(Outgoing::new).as_mut())
        {
            tracing::warn!(client = %self.client_id(slot), ?error, "a command of a handler is dropped");
        }
    }

    fn apply_one(
        &mut self,
        slot: Slot,
        command: &Command,
        message: Option<&mut Outgoing<'_>>,
    ) -> Result<bool, AnswerError> {
        match command {
            Command::Send(_) => {
                return Ok(message.is_some_and(|message| self.deliver(slot, message)));
            }
            Command::Close { code, reason, .. } => {
                let end = End {
                    by: ClosedBy::Command,
                    code: *code,
                    reason: reason.clone(),
                    label: "command",
                };
                self.close(slot, end, message);
            }
            Command::Destroy => self.destroy(slot),
            Command::BindUid(uid) => {
                if let Some(interest) = self.hub.bind(slot, uid, self.now()) {
                    self.subscribe(interest);
                }
                self.count();
            }
            Command::UnbindUid => {
                self.hub.unbind(slot, self.now());
                self.count();
            }
            Command::Join(group) => {
                if let Some(interest) = self.hub.join(slot, group) {
                    self.subscribe(interest);
                }
                self.count();
            }
            Command::Leave(group) => {
                let left = self.hub.leave(slot, group, self.now());
                self.count();
                return Ok(left);
            }
            Command::SetSession(session) => {
                if let Some(client) = &mut self.clients[slot as usize] {
                    client.session = session.clone();
                    client.version += 1;
                }
            }
            Command::UpdateSession(change) => {
                if let Some(client) = &mut self.clients[slot as usize] {
                    client.session = client.session.merged(change).map_err(|_| {
                        self.metrics.sessions_refused.inc();
                        AnswerError::SessionTooLarge
                    })?;
                    client.version += 1;
                }
            }
        }
        Ok(true)
    }
}

/// The message that a command has for its clients.
const fn payload(command: &Command) -> Option<&Payload> {
    match command {
        Command::Send(payload) => Some(payload),
        Command::Close { message, .. } => message.as_ref(),
        _ => None,
    }
}

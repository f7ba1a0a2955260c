//! Commands: what is done to the clients of a target.

use wire::{Answer, AnswerError, ClosedBy, Command, Payload, Request, RequestKind, TargetKind};

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
    /// Those of its clients that the request names.
    Named,
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
                Some(self.apply(target, request, command))
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
            // who names somebody does not mean everybody
            (Target::All | Target::Gateway, None)
                if request.to.is_some() || !request.conns.is_empty() =>
            {
                Err(AnswerError::Malformed)
            }
            (Target::All | Target::Gateway, None | Some(TargetKind::All)) => Ok(Some(Target::All)),
            (Target::All | Target::Gateway, Some(TargetKind::Uid)) => named(TopicKind::Uid),
            (Target::All | Target::Gateway, Some(TargetKind::Group)) => named(TopicKind::Group),
            (Target::Gateway, Some(TargetKind::Client)) if !request.conns.is_empty() => {
                Ok(Some(Target::Named))
            }
            (Target::All | Target::Gateway, Some(TargetKind::Client)) => {
                Err(AnswerError::Malformed)
            }
            (Target::Client(_) | Target::Nobody | Target::Named, _) => Ok(Some(target)),
        }
    }

    /// The open clients of a target, less those that are left out.
    pub(super) fn slots(&self, target: Target, request: &Request) -> Vec<Slot> {
        let mut slots: Vec<Slot> = match target {
            Target::Nobody | Target::Gateway => Vec::new(),
            Target::Client(slot) => vec![slot],
            Target::Named => {
                let mut slots: Vec<Slot> = request
                    .conns
                    .iter()
                    .filter_map(|conn| self.open_client(*conn))
                    .collect();
                slots.sort_unstable();
                slots.dedup();
                slots
            }
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

    /// Does a command to every client of a target; the answer says to how many.
    fn apply(&mut self, target: Target, request: &Request, command: &Command) -> Answer {
        let gateway = self.gateway;
        let refused = |error| Answer::error(gateway, error);
        if matches!(target, Target::Nobody) && request.to.is_none() {
            return refused(AnswerError::NoClient);
        }
        // kept bytes are in our own encoding, so that equal sessions are equal bytes
        let kept = match command {
            Command::SetSession(session) => Some(session.checked().map(Command::SetSession)),
            Command::UpdateSession(session) => Some(session.checked().map(Command::UpdateSession)),
            _ => None,
        };
        let command = match &kept {
            None => command,
            Some(Ok(kept)) => kept,
            Some(Err(_)) => return refused(AnswerError::Malformed),
        };
        if let (Command::Contest { uid, by }, Target::All) = (command, target)
            && request.except.is_empty()
        {
            return self.contest(uid, by.as_ref(), |_| true);
        }
        let mut slots = self.slots(target, request);
        if let Some(version) = request.version {
            let meant = slots.len();
            slots.retain(|slot| self.version(*slot) == version);
            if slots.is_empty() && meant > 0 {
                return self.with_version(target, refused(AnswerError::Conflict));
            }
        }
        if let Command::Contest { uid, by } = command {
            return self.contest(uid, by.as_ref(), |slot| slots.contains(&slot));
        }
        let mut message = payload(command).map(Outgoing::new);
        let (mut done, mut failed) = (0, None);
        for slot in slots {
            match self.apply_one(slot, command, message.as_mut()) {
                Ok(true) => done += 1,
                Ok(false) => {}
                Err(error) => failed = Some(error),
            }
        }
        let answer = match failed {
            Some(error) if done == 0 => Answer::error(self.gateway, error),
            _ => Answer::count(self.gateway, done),
        };
        match command {
            Command::SetSession(_) | Command::UpdateSession(_) => self.with_version(target, answer),
            _ => answer,
        }
    }

    /// How often a client's session was changed.
    fn version(&self, slot: Slot) -> u64 {
        let client = self.clients[slot as usize].as_ref();
        client.map_or(0, |client| client.version)
    }

    /// The answer, with the version of the session if it is about one client.
    fn with_version(&self, target: Target, answer: Answer) -> Answer {
        match target {
            Target::Client(slot) => Answer {
                version: self.version(slot),
                ..answer
            },
            _ => answer,
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
            Command::Claim {
                uid,
                policy,
                ticket,
            } => self.claim(slot, uid, *policy, *ticket),
            Command::Contest { uid, by } => {
                let contest = self.contest(uid, by.as_ref(), |other| other == slot);
                return Ok(contest.count > 0);
            }
            Command::Settle { uid, ticket } => return self.settle(slot, uid, *ticket),
            Command::Withdraw { uid, ticket } => return Ok(self.withdraw(slot, uid, *ticket)),
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

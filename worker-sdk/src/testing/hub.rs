//! The in-memory gateway: applies what is published, at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use wire::{
    Ack, AckStatus, Answer, AnswerError, ClientId, ClientInfo, CloseEvent, ClosedBy, Command,
    ConnId, Fields, Filter, GatewayId, Group, NameCount, Names, Payload, Query, Request,
    RequestKind, Session, ShardBeat, Subjects, TargetKind, Uid, Wanted, request::RequestError,
    token,
};

use crate::{Close, Message, outbox::Letter, replies::Replies};

/// A gateway without sockets.
pub(crate) struct Hub {
    pub(crate) gateway: GatewayId,
    pub(crate) subjects: Subjects,
    pub(crate) replies: Arc<Replies>,
    clients: Mutex<BTreeMap<ConnId, Seat>>,
}

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

impl Hub {
    pub(crate) fn new() -> Self {
        Self {
            gateway: GatewayId::from_bytes(*b"memory"),
            subjects: Subjects::default(),
            replies: Replies::new("memory".to_owned()),
            clients: Mutex::default(),
        }
    }

    /// Looks at, or changes, one client's seat.
    pub(crate) fn seat<T>(&self, id: ClientId, look: impl FnOnce(&mut Seat) -> T) -> T {
        let mut clients = self.lock();
        look(clients.entry(id.conn).or_default())
    }

    /// Everybody's seat.
    pub(crate) fn seats<T>(&self, look: impl FnOnce(&mut BTreeMap<ConnId, Seat>) -> T) -> T {
        look(&mut self.lock())
    }

    /// An ack: changes of the session first, then the commands, as in a gateway.
    pub(crate) fn ack(&self, ack: &Ack) {
        let mut clients = self.lock();
        let Some(seat) = clients.get_mut(&ack.conn) else {
            return;
        };
        if matches!(ack.status, AckStatus::Done | AckStatus::Retry) {
            if let Some(change) = &ack.session
                && let Ok(session) = seat.session.changed(&change.set, &change.removed)
            {
                seat.keep(session);
            }
            for command in &ack.commands {
                // What a gateway refuses it logs; the session's limit is all there is to refuse.
                let _ = seat.apply(command);
            }
        }
        seat.acked = Some(ack.clone());
    }

    /// A message on a subject. What is not for gateways is ignored.
    pub(crate) fn publish(&self, letter: &Letter) {
        let Some(rest) = letter.subject.strip_prefix(self.subjects.prefix().as_str()) else {
            return;
        };
        let mut tokens = rest.split('.').skip(1);
        let (kind, name) = (tokens.next(), tokens.next());
        let (kind, name) = match (kind, name) {
            (Some("client"), _) => (TargetKind::Client, tokens.next()),
            (Some("uid"), name) => (TargetKind::Uid, name),
            (Some("group"), name) => (TargetKind::Group, name),
            (Some("all" | "gateway"), _) => (TargetKind::All, None),
            _ => return,
        };
        let answer = match wire::decode::<Request>(&letter.payload) {
            Err(_) => Some(Answer::error(self.gateway, AnswerError::Malformed)),
            Ok(request) => self.request(kind, name, &request),
        };
        if let Some(reply) = &letter.reply {
            match answer {
                Some(answer) => self.replies.deliver(reply, false, &wire::encode(&answer)),
                None => self.replies.deliver(reply, true, b""),
            }
        }
    }

    /// `None` where nobody would listen on the subject.
    fn request(&self, kind: TargetKind, name: Option<&str>, request: &Request) -> Option<Answer> {
        let mut clients = self.lock();
        let meant: Vec<ConnId> = match self.meant(&clients, kind, name, request) {
            Ok(meant) => meant,
            Err(_) => return Some(Answer::error(self.gateway, AnswerError::Malformed)),
        };
        let by_subject = matches!(kind, TargetKind::Uid | TargetKind::Group);
        if meant.is_empty() && by_subject {
            return None;
        }
        if meant.is_empty() && kind == TargetKind::Client {
            return Some(Answer::error(self.gateway, AnswerError::NoClient));
        }
        let meant = meant
            .into_iter()
            .filter(|conn| !request.except.contains(&self.id(*conn)));
        match &request.kind {
            RequestKind::Command(command) => {
                let mut count = 0;
                let mut error = None;
                for conn in meant {
                    if let Some(seat) = clients.get_mut(&conn) {
                        match seat.apply(command) {
                            Ok(()) => count += 1,
                            Err(refused) => error = Some(refused),
                        }
                    }
                }
                Some(Answer {
                    error,
                    ..Answer::count(self.gateway, count)
                })
            }
            RequestKind::Query(Query::Count) => {
                Some(Answer::count(self.gateway, meant.count() as u64))
            }
            RequestKind::Query(Query::List {
                fields,
                filter,
                after,
                limit,
            }) => {
                let Ok(wanted) = filter.wanted() else {
                    return Some(Answer::error(self.gateway, AnswerError::Malformed));
                };
                let meant: Vec<ConnId> = meant.collect();
                let count = meant.len() as u64;
                let rest = meant.into_iter();
                let mut rest = rest.filter(|conn| {
                    after.is_none_or(|after| *conn > after) && clients[conn].fits(filter, &wanted)
                });
                let page: Vec<ConnId> = rest.by_ref().take(*limit as usize).collect();
                let next = rest.next().and(page.last().copied());
                let infos = page
                    .iter()
                    .map(|conn| clients[conn].info(self.id(*conn), *fields));
                Some(Answer {
                    clients: infos.collect(),
                    next,
                    ..Answer::count(self.gateway, count)
                })
            }
            RequestKind::Query(Query::Uids(names)) => {
                let uids = meant.filter_map(|conn| clients[&conn].uid.as_deref());
                Some(self.names(uids, names))
            }
            RequestKind::Query(Query::Groups(names)) => {
                let groups = meant.flat_map(|conn| clients[&conn].groups.iter().map(|g| &**g));
                Some(self.names(groups, names))
            }
        }
    }

    fn names<'a>(&self, all: impl Iterator<Item = &'a str>, asked: &Names) -> Answer {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for name in all {
            let wanted = asked.names.is_empty() || asked.names.iter().any(|n| n == name);
            if wanted && asked.after.as_deref().is_none_or(|after| name > after) {
                *counts.entry(name).or_default() += 1;
            }
        }
        let mut rest = counts.into_iter().map(|(name, count)| NameCount {
            name: name.to_owned(),
            count,
        });
        let page: Vec<NameCount> = rest.by_ref().take(asked.limit as usize).collect();
        let last = page.last().map(|last| last.name.clone());
        let count = page.len() as u64;
        Answer {
            names: page,
            next_name: rest.next().and(last),
            ..Answer::count(self.gateway, count)
        }
    }

    /// What a gateway's beat would say.
    pub(crate) fn totals(&self) -> ShardBeat {
        let clients = self.lock();
        let there = || clients.values().filter(|seat| seat.is_there());
        let uids: BTreeSet<_> = there().filter_map(|seat| seat.uid.as_ref()).collect();
        let groups: BTreeSet<_> = there().flat_map(|seat| &seat.groups).collect();
        ShardBeat {
            gateway: self.gateway,
            clients: there().count() as u64,
            uids: uids.len() as u64,
            groups: groups.len() as u64,
        }
    }

    fn meant(
        &self,
        clients: &BTreeMap<ConnId, Seat>,
        kind: TargetKind,
        name: Option<&str>,
        request: &Request,
    ) -> Result<Vec<ConnId>, RequestError> {
        let kind = request.target.unwrap_or(kind);
        let to = request.to.as_deref();
        let to = match kind {
            TargetKind::Uid | TargetKind::Group => {
                to.ok_or(RequestError::Missing("request", "to"))?
            }
            TargetKind::Client | TargetKind::All => "",
        };
        // The real name decides, and its token must be the subject's.
        let astray = name.is_some_and(|token| token::encode(to) != token);
        let is_meant = |conn: &ConnId, seat: &Seat| match kind {
            TargetKind::Client => name.and_then(|n| n.parse().ok()) == Some(*conn),
            TargetKind::Uid => !astray && seat.uid.as_deref() == Some(to),
            TargetKind::Group => !astray && seat.groups.iter().any(|g| g.as_str() == to),
            TargetKind::All => true,
        };
        Ok(clients
            .iter()
            .filter(|(conn, seat)| seat.is_there() && is_meant(conn, seat))
            .map(|(conn, _)| *conn)
            .collect())
    }

    fn id(&self, conn: ConnId) -> ClientId {
        ClientId {
            gateway: self.gateway,
            conn,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ConnId, Seat>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Whether commands still reach it.
    pub(crate) fn is_there(&self) -> bool {
        self.closing.is_none() && !self.gone
    }

    fn fits(&self, filter: &Filter, wanted: &Wanted) -> bool {
        let has_uid = |uids: &Vec<Uid>| self.uid.as_ref().is_some_and(|uid| uids.contains(uid));
        filter.uids.as_ref().is_none_or(has_uid)
            && filter
                .groups
                .as_ref()
                .is_none_or(|groups| groups.iter().any(|group| self.groups.contains(group)))
            && filter.bound.is_none_or(|bound| bound == self.uid.is_some())
            && self.session.has(wanted)
    }

    fn info(&self, client: ClientId, fields: Fields) -> ClientInfo {
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
            remote: fields.remote.then(|| super::harness::REMOTE.to_owned()),
        }
    }

    fn keep(&mut self, session: Session) {
        self.session = session;
        self.version += 1;
    }

    fn apply(&mut self, command: &Command) -> Result<(), AnswerError> {
        if !self.is_there() {
            return Ok(());
        }
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
            Command::Leave(group) => {
                self.groups.remove(group);
            }
            Command::SetSession(session) => self.keep(session.clone()),
            Command::UpdateSession(session) => {
                let merged = self.session.merged(session);
                self.keep(merged.map_err(|_| AnswerError::SessionTooLarge)?);
            }
        }
        Ok(())
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

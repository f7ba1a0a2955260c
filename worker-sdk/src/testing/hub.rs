//! The in-memory gateway: applies what is published, at once.

mod seat;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use wire::{
    Ack, AckStatus, Answer, AnswerError, Claims, ClientId, CloseCode, Command, ConnId, GatewayId,
    NameCount, Names, Query, Rank, Request, RequestKind, ShardBeat, Subjects, TargetKind, Uid,
    request::RequestError, token,
};

pub use self::seat::Received;
pub(crate) use self::seat::Seat;
use crate::{outbox::Letter, replies::Replies};

/// A gateway without sockets.
pub(crate) struct Hub {
    pub(crate) gateway: GatewayId,
    pub(crate) subjects: Subjects,
    pub(crate) replies: Arc<Replies>,
    clients: Mutex<BTreeMap<ConnId, Seat>>,
    /// Locked after the clients.
    claims: Mutex<Claims<ConnId>>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self::of(GatewayId::from_bytes(*b"memory"))
    }

    /// One of several.
    pub(crate) fn of(gateway: GatewayId) -> Self {
        Self {
            gateway,
            subjects: Subjects::default(),
            replies: Replies::new("memory".to_owned()),
            clients: Mutex::default(),
            claims: Mutex::default(),
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
        let mut claims = self.claims();
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
                let _ = self.apply(&mut claims, seat, ack.conn, command);
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
        let here = name == Some(self.gateway.to_string().as_str());
        let (kind, name) = match (kind, name) {
            (Some("client" | "gateway"), _) if !here => {
                if let Some(reply) = &letter.reply {
                    self.replies.deliver(reply, true, b"");
                }
                return;
            }
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
    pub(crate) fn request(
        &self,
        kind: TargetKind,
        name: Option<&str>,
        request: &Request,
    ) -> Option<Answer> {
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
        let mut meant: Vec<ConnId> = meant
            .into_iter()
            .filter(|conn| !request.except.contains(&self.id(*conn)))
            .collect();
        let one = meant
            .first()
            .copied()
            .filter(|_| kind == TargetKind::Client);
        let version = |clients: &BTreeMap<ConnId, Seat>| one.map_or(0, |c| clients[&c].version);
        if let Some(wanted) = request.version {
            let all = meant.len();
            meant.retain(|conn| clients[conn].version == wanted);
            if meant.is_empty() && all > 0 {
                return Some(Answer {
                    version: version(&clients),
                    ..Answer::error(self.gateway, AnswerError::Conflict)
                });
            }
        }
        let meant = meant.into_iter();
        match &request.kind {
            RequestKind::Command(Command::Contest { uid, by }) => {
                let meant: BTreeSet<ConnId> = meant.collect();
                Some(self.contest(&mut clients, uid, by.as_ref(), &meant))
            }
            RequestKind::Command(command) => {
                let mut count = 0;
                let mut error = None;
                let mut claims = self.claims();
                for conn in meant {
                    if let Some(seat) = clients.get_mut(&conn) {
                        match self.apply(&mut claims, seat, conn, command) {
                            Ok(done) => count += u64::from(done),
                            Err(refused) => error = Some(refused),
                        }
                    }
                }
                let is_of_session =
                    matches!(command, Command::SetSession(_) | Command::UpdateSession(_));
                Some(Answer {
                    error: error.filter(|_| count == 0),
                    version: if is_of_session { version(&clients) } else { 0 },
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
            away: false,
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
            TargetKind::Client if name.is_none() => request.conns.contains(conn),
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

    /// What becomes of one client; whether anything did.
    fn apply(
        &self,
        claims: &mut Claims<ConnId>,
        seat: &mut Seat,
        conn: ConnId,
        command: &Command,
    ) -> Result<bool, AnswerError> {
        if !seat.is_there() {
            return Ok(false);
        }
        match command {
            Command::Claim {
                uid,
                policy,
                ticket,
            } => {
                let rank = Rank {
                    policy: *policy,
                    ticket: *ticket,
                    client: self.id(conn),
                };
                // Nothing is timed here, so nothing lapses.
                claims.claim(conn, uid, rank, 0);
            }
            Command::Settle { uid, ticket } => {
                let settled = claims.held(conn).is_some_and(|held| held.ticket == *ticket);
                match claims.take(conn, uid, *ticket) {
                    Some(rank) => claims.hold(conn, rank),
                    None if settled && seat.uid.as_ref() == Some(uid) => {}
                    None => return Err(AnswerError::Conflict),
                }
                seat.uid = Some(uid.clone());
            }
            Command::Withdraw { uid, ticket } => {
                if claims.take(conn, uid, *ticket).is_some() {
                    return Ok(true);
                }
                let settled = claims.held(conn).is_some_and(|held| held.ticket == *ticket);
                if !settled || seat.uid.as_ref() != Some(uid) {
                    return Ok(false);
                }
                claims.release(conn);
                seat.uid = None;
            }
            // By itself it means nobody.
            Command::Contest { .. } => return Ok(false),
            Command::BindUid(uid) if seat.uid.as_ref() == Some(uid) => {}
            command => {
                if matches!(command, Command::BindUid(_) | Command::UnbindUid) {
                    claims.release(conn);
                }
                let done = seat.apply(command)?;
                if !seat.is_there() {
                    claims.forget(conn);
                }
                return Ok(done);
            }
        }
        Ok(true)
    }

    fn contest(
        &self,
        clients: &mut BTreeMap<ConnId, Seat>,
        uid: &Uid,
        by: Option<&Rank>,
        meant: &BTreeSet<ConnId>,
    ) -> Answer {
        let mut claims = self.claims();
        let has = |seat: &Seat| seat.is_there() && seat.uid.as_ref() == Some(uid);
        let holders: Vec<(ConnId, ClientId)> = clients
            .iter()
            .filter(|(_, seat)| has(seat))
            .map(|(conn, _)| (*conn, self.id(*conn)))
            .collect();
        let met = claims.contest(uid, by, holders, |conn| meant.contains(&conn));
        for conn in &met.kicked {
            let code = CloseCode::SignedInElsewhere;
            let close = Command::Close {
                code: code.code(),
                reason: code.reason().to_owned(),
                message: None,
            };
            if let Some(seat) = clients.get_mut(conn) {
                // A close is never refused.
                let _ = self.apply(&mut claims, seat, *conn, &close);
            }
        }
        Answer {
            ticket: met.ticket,
            holder: met.holder,
            rival: met.rival,
            ..Answer::count(self.gateway, met.kicked.len() as u64 + met.withdrawn)
        }
    }

    pub(crate) fn claims(&self) -> std::sync::MutexGuard<'_, Claims<ConnId>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
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

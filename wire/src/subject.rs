//! Subjects: the only place where they are built.

use crate::{
    ClientId, ConnId, EventKind, GatewayId, Group, Prefix, ProcessId, ServiceName, Uid, WorkerId,
    token,
};

/// The header that makes a message on a target's subject a *send* of its raw body.
pub const RAW_HEADER: &str = "Gatebus-Raw";

/// How the subjects of event messages end.
pub const MANY: &str = ".many";

/// The subjects under one prefix.
///
/// ```
/// use wire::{Group, Subjects};
/// let subjects = Subjects::default();
/// assert_eq!(subjects.group(&Group::new("lobby")?), "gatebus.group.lobby");
/// assert_eq!(subjects.group(&Group::new("a.b")?), "gatebus.group.~YS5i");
/// # Ok::<(), wire::NameError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subjects {
    prefix: Prefix,
}

impl Subjects {
    /// The subjects under this prefix.
    #[must_use]
    pub const fn new(prefix: Prefix) -> Self {
        Self { prefix }
    }

    /// The prefix.
    #[must_use]
    pub const fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Where events of a service go: `<p>.event.<service>.<kind>`.
    #[must_use]
    pub fn event(&self, service: &ServiceName, kind: EventKind) -> String {
        format!("{}.event.{service}.{}", self.prefix, kind.token())
    }

    /// Where event messages of a service go: `<p>.event.<service>.<kind>.many`.
    #[must_use]
    pub fn event_many(&self, service: &ServiceName, kind: EventKind) -> String {
        self.event(service, kind) + MANY
    }

    /// What workers of a service subscribe to that take one batch in a message:
    /// `<p>.event.<service>.*`.
    #[must_use]
    pub fn events(&self, service: &ServiceName) -> String {
        format!("{}.event.{service}.*", self.prefix)
    }

    /// What workers of a service subscribe to that take event messages too: `<p>.event.<service>.>`.
    #[must_use]
    pub fn events_many(&self, service: &ServiceName) -> String {
        format!("{}.event.{service}.>", self.prefix)
    }

    /// Where events go that are for one worker: `<p>.worker.<worker>.<kind>`.
    #[must_use]
    pub fn worker(&self, worker: WorkerId, kind: EventKind) -> String {
        format!("{}.worker.{worker}.{}", self.prefix, kind.token())
    }

    /// Where event messages go that are for one worker: `<p>.worker.<worker>.<kind>.many`.
    #[must_use]
    pub fn worker_many(&self, worker: WorkerId, kind: EventKind) -> String {
        self.worker(worker, kind) + MANY
    }

    /// What a worker subscribes to for itself if it takes one batch in a message:
    /// `<p>.worker.<worker>.*`.
    #[must_use]
    pub fn worker_events(&self, worker: WorkerId) -> String {
        format!("{}.worker.{worker}.*", self.prefix)
    }

    /// What a worker subscribes to for itself if it takes event messages too:
    /// `<p>.worker.<worker>.>`.
    #[must_use]
    pub fn worker_events_many(&self, worker: WorkerId) -> String {
        format!("{}.worker.{worker}.>", self.prefix)
    }

    /// Where gathered acks go: `<p>.ack.<gateway>`.
    #[must_use]
    pub fn acks(&self, gateway: GatewayId) -> String {
        format!("{}.ack.{gateway}", self.prefix)
    }

    /// The reply subject of batches of these clients of one gateway: `<p>.ack.<gateway>.<conns>`.
    #[must_use]
    pub fn ack(&self, gateway: GatewayId, conns: impl IntoIterator<Item = ConnId>) -> String {
        let mut subject = self.acks(gateway) + ".";
        for conn in conns {
            conn.push_to(&mut subject);
        }
        subject
    }

    /// All reply subjects of a gateway: `<p>.ack.<gateway>.*`.
    #[must_use]
    pub fn ack_replies(&self, gateway: GatewayId) -> String {
        format!("{}.ack.{gateway}.*", self.prefix)
    }

    /// One client: `<p>.client.<gateway>.<conn>`.
    #[must_use]
    pub fn client(&self, client: ClientId) -> String {
        format!("{}.client.{}.{}", self.prefix, client.gateway, client.conn)
    }

    /// All clients of a gateway: `<p>.client.<gateway>.*`.
    #[must_use]
    pub fn clients(&self, gateway: GatewayId) -> String {
        format!("{}.client.{gateway}.*", self.prefix)
    }

    /// All clients of a uid: `<p>.uid.<token>`.
    #[must_use]
    pub fn uid(&self, uid: &Uid) -> String {
        format!("{}.uid.{}", self.prefix, token::encode(uid))
    }

    /// All members of a group: `<p>.group.<token>`.
    #[must_use]
    pub fn group(&self, group: &Group) -> String {
        format!("{}.group.{}", self.prefix, token::encode(group))
    }

    /// Everybody: `<p>.all`.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}.all", self.prefix)
    }

    /// One gateway itself: `<p>.gateway.<gateway>`.
    #[must_use]
    pub fn gateway(&self, gateway: GatewayId) -> String {
        format!("{}.gateway.{gateway}", self.prefix)
    }

    /// A gateway process with all its shards: `<p>.process.<process>`.
    #[must_use]
    pub fn process(&self, process: ProcessId) -> String {
        format!("{}.process.{process}", self.prefix)
    }

    /// The beat of a gateway process: `<p>.beat.gateway.<process>`.
    #[must_use]
    pub fn gateway_beat(&self, process: ProcessId) -> String {
        format!("{}.beat.gateway.{process}", self.prefix)
    }

    /// The beats of all gateway processes.
    #[must_use]
    pub fn gateway_beats(&self) -> String {
        format!("{}.beat.gateway.*", self.prefix)
    }

    /// The beat of a worker: `<p>.beat.worker.<id>`.
    #[must_use]
    pub fn worker_beat(&self, worker: WorkerId) -> String {
        format!("{}.beat.worker.{worker}", self.prefix)
    }

    /// The beats of all workers.
    #[must_use]
    pub fn worker_beats(&self) -> String {
        format!("{}.beat.worker.*", self.prefix)
    }

    /// Everybody beats now: `<p>.who`.
    #[must_use]
    pub fn who(&self) -> String {
        format!("{}.who", self.prefix)
    }

    /// Batches that were given up: `<p>.dead`.
    #[must_use]
    pub fn dead(&self) -> String {
        format!("{}.dead", self.prefix)
    }
}

/// The last token of a subject.
#[must_use]
pub fn last_token(subject: &str) -> &str {
    subject.rsplit('.').next().unwrap_or_default()
}

/// The kind of the events that come on a subject, and whether they come as an
/// [`EventMessage`](crate::EventMessage).
#[must_use]
pub fn event(subject: &str) -> Option<(EventKind, bool)> {
    let (batch, many) = match subject.strip_suffix(MANY) {
        Some(batch) => (batch, true),
        None => (subject, false),
    };
    let mut tokens = batch.rsplit('.');
    let (kind, _whose, what) = (tokens.next()?, tokens.next()?, tokens.next()?);
    matches!(what, "event" | "worker").then_some((EventKind::from_token(kind)?, many))
}

/// The connection that a client's subject ends with.
#[must_use]
pub fn conn(subject: &str) -> Option<ConnId> {
    last_token(subject).parse().ok()
}

/// The connections that a reply subject ends with, one behind the other, up to what is none.
pub fn conns(subject: &str) -> impl Iterator<Item = ConnId> {
    let (digits, rest) = last_token(subject)
        .as_bytes()
        .as_chunks::<{ ConnId::DIGITS }>();
    let digits = if rest.is_empty() { digits } else { &[] };
    digits
        .iter()
        .map_while(|digits| str::from_utf8(digits).ok()?.parse().ok())
}

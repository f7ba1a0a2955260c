//! Metrics: one struct for the process, one handle for each shard.
//!
//! Labels come from enums and from the listeners' services only, so there are as many series as the
//! configuration makes, whatever clients do. A shard resolves its counters once, at its start.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use wire::{AckStatus, CloseCode, DeadReason, EventKind, ServiceName};

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge<u64, AtomicU64>>;
pub(crate) type GaugeU64 = Gauge<u64, AtomicU64>;

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    families: Families,
}

macro_rules! families {
    ($($name:ident: $type:ident, $metric:literal, $unit:expr, $help:literal;)*) => {
        struct Families { $($name: $type),* }

        impl Families {
            fn register(registry: &mut Registry) -> Self {
                $(
                    let $name = $type::default();
                    match $unit {
                        None => registry.register($metric, $help, $name.clone()),
                        Some(unit) => registry.register_with_unit($metric, $help, unit, $name.clone()),
                    }
                )*
                Self { $($name),* }
            }
        }
    };
}

families! {
    connections: Gauges, "connections", None::<Unit>, "Clients that are connected";
    closing: Gauges, "clients_closing", None::<Unit>, "Clients that are gone and whose last events are not acknowledged yet";
    uids: Gauges, "uids", None::<Unit>, "Distinct uids with a client here";
    groups: Gauges, "groups", None::<Unit>, "Groups with a member here";
    link_up: Gauges, "link_up", None::<Unit>, "Whether the shard's NATS connection is ready (1) or not (0)";
    opened: Counters, "connections_opened", None::<Unit>, "Clients that shook hands";
    closed: Counters, "connections_closed", None::<Unit>, "Connections that ended, by reason";
    refused: Counters, "handshakes_refused", None::<Unit>, "Visitors that did not become clients, by reason";
    received: Counters, "received_messages", None::<Unit>, "Messages from clients";
    received_bytes: Counters, "received", Some(Unit::Bytes), "Messages from clients";
    sent: Counters, "sent_messages", None::<Unit>, "Messages put into clients' mailboxes";
    sent_bytes: Counters, "sent", Some(Unit::Bytes), "Frames put into clients' mailboxes";
    dropped: Counters, "dropped_messages", None::<Unit>, "Messages that a slow client's full mailbox did not take";
    paused: Counters, "reads_paused", None::<Unit>, "Times that a socket was not read because its events waited";
    events: Counters, "events", None::<Unit>, "Events of clients, by kind";
    batches: Counters, "batches_published", None::<Unit>, "Deliveries of batches of events";
    messages: Counters, "event_messages_published", None::<Unit>, "NATS messages that batches went out in; fewer than batches where several share one";
    redelivered: Counters, "batches_redelivered", None::<Unit>, "Deliveries with an attempt above 1";
    acks: Counters, "acks", None::<Unit>, "Acks of workers, by status";
    late: Counters, "acks_late", None::<Unit>, "Acks that were ignored because their delivery was not in flight";
    failed: Counters, "events_failed", None::<Unit>, "Events whose handler failed";
    no_worker: Counters, "batches_refused", None::<Unit>, "Deliveries for which NATS knew no worker";
    moved: Counters, "clients_moved", None::<Unit>, "Times that a client let go of the worker that it stuck to, by reason";
    dead: Counters, "events_dead", None::<Unit>, "Events that were given up, by reason";
    unsent: Counters, "answers_dropped", None::<Unit>, "Answers that NATS would not take: too large, or too much waits";
    sessions_refused: Counters, "session_changes_refused", None::<Unit>, "Changes of sessions that were dropped because the session would be no session any more, or too large";
    commands: Counters, "commands", None::<Unit>, "Commands that were received";
    queries: Counters, "queries", None::<Unit>, "Queries that were answered";
    malformed: Counters, "malformed_messages", None::<Unit>, "NATS messages that were dropped because they do not decode";
    certificate_expires: Gauges, "certificate_expiry_timestamp_seconds", None::<Unit>, "When the listener's certificate expires, in seconds since 1970";
    certificate_reloads: Counters, "certificate_reloads", None::<Unit>, "Times that the listener's certificate files changed, by outcome";
    reconnects: Counters, "link_lost", None::<Unit>, "Times that the shard's NATS connection was lost";
}

/// One shard's counters.
pub(crate) struct ShardMetrics {
    /// By the number of the listener; listeners of one service share what is counted.
    services: Vec<ServiceMetrics>,
    pub(crate) closing: GaugeU64,
    pub(crate) uids: GaugeU64,
    pub(crate) groups: GaugeU64,
    pub(crate) link_up: GaugeU64,
    pub(crate) received: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) dropped: Counter,
    pub(crate) paused: Counter,
    pub(crate) late: Counter,
    pub(crate) unsent: Counter,
    pub(crate) sessions_refused: Counter,
    pub(crate) commands: Counter,
    pub(crate) queries: Counter,
    pub(crate) malformed: Counter,
    pub(crate) reconnects: Counter,
    refused: Vec<(&'static str, Counter)>,
    closed: Vec<(&'static str, Counter)>,
}

/// What a shard counts of one service: by these figures its workers are scaled.
pub(crate) struct ServiceMetrics {
    pub(crate) connections: GaugeU64,
    pub(crate) opened: Counter,
    pub(crate) batches: Counter,
    pub(crate) messages: Counter,
    pub(crate) redelivered: Counter,
    pub(crate) failed: Counter,
    pub(crate) no_worker: Counter,
    events: [Counter; 4],
    acks: [Counter; 4],
    dead: [Counter; 4],
    moved: [Counter; 3],
}

/// Why a client lets go of the worker that it sticks to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moved {
    /// NATS knows it no more.
    Gone,
    /// It did not answer within `ack_wait`.
    Silent,
    /// It was busy too often.
    Busy,
}

/// How a connection ended, beside the close codes of the gateway.
const CLOSED: [&str; 5] = ["client", "cut", "command", "destroyed", AGED];
/// It was over its `--max-connection-age`.
pub(crate) const AGED: &str = "aged";

/// Why a visitor did not become a client.
const REFUSED: [&str; 6] = ["full", "slow", "gone", "proxy_header", "tls", "handshake"];

/// What is told of one listener's certificate.
pub(crate) struct CertificateMetrics {
    /// In seconds since 1970.
    pub(crate) expires: GaugeU64,
    pub(crate) renewed: Counter,
    pub(crate) broken: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("gatebus_gateway");
        let families = Families::register(&mut registry);
        Self { registry, families }
    }

    /// The text that Prometheus scrapes.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to memory does not fail");
        text
    }

    /// What is told of the certificate of one listener, which is named as it was bound.
    pub(crate) fn certificate(&self, listener: &str) -> CertificateMetrics {
        let f = &self.families;
        let plain = || vec![("listener", listener.to_owned())];
        let reloads = |outcome: &str| {
            let labels = [plain(), vec![("outcome", outcome.to_owned())]].concat();
            f.certificate_reloads.get_or_create_owned(&labels)
        };
        CertificateMetrics {
            expires: f.certificate_expires.get_or_create_owned(&plain()),
            renewed: reloads("renewed"),
            broken: reloads("broken"),
        }
    }

    /// The counters of one shard, every one at 0, with listeners for these services.
    pub(crate) fn shard(&self, shard: u16, services: &[ServiceName]) -> ShardMetrics {
        let f = &self.families;
        let plain = || vec![("shard", shard.to_string())];
        let with = |name, value: &str| vec![("shard", shard.to_string()), (name, value.to_owned())];
        let counter = |family: &Counters| family.get_or_create_owned(&plain());
        let gauge = |family: &Gauges| family.get_or_create_owned(&plain());
        let labels = CloseCode::ALL.iter().map(|c| c.label()).chain(CLOSED);
        ShardMetrics {
            services: services
                .iter()
                .map(|name| self.service(shard, name))
                .collect(),
            closing: gauge(&f.closing),
            uids: gauge(&f.uids),
            groups: gauge(&f.groups),
            link_up: gauge(&f.link_up),
            received: counter(&f.received),
            received_bytes: counter(&f.received_bytes),
            sent: counter(&f.sent),
            sent_bytes: counter(&f.sent_bytes),
            dropped: counter(&f.dropped),
            paused: counter(&f.paused),
            late: counter(&f.late),
            unsent: counter(&f.unsent),
            sessions_refused: counter(&f.sessions_refused),
            commands: counter(&f.commands),
            queries: counter(&f.queries),
            malformed: counter(&f.malformed),
            reconnects: counter(&f.reconnects),
            refused: REFUSED
                .map(|l| (l, f.refused.get_or_create_owned(&with("reason", l))))
                .into(),
            closed: labels
                .map(|l| (l, f.closed.get_or_create_owned(&with("reason", l))))
                .collect(),
        }
    }

    fn service(&self, shard: u16, service: &ServiceName) -> ServiceMetrics {
        let f = &self.families;
        let plain = || {
            vec![
                ("shard", shard.to_string()),
                ("service", service.to_string()),
            ]
        };
        let counter = |family: &Counters| family.get_or_create_owned(&plain());
        let each = |family: &Counters, name, value: &str| {
            let labels = [plain(), vec![(name, value.to_owned())]].concat();
            family.get_or_create_owned(&labels)
        };
        let statuses = ["done", "retry", "progress", "busy"];
        let reasons = ["attempts", "no_worker", "drain", "too_large"];
        ServiceMetrics {
            connections: f.connections.get_or_create_owned(&plain()),
            opened: counter(&f.opened),
            batches: counter(&f.batches),
            messages: counter(&f.messages),
            redelivered: counter(&f.redelivered),
            failed: counter(&f.failed),
            no_worker: counter(&f.no_worker),
            events: EventKind::ALL.map(|kind| each(&f.events, "kind", kind.token())),
            acks: statuses.map(|status| each(&f.acks, "status", status)),
            dead: reasons.map(|reason| each(&f.dead, "reason", reason)),
            moved: ["gone", "silent", "busy"].map(|why| each(&f.moved, "reason", why)),
        }
    }
}

impl ShardMetrics {
    pub(crate) fn refused(&self, label: &str) {
        if let Some((_, counter)) = self.refused.iter().find(|(l, _)| *l == label) {
            counter.inc();
        }
    }

    pub(crate) fn closed(&self, label: &str) {
        if let Some((_, counter)) = self.closed.iter().find(|(l, _)| *l == label) {
            counter.inc();
        }
    }

    /// What is counted of the service of a listener, by the listener's number.
    pub(crate) fn service(&self, listener: u16) -> &ServiceMetrics {
        &self.services[usize::from(listener)]
    }
}

impl ServiceMetrics {
    pub(crate) fn event(&self, kind: EventKind) {
        self.events[kind as usize].inc();
    }

    pub(crate) fn ack(&self, status: AckStatus) {
        self.acks[status as usize].inc();
    }

    pub(crate) fn moved(&self, why: Moved) {
        self.moved[why as usize].inc();
    }

    pub(crate) fn dead(&self, reason: DeadReason, events: u64) {
        self.dead[reason as usize].inc_by(events);
    }
}

//! Metrics: one struct for the process.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::{call::calls, failure::Code, server::Reason, target::Kind};

type Labels = Vec<(&'static str, &'static str)>;
type Counters = Family<Labels, Counter>;

/// Everything that is counted. Labels come from the tables of codes, calls and kinds.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Counters,
    calls: Counters,
    took: Histogram,
    running: Gauge<u64, AtomicU64>,
    connections: Gauge<u64, AtomicU64>,
    closed: Counters,
    nats_up: Gauge<u64, AtomicU64>,
}

/// How it is counted that nothing went wrong.
const OK: &str = "ok";

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("gatebus_api");
        let (requests, called) = (Counters::default(), Counters::default());
        // from 1 ms to 16 s: what needs no gateway, and what waits for one that is silent
        let took = Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let (running, nats_up) = (Gauge::default(), Gauge::default());
        let (connections, closed) = (Gauge::default(), Counters::default());
        let help = "HTTP requests, by code of the answer";
        registry.register("requests", help, requests.clone());
        let help = "Commands and queries, those of batches too, by call, target and code";
        registry.register("calls", help, called.clone());
        let help = "How long requests of calls and batches took, from their heads to their answers";
        registry.register_with_unit("request_duration", help, Unit::Seconds, took.clone());
        let help = "Requests that are at work";
        registry.register("requests_running", help, running.clone());
        let help = "Connections of callers";
        registry.register("connections", help, connections.clone());
        let help = "Connections that were closed because their callers dawdled, or to make room";
        registry.register("connections_closed", help, closed.clone());
        let help = "Whether there is a connection to NATS (1) or not (0)";
        registry.register("nats_up", help, nats_up.clone());
        for code in Code::ALL.map(Code::name).into_iter().chain([OK]) {
            let _ = requests.get_or_create(&vec![("code", code)]);
        }
        for reason in Reason::ALL {
            let _ = closed.get_or_create(&vec![("reason", reason.word())]);
        }
        for call in calls() {
            for kind in call.kinds {
                let _ = called.get_or_create(&labels(call.name, *kind, OK));
            }
        }
        Self {
            registry,
            requests,
            calls: called,
            took,
            running,
            connections,
            closed,
            nats_up,
        }
    }

    /// A request is at work until what is returned is dropped, also if its caller hangs up.
    pub(crate) fn at_work(&self) -> Counted<'_> {
        Counted::new(&self.running)
    }

    /// There is one connection more, until what is returned is dropped.
    pub(crate) fn connected(&self) -> Counted<'_> {
        Counted::new(&self.connections)
    }

    /// A connection was closed.
    pub(crate) fn closed(&self, reason: Reason) {
        let labels = vec![("reason", reason.word())];
        self.closed.get_or_create(&labels).inc();
    }

    /// A call or a batch was answered after so long.
    pub(crate) fn took(&self, time: Duration) {
        self.took.observe(time.as_secs_f64());
    }

    /// A request was answered.
    pub(crate) fn request(&self, code: Option<Code>) {
        let labels = vec![("code", code.map_or(OK, Code::name))];
        self.requests.get_or_create(&labels).inc();
    }

    /// A call was done, or failed.
    pub(crate) fn call(&self, name: &'static str, kind: Kind, code: Option<Code>) {
        let labels = labels(name, kind, code.map_or(OK, Code::name));
        self.calls.get_or_create(&labels).inc();
    }

    /// The text that Prometheus scrapes.
    pub(crate) fn text(&self, nats_is_up: bool) -> String {
        self.nats_up.set(nats_is_up.into());
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to memory does not fail");
        text
    }
}

/// One more of something, until it is dropped.
pub(crate) struct Counted<'a>(&'a Gauge<u64, AtomicU64>);

impl<'a> Counted<'a> {
    fn new(gauge: &'a Gauge<u64, AtomicU64>) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn labels(call: &'static str, kind: Kind, code: &'static str) -> Labels {
    vec![("call", call), ("target", kind.word()), ("code", code)]
}

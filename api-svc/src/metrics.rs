//! Metrics: one struct for the process.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{call::calls, failure::Code, target::Kind};

type Labels = Vec<(&'static str, &'static str)>;
type Counters = Family<Labels, Counter>;

/// Everything that is counted. Labels come from the tables of codes, calls and kinds.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Counters,
    calls: Counters,
    /// Requests at work.
    pub(crate) running: Gauge<u64, AtomicU64>,
    nats_up: Gauge<u64, AtomicU64>,
}

/// How it is counted that nothing went wrong.
const OK: &str = "ok";

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("gatebus_api");
        let (requests, called) = (Counters::default(), Counters::default());
        let (running, nats_up) = (Gauge::default(), Gauge::default());
        let help = "HTTP requests, by code of the answer";
        registry.register("requests", help, requests.clone());
        let help = "Commands and queries, those of batches too, by call, target and code";
        registry.register("calls", help, called.clone());
        let help = "Requests that are at work";
        registry.register("requests_running", help, running.clone());
        let help = "Whether there is a connection to NATS (1) or not (0)";
        registry.register("nats_up", help, nats_up.clone());
        for code in Code::ALL.map(Code::name).into_iter().chain([OK]) {
            let _ = requests.get_or_create(&vec![("code", code)]);
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
            running,
            nats_up,
        }
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

fn labels(call: &'static str, kind: Kind, code: &'static str) -> Labels {
    vec![("call", call), ("target", kind.word()), ("code", code)]
}

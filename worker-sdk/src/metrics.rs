//! Metrics: a worker's tally as the text that Prometheus scrapes.

use std::fmt::{Display, Write};

use wire::{EventKind, ServiceName};

use crate::tally::{Outcome, STATUSES, Tally, Times};

/// OpenMetrics, as the gateway's.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const PREFIX: &str = "gatebus_worker_";

/// What is told beside the tally.
pub(crate) struct Around {
    pub(crate) concurrency: usize,
    /// In seconds since 1970.
    pub(crate) started: f64,
    pub(crate) link_up: bool,
    pub(crate) link_lost: u64,
    pub(crate) outbox_bytes: usize,
}

/// The whole text.
pub(crate) fn text(service: &ServiceName, tally: &Tally, around: &Around) -> String {
    let mut page = Page {
        service,
        text: String::with_capacity(8 * 1024),
    };
    page.gauge(
        "link_up",
        "Whether NATS is connected (1) or not (0)",
        u8::from(around.link_up),
    );
    page.count(
        "link_lost",
        "Times that the connection to NATS was lost",
        around.link_lost,
    );
    page.gauge(
        "outbox_bytes",
        "What waits to be taken by NATS",
        around.outbox_bytes,
    );
    page.gauge(
        "concurrency",
        "Batches that are handled at the same time at the most",
        around.concurrency,
    );
    page.gauge(
        "batches_running",
        "Batches that are being handled",
        tally.running(),
    );
    let batches =
        EventKind::ALL.map(|kind| (format!("kind=\"{}\"", kind.token()), tally.batches(kind)));
    page.counts("batches", "Batches that were handled, by kind", batches);
    page.count(
        "batches_redelivered",
        "Deliveries with an attempt above 1",
        tally.redelivered(),
    );
    let events = EventKind::ALL.into_iter().flat_map(|kind| {
        Outcome::ALL.map(|outcome| {
            let labels = format!("kind=\"{}\",outcome=\"{}\"", kind.token(), outcome.label());
            (labels, tally.events(kind, outcome))
        })
    });
    page.counts(
        "events",
        "Events that handlers were called for, by kind and outcome",
        events,
    );
    page.times(
        "handler_duration_seconds",
        "How long handlers took, by kind",
        tally,
    );
    page.count("handler_panics", "Handlers that panicked", tally.panics());
    let acks = STATUSES.map(|(status, label)| (format!("status=\"{label}\""), tally.acks(status)));
    page.counts("acks", "Acks that were sent, by status", acks);
    page.count(
        "malformed_messages",
        "Messages that were dropped because they do not decode",
        tally.malformed_messages(),
    );
    page.gauge(
        "start_time_seconds",
        "When the worker started, in seconds since 1970",
        around.started,
    );
    page.text.push_str("# EOF\n");
    page.text
}

struct Page<'a> {
    service: &'a ServiceName,
    text: String,
}

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.line(name, "", value);
    }

    fn count(&mut self, name: &str, help: &str, value: u64) {
        self.counts(name, help, [(String::new(), value)]);
    }

    fn counts(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (String, u64)>) {
        self.head(name, "counter", help);
        let name = format!("{name}_total");
        for (labels, value) in samples {
            self.line(&name, &labels, value);
        }
    }

    fn times(&mut self, name: &str, help: &str, tally: &Tally) {
        self.head(name, "histogram", help);
        for kind in EventKind::ALL {
            let Some(times) = tally.times(kind) else {
                continue;
            };
            let kind = format!("kind=\"{}\"", kind.token());
            let cumulated = times.cumulated();
            for (bound, count) in Times::BOUNDS.into_iter().zip(cumulated) {
                let labels = format!("{kind},le=\"{bound:?}\"");
                self.line(&format!("{name}_bucket"), &labels, count);
            }
            let all = cumulated[Times::BOUNDS.len()];
            let labels = format!("{kind},le=\"+Inf\"");
            self.line(&format!("{name}_bucket"), &labels, all);
            self.line(&format!("{name}_sum"), &kind, times.sum());
            self.line(&format!("{name}_count"), &kind, all);
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let name = format!("{PREFIX}{name}");
        let _ = writeln!(self.text, "# HELP {name} {help}.\n# TYPE {name} {kind}");
        if name.ends_with("_seconds") {
            let _ = writeln!(self.text, "# UNIT {name} seconds");
        } else if name.ends_with("_bytes") {
            let _ = writeln!(self.text, "# UNIT {name} bytes");
        }
    }

    /// A service's name needs no escaping.
    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let comma = if labels.is_empty() { "" } else { "," };
        let service = self.service;
        let _ = writeln!(
            self.text,
            "{PREFIX}{name}{{service=\"{service}\"{comma}{labels}}} {value}"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_sample_follows_its_head_and_comes_once() {
        let tally = Tally::timing();
        tally.event(EventKind::Message, Outcome::Failed);
        tally.took(EventKind::Message, tally.clock());
        let around = Around {
            concurrency: 3,
            started: 1.5,
            link_up: true,
            link_lost: 0,
            outbox_bytes: 0,
        };
        let text = text(&"chat".parse().unwrap(), &tally, &around);
        let (mut family, mut seen) = (String::new(), HashSet::new());
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# TYPE ") {
                family = head.split(' ').next().unwrap().to_owned();
            } else if !line.starts_with('#') {
                assert!(line.starts_with(&family), "{line}");
                assert!(seen.insert(line.rsplit_once(' ').unwrap().0), "{line}");
            }
        }
        let failed =
            r#"gatebus_worker_events_total{service="chat",kind="message",outcome="failed"} 1"#;
        assert!(text.lines().any(|line| line == failed), "{text}");
        assert!(text.ends_with("\n# EOF\n"));
    }
}

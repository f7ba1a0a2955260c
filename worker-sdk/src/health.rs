//! A worker's health: whether it takes events, and what it did.

use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::SystemTime,
};

use wire::ServiceName;

use crate::{
    link::Link,
    metrics::{self, Around},
    tally::Tally,
};

const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

/// What the admin port tells of.
pub(crate) struct Health {
    service: ServiceName,
    concurrency: usize,
    pub(crate) started: SystemTime,
    pub(crate) tally: Arc<Tally>,
    state: AtomicU8,
    /// None until NATS was there for the first time.
    link: OnceLock<Weak<Link>>,
}

impl Health {
    /// Of a worker that starts.
    pub(crate) fn new(service: ServiceName, concurrency: usize, tally: Arc<Tally>) -> Self {
        Self {
            service,
            concurrency,
            started: SystemTime::now(),
            tally,
            state: AtomicU8::new(STARTING),
            link: OnceLock::new(),
        }
    }

    pub(crate) fn connected(&self, link: &Arc<Link>) {
        // Once in a worker's life; the link sees to it from then on.
        let _ = self.link.set(Arc::downgrade(link));
    }

    /// It takes events from now on.
    pub(crate) fn ready(&self) {
        self.state.store(READY, Relaxed);
    }

    pub(crate) fn stopping(&self) {
        self.state.store(STOPPING, Relaxed);
    }

    /// Why it takes no events, if it does not.
    pub(crate) fn unready(&self) -> Option<&'static str> {
        let state = self.state.load(Relaxed);
        let link = self.link();
        if state == STOPPING {
            Some("the worker is stopping")
        } else if link.as_ref().is_none_or(|link| !link.is_connected()) {
            Some("NATS is not connected")
        } else if state == STARTING {
            Some("the worker is starting")
        } else if link.is_some_and(|link| self.is_refused(&link)) {
            Some("NATS refuses the subscription to events, see the log")
        } else {
            None
        }
    }

    fn is_refused(&self, link: &Link) -> bool {
        let subjects = [
            link.subjects.events_many(&self.service),
            link.subjects.worker_events_many(link.id),
        ];
        subjects
            .iter()
            .any(|subject| link.weather.is_refused(subject))
    }

    pub(crate) fn metrics(&self) -> String {
        let link = self.link();
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH);
        let around = Around {
            concurrency: self.concurrency,
            started: started.map_or(0.0, |since| since.as_secs_f64()),
            link_up: link.as_ref().is_some_and(|link| link.is_connected()),
            link_lost: link.as_ref().map_or(0, |link| link.weather.lost()),
            outbox_bytes: link.as_ref().map_or(0, |link| link.outbox.bytes()),
        };
        metrics::text(&self.service, &self.tally, &around)
    }

    fn link(&self) -> Option<Arc<Link>> {
        self.link.get()?.upgrade()
    }
}

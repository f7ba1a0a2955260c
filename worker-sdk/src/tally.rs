//! The tally: what a worker did since its start, in numbers.
//!
//! Counted with plain atomics, whether or not somebody looks. Handlers are timed only for whoever
//! has an admin port, because a look at the clock has its price.

use std::{
    array::from_fn,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use wire::{AckStatus, EventKind};

const KINDS: usize = EventKind::ALL.len();

/// How one event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed,
    Retry,
}

impl Outcome {
    pub(crate) const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Retry];

    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Retry => "retry",
        }
    }
}

/// Every status of an ack, with its label.
pub(crate) const STATUSES: [(AckStatus, &str); 4] = [
    (AckStatus::Done, "done"),
    (AckStatus::Retry, "retry"),
    (AckStatus::Progress, "progress"),
    (AckStatus::Busy, "busy"),
];

/// What a worker did since its start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    running: AtomicU64,
    /// Rings when no batch is running any more.
    idle: Notify,
    batches: [AtomicU64; KINDS],
    redelivered: AtomicU64,
    events: [[AtomicU64; Outcome::ALL.len()]; KINDS],
    panics: AtomicU64,
    acks: [AtomicU64; STATUSES.len()],
    malformed: AtomicU64,
    /// By kind; none where handlers are not timed.
    times: Option<Box<[Times; KINDS]>>,
}

impl Tally {
    /// One that times handlers.
    pub(crate) fn timing() -> Self {
        Self {
            times: Some(Box::default()),
            ..Self::default()
        }
    }

    pub(crate) fn begin_batch(&self) {
        self.running.fetch_add(1, Relaxed);
    }

    pub(crate) fn end_batch(&self) {
        if self.running.fetch_sub(1, AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }

    /// Resolves when no batch is running.
    pub(crate) async fn until_idle(&self) {
        loop {
            let mut rings = pin!(self.idle.notified());
            rings.as_mut().enable();
            if self.running.load(Acquire) == 0 {
                return;
            }
            rings.await;
        }
    }

    pub(crate) fn delivery(&self, attempt: u32) {
        if attempt > 1 {
            self.redelivered.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn batch(&self, kind: EventKind) {
        self.batches[kind as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn event(&self, kind: EventKind, outcome: Outcome) {
        self.events[kind as usize][outcome as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn panic(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    pub(crate) fn ack(&self, status: AckStatus) {
        self.acks[status as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn malformed(&self) {
        self.malformed.fetch_add(1, Relaxed);
    }

    /// Now, if handlers are timed.
    pub(crate) fn clock(&self) -> Option<Instant> {
        self.times.is_some().then(Instant::now)
    }

    /// A handler began when [`clock`](Self::clock) said, and has ended.
    pub(crate) fn took(&self, kind: EventKind, began: Option<Instant>) {
        if let (Some(times), Some(began)) = (&self.times, began) {
            times[kind as usize].note(began.elapsed());
        }
    }

    /// Batches being handled now.
    pub(crate) fn running(&self) -> u64 {
        self.running.load(Relaxed)
    }

    /// Events that are over with, failed ones included.
    pub(crate) fn handled(&self) -> u64 {
        self.sum(Outcome::Done) + self.failed()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.sum(Outcome::Failed)
    }

    fn sum(&self, outcome: Outcome) -> u64 {
        let of = |kind| self.events(kind, outcome);
        EventKind::ALL.into_iter().map(of).sum()
    }

    pub(crate) fn batches(&self, kind: EventKind) -> u64 {
        self.batches[kind as usize].load(Relaxed)
    }

    pub(crate) fn redelivered(&self) -> u64 {
        self.redelivered.load(Relaxed)
    }

    pub(crate) fn events(&self, kind: EventKind, outcome: Outcome) -> u64 {
        self.events[kind as usize][outcome as usize].load(Relaxed)
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    pub(crate) fn acks(&self, status: AckStatus) -> u64 {
        self.acks[status as usize].load(Relaxed)
    }

    pub(crate) fn malformed_messages(&self) -> u64 {
        self.malformed.load(Relaxed)
    }

    /// How long handlers of this kind took, if they are timed.
    pub(crate) fn times(&self, kind: EventKind) -> Option<&Times> {
        self.times.as_ref().map(|times| &times[kind as usize])
    }
}

/// How long something took, as a histogram.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// The last one is for what took longer than all bounds.
    buckets: [AtomicU64; Self::BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Times {
    /// The buckets' upper bounds, in seconds.
    pub(crate) const BOUNDS: [f64; 11] = [
        0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0,
    ];

    fn note(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = Self::BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[place].fetch_add(1, Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// How many took at most as long as each bound says; the last one is all of them.
    pub(crate) fn cumulated(&self) -> [u64; Self::BOUNDS.len() + 1] {
        let mut sum = 0;
        from_fn(|place| {
            sum += self.buckets[place].load(Relaxed);
            sum
        })
    }

    /// How long they took together, in seconds.
    pub(crate) fn sum(&self) -> f64 {
        Duration::from_nanos(self.nanos.load(Relaxed)).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_on_a_bound_is_within_it_and_the_longest_are_counted_too() {
        let times = Times::default();
        for micros in [0, 100, 101, 10_000_000, 10_000_001] {
            times.note(Duration::from_micros(micros));
        }
        assert_eq!(times.cumulated(), [2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5]);
        assert!((times.sum() - 20.000_202).abs() < 1e-9, "{}", times.sum());
    }

    #[test]
    fn every_status_is_counted_in_a_place_of_its_own() {
        let tally = Tally::default();
        for (n, (status, _)) in STATUSES.into_iter().enumerate() {
            (0..=n).for_each(|_| tally.ack(status));
        }
        let counted = STATUSES.map(|(status, _)| tally.acks(status));
        assert_eq!(counted, [1, 2, 3, 4]);
    }
}

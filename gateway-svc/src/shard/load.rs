//! Load: what the workers of a service have in hand, and so how many batches may share a message.
//!
//! In a message of many a batch costs NATS and the worker far less than in one of its own. But a
//! message goes to one worker whole, so there must be enough of them for all workers.

use rustc_hash::FxHashMap;
use wire::{WorkerId, event::MAX_BATCHES};

use crate::dispatch::{InFlight, Millis};

/// What is in flight is at least so many messages for each worker: so NATS's dice come out even.
const MESSAGES_A_WORKER: usize = 8;
/// Who acknowledged nothing for so long is no worker any more. To count one that is gone only makes
/// messages smaller; not to count one that is there leaves it without its share.
const FORGOTTEN_MS: Millis = 300_000;
/// The same of a worker that takes one batch in a message: while it counts, nothing is shared.
const PLAIN_FORGOTTEN_MS: Millis = 30_000;
/// With so many workers nobody needs to be counted any more.
const MOST_WORKERS: usize = 1024;

/// The workers of one listener's service, as a shard sees them.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) in_flight: InFlight,
    workers: FxHashMap<WorkerId, Heard>,
    /// Who was heard of last, and when.
    latest: Option<(WorkerId, Millis)>,
    /// Whether there is a worker that takes one batch in a message only.
    plain: bool,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    at: Millis,
    /// It takes several batches in a message.
    many: bool,
}

impl Load {
    /// A worker acknowledged something.
    pub(super) fn heard_of(&mut self, worker: WorkerId, many: bool, now: Millis) {
        if self.latest == Some((worker, now)) {
            return;
        }
        self.latest = Some((worker, now));
        if self.workers.len() < MOST_WORKERS || self.workers.contains_key(&worker) {
            self.workers.insert(worker, Heard { at: now, many });
            self.plain |= !many;
        }
    }

    /// Forgets who was not heard of for long.
    pub(super) fn forget(&mut self, now: Millis) {
        self.keep(|heard| {
            let most = if heard.many {
                FORGOTTEN_MS
            } else {
                PLAIN_FORGOTTEN_MS
            };
            now < heard.at + most
        });
    }

    /// NATS knows nobody who takes several batches in a message.
    pub(super) fn only_plain(&mut self) {
        self.keep(|heard| !heard.many);
    }

    fn keep(&mut self, which: impl Fn(Heard) -> bool) {
        self.workers.retain(|_, heard| which(*heard));
        self.plain = self.workers.values().any(|heard| !heard.many);
        self.latest = None;
    }

    /// How many batches may share a message to any of the workers, when so many are ready.
    pub(super) fn share(&self, ready: usize) -> usize {
        if self.plain {
            return 1;
        }
        let messages = MESSAGES_A_WORKER * self.workers.len();
        let share = (self.in_flight.count() + ready).checked_div(messages);
        share.unwrap_or_default().clamp(1, MAX_BATCHES)
    }

    /// How many may share a message to this very worker.
    pub(super) fn share_of(&self, worker: WorkerId) -> usize {
        match self.workers.get(&worker) {
            Some(Heard { many: true, .. }) => MAX_BATCHES,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(n: u8) -> WorkerId {
        WorkerId::from_bytes([n; 6])
    }

    #[test]
    fn batches_share_a_message_only_if_there_are_messages_enough_for_every_worker() {
        let mut load = Load::default();
        let flights: Vec<_> = (0..160).map(|_| load.in_flight.begin()).collect();
        assert_eq!(load.share(0), 1, "nobody knows how many workers there are");
        load.heard_of(worker(1), true, 0);
        assert_eq!(load.share(0), 20);
        load.heard_of(worker(2), true, 0);
        load.heard_of(worker(1), true, 0);
        assert_eq!(load.share(0), 10);
        assert_eq!(load.share(160), 20);
        drop(flights);
        assert_eq!(load.share(0), 1);
    }

    #[test]
    fn a_worker_that_is_not_heard_of_is_forgotten() {
        let mut load = Load::default();
        let _flights: Vec<_> = (0..160).map(|_| load.in_flight.begin()).collect();
        load.heard_of(worker(1), true, 0);
        load.heard_of(worker(2), true, 0);
        load.heard_of(worker(2), true, FORGOTTEN_MS);
        load.forget(FORGOTTEN_MS);
        assert_eq!(load.share(0), 20);
    }

    #[test]
    fn a_worker_that_takes_one_batch_at_a_time_gets_one_at_a_time() {
        let mut load = Load::default();
        load.heard_of(worker(1), true, 0);
        assert_eq!(load.share(160), 20);
        load.heard_of(worker(2), false, 0);
        assert_eq!(load.share(160), 1);
        assert_eq!(load.share_of(worker(1)), MAX_BATCHES);
        assert_eq!(load.share_of(worker(2)), 1);
        assert_eq!(load.share_of(worker(3)), 1, "who knows");
        load.forget(PLAIN_FORGOTTEN_MS);
        assert_eq!(load.share(160), 20);
        load.only_plain();
        assert_eq!(load.share(160), 1);
        assert_eq!(load.share_of(worker(1)), 1);
    }
}

//! What the shards of a process share: its identity, its state, and the numbers in its beat.

use std::{
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::Notify;
use wire::{GatewayBeat, GatewayId, NodeState, ProcessId, ShardBeat};

/// Shared by all shards; written rarely, read by the one that beats and by the admin port.
pub(crate) struct Process {
    id: ProcessId,
    host: String,
    started: u64,
    state: AtomicU8,
    /// Counts changes of state: each is told at once.
    pub(crate) changes: AtomicU32,
    shards: Vec<ShardStatus>,
    /// How many shards have not yet left.
    staying: AtomicU32,
    /// Rings when somebody on the bus ordered a drain.
    ordered: Notify,
    /// Connections, handshakes under way included, and the most that are taken.
    seated: AtomicU64,
    most: u64,
    /// No place was left, and not many are yet.
    full: AtomicBool,
    since: Instant,
    /// How long NATS may be away before the process calls itself unready.
    patience: Duration,
    /// When the first of the links was lost, in milliseconds and one more; 0 while they have not all
    /// been up yet.
    lost_at: AtomicU64,
    /// When a connection could last not be accepted, in milliseconds.
    short_at: AtomicU64,
}

/// A connection's place among the most that the process takes; free again when dropped.
pub(crate) struct Seat(Arc<Process>);

impl Seat {
    /// Takes a place, if one is free.
    pub(crate) fn take(process: &Arc<Process>) -> Option<Self> {
        let before = process.seated.fetch_add(1, Relaxed);
        if before + 1 >= process.most {
            process.full.store(true, Relaxed);
        }
        if before >= process.most {
            process.seated.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Self(process.clone()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let left = self.0.seated.fetch_sub(1, Relaxed) - 1;
        // not at the first that goes, or load balancers would be told so again and again
        if left < self.0.most - self.0.most / 20 {
            self.0.full.store(false, Relaxed);
        }
    }
}

/// What one shard says of itself.
pub(crate) struct ShardStatus {
    pub(crate) gateway: GatewayId,
    pub(crate) ready: AtomicBool,
    left: AtomicBool,
    pub(crate) clients: AtomicU64,
    pub(crate) uids: AtomicU64,
    pub(crate) groups: AtomicU64,
}

const READY: u8 = 0;
const DRAINING: u8 = 1;
const LEAVING: u8 = 2;

impl Process {
    pub(crate) fn new(shards: u16, most: u64, patience: Duration) -> Self {
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .unwrap_or_default()
            .trim()
            .to_owned();
        let shard = |_| ShardStatus {
            gateway: GatewayId::from_bytes(rand::random()),
            ready: AtomicBool::new(false),
            left: AtomicBool::new(false),
            clients: AtomicU64::new(0),
            uids: AtomicU64::new(0),
            groups: AtomicU64::new(0),
        };
        Self {
            id: ProcessId::from_bytes(rand::random()),
            host,
            started,
            state: AtomicU8::new(READY),
            changes: AtomicU32::new(0),
            shards: (0..shards).map(shard).collect(),
            staying: AtomicU32::new(u32::from(shards)),
            ordered: Notify::new(),
            seated: AtomicU64::new(0),
            most,
            full: AtomicBool::new(false),
            since: Instant::now(),
            patience,
            lost_at: AtomicU64::new(0),
            short_at: AtomicU64::new(0),
        }
    }

    pub(crate) const fn id(&self) -> ProcessId {
        self.id
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) const fn started(&self) -> u64 {
        self.started
    }

    pub(crate) fn shard(&self, shard: u16) -> &ShardStatus {
        &self.shards[usize::from(shard)]
    }

    /// The one that speaks for the process: the first whose link is ready.
    pub(crate) fn speaker(&self) -> Option<u16> {
        let first = self.shards.iter().position(|s| s.ready.load(Relaxed))?;
        u16::try_from(first).ok()
    }

    /// Why clients should not be sent here, if they should not.
    pub(crate) fn unready(&self) -> Option<&'static str> {
        if self.state.load(Relaxed) != READY {
            Some("the gateway drains")
        } else if !self.has_nats() && !self.bears_with_nats() {
            Some("NATS is not connected")
        } else if self.full.load(Relaxed) {
            Some("it has as many connections as it takes (--max-connections)")
        } else {
            None
        }
    }

    fn has_nats(&self) -> bool {
        self.shards.iter().all(|s| s.ready.load(Relaxed))
    }

    /// Whether NATS was there, and has not been away for long.
    fn bears_with_nats(&self) -> bool {
        let lost_at = self.lost_at.load(Relaxed).checked_sub(1);
        // nothing is added to the patience, which may be as long as a time can be
        lost_at.is_some_and(|at| {
            Duration::from_millis(self.now_ms().saturating_sub(at)) < self.patience
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether clients should be sent here.
    pub(crate) fn is_ready(&self) -> bool {
        self.unready().is_none()
    }

    /// Somebody on the bus wants the process to drain. More than once is as good as once.
    pub(crate) fn order_drain(&self) {
        self.ordered.notify_one();
    }

    /// Resolves when a drain was ordered.
    pub(crate) async fn drain_ordered(&self) {
        self.ordered.notified().await;
    }

    pub(crate) fn drain(&self) {
        self.state.store(DRAINING, Relaxed);
        self.changes.fetch_add(1, Relaxed);
    }

    /// Whether to say that connections cannot be accepted: once a second, by whichever shard.
    pub(crate) fn may_say_short(&self) -> bool {
        is_time_to_say(&self.short_at, self.now_ms())
    }

    /// The shard's link is up, or not any more: then another speaks for the process, at once.
    pub(crate) fn set_ready(&self, shard: u16, ready: bool) {
        let had = self.has_nats();
        self.shard(shard).ready.store(ready, Relaxed);
        if had && !ready {
            self.lost_at.store(self.now_ms() + 1, Relaxed);
        }
        self.changes.fetch_add(1, Relaxed);
    }

    /// A shard has let go of its last client, and speaks no more: nobody is to wait for its answers.
    /// True: it is the last shard.
    pub(crate) fn leave(&self, shard: u16) -> bool {
        self.shard(shard).left.store(true, Relaxed);
        self.set_ready(shard, false);
        let last = self.staying.fetch_sub(1, Relaxed) == 1;
        if last {
            self.state.store(LEAVING, Relaxed);
        }
        last
    }

    pub(crate) fn clients(&self) -> u64 {
        self.shards.iter().map(|s| s.clients.load(Relaxed)).sum()
    }

    pub(crate) fn beat(&self) -> GatewayBeat {
        GatewayBeat {
            process: self.id,
            state: match self.state.load(Relaxed) {
                READY => NodeState::Ready,
                DRAINING => NodeState::Draining,
                _ => NodeState::Leaving,
            },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.host.clone(),
            started: self.started,
            shards: self
                .shards
                .iter()
                .filter(|s| !s.left.load(Relaxed))
                .map(|s| ShardBeat {
                    gateway: s.gateway,
                    clients: s.clients.load(Relaxed),
                    uids: s.uids.load(Relaxed),
                    groups: s.groups.load(Relaxed),
                    away: !s.ready.load(Relaxed),
                })
                .collect(),
        }
    }
}

/// True at most once a second; `last` keeps when that was, 0 for never.
fn is_time_to_say(last: &AtomicU64, now: u64) -> bool {
    let due = |last| (last == 0 || now >= last + 1000).then_some(now.max(1));
    last.fetch_update(Relaxed, Relaxed, due).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_has_left_speaks_no_more_and_is_no_longer_spoken_of() {
        let process = Process::new(2, 1, Duration::ZERO);
        process.set_ready(0, true);
        process.set_ready(1, true);
        assert_eq!(process.speaker(), Some(0));
        assert!(!process.leave(0));
        assert_eq!(process.speaker(), Some(1));
        let there: Vec<_> = process.beat().shards.iter().map(|s| s.gateway).collect();
        assert_eq!(there, [process.shard(1).gateway]);
        assert!(process.leave(1));
        assert_eq!(process.speaker(), None);
    }

    #[test]
    fn who_speaks_says_at_once_which_shards_have_lost_nats() {
        let process = Process::new(2, 1, Duration::ZERO);
        process.set_ready(0, true);
        process.set_ready(1, true);
        let away = || {
            process
                .beat()
                .shards
                .iter()
                .map(|s| s.away)
                .collect::<Vec<_>>()
        };
        assert_eq!(away(), [false, false]);
        let before = process.changes.load(Relaxed);
        process.set_ready(0, false);
        assert_eq!((process.speaker(), away()), (Some(1), vec![true, false]));
        assert_ne!(process.changes.load(Relaxed), before, "it is told at once");
    }

    #[test]
    fn a_process_bears_with_a_nats_that_it_has_had_and_no_longer_than_it_is_told() {
        let unready = |patience| {
            let process = Process::new(2, 40, patience);
            let mut said = vec![process.unready()];
            for (shard, ready) in [(0, true), (1, true), (0, false), (1, false), (1, true)] {
                process.set_ready(shard, ready);
                said.push(process.unready());
            }
            said.iter().map(Option::is_some).collect::<Vec<_>>()
        };
        let long = Duration::from_secs(3600);
        // it has to have been there with every shard
        assert_eq!(unready(long), [true, true, false, false, false, false]);
        assert_eq!(
            unready(Duration::ZERO),
            [true, true, false, true, true, true]
        );
    }

    #[test]
    fn a_full_process_is_unready_until_one_in_twenty_has_gone() {
        let process = Arc::new(Process::new(0, 40, Duration::ZERO));
        let mut seats: Vec<_> = (0..39).map(|_| Seat::take(&process).unwrap()).collect();
        assert_eq!(process.unready(), None);
        seats.extend(Seat::take(&process));
        assert!(Seat::take(&process).is_none() && process.unready().is_some());
        seats.truncate(38);
        assert!(process.unready().is_some());
        seats.truncate(37);
        assert_eq!(process.unready(), None);

        let lone = Arc::new(Process::new(0, 1, Duration::ZERO));
        let seat = Seat::take(&lone).unwrap();
        assert!(lone.unready().is_some());
        drop(seat);
        assert_eq!(lone.unready(), None);
    }

    #[test]
    fn a_shortage_is_said_at_most_once_a_second() {
        let last = AtomicU64::new(0);
        let said = [0, 0, 999, 1001, 1002, 2000, 2001, 9000].map(|now| is_time_to_say(&last, now));
        assert_eq!(said, [true, false, false, true, false, false, true, true]);
    }
}

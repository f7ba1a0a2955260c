//! Time: one pass over all clients in the place of a timer for each.

use std::{
    cmp::Reverse, collections::BinaryHeap, future::Future, pin::Pin,
    sync::atomic::Ordering::Relaxed, task::Context, time::Duration,
};

use bytestring::ByteString;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval, sleep};
use wire::{CloseCode, ConnId, Payload, beat};

use super::Shard;
use crate::{
    config::{Heartbeat, Limits},
    dispatch::{Due, Millis},
    heartbeat::{Pulse, pulse},
    metrics::{AGED, Moved},
    outgoing::Outgoing,
    topics::Slot,
};

/// The shard looks at the time this often; each time at a slice of its clients.
const TICK_MS: u64 = 50;

/// When to look at what.
pub(super) struct Ticker {
    tick: Interval,
    /// In how many ticks every client is looked at once.
    slices: usize,
    cursor: usize,
    /// Pauses of single clients, soonest first.
    pauses: BinaryHeap<Reverse<(Millis, Slot)>>,
    alarm: Pin<Box<Sleep>>,
    beat_at: Millis,
    changes: u32,
}

impl Ticker {
    /// Looks at every client four times in the shortest limit, and at least once a second.
    pub(super) fn new(limits: &Limits, heartbeat: Option<&Heartbeat>) -> Self {
        let mut shortest = limits.ack_wait.min(limits.worker_wait);
        if let Some(heartbeat) = heartbeat {
            shortest = shortest.min(heartbeat.interval);
        }
        let pass = u64::try_from(shortest.as_millis() / 4)
            .unwrap_or(u64::MAX)
            .clamp(TICK_MS, 1000);
        let mut tick = interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            tick,
            slices: usize::try_from(pass / TICK_MS).expect("at most 20"),
            cursor: 0,
            pauses: BinaryHeap::new(),
            alarm: Box::pin(sleep(Duration::ZERO)),
            beat_at: 0,
            changes: 0,
        }
    }

    /// Looks at a client's pause again then.
    pub(super) fn wake_at(&mut self, at: Millis, slot: Slot) {
        self.pauses.push(Reverse((at, slot)));
    }

    /// Beats then at the latest.
    pub(super) fn beat_by(&mut self, at: Millis) {
        self.beat_at = self.beat_at.min(at);
    }
}

/// How old a client may become: a fifth more or less, by its id, so that those who came together
/// do not go together.
fn age(most: Duration, conn: ConnId) -> Duration {
    most.mul_f64(0.8 + 0.4 * f64::from(conn.0) / f64::from(u32::MAX))
}

impl Shard {
    /// Does what the time asks for, and comes back when it asks again.
    pub(super) fn poll_ticks(&mut self, cx: &mut Context<'_>) {
        while self.ticker.tick.poll_tick(cx).is_ready() {
            self.tick();
        }
        loop {
            let now = self.now();
            let Some(Reverse((at, slot))) = self.ticker.pauses.peek().copied() else {
                return;
            };
            if at <= now {
                self.ticker.pauses.pop();
                self.resume(slot);
                continue;
            }
            let alarm = &mut self.ticker.alarm;
            alarm
                .as_mut()
                .reset(Instant::now() + Duration::from_millis(at - now));
            if alarm.as_mut().poll(cx).is_pending() {
                return;
            }
        }
    }

    fn tick(&mut self) {
        let now = self.now();
        let slice = self.clients.len() / self.ticker.slices + 1;
        for _ in 0..slice.min(self.clients.len()) {
            if self.ticker.cursor >= self.clients.len() {
                self.ticker.cursor = 0;
            }
            let slot = Slot::try_from(self.ticker.cursor).expect("fewer than 2^32 clients");
            self.ticker.cursor += 1;
            self.look_at(slot, now);
        }
        self.probe(now);
        for service in &mut self.services {
            service.load.forget(now);
        }
        let (hub, link) = (&mut self.hub, &mut self.link);
        hub.expire(now, |kind, id| {
            link.unsubscribe(super::inbox::topic_sid(kind, id));
        });
        let changes = self.process.changes.load(Relaxed);
        if self.link.is_ready() && (now >= self.ticker.beat_at || changes != self.ticker.changes) {
            self.ticker.changes = changes;
            self.ticker.beat_at = now + beat::INTERVAL_MS;
            self.beat();
        }
    }

    fn look_at(&mut self, slot: Slot, now: Millis) {
        let Some(client) = &mut self.clients[slot as usize] else {
            return;
        };
        client.dispatch.release();
        if let Some(connection) = &mut client.connection {
            connection.release();
        }
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        // without a link no ack can come, and nobody can say whether a worker runs
        if self.link.is_ready() {
            let (ack_wait, worker_wait) = (
                millis(self.limits.ack_wait),
                millis(self.limits.worker_wait),
            );
            match client
                .dispatch
                .due(now, ack_wait, worker_wait, self.limits.max_attempts)
            {
                Due::Nothing => {}
                Due::Again => {
                    self.move_on(slot, Moved::Silent);
                    self.ready.push_back(slot);
                }
                Due::GiveUp => {
                    self.move_on(slot, Moved::Silent);
                    self.out_of_attempts(slot);
                }
                Due::NoWorker => self.no_worker(slot),
            }
        }
        let Some(client) = &mut self.clients[slot as usize] else {
            return;
        };
        let Some(connection) = &mut client.connection else {
            return;
        };
        if connection.is_overdue(now) {
            self.lost(slot);
            return;
        }
        if !connection.is_open() {
            return;
        }
        if let Some(most) = self.limits.max_connection_age
            && u64::from(client.born) * 1000 + millis(age(most, self.hub.conn(slot))) <= now
        {
            self.let_go(slot, AGED);
            return;
        }
        let Some(heartbeat) = &self.heartbeat else {
            return;
        };
        if connection.paused {
            // we do not listen, so silence says nothing
            connection.heard = now;
            return;
        }
        let silent = now.saturating_sub(connection.heard);
        match pulse(
            silent,
            millis(heartbeat.interval),
            heartbeat.misses,
            connection.pinged,
        ) {
            Pulse::Fine => {}
            Pulse::Ping => {
                connection.pinged += 1;
                match &heartbeat.data {
                    Some(text) => {
                        let ping = Payload::Text(ByteString::from(text.as_str()));
                        self.deliver(slot, &mut Outgoing::new(&ping));
                    }
                    None => self.ping(slot),
                }
            }
            Pulse::Dead => self.close(slot, CloseCode::Heartbeat.into(), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_spread_by_a_fifth_both_ways() {
        let hour = Duration::from_secs(3600);
        let ages = [0, u32::MAX / 2, u32::MAX].map(|conn| age(hour, ConnId(conn)).as_secs());
        assert_eq!(ages, [2880, 3599, 4320]);
    }
}

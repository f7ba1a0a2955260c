//! Dispatch: one client's events, in order, with at most one batch in flight.
//!
//! A plain state machine that takes the time and does no I/O. The queue's head *is* the batch in
//! flight: events leave it when their ack comes. It may *stick* to the worker that handled the last
//! batch, until that one proves to be of no use. States, and what moves them:
//!
//! ```text
//! Idle ──begin──► Ready ──sent──► Sent ──done──► Idle
//!                   ▲              │ ack_wait over, retry, link lost: attempt + 1
//!                   │◄─────────────┤
//!                   │              │ busy: same attempt, after a pause
//!                   │◄── Paused ◄──┤
//!                   │              │ 503: same attempt, when a worker shows
//!                   │◄── Parked ◄──┤
//!                   │              │ 503 of the worker that it sticks to: same attempt, to any
//!                   │              │ 503 of a message that it shared: same attempt, alone
//!                   └──────────────┘
//! ```

mod batch;
mod event;
mod flight;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use wire::{EventKind, WorkerId};

pub(crate) use self::{
    batch::{Batch, Messages},
    event::Event,
    flight::{Flight, InFlight},
};

/// Events that may wait for one client before its socket is not read any more.
pub(crate) const MOST_EVENTS: usize = 64;
/// Bytes that may wait, likewise.
pub(crate) const MOST_BYTES: usize = 256 * 1024;

/// Milliseconds since the shard started.
pub(crate) type Millis = u64;

#[derive(Debug)]
enum State {
    Idle,
    /// Waits for room on the link.
    Ready,
    /// With a worker, we hope.
    Sent {
        since: Millis,
        _flight: Flight,
    },
    /// A worker was busy, or asked for a retry: goes out again after a pause.
    Paused,
    /// Nobody is there to take it.
    Parked,
}

/// What the time says of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// No ack within `ack_wait`: it is ready to go out again.
    Again,
    /// The last attempt is over.
    GiveUp,
    /// No worker within `worker_wait`.
    NoWorker,
}

/// One client's events and the batch in flight.
#[derive(Debug)]
pub(crate) struct Dispatch {
    queue: VecDeque<Event>,
    bytes: usize,
    seq: u64,
    attempt: u32,
    /// Deliveries that a worker, not the link, is to blame for.
    tries: u32,
    /// Events at the queue's head that are in flight.
    batch: u32,
    /// Busy answers to this batch so far.
    busy: u32,
    /// Nobody takes this batch together with others.
    alone: bool,
    state: State,
    /// Since when nobody was there to take it.
    refused: Option<Millis>,
    /// Whom batches go straight to. Unchanged while one is sent, so it is known whose 503 comes.
    worker: Option<WorkerId>,
}

impl Default for Dispatch {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            seq: 0,
            attempt: 0,
            tries: 0,
            batch: 0,
            busy: 0,
            alone: false,
            state: State::Idle,
            refused: None,
            worker: None,
        }
    }
}

impl Dispatch {
    /// Adds an event at the end.
    pub(crate) fn push(&mut self, event: Event) {
        self.bytes += event.size();
        self.queue.push_back(event);
    }

    /// Whether so much waits that the socket should not be read.
    pub(crate) fn is_full(&self) -> bool {
        self.queue.len() >= MOST_EVENTS || self.bytes >= MOST_BYTES
    }

    /// Whether no event is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes the run of same-kind events at the head as the next batch, if none is in flight; a
    /// WebSocket client's coming, which is two events of one moment, is one batch too.
    /// True: the batch is ready to be sent.
    /// A batch of several messages has at most `most` bytes of them.
    pub(crate) fn begin(&mut self, most: usize) -> bool {
        if !matches!(self.state, State::Idle) {
            return false;
        }
        let Some(head) = self.queue.front() else {
            return false;
        };
        // the rest of a run that is over the byte limit comes with the next batch
        let mut bytes = head.size();
        let run = match head.kind() {
            EventKind::Message => self
                .queue
                .iter()
                .take(MOST_EVENTS)
                .skip(1)
                .take_while(|e| {
                    bytes += e.size();
                    e.kind() == EventKind::Message && bytes <= most
                })
                .count(),
            EventKind::Connect => {
                usize::from(matches!(self.queue.get(1), Some(Event::Websocket(_))))
            }
            EventKind::Websocket | EventKind::Close => 0,
        };
        self.batch = u32::try_from(run + 1).expect("a batch is short");
        self.seq += 1;
        self.attempt = 1;
        self.tries = 1;
        self.busy = 0;
        self.alone = false;
        self.refused = None;
        self.state = State::Ready;
        true
    }

    /// The batch that is ready to be sent.
    pub(crate) fn ready(&self) -> Option<Batch<'_>> {
        matches!(self.state, State::Ready).then(|| self.batch())
    }

    /// The batch in flight, whatever its state; must not be asked for when idle.
    pub(crate) fn batch(&self) -> Batch<'_> {
        let last = self.queue.get(self.batch as usize - 1);
        Batch {
            kind: last.expect("a batch is in flight").kind(),
            seq: self.seq,
            attempt: self.attempt,
            // who knows whether it was its doing that it comes again
            alone: self.alone || self.attempt > 1,
            queue: &self.queue,
            len: self.batch as usize,
        }
    }

    /// The ready batch is too large as it is: the next smaller one that makes sense. False: there
    /// is none.
    pub(crate) fn shrink(&mut self) -> bool {
        if self.batch > 1 {
            self.batch = self.batch.div_ceil(2);
            return true;
        }
        match self.queue.front_mut() {
            Some(Event::Close(close)) if !close.groups.is_empty() => {
                close.groups.clear();
                true
            }
            _ => false,
        }
    }

    /// The ready batch goes out, and is under way until it is heard of.
    pub(crate) fn sent(&mut self, now: Millis, flight: Flight) {
        debug_assert!(matches!(self.state, State::Ready));
        self.state = State::Sent {
            since: now,
            _flight: flight,
        };
    }

    /// The link did not take it.
    pub(crate) fn not_sent(&mut self) {
        debug_assert!(self.is_sent());
        self.state = State::Ready;
    }

    /// NATS said that nobody takes it together with others.
    pub(crate) fn refused_together(&mut self) {
        debug_assert!(self.is_sent());
        self.alone = true;
        self.state = State::Ready;
    }

    /// The worker that batches go straight to; none: to any of the service.
    pub(crate) const fn worker(&self) -> Option<WorkerId> {
        self.worker
    }

    /// From the next delivery on batches go straight to this worker. Not while one is sent.
    pub(crate) fn stick(&mut self, worker: WorkerId) {
        debug_assert!(!self.is_sent());
        self.worker = Some(worker);
    }

    /// From the next delivery on batches go to any worker. False: they did before.
    pub(crate) fn move_on(&mut self) -> bool {
        let stuck = self.worker.take().is_some();
        if stuck {
            self.busy = 0;
        }
        stuck
    }

    /// Whether an ack is for the delivery in flight. A late one is not.
    pub(crate) fn is_in_flight(&self, seq: u64, attempt: u32) -> bool {
        matches!(self.state, State::Sent { .. }) && self.seq == seq && self.attempt == attempt
    }

    /// The batch is done, or given up.
    pub(crate) fn done(&mut self) {
        self.drop_head(self.batch);
        self.state = State::Idle;
    }

    /// The worker is at it: `ack_wait` starts anew.
    pub(crate) fn progress(&mut self, now: Millis) {
        self.refused = None;
        if let State::Sent { since, .. } = &mut self.state {
            *since = now;
        }
    }

    /// The first `handled` events are done and the rest should come again after a pause.
    /// After the last attempt the event that asked is what is left in flight, to be given up.
    pub(crate) fn retry(&mut self, handled: u32, max_attempts: u32) -> Retry {
        let handled = handled.min(self.batch);
        self.drop_head(handled);
        self.batch -= handled;
        if self.batch == 0 {
            self.state = State::Idle;
            return Retry::Done;
        }
        self.refused = None;
        self.state = State::Paused;
        if self.tries >= max_attempts {
            // the events behind it were not even tried: they go on as a batch of their own
            self.batch = 1;
            return Retry::GiveUp;
        }
        self.attempt += 1;
        self.tries += 1;
        Retry::Paused
    }

    /// The worker was busy; says how often in a row for this batch.
    pub(crate) fn busy(&mut self) -> u32 {
        self.state = State::Paused;
        self.refused = None;
        self.busy += 1;
        self.busy
    }

    /// The worker that the batch went straight to is not there. It reached no one, and is ready to
    /// go to any. False: it went to any.
    pub(crate) fn turn_away(&mut self) -> bool {
        debug_assert!(self.is_sent());
        let moved = self.move_on();
        if moved {
            self.state = State::Ready;
        }
        moved
    }

    /// NATS said that nobody is there. The attempt stands: it reached no one.
    pub(crate) fn park(&mut self, now: Millis) {
        self.refused.get_or_insert(now);
        self.state = State::Parked;
    }

    /// The pause is over, or somebody is there. True: the batch is ready to be sent.
    pub(crate) fn resume(&mut self) -> bool {
        let was = matches!(self.state, State::Paused | State::Parked);
        if was {
            self.state = State::Ready;
        }
        was
    }

    /// Whether a delivery is under way.
    pub(crate) const fn is_sent(&self) -> bool {
        matches!(self.state, State::Sent { .. })
    }

    /// Whether the batch waits for a worker to show.
    pub(crate) fn is_parked(&self) -> bool {
        matches!(self.state, State::Parked)
    }

    /// Whether the batch waits for the end of a pause.
    pub(crate) fn is_paused(&self) -> bool {
        matches!(self.state, State::Paused)
    }

    /// The link was lost and is back: what was sent may never have arrived, or its ack. Neither that
    /// delivery nor the time without a link is held against the workers. True: a batch is ready to be sent.
    pub(crate) fn relink(&mut self, now: Millis) -> bool {
        self.wait_anew(now);
        if let State::Sent { .. } = self.state {
            self.attempt += 1;
            self.state = State::Ready;
        }
        matches!(self.state, State::Ready)
    }

    /// Starts the wait for a worker anew.
    pub(crate) fn wait_anew(&mut self, now: Millis) {
        if let Some(since) = &mut self.refused {
            *since = now;
        }
    }

    /// What the time says. `Again` has made the batch ready with the next attempt.
    pub(crate) fn due(
        &mut self,
        now: Millis,
        ack_wait: Millis,
        worker_wait: Millis,
        max_attempts: u32,
    ) -> Due {
        match (&self.state, self.refused) {
            (State::Sent { since, .. }, _) if now.saturating_sub(*since) >= ack_wait => {
                if self.tries >= max_attempts {
                    return Due::GiveUp;
                }
                self.attempt += 1;
                self.tries += 1;
                self.refused = None;
                self.state = State::Ready;
                Due::Again
            }
            (State::Parked, Some(since)) if now.saturating_sub(since) >= worker_wait => {
                Due::NoWorker
            }
            _ => Due::Nothing,
        }
    }

    /// Gives back what an idle client need not hold.
    pub(crate) fn release(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    fn drop_head(&mut self, n: u32) {
        for event in self.queue.drain(..n as usize) {
            self.bytes -= event.size();
        }
    }
}

/// What became of a request for a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Nothing was left to do again.
    Done,
    /// Waits for its pause to be over.
    Paused,
    /// That was the last attempt.
    GiveUp,
}

//! The ledger: which batches this worker is at, and which it finished lately.
//!
//! A batch that comes again is not handled twice where that can be helped: while it still runs, the
//! gateway is told so and the newest delivery gets the ack; if it is finished, it gets the same ack.

use std::{
    collections::{VecDeque, hash_map::Entry as Place},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use wire::{Ack, AckStatus, ClientId, EventBatch};

use crate::outbox;

/// How many finished batches are remembered.
const REMEMBERED: usize = 4096;
/// The shortest pause between two rounds of progress, whatever a gateway asks for.
const SHORTEST_ROUND: Duration = Duration::from_millis(10);
/// How many bytes of acks are remembered; the oldest go first.
const REMEMBERED_BYTES: usize = 16 * 1024 * 1024;

pub(crate) struct Ledger {
    book: Mutex<Book>,
    /// The shortest wait of any gateway that was heard of, in milliseconds.
    ack_wait: AtomicU32,
    /// Rings when that became shorter.
    shorter: Notify,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            book: Mutex::default(),
            ack_wait: AtomicU32::new(wire::event::ACK_WAIT),
            shorter: Notify::new(),
        }
    }
}

#[derive(Default)]
struct Book {
    /// Client ids are random, so the hash need not be hard to guess.
    entries: FxHashMap<ClientId, Entry>,
    finished: VecDeque<(ClientId, u64)>,
    bytes: usize,
    /// How often [`Ledger::progress`] was asked for: all the clock that is needed.
    tick: u64,
}

enum Entry {
    Running {
        seq: u64,
        attempt: u32,
        /// The tick in which it began.
        since: u64,
    },
    Finished {
        ack: Arc<Ack>,
        /// So that the ack is not looked at again when it is forgotten.
        weight: usize,
    },
}

/// What to do with a batch that arrived.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Handle it, then [`Ledger::finish`] it.
    Run,
    /// Not now; it, or another one of the client, may be being handled here: send this ack.
    Wait(Ack),
    /// It was handled before: send this ack.
    Again(Arc<Ack>),
}

impl Ledger {
    /// A batch arrived. Without `room` nothing new begins; what is known is known all the same.
    pub(crate) fn begin(&self, batch: &EventBatch, room: bool) -> Verdict {
        if self.ack_wait.fetch_min(batch.ack_wait, Ordering::Relaxed) > batch.ack_wait {
            self.shorter.notify_one();
        }
        let mut book = self.lock();
        let book = &mut *book;
        let running = Entry::Running {
            seq: batch.seq,
            attempt: batch.attempt,
            since: book.tick,
        };
        let mut place = match book.entries.entry(batch.client) {
            Place::Vacant(_) if !room => return Verdict::Wait(plain(batch, AckStatus::Busy)),
            Place::Vacant(place) => {
                place.insert(running);
                return Verdict::Run;
            }
            Place::Occupied(place) => place,
        };
        match place.get_mut() {
            Entry::Running { seq, attempt, .. } if *seq == batch.seq => {
                *attempt = batch.attempt.max(*attempt);
                Verdict::Wait(plain(batch, AckStatus::Progress))
            }
            // One client's events never run at the same time. The gateway got tired of the older
            // batch; this one must wait for it, here or elsewhere.
            Entry::Running { .. } => Verdict::Wait(plain(batch, AckStatus::Busy)),
            Entry::Finished { ack, .. } if ack.seq == batch.seq => {
                let mut again = Ack::clone(ack);
                again.attempt = batch.attempt;
                Verdict::Again(Arc::new(again))
            }
            // A delivery that took a detour: its gateway has long gone on, and ignores this. To handle
            // it now would be out of order.
            Entry::Finished { ack, .. } if ack.seq > batch.seq => {
                Verdict::Wait(plain(batch, AckStatus::Busy))
            }
            Entry::Finished { .. } if !room => Verdict::Wait(plain(batch, AckStatus::Busy)),
            Entry::Finished { weight, .. } => {
                book.bytes -= *weight;
                place.insert(running);
                Verdict::Run
            }
        }
    }

    /// A batch is done: its ack, for the newest delivery.
    pub(crate) fn finish(&self, client: ClientId, mut ack: Ack) -> Arc<Ack> {
        let mut book = self.lock();
        let book = &mut *book;
        let Some(entry) = book.entries.get_mut(&client) else {
            return Arc::new(ack);
        };
        if let Entry::Running { attempt, .. } = entry {
            ack.attempt = *attempt;
        }
        let ack = Arc::new(ack);
        if ack.status == AckStatus::Done {
            let weight = outbox::weight(&ack);
            *entry = Entry::Finished {
                ack: ack.clone(),
                weight,
            };
            book.remember(client, ack.seq, weight);
        } else {
            // What is to come again must be handled again.
            book.entries.remove(&client);
        }
        ack
    }

    /// Resolves when it is time to ask for [`Self::progress`]: twice in a third of the gateways'
    /// `ack_wait`, since a batch is told of when it has run for a whole round.
    pub(crate) async fn round(&self) {
        loop {
            let ack_wait = Duration::from_millis(self.ack_wait.load(Ordering::Relaxed).into());
            tokio::select! {
                () = tokio::time::sleep((ack_wait / 6).max(SHORTEST_ROUND)) => return,
                () = self.shorter.notified() => {}
            }
        }
    }

    /// Progress of all batches that run since before the last time this was asked.
    pub(crate) fn progress(&self) -> Vec<(ClientId, Ack)> {
        let mut book = self.lock();
        let last = book.tick;
        book.tick += 1;
        let told = |(client, entry): (&ClientId, &Entry)| match entry {
            Entry::Running {
                seq,
                attempt,
                since,
            } if *since < last => Some((
                *client,
                status(*client, *seq, *attempt, AckStatus::Progress),
            )),
            _ => None,
        };
        book.entries.iter().filter_map(told).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn remember(&mut self, client: ClientId, seq: u64, weight: usize) {
        self.bytes += weight;
        self.finished.push_back((client, seq));
        while self.finished.len() > REMEMBERED || self.bytes > REMEMBERED_BYTES {
            let Some((client, seq)) = self.finished.pop_front() else {
                break;
            };
            if let Place::Occupied(place) = self.entries.entry(client)
                && let Entry::Finished { ack, weight } = place.get()
                && ack.seq == seq
            {
                self.bytes -= *weight;
                place.remove();
            }
        }
    }
}

/// An ack that only says how things stand.
pub(crate) fn plain(batch: &EventBatch, says: AckStatus) -> Ack {
    status(batch.client, batch.seq, batch.attempt, says)
}

fn status(client: ClientId, seq: u64, attempt: u32, status: AckStatus) -> Ack {
    Ack {
        conn: client.conn,
        seq,
        attempt,
        status,
        handled: 0,
        failed: 0,
        session: None,
        commands: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use wire::{ConnId, GatewayId, Session};

    use super::*;

    fn batch(conn: u32, seq: u64, attempt: u32) -> EventBatch {
        EventBatch {
            client: ClientId {
                gateway: GatewayId::from_bytes([7; 6]),
                conn: ConnId(conn),
            },
            seq,
            attempt,
            ack_wait: wire::event::ACK_WAIT,
            remote: String::new(),
            local: String::new(),
            uid: None,
            session: Session::default(),
            version: 0,
            messages: Vec::new(),
            connect: false,
            handshake: None,
            close: None,
        }
    }

    fn run(ledger: &Ledger, batch: &EventBatch, says: AckStatus) -> Arc<Ack> {
        assert_eq!(ledger.begin(batch, true), Verdict::Run);
        ledger.finish(batch.client, plain(batch, says))
    }

    #[test]
    fn a_batch_that_comes_again_while_it_runs_is_acked_for_its_newest_delivery() {
        let ledger = Ledger::default();
        assert_eq!(ledger.begin(&batch(1, 5, 1), true), Verdict::Run);
        let again = batch(1, 5, 2);
        let told = plain(&again, AckStatus::Progress);
        assert_eq!(ledger.begin(&again, true), Verdict::Wait(told));
        let done = ledger.finish(again.client, plain(&batch(1, 5, 1), AckStatus::Done));
        assert_eq!(done.attempt, 2);
    }

    #[test]
    fn a_finished_batch_gets_the_same_ack_and_the_next_one_runs() {
        let ledger = Ledger::default();
        let first = run(&ledger, &batch(1, 1, 1), AckStatus::Done);
        let mut same = Ack::clone(&first);
        same.attempt = 2;
        assert_eq!(
            ledger.begin(&batch(1, 1, 2), true),
            Verdict::Again(Arc::new(same))
        );
        run(&ledger, &batch(1, 2, 1), AckStatus::Done);
    }

    #[test]
    fn what_is_to_be_retried_runs_again() {
        let ledger = Ledger::default();
        run(&ledger, &batch(1, 1, 1), AckStatus::Retry);
        run(&ledger, &batch(1, 1, 2), AckStatus::Done);
    }

    #[test]
    fn two_batches_of_one_client_never_run_at_once() {
        let ledger = Ledger::default();
        assert_eq!(ledger.begin(&batch(1, 1, 1), true), Verdict::Run);
        let next = batch(1, 2, 1);
        let busy = plain(&next, AckStatus::Busy);
        assert_eq!(ledger.begin(&next, true), Verdict::Wait(busy));
    }

    #[test]
    fn without_room_nothing_new_begins_but_what_is_known_is_known() {
        let ledger = Ledger::default();
        let busy = |batch: &EventBatch| Verdict::Wait(plain(batch, AckStatus::Busy));
        assert_eq!(ledger.begin(&batch(1, 1, 1), false), busy(&batch(1, 1, 1)));

        assert_eq!(ledger.begin(&batch(1, 1, 1), true), Verdict::Run);
        let again = batch(1, 1, 2);
        let told = plain(&again, AckStatus::Progress);
        assert_eq!(ledger.begin(&again, false), Verdict::Wait(told));

        ledger.finish(again.client, plain(&again, AckStatus::Done));
        let repeated = ledger.begin(&batch(1, 1, 3), false);
        assert!(matches!(repeated, Verdict::Again(_)));
        assert_eq!(ledger.begin(&batch(1, 2, 1), false), busy(&batch(1, 2, 1)));
    }

    #[test]
    fn a_delivery_that_a_later_batch_overtook_is_not_handled() {
        let ledger = Ledger::default();
        run(&ledger, &batch(1, 2, 1), AckStatus::Done);
        let late = batch(1, 1, 1);
        let busy = plain(&late, AckStatus::Busy);
        assert_eq!(ledger.begin(&late, true), Verdict::Wait(busy));
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_that_wants_an_ack_at_once_does_not_keep_the_clock_busy() {
        let ledger = Ledger::default();
        let mut hasty = batch(1, 1, 1);
        hasty.ack_wait = 0;
        ledger.begin(&hasty, true);
        let start = tokio::time::Instant::now();
        ledger.round().await;
        assert!(start.elapsed() >= SHORTEST_ROUND);
    }

    #[test]
    fn what_is_remembered_is_bounded_in_number_and_bytes() {
        let ledger = Ledger::default();
        let count = REMEMBERED as u32;
        for conn in 0..count + 10 {
            run(&ledger, &batch(conn, 1, 1), AckStatus::Done);
        }
        assert_eq!(ledger.lock().entries.len(), REMEMBERED);
        assert_eq!(ledger.begin(&batch(9, 1, 2), true), Verdict::Run);
        assert!(matches!(
            ledger.begin(&batch(10, 1, 2), true),
            Verdict::Again(_)
        ));

        let ledger = Ledger::default();
        for conn in 0..100 {
            let batch = batch(conn, 1, 1);
            let mut ack = plain(&batch, AckStatus::Done);
            let message = wire::Payload::Binary(vec![0; 1024 * 1024].into());
            ack.commands = vec![wire::Command::Send(message)];
            assert_eq!(ledger.begin(&batch, true), Verdict::Run);
            ledger.finish(batch.client, ack);
        }
        let book = ledger.lock();
        assert!(book.bytes <= REMEMBERED_BYTES && book.entries.len() == 15);
    }

    #[test]
    fn progress_is_told_of_batches_that_run_for_a_whole_tick_or_more() {
        let ledger = Ledger::default();
        ledger.progress();
        ledger.begin(&batch(1, 1, 1), true);
        assert!(ledger.progress().is_empty(), "it may have begun just now");
        ledger.begin(&batch(2, 1, 1), true);
        let told = |ledger: &Ledger| {
            let mut conns: Vec<_> = ledger.progress().iter().map(|(c, _)| c.conn.0).collect();
            conns.sort_unstable();
            conns
        };
        assert_eq!(told(&ledger), [1]);
        assert_eq!(told(&ledger), [1, 2]);
        let first = batch(1, 1, 1);
        ledger.finish(first.client, plain(&first, AckStatus::Done));
        assert_eq!(told(&ledger), [2]);
    }
}

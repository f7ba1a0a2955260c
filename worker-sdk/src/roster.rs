//! The roster: which gateways are there, from their beats.
//!
//! Nothing listens until somebody wants to know.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::connection::State;
use futures_util::StreamExt;
use tokio::{
    sync::{OnceCell, mpsc, watch},
    task::AbortHandle,
    time::Instant,
};
use wire::{GatewayBeat, GatewayId, NodeState, ProcessId, ShardBeat, beat};

use crate::{Error, link::Link};

/// After so long without a beat a gateway is gone.
const GONE: Duration = Duration::from_millis(beat::INTERVAL_MS * beat::MISSES);
/// A gateway whose beat is so late may have lost NATS.
const LATE: Duration = Duration::from_millis(beat::INTERVAL_MS * 3 / 2);
/// A gateway that has been away for so long is waited for no more: most are back in well under a
/// second, and whoever waits holds what its own callers need.
const LASTS: Duration = Duration::from_secs(2);
/// Answers to `who` come within 50 ms and a round trip.
const SETTLE: Duration = Duration::from_millis(150);
/// Who does not answer `who` beats within a second all the same.
const FIRST_BEAT: Duration = Duration::from_millis(beat::INTERVAL_MS + 200);
/// Lost gateways that wait to be told of; more are only logged.
const LOST: usize = 1024;

/// Who is there.
#[derive(Default)]
pub(crate) struct Roster {
    book: Arc<Mutex<Book>>,
    listening: OnceCell<Listener>,
    /// Those who were there had time to speak.
    settled: OnceCell<()>,
}

/// Gateways that may have lost NATS for the moment, with their clients.
#[derive(Debug, Default)]
pub(crate) struct Doubt {
    /// All of them.
    pub(crate) gateways: Vec<GatewayId>,
    /// Those among them for which it is in vain to wait.
    pub(crate) lasting: Vec<GatewayId>,
}

#[derive(Default)]
struct Book {
    processes: HashMap<ProcessId, Process>,
    /// The only gateway, in the test entrance.
    fixed: Option<GatewayId>,
    /// Who wants to know of gateways that vanish.
    lost: Option<mpsc::Sender<GatewayId>>,
    /// Somebody who was in doubt is no more, or is gone; one signal for all who wait for that.
    cleared: watch::Sender<()>,
}

/// Who takes beats in.
struct Listener {
    task: AbortHandle,
    /// Whether there was one.
    heard: watch::Receiver<bool>,
}

struct Process {
    shards: Vec<ShardBeat>,
    heard: Instant,
    /// Since when those are away that are.
    away: HashMap<GatewayId, Instant>,
}

impl Roster {
    /// A roster that has one gateway, always.
    pub(crate) fn fixed(gateway: GatewayId) -> Self {
        let roster = Self::default();
        lock(&roster.book).fixed = Some(gateway);
        roster
    }

    /// Listens to beats from now on, and resolves when those who are there had time to speak.
    pub(crate) async fn watch(&self, link: &Link) -> Result<(), Error> {
        let Some(listener) = self.listen(link).await? else {
            return Ok(());
        };
        let settle = async {
            link.publish(link.subjects.who(), Vec::new())?;
            tokio::time::sleep(SETTLE).await;
            let mut heard = listener.heard.clone();
            if !*heard.borrow() {
                // Nobody yet: either there is no gateway, or it takes no part in `who`.
                let first = tokio::time::timeout(FIRST_BEAT, heard.changed()).await;
                if first.is_ok() {
                    tokio::time::sleep(SETTLE).await;
                }
            }
            Ok(())
        };
        self.settled.get_or_try_init(|| settle).await.map(|_| ())
    }

    /// Listens to beats from now on, and waits for none; nobody in the test entrance.
    async fn listen(&self, link: &Link) -> Result<Option<&Listener>, Error> {
        if lock(&self.book).fixed.is_some() {
            return Ok(None);
        }
        let listen = async {
            let mut beats = link.subscribe(link.subjects.gateway_beats()).await?;
            let (heard_one, heard) = watch::channel(false);
            let book = self.book.clone();
            let nats = link.nats().cloned();
            let probe = nats.as_ref().map(async_nats::Client::new_inbox);
            let probe = probe.unwrap_or_default();
            let mut echoes = link.subscribe(probe.clone()).await?;
            let task = tokio::spawn(async move {
                let mut sweep = tokio::time::interval(GONE / 6);
                let mut asked: Option<Instant> = None;
                loop {
                    tokio::select! {
                        biased;
                        message = beats.next() => {
                            let Some(message) = message else { return };
                            match wire::decode::<GatewayBeat>(&message.payload) {
                                Ok(beat) => lock(&book).hear(&beat, Instant::now()),
                                Err(error) => tracing::debug!(%error, "a beat does not decode"),
                            }
                            heard_one.send_replace(true);
                        }
                        Some(_) = echoes.next() => {
                            // Whatever was said until we asked has been heard by now.
                            if let Some(at) = asked.take() {
                                lock(&book).sweep(at);
                            }
                        }
                        _ = sweep.tick() => {
                            let now = Instant::now();
                            let Some(nats) = nats
                                .as_ref()
                                .filter(|nats| nats.connection_state() == State::Connected)
                            else {
                                // Silence says nothing of the others while it is we who hear nobody.
                                lock(&book).excuse(now);
                                asked = None;
                                continue;
                            };
                            // It may still be we: this process stood still, or its connection is
                            // dead and nobody knows yet. So nobody is gone before an echo came back.
                            let waits = asked.is_some_and(|at| now.duration_since(at) < GONE);
                            if !waits && lock(&book).is_anybody_silent(now) {
                                asked = Some(now);
                                if nats.publish(probe.clone(), "".into()).await.is_err() {
                                    return;
                                }
                            }
                        }
                    }
                }
            });
            Ok(Listener {
                task: task.abort_handle(),
                heard,
            })
        };
        self.listening.get_or_try_init(|| listen).await.map(Some)
    }

    /// Who may have lost NATS for the moment; listens from the first time on, and knows nobody then.
    pub(crate) async fn in_doubt(&self, link: &Link) -> Result<Doubt, Error> {
        self.listen(link).await?;
        Ok(lock(&self.book).in_doubt(Instant::now()))
    }

    /// Changes whenever somebody is no longer in doubt.
    pub(crate) fn cleared(&self) -> watch::Receiver<()> {
        lock(&self.book).cleared.subscribe()
    }

    /// Asks once more who is there, and gives them the time to speak.
    pub(crate) async fn ask_again(&self, link: &Link) -> Result<(), Error> {
        link.publish(link.subjects.who(), Vec::new())?;
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }

    /// The gateways that are there now.
    pub(crate) fn gateways(&self) -> Vec<GatewayId> {
        let book = lock(&self.book);
        let known = book.processes.values().flat_map(Process::gateways);
        book.fixed.into_iter().chain(known).collect()
    }

    /// What they said that they have.
    pub(crate) fn shards(&self) -> Vec<ShardBeat> {
        let book = lock(&self.book);
        let shards = book.processes.values().flat_map(|p| &p.shards);
        shards.cloned().collect()
    }

    /// Is told of each gateway that vanishes without a goodbye.
    pub(crate) fn lost(&self) -> mpsc::Receiver<GatewayId> {
        let (sender, receiver) = mpsc::channel(LOST);
        lock(&self.book).lost = Some(sender);
        receiver
    }
}

impl Drop for Roster {
    fn drop(&mut self) {
        if let Some(listener) = self.listening.get() {
            listener.task.abort();
        }
    }
}

fn lock(book: &Mutex<Book>) -> std::sync::MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    fn gateways(&self) -> impl Iterator<Item = GatewayId> {
        self.shards.iter().map(|shard| shard.gateway)
    }

    /// Those whose beat is late, and those who, as the others of their process say, are away.
    fn in_doubt(&self, now: Instant) -> impl Iterator<Item = GatewayId> {
        let late = now.duration_since(self.heard) >= LATE;
        let may_be_away = move |shard: &&ShardBeat| late || shard.away && shard.clients > 0;
        let shards = self.shards.iter().filter(may_be_away);
        shards.map(|shard| shard.gateway)
    }

    /// Whether it is in vain to wait for this one.
    fn lasts(&self, gateway: GatewayId, now: Instant) -> bool {
        let since = self.away.get(&gateway);
        since.is_some_and(|since| now.duration_since(*since) >= LASTS)
    }
}

impl Book {
    fn hear(&mut self, beat: &GatewayBeat, now: Instant) {
        let before = self.processes.remove(&beat.process);
        let mut doubted = before
            .iter()
            .flat_map(|process| process.in_doubt(now))
            .peekable();
        if beat.state == NodeState::Leaving {
            if doubted.peek().is_some() {
                self.cleared.send_replace(());
            }
            return;
        }
        let away = beat.shards.iter().filter(|shard| shard.away);
        let since = |gateway| Some(*before.as_ref()?.away.get(&gateway)?);
        let process = Process {
            shards: beat.shards.clone(),
            heard: now,
            away: away
                .map(|shard| (shard.gateway, since(shard.gateway).unwrap_or(now)))
                .collect(),
        };
        let still: Vec<_> = process.in_doubt(now).collect();
        if doubted.any(|gateway| !still.contains(&gateway)) {
            self.cleared.send_replace(());
        }
        self.processes.insert(beat.process, process);
    }

    fn excuse(&mut self, now: Instant) {
        for process in self.processes.values_mut() {
            process.heard = now;
            process.away.values_mut().for_each(|since| *since = now);
        }
    }

    fn is_anybody_silent(&self, now: Instant) -> bool {
        let silent = |process: &Process| now.duration_since(process.heard) >= GONE;
        self.processes.values().any(silent)
    }

    fn in_doubt(&self, now: Instant) -> Doubt {
        let mut doubt = Doubt::default();
        for process in self.processes.values() {
            for gateway in process.in_doubt(now) {
                doubt.gateways.push(gateway);
                if process.lasts(gateway, now) {
                    doubt.lasting.push(gateway);
                }
            }
        }
        doubt
    }

    /// Lets go of everybody who had not spoken for too long at that time, nor since.
    fn sweep(&mut self, now: Instant) {
        let lost = &self.lost;
        let before = self.processes.len();
        self.processes.retain(|id, process| {
            let there = now.duration_since(process.heard) < GONE;
            if !there {
                let gateways: Vec<_> = process.gateways().collect();
                tracing::warn!(process = %id, ?gateways, "a gateway is gone without a goodbye");
                for gateway in gateways {
                    // Nobody wants to know, or cannot keep up: see LOST.
                    let _ = lost.as_ref().map(|lost| lost.try_send(gateway));
                }
            }
            there
        });
        if self.processes.len() < before {
            self.cleared.send_replace(());
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::beat::ShardBeat;

    use super::*;

    fn beat(process: u8, state: NodeState) -> GatewayBeat {
        let shard = |n| ShardBeat {
            gateway: GatewayId::from_bytes([process, n, 0, 0, 0, 0]),
            clients: 0,
            uids: 0,
            groups: 0,
            away: false,
        };
        GatewayBeat {
            process: ProcessId::from_bytes([process; 6]),
            state,
            version: "1".into(),
            host: String::new(),
            started: 0,
            shards: vec![shard(0), shard(1)],
        }
    }

    #[test]
    fn a_silent_gateway_is_lost_and_one_that_says_goodbye_is_not() {
        let roster = Roster::default();
        let mut lost = roster.lost();
        let mut book = lock(&roster.book);
        let start = Instant::now();
        book.hear(&beat(1, NodeState::Ready), start);
        book.hear(&beat(2, NodeState::Ready), start);
        book.hear(&beat(2, NodeState::Leaving), start);
        assert!(!book.is_anybody_silent(start + GONE - Duration::from_millis(1)));
        book.sweep(start + GONE - Duration::from_millis(1));
        assert_eq!(book.processes.len(), 1);
        assert!(lost.try_recv().is_err());

        assert!(book.is_anybody_silent(start + GONE));
        book.sweep(start + GONE);
        assert!(book.processes.is_empty());
        let gone: Vec<_> = std::iter::from_fn(|| lost.try_recv().ok()).collect();
        assert_eq!(gone.len(), 2, "each shard is a gateway");
        assert!(gone.iter().all(|id| id.as_bytes()[0] == 1));
    }

    #[test]
    fn whoever_is_late_or_away_is_in_doubt_until_it_beats_again() {
        let mut book = Book::default();
        let start = Instant::now();
        let (late, mut part) = (beat(1, NodeState::Ready), beat(2, NodeState::Ready));
        part.shards[0].away = true;
        part.shards[1].away = true;
        part.shards[1].clients = 1;
        book.hear(&late, start);
        book.hear(&part, start + LATE);
        assert_eq!(
            book.in_doubt(start + LATE - Duration::from_millis(1))
                .gateways,
            [part.shards[1].gateway],
            "the other has no clients"
        );
        assert_eq!(book.in_doubt(start + LATE).gateways.len(), 3);
        book.hear(&late, start + LATE);
        part.shards[1].away = false;
        book.hear(&part, start + LATE);
        assert_eq!(book.in_doubt(start + LATE).gateways, []);
    }

    #[test]
    fn who_stays_away_is_waited_for_no_more_until_it_has_been_back() {
        let mut book = Book::default();
        let mut cleared = book.cleared.subscribe();
        let start = Instant::now();
        let mut part = beat(1, NodeState::Ready);
        let gateway = part.shards[0].gateway;
        (part.shards[0].away, part.shards[0].clients) = (true, 1);
        book.hear(&part, start);
        let last = start + LASTS - Duration::from_millis(1);
        book.hear(&part, last);
        cleared.mark_unchanged(); // it was late
        let doubt = book.in_doubt(last);
        assert_eq!(
            (&doubt.gateways[..], &doubt.lasting[..]),
            (&[gateway][..], &[][..])
        );
        book.hear(&part, start + LASTS);
        assert_eq!(book.in_doubt(start + LASTS).lasting, [gateway]);
        assert!(!cleared.has_changed().unwrap(), "it is as it was");

        part.shards[0].away = false;
        book.hear(&part, start + LASTS);
        assert!(cleared.has_changed().unwrap(), "whoever waits is told");
        cleared.mark_unchanged();
        part.shards[0].away = true;
        book.hear(&part, start + LASTS);
        assert_eq!(book.in_doubt(start + LASTS).lasting, [], "it counts anew");
        book.excuse(start + LASTS * 2);
        let heard = book.in_doubt(start + LASTS * 2);
        assert_eq!(heard.lasting, [], "nor while we hear nobody");
        book.hear(&beat(1, NodeState::Leaving), start + LASTS * 2);
        assert!(
            cleared.has_changed().unwrap(),
            "it is gone with its clients"
        );
    }

    #[test]
    fn who_speaks_while_we_make_sure_is_not_lost() {
        let mut book = Book::default();
        let start = Instant::now();
        book.hear(&beat(1, NodeState::Ready), start);
        let asked = start + GONE * 3;
        assert!(book.is_anybody_silent(asked));
        book.hear(&beat(1, NodeState::Ready), asked);
        book.sweep(asked);
        assert_eq!(book.processes.len(), 1);
    }

    #[test]
    fn after_our_own_connection_was_away_everybody_has_time_to_beat_again() {
        let mut book = Book::default();
        let start = Instant::now();
        book.hear(&beat(1, NodeState::Draining), start);
        book.excuse(start + GONE * 2);
        book.sweep(start + GONE * 2);
        assert_eq!(
            book.processes.len(),
            1,
            "a draining gateway still has clients"
        );
    }
}

//! What becomes of events: acks, retries, and what is given up.

use rand::RngExt;
use tracing::{debug, warn};
use wire::{
    Ack, AckStatus, CloseCode, Dead, DeadReason, EventKind, ServiceName, SessionChange, Subjects,
    WorkerId,
};

use super::{Shard, load::Load};
use crate::{
    dispatch::{Millis, Retry},
    link::Unsent,
    listen::Routing,
    metrics::Moved,
    topics::Slot,
};

/// Where no worker is, one batch a service asks this often whether one has come.
pub(super) const PROBE_MS: Millis = 100;
/// Pauses after a busy answer: from the first, doubling, to the last, each up to half shorter.
const BUSY_FIRST_MS: u64 = 8;
const BUSY_LAST_MS: u64 = 256;
/// Pause before a retry that a handler asked for, likewise per attempt.
const RETRY_FIRST_MS: u64 = 100;
const RETRY_LAST_MS: u64 = 5_000;
/// So often in a row a worker may be busy before a client that sticks to it moves on: after about
/// a second. Its state in that worker is worth a wait, but not any wait.
const STICKY_BUSY: u32 = 8;

/// A service as one listener's clients see it.
pub(super) struct Service {
    name: ServiceName,
    pub(super) routing: Routing,
    /// By kind.
    pub(super) subjects: [EventSubjects; 4],
    pub(super) load: Load,
    /// Clients whose batch nobody was there to take.
    parked: Vec<Slot>,
    absence: Option<Absence>,
}

/// Where events of a kind go: a batch by itself, and several.
pub(super) struct EventSubjects {
    pub(super) one: String,
    pub(super) many: String,
}

/// No worker runs, as far as we know. One client at a time asks whether one has come.
#[derive(Debug, Clone, Copy)]
struct Absence {
    asked: Millis,
    /// Whose batch is out to ask, until NATS says no.
    by: Option<Slot>,
}

impl Service {
    pub(super) fn new(name: ServiceName, routing: Routing, subjects: &Subjects) -> Self {
        let subjects = EventKind::ALL.map(|kind| EventSubjects {
            one: subjects.event(&name, kind),
            many: subjects.event_many(&name, kind),
        });
        Self {
            name,
            routing,
            subjects,
            load: Load::default(),
            parked: Vec::new(),
            absence: None,
        }
    }
}

impl Shard {
    /// A worker's answer to a batch.
    pub(super) fn ack(&mut self, worker: WorkerId, many: bool, ack: Ack) {
        let in_flight = self.hub.find(ack.conn).filter(|slot| {
            let client = self.clients[*slot as usize].as_ref();
            client.is_some_and(|c| c.dispatch.is_in_flight(ack.seq, ack.attempt))
        });
        let Some(slot) = in_flight else {
            self.metrics.late.inc();
            return;
        };
        self.somebody_is_there(slot);
        let now = self.now();
        let Some(client) = &mut self.clients[slot as usize] else {
            return;
        };
        let service = &mut self.services[usize::from(client.listener)];
        service.load.heard_of(worker, many, now);
        self.metrics.service(client.listener).ack(ack.status);
        match ack.status {
            AckStatus::Progress => client.dispatch.progress(now),
            AckStatus::Busy => {
                let mut times = client.dispatch.busy();
                if times >= STICKY_BUSY && self.move_on(slot, Moved::Busy) {
                    times = 1;
                }
                self.pause(slot, BUSY_FIRST_MS, BUSY_LAST_MS, times);
            }
            AckStatus::Done | AckStatus::Retry => self.handled(slot, worker, ack),
        }
    }

    fn handled(&mut self, slot: Slot, worker: WorkerId, ack: Ack) {
        if let Some(client) = &self.clients[slot as usize] {
            let metrics = self.metrics.service(client.listener);
            metrics.failed.inc_by(u64::from(ack.failed));
        }
        if let Some(change) = &ack.session {
            self.change_session(slot, change);
        }
        for command in &ack.commands {
            self.metrics.commands.inc();
            self.command(slot, command);
        }
        let Some(client) = &mut self.clients[slot as usize] else {
            return;
        };
        if ack.status == AckStatus::Done {
            client.dispatch.done();
        } else {
            let attempt = client.dispatch.batch().attempt;
            match client.dispatch.retry(ack.handled, self.limits.max_attempts) {
                Retry::Done => {}
                Retry::Paused => self.pause(slot, RETRY_FIRST_MS, RETRY_LAST_MS, attempt),
                Retry::GiveUp => self.give_up(slot, DeadReason::Attempts),
            }
        }
        if let Some(client) = &mut self.clients[slot as usize]
            && self.services[usize::from(client.listener)].routing == Routing::Sticky
        {
            client.dispatch.stick(worker);
        }
        self.go_on(slot);
    }

    /// A client that sticks to a worker lets go of it. False: it sticks to none.
    pub(super) fn move_on(&mut self, slot: Slot, why: Moved) -> bool {
        let Some(client) = &mut self.clients[slot as usize] else {
            return false;
        };
        let moved = client.dispatch.move_on();
        if moved {
            self.metrics.service(client.listener).moved(why);
        }
        moved
    }

    /// A batch is done: on with the next.
    pub(super) fn go_on(&mut self, slot: Slot) {
        self.unpause(slot);
        self.begin(slot);
        self.reap(slot);
    }

    fn change_session(&mut self, slot: Slot, change: &SessionChange) {
        let Some(client) = &mut self.clients[slot as usize] else {
            return;
        };
        match client.session.changed(&change.set, &change.removed) {
            Ok(session) => {
                client.session = session;
                client.version += 1;
            }
            Err(e) => {
                self.metrics.sessions_refused.inc();
                debug!(client = %self.client_id(slot), "a worker's change of the session is dropped: {e}");
            }
        }
    }

    /// NATS knows no worker for a client's batch; or none that takes it in a message of `many`.
    pub(super) fn refused(&mut self, slot: Slot, many: bool) {
        let now = self.now();
        let Some(client) = &mut self.clients[slot as usize] else {
            return;
        };
        if !client.dispatch.is_sent() {
            return;
        }
        if client.dispatch.turn_away() {
            self.metrics.service(client.listener).moved(Moved::Gone);
            self.ready.push_back(slot);
            return;
        }
        if many {
            client.dispatch.refused_together();
            self.services[usize::from(client.listener)]
                .load
                .only_plain();
            self.ready.push_back(slot);
            return;
        }
        self.metrics.service(client.listener).no_worker.inc();
        client.dispatch.park(now);
        let service = &mut self.services[usize::from(client.listener)];
        service.parked.push(slot);
        match &mut service.absence {
            Some(absence) => {
                if absence.by == Some(slot) {
                    absence.by = None;
                }
            }
            None => {
                service.absence = Some(Absence {
                    asked: now,
                    by: None,
                });
                warn!(service = %service.name, "no worker runs; events wait");
            }
        }
    }

    /// A worker of this client's service was heard of: everybody's batches go out again.
    fn somebody_is_there(&mut self, slot: Slot) {
        let Some(client) = &self.clients[slot as usize] else {
            return;
        };
        let listener = usize::from(client.listener);
        if self.services[listener].absence.is_some() {
            self.release(listener);
        }
    }

    fn release(&mut self, listener: usize) {
        let service = &mut self.services[listener];
        service.absence = None;
        tracing::info!(service = %service.name, waiting = service.parked.len(), "a worker runs again");
        for slot in std::mem::take(&mut service.parked) {
            if let Some(client) = &mut self.clients[slot as usize]
                && client.dispatch.resume()
            {
                self.ready.push_back(slot);
            }
        }
    }

    /// Where events wait for a worker, lets one ask whether one has come.
    pub(super) fn probe(&mut self, now: Millis) {
        if !self.link.is_ready() {
            return;
        }
        for listener in 0..self.services.len() {
            let service = &mut self.services[listener];
            let Some(absence) = &mut service.absence else {
                continue;
            };
            if now < absence.asked + PROBE_MS {
                continue;
            }
            let out = absence
                .by
                .and_then(|slot| self.clients[slot as usize].as_ref());
            if out.is_some_and(|client| client.dispatch.is_sent()) || service.parked.is_empty() {
                // asked, and NATS has not said no; or nobody is left to ask
                self.release(listener);
                continue;
            }
            let slot = service.parked.swap_remove(0);
            if let Some(client) = &mut self.clients[slot as usize]
                && client.dispatch.is_parked()
                && client.dispatch.resume()
            {
                *absence = Absence {
                    asked: now,
                    by: Some(slot),
                };
                self.ready.push_back(slot);
            }
        }
    }

    /// Gives a client's batch another try after a pause.
    fn pause(&mut self, slot: Slot, first: u64, last: u64, times: u32) {
        let longest = first
            .saturating_mul(1 << times.saturating_sub(1).min(16))
            .min(last);
        let pause = rand::rng().random_range(longest.div_ceil(2)..=longest);
        self.ticker.wake_at(self.now() + pause, slot);
    }

    /// A pause is over.
    pub(super) fn resume(&mut self, slot: Slot) {
        if let Some(client) = self.clients.get_mut(slot as usize).and_then(Option::as_mut)
            && client.dispatch.is_paused()
            && client.dispatch.resume()
        {
            self.ready.push_back(slot);
        }
    }

    /// Gives a client's batch up, loudly.
    pub(super) fn give_up(&mut self, slot: Slot, reason: DeadReason) {
        let Some(client) = &self.clients[slot as usize] else {
            return;
        };
        let batch = client.dispatch.batch();
        let (kind, events, attempts) = (batch.kind.token(), batch.events().len(), batch.attempt);
        let service = &self.services[usize::from(client.listener)].name;
        warn!(
            client = %self.client_id(slot), %service, kind, events, attempts, ?reason,
            "events are given up"
        );
        if let Err(why) = self.bury(slot, reason) {
            warn!(?why, "the dead letter is lost");
        }
    }

    /// Makes a client's batch a dead letter. An error: the letter is lost.
    fn bury(&mut self, slot: Slot, reason: DeadReason) -> Result<(), Unsent> {
        let Some(client) = &self.clients[slot as usize] else {
            return Ok(());
        };
        let batch = client.dispatch.batch();
        let (kind, events) = (batch.kind.token(), batch.events().len());
        let service = &self.services[usize::from(client.listener)].name;
        let metrics = self.metrics.service(client.listener);
        metrics.dead(reason, events as u64);
        let dead = wire::encode(&Dead {
            service: service.clone(),
            kind: kind.to_owned(),
            reason,
            batch: self.envelope(slot, client, batch),
        });
        if let Some(client) = &mut self.clients[slot as usize] {
            client.dispatch.done();
        }
        self.link.publish(self.subjects.dead(), None, &dead)
    }

    /// No worker came within `worker_wait`. An open client is let go, and its events wait once more
    /// as long; then they are given up, all of them.
    pub(super) fn no_worker(&mut self, slot: Slot) {
        let now = self.now();
        let Some(client) = &mut self.clients[slot as usize] else {
            return;
        };
        if client.open {
            client.dispatch.wait_anew(now);
            debug!(client = %self.client_id(slot), "no worker within worker_wait");
            self.close(slot, CloseCode::NoWorker.into(), None);
        } else {
            self.give_up_all_of(slot, DeadReason::NoWorker);
            self.reap(slot);
        }
    }

    /// Gives up every event of a client.
    pub(super) fn give_up_all_of(&mut self, slot: Slot, reason: DeadReason) {
        while let Some(client) = &mut self.clients[slot as usize]
            && !client.dispatch.is_empty()
        {
            client.dispatch.begin(self.most_batch);
            self.give_up(slot, reason);
        }
    }

    /// Gives up every event of every client: a line in the log for each service, not for each batch.
    pub(super) fn give_up_all(&mut self, reason: DeadReason) {
        #[derive(Default, Clone)]
        struct GivenUp {
            clients: usize,
            events: usize,
            lost: usize,
        }
        let mut of = vec![GivenUp::default(); self.services.len()];
        for slot in 0..self.clients.len() {
            let slot = Slot::try_from(slot).expect("fewer than 2^32 clients");
            let mut clients = 1;
            while let Some(client) = &mut self.clients[slot as usize]
                && !client.dispatch.is_empty()
            {
                client.dispatch.begin(self.most_batch);
                let given_up = &mut of[usize::from(client.listener)];
                given_up.clients += std::mem::take(&mut clients);
                given_up.events += client.dispatch.batch().events().len();
                let letter = self.bury(slot, reason);
                given_up.lost += usize::from(letter.is_err());
            }
        }
        for (service, of) in self.services.iter().zip(of) {
            let GivenUp {
                clients,
                events,
                lost,
            } = of;
            if events > 0 {
                warn!(
                    service = %service.name, clients, events, dead_letters_lost = lost, ?reason,
                    "events are given up"
                );
            }
        }
    }

    /// The last attempt of a batch is over.
    pub(super) fn out_of_attempts(&mut self, slot: Slot) {
        self.give_up(slot, DeadReason::Attempts);
        self.go_on(slot);
    }

    /// The link is back: what was in flight goes again, for nobody knows whether it arrived.
    pub(super) fn relink(&mut self) {
        let now = self.now();
        self.forget_ready();
        for (slot, client) in self.clients.iter_mut().enumerate() {
            if let Some(client) = client
                && client.dispatch.relink(now)
            {
                self.ready
                    .push_back(Slot::try_from(slot).expect("fewer than 2^32 clients"));
            }
        }
    }
}

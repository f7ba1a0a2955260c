//! The intake: takes batches off the subscription, as many as may run at the same time.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_nats::Subscriber;
use futures_util::{
    FutureExt, StreamExt,
    stream::{Select, select},
};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::unconstrained,
};
use wire::{EventBatch, EventKind, EventMessage, ServiceName, subject};

use crate::{Error, ErrorKind, Events, desk::Desk};

/// So many batches are begun before whatever else the thread has to do has its turn.
const MOST_AT_ONCE: usize = 128;

/// A member of the service's queue group, which can be reached by itself too.
pub(crate) struct Intake<E: Events> {
    /// What NATS gave to this one of the group, and what is for this worker and no other. Of one
    /// client there is one batch at a time, so it does not matter which of the two comes first.
    inbox: Select<Subscriber, Subscriber>,
    desk: Arc<Desk<E>>,
    concurrency: u64,
    /// Whether the runtime has this thread only.
    one_thread: bool,
}

impl<E: Events> Intake<E> {
    /// Joins the queue group. The worker's own subject comes first: who knows the worker by an ack
    /// can reach it.
    pub(crate) async fn open(
        desk: Arc<Desk<E>>,
        service: &ServiceName,
        concurrency: usize,
    ) -> Result<Self, Error> {
        let link = desk.gateway.link();
        let own = link
            .subscribe(link.subjects.worker_events_many(link.id))
            .await?;
        let subject = link.subjects.events_many(service);
        let shared = link.queue_subscribe(subject, service.to_string()).await?;
        Ok(Self {
            inbox: select(shared, own),
            desk,
            concurrency: concurrency as u64,
            one_thread: Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread,
        })
    }

    /// Takes batches until `stop` resolves.
    pub(crate) async fn work(
        &mut self,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), Error> {
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                message = self.inbox.next() => match message {
                    Some(message) => {
                        self.take(&message);
                    }
                    None => {
                        let says = "the connection to NATS is closed";
                        return Err(Error::new(ErrorKind::Closed, says));
                    }
                },
            }
            // One look at `stop` for all that is there already; but acks, beats and whatever else
            // the thread has to do must have their turn.
            let mut begun = 0;
            while begun < MOST_AT_ONCE
                && let Some(Some(message)) = self.inbox.next().now_or_never()
            {
                begun += self.take(&message);
            }
            if begun >= MOST_AT_ONCE {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Leaves the queue group and the worker's own subject, and takes what was routed here until then.
    ///
    /// `unsubscribe` and `drain` of async-nats forget the subscription while messages for it are
    /// still on the way. The server takes a limit of this size for "at once", and async-nats for
    /// "not yet", so that everything up to the answer of the round trip is delivered. A test holds
    /// both to it.
    pub(crate) async fn leave(&mut self) -> Result<(), Error> {
        let (shared, own) = self.inbox.get_mut();
        for subscription in [shared, own] {
            let left = subscription.unsubscribe_after(u64::MAX).await;
            left.map_err(|e| {
                Error::new(ErrorKind::Closed, "cannot leave the queue group").with(e)
            })?;
        }
        let desk = self.desk.clone();
        let mut round_trip = pin!(desk.gateway.link().round_trip());
        loop {
            tokio::select! {
                done = &mut round_trip => {
                    // Unconstrained: tokio would say "nothing there" after a while, for fairness.
                    while let Some(Some(message)) = unconstrained(self.inbox.next()).now_or_never() {
                        self.take(&message);
                    }
                    return done;
                }
                Some(message) = self.inbox.next() => {
                    self.take(&message);
                }
            }
        }
    }

    /// Begins with what a message brings; says how many batches that are.
    fn take(&self, message: &async_nats::Message) -> usize {
        let Some((kind, many)) = subject::event(&message.subject) else {
            tracing::debug!(subject = %message.subject, "events of an unknown kind");
            return 0;
        };
        let begun = if many {
            wire::decode(&message.payload).map(|EventMessage { batches }| {
                let count = batches.len();
                for batch in batches {
                    self.begin(kind, batch);
                }
                count
            })
        } else {
            wire::decode(&message.payload).map(|batch| {
                self.begin(kind, batch);
                1
            })
        };
        begun.unwrap_or_else(|error| {
            self.desk.tally.malformed();
            malformed(&error);
            0
        })
    }

    /// Begins with a batch, if it is to be handled here and now.
    fn begin(&self, kind: EventKind, mut batch: EventBatch) {
        let running = self.desk.tally.running();
        // While the outbox is full, what a handler sends would fail: better handle it later.
        let room = running < self.concurrency && self.desk.gateway.link().outbox.has_room();
        if !self.desk.admit(&batch, room) {
            return;
        }
        let running = Running::begin(self.desk.clone());
        let handling = async move {
            running.desk.work(kind, &mut batch).await;
        };
        if !self.one_thread {
            tokio::spawn(handling);
            return;
        }
        // With one thread a task of its own brings nothing to a handler that does not wait.
        let mut handling = Box::pin(handling);
        if handling.as_mut().now_or_never().is_none() {
            tokio::spawn(handling);
        }
    }
}

/// A batch that counts as running until this is dropped, however it ends.
struct Running<E: Events> {
    desk: Arc<Desk<E>>,
}

impl<E: Events> Running<E> {
    fn begin(desk: Arc<Desk<E>>) -> Self {
        desk.tally.begin_batch();
        Self { desk }
    }
}

impl<E: Events> Drop for Running<E> {
    fn drop(&mut self) {
        self.desk.tally.end_batch();
    }
}

/// Once a second at most: who sends rubbish sends much of it.
fn malformed(error: &wire::DecodeError) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
        *last = Some(Instant::now());
        tracing::warn!(%error, "events that do not decode are dropped");
    }
}

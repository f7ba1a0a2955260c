//! Leases: of all who want a name, one holds it at a time, as far as that can be promised.
//!
//! A lease is a key in a JetStream KV bucket. Its holder writes it anew every [`RENEW`]; everybody
//! else looks at it, and whoever sees the same revision for [`LEASE`] takes it, by a write that is
//! good for that revision only. The holder counts its time from *before* a write, the others from
//! *after* they saw it, each by its own monotonic clock: so the holder has let go before anybody
//! takes. No clock is compared with another.
//!
//! A key that is not there is treated as one that nobody renews: it may have been lost together
//! with what the server kept, and somebody may hold it still.

mod bucket;
mod record;

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use async_nats::{
    Subscriber,
    jetstream::kv::{Operation, UpdateErrorKind},
};
use futures_util::{FutureExt, StreamExt};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use wire::ServiceName;

use self::{
    bucket::Bucket,
    record::{Record, now_ms},
};
use crate::{Error, ErrorKind, error, link::Link};

/// A holder that has not renewed for so long holds nothing any more.
const LEASE: Duration = Duration::from_secs(3);
/// The holder renews this often: it may miss two.
const RENEW: Duration = Duration::from_secs(1);
/// The others look this often. Together with the lease: who dies is followed within 4 s.
const LOOK: Duration = Duration::from_millis(750);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(1);
/// A pause after something did not work.
const AGAIN: Duration = Duration::from_millis(100);
/// One name, which this process may or may not hold.
pub(crate) struct Lease {
    bucket: Bucket,
    key: String,
    /// How others know this lease from theirs.
    me: String,
    /// All writes to the key, as NATS passes them on: a hint that it is free, and no more.
    writes: Option<Subscriber>,
    /// Until when it is held; none where it is not.
    until: watch::Sender<Option<Instant>>,
    /// Of what was written or seen last.
    revision: u64,
    /// When the others' revision was seen first.
    seen: Option<Instant>,
    ran: u64,
    /// When to renew, or to look.
    next: Instant,
    /// A failure was told, and nothing has worked since.
    told: bool,
}

impl Lease {
    /// Gets ready to take the lease of this name, which the workers of a service share; and those
    /// who are no workers, among them. Tries on while NATS does not answer. `None` in the test
    /// entrance, where nobody else is.
    pub(crate) async fn open(link: &Link, name: &str) -> Result<Option<Self>, Error> {
        let name = ServiceName::new(name).map_err(|_| {
            let says = "a timer's name is 1 to 48 of A-Z a-z 0-9 - _";
            Error::new(ErrorKind::InvalidName, format!("{name:?}: {says}"))
        })?;
        let Some(nats) = link.nats() else {
            return Ok(None);
        };
        let key = match &link.service {
            Some(service) => format!("{service}.{name}"),
            None => name.to_string(),
        };
        let bucket = Bucket::open(link, nats, &key).await?;
        let writes = nats
            .subscribe(format!("{}{key}", bucket.store.prefix))
            .await;
        Ok(Some(Self {
            bucket,
            key,
            me: format!("{}-{:08x}", link.id, rand::random::<u32>()),
            writes: writes.ok(),
            until: watch::Sender::new(None),
            revision: 0,
            seen: None,
            ran: 0,
            next: Instant::now(),
            told: false,
        }))
    }

    /// Whether it is held now.
    pub(crate) fn is_held(&self) -> bool {
        holds(*self.until.borrow())
    }

    /// When [`tend`](Self::tend) has something to do.
    pub(crate) fn next(&self) -> Instant {
        match *self.until.borrow() {
            Some(until) => self.next.min(until),
            None => self.next,
        }
    }

    /// How long it is since the last run began, whoever ran; or since the name was first taken.
    pub(crate) fn since_last_run(&self) -> Duration {
        // Another host's clock may be ahead.
        Duration::from_millis(now_ms().saturating_sub(self.ran))
    }

    /// Resolves when somebody seems to have released it.
    pub(crate) async fn freed(&mut self) {
        if !self.is_held()
            && let Some(writes) = &mut self.writes
        {
            while let Some(write) = writes.next().await {
                if Record::read(&write.payload).is_some_and(|r| r.holder.is_none()) {
                    // It is on its way into the bucket too.
                    self.next = Instant::now() + AGAIN / 4;
                    return;
                }
            }
            self.writes = None;
        }
        std::future::pending::<()>().await;
    }

    /// Renews it if it is held, and otherwise looks whether it can be taken, if it is time.
    pub(crate) async fn tend(&mut self) {
        if let Some(writes) = &mut self.writes {
            // While it is held these are our own.
            while self.until.borrow().is_some() && writes.next().now_or_never().flatten().is_some()
            {
            }
        }
        if Instant::now() < self.next() {
            return;
        }
        let until = *self.until.borrow();
        match until {
            Some(until) => {
                let _ = timeout_at(until, self.renew(self.ran)).await;
                if !self.is_held() {
                    self.lose();
                }
            }
            None => self.look().await,
        }
    }

    /// Notes that a run begins now. False: it is not held, or that cannot be known; then nothing
    /// may run.
    pub(crate) async fn begin(&mut self) -> bool {
        let until = *self.until.borrow();
        let Some(until) = until.filter(|_| self.is_held()) else {
            return false;
        };
        let begun = timeout_at(until, self.renew(now_ms())).await;
        let begun = begun.unwrap_or(false) && self.is_held();
        if !begun {
            sleep(AGAIN).await;
        }
        begun
    }

    /// Runs something for as long as the lease is held, renewing it. `None`: it was lost, and what
    /// ran is dropped where it waited.
    pub(crate) async fn hold<T>(&mut self, run: impl Future<Output = T>) -> Option<T> {
        let until = self.until.subscribe();
        let mut run = pin!(run);
        // A process that stood still gets its turns in any order, so each looks at the clock.
        let guarded = poll_fn(|cx| match holds(*until.borrow()) {
            true => run.as_mut().poll(cx).map(Some),
            false => Poll::Ready(None),
        });
        tokio::select! {
            biased;
            () = self.keep() => None,
            done = guarded => done,
        }
    }

    async fn keep(&mut self) {
        while self.is_held() {
            sleep_until(self.next()).await;
            self.tend().await;
        }
    }

    /// Lets go of it, so that somebody else can take it at once.
    pub(crate) async fn release(&mut self) {
        if !self.is_held() {
            return;
        }
        let record = Record {
            holder: None,
            ran: self.ran,
        };
        let value = record.write().into();
        // Not for certain: then the others wait until it has run out.
        if let Err(error) = self
            .bucket
            .store
            .update(&self.key, value, self.revision)
            .await
        {
            tracing::debug!(key = self.key, %error, "the lease is not released");
        }
        self.until.send_replace(None);
    }

    /// Writes the key anew. True: it is held from now on for a whole lease.
    async fn renew(&mut self, ran: u64) -> bool {
        let record = Record {
            holder: Some(self.me.clone()),
            ran,
        };
        // Twice: the answer to a write before may have been lost.
        for _ in 0..2 {
            let sent = Instant::now();
            self.next = sent + AGAIN;
            let value = record.write().into();
            match self
                .bucket
                .store
                .update(&self.key, value, self.revision)
                .await
            {
                Ok(revision) => {
                    self.revision = revision;
                    self.ran = ran;
                    self.until.send_replace(Some(sent + LEASE));
                    self.next = sent + RENEW;
                    self.told = false;
                    return true;
                }
                Err(e) if e.kind() == UpdateErrorKind::WrongLastRevision => {
                    match self.bucket.store.entry(&self.key).await {
                        Ok(Some(entry)) if self.is_mine(&entry.value) => {
                            self.revision = entry.revision;
                        }
                        Ok(_) => {
                            self.lose();
                            return false;
                        }
                        Err(e) => return self.failed(&e),
                    }
                }
                Err(e) => return self.failed(&e),
            }
        }
        false
    }

    fn is_mine(&self, value: &[u8]) -> bool {
        Record::read(value).and_then(|r| r.holder).as_ref() == Some(&self.me)
    }

    /// Looks at the key, and takes it if nobody holds it.
    async fn look(&mut self) {
        self.next = Instant::now() + LOOK.mul_f64(rand::random_range(0.8..1.0));
        let entry = match self.bucket.store.entry(&self.key).await {
            Ok(entry) => entry.map(|e| (e.revision, e.operation, e.value)),
            Err(e) => {
                self.failed(&e);
                self.bucket.reopen().await;
                return;
            }
        };
        let (revision, record) = match entry {
            Some((revision, Operation::Put, value)) => (revision, Record::read(&value)),
            Some((revision, ..)) => (revision, None),
            None => (0, None),
        };
        let now = Instant::now();
        let since = match self.seen {
            Some(since) if self.revision == revision => since,
            _ => now,
        };
        (self.revision, self.seen) = (revision, Some(since));
        let free = record
            .as_ref()
            .is_some_and(|r| r.holder.as_ref().is_none_or(|holder| *holder == self.me));
        if !free && now - since < LEASE {
            return;
        }
        let waited = u64::try_from((now - since).as_millis()).unwrap_or(u64::MAX);
        let ran = record.map_or_else(|| now_ms().saturating_sub(waited), |r| r.ran);
        if self.renew(ran).await {
            tracing::info!(key = self.key, "this process holds the lease now");
        } else {
            // Somebody was faster; or nobody knows.
            self.seen = None;
        }
    }

    fn lose(&mut self) {
        if self.until.send_replace(None).is_some() {
            tracing::warn!(key = self.key, "the lease is lost");
        }
        (self.seen, self.next) = (None, Instant::now());
    }

    fn failed(&mut self, error: &(dyn std::error::Error + 'static)) -> bool {
        if !std::mem::replace(&mut self.told, true) {
            let error = error::chain(error);
            tracing::warn!(
                key = self.key,
                error,
                "the lease cannot be tended, trying on"
            );
        }
        false
    }
}

fn holds(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

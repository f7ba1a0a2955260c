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

use std::{
    future::poll_fn,
    pin::pin,
    task::Poll,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_nats::{
    Subscriber,
    jetstream::{
        self, ErrorCode,
        context::{
            AccountErrorKind, ContextBuilder, CreateKeyValueError, CreateStreamError,
            CreateStreamErrorKind,
        },
        kv::{Config, Operation, Store, UpdateErrorKind},
    },
};
use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use wire::{Prefix, ServiceName};

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
/// The bucket has room for thousands of leases, and no more.
const MOST_BYTES: i64 = 1024 * 1024;
const MOST_VALUE: i32 = 256;

/// One name, which this process may or may not hold.
pub(crate) struct Lease {
    js: jetstream::Context,
    bucket: String,
    store: Store,
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

/// What stands at the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Nobody: it was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    /// When the last run began, or the key was first written; in milliseconds since 1970.
    ran: u64,
}

impl Record {
    fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }
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
        let js = ContextBuilder::new().timeout(ANSWER).build(nats.clone());
        let bucket = bucket(link.subjects.prefix());
        let mut told = false;
        let store = loop {
            match open_bucket(&js, &bucket).await {
                Ok(store) => break store,
                Err(error) if error.kind() == ErrorKind::Timeout => {
                    if !std::mem::replace(&mut told, true) {
                        let error = error::chain(&error);
                        tracing::warn!(bucket, error, "JetStream does not answer, trying on");
                    }
                    sleep(AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        };
        let key = match &link.service {
            Some(service) => format!("{service}.{name}"),
            None => name.to_string(),
        };
        let writes = nats.subscribe(format!("$KV.{bucket}.{key}")).await;
        Ok(Some(Self {
            js,
            bucket,
            store,
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
        if let Err(error) = self.store.update(&self.key, value, self.revision).await {
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
            match self.store.update(&self.key, value, self.revision).await {
                Ok(revision) => {
                    self.revision = revision;
                    self.ran = ran;
                    self.until.send_replace(Some(sent + LEASE));
                    self.next = sent + RENEW;
                    self.told = false;
                    return true;
                }
                Err(e) if e.kind() == UpdateErrorKind::WrongLastRevision => {
                    match self.store.entry(&self.key).await {
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
        let entry = match self.store.entry(&self.key).await {
            Ok(entry) => entry.map(|e| (e.revision, e.operation, e.value)),
            Err(e) => {
                self.failed(&e);
                // The bucket may be gone.
                if let Ok(store) = open_bucket(&self.js, &self.bucket).await {
                    self.store = store;
                }
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

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// The bucket of a prefix. A bucket's name has no dots, so `.` is `_-`, and `_` is `__`.
fn bucket(prefix: &Prefix) -> String {
    let name = prefix.as_str().replace('_', "__").replace('.', "_-");
    format!("{name}-leases")
}

/// JetStream's status for "not now".
const UNAVAILABLE: usize = 503;

/// The bucket, which is made if it is not there. [`ErrorKind::Timeout`]: it may work later.
async fn open_bucket(js: &jetstream::Context, name: &str) -> Result<Store, Error> {
    js.query_account().await.map_err(|error| {
        let none = match error.kind() {
            AccountErrorKind::JetStreamUnavailable => true,
            AccountErrorKind::JetStream(error) => [
                ErrorCode::JETSTREAM_NOT_ENABLED,
                ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
            ]
            .contains(&error.error_code()),
            _ => false,
        };
        let (kind, says) = match none {
            true => (
                ErrorKind::NoJetStream,
                "exclusive timers need JetStream, and this NATS server or account has none; \
                 `nats-server --jetstream`, or `jetstream {}` in its configuration, turns it on",
            ),
            false => (ErrorKind::Timeout, "JetStream does not answer"),
        };
        Error::new(kind, says).with(error)
    })?;
    if let Ok(store) = js.get_key_value(name).await {
        return Ok(store);
    }
    let config = Config {
        bucket: name.to_owned(),
        description: "Gatebus: who runs which exclusive timer".to_owned(),
        history: 1,
        max_bytes: MOST_BYTES,
        max_value_size: MOST_VALUE,
        ..Config::default()
    };
    js.create_key_value(config).await.map_err(|error| {
        let kind = match refusal(&error) {
            // such as a cluster that has no leader for the moment
            Some(refusal) if refusal.code() != UNAVAILABLE => ErrorKind::Refused,
            _ => ErrorKind::Timeout,
        };
        let says = format!("the JetStream bucket {name} cannot be made");
        Error::new(kind, says).with(error)
    })
}

/// What the server said, if it answered.
fn refusal(error: &CreateKeyValueError) -> Option<jetstream::Error> {
    let source = std::error::Error::source(error)?.downcast_ref::<CreateStreamError>()?;
    match source.kind() {
        CreateStreamErrorKind::JetStream(refusal) => Some(refusal),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_have_buckets_of_their_own() {
        let bucket = |prefix: &str| bucket(&prefix.parse().unwrap());
        assert_eq!(bucket("gatebus"), "gatebus-leases");
        assert_eq!(bucket("a.b"), "a_-b-leases");
        assert_eq!(bucket("a_b"), "a__b-leases");
        assert_eq!(bucket("a_-b"), "a__-b-leases");
    }

    #[test]
    fn a_record_is_written_as_the_contract_says() {
        let text = |holder: Option<&str>| {
            let holder = holder.map(str::to_owned);
            String::from_utf8(Record { holder, ran: 7 }.write()).unwrap()
        };
        assert_eq!(text(Some("me")), r#"{"holder":"me","ran":7}"#);
        assert_eq!(text(None), r#"{"ran":7}"#);
        let read = Record::read(br#"{"ran":7,"more":true}"#);
        assert_eq!(
            read,
            Some(Record {
                holder: None,
                ran: 7
            })
        );
        assert_eq!(Record::read(b"rubbish"), None);
    }
}

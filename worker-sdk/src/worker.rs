//! The worker: takes a service's events off the bus, for as long as it is let.

use std::{
    path::PathBuf,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use async_nats::Subscriber;
use futures_util::{FutureExt, StreamExt};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::{AbortHandle, unconstrained},
    time::{MissedTickBehavior, timeout_at},
};
use wire::{EventBatch, EventKind, NodeState, ServiceName, subject};

use crate::{
    Error, ErrorKind, Events, Gateway,
    desk::{self, Desk, Tally},
    gateway::connection_settings,
    ledger::Ledger,
    link::Link,
    presence::{self, Presence, Profile},
    settings::{self, Credentials, DEFAULT_CONCURRENCY, Settings, process_var},
};

/// A third of a gateway's default `ack_wait`, and a little less.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// What the last words have if the time is up already.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A worker of a service: connects, takes events, and hands them to your [`Events`].
///
/// Any number of workers of a service run at the same time, in any number of processes and on any
/// number of machines. They share the events by themselves; start more to get more done.
#[derive(Debug)]
pub struct Worker {
    service: ServiceName,
    settings: Settings,
    limits: Limits,
}

#[derive(Debug, Clone)]
struct Limits {
    concurrency: usize,
    progress_interval: Duration,
    stop_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrency: DEFAULT_CONCURRENCY,
            progress_interval: PROGRESS_INTERVAL,
            stop_timeout: STOP_TIMEOUT,
        }
    }
}

impl Worker {
    /// A worker of this service, set up from the environment. Reads no command line.
    ///
    /// | variable | default | |
    /// | --- | --- | --- |
    /// | `NATS_URL` | `nats://127.0.0.1:4222` | servers, comma-separated; user and password, or a token, before an `@` |
    /// | `NATS_USER`, `NATS_PASSWORD_FILE` | | user and password |
    /// | `NATS_TOKEN_FILE` | | a token |
    /// | `NATS_NKEY_FILE` | | an nkey's seed |
    /// | `NATS_CREDS_FILE` | | a creds file |
    /// | `NATS_CA_FILE` | | PEM certificates to trust |
    /// | `GATEBUS_PREFIX` | `gatebus` | the first tokens of every subject |
    /// | `GATEBUS_CONCURRENCY` | `1024` | how many clients' events are handled at the same time |
    /// | `GATEBUS_PROGRESS_INTERVAL` | `3s` | see [`WorkerBuilder::progress_interval`] |
    /// | `GATEBUS_STOP_TIMEOUT` | `30s` | see [`WorkerBuilder::stop_timeout`] |
    pub fn from_env(service: impl AsRef<str>) -> Result<Self, Error> {
        Self::from_vars(service.as_ref(), &process_var)
    }

    fn from_vars(service: &str, vars: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let mut builder = Self::builder(service);
        builder.settings = Settings::from_vars(vars);
        if let Some(n) = settings::count(vars, "GATEBUS_CONCURRENCY")? {
            builder = builder.concurrency(n);
        }
        if let Some(time) = settings::duration(vars, "GATEBUS_PROGRESS_INTERVAL")? {
            builder = builder.progress_interval(time);
        }
        if let Some(time) = settings::duration(vars, "GATEBUS_STOP_TIMEOUT")? {
            builder = builder.stop_timeout(time);
        }
        builder.build()
    }

    /// A worker of this service, set up as you say.
    #[must_use]
    pub fn builder(service: impl AsRef<str>) -> WorkerBuilder {
        WorkerBuilder {
            service: service.as_ref().to_owned(),
            settings: Ok(Settings {
                name: format!("gatebus worker {}", service.as_ref()),
                ..Settings::default()
            }),
            limits: Limits::default(),
        }
    }

    /// Works until the process gets SIGTERM or Ctrl-C, then stops as [`run_until`](Self::run_until)
    /// says.
    pub async fn run<E: Events>(self, events: E) -> Result<(), Error> {
        let signal = stop_signal()?;
        self.run_until(events, signal).await
    }

    /// Works until `stop` resolves.
    ///
    /// While NATS is not there it tries on, also at the start, and says so once in the log. An
    /// error before the first event: credentials that NATS refuses, or `on_worker_start`.
    ///
    /// Stopping loses nothing: the worker leaves the queue group, finishes what was routed to it,
    /// publishes what is in the outbox, and runs `on_worker_stop`. Batches that are still being
    /// handled after `stop_timeout` are left behind, which is logged and is
    /// [`ErrorKind::Timeout`]; their gateways send them to other workers.
    pub async fn run_until<E: Events>(
        self,
        events: E,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let mut stop = pin!(stop);
        let link = tokio::select! {
            link = Link::connect(&self.settings) => link?,
            () = &mut stop => return Ok(()),
        };
        let gateway = Gateway::over(link);
        let desk = Arc::new(Desk::new(events, gateway.clone())?);
        desk::hook(desk.events.on_worker_start(&gateway))
            .await
            .map_err(|says| hook_failed("on_worker_start", &says))?;

        let link = gateway.link();
        let mut inbox = link
            .queue_subscribe(
                link.subjects.events(&self.service),
                self.service.to_string(),
            )
            .await?;
        let presence = Presence::begin(Profile {
            gateway: gateway.clone(),
            service: self.service.clone(),
            concurrency: self.limits.concurrency,
            tally: desk.tally.clone(),
            host: presence::host(),
            started: SystemTime::now(),
        })
        .await?;
        let _side_jobs = [
            tell_progress(
                gateway.clone(),
                desk.ledger.clone(),
                self.limits.progress_interval,
            ),
            tell_of_lost_gateways(desk.clone()),
        ]
        .map(AbortOnDrop);
        link.round_trip().await?;
        tracing::info!(service = %self.service, worker = %link.id, "worker is ready");

        let intake = Intake {
            desk: desk.clone(),
            concurrency: self.limits.concurrency as u64,
            one_thread: Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread,
        };
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                message = inbox.next() => match message {
                    Some(message) => intake.take(message),
                    None => return Err(Error::new(ErrorKind::Closed, "the connection to NATS is closed")),
                },
            }
            // One look at `stop` for all that is there already.
            while let Some(Some(message)) = inbox.next().now_or_never() {
                intake.take(message);
            }
        }

        let deadline = tokio::time::Instant::now() + self.limits.stop_timeout;
        tracing::info!(service = %self.service, worker = %link.id, "worker is stopping");
        presence.say(NodeState::Draining);
        let left = timeout_at(deadline, leave(link, &mut inbox, &intake)).await;
        let finished = timeout_at(deadline, desk.tally.until_idle()).await;
        let hook = desk::hook(desk.events.on_worker_stop(&gateway)).await;
        presence.leave().await;
        let last_words = deadline.max(tokio::time::Instant::now() + LAST_WORDS);
        let flushed = timeout_at(last_words, link.round_trip()).await;

        let late = |what: &str| {
            let running = desk.tally.running.load(Ordering::Relaxed);
            tracing::error!(running, "{what}");
            Err(Error::new(
                ErrorKind::Timeout,
                format!("{what} within {:?}", self.limits.stop_timeout),
            ))
        };
        if finished.is_err() {
            return late("not every batch was finished");
        }
        match (left, flushed) {
            (Ok(left), Ok(flushed)) => left.and(flushed)?,
            _ => return late("NATS did not take everything"),
        }
        hook.map_err(|says| hook_failed("on_worker_stop", &says))?;
        tracing::info!(service = %self.service, worker = %link.id, "worker has stopped");
        Ok(())
    }
}

/// Leaves the queue group, and takes what was routed here until then.
///
/// `unsubscribe` and `drain` of async-nats forget the subscription while messages for it are still
/// on the way. The server takes a limit of this size for "at once", and async-nats for "not yet",
/// so that everything up to the answer of the round trip is delivered. A test holds both to it.
async fn leave<E: Events>(
    link: &Link,
    inbox: &mut Subscriber,
    intake: &Intake<E>,
) -> Result<(), Error> {
    inbox
        .unsubscribe_after(u64::MAX)
        .await
        .map_err(|e| Error::new(ErrorKind::Closed, "cannot leave the queue group").with(e))?;
    let mut round_trip = pin!(link.round_trip());
    loop {
        tokio::select! {
            done = &mut round_trip => {
                // Unconstrained: tokio would say "nothing there" after a while, to let others run.
                while let Some(Some(message)) = unconstrained(inbox.next()).now_or_never() {
                    intake.take(message);
                }
                return done;
            }
            Some(message) = inbox.next() => intake.take(message),
        }
    }
}

/// Takes batches in, as many as may run at the same time.
struct Intake<E: Events> {
    desk: Arc<Desk<E>>,
    concurrency: u64,
    /// Whether the runtime has this thread only.
    one_thread: bool,
}

impl<E: Events> Intake<E> {
    fn take(&self, message: async_nats::Message) {
        let Some(kind) = EventKind::from_token(subject::last_token(&message.subject)) else {
            tracing::debug!(subject = %message.subject, "events of an unknown kind");
            return;
        };
        let mut batch: EventBatch = match wire::decode(&message.payload) {
            Ok(batch) => batch,
            Err(error) => {
                malformed(&error);
                return;
            }
        };
        let tally = &self.desk.tally;
        if tally.running.load(Ordering::Relaxed) >= self.concurrency {
            self.desk.decline(&batch);
            return;
        }
        let running = Running::begin(self.desk.clone());
        let handling = async move {
            running.desk.handle(kind, &mut batch).await;
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
        desk.tally.running.fetch_add(1, Ordering::Relaxed);
        Self { desk }
    }
}

impl<E: Events> Drop for Running<E> {
    fn drop(&mut self) {
        let tally = &self.desk.tally;
        if tally.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            tally.idle.notify_waiters();
        }
    }
}

impl Tally {
    /// Resolves when no batch is running.
    async fn until_idle(&self) {
        loop {
            let mut rings = pin!(self.idle.notified());
            rings.as_mut().enable();
            if self.running.load(Ordering::Acquire) == 0 {
                return;
            }
            rings.await;
        }
    }
}

/// Once a second at most: who sends rubbish sends much of it.
fn malformed(error: &wire::DecodeError) {
    use std::sync::Mutex;
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if last.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
        *last = Some(Instant::now());
        tracing::warn!(%error, "events that do not decode are dropped");
    }
}

/// Tells gateways of batches that take long, so that they do not send them out again.
fn tell_progress(gateway: Gateway, ledger: Arc<Ledger>, interval: Duration) -> AbortHandle {
    let half = interval / 2;
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(half);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for (client, ack) in ledger.progress() {
                gateway.link().outbox.ack(client.gateway, Arc::new(ack));
            }
        }
    })
    .abort_handle()
}

fn tell_of_lost_gateways<E: Events>(desk: Arc<Desk<E>>) -> AbortHandle {
    tokio::spawn(async move {
        let link = desk.gateway.link();
        let mut lost = link.roster.lost();
        if let Err(error) = link.gateways().await {
            tracing::error!(
                error = crate::error::chain(&error),
                "cannot listen to the gateways' beats"
            );
        }
        while let Some(gateway) = lost.recv().await {
            if let Err(error) = desk::hook(desk.events.on_gateway_lost(gateway)).await {
                tracing::error!(%gateway, error, "on_gateway_lost failed");
            }
        }
    })
    .abort_handle()
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn hook_failed(name: &str, says: &str) -> Error {
    Error::new(ErrorKind::Hook, format!("{name}: {says}"))
}

/// Resolves at SIGTERM or Ctrl-C. Listens from the call on, not from the first poll.
fn stop_signal() -> Result<impl Future<Output = ()>, Error> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| {
            signal(kind)
                .map_err(|e| Error::new(ErrorKind::Config, "cannot listen to signals").with(e))
        };
        let (mut term, mut int) = (
            listen(SignalKind::terminate())?,
            listen(SignalKind::interrupt())?,
        );
        Ok(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// Says how a worker is set up; made by [`Worker::builder`].
#[derive(Debug)]
pub struct WorkerBuilder {
    service: String,
    settings: Result<Settings, Error>,
    limits: Limits,
}

impl WorkerBuilder {
    connection_settings!();

    /// How many clients' events are handled at the same time, at least 1. Default 1024.
    ///
    /// What comes above is declined at once, and its gateway sends it to another worker, or here
    /// again a moment later.
    #[must_use]
    pub fn concurrency(mut self, batches: usize) -> Self {
        self.limits.concurrency = batches.max(1);
        self
    }

    /// A handler that takes longer tells its gateway so, at least this often. Default 3 s.
    ///
    /// Keep it to a third of the gateways' `ack_wait` (10 s) or less, or they send the event to
    /// another worker as well.
    #[must_use]
    pub fn progress_interval(mut self, time: Duration) -> Self {
        self.limits.progress_interval = time.max(Duration::from_millis(10));
        self
    }

    /// How long stopping may take, all in all. Default 30 s.
    #[must_use]
    pub fn stop_timeout(mut self, time: Duration) -> Self {
        self.limits.stop_timeout = time;
        self
    }

    /// The worker. A setting that made no sense is an error now.
    pub fn build(self) -> Result<Worker, Error> {
        Ok(Worker {
            service: ServiceName::new(self.service)?,
            settings: self.settings?,
            limits: self.limits,
        })
    }
}

//! The worker: takes a service's events off the bus, for as long as it is let.

use std::{net::SocketAddr, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use tokio::{
    task::AbortHandle,
    time::{Instant, timeout_at},
};
use wire::{NodeState, ServiceName};

use crate::{
    Error, ErrorKind, Events, Gateway, admin,
    credentials::Credentials,
    desk::{self, Desk},
    gateway::connection_settings,
    health::Health,
    intake::Intake,
    link::{self, Link},
    presence::{self, Presence, Profile},
    settings::{self, DEFAULT_CONCURRENCY, Settings, process_var},
    signal,
    tally::Tally,
};

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
    admin: Option<SocketAddr>,
}

#[derive(Debug, Clone)]
struct Limits {
    concurrency: usize,
    stop_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrency: DEFAULT_CONCURRENCY,
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
    /// | `NATS_CERT_FILE`, `NATS_KEY_FILE` | | a PEM certificate to show to servers that ask for one, and its key; implies TLS |
    /// | `GATEBUS_PREFIX` | `gatebus` | the first tokens of every subject |
    /// | `GATEBUS_CONCURRENCY` | `1024` | how many clients' events are handled at the same time |
    /// | `GATEBUS_STOP_TIMEOUT` | `30s` | see [`WorkerBuilder::stop_timeout`] |
    /// | `GATEBUS_ADMIN` | none | address of `/livez`, `/readyz` and `/metrics`, see [`WorkerBuilder::admin`] |
    ///
    /// The files are read at each connect, so a secret that was rotated counts from the next one on.
    pub fn from_env(service: impl AsRef<str>) -> Result<Self, Error> {
        Self::from_vars(service.as_ref(), &process_var)
    }

    fn from_vars(service: &str, vars: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let mut builder = Self::builder(service);
        builder.settings = Settings::from_vars(vars);
        if let Some(n) = settings::count(vars, "GATEBUS_CONCURRENCY")? {
            builder = builder.concurrency(n);
        }
        if let Some(time) = settings::duration(vars, "GATEBUS_STOP_TIMEOUT")? {
            builder = builder.stop_timeout(time);
        }
        builder.admin = settings::address(vars, "GATEBUS_ADMIN")?;
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
            admin: None,
        }
    }

    /// Works until the process gets SIGTERM or Ctrl-C, then stops as [`run_until`](Self::run_until)
    /// says.
    pub async fn run<E: Events>(self, events: E) -> Result<(), Error> {
        self.run_until(events, signal::stop()?).await
    }

    /// Works until `stop` resolves.
    ///
    /// While NATS is not there it tries on, also at the start, and says so once in the log. An
    /// error before the first event: credentials that NATS refuses, or `on_worker_start`. If `stop`
    /// resolves before, there is nothing to finish: `on_worker_start` is dropped where it waits.
    ///
    /// Stopping loses nothing: the worker leaves the queue group, finishes what was routed to it
    /// and what its timers are at, publishes what is in the outbox, and runs `on_worker_stop`. Batches that are still being
    /// handled after `stop_timeout` are left behind, which is logged and is
    /// [`ErrorKind::Timeout`]; their gateways send them to other workers.
    pub async fn run_until<E: Events>(
        self,
        events: E,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let mut stop = pin!(stop);
        let tally = Arc::new(match self.admin {
            Some(_) => Tally::timing(),
            None => Tally::default(),
        });
        let (service, concurrency) = (self.service.clone(), self.limits.concurrency);
        let health = Arc::new(Health::new(service, concurrency, tally.clone()));
        let _admin = match self.admin {
            Some(addr) => {
                let serve = admin::serve(admin::bind(addr).await?, health.clone());
                Some(AbortOnDrop(tokio::spawn(serve).abort_handle()))
            }
            None => None,
        };
        let link = tokio::select! {
            link = Link::connect(&self.settings) => link?,
            () = &mut stop => return Ok(()),
        };
        health.connected(&link);
        let gateway = Gateway::over(link);
        let desk = Arc::new(Desk::new(events, gateway.clone(), tally)?);
        tokio::select! {
            started = desk::hook(desk.events.on_worker_start(&gateway)) => started,
            () = &mut stop => return Ok(()),
        }
        .map_err(|says| hook_failed("on_worker_start", &says))?;

        let link = gateway.link();
        let mut intake = Intake::open(desk.clone(), &self.service, self.limits.concurrency).await?;
        let presence = Presence::begin(Profile {
            gateway: gateway.clone(),
            service: self.service.clone(),
            concurrency: self.limits.concurrency,
            tally: desk.tally.clone(),
            host: presence::host(),
            started: health.started,
        })
        .await?;
        let _side_jobs = [
            tell_progress(desk.clone()),
            tell_of_lost_gateways(desk.clone()),
        ]
        .map(AbortOnDrop);
        // The server knows the subscription, so events come from here on.
        let ready = tokio::select! {
            there = link.round_trip() => there.map(|()| true)?,
            () = &mut stop => false,
        };
        if ready {
            health.ready();
            tracing::info!(service = %self.service, worker = %link.id, "worker is ready");
            intake.work(stop).await?;
        }

        health.stopping();
        let deadline = link::deadline(self.limits.stop_timeout);
        tracing::info!(service = %self.service, worker = %link.id, "worker is stopping");
        presence.say(NodeState::Draining);
        link.timers.stop();
        let left = timeout_at(deadline, intake.leave()).await;
        let finished = timeout_at(deadline, async {
            desk.tally.until_idle().await;
            link.timers.until_ended().await;
            link.binds.until_ended().await;
        })
        .await;
        // Late or not, there is a moment for last words.
        let last_words = deadline.max(Instant::now() + LAST_WORDS);
        let hook = desk::hook(desk.events.on_worker_stop(&gateway));
        let said = timeout_at(last_words, hook).await;
        presence.leave().await;
        let last_words = deadline.max(Instant::now() + LAST_WORDS);
        let flushed = timeout_at(last_words, link.round_trip()).await;

        let (Ok(()), Ok(said), Ok(left), Ok(flushed)) = (&finished, said, left, flushed) else {
            let running = desk.tally.running();
            let what = match finished {
                Err(_) => "a handler, a timer or a bind of a uid was not finished",
                Ok(()) => "NATS did not take everything, or on_worker_stop did not end,",
            };
            tracing::error!(running, "{what} within the stop timeout");
            return Err(Error::new(
                ErrorKind::Timeout,
                format!("{what} within {:?}", self.limits.stop_timeout),
            ));
        };
        left.and(flushed)?;
        said.map_err(|says| hook_failed("on_worker_stop", &says))?;
        tracing::info!(service = %self.service, worker = %link.id, "worker has stopped");
        Ok(())
    }
}

/// Tells gateways of batches that take long, so that they do not send them out again.
fn tell_progress<E: Events>(desk: Arc<Desk<E>>) -> AbortHandle {
    tokio::spawn(async move {
        loop {
            desk.ledger.round().await;
            let progress = desk.ledger.progress();
            if !desk.gateway.link().is_connected() {
                // It would only pile up: the next round tells of it early enough.
                continue;
            }
            for (client, ack) in progress {
                desk.ack(client, Arc::new(ack));
            }
        }
    })
    .abort_handle()
}

fn tell_of_lost_gateways<E: Events>(desk: Arc<Desk<E>>) -> AbortHandle {
    tokio::spawn(async move {
        let link = desk.gateway.link();
        let mut lost = link.roster.lost();
        if let Err(error) = link.roster.watch(link).await {
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

/// Says how a worker is set up; made by [`Worker::builder`].
#[derive(Debug)]
pub struct WorkerBuilder {
    service: String,
    settings: Result<Settings, Error>,
    limits: Limits,
    admin: Option<SocketAddr>,
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

    /// How long stopping may take, all in all. Default 30 s.
    #[must_use]
    pub fn stop_timeout(mut self, time: Duration) -> Self {
        self.limits.stop_timeout = time;
        self
    }

    /// Opens an admin port there, for probes and Prometheus: plain HTTP, with no guard. Default none.
    ///
    /// - `/livez`: 200 for as long as the runtime gives the port its turn. NATS has no say.
    /// - `/readyz`: 200 while the worker takes events; else 503, and why: NATS is not connected or
    ///   refuses the subscription to events, the worker is starting, or stopping.
    /// - `/metrics`: what it did, in OpenMetrics. Names begin with `gatebus_worker_`, and each has
    ///   the label `service`.
    ///
    /// | metric | |
    /// | --- | --- |
    /// | `events_total{kind,outcome}` | events that handlers were called for: `done`, `failed`, or `retry`, which come again |
    /// | `handler_duration_seconds{kind}` | how long the handlers took, a histogram |
    /// | `handler_panics_total` | failed events whose handler panicked |
    /// | `batches_total{kind}` | batches that were handled |
    /// | `batches_redelivered_total` | deliveries with an attempt above 1: a worker crashed, was too slow, or asked for them |
    /// | `batches_running`, `concurrency` | batches that are being handled, and how many may be at most |
    /// | `acks_total{status}` | acks that were sent; `busy` grows when the worker has no room |
    /// | `malformed_messages_total` | messages that were dropped because they do not decode |
    /// | `link_up`, `link_lost_total` | whether NATS is connected, and how often it was lost |
    /// | `outbox_bytes` | what waits for NATS, see [`outbox_limit`](Self::outbox_limit) |
    /// | `start_time_seconds` | when the worker started, in seconds since 1970 |
    ///
    /// It is open as long as the worker runs. With port 0 the log says which one it is. Where it
    /// cannot be opened, `run` fails with [`ErrorKind::Config`](crate::ErrorKind::Config).
    #[must_use]
    pub fn admin(mut self, addr: SocketAddr) -> Self {
        self.admin = Some(addr);
        self
    }

    /// The worker. A setting that made no sense is an error now.
    pub fn build(self) -> Result<Worker, Error> {
        let service = ServiceName::new(self.service)?;
        Ok(Worker {
            settings: Settings {
                service: Some(service.clone()),
                ..self.settings?
            },
            service,
            limits: self.limits,
            admin: self.admin,
        })
    }
}

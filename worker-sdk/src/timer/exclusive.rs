//! Exclusive timers: one worker of all runs the job.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use super::{SHORTEST, Timer, every};
use crate::{
    Error, Gateway, HandlerResult, desk, error,
    lease::Lease,
    link::{self, Link},
};

/// Runs `job` again and again, at exactly one of all the workers of the service that made a timer
/// of this `name`; at no two of them at the same time.
///
/// It needs JetStream: the worker that runs the job holds a *lease*, a key in a KV bucket, and
/// writes it anew once a second. The others wait. When the holder stops, it releases the lease and
/// another takes over at once; when it dies, stands still or loses its connection, another takes
/// over within 5 s.
///
/// The period is kept by all together: a run is due one `period` after the last one began, whoever
/// ran it, or after the name was first used. What was missed meanwhile is left out. A job that
/// fails or panics is logged, and comes again at its time, at the same worker. Each run costs a
/// write to the bucket, so this is nothing for periods far below a second.
///
/// **What a lease promises, and what not.** Before each run the worker writes the lease, and runs
/// only if the server took that. While a job runs the lease is renewed, so a job may take longer
/// than the lease. A job whose lease cannot be renewed for 3 s (NATS is away, or the process stood
/// still) is dropped where it waits, as any future may be, and only then another worker begins. But
/// a process that stands still between two awaits, and goes on after another took over, does what
/// is left of it up to the next await: nothing can call back a line of code that runs already. If
/// that must never happen, let what you write to check a number that only grows. A job that fails
/// half-way is not finished by anybody else; the next run is its next chance.
///
/// Outside of a worker the timers of the same name, of all handles under the prefix that belong to
/// no worker, are one. In the [test entrance](crate::testing) nobody else is there, and this is
/// [`every`]. A name is 1 to 48 of `A-Z a-z 0-9 - _`.
///
/// The bucket is `<prefix>-leases`, is made when it is missing with one replica, and holds 1 MiB at
/// the most. In a cluster, make it yourself with three: then the timers outlive a server.
///
/// While NATS is away, or JetStream has no leader, this waits and tries on.
///
/// # Errors
/// What does not pass by itself is told here, with what to do about it, and logged:
/// [`ErrorKind::NoJetStream`](crate::ErrorKind::NoJetStream) if the NATS server or account has none,
/// [`ErrorKind::Refused`](crate::ErrorKind::Refused) if the user lacks a permission, which is named,
/// or there is no room for the bucket. [`ErrorKind::InvalidName`](crate::ErrorKind::InvalidName).
/// What is refused later on, when a permission is taken away for example, is logged, and tried on.
///
/// ```
/// use std::time::Duration;
/// use worker_sdk::{Client, Events, Gateway, HandlerResult, Message, timer};
///
/// struct Shop;
///
/// impl Events for Shop {
///     type Session = ();
///
///     async fn on_worker_start(&self, gateway: &Gateway) -> HandlerResult {
///         let hour = Duration::from_secs(3600);
///         timer::exclusive(gateway, "prices", hour, |gateway| async move {
///             gateway.all().send("new prices")?;
///             Ok(())
///         })
///         .await?;
///         Ok(())
///     }
/// #   async fn on_message(&self, _: &mut Client<()>, _: Message) -> HandlerResult { Ok(()) }
/// }
/// ```
pub async fn exclusive<F, Fut>(
    gateway: &Gateway,
    name: impl AsRef<str>,
    period: Duration,
    job: F,
) -> Result<Timer, Error>
where
    F: FnMut(Gateway) -> Fut + Send + 'static,
    Fut: Future<Output = HandlerResult> + Send + 'static,
{
    let link = gateway.link();
    // Boxed: it is large, and needed once.
    let name = name.as_ref();
    let lease = Box::pin(Lease::open(link, name)).await;
    let lease = lease.inspect_err(|error| {
        // Also here: who spawns this, and does not look, would wait for its timer for ever.
        let error = error::chain(error);
        tracing::error!(timer = name, error, "there is no such exclusive timer");
    });
    let Some(lease) = lease? else {
        return Ok(every(gateway, period, job));
    };
    let cancelled = Arc::new(Notify::new());
    let timer = Timer {
        cancelled: cancelled.clone(),
    };
    let turns = Turns {
        link: gateway.downgrade(),
        stopped: link.timers.stopped.subscribe(),
        cancelled,
        period: period.clamp(SHORTEST, link::LONG),
        lease,
    };
    tokio::spawn(turns.run(job));
    Ok(timer)
}

/// An exclusive timer, as one of those who share it sees it.
struct Turns {
    link: Weak<Link>,
    stopped: watch::Receiver<bool>,
    cancelled: Arc<Notify>,
    period: Duration,
    lease: Lease,
}

impl Turns {
    async fn run<F, Fut>(mut self, mut job: F)
    where
        F: FnMut(Gateway) -> Fut + Send + 'static,
        Fut: Future<Output = HandlerResult> + Send + 'static,
    {
        // When to run, while the lease is held.
        let mut due = None;
        loop {
            let next = self.lease.next();
            let wake = due.map_or(next, |due: Instant| due.min(next));
            tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => break,
                () = self.cancelled.notified() => break,
                () = self.lease.freed() => continue,
                () = sleep_until(wake) => {}
            }
            let Some(link) = self.link.upgrade() else {
                break;
            };
            self.lease.tend().await;
            if !self.lease.is_held() {
                due = None;
                continue;
            }
            let now = Instant::now();
            let first = || now + self.period.saturating_sub(self.lease.since_last_run());
            let at = *due.get_or_insert_with(first);
            if now < at || !self.lease.begin().await {
                continue;
            }
            let gateway = Gateway::over(link);
            // The closure itself may panic, too.
            let run = desk::hook(async { job(gateway).await });
            match self.lease.hold(run).await {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::error!(error, "a timer's job failed"),
                None => tracing::error!("a timer's job is dropped: its lease is lost"),
            }
            due = Some((at + self.period).max(Instant::now()));
        }
        self.lease.release().await;
    }
}

//! Timers: work that no client's event brings about.
//!
//! ```
//! use std::time::Duration;
//! use worker_sdk::{Client, Events, Gateway, HandlerResult, Message, timer};
//!
//! struct Clock;
//!
//! impl Events for Clock {
//!     type Session = ();
//!
//!     async fn on_worker_start(&self, gateway: &Gateway) -> HandlerResult {
//!         timer::every(gateway, Duration::from_secs(1), |gateway| async move {
//!             gateway.group("clock").send("tick")?;
//!             Ok(())
//!         });
//!         Ok(())
//!     }
//!
//!     async fn on_message(&self, client: &mut Client<()>, _: Message) -> HandlerResult {
//!         client.join("clock").await?;
//!         Ok(())
//!     }
//! }
//! ```
//!
//! A timer belongs to the worker, or the handle, that it was made with: every worker that makes one
//! has its own. [`exclusive()`] is the exception: of all workers that make it one has it at a time. When a worker stops its timers end: nothing begins any more, and what runs is
//! finished before [`on_worker_stop`](crate::Events::on_worker_stop), within the stop timeout.
//! Outside a worker a timer ends when it is cancelled, or when the last handle is dropped.
//!
//! A job that fails or panics is logged, and comes again at its time.

mod exclusive;

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

pub use self::exclusive::exclusive;
use crate::{
    Gateway, HandlerResult, desk,
    link::{self, Link},
};

/// What a period of nothing is taken for.
const SHORTEST: Duration = Duration::from_millis(1);

/// Runs `job` again and again, for the first time after one `period`.
///
/// Runs never overlap: one that takes longer than the period delays the next, and those missed
/// meanwhile are left out. A period is at least a millisecond.
///
/// # Panics
/// Outside of a tokio runtime.
#[doc(alias = "Timer::add")]
pub fn every<F, Fut>(gateway: &Gateway, period: Duration, job: F) -> Timer
where
    F: FnMut(Gateway) -> Fut + Send + 'static,
    Fut: Future<Output = HandlerResult> + Send + 'static,
{
    let period = period.max(SHORTEST);
    start(gateway, period, Some(period), job)
}

/// Runs `job` once, so much later.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn after<F, Fut>(gateway: &Gateway, delay: Duration, job: F) -> Timer
where
    F: FnOnce(Gateway) -> Fut + Send + 'static,
    Fut: Future<Output = HandlerResult> + Send + 'static,
{
    let mut job = Some(job);
    let once = move |gateway| {
        let job = job.take();
        async move {
            match job {
                Some(job) => job(gateway).await,
                None => Ok(()),
            }
        }
    };
    start(gateway, delay, None, once)
}

/// A timer that was made. Dropping this does not cancel it.
#[derive(Clone)]
pub struct Timer {
    cancelled: Arc<Notify>,
}

impl Timer {
    /// Nothing begins any more; what runs now is finished.
    #[doc(alias = "Timer::del")]
    pub fn cancel(&self) {
        self.cancelled.notify_one();
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timer")
    }
}

/// The timers of a process, as whoever stops it sees them.
pub(crate) struct Timers {
    /// Every timer holds a receiver, until it ended.
    stopped: watch::Sender<bool>,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            stopped: watch::Sender::new(false),
        }
    }
}

impl Timers {
    /// Nothing begins any more.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Resolves when, after a stop, nothing runs any more.
    pub(crate) async fn until_ended(&self) {
        self.stopped.closed().await;
    }
}

fn start<F, Fut>(gateway: &Gateway, delay: Duration, period: Option<Duration>, job: F) -> Timer
where
    F: FnMut(Gateway) -> Fut + Send + 'static,
    Fut: Future<Output = HandlerResult> + Send + 'static,
{
    let cancelled = Arc::new(Notify::new());
    let timer = Timer {
        cancelled: cancelled.clone(),
    };
    let stopped = gateway.link().timers.stopped.subscribe();
    let next = link::deadline(delay);
    tokio::spawn(run(
        gateway.downgrade(),
        stopped,
        cancelled,
        next,
        period,
        job,
    ));
    timer
}

async fn run<F, Fut>(
    link: Weak<Link>,
    mut stopped: watch::Receiver<bool>,
    cancelled: Arc<Notify>,
    mut next: Instant,
    period: Option<Duration>,
    mut job: F,
) where
    F: FnMut(Gateway) -> Fut + Send + 'static,
    Fut: Future<Output = HandlerResult> + Send + 'static,
{
    loop {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = cancelled.notified() => return,
            () = sleep_until(next) => {}
        }
        let Some(link) = link.upgrade() else { return };
        let gateway = Gateway::over(link);
        // The closure itself may panic, too.
        let result = desk::hook(async { job(gateway).await }).await;
        if let Err(error) = result {
            tracing::error!(error, "a timer's job failed");
        }
        let Some(period) = period else { return };
        next = (next + period.min(link::LONG)).max(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::testing::Hub;

    fn gateway() -> Gateway {
        Gateway::over(Link::memory(Arc::new(Hub::new())))
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_job_comes_every_period_also_after_it_failed_or_panicked_until_cancelled() {
        let (said, mut heard) = mpsc::unbounded_channel();
        let gateway = gateway();
        let start = Instant::now();
        let mut run = 0;
        let timer = every(&gateway, SECOND, move |_| {
            run += 1;
            said.send((run, start.elapsed())).unwrap();
            assert_ne!(run, 1, "as told");
            async move {
                match run {
                    2 => Err("as told".into()),
                    _ => Ok(()),
                }
            }
        });
        for run in 1..=3 {
            assert_eq!(heard.recv().await, Some((run, SECOND * run)));
        }
        timer.cancel();
        assert_eq!(heard.recv().await, None, "it is over");
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_takes_long_does_not_overlap_and_what_is_missed_is_left_out() {
        let (said, mut heard) = mpsc::unbounded_channel();
        let gateway = gateway();
        let start = Instant::now();
        every(&gateway, SECOND, move |_| {
            said.send(start.elapsed()).unwrap();
            async {
                tokio::time::sleep(SECOND * 5).await;
                Ok(())
            }
        });
        for begun in [1, 6, 11] {
            assert_eq!(heard.recv().await, Some(SECOND * begun));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_waits_for_what_runs_and_nothing_begins_after_it() {
        let (said, mut heard) = mpsc::unbounded_channel();
        let gateway = gateway();
        let late = said.clone();
        after(&gateway, SECOND, async move |_| {
            said.send("begun")?;
            tokio::time::sleep(SECOND).await;
            said.send("finished")?;
            Ok(())
        });
        assert_eq!(heard.recv().await, Some("begun"));
        gateway.link().timers.stop();
        after(&gateway, Duration::ZERO, async move |_| {
            late.send("late")?;
            Ok(())
        });
        gateway.link().timers.until_ended().await;
        assert_eq!(heard.recv().await, Some("finished"));
        assert_eq!(heard.recv().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_ends_with_the_last_handle() {
        let gateway = gateway();
        let (said, mut heard) = mpsc::unbounded_channel::<()>();
        every(&gateway, Duration::MAX, move |_| {
            let _ = &said;
            async { Ok(()) }
        });
        drop(gateway);
        assert_eq!(heard.recv().await, None);
    }
}

//! Deadlines: no wait without one.

use std::{future::Future, time::Duration};

/// How long a single step may take. Generous: it is there to end a hanging test, not to time one.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for one step of a story.
///
/// # Panics
/// When [`DEADLINE`] is over, naming the step.
#[track_caller]
pub fn within<F: Future>(step: impl Into<String>, wait: F) -> impl Future<Output = F::Output> {
    within_secs(DEADLINE.as_secs(), step, wait)
}

/// Waits for one step of a story that has its own time limit.
///
/// # Panics
/// When the time is over, naming the step.
#[track_caller]
pub fn within_secs<F: Future>(
    secs: u64,
    step: impl Into<String>,
    wait: F,
) -> impl Future<Output = F::Output> {
    let (step, caller) = (step.into(), std::panic::Location::caller());
    async move {
        match tokio::time::timeout(Duration::from_secs(secs), wait).await {
            Ok(value) => value,
            Err(_) => panic!("waited {secs} s in vain for {step} (at {caller})"),
        }
    }
}

/// Asks again and again until there is an answer: for things that only can be polled, such as a
/// metric or a process's memory.
///
/// # Panics
/// When [`DEADLINE`] is over, naming the step.
#[track_caller]
pub fn eventually<T, F, Fut>(step: impl Into<String>, mut ask: F) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    within(step, async move {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

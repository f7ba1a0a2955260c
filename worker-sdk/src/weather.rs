//! The weather on the way to NATS: what the connection tells of itself.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use async_nats::Event;
use tokio::sync::broadcast;

/// So many complaints may wait to be heard; the oldest are forgotten.
const KEPT: usize = 64;

/// What happened to a process's connection so far.
#[derive(Debug)]
pub(crate) struct Weather {
    connected: AtomicBool,
    lost: AtomicU64,
    /// What the server refused to subscribe to on the connection that there is; the first of them.
    refused: Mutex<BTreeSet<String>>,
    complaints: broadcast::Sender<String>,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            connected: AtomicBool::default(),
            lost: AtomicU64::default(),
            refused: Mutex::default(),
            complaints: broadcast::Sender::new(KEPT),
        }
    }
}

impl Weather {
    /// What the server complains of from now on: nothing else tells of a permission that is missing.
    pub(crate) fn complaints(&self) -> broadcast::Receiver<String> {
        self.complaints.subscribe()
    }

    /// How often the connection was lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Whether this subscription will hear nothing, because a permission is missing.
    pub(crate) fn is_refused(&self, subject: &str) -> bool {
        self.refused().contains(subject)
    }

    fn refused(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an event, and tells whoever reads the log.
    pub(crate) fn observe(&self, event: &Event) {
        match event {
            Event::Connected => {
                // Everything is subscribed anew, and refused anew.
                self.refused().clear();
                if self.connected.swap(true, Relaxed) {
                    tracing::info!("connected to NATS again");
                }
            }
            Event::Disconnected => {
                self.lost.fetch_add(1, Relaxed);
                tracing::warn!("the connection to NATS is lost, reconnecting");
            }
            Event::LameDuckMode => tracing::info!("the NATS server is about to stop"),
            Event::SlowConsumer(_) => {
                tracing::error!("messages from NATS were dropped: this process does not keep up");
            }
            Event::ServerError(error) => {
                let says = error.to_string();
                if let Some(("Subscription to", subject)) = violation(&says) {
                    let mut refused = self.refused();
                    if refused.len() < KEPT {
                        refused.insert(subject.to_owned());
                    }
                }
                tracing::error!(error = says, "NATS reports an error");
                // Somebody listens, or nobody.
                let _ = self.complaints.send(says);
            }
            Event::ClientError(error) => tracing::debug!(%error, "NATS client"),
            Event::Draining | Event::Closed => {}
        }
    }
}

/// What a complaint says that a user may not do: `Publish to` or `Subscription to`, and the subject.
pub(crate) fn violation(says: &str) -> Option<(&str, &str)> {
    let (_, rest) = says.split_once("Permissions Violation for ")?;
    let mut parts = rest.split('"');
    Some((parts.next()?.trim(), parts.next()?))
}

#[cfg(test)]
mod tests {
    use async_nats::ServerError;

    use super::*;

    #[test]
    fn a_refused_subscription_is_known_until_the_next_connection() {
        let weather = Weather::default();
        let says =
            "Permissions Violation for Subscription to \"p.event.chat.>\" using queue \"chat\"";
        weather.observe(&Event::ServerError(ServerError::Other(says.into())));
        assert!(weather.is_refused("p.event.chat.>") && !weather.is_refused("p.who"));
        weather.observe(&Event::Connected);
        assert!(!weather.is_refused("p.event.chat.>"));
    }
}

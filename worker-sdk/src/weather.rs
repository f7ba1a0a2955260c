//! The weather on the way to NATS: what the connection tells of itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use async_nats::Event;
use tokio::sync::broadcast;

/// So many complaints may wait to be heard; the oldest are forgotten.
const KEPT: usize = 64;

/// What happened to a process's connection so far.
#[derive(Debug)]
pub(crate) struct Weather {
    connected: AtomicBool,
    lost: AtomicU64,
    /// The server refused a subscription, and the connection is still that one.
    deaf: AtomicBool,
    complaints: broadcast::Sender<String>,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            connected: AtomicBool::default(),
            lost: AtomicU64::default(),
            deaf: AtomicBool::default(),
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

    /// Whether something will not be heard, because a permission is missing.
    pub(crate) fn is_deaf(&self) -> bool {
        self.deaf.load(Relaxed)
    }

    /// Takes note of an event, and tells whoever reads the log.
    pub(crate) fn observe(&self, event: &Event) {
        match event {
            Event::Connected => {
                // Everything is subscribed anew, and refused anew.
                self.deaf.store(false, Relaxed);
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
                if says.contains("Permissions Violation for Subscription") {
                    self.deaf.store(true, Relaxed);
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

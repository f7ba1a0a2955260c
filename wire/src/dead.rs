//! Dead letters: batches that were given up.

use serde::{Deserialize, Serialize};

use crate::{EventBatch, ServiceName};

/// A batch that was given up, whole, so that somebody can look at it or replay it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dead<B = EventBatch> {
    /// The service it was for.
    pub service: ServiceName,
    /// Its kind: `connect`, `websocket`, `message` or `close`.
    pub kind: String,
    /// Why it was given up.
    pub reason: DeadReason,
    /// The batch as it was last delivered.
    pub batch: B,
}

/// Why a batch was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// `max_attempts` deliveries, and no ack that says done.
    Attempts,
    /// No worker within `worker_wait`.
    NoWorker,
    /// The gateway's drain ran out of time.
    Drain,
    /// Larger than the NATS server takes.
    TooLarge,
}

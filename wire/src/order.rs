//! Orders: what operators tell a gateway process to do with itself.

use serde::{Deserialize, Serialize};

/// An order to a gateway process. With a NATS reply subject each of its shards answers with an
/// [`Answer`](crate::Answer), once the order is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What it is to do.
    #[serde(rename = "do")]
    pub what: OrderKind,
}

/// What a process can be told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderKind {
    /// Lets its clients go, and ends, as on SIGTERM. A second one changes nothing.
    Drain,
}

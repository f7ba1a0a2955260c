//! Beats: how gateways and workers know each other, in the place of a register service.

use serde::{Deserialize, Serialize};

use crate::{GatewayId, ProcessId, ServiceName, WorkerId, codec};

/// How often a node beats, in milliseconds, while nothing changes.
pub const INTERVAL_MS: u64 = 1000;
/// After how many intervals without a beat a node is gone.
pub const MISSES: u64 = 3;

/// What a node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// At work.
    Ready,
    /// Takes nothing new and lets go of what it has.
    Draining,
    /// The last beat: gone after this.
    Leaving,
}

/// The beat of a gateway process, every second and at once on a change of state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatewayBeat {
    /// The process.
    pub process: ProcessId,
    /// Its state.
    pub state: NodeState,
    /// The version of the program.
    pub version: String,
    /// The host's name.
    #[serde(default)]
    pub host: String,
    /// When it started, in seconds since 1970.
    #[serde(default)]
    pub started: u64,
    /// Its shards, each a gateway.
    #[serde(deserialize_with = "codec::bounded")]
    pub shards: Vec<ShardBeat>,
}

/// What one shard holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardBeat {
    /// The shard's gateway id.
    pub gateway: GatewayId,
    /// Clients.
    pub clients: u64,
    /// Distinct uids.
    pub uids: u64,
    /// Distinct groups.
    pub groups: u64,
    /// It has no connection to NATS at this moment, as the others of its process say; its clients
    /// are still there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub away: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(b: &bool) -> bool {
    !*b
}

/// The beat of a worker process, every second and at once on a change of state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerBeat {
    /// The process.
    pub worker: WorkerId,
    /// The service it works for.
    pub service: ServiceName,
    /// Its state.
    pub state: NodeState,
    /// The version of the program.
    pub version: String,
    /// The host's name.
    #[serde(default)]
    pub host: String,
    /// When it started, in seconds since 1970.
    #[serde(default)]
    pub started: u64,
    /// Batches being handled now.
    #[serde(default)]
    pub running: u64,
    /// How many batches it handles at once at the most.
    #[serde(default)]
    pub concurrency: u64,
    /// Events handled since the start.
    #[serde(default)]
    pub handled: u64,
    /// Events that failed since the start.
    #[serde(default)]
    pub failed: u64,
}

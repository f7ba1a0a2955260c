//! The roster: who was heard, and not too long ago.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;
use wire::{GatewayBeat, GatewayId, NodeState, ProcessId, WorkerBeat, WorkerId, beat};

use crate::link::Message;

/// Who was not heard for so long is gone.
const GONE: Duration = Duration::from_millis(beat::INTERVAL_MS * beat::MISSES);

/// The last beats of everybody.
#[derive(Default)]
pub(super) struct Roster {
    processes: BTreeMap<ProcessId, (GatewayBeat, Instant)>,
    workers: BTreeMap<WorkerId, (WorkerBeat, Instant)>,
}

impl Roster {
    /// Takes a beat in.
    pub(super) fn hear(&mut self, message: &Message, is_worker: bool) {
        let now = Instant::now();
        // What does not decode is of a version that we do not know.
        if is_worker {
            if let Ok(beat) = wire::decode::<WorkerBeat>(&message.payload) {
                match beat.state {
                    NodeState::Leaving => self.workers.remove(&beat.worker),
                    _ => self.workers.insert(beat.worker, (beat, now)),
                };
            }
        } else if let Ok(beat) = wire::decode::<GatewayBeat>(&message.payload) {
            match beat.state {
                NodeState::Leaving => self.processes.remove(&beat.process),
                _ => self.processes.insert(beat.process, (beat, now)),
            };
        }
    }

    /// Forgets who has not been heard for too long.
    pub(super) fn expire(&mut self) {
        let now = Instant::now();
        self.processes.retain(|_, (_, at)| now - *at < GONE);
        self.workers.retain(|_, (_, at)| now - *at < GONE);
    }

    /// Gateway processes, by id.
    pub(super) fn processes(&self) -> impl Iterator<Item = &GatewayBeat> {
        self.processes.values().map(|(beat, _)| beat)
    }

    /// Workers, by id.
    pub(super) fn workers(&self) -> impl Iterator<Item = &WorkerBeat> {
        self.workers.values().map(|(beat, _)| beat)
    }

    /// All gateways of all processes.
    pub(super) fn gateways(&self) -> Vec<GatewayId> {
        let shards = self.processes().flat_map(|beat| &beat.shards);
        shards.map(|shard| shard.gateway).collect()
    }
}

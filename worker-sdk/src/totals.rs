//! Totals: how much there is, from the beats.

use wire::{GatewayId, ShardBeat};

use crate::{Error, Gateway};

/// How many clients, uids and groups there are, as the gateways' last beats said: a second old at
/// the most, or three of a gateway that has just vanished.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Clients.
    pub clients: u64,
    /// The gateways' uids, added up: one with clients at two gateways counts twice. For the number
    /// of distinct ones read [`Target::list_uids`](crate::Target::list_uids).
    pub uids: u64,
    /// The gateways' groups, added up likewise.
    pub groups: u64,
    /// Each gateway, ordered by id.
    pub gateways: Vec<GatewayTotals>,
}

/// What one gateway has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayTotals {
    /// The gateway: one shard of a gateway process.
    pub gateway: GatewayId,
    /// Its clients.
    pub clients: u64,
    /// Its distinct uids.
    pub uids: u64,
    /// Its distinct groups.
    pub groups: u64,
}

impl Gateway {
    /// How much there is, without asking anybody: gateways say it in their beats.
    ///
    /// Only the first call waits, some 150 ms, until those who are there had time to beat.
    pub async fn totals(&self) -> Result<Totals, Error> {
        self.link().gateways().await?;
        Ok(Totals::new(self.link().shards()))
    }
}

impl Totals {
    fn new(mut shards: Vec<ShardBeat>) -> Self {
        shards.sort_by_key(|shard| shard.gateway);
        Self {
            clients: shards.iter().map(|s| s.clients).sum(),
            uids: shards.iter().map(|s| s.uids).sum(),
            groups: shards.iter().map(|s| s.groups).sum(),
            gateways: shards
                .into_iter()
                .map(|shard| GatewayTotals {
                    gateway: shard.gateway,
                    clients: shard.clients,
                    uids: shard.uids,
                    groups: shard.groups,
                })
                .collect(),
        }
    }
}

//! `drain`: tells a gateway process to let its clients go and end.

use serde_json::json;
use wire::{GatewayId, Order, OrderKind, ProcessId};

use super::{Report, bus::Bus};

/// Orders the process with this id, or the one that a gateway with this id belongs to.
pub(super) async fn drain(bus: &mut Bus, id: ProcessId) -> Report {
    let gateway = GatewayId::from_bytes(*id.as_bytes());
    let found = bus.roster.processes().find(|beat| {
        beat.process == id || beat.shards.iter().any(|shard| shard.gateway == gateway)
    });
    let Some(beat) = found else {
        let known: Vec<_> = bus
            .roster
            .processes()
            .map(|b| b.process.to_string())
            .collect();
        let known = match known.is_empty() {
            true => "none beats".to_owned(),
            false => format!("there are {}", known.join(", ")),
        };
        return Report {
            text: String::new(),
            json: json!({ "process": null, "clients": 0, "missing": [] }),
            trouble: vec![format!(
                "no gateway process, and no gateway, has the id {id}; {known}"
            )],
        };
    };
    let process = beat.process;
    let gateways = beat.shards.iter().map(|shard| shard.gateway).collect();
    let subject = bus.subjects.process(process);
    let order = Order {
        what: OrderKind::Drain,
    };
    let gathered = bus.ask_these(&subject, &order, gateways).await;
    let clients: u64 = gathered.answers.values().map(|answer| answer.count).sum();
    Report {
        text: match gathered.answers.is_empty() {
            true => String::new(),
            false => format!("process {process} drains, with {clients} clients\n"),
        },
        json: json!({ "process": process, "clients": clients, "missing": gathered.gaps.missing }),
        trouble: gathered.gaps.trouble,
    }
}

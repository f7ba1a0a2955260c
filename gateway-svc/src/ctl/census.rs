//! `status` and `workers`: what everybody says of itself, once a second, in its beat.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::json;
use wire::{GatewayBeat, NodeState, ShardBeat, WorkerBeat};

use super::{
    Report,
    bus::Bus,
    table::{
        Align::{Left, Right},
        Table, uptime,
    },
};

/// Gateway processes and their shards.
pub(super) fn status(bus: &Bus) -> Report {
    let mut table = Table::new([
        ("PROCESS", Left),
        ("GATEWAY", Left),
        ("STATE", Left),
        ("CLIENTS", Right),
        ("UIDS", Right),
        ("GROUPS", Right),
        ("VERSION", Left),
        ("HOST", Left),
        ("UPTIME", Right),
    ]);
    let (mut processes, mut shards, mut sums) = (Vec::new(), 0, [0; 3]);
    for beat in bus.roster.processes() {
        let sum = summed(&beat.shards);
        let [clients, uids, groups] = sum.map(|n| n.to_string());
        table.row([
            beat.process.to_string(),
            format!("{} gateways", beat.shards.len()),
            state(beat.state),
            clients,
            uids,
            groups,
            beat.version.clone(),
            beat.host.clone(),
            uptime(age(beat.started)),
        ]);
        for shard in &beat.shards {
            let [clients, uids, groups] = counts(shard).map(|n| n.to_string());
            let away = if shard.away { "away" } else { "" };
            table.row([
                String::new(),
                shard.gateway.to_string(),
                away.to_owned(),
                clients,
                uids,
                groups,
            ]);
        }
        shards += beat.shards.len();
        for (all, own) in sums.iter_mut().zip(sum) {
            *all += own;
        }
        processes.push(process(beat, sum));
    }
    let [clients, uids, groups] = sums;
    table.row([
        format!("{} in all", processes.len()),
        format!("{shards} in all"),
        String::new(),
        clients.to_string(),
        uids.to_string(),
        groups.to_string(),
    ]);
    let trouble = nobody(bus, processes.is_empty(), "no gateway beats");
    Report {
        text: table.to_string(),
        json: json!({
            "total": {
                "processes": processes.len(),
                "gateways": shards,
                "clients": clients,
                "uids": uids,
                "groups": groups,
            },
            "processes": processes,
        }),
        trouble,
    }
}

#[derive(Serialize)]
struct Process<'a> {
    process: String,
    state: String,
    version: &'a str,
    host: &'a str,
    started: u64,
    uptime: u64,
    clients: u64,
    uids: u64,
    groups: u64,
    gateways: &'a [ShardBeat],
}

fn process(beat: &GatewayBeat, [clients, uids, groups]: [u64; 3]) -> Process<'_> {
    Process {
        process: beat.process.to_string(),
        state: state(beat.state),
        version: &beat.version,
        host: &beat.host,
        started: beat.started,
        uptime: age(beat.started),
        clients,
        uids,
        groups,
        gateways: &beat.shards,
    }
}

const fn counts(shard: &ShardBeat) -> [u64; 3] {
    [shard.clients, shard.uids, shard.groups]
}

fn summed(shards: &[ShardBeat]) -> [u64; 3] {
    shards.iter().fold([0; 3], |sum, shard| {
        let more = counts(shard);
        std::array::from_fn(|i| sum[i] + more[i])
    })
}

/// Workers, by service.
pub(super) fn workers(bus: &Bus) -> Report {
    let mut beats: Vec<&WorkerBeat> = bus.roster.workers().collect();
    beats.sort_by(|a, b| (&a.service, a.worker).cmp(&(&b.service, b.worker)));
    let mut table = Table::new([
        ("WORKER", Left),
        ("SERVICE", Left),
        ("STATE", Left),
        ("RUNNING", Right),
        ("OF", Right),
        ("HANDLED", Right),
        ("FAILED", Right),
        ("VERSION", Left),
        ("HOST", Left),
        ("UPTIME", Right),
    ]);
    let (mut workers, mut sums) = (Vec::new(), [0; 4]);
    for beat in beats {
        let numbers = [beat.running, beat.concurrency, beat.handled, beat.failed];
        let [running, of, handled, failed] = numbers.map(|n| n.to_string());
        table.row([
            beat.worker.to_string(),
            beat.service.to_string(),
            state(beat.state),
            running,
            of,
            handled,
            failed,
            beat.version.clone(),
            beat.host.clone(),
            uptime(age(beat.started)),
        ]);
        for (all, own) in sums.iter_mut().zip(numbers) {
            *all += own;
        }
        workers.push(json!({
            "worker": beat.worker,
            "service": beat.service,
            "state": beat.state,
            "running": beat.running,
            "concurrency": beat.concurrency,
            "handled": beat.handled,
            "failed": beat.failed,
            "version": beat.version,
            "host": beat.host,
            "started": beat.started,
            "uptime": age(beat.started),
        }));
    }
    let [running, concurrency, handled, failed] = sums;
    let none = String::new;
    let total = format!("{} in all", workers.len());
    let numbers = sums.map(|n| n.to_string());
    table.row([total, none(), none()].into_iter().chain(numbers));
    let trouble = nobody(bus, workers.is_empty(), "no worker beats");
    Report {
        text: table.to_string(),
        json: json!({
            "total": {
                "workers": workers.len(),
                "running": running,
                "concurrency": concurrency,
                "handled": handled,
                "failed": failed,
            },
            "workers": workers,
        }),
        trouble,
    }
}

fn state(state: NodeState) -> String {
    match state {
        NodeState::Ready => "ready",
        NodeState::Draining => "draining",
        NodeState::Leaving => "leaving",
    }
    .to_owned()
}

/// Seconds since then, by our clock.
fn age(started: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| d.as_secs()).saturating_sub(started)
}

/// Why there may be nothing to show.
pub(super) fn nobody(bus: &Bus, is_empty: bool, says: &str) -> Vec<String> {
    match (bus.is_connected(), is_empty) {
        (false, _) => vec!["the connection to NATS is lost".to_owned()],
        (true, true) => vec![format!("{says} under the prefix {}", bus.subjects.prefix())],
        (true, false) => Vec::new(),
    }
}

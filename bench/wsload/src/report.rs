//! What one run found, as text for people or as JSON for programs.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{server::Usage, tally::Tally};

/// The outcome of one run.
#[derive(Serialize)]
pub(crate) struct Report {
    /// Which load, with its parameters.
    pub(crate) name: String,
    /// What was counted: echoes, deliveries, connections.
    pub(crate) count: u64,
    pub(crate) seconds: f64,
    /// Messages that did not arrive, or connections that failed.
    pub(crate) lost: u64,
    pub(crate) out_of_order: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Latency>,
    /// Server CPU per counted thing in microseconds, over all processes; absent if none was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_us: Option<f64>,
    pub(crate) processes: Vec<Charge>,
}

/// Round trips or deliveries, in microseconds.
#[derive(Serialize)]
pub(crate) struct Latency {
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

/// One process's share.
#[derive(Serialize)]
pub(crate) struct Charge {
    name: String,
    pid: i32,
    /// CPU per counted thing in microseconds.
    cpu_us: f64,
    /// Resident memory at the end, in bytes.
    memory: u64,
    /// Memory gained per counted thing, in bytes.
    memory_each: f64,
}

impl Latency {
    pub(crate) fn of(tally: &Tally) -> Self {
        let us = |quantile| tally.latency(quantile).as_secs_f64() * 1e6;
        Self {
            p50_us: us(0.5),
            p99_us: us(0.99),
            p999_us: us(0.999),
            max_us: us(1.0),
        }
    }
}

impl Report {
    /// Charges what the processes used between two readings to `count` things.
    pub(crate) fn new(
        name: String,
        count: u64,
        took: Duration,
        before: &[Usage],
        after: &[Usage],
    ) -> Self {
        let each = count.max(1) as f64;
        let processes: Vec<_> = after
            .iter()
            .map(|now| {
                let was = before.iter().find(|was| was.pid == now.pid);
                let cpu = now
                    .cpu
                    .saturating_sub(was.map_or(Duration::ZERO, |was| was.cpu));
                Charge {
                    name: now.name.clone(),
                    pid: now.pid,
                    cpu_us: cpu.as_secs_f64() * 1e6 / each,
                    memory: now.memory,
                    memory_each: (now.memory as f64 - was.map_or(0.0, |was| was.memory as f64))
                        / each,
                }
            })
            .collect();
        let cpu_us =
            (!processes.is_empty()).then(|| processes.iter().map(|charge| charge.cpu_us).sum());
        Self {
            name,
            count,
            seconds: took.as_secs_f64(),
            lost: 0,
            out_of_order: 0,
            latency: None,
            cpu_us,
            processes,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.count as f64 / self.seconds.max(f64::EPSILON);
        writeln!(
            f,
            "{}: {} in {:.2} s = {rate:.0}/s",
            self.name, self.count, self.seconds
        )?;
        if let Some(latency) = &self.latency {
            writeln!(
                f,
                "  latency µs: p50 {:.0}, p99 {:.0}, p99.9 {:.0}, max {:.0}",
                latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us
            )?;
        }
        if let Some(cpu) = self.cpu_us {
            writeln!(f, "  server CPU: {cpu:.2} µs each")?;
        }
        for charge in &self.processes {
            writeln!(
                f,
                "    {} ({}): CPU {:.2} µs each, memory {:.1} MB, {:+.0} B each",
                charge.name,
                charge.pid,
                charge.cpu_us,
                charge.memory as f64 / 1e6,
                charge.memory_each
            )?;
        }
        writeln!(
            f,
            "  lost {}, out of order {}",
            self.lost, self.out_of_order
        )
    }
}

//! One sample: a load on the limit server or on Gatebus, and what it cost.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{
    bench::rows::{Figure, Row, Size},
    process::{Crew, Member},
    stack::{ANYWHERE, Gateway, GatewayPlan, Nats, quiet_command, start_worker},
    workspace::{Profile, Workspace},
};

/// How long one load may take.
const LOAD: Duration = Duration::from_secs(120);

/// What one load found.
pub(crate) struct Sample {
    /// The row's figure.
    pub(crate) value: f64,
    /// The same figure of each process, where it has one.
    pub(crate) processes: BTreeMap<String, f64>,
    /// Messages or connections lost, and messages out of order.
    pub(crate) lost: u64,
}

/// The servers under test and the load generator.
pub(crate) struct Bench<'a> {
    crew: &'a Crew,
    wsload: PathBuf,
    gateway_program: PathBuf,
    limit: Member,
    limit_addr: SocketAddr,
    nats: Nats,
    worker: Member,
    gateway: Gateway,
}

/// The parts of wsload's report that count here.
#[derive(Deserialize)]
struct Report {
    lost: u64,
    out_of_order: u64,
    latency: Option<Latency>,
    processes: Vec<Charge>,
}

#[derive(Deserialize)]
struct Latency {
    p50_us: f64,
}

#[derive(Deserialize)]
struct Charge {
    name: String,
    cpu_us: f64,
    memory_each: f64,
}

impl<'a> Bench<'a> {
    /// Starts the limit server, NATS, the worker and the gateway.
    pub(crate) fn start(crew: &'a Crew, workspace: &Workspace, nats_server: &Path) -> Result<Self> {
        let program = |name| workspace.program(Profile::Release, name);
        let wsload = program("gatebus-wsload")?;
        let mut limit = Command::new(&wsload);
        limit.args(["limit", "--listen", &ANYWHERE.to_string()]);
        let limit = crew.start("limit", limit)?;
        let line = crew.wait_for_line(limit, "listening on ", Duration::from_secs(10))?;
        let limit_addr = line
            .trim_start_matches("listening on ")
            .parse()
            .context("reading the limit's address")?;

        let nats = Nats::start(crew, nats_server, 0)?;
        let worker = start_worker(crew, &nats, "worker", &program("gatebus-bench-worker")?)?;
        let gateway_program = program("gateway-svc")?;
        let gateway = gateway(crew, &nats, &gateway_program)?;
        Ok(Self {
            crew,
            wsload,
            gateway_program,
            limit,
            limit_addr,
            nats,
            worker,
            gateway,
        })
    }

    /// Takes a sample of the limit.
    pub(crate) fn limit(&self, row: &Row, size: Size) -> Result<Sample> {
        self.sample(row, size, self.limit_addr, &[("limit", self.limit)])
    }

    /// Takes a sample of Gatebus.
    pub(crate) fn gatebus(&mut self, row: &Row, size: Size) -> Result<Sample> {
        if row.needs_fresh_gateway() {
            self.crew.stop(self.gateway.member);
            self.gateway = gateway(self.crew, &self.nats, &self.gateway_program)?;
        }
        let members = [
            ("gateway", self.gateway.member),
            ("nats", self.nats.member),
            ("worker", self.worker),
        ];
        self.sample(row, size, self.gateway.addr, &members)
    }

    fn sample(
        &self,
        row: &Row,
        size: Size,
        addr: SocketAddr,
        members: &[(&str, Member)],
    ) -> Result<Sample> {
        let pids: Vec<_> = members
            .iter()
            .map(|(name, member)| format!("{name}={}", self.crew.pid(*member)))
            .collect();
        let mut load = quiet_command(&self.wsload);
        load.args([
            "--json",
            "--addr",
            &addr.to_string(),
            "--pids",
            &pids.join(","),
        ])
        .args(row.load(size));
        let load = self.crew.start("wsload", load)?;
        let lines = self
            .crew
            .wait_for_end(load, LOAD)
            .with_context(|| format!("measuring {}", row.key))?;
        let (reports, remarks): (Vec<_>, Vec<_>) =
            lines.iter().partition(|line| line.starts_with('{'));
        for remark in remarks {
            eprintln!("  wsload: {remark}");
        }
        let report = reports.last().context("wsload wrote no report")?;
        let report: Report = serde_json::from_str(report).context("reading wsload's report")?;
        Sample::new(row.figure, report)
    }
}

impl Sample {
    fn new(figure: Figure, report: Report) -> Result<Self> {
        let lost = report.lost + report.out_of_order;
        let each = |of: fn(&Charge) -> f64| {
            report
                .processes
                .iter()
                .map(|c| (c.name.clone(), of(c)))
                .collect()
        };
        let (value, processes): (f64, BTreeMap<String, f64>) = match figure {
            Figure::Cpu => {
                let processes: BTreeMap<_, _> = each(|charge| charge.cpu_us);
                (processes.values().sum(), processes)
            }
            Figure::Memory => {
                let processes: BTreeMap<_, _> = each(|charge| charge.memory_each);
                (
                    *processes
                        .get("gateway")
                        .context("the gateway was not measured")?,
                    processes,
                )
            }
            Figure::RoundTrip => {
                let latency = report.latency.context("the report has no latency")?;
                (latency.p50_us, BTreeMap::new())
            }
        };
        Ok(Self {
            value,
            processes,
            lost,
        })
    }
}

fn gateway(crew: &Crew, nats: &Nats, program: &Path) -> Result<Gateway> {
    Gateway::start(
        crew,
        nats,
        &GatewayPlan {
            program,
            service: "bench",
            listen: ANYWHERE,
            shards: 1,
        },
    )
}

//! The table of targets, measured in one run on one machine.
//!
//! Each row is measured for the physical limit and for Gatebus in turn, several times; the medians count.
//! What is compared is a ratio wherever there is a limit, because ratios travel between machines and times do not.

mod chart;
mod measure;
mod results;
mod rows;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use clap::Args;

use self::{
    measure::{Bench, Sample},
    results::{Measured, Results},
    rows::{ROWS, Row, Size},
};
use crate::{
    process::Crew,
    tools,
    workspace::{Profile, Workspace},
};

/// The packages that the benchmark runs.
const PACKAGES: [&str; 3] = ["gateway-svc", "gatebus-bench-worker", "gatebus-wsload"];

#[derive(Args)]
pub(crate) struct Options {
    /// Measure only these rows
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    only: Vec<String>,
    /// Name the rows, measure none
    #[arg(long)]
    list: bool,
    /// How often each row is measured [default: 5, or 1 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    runs: Option<u16>,
    /// Short and small, to see that it works; the figures mean little
    #[arg(long)]
    quick: bool,
    /// Also print what changed since these results
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Show what the processes write
    #[arg(long, short)]
    verbose: bool,
}

impl Options {
    pub(crate) fn run(&self) -> Result<()> {
        if self.list {
            for row in &ROWS {
                println!("{:14} {}, {}", row.key, row.title, row.detail);
            }
            return Ok(());
        }
        let rows = self.rows()?;
        let before = self.compare.as_deref().map(Results::read).transpose()?;
        let workspace = Workspace::find()?;
        let nats_server = tools::nats_server(&workspace)?;
        workspace.build(Profile::Release, &PACKAGES)?;

        let crew = Crew::new(self.verbose)?;
        let results = self.measure(&crew, &workspace, &nats_server, &rows);
        crew.stop_all();
        let results = results?;

        println!("\n{}", table::table(&results));
        if let Some(before) = &before {
            println!("{}", table::comparison(before, &results));
        }
        keep(&workspace, &results)?;
        let unsound: Vec<_> = results
            .rows
            .iter()
            .filter(|row| row.lost > 0)
            .map(|row| row.key.as_str())
            .collect();
        if !unsound.is_empty() {
            bail!(
                "messages were lost or out of order, so these rows prove nothing: {}",
                unsound.join(", ")
            );
        }
        Ok(())
    }

    fn rows(&self) -> Result<Vec<&'static Row>> {
        if let Some(unknown) = self
            .only
            .iter()
            .find(|key| !ROWS.iter().any(|row| row.key == **key))
        {
            let known: Vec<_> = ROWS.iter().map(|row| row.key).collect();
            bail!(
                "--only: there is no row `{unknown}`; the rows are {}",
                known.join(", ")
            );
        }
        let wanted =
            |row: &&Row| self.only.is_empty() || self.only.iter().any(|key| key == row.key);
        Ok(ROWS.iter().filter(wanted).collect())
    }

    fn measure(
        &self,
        crew: &Crew,
        workspace: &Workspace,
        nats_server: &Path,
        rows: &[&Row],
    ) -> Result<Results> {
        warn_if_busy();
        let size = if self.quick { Size::Quick } else { Size::Full };
        let runs = self.runs.unwrap_or(if self.quick { 1 } else { 5 });
        let mut bench = Bench::start(crew, workspace, nats_server)?;
        let mut samples: Vec<(Vec<Sample>, Vec<Sample>)> =
            rows.iter().map(|_| Default::default()).collect();
        for run in 1..=runs {
            for (row, (limit, gatebus)) in rows.iter().zip(&mut samples) {
                eprintln!("run {run} of {runs}: {}", row.key);
                if row.has_limit {
                    limit.push(bench.limit(row, size)?);
                }
                gatebus.push(bench.gatebus(row, size)?);
            }
        }
        Ok(Results {
            taken: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or(Duration::ZERO)
                .as_secs(),
            commit: commit(workspace),
            machine: machine(),
            runs,
            quick: self.quick,
            rows: rows
                .iter()
                .zip(&samples)
                .map(|(row, (l, g))| Measured::new(row, l, g))
                .collect(),
        })
    }
}

/// Writes the results and the chart, and says where.
fn keep(workspace: &Workspace, results: &Results) -> Result<()> {
    let folder = workspace.results();
    fs::create_dir_all(&folder)?;
    let json = serde_json::to_string_pretty(results)?;
    let dated = folder.join(format!("bench-{}.json", results.taken));
    for (path, text) in [
        (&dated, &json),
        (&folder.join("latest.json"), &json),
        (&folder.join("latest.svg"), &chart::chart(results)),
    ] {
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

fn warn_if_busy() {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load
        .split(' ')
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0);
    if load > 0.5 {
        eprintln!("warning: this machine is not idle (load {load}); the figures will be off");
    }
}

fn commit(workspace: &Workspace) -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"])
        .current_dir(workspace.root());
    let output = git.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    format!("{cores} × {model}, Linux {kernel}")
}

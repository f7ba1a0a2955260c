//! The processes of the server under test, and what they have used so far.

use std::{fs, str::FromStr, time::Duration};

use anyhow::{Context, Result};
use nix::{time::ClockId, unistd::Pid};

/// A process and the name that reports give it.
#[derive(Clone)]
pub(crate) struct Named {
    name: Option<String>,
    pid: i32,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pid) = match text.split_once('=') {
            Some((name, pid)) => (Some(name.to_owned()), pid),
            None => (None, text),
        };
        let pid = pid
            .parse()
            .map_err(|_| format!("`{pid}` is not a process id"))?;
        Ok(Self { name, pid })
    }
}

/// What one process has used since it began.
#[derive(Clone)]
pub(crate) struct Usage {
    pub(crate) name: String,
    pub(crate) pid: i32,
    pub(crate) cpu: Duration,
    /// Resident memory in bytes.
    pub(crate) memory: u64,
}

/// All processes to be charged.
pub(crate) struct Server {
    roots: Vec<Named>,
}

impl Server {
    pub(crate) fn new(roots: Vec<Named>) -> Self {
        Self { roots }
    }

    /// Reads the usage of every process and of its descendants.
    pub(crate) fn usage(&self) -> Result<Vec<Usage>> {
        let mut family = self.roots.clone();
        let mut at = 0;
        while at < family.len() {
            for pid in children(family[at].pid) {
                if !family.iter().any(|known| known.pid == pid) {
                    family.push(Named { name: None, pid });
                }
            }
            at += 1;
        }
        family.iter().map(read).collect()
    }
}

fn children(pid: i32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn read(process: &Named) -> Result<Usage> {
    let pid = process.pid;
    let gone = || format!("process {pid} is gone");
    // The process's own CPU clock counts nanoseconds and keeps those of threads that have ended;
    // /proc/<pid>/stat counts ticks of 10 ms.
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).with_context(gone)?;
    let cpu = Duration::from(clock.now().with_context(gone)?);
    // The rolled-up map is exact; the figure in /proc/<pid>/stat may lag by some hundred pages.
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).with_context(gone)?;
    let kilobytes: u64 = rollup
        .lines()
        .find_map(|line| {
            line.strip_prefix("Rss:")?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse()
                .ok()
        })
        .with_context(|| format!("no Rss line for process {pid}"))?;
    let name = match &process.name {
        Some(name) => name.clone(),
        None => fs::read_to_string(format!("/proc/{pid}/comm"))
            .with_context(gone)?
            .trim()
            .to_owned(),
    };
    Ok(Usage {
        name,
        pid,
        cpu,
        memory: kilobytes * 1024,
    })
}

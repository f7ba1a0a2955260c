//! `gateway-svc ctl`, run to its end or watched.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::{Nats, gateway, log::Log, process::Process, within};

/// What a command wrote, and how it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: i32,
    /// What it wrote for whoever asked.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Ended {
    /// Its output as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// A command that goes on until it is interrupted.
#[derive(Debug)]
pub struct Watching {
    /// The process: its signals, its end.
    pub process: Process,
    /// The lines that it draws.
    pub out: Log,
}

fn command(nats: &Nats, arguments: &[&str]) -> Command {
    let mut command = gateway::command(nats);
    // What is wrong with the gateway's own options is none of its business.
    command.env("GATEBUS_LISTEN", "nonsense");
    command.arg("ctl").args(arguments);
    command
}

/// Runs a command to its end.
///
/// # Panics
/// When it does not end within the deadline.
pub async fn ctl(nats: &Nats, arguments: &[&str]) -> Ended {
    let mut command = command(nats, arguments);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = within(format!("ctl {arguments:?}"), command.output()).await;
    let output = output.expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ended {
        status: output.status.code().expect("it was not killed"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// Starts a command that does not end by itself.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn watch(nats: &Nats, arguments: &[&str]) -> Watching {
    let (reader, out) = std::io::pipe().expect("a pipe");
    let mut command = command(nats, arguments);
    command.stdout(out);
    Watching {
        process: Process::start("ctl", command),
        out: Log::read(reader),
    }
}

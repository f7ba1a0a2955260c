//! `gateway-svc ctl`, run to its end or watched.

use tokio::process::Command;

use crate::{
    Nats, gateway,
    log::Log,
    process::{self, Ended, Process},
};

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
    let command = command(nats, arguments);
    process::run_to_end(format!("ctl {arguments:?}"), command).await
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

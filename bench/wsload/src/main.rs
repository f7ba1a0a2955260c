//! wsload: one WebSocket load generator for every server that is compared.
//!
//! It speaks RFC 6455 on raw sockets and a small text protocol that the server under test answers:
//!
//! | the client sends | the server does |
//! | --- | --- |
//! | `e:<payload>` | answers `<payload>` |
//! | `j:<group>` | puts the client into the group, answers `ok` |
//! | `g:<group>:<payload>` | sends `<payload>` to the group |
//! | `b:<uid>` | binds the client to the uid, answers `ok` |
//! | `u:<uid>:<payload>` | sends `<payload>` to the uid |
//! | `a:<payload>` | sends `<payload>` to all |
//!
//! Beside throughput and latency it reports the CPU time and the memory that the named server processes spent,
//! which a noisy machine disturbs less than wall time.
//! `wsload limit` serves the physical limit itself, so that any server's cost can be given as a ratio to it.

mod churn;
mod client;
mod echo;
mod fanout;
mod hold;
mod limit;
mod report;
mod server;
mod tally;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{client::Target, server::Server};

#[derive(Parser)]
#[command(
    name = "wsload",
    about = "Load a WebSocket server, and charge the work to its processes"
)]
struct Cli {
    /// Address of the server under test
    #[arg(long, default_value = "127.0.0.1:7272")]
    addr: SocketAddr,
    /// Path of the handshake
    #[arg(long, default_value = "/")]
    path: String,
    /// Server processes to charge CPU and memory to, as NAME=PID or PID; their children are included
    #[arg(long, value_delimiter = ',')]
    pids: Vec<server::Named>,
    /// Connections that are being opened at once
    #[arg(long, default_value_t = 64)]
    dialing: usize,
    /// Print one line of JSON in place of text
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// Each connection keeps a window of echoes in flight
    Echo(echo::Echo),
    /// All connections join one group; one publisher sends; every member must get every message, in order
    Fanout(fanout::Fanout),
    /// Open connections and hold them; then, perhaps, give each its own uid or group
    Hold(hold::Hold),
    /// Open connections and close them again
    Churn(churn::Churn),
    /// Serve the physical limit itself: one thread, raw sockets, no bus
    Limit(limit::Limit),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    raise_descriptor_limit()?;
    let server = Server::new(cli.pids);
    let target = Target {
        addr: cli.addr,
        path: cli.path,
        dialing: cli.dialing.max(1),
    };
    let load = match cli.load {
        Load::Limit(limit) => return limit.serve(),
        load => load,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = tokio::task::LocalSet::new().block_on(&runtime, async {
        match load {
            Load::Echo(echo) => echo.run(&target, &server).await,
            Load::Fanout(fanout) => fanout.run(&target, &server).await,
            Load::Hold(hold) => hold.run(&target, &server).await,
            Load::Churn(churn) => churn.run(&target, &server).await,
            Load::Limit(_) => unreachable!("served above"),
        }
    })?;
    if cli.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

/// Lets this process open as many sockets as it may.
fn raise_descriptor_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising the descriptor limit")
}

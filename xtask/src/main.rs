//! `cargo xtask demo | test | bench`: the project's own commands, in Rust so that they need no other tool.
//!
//! | file | what it is |
//! | --- | --- |
//! | `demo.rs` | the chat in two browsers, with everything it needs |
//! | `bind.rs` | the other example, likewise |
//! | `test.rs` | every check that must pass |
//! | `helm.rs` | the chart's tests, and the programs they need |
//! | `podman.rs` | the images, and the chart run with them |
//! | `bench/` | the table of targets, measured |
//! | `stack.rs` | a NATS server, workers and a gateway that run together |
//! | `process.rs` | the processes that were started, their output and their end |
//! | `tools.rs` | programs from outside: found, or fetched |
//! | `workspace.rs` | this repository: its folders and its builds |

mod bench;
mod bind;
mod demo;
mod helm;
mod podman;
mod process;
mod stack;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Gatebus: demo, tests and benchmark"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the chat, or another example: NATS, a gateway with two shards, workers and the page
    Demo(demo::Demo),
    /// Run every check: formatting, lints, documentation, all tests, a real browser
    Test(test::Test),
    /// Measure the table of targets, against the physical limit of this machine
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(demo) => demo.run(),
        Command::Test(test) => test.run(),
        Command::Bench(bench) => bench.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! `gateway-svc ctl`: what operators ask of all gateways and workers, and tell them, over NATS.
//!
//! Read on: `options` (what can be typed), `bus` (the connection: who is there, and what they
//! answer), then one file for each command. A command makes a [`Report`], which is printed as text or
//! as JSON.

mod bus;
mod census;
mod connections;
mod drain;
mod groups;
mod kick;
mod options;
mod pages;
mod roster;
mod table;

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    signal::ctrl_c,
    time::{MissedTickBehavior, interval},
};

use self::{
    bus::Bus,
    options::{Command, Ctl},
};
use crate::config::{parse_or_exit, program_name};

/// The first argument that makes the gateway's program this one.
pub(crate) const NAME: &str = "ctl";
/// How often `--watch` draws anew.
const REDRAW: Duration = Duration::from_secs(1);
/// From the top left, over what stands there.
const CLEAR: &str = "\x1b[H\x1b[J";

/// What a command found out.
struct Report {
    text: String,
    json: Value,
    /// What is missing, or went wrong; then the exit status is 1.
    trouble: Vec<String>,
}

/// Runs the command; the exit status is 0, 1 if somebody did not answer or nothing was found to act
/// on, 2 for a bad option.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    let options: Ctl = parse_or_exit(NAME, args);
    let nats = match options.nats.check() {
        Ok(nats) => nats,
        Err(problems) => {
            problems.say(&format!("{} {NAME}", program_name()));
            return ExitCode::from(2);
        }
    };
    // Why NATS cannot be reached is told by the link.
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(tracing::Level::WARN)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(async {
            let mut bus = Bus::connect(nats, options.timeout).await?;
            match options.command.is_watch() {
                true => watch(&mut bus, &options.command, options.json).await,
                false => once(&mut bus, &options.command, options.json).await,
            }
        }),
        Err(e) => Err(e.to_string()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{} {NAME}: {e}", program_name());
            ExitCode::FAILURE
        }
    }
}

/// True: nothing is missing.
async fn once(bus: &mut Bus, command: &Command, json: bool) -> Result<bool, String> {
    bus.call().await;
    let report = command.run(bus).await;
    let text = match json {
        true => format!("{:#}\n", report.json),
        false => report.text,
    };
    print(&text);
    for trouble in &report.trouble {
        eprintln!("{} {NAME}: {trouble}", program_name());
    }
    Ok(report.trouble.is_empty())
}

/// Draws again and again, until Ctrl-C or until nobody reads any more.
async fn watch(bus: &mut Bus, command: &Command, json: bool) -> Result<bool, String> {
    let redrawn = !json && io::stdout().is_terminal();
    let drawing = async {
        bus.call().await;
        let mut tick = interval(REDRAW);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            bus.listen_until(tick.tick()).await;
            let report = command.run(bus).await;
            let mut text = match json {
                // one object a line
                true => format!("{}\n", report.json),
                false => report.text,
            };
            if !json {
                for trouble in &report.trouble {
                    text.push_str(&format!("\n{trouble}\n"));
                }
                match redrawn {
                    true => text.insert_str(0, CLEAR),
                    false => text.push('\n'),
                }
            }
            if !print(&text) {
                return;
            }
        }
    };
    tokio::select! {
        () = drawing => {}
        _ = ctrl_c() => {}
    }
    Ok(true)
}

/// False: nobody reads any more, `head` for example.
fn print(text: &str) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_ok()
}

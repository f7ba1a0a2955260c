//! The chat example: log in with a name and a room, talk, whisper.
//!
//! The program is a worker of the service `chat`. With `GATEBUS_CHAT_PAGE=127.0.0.1:8080` it serves
//! the web page instead. Start at [`chat`] for what a worker looks like.

mod chat;
mod limits;
mod page;
mod protocol;

use std::{fmt, process::ExitCode};

use tracing_subscriber::EnvFilter;
use worker_sdk::{ErrorKind, Worker};

use crate::{chat::Chat, page::Page};

/// Which log lines are written, as in `info` or `warn,worker_sdk=debug`; `info` if not set.
const LOG: &str = "GATEBUS_LOG";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("gatebus-chat: {failure}");
            failure.exit_code()
        }
    }
}

async fn run() -> Result<(), Failure> {
    let page = Page::from_env()?;
    log()?;
    match page {
        Some(page) => page.run().await?,
        None => Worker::from_env("chat")?.run(Chat::new()).await?,
    }
    Ok(())
}

fn log() -> Result<(), Failure> {
    let directives = variable(LOG)?.unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::builder()
        .parse(&directives)
        .map_err(|error| Failure::setting(LOG, error))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

/// A variable of the environment; an empty one is as good as none.
fn variable(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(Failure::setting(name, error)),
    }
}

/// Why the program ends: exit code 2 for a setting that makes no sense, 1 for anything else.
#[derive(Debug, PartialEq)]
enum Failure {
    Setting(String),
    Run(String),
}

impl Failure {
    fn setting(variable: &str, why: impl fmt::Display) -> Self {
        Self::Setting(format!("{variable}: {why}"))
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Setting(_) => 2,
            Self::Run(_) => 1,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Setting(why) | Self::Run(why)) = self;
        f.write_str(why)
    }
}

impl From<worker_sdk::Error> for Failure {
    fn from(error: worker_sdk::Error) -> Self {
        let kind = error.kind();
        let why = format!("{:#}", anyhow::Error::new(error));
        match kind {
            ErrorKind::Config => Self::Setting(why),
            _ => Self::Run(why),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Run(format!("{error:#}"))
    }
}

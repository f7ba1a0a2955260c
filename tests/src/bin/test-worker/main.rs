//! The test worker: a worker whose clients tell it what to do.
//!
//! What a client can say stands in [`verb`], what it reports in `gatebus_tests::journal`.
//!
//! | variable | means |
//! | --- | --- |
//! | `WORKER_NAME` | the name in its reports |
//! | `WORKER_SERVICE` | the service it works for |
//! | `WORKER_ON_CONNECT` | a message that it handles for each new client, as if the client had said it |
//! | `WORKER_DELAY_MS` | how long it takes over each message |
//! | `WORKER_EXCLUSIVE` | an exclusive timer, see [`turns`] |
//!
//! Beside these it reads what every worker reads. A line on its stdin opens the gate of that name.

mod events;
mod gates;
mod reports;
mod turns;
mod verb;

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;
use worker_sdk::Worker;

use self::{events::TestEvents, gates::Gates};

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let service = std::env::var("WORKER_SERVICE").unwrap_or_else(|_| "test".to_owned());
    let gates = Gates::default();
    gates.clone().listen();
    let worker = match Worker::from_env(&service) {
        Ok(worker) => worker,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match worker.run(TestEvents::from_env(gates)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

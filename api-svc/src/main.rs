//! The API's binary.
//!
//! It ends with 0 after a drain, 2 for a bad option, and 1 for what else goes wrong or when a second
//! SIGTERM or SIGINT cuts the drain short.

use std::process::ExitCode;

use anyhow::bail;
use api_svc::{
    Api,
    config::{Config, LogFormat, Options},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tracing::{error, info, warn};

fn main() -> ExitCode {
    let options = Options::parse_or_exit();
    let config = match options.check() {
        Ok(config) => config,
        Err(e) => {
            eprintln!("api-svc: {e}");
            return ExitCode::from(2);
        }
    };
    log(&config);
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            error!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    if config.is_open() {
        warn!("--no-auth: whoever reaches the port may do everything");
    }
    let api = Api::bind(config)?;
    info!("listening on http://{}", api.listen_addr()?);
    info!("admin on http://{}", api.admin_addr()?);
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let mut told = async || {
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        }
    };
    let (stop, stopped) = oneshot::channel();
    let cut_short = async {
        info!("{}", told().await);
        let _ = stop.send(());
        told().await
    };
    let served = api.run(async {
        let _ = stopped.await;
    });
    tokio::select! {
        outcome = served => outcome,
        again = cut_short => bail!("{again} again: the drain is cut short"),
    }
}

fn log(config: &Config) {
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::new(&config.log));
    match config.log_format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => builder.json().init(),
    }
}

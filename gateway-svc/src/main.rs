//! The gateway's binary.

use std::process::ExitCode;

use gateway_svc::{
    Gateway,
    config::{Config, LogFormat, Options},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = Options::parse_or_exit();
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let config = match options.check(descriptors) {
        Ok(config) => config,
        Err(e) => {
            eprintln!("gateway-svc: {e}");
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

#[tokio::main(flavor = "current_thread")]
async fn run(config: Config) -> anyhow::Result<()> {
    let (shards, prefix) = (config.shards, config.prefix.clone());
    let gateway = Gateway::bind(config)?;
    for url in gateway.listeners() {
        info!(shards, %prefix, "listening on {}://{} service={}", url.scheme(), url.addr, url.service);
    }
    info!("admin on http://{}", gateway.admin()?);
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = async {
        tokio::select! {
            _ = term.recv() => info!("SIGTERM"),
            _ = int.recv() => info!("SIGINT"),
        }
    };
    gateway.run(stop).await
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

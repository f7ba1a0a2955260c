//! The gateway as a program: options, logging, signals, exit status.
//!
//! A program that speaks protocols of its own is a `main` over [`run`]: it has every option, metric
//! and promise of `gateway-svc`, and the same way to drain.
//!
//! It ends with 0 after a drain, 2 for a bad option, 1 for what else goes wrong or when a second
//! SIGTERM or SIGINT cuts the drain short, and by SIGABRT at any panic.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    process::ExitCode,
};

use anyhow::bail;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tracing::{error, info};

use crate::{
    Gateway, Protocols,
    config::{Config, LogFormat, Options, program_name},
    ctl, healthcheck, smoke,
};

/// Runs a gateway that speaks these protocols, from the process's arguments and environment to its
/// exit status; or what the first argument names: `ctl`, `smoke` or `healthcheck`. It takes the
/// process over: log, panic hook, SIGTERM and SIGINT, descriptor limit.
#[must_use]
pub fn run(protocols: Protocols) -> ExitCode {
    if let Some(status) = run_command() {
        return status;
    }
    let options = Options::parse_or_exit(&protocols);
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let is_check = options.is_check();
    let config = match options.check(descriptors, protocols) {
        Ok(config) => config,
        Err(problems) => {
            problems.say(&program_name());
            return ExitCode::from(2);
        }
    };
    if is_check {
        print!("{}", config.effective);
        return ExitCode::SUCCESS;
    }
    log(&config);
    end_at_a_panic();
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            error!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what the first argument names, if it names something.
fn run_command() -> Option<ExitCode> {
    let mut args = std::env::args_os();
    let program = args.next()?;
    let command = match args.next()?.to_str()? {
        ctl::NAME => ctl::run,
        smoke::NAME => smoke::run,
        healthcheck::NAME => healthcheck::run,
        _ => return None,
    };
    Some(command([program].into_iter().chain(args).collect()))
}

#[tokio::main(flavor = "current_thread")]
async fn serve(config: Config) -> anyhow::Result<()> {
    // before anybody is told that it is there: a SIGTERM is a drain from then on
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let (shards, prefix) = (config.shards, config.prefix.clone());
    let gateway = Gateway::bind(config)?;
    for url in gateway.listeners() {
        let (routing, tls, proxied) = (url.routing.name(), url.tls.is_some(), url.proxied);
        info!(shards, %prefix, routing, tls, proxied, "listening on {}://{} service={}", url.protocol, url.addr, url.service);
    }
    info!("admin on http://{}", gateway.admin()?);
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
    let served = gateway.run(async {
        let _ = stopped.await;
    });
    tokio::select! {
        outcome = served => outcome,
        again = cut_short => bail!("{again} again: the drain is cut short"),
    }
}

/// Ends the process at a panic in any thread or task. A shard whose task panicked would stand still,
/// and still look ready.
fn end_at_a_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let trace = Backtrace::capture();
        match trace.status() {
            BacktraceStatus::Captured => error!("a bug: {panic}\n{trace}"),
            _ => error!("a bug: {panic}"),
        }
        std::process::abort();
    }));
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

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Command};

    /// Set for the process in which the panic happens.
    const PANICS: &str = "A_TASK_IS_TO_PANIC";

    #[test]
    fn a_panic_in_a_task_ends_the_process() {
        if std::env::var_os(PANICS).is_some() {
            super::end_at_a_panic();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build_local(tokio::runtime::LocalOptions::default())
                .expect("a runtime");
            let task = async { panic!("in a task") };
            // swallowed, if nobody ends the process
            let _ = runtime.block_on(async { tokio::task::spawn_local(task).await });
            return;
        }
        let test = std::env::current_exe().expect("the test knows its own file");
        let mut command = Command::new(test);
        command.args([
            "--exact",
            "program::tests::a_panic_in_a_task_ends_the_process",
        ]);
        let ended = command.env(PANICS, "1").output().expect("it starts");
        const SIGABRT: i32 = 6;
        assert_eq!(ended.status.signal(), Some(SIGABRT), "{ended:?}");
    }
}

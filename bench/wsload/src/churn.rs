//! Churn: connections that are opened and closed again.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::Args;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    client::{Client, Target, take_one},
    report::Report,
    server::Server,
};

#[derive(Args)]
pub(crate) struct Churn {
    /// Connections in all; `--dialing` of them at once
    #[arg(long, default_value_t = 5_000)]
    conns: usize,
    /// Seconds for the server to finish what the closes began
    #[arg(long, default_value_t = 1.0)]
    settle: f64,
}

impl Churn {
    pub(crate) async fn run(&self, target: &Target, server: &Server) -> Result<Report> {
        let before = server.usage()?;
        let start = Instant::now();
        let left = Rc::new(Cell::new(self.conns));
        let mut dialers = JoinSet::new();
        for _ in 0..target.dialing {
            let (target, left) = (target.clone(), left.clone());
            dialers.spawn_local(async move {
                let mut done = 0;
                let mut last = None;
                while take_one(&left) {
                    match open_and_close(&target).await {
                        Ok(()) => done += 1,
                        Err(error) => last = Some(error),
                    }
                }
                (done, last)
            });
        }
        let mut count = 0;
        while let Some(dialer) = dialers.join_next().await {
            let (done, last) = dialer?;
            count += done;
            if let Some(error) = last {
                eprintln!("a connection failed: {error:#}");
            }
        }
        ensure!(count > 0, "no connection to {}", target.addr);
        let took = start.elapsed();
        sleep(Duration::from_secs_f64(self.settle)).await;
        let mut report = Report::new(
            format!("churn conns={count}"),
            count,
            took,
            &before,
            &server.usage()?,
        );
        report.lost = self.conns as u64 - count;
        Ok(report)
    }
}

async fn open_and_close(target: &Target) -> Result<()> {
    Client::dial(target).await?.close().await
}

//! Echo: each connection keeps a window of messages in flight.

use std::{rc::Rc, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    client::{Client, Target, dial_all, frame},
    report::{Latency, Report},
    server::Server,
    tally::{Phase, Tally},
};

/// An echo that has not come back after this long is lost.
const LOST_AFTER: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Echo {
    /// Connections
    #[arg(long, default_value_t = 100)]
    conns: usize,
    /// Messages that each connection keeps in flight
    #[arg(long, default_value_t = 1)]
    window: usize,
    /// Payload size in bytes, 34 at least
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Measured time in seconds
    #[arg(long, default_value_t = 5.0)]
    secs: f64,
    /// Seconds of the same load before that, not counted
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
}

impl Echo {
    pub(crate) async fn run(&self, target: &Target, server: &Server) -> Result<Report> {
        let clients = dial_all(target, self.conns).await?;
        let conns = clients.len();
        let tally = Rc::new(Tally::new()?);
        let mut running = JoinSet::new();
        for client in clients {
            running.spawn_local(keep_in_flight(
                client,
                tally.clone(),
                self.window,
                self.size,
            ));
        }
        sleep(Duration::from_secs_f64(self.warm_up)).await;
        let before = server.usage()?;
        tally.set_phase(Phase::Measure);
        let start = Instant::now();
        sleep(Duration::from_secs_f64(self.secs)).await;
        tally.set_phase(Phase::Stop);
        let mut lost = 0;
        while let Some(done) = running.join_next().await {
            let (in_flight, outcome) = done?;
            lost += in_flight as u64;
            if let Err(error) = outcome {
                eprintln!("a client stopped: {error:#}");
            }
        }
        let took = start.elapsed();
        let name = format!(
            "echo conns={conns} window={} size={}",
            self.window, self.size
        );
        let mut report = Report::new(name, tally.count(), took, &before, &server.usage()?);
        report.lost = lost;
        report.out_of_order = tally.out_of_order();
        report.latency = Some(Latency::of(&tally));
        Ok(report)
    }
}

/// Sends and receives until told to stop and all is back; answers with the number still in flight.
async fn keep_in_flight(
    mut client: Client,
    tally: Rc<Tally>,
    window: usize,
    size: usize,
) -> (usize, Result<()>) {
    let mut in_flight = 0;
    let outcome = async {
        let (mut next, mut expected) = (0, 0);
        let (mut text, mut frames) = (String::new(), Vec::new());
        loop {
            frames.clear();
            while in_flight < window && tally.phase() != Phase::Stop {
                text.clear();
                text.push_str("e:");
                tally.stamp(&mut text, next, size);
                frame(&mut frames, 1, text.as_bytes());
                next += 1;
                in_flight += 1;
            }
            if !frames.is_empty() {
                client.write(&frames).await?;
            }
            if in_flight == 0 {
                return Ok(());
            }
            let payload = timeout(LOST_AFTER, client.next())
                .await
                .context("an echo did not come back")??;
            if let Some(number) = tally.arrived(payload, Some(expected)) {
                in_flight -= 1;
                expected = number + 1;
            }
        }
    }
    .await;
    (in_flight, outcome)
}

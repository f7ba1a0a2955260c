//! Fan-out: all connections are in one group, and one publisher sends to it.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::Args;
use tokio::{sync::Notify, task::JoinSet, time::timeout};

use crate::{
    client::{Client, Target, dial_all},
    report::{Latency, Report},
    server::Server,
    tally::{Phase, Tally},
};

/// A message that has not reached every member after this long is lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(crate) struct Fanout {
    /// Members of the group
    #[arg(long, default_value_t = 1000)]
    conns: usize,
    /// Messages whose last delivery may be outstanding
    #[arg(long, default_value_t = 1)]
    window: u64,
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

/// Deliveries since the beginning, and who waits for them.
struct Progress {
    members: u64,
    delivered: Cell<u64>,
    round: Notify,
}

impl Progress {
    fn delivered_one(&self) {
        self.delivered.set(self.delivered.get() + 1);
        if self.delivered.get().is_multiple_of(self.members) {
            self.round.notify_one();
        }
    }

    /// Waits until at most `outstanding` of the `sent` messages lack a delivery; false if they are lost.
    async fn wait(&self, sent: u64, outstanding: u64) -> bool {
        while sent - self.delivered.get() / self.members > outstanding {
            if timeout(LOST_AFTER, self.round.notified()).await.is_err() {
                return false;
            }
        }
        true
    }
}

impl Fanout {
    pub(crate) async fn run(&self, target: &Target, server: &Server) -> Result<Report> {
        ensure!(self.window > 0, "a window of 0 sends nothing");
        let mut clients = dial_all(target, self.conns).await?;
        for client in &mut clients {
            client.send("j:room").await?;
        }
        for client in &mut clients {
            client.expect_ok().await?;
        }
        let members = clients.len() as u64;
        let tally = Rc::new(Tally::new()?);
        let progress = Rc::new(Progress {
            members,
            delivered: Cell::new(0),
            round: Notify::new(),
        });
        let mut running = JoinSet::new();
        for client in clients {
            running.spawn_local(listen(client, tally.clone(), progress.clone()));
        }

        let mut publisher = Publisher {
            client: Client::dial(target).await?,
            size: self.size,
            sent: 0,
        };
        publisher
            .run(
                &tally,
                &progress,
                self.window,
                Duration::from_secs_f64(self.warm_up),
            )
            .await?;
        let warm = publisher.sent;
        let before = server.usage()?;
        tally.set_phase(Phase::Measure);
        let start = Instant::now();
        publisher
            .run(
                &tally,
                &progress,
                self.window,
                Duration::from_secs_f64(self.secs),
            )
            .await?;
        let took = start.elapsed();

        let name = format!(
            "fanout members={members} window={} size={}",
            self.window, self.size
        );
        let mut report = Report::new(name, tally.count(), took, &before, &server.usage()?);
        report.lost = ((publisher.sent - warm) * members).saturating_sub(tally.count());
        report.out_of_order = tally.out_of_order();
        report.latency = Some(Latency::of(&tally));
        while let Some(stopped) = running.try_join_next() {
            eprintln!("a member stopped: {:#}", stopped?);
        }
        Ok(report)
    }
}

struct Publisher {
    client: Client,
    size: usize,
    sent: u64,
}

impl Publisher {
    /// Sends for a while, then waits for what is outstanding.
    async fn run(
        &mut self,
        tally: &Tally,
        progress: &Progress,
        window: u64,
        time: Duration,
    ) -> Result<()> {
        let start = Instant::now();
        let mut text = String::new();
        while start.elapsed() < time {
            text.clear();
            text.push_str("g:room:");
            tally.stamp(&mut text, self.sent, self.size);
            self.client.send(&text).await?;
            self.sent += 1;
            self.client.discard_arrived()?;
            if !progress.wait(self.sent, window - 1).await {
                break;
            }
        }
        progress.wait(self.sent, 0).await;
        Ok(())
    }
}

async fn listen(mut client: Client, tally: Rc<Tally>, progress: Rc<Progress>) -> anyhow::Error {
    let mut expected = 0;
    loop {
        match client.next().await {
            Ok(payload) => {
                if let Some(number) = tally.arrived(payload, Some(expected)) {
                    expected = number + 1;
                    progress.delivered_one();
                }
            }
            Err(error) => return error,
        }
    }
}

//! Hold: connections that are open and do nothing, and what a uid or a group of their own adds to them.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    client::{Client, Target, dial_all},
    report::Report,
    server::{Server, Usage},
};

/// Answers that may be outstanding.
const ASKING: usize = 256;

#[derive(Args)]
pub(crate) struct Hold {
    /// Connections
    #[arg(long, default_value_t = 10_000)]
    conns: usize,
    /// Seconds for the server to settle before memory is read
    #[arg(long, default_value_t = 3.0)]
    settle: f64,
    /// What to give each connection then; only that is charged
    #[arg(long)]
    then: Option<Then>,
    /// Groups for each connection: allocators take memory by the megabyte, so few would not be
    /// measured but rounded
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    groups: u16,
}

#[derive(Clone, Copy, ValueEnum)]
enum Then {
    /// A uid of its own
    Bind,
    /// A group of its own
    Join,
}

impl Hold {
    pub(crate) async fn run(&self, target: &Target, server: &Server) -> Result<Report> {
        let before = server.usage()?;
        let start = Instant::now();
        let mut clients = dial_all(target, self.conns).await?;
        let count = clients.len() as u64;
        let lost = self.conns as u64 - count;
        let opened = start.elapsed();
        let Some(then) = self.then else {
            let after = settled(&mut stay(clients), self.settle, server).await?;
            let mut report = Report::new(
                format!("hold conns={count}"),
                count,
                opened,
                &before,
                &after,
            );
            report.lost = lost;
            return Ok(report);
        };
        // What a first message leaves behind belongs to the connection.
        ask_each(&mut clients, |_| "e:ok".to_owned()).await?;
        sleep(Duration::from_secs_f64(self.settle)).await;
        let before = server.usage()?;
        let start = Instant::now();
        // 20 characters, about the length of a real user id or room name.
        let (what, each) = match then {
            Then::Bind => ("bind", 1),
            Then::Join => ("join", usize::from(self.groups)),
        };
        for round in 0..each {
            ask_each(&mut clients, |client| {
                let number = client * each + round;
                match then {
                    Then::Bind => format!("b:user-{number:015}"),
                    Then::Join => format!("j:room-{number:015}"),
                }
            })
            .await?;
        }
        let took = start.elapsed();
        let after = settled(&mut stay(clients), self.settle, server).await?;
        let mut report = Report::new(
            format!("{what} conns={count} each={each}"),
            count * each as u64,
            took,
            &before,
            &after,
        );
        report.lost = lost;
        Ok(report)
    }
}

/// Has every client ask something, by its number, to which the answer is `ok`.
async fn ask_each(clients: &mut [Client], ask: impl Fn(usize) -> String) -> Result<()> {
    let mut number = 0;
    for some in clients.chunks_mut(ASKING) {
        for client in &mut *some {
            client.send(&ask(number)).await?;
            number += 1;
        }
        for client in some {
            client.expect_ok().await?;
        }
    }
    Ok(())
}

/// Has every client answer pings from now on.
fn stay(clients: Vec<Client>) -> JoinSet<anyhow::Error> {
    let mut staying = JoinSet::new();
    for client in clients {
        staying.spawn_local(client.stay());
    }
    staying
}

/// Reads the usage after a while in which no client may go.
async fn settled(
    staying: &mut JoinSet<anyhow::Error>,
    settle: f64,
    server: &Server,
) -> Result<Vec<Usage>> {
    tokio::select! {
        Some(gone) = staying.join_next() => bail!("a client was not kept: {:#}", gone?),
        () = sleep(Duration::from_secs_f64(settle)) => server.usage(),
    }
}

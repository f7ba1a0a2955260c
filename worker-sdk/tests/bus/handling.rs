//! Batches that take long, come again, or are one too many.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use gatebus_tests::Nats;
use tokio::sync::Semaphore;
use wire::AckStatus;
use worker_sdk::{Client, Events, HandlerResult, Message};

use crate::fake::{Fake, Running};

/// Each message waits for a permit.
struct Gate {
    permits: Arc<Semaphore>,
    runs: Arc<AtomicU32>,
}

impl Events for Gate {
    type Session = ();

    async fn on_message(&self, client: &mut Client<()>, message: Message) -> HandlerResult {
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.permits.acquire().await?.forget();
        client.send(message)?;
        Ok(())
    }
}

fn gate() -> (Gate, Arc<Semaphore>, Arc<AtomicU32>) {
    let (permits, runs) = (Arc::new(Semaphore::new(0)), Arc::default());
    let gate = Gate {
        permits: permits.clone(),
        runs: Arc::clone(&runs),
    };
    (gate, permits, runs)
}

#[tokio::test]
async fn a_long_handler_tells_of_its_progress_and_a_repeated_batch_runs_once() {
    let server = Nats::start().await;
    let mut gateway = Fake::start(&server).await;
    let (gate, permits, runs) = gate();
    let worker = Running::start(&server, gate).await;

    gateway.send(1, 7, 1, "hello").await;
    let ack = gateway.ack().await;
    assert_eq!((ack.status, ack.attempt), (AckStatus::Progress, 1));

    gateway.send(1, 7, 2, "hello").await;
    while gateway.ack().await.attempt != 2 {}
    permits.add_permits(1);
    let done = loop {
        let ack = gateway.ack().await;
        if ack.status == AckStatus::Done {
            break ack;
        }
    };
    assert_eq!((done.attempt, done.seq), (2, 7));

    gateway.send(1, 7, 3, "hello").await;
    let again = gateway.ack().await;
    assert_eq!((again.status, again.attempt), (AckStatus::Done, 3));
    assert_eq!(again.commands, done.commands, "the same ack");
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    worker.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_worker_that_has_its_hands_full_says_so_at_once() {
    let server = Nats::start().await;
    let mut gateway = Fake::start(&server).await;
    let (gate, permits, runs) = gate();
    let worker = Running::start_as(&server, gate, |b| b.concurrency(2)).await;
    for conn in [1, 2, 3] {
        gateway.send(conn, 1, 1, "hello").await;
    }
    let ack = gateway.ack().await;
    assert_eq!((ack.conn.0, ack.status), (3, AckStatus::Busy));
    permits.add_permits(2);
    let mut done = [gateway.ack().await.conn.0, gateway.ack().await.conn.0];
    done.sort_unstable();
    assert_eq!(done, [1, 2]);
    permits.add_permits(1);
    gateway.send(3, 1, 1, "hello").await;
    assert_eq!(gateway.ack().await.status, AckStatus::Done);
    assert_eq!(runs.load(Ordering::Relaxed), 3);
    worker.stop().await.expect("stopped");
}

#[tokio::test]
async fn rubbish_on_the_subject_harms_nobody() {
    let server = Nats::start().await;
    let mut gateway = Fake::start(&server).await;
    let (gate, permits, _) = gate();
    permits.add_permits(1);
    let worker = Running::start(&server, gate).await;
    for (kind, payload) in [
        ("message", "rubbish"),
        ("message", ""),
        ("no-kind", "rubbish"),
    ] {
        let subject = server.subject(&format!("event.test.{kind}"));
        let sent = gateway.nats.publish(subject, payload.into()).await;
        sent.expect("published");
    }
    gateway.send(1, 1, 1, "fence").await;
    assert_eq!(gateway.ack().await.status, AckStatus::Done);
    worker.stop().await.expect("stopped");
}

//! Batches that take long, come again, or are one too many.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use gatebus_tests::Nats;
use tokio::sync::{Notify, Semaphore};
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

/// Fails at what begins with `bad`, waits where it is told to, echoes the rest.
struct Moody {
    go_on: Arc<Notify>,
}

impl Events for Moody {
    type Session = ();

    async fn on_message(&self, client: &mut Client<()>, message: Message) -> HandlerResult {
        match message.as_text().ok_or("text")? {
            "bad" => panic!("as it should"),
            "wait" => self.go_on.notified().await,
            text => client.send(text)?,
        }
        Ok(())
    }
}

#[tokio::test]
async fn batches_that_come_in_one_message_are_each_on_their_own() {
    let server = Nats::start().await;
    let mut gateway = Fake::start(&server).await;
    let go_on = Arc::new(Notify::new());
    let moody = Moody {
        go_on: go_on.clone(),
    };
    let worker = Running::start(&server, moody).await;
    gateway
        .send_many(&[(1, "wait"), (2, "bad"), (3, "good")])
        .await;
    let (bad, good) = (gateway.ack().await, gateway.ack().await);
    assert_eq!(
        (bad.conn.0, bad.status, bad.failed),
        (2, AckStatus::Done, 1)
    );
    assert_eq!((good.conn.0, good.status), (3, AckStatus::Done));
    assert_eq!((good.failed, good.commands.len()), (0, 1));
    go_on.notify_one();
    let late = loop {
        let ack = gateway.ack().await;
        if ack.status == AckStatus::Done {
            break ack;
        }
    };
    assert_eq!((late.conn.0, late.failed), (1, 0));
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
        ("message.many", "rubbish"),
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

//! Stopping loses nothing.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use gatebus_tests::Nats;
use tokio::sync::Notify;
use wire::AckStatus;
use worker_sdk::{Client, ErrorKind, Events, Gateway, HandlerResult, Message};

use crate::fake::{Fake, Running, SOON};

/// Handles at once, and counts.
struct Counter(Arc<AtomicU64>);

impl Events for Counter {
    type Session = ();

    async fn on_message(&self, _: &mut Client<()>, _: Message) -> HandlerResult {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Leaving the queue group leans on how the server takes a limit of `u64::MAX`, and on how
/// async-nats does: if either changes, batches get lost here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_routed_to_a_worker_is_handled_by_it_though_it_stops() {
    const ROUNDS: u32 = 20;
    const BATCHES: u32 = 1000;
    let server = Nats::start().await;
    let mut gateway = Fake::start(&server).await;
    let count = Arc::new(AtomicU64::new(0));
    let stays = Running::start(&server, Counter(count.clone())).await;
    for round in 0..ROUNDS {
        let leaves = Running::start(&server, Counter(count.clone())).await;
        let first = round * BATCHES;
        for conn in first..first + BATCHES / 2 {
            gateway.send(conn, 1, 1, "").await;
        }
        let leaving = tokio::spawn(leaves.stop());
        for conn in first + BATCHES / 2..first + BATCHES {
            gateway.send(conn, 1, 1, "").await;
        }
        leaving.await.expect("no panic").expect("stopped");
    }
    let mut open: HashSet<u32> = (0..ROUNDS * BATCHES).collect();
    while !open.is_empty() {
        let ack = gateway.ack().await;
        assert_eq!(ack.status, AckStatus::Done);
        assert!(open.remove(&ack.conn.0), "acked twice");
    }
    assert_eq!(count.load(Ordering::Relaxed), u64::from(ROUNDS * BATCHES));
    stays.stop().await.expect("stopped");
}

/// Waits where it is told to, and writes down what happens.
#[derive(Default)]
struct Slow {
    begun: Notify,
    go_on: Notify,
    log: std::sync::Mutex<Vec<&'static str>>,
}

struct Shared(Arc<Slow>);

impl Events for Shared {
    type Session = ();

    async fn on_message(&self, client: &mut Client<()>, _: Message) -> HandlerResult {
        self.0.begun.notify_one();
        self.0.go_on.notified().await;
        self.0.log.lock().expect("no panic").push("handled");
        client.send("at last")?;
        Ok(())
    }

    async fn on_worker_stop(&self, gateway: &Gateway) -> HandlerResult {
        self.0.log.lock().expect("no panic").push("stop");
        gateway.group("staff").send("the worker is gone")?;
        Ok(())
    }
}

#[tokio::test]
async fn what_is_in_flight_is_finished_before_the_stop_hook_and_everything_is_published() {
    let server = Nats::start().await;
    let mut gateway = Fake::start(&server).await;
    let subject = gateway
        .subjects
        .group(&wire::Group::new("staff").expect("a name"));
    let mut staff = gateway.nats.subscribe(subject).await.expect("subscribed");
    let slow = Arc::new(Slow::default());
    let worker = Running::start(&server, Shared(slow.clone())).await;
    gateway.send(1, 1, 1, "").await;
    slow.begun.notified().await;

    let stopping = tokio::spawn(worker.stop());
    slow.go_on.notify_one();
    stopping.await.expect("no panic").expect("stopped");
    let ack = gateway.ack().await;
    assert_eq!(ack.status, AckStatus::Done);
    assert_eq!(*slow.log.lock().expect("no panic"), ["handled", "stop"]);
    let last = futures_util::StreamExt::next(&mut staff);
    gatebus_tests::within("the last words", last)
        .await
        .expect("a message");
}

/// Never says its last word.
struct Endless;

impl Events for Endless {
    type Session = ();

    async fn on_message(&self, _: &mut Client<()>, _: Message) -> HandlerResult {
        Ok(())
    }

    async fn on_worker_stop(&self, _: &Gateway) -> HandlerResult {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_stop_hook_that_never_ends_does_not_hold_up_the_stop_for_ever() {
    let server = Nats::start().await;
    let worker = Running::start_as(&server, Endless, |b| b.stop_timeout(SOON)).await;
    let error = worker.stop().await.expect_err("it did not end");
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_handler_that_never_ends_does_not_hold_up_the_stop_for_ever() {
    let server = Nats::start().await;
    let gateway = Fake::start(&server).await;
    let slow = Arc::new(Slow::default());
    let worker = Running::start_as(&server, Shared(slow.clone()), |b| b.stop_timeout(SOON)).await;
    gateway.send(1, 1, 1, "").await;
    slow.begun.notified().await;
    let error = worker.stop().await.expect_err("it is not finished");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(*slow.log.lock().expect("no panic"), ["stop"]);
}

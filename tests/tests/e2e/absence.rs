//! Absence: what the gateway says and does while no worker runs.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use gatebus_tests::{Client, Gateway, Journal, Nats, Worker, within};
use wire::{Dead, DeadReason, Payload};

/// Proves that one absence is one line in the log, however many clients wait and ask, and that a
/// worker is said to run when one does, not before.
#[tokio::test]
async fn an_absence_is_said_once_and_its_end_when_a_worker_really_runs() {
    const CLIENTS: usize = 20;
    /// Each client's first refusal, and then about two seconds of asking again.
    const REFUSALS: f64 = 40.0;
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats).option("--shards", "1").start().await;
    let mut clients = Client::connect_many(&gateway, CLIENTS).await;
    for client in &mut clients {
        client.send("waiting").await;
    }
    gateway
        .wait_metric("gatebus_gateway_batches_refused_total", "", REFUSALS)
        .await;
    assert_eq!(gateway.log.count("no worker runs"), 1);
    assert_eq!(gateway.log.count("a worker runs again"), 0);

    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    for client in &mut clients {
        client.expect("waiting").await;
    }
    assert_eq!(gateway.log.count("no worker runs"), 1);
    assert_eq!(gateway.log.count("a worker runs again"), 1);
}

/// Proves that a client which no worker came for takes two waits in all, not one for each of its
/// batches: it is let go after the first, and after the second all that is left is given up at once.
#[tokio::test]
async fn what_waits_for_no_worker_is_given_up_together() {
    const WORKER_WAIT: Duration = Duration::from_secs(1);
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--worker-wait", format!("{}s", WORKER_WAIT.as_secs()))
        .start()
        .await;
    let bus = nats.client().await;
    let mut letters = bus
        .subscribe(nats.subject("dead"))
        .await
        .expect("a subject");
    bus.flush().await.expect("the server is there");
    let mut client = Client::connect(&gateway).await;
    for text in ["one", "two", "three"] {
        client.send(text).await;
    }
    client.expect_close(1013).await;
    let dead = "gatebus_gateway_events_dead_total";
    assert_eq!(gateway.metric(dead, "").await, 0.0, "not yet");

    let mut first = None;
    for kind in ["websocket", "message", "close"] {
        let letter = within("a dead letter", letters.next()).await.expect("one");
        first.get_or_insert_with(Instant::now);
        let letter: Dead = wire::decode(&letter.payload).expect("a dead letter");
        assert_eq!(
            (letter.kind.as_str(), letter.reason),
            (kind, DeadReason::NoWorker)
        );
        // a client's coming is one batch of two events
        assert_eq!(letter.batch.connect, kind == "websocket");
        if kind == "message" {
            let messages = letter.batch.messages.iter().map(Payload::as_bytes);
            assert!(messages.eq([b"one".as_slice(), b"two", b"three"]));
        }
    }
    let took = first.map(|first| first.elapsed());
    assert!(took < Some(WORKER_WAIT), "from first to last: {took:?}");
    assert_eq!(gateway.metric(dead, "no_worker").await, 6.0);
}

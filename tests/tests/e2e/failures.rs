//! Failures in handlers: counted, logged, and the next event comes.

use gatebus_tests::{Client, Gateway, Journal, Nats, Worker};

/// Proves that neither an error nor a panic in a handler costs more than its own event.
#[tokio::test]
async fn a_handler_that_fails_or_panics_is_logged_and_counted_and_the_next_event_comes() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    let mut neighbour = Client::connect(&gateway).await;
    let id = client.id().await;

    for failure in ["fail", "panic"] {
        client.send(failure).await;
        assert_eq!(client.ask("still there").await, "still there");
        assert_eq!(neighbour.ask("me too").await, "me too");
    }
    assert!(
        journal.entries().iter().all(|e| e.attempt <= 1),
        "no repeat"
    );
    assert_eq!(worker.log.count(&id), 2, "one line for each failure");
    gateway
        .wait_metric("gatebus_gateway_events_failed_total", "", 2.0)
        .await;
}

/// Proves that failing in the middle of pipelined messages skips none of the others.
#[tokio::test]
async fn a_failure_among_pipelined_messages_skips_no_other() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let (mut sender, mut receiver) = Client::connect(&gateway).await.split();
    for n in 0..300 {
        let text = match n % 10 {
            3 => "fail".to_owned(),
            7 => "panic".to_owned(),
            _ => n.to_string(),
        };
        sender.feed(text).await;
    }
    sender.flush().await;
    for n in (0..300).filter(|n| n % 10 != 3 && n % 10 != 7) {
        assert_eq!(receiver.text().await, n.to_string());
    }
}

/// Proves that a failure in `on_connect` is no reason to turn the client away.
#[tokio::test]
async fn a_client_whose_connect_handler_fails_is_served_all_the_same() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::with(&nats, &journal, "worker")
        .env("WORKER_ON_CONNECT", "fail")
        .start()
        .await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("hello").await, "hello");
}

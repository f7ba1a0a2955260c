//! Delivery: events wait for a worker, come again when they must, and are given up loudly.

use futures_util::StreamExt;
use gatebus_tests::{Client, Entry, Gateway, Journal, Nats, Worker, within};
use wire::{Dead, DeadReason};

/// Proves that a client may come, talk and stay while no worker runs.
#[tokio::test]
async fn events_wait_until_a_worker_starts() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    for text in ["one", "two", "three"] {
        client.send(text).await;
    }
    gateway.wait_metric(CLIENTS, "", 1.0).await;

    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    for text in ["one", "two", "three"] {
        client.expect(text).await;
    }
    let kinds: Vec<_> = journal.entries().into_iter().map(|e| e.kind).collect();
    let expected = [
        "start",
        "connect",
        "websocket",
        "message",
        "message",
        "message",
    ];
    assert_eq!(kinds, expected);
}

/// Proves that waiting for a worker has an end, and that the client is told to try again.
#[tokio::test]
async fn a_client_is_closed_with_1013_when_no_worker_comes_within_worker_wait() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--worker-wait", "1s")
        .start()
        .await;
    let reason = Client::connect(&gateway).await.expect_close(1013).await;
    assert_eq!(reason, wire::CloseCode::NoWorker.reason());
}

/// Proves that the last worker's stop is an absence like any other: clients stay, events wait.
#[tokio::test]
async fn clients_outlive_the_only_worker() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let mut old = Worker::with(&nats, &journal, "old").start().await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("before").await, "before");
    old.terminate();
    old.wait_for_success().await;
    journal.find("stop", |e| e.kind == "stop").await;

    client.send("between").await;
    let _new = Worker::with(&nats, &journal, "new").start().await;
    client.expect("between").await;
    assert_eq!(client.ask("after").await, "after");
}

/// Proves that a handler which takes four times `ack_wait` is left alone: its worker says that it is
/// at it. (The same ratio as 40 s of work with `ack_wait` 10 s.)
#[tokio::test]
async fn a_handler_that_takes_longer_than_ack_wait_is_not_redelivered() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--ack-wait", "1s")
        .start()
        .await;
    let journal = Journal::new();
    // Another worker that could take a second delivery.
    let patient = |name| Worker::with(&nats, &journal, name);
    let _one = patient("one").start().await;
    let _other = patient("other").start().await;
    let mut client = Client::connect(&gateway).await;

    assert_eq!(client.ask("sleep 4000").await, "slept 4000");
    assert_eq!(client.ask("fence").await, "fence");
    assert_eq!(journal.texts(), ["sleep 4000", "fence"]);
    assert!(journal.entries().iter().all(|e| e.attempt <= 1));
}

/// Proves that a handler can ask for its event again, and that what is behind it waits.
#[tokio::test]
async fn a_handler_that_asks_for_a_retry_gets_the_event_again_in_its_place() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    for text in ["first", "retry 3", "last"] {
        client.send(text).await;
    }
    for text in ["first", "delivered 3", "last"] {
        client.expect(text).await;
    }
    assert_eq!(
        journal.texts(),
        ["first", "retry 3", "retry 3", "retry 3", "last"]
    );
}

/// Proves that an event is not tried for ever, that giving it up is seen, and that life goes on.
#[tokio::test]
async fn an_event_is_given_up_to_the_dead_letters_after_max_attempts() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--max-attempts", "3")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let bus = nats.client().await;
    let mut letters = bus
        .subscribe(nats.subject("dead"))
        .await
        .expect("a subject");
    bus.flush().await.expect("the server is there");
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;

    client.send("retry 99").await;
    client.send("next").await;
    client.expect("next").await;
    let letter = within("a dead letter", letters.next()).await.expect("one");
    let letter: Dead = wire::decode(&letter.payload).expect("a dead letter");
    assert_eq!(letter.reason, DeadReason::Attempts);
    assert_eq!(letter.kind, "message");
    assert_eq!(letter.service.as_str(), "test");
    assert_eq!(letter.batch.client.to_string(), id);
    assert_eq!(letter.batch.attempt, 3);
    let given_up: Vec<_> = letter
        .batch
        .messages
        .iter()
        .map(wire::Payload::as_bytes)
        .collect();
    assert_eq!(given_up, [b"retry 99"]);
    assert_eq!(gateway.metric(DEAD, "").await, 1.0);
    assert!(gateway.log.count(&id) > 0, "the log names the client");
    let tries = journal.texts().iter().filter(|t| *t == "retry 99").count();
    assert_eq!(tries, 3);
}

/// Proves that a worker which was thought dead and comes back cannot do a thing twice to the client:
/// its ack, with the commands in it, comes for an old attempt.
#[tokio::test]
async fn a_late_ack_is_ignored_with_the_commands_it_carries() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--ack-wait", "500ms")
        .option("--max-attempts", "100")
        .start()
        .await;
    let journal = Journal::new();
    let late = Worker::with(&nats, &journal, "late").start().await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("before").await, "before");

    late.hold().await;
    client.send("once").await;
    let _prompt = Worker::with(&nats, &journal, "prompt").start().await;
    client.expect("once").await;
    late.go_on();
    let fits = |e: &Entry| e.worker == "late" && e.text == "once";
    let entry = journal.find("the late handling", fits).await;
    assert_eq!(entry.attempt, 1);
    // Until the late worker has answered something newer on the same connection.
    while client.who_am_i().await["worker"] != "late" {}
    assert_eq!(client.ask("fence").await, "fence");
}

/// Proves that a worker which is told to stop takes nothing new and finishes what it has in hand.
#[tokio::test]
async fn a_worker_that_is_told_to_stop_finishes_what_it_has_in_hand() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let mut leaving = Worker::with(&nats, &journal, "leaving").start().await;
    let mut client = Client::connect(&gateway).await;
    let mut neighbour = Client::connect(&gateway).await;
    client.send("hold gate").await;
    journal.find("held", |e| e.kind == "held").await;
    leaving.terminate();
    let pick = |line: &str| line.contains("worker is stopping").then_some(());
    leaving.log.find("worker is stopping", pick).await;
    let _heir = Worker::with(&nats, &journal, "heir").start().await;
    for _ in 0..20 {
        assert_eq!(neighbour.who_am_i().await["worker"], "heir");
    }
    leaving.open("gate").await;
    client.expect("released gate").await;
    leaving.wait_for_success().await;
    assert_eq!(client.who_am_i().await["worker"], "heir");
    assert!(journal.entries().iter().all(|e| e.attempt <= 1));
}

/// Proves that a stop has an end, and that what was not finished is somebody else's then.
#[tokio::test]
async fn what_a_stopping_worker_does_not_finish_in_time_goes_to_another() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--ack-wait", "1s")
        .start()
        .await;
    let journal = Journal::new();
    let mut stuck = Worker::with(&nats, &journal, "stuck")
        .env("GATEBUS_STOP_TIMEOUT", "500ms")
        .start()
        .await;
    let mut client = Client::connect(&gateway).await;
    client.send("hold gate").await;
    journal.find("held", |e| e.kind == "held").await;
    let mut heir = Worker::with(&nats, &journal, "heir").start().await;
    stuck.terminate();
    assert!(
        !stuck.wait().await.success(),
        "it says that it was not done"
    );
    let fits = |e: &Entry| e.kind == "held" && e.worker == "heir";
    let again = journal.find("held by the heir", fits).await;
    assert!(again.attempt > 1);
    heir.open("gate").await;
    client.expect("released gate").await;
}

/// Proves that large messages of many clients at once fit NATS's limit, in events and in acks.
#[tokio::test]
async fn large_messages_of_many_clients_at_once_come_back() {
    const SIZE: usize = 700 * 1024;
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--max-message", "900KiB")
        .option("--mailbox", "4MiB")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut clients = Client::connect_many(&gateway, 10).await;
    let large = bytes::Bytes::from(vec![7; SIZE]);
    for client in &mut clients {
        client.send(large.clone()).await;
    }
    for client in &mut clients {
        assert_eq!(client.binary().await, large);
    }
}

/// Proves that a limit which NATS does not carry is lowered, rather than events lost.
#[tokio::test]
async fn a_message_that_nats_would_not_carry_closes_with_1009() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--max-message", "2MiB")
        .option("--mailbox", "4MiB")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut neighbour = Client::connect(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    client.send(bytes::Bytes::from(vec![7; 1024 * 1024])).await;
    client.expect_close(1009).await;
    assert_eq!(neighbour.ask("still here").await, "still here");
}

const CLIENTS: &str = "gatebus_gateway_connections";
const DEAD: &str = "gatebus_gateway_events_dead_total";

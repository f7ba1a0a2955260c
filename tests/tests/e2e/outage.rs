//! Outages of NATS: clients stay, no event is lost, the gateway says when it is not ready.

use std::time::{Duration, Instant};

use gatebus_tests::{Client, Entry, Gateway, Journal, Nats, Worker, eventually, within};
use tokio_tungstenite::tungstenite::Error;

use crate::order::assert_all_in_order;

/// Publishes numbered raw sends on a subject, over and over, until the client hears one.
async fn heard_again(nats: &Nats, subject: &str, client: &mut Client) {
    let bus = nats.client().await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(wire::subject::RAW_HEADER, "text");
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let mut n = 0;
    let listen = client.text();
    tokio::pin!(listen);
    loop {
        tokio::select! {
            text = &mut listen => {
                assert!(text.starts_with(subject), "{text}");
                break;
            }
            _ = tick.tick() => {
                n += 1;
                let text = format!("{subject} {n}");
                let sent = bus.publish_with_headers(nats.subject(subject), headers.clone(), text.into());
                sent.await.expect("a subject");
            }
        }
    }
}

/// Proves that a restart of NATS costs a pause and nothing else.
#[tokio::test]
async fn a_restart_of_nats_loses_no_event_and_closes_no_client() {
    let mut nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--ack-wait", "2s")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut clients = Client::connect_many(&gateway, 100).await;
    assert_eq!(clients[0].ask("bind 42").await, "bound 42");
    assert_eq!(clients[1].ask("join lobby").await, "joined lobby");

    say(&mut clients, "before").await;
    nats.kill().await;
    gateway.wait_ready(false).await;
    say(&mut clients, "meanwhile").await;
    assert!(!gateway.is_ready().await);
    let livez = gateway.admin("/livez").await;
    assert_eq!(livez.status, 200, "life does not depend on NATS");
    nats.start_again().await;
    let returned = Instant::now();
    heard_again(&nats, "uid.42", &mut clients[0]).await;
    heard_again(&nats, "group.lobby", &mut clients[1]).await;
    let took = returned.elapsed();
    assert!(
        took < Duration::from_secs(2),
        "uid and group sends took {took:?}"
    );
    gateway.wait_ready(true).await;
    say(&mut clients, "after").await;

    let last = format!("quiet after {}", EACH - 1);
    let fits = |e: &Entry| e.text == last;
    journal.wait("last message", clients.len(), fits).await;
    let expected: Vec<_> = ["before", "meanwhile", "after"]
        .iter()
        .flat_map(|when| (0..EACH).map(move |n| format!("quiet {when} {n}")))
        .collect();
    for mut entries in journal.by_client().into_values() {
        entries.retain(|e| e.text.starts_with("quiet"));
        assert_all_in_order(&entries, &expected);
    }
}

/// How many messages each client sends before, during and after the outage.
const EACH: usize = 20;

/// Each client sends its messages in one go, so that most of them wait in the gateway.
async fn say(clients: &mut [Client], when: &str) {
    for client in clients {
        for n in 0..EACH {
            client.send(format!("quiet {when} {n}")).await;
        }
    }
}

/// Proves that a gateway may be started before NATS, and takes up its work by itself.
#[tokio::test]
async fn a_gateway_and_a_worker_that_start_before_nats_find_it_later() {
    let mut nats = Nats::start().await;
    nats.stop().await;
    let gateway = Gateway::with(&nats).start_unready().await;
    assert!(!gateway.is_ready().await);
    let journal = Journal::new();
    let _worker = Worker::with(&nats, &journal, "worker").start_unready();
    nats.start_again().await;
    gateway.wait_ready(true).await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("hello").await, "hello");
}

/// Proves that a client which leaves during an outage is not forgotten: its close event waits.
#[tokio::test]
async fn a_close_event_outlives_an_outage() {
    let mut nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("join lobby").await, "joined lobby");
    let id = client.id().await;
    nats.kill().await;
    gateway.wait_ready(false).await;
    within("the goodbye", client.close(1000, "bye")).await;
    nats.start_again().await;
    let fits = |e: &Entry| e.kind == "close" && e.client == id;
    let close = journal.find("close", fits).await;
    assert_eq!(close.details["groups"], serde_json::json!(["lobby"]));
}

/// Proves that a worker which loses NATS goes on by itself, and finishes what it had in hand.
#[tokio::test]
async fn a_handler_that_runs_through_an_outage_is_heard_afterwards() {
    let mut nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let mut worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    client.send("hold gate").await;
    client.send("behind it").await;
    journal.find("held", |e| e.kind == "held").await;
    nats.kill().await;
    gateway.wait_ready(false).await;
    worker.open("gate").await;
    nats.start_again().await;
    gateway.wait_ready(true).await;
    // The first delivery's answer may reach the client directly, or be ignored as late.
    while client.text().await != "behind it" {}
    assert_eq!(client.ask("after").await, "after");
}

/// Proves that clients which are gone and whose events wait are bounded like those that are there:
/// each keeps its seat until its last event is done.
#[tokio::test]
async fn clients_whose_events_wait_for_nats_keep_their_seats_until_these_are_handled() {
    const SEATS: usize = 10;
    let mut nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--max-connections", SEATS.to_string())
        .start()
        .await;
    nats.stop().await;
    gateway.wait_ready(false).await;
    drop(Client::connect_many(&gateway, SEATS).await);
    let closing = "gatebus_gateway_clients_closing";
    gateway.wait_metric(closing, "", SEATS as f64).await;
    match Client::to(gateway.port(), "/").try_connect().await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 503),
        other => panic!("expected 503, got {other:?}"),
    }

    nats.start_again().await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    for kind in ["connect", "websocket", "close"] {
        journal.wait(kind, SEATS, |e| e.kind == kind).await;
    }
    // The ack comes after the entry, so the last seats may be free a moment later.
    let mut clients = Vec::new();
    for _ in 0..SEATS {
        let connect = || async { Client::to(gateway.port(), "/").try_connect().await.ok() };
        clients.push(eventually("a seat for a new client", connect).await);
    }
    for client in &mut clients {
        assert_eq!(client.ask("hello").await, "hello");
    }
}

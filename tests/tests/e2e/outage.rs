//! Outages of NATS: clients stay, no event is lost, the gateway says when it is not ready.

use std::time::{Duration, Instant};

use gatebus_tests::{Client, Entry, Gateway, Journal, Nats, Worker, within};

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
    let mut clients = Client::connect_many(&gateway, 20).await;
    assert_eq!(clients[0].ask("bind 42").await, "bound 42");
    assert_eq!(clients[1].ask("join lobby").await, "joined lobby");

    for client in &mut clients {
        client.send("quiet before").await;
    }
    nats.kill().await;
    gateway.wait_ready(false).await;
    for client in &mut clients {
        client.send("quiet meanwhile").await;
    }
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

    for client in &mut clients {
        client.send("quiet after").await;
    }
    let fits = |e: &Entry| e.text == "quiet after";
    journal
        .wait("message after the restart", clients.len(), fits)
        .await;
    for (client, entries) in journal.by_client() {
        let mut texts: Vec<_> = entries.into_iter().map(|e| e.text).collect();
        texts.retain(|t| t.starts_with("quiet"));
        texts.dedup();
        let all = ["quiet before", "quiet meanwhile", "quiet after"];
        assert_eq!(texts, all, "{client}");
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

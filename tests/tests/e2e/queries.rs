//! Queries: answers from every gateway, and the names of those that gave none.

use gatebus_tests::{Client, Gateway, Journal, Nats, Worker, within_secs};
use serde_json::{Value, json};
use worker_sdk::ClientId;

type Session = std::collections::BTreeMap<String, Value>;

/// Proves `is_online`, `count` and a group's clients with their sessions, over two gateways of two
/// shards each.
#[tokio::test]
async fn queries_gather_the_answers_of_all_gateways() {
    let nats = Nats::start().await;
    let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let handle = nats.handle().await;
    let mut expected = Vec::new();
    let mut clients = Vec::new();
    for (g, gateway) in gateways.iter().enumerate() {
        for (n, mut client) in Client::connect_many(gateway, 10)
            .await
            .into_iter()
            .enumerate()
        {
            client.send(format!("set n {n}")).await;
            client.send(format!("set g {g}")).await;
            assert_eq!(client.ask("join lobby").await, "joined lobby");
            let uid = format!("user {}", n % 5);
            assert_eq!(
                client.ask(format!("bind {uid}")).await,
                format!("bound {uid}")
            );
            let id: ClientId = client.id().await.parse().expect("an id");
            expected.push((id, Some(uid), json!({"n": n, "g": g})));
            clients.push(client);
        }
    }
    expected.sort_by_key(|(id, ..)| *id);

    for (target, total) in [
        (handle.all(), 20),
        (handle.group("lobby"), 20),
        (handle.uid("user 3"), 4),
        (handle.client(expected[0].0), 1),
        (handle.group("nobody's"), 0),
        (handle.uid("nobody"), 0),
    ] {
        let count = target.count().await.expect("answered");
        assert_eq!((count.total, count.missing), (total, vec![]), "{target:?}");
        assert_eq!(
            target.is_online().await.expect("answered"),
            total > 0,
            "{target:?}"
        );
        let listed = target.clients().await.expect("answered");
        assert_eq!(listed.clients.len() as u64, total, "{target:?}");
    }
    let listing = handle
        .group("lobby")
        .clients_with_sessions::<Session>()
        .await
        .expect("answered");
    assert!(listing.missing.is_empty());
    let listed: Vec<_> = listing
        .clients
        .into_iter()
        .map(|c| (c.id, c.uid, serde_json::to_value(c.session).expect("JSON")))
        .collect();
    assert_eq!(listed, expected);
    let gone: ClientId = "00000000000000000000".parse().expect("an id");
    assert!(!handle.client(gone).is_online().await.expect("answered"));
    assert_eq!(clients.len(), 20);
}

/// Proves that a list longer than a page comes whole.
#[tokio::test]
async fn a_long_list_comes_in_pages_and_is_whole() {
    const CLIENTS: usize = 1500;
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats).option("--shards", "1").start().await;
    let journal = Journal::new();
    let _worker = Worker::with(&nats, &journal, "worker")
        .env("WORKER_ON_CONNECT", "join lobby")
        .start()
        .await;
    let handle = nats.handle().await;
    let mut clients = Client::connect_many(&gateway, CLIENTS).await;
    for client in &mut clients {
        client.expect("joined lobby").await;
    }
    // Sessions that make pages end by size, not by number.
    let long = "x".repeat(2000);
    handle
        .group("lobby")
        .set_session(&json!({"long": long}))
        .expect("sent");
    let lobby = handle.group("lobby");
    let listing = within_secs(60, "the list", lobby.clients_with_sessions::<Session>())
        .await
        .expect("answered");
    assert!(listing.missing.is_empty());
    assert!(
        listing
            .clients
            .iter()
            .all(|c| c.session["long"] == long.as_str())
    );
    let ids: std::collections::BTreeSet<_> = listing.clients.iter().map(|c| c.id).collect();
    assert_eq!(ids.len(), CLIENTS);
    assert_eq!(listing.clients.len(), CLIENTS);
}

/// Proves that an answer which is not complete says so, and names who is missing.
#[tokio::test]
async fn a_gateway_that_does_not_answer_is_named_as_missing() {
    let nats = Nats::start().await;
    let held = Gateway::with(&nats).option("--shards", "1").start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let builder = worker_sdk::Gateway::builder()
        .nats_url(nats.url())
        .prefix(nats.prefix());
    let timeout = std::time::Duration::from_millis(1000);
    let handle = builder
        .query_timeout(timeout)
        .connect()
        .await
        .expect("the server is there");
    let mut lost = Client::connect(&held).await;
    let mut found = Client::connect(&gateway).await;
    for client in [&mut lost, &mut found] {
        assert_eq!(client.ask("join lobby").await, "joined lobby");
    }
    let id: ClientId = lost.id().await.parse().expect("an id");
    let lobby = handle.group("lobby");
    assert_eq!(lobby.count().await.expect("answered").total, 2);

    held.hold().await;
    let count = lobby.count().await.expect("answered");
    assert_eq!((count.total, count.missing), (1, vec![id.gateway]));
    held.go_on();
    let count = gatebus_tests::eventually("a complete answer again", || async {
        let count = lobby.count().await.expect("answered");
        count.missing.is_empty().then_some(count)
    })
    .await;
    assert_eq!(count.total, 2);
}

/// Proves that a gateway which is killed is not waited for, once its beats have stopped for long
/// enough, and that workers are told.
#[tokio::test]
async fn a_gateway_that_is_killed_is_forgotten_and_workers_are_told() {
    let nats = Nats::start().await;
    let mut killed = Gateway::with(&nats).option("--shards", "1").start().await;
    let _gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let handle = nats.handle().await;
    let mut client = Client::connect(&killed).await;
    let id: ClientId = client.id().await.parse().expect("an id");
    assert_eq!(handle.all().count().await.expect("answered").total, 1);
    killed.kill().await;
    let lost = journal.find("lost", |e| e.kind == "lost").await;
    assert_eq!(lost.details, json!(id.gateway.to_string()));
    gatebus_tests::eventually("the gateway to be forgotten", || async {
        let count = handle.all().count().await.expect("answered");
        (count.total == 0 && count.missing.is_empty()).then_some(())
    })
    .await;
}

/// Proves that a gateway which leaves in order is no loss: it says goodbye.
#[tokio::test]
async fn a_gateway_that_drains_is_forgotten_at_once() {
    let nats = Nats::start().await;
    let mut leaving = Gateway::with(&nats)
        .option("--drain-delay", "0s")
        .option("--drain-spread", "0s")
        .start()
        .await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let handle = nats.handle().await;
    let mut client = Client::connect(&gateway).await;
    client.id().await;
    assert_eq!(handle.all().count().await.expect("answered").total, 1);
    leaving.terminate();
    leaving.wait_for_success().await;
    let count = handle.all().count().await.expect("answered");
    assert_eq!((count.total, count.missing), (1, vec![]));
    assert!(journal.of("lost").is_empty());
}

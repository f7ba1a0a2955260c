//! Rollouts: gateways that are full, and clients that are let go to spread over new ones.

use futures_util::future::join_all;
use gatebus_tests::{Client, Gateway, Journal, Nats, Worker, client::End, http, within_secs};

/// Proves that a gateway without room is not sent more clients, is not restarted for that either,
/// and comes back when enough have gone.
#[tokio::test]
async fn a_full_gateway_is_unready_but_alive_until_clients_go() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--max-connections", "3")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut clients = Client::connect_many(&gateway, 2).await;
    assert!(gateway.is_ready().await);
    clients.push(Client::connect(&gateway).await);
    gateway.wait_ready(false).await;
    assert_eq!(gateway.admin("/livez").await.status, 200);
    let answer = gateway.admin("/readyz").await;
    assert!(answer.body.contains("--max-connections"), "{}", answer.body);
    assert_eq!(http::get(gateway.port(), "/").await.status, 503);
    for client in &mut clients {
        assert_eq!(client.ask("still here").await, "still here");
    }
    let last = clients.pop().expect("three");
    last.close(1000, "").await;
    gateway.wait_ready(true).await;
}

/// Proves that clients of a certain age are let go with advice, no sooner than a fifth before it,
/// that nothing of theirs is lost, and that who comes back is young again.
#[tokio::test]
async fn clients_over_max_connection_age_are_let_go_with_advice_when_to_come_back() {
    const CLIENTS: usize = 100;
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--max-connection-age", "4s")
        .option("--reconnect-min", "100ms")
        .option("--reconnect-max", "2s")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let began = std::time::Instant::now();
    let mut clients = Client::connect_many(&gateway, CLIENTS).await;
    for client in &mut clients {
        assert_eq!(client.ask("hello").await, "hello");
    }
    let ends = clients.into_iter().map(|client| async move {
        let (_sender, mut receiver) = client.split();
        (receiver.end().await, began.elapsed())
    });
    let ends = within_secs(60, "all clients to be let go", join_all(ends)).await;
    let advice = wire::Advice {
        min: 100,
        max: 2_000,
    };
    for (end, after) in ends {
        assert_eq!(end, End::Closed(1012, advice.to_string()));
        // births are kept in whole seconds, so one may be up to a second older than it is
        assert!(after.as_millis() >= 3_200 - 1_000, "{after:?}");
    }
    journal.wait("close", CLIENTS, |e| e.kind == "close").await;
    let aged = ("gatebus_gateway_connections_closed_total", "aged");
    gateway.wait_metric(aged.0, aged.1, CLIENTS as f64).await;
    let mut back = Client::connect(&gateway).await;
    assert_eq!(back.ask("hello").await, "hello");
}

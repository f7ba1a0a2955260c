//! The handshake: what a worker learns of it, and whom it believes.

use gatebus_tests::{Client, Entry, Gateway, Journal, Nats, Worker};
use serde_json::json;

async fn websocket(journal: &Journal) -> Entry {
    journal.find("websocket", |e| e.kind == "websocket").await
}

/// Proves that a handler sees what the client asked for, decoded and apart.
#[tokio::test]
async fn a_worker_learns_path_query_headers_and_cookies() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let client = Client::to(gateway.port(), "/rooms/7?name=J%C3%BCrgen+K&x=1&x=2&empty=")
        .header("X-Custom", "Value")
        .header("Origin", "https://example.org")
        .header("Cookie", "session=abc; theme=dark")
        .connect()
        .await;
    let entry = websocket(&journal).await;
    let details = &entry.details;
    assert_eq!(details["path"], "/rooms/7");
    let query = json!([["name", "Jürgen K"], ["x", "1"], ["x", "2"], ["empty", ""]]);
    assert_eq!(details["query"], query);
    assert_eq!(
        details["cookies"],
        json!([["session", "abc"], ["theme", "dark"]])
    );
    let headers = details["headers"].as_array().expect("a list");
    assert!(headers.contains(&json!(["x-custom", "Value"])));
    assert!(headers.contains(&json!(["origin", "https://example.org"])));
    assert!(!headers.iter().any(|h| h[0] == "cookie"), "apart");
    assert_eq!(entry.remote, client.address().to_string());
}

/// Proves that a client's events begin with `connect`, then `websocket`, then what it says.
#[tokio::test]
async fn connect_comes_before_websocket_and_both_before_messages_and_close() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    for mut client in Client::connect_many(&gateway, 10).await {
        client.send("quiet hello").await;
        client.close(1000, "").await;
    }
    journal.wait("close", 10, |e| e.kind == "close").await;
    let mut kinds = std::collections::BTreeMap::<_, Vec<_>>::new();
    for entry in journal
        .entries()
        .into_iter()
        .filter(|e| !e.client.is_empty())
    {
        kinds.entry(entry.client).or_default().push(entry.kind);
    }
    assert_eq!(kinds.len(), 10);
    for kinds in kinds.values() {
        assert_eq!(*kinds, ["connect", "websocket", "message", "close"]);
    }
}

/// Proves that a command issued in `on_connect` reaches the client: it is after the handshake.
#[tokio::test]
async fn what_the_connect_handler_sends_arrives_first() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let worker = Worker::with(&nats, &journal, "worker");
    let _worker = worker.env("WORKER_ON_CONNECT", "welcome").start().await;
    let mut client = Client::connect(&gateway).await;
    client.send("hello").await;
    client.expect("welcome").await;
    client.expect("hello").await;
}

/// Proves that an address in a header is believed only from those who were named.
#[tokio::test]
async fn x_forwarded_for_is_believed_only_from_trusted_proxies() {
    for (trusted, expected) in [
        (None, None),
        (Some("127.0.0.0/8"), Some("203.0.113.7")),
        (Some("10.0.0.0/8"), None),
    ] {
        let nats = Nats::start().await;
        let mut gateway = Gateway::with(&nats);
        if let Some(networks) = trusted {
            gateway = gateway.option("--trusted-proxies", networks);
        }
        let gateway = gateway.start().await;
        let journal = Journal::new();
        let _worker = Worker::start(&nats, &journal).await;
        // The first entry is what the client itself may have written.
        let client = Client::to(gateway.port(), "/")
            .header("X-Forwarded-For", "198.51.100.1, 203.0.113.7")
            .connect()
            .await;
        let remote = websocket(&journal).await.remote;
        let address: std::net::SocketAddr = remote.parse().expect("ip:port");
        let expected = expected.map_or(client.address().ip(), |ip| ip.parse().expect("an address"));
        assert_eq!(address.ip(), expected, "trusted: {trusted:?}");
    }
}

/// Proves that each listener serves its own service, and only that one's workers hear of it.
#[tokio::test]
async fn two_listeners_serve_two_services() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .service("chat")
        .service("game")
        .start()
        .await;
    let (chat, game) = (Journal::new(), Journal::new());
    let _chat = Worker::with(&nats, &chat, "chat")
        .service("chat")
        .start()
        .await;
    let _game = Worker::with(&nats, &game, "game")
        .service("game")
        .start()
        .await;
    for (port, service) in gateway.ports().iter().zip(["chat", "game"]) {
        let mut client = Client::to(*port, "/").connect().await;
        assert_eq!(client.who_am_i().await["worker"], service);
        // Both are on one bus: a group has members on any listener.
        assert_eq!(client.ask("join all-of-them").await, "joined all-of-them");
    }
    assert_eq!(chat.texts(), ["whoami", "join all-of-them"]);
    assert_eq!(game.texts(), ["whoami", "join all-of-them"]);
}

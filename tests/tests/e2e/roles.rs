//! The users and permissions that operators are given as an example: each role does its job with
//! them, and is refused what is not its own.

use gatebus_tests::{Api, Client, Gateway, Journal, Nats, Worker, client::End, ctl::ctl};
use serde_json::json;

/// Everything that the roles do for a living, and not one complaint of the server.
#[tokio::test]
async fn each_role_does_its_job() {
    let nats = Nats::start_roles().await;
    let journal = Journal::new();
    let gateway = Gateway::with(&nats)
        .env("NATS_URL", nats.url_of("gateway"))
        .service("test")
        .listen("websocket://127.0.0.1:0?service=test&routing=sticky")
        .service("nobody")
        .option("--worker-wait", "300ms")
        .start()
        .await;
    let _worker = Worker::with(&nats, &journal, "worker")
        .env("NATS_URL", nats.url_of("worker"))
        .env("WORKER_EXCLUSIVE", "job 100 0")
        .start()
        .await;
    let api = Api::with(&nats)
        .env("NATS_URL", nats.url_of("api"))
        .start()
        .await;

    // events, acks, commands, answers
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("hello").await, "hello");
    assert_eq!(client.ask("join lobby").await, "joined lobby");
    assert_eq!(client.ask("bind ann").await, "bound ann");
    let id = client.id().await;
    // a worker's own subject
    let mut loyal = Client::to(gateway.ports()[1], "/").connect().await;
    for word in ["one", "two", "three"] {
        assert_eq!(loyal.ask(word).await, word);
    }
    // every target, from outside
    for target in [
        format!("client/{id}"),
        "uid/ann".into(),
        "group/lobby".into(),
        "all".into(),
    ] {
        api.done(&format!("/v1/{target}/send"), json!({ "text": "news" }))
            .await;
        assert_eq!(client.text().await, "news");
        let count = if target == "all" { 2 } else { 1 };
        if !target.starts_with("client") {
            let answer = api.answer(&format!("/v1/{target}/count")).await;
            assert_eq!(answer["count"], count, "{target}");
            let answer = api.answer(&format!("/v1/{target}/clients")).await;
            assert_eq!(answer["missing"], json!([]), "{target}");
        }
    }
    api.done("/v1/uid/ann/join", json!({ "group": "more" }))
        .await;
    // an exclusive timer
    journal.wait("turn", 1, |e| e.kind == "turn").await;
    // dead letters
    let lonely = Client::to(gateway.ports()[2], "/").connect().await;
    lonely.expect_close(1013).await;
    // operators
    let url = nats.url_of("operator");
    for what in ["status", "workers", "connections", "groups"] {
        let ended = ctl(&nats, &[what, "--json", "--nats", &url]).await;
        assert_eq!(ended.status, 0, "{ended:?}");
    }
    let kicked = ctl(&nats, &["kick", "--uid", "ann", "--nats", &url]).await;
    assert_eq!(kicked.status, 0, "{kicked:?}");
    assert!(matches!(client.end().await, End::Closed(..)));

    assert_eq!(nats.violations(), Vec::<String>::new());
}

/// What each role must not do: publish, subscribe.
const FORBIDDEN: [(&str, &[&str], &[&str]); 4] = [
    (
        "gateway",
        &[
            "group.lobby",
            "all",
            "client.0a1b2c3d4e5f.00c0ffee",
            "process.0a1b2c3d4e5f",
            "ack.0a1b2c3d4e5f",
            "beat.worker.0a1b2c3d4e5f",
        ],
        &[
            "event.test.*",
            "event.test.>",
            "worker.*.>",
            "beat.worker.*",
            "dead",
            ">",
        ],
    ),
    (
        "worker",
        &[
            "event.test.message",
            "event.test.message.many",
            "process.0a1b2c3d4e5f",
            "beat.gateway.0a1b2c3d4e5f",
            "dead",
            "worker.0a1b2c3d4e5f.message",
        ],
        &[
            "event.test.*",
            "event.test.>",
            "ack.*.*",
            "client.*.*",
            "group.lobby",
            "uid.*",
            "all",
            "dead",
            ">",
        ],
    ),
    (
        "api",
        &[
            "event.test.message",
            "ack.0a1b2c3d4e5f",
            "process.0a1b2c3d4e5f",
            "beat.gateway.0a1b2c3d4e5f",
        ],
        &[
            "event.test.*",
            "event.test.>",
            "worker.*.>",
            "client.*.*",
            "group.lobby",
            "all",
            "beat.worker.*",
            ">",
        ],
    ),
    (
        "operator",
        &[
            "event.test.message",
            "ack.0a1b2c3d4e5f",
            "beat.gateway.0a1b2c3d4e5f",
            "worker.0a1b2c3d4e5f.message",
        ],
        &[
            "event.test.*",
            "event.test.>",
            "worker.*.>",
            "ack.*.*",
            "client.*.*",
            "group.lobby",
            "all",
            ">",
        ],
    ),
];

/// Proves that no role can take another's place, read another's messages, or listen to events without
/// being a member of a queue group.
#[tokio::test]
async fn each_role_is_refused_what_is_not_its_own() {
    let nats = Nats::start_roles().await;
    for (role, publish, subscribe) in FORBIDDEN {
        let client = nats.client_of(role).await;
        for rest in publish {
            let subject = nats.subject(rest);
            let sent = client.publish(subject.clone(), "x".into()).await;
            sent.expect("it is on its way");
            client.flush().await.expect("a connection");
            nats.wait_violation(role, &subject).await;
        }
        for rest in subscribe {
            let subject = nats.subject(rest);
            let subscriber = client.subscribe(subject.clone()).await;
            let _subscriber = subscriber.expect("it is on its way");
            client.flush().await.expect("a connection");
            nats.wait_violation(role, &subject).await;
        }
    }
}

/// Proves that a worker hears events as a member of a queue group, which it is refused otherwise.
#[tokio::test]
async fn a_worker_is_let_into_a_queue_group() {
    let nats = Nats::start_roles().await;
    let worker = nats.client_of("worker").await;
    let subject = nats.subject("event.test.>");
    let group = worker.queue_subscribe(subject, "test".into()).await;
    let _group = group.expect("it is on its way");
    // its turn comes after the subscription's
    let fence = nats.subject("event.test.fence");
    worker
        .publish(fence.clone(), "x".into())
        .await
        .expect("a connection");
    worker.flush().await.expect("a connection");
    nats.wait_violation("worker", &fence).await;
    assert_eq!(nats.violations().len(), 1);
}

//! Sessions: kept at the gateway, changed key by key.

use gatebus_tests::{Client, Gateway, Journal, Nats, Worker};
use serde_json::{Value, json};

async fn session(client: &mut Client) -> Value {
    let text = client.ask("session").await;
    serde_json::from_str(&text).expect("JSON")
}

/// Proves that a change is there for the client's next event, whichever worker handles it.
#[tokio::test]
async fn what_a_handler_puts_into_the_session_is_there_for_the_next_at_any_worker() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _one = Worker::with(&nats, &journal, "one").start().await;
    let _other = Worker::with(&nats, &journal, "other").start().await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(session(&mut client).await, json!({}));
    for n in 0..50 {
        client.send(format!("set n {n}")).await;
        assert_eq!(session(&mut client).await, json!({"n": n}));
    }
    client
        .send(r#"set user {"name": "Ann", "tags": ["x", null, 1.5, -7]}"#)
        .await;
    client.send("unset n").await;
    let user = json!({"user": {"name": "Ann", "tags": ["x", null, 1.5, -7]}});
    assert_eq!(session(&mut client).await, user);
    let workers: std::collections::HashSet<_> = journal
        .of("message")
        .into_iter()
        .map(|e| e.worker)
        .collect();
    assert_eq!(workers.len(), 2);
}

/// Proves that pipelined events of one batch see each other's changes.
#[tokio::test]
async fn events_of_one_batch_see_each_others_changes() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    for n in 0..40 {
        client.send(format!("set n {n}")).await;
        client.send("session").await;
    }
    for n in 0..40 {
        client.expect(&json!({"n": n}).to_string()).await;
    }
}

/// Proves that two writers of different keys do not undo each other: only what a handler changed
/// travels back, and not the session as it was when the handler began.
#[tokio::test]
async fn a_change_from_outside_while_a_handler_runs_is_not_undone_by_it() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let mut worker = Worker::start(&nats, &journal).await;
    let handle = nats.handle().await;
    let mut client = Client::connect(&gateway).await;
    client.send(r#"set mine "old""#).await;
    let id = client
        .id()
        .await
        .parse::<worker_sdk::ClientId>()
        .expect("an id");

    client.send("hold gate").await;
    client.send(r#"set mine "new""#).await;
    journal.find("held", |e| e.kind == "held").await;
    handle
        .client(id)
        .update_session(&json!({"theirs": 1}))
        .expect("sent");
    handle.client(id).send("fence").expect("sent");
    client.expect("fence").await;
    worker.open("gate").await;
    client.expect("released gate").await;
    assert_eq!(
        session(&mut client).await,
        json!({"mine": "new", "theirs": 1})
    );
}

/// Proves that a failing handler's changes up to the failure stand, as in any program without
/// transactions.
#[tokio::test]
async fn a_handler_that_fails_keeps_what_it_had_changed() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    client.send("set-and-fail n 1").await;
    assert_eq!(session(&mut client).await, json!({"n": 1}));
}

/// Proves that each client has its own session.
#[tokio::test]
async fn sessions_of_two_clients_have_nothing_to_do_with_each_other() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut clients = Client::connect_many(&gateway, 10).await;
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("set n {n}")).await;
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(session(client).await, json!({"n": n}));
    }
}

/// Proves the limit of a session: what would grow over it is refused, by a handler's failure and from
/// outside, and the session stays as it was.
#[tokio::test]
async fn a_session_over_its_limit_is_refused_and_the_old_one_stays() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let handle = nats.handle().await;
    let mut client = Client::connect(&gateway).await;
    let id = client
        .id()
        .await
        .parse::<worker_sdk::ClientId>()
        .expect("an id");
    client.send("set small 1").await;
    let most = "x".repeat(wire::session::MAX_SESSION);
    client.send(format!("set large {}", json!(most))).await;
    assert_eq!(session(&mut client).await, json!({"small": 1}));
    // Each fits, but not both.
    let half = "x".repeat(wire::session::MAX_SESSION / 2 + 100);
    handle
        .client(id)
        .update_session(&json!({"a": half}))
        .expect("sent");
    handle
        .client(id)
        .update_session(&json!({"b": half}))
        .expect("sent");
    handle.client(id).send("fence").expect("sent");
    client.expect("fence").await;
    assert_eq!(session(&mut client).await, json!({"small": 1, "a": half}));
}

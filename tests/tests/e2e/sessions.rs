//! Sessions: kept at the gateway, changed key by key.

use gatebus_tests::{Client, Gateway, Journal, Nats, Worker, within};
use serde_json::{Value, json};
use worker_sdk::ErrorKind;

use crate::town::Town;

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
    let worker = Worker::start(&nats, &journal).await;
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
    let says = |line: &str| line.contains("at most 65536 bytes").then_some(());
    worker.log.find("the handler's error", says).await;
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

/// Proves that of two who read a session and change it the slower one learns of it, with the version
/// that the session has by then; over several gateways.
#[tokio::test]
async fn a_session_is_changed_only_if_it_has_still_the_version_that_was_read() {
    let mut town = Town::new().await;
    for n in 0..2 {
        let client = town.handle.client(town.ids[n]);
        let set = client.set_session_if(0, &json!({"n": 0})).await;
        assert_eq!(set.expect("answered"), Some(1));
        let late = client.set_session_if(0, &json!({"n": "late"})).await;
        let late = late.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Conflict);
        assert_eq!(late.session_version(), Some(1));
        let updated = client.update_session_if(1, &json!({"m": 1})).await;
        assert_eq!(updated.expect("answered"), Some(2));
        let late = client.update_session_if(1, &json!({"m": "late"})).await;
        assert_eq!(late.unwrap_err().session_version(), Some(2));
        assert_eq!(town.session(n).await, json!({"n": 0, "m": 1}));

        // What a handler changes counts too.
        town.meant[n].send("set mine 1").await;
        assert_eq!(town.session(n).await["mine"], 1);
        let late = client.set_session_if(2, &json!({})).await.unwrap_err();
        assert_eq!(late.session_version(), Some(3));
    }
    let gone: worker_sdk::ClientId = "00000000000000000000".parse().expect("an id");
    let set = town.handle.client(gone).set_session_if(0, &json!({})).await;
    assert_eq!(set.expect("answered"), None);
    let group = town.handle.group("g").set_session_if(0, &json!({})).await;
    assert_eq!(group.unwrap_err().kind(), ErrorKind::InvalidTarget);
}

/// Proves that nothing is lost between many who change one counter at the same time.
#[tokio::test]
async fn a_counter_that_many_change_at_the_same_time_counts_right() {
    let mut town = Town::new().await;
    let id = town.ids[0];
    let counting = (0..4).map(|_| {
        let handle = &town.nats;
        async move {
            let handle = handle.handle().await;
            let mut version = 0;
            for _ in 0..10 {
                loop {
                    // Each change adds one, so the version is the count.
                    let next = json!({"count": version + 1});
                    match handle.client(id).set_session_if(version, &next).await {
                        Ok(now) => break version = now.expect("it is there"),
                        Err(error) => version = error.session_version().expect("a conflict"),
                    }
                }
            }
        }
    });
    within("the counting", futures_util::future::join_all(counting)).await;
    assert_eq!(town.session(0).await, json!({"count": 40}));
}

/// Proves that many changes of one key from outside and of another by handlers, at the same time, all
/// stand.
#[tokio::test]
async fn changes_of_different_keys_from_inside_and_outside_all_stand() {
    let mut town = Town::new().await;
    let client = town.handle.client(town.ids[0]);
    for n in 0..100 {
        client
            .update_session(&json!({"outside": n, "all": {n.to_string(): true}}))
            .expect("sent");
        town.meant[0].send(format!("set inside {n}")).await;
    }
    let session = town.session(0).await;
    assert_eq!(session["inside"], 99);
    town.fence().await;
    let session = town.session(0).await;
    assert_eq!(
        (&session["inside"], &session["outside"]),
        (&json!(99), &json!(99))
    );
    assert_eq!(session["all"].as_object().expect("a map").len(), 100);
}

/// Proves that the last session can be read when the client is gone, with what was changed from
/// outside.
#[tokio::test]
async fn the_last_session_is_there_in_on_close() {
    let town = Town::new().await;
    let mut meant = town.meant;
    for (n, mut client) in meant.drain(..).enumerate() {
        client.send("set mine 1").await;
        client.ask("session").await;
        let target = town.handle.client(town.ids[n]);
        target.update_session(&json!({"theirs": 2})).expect("sent");
        target.send("fence").expect("sent");
        client.expect("fence").await;
        client.close(1000, "").await;
    }
    for close in town.journal.wait("close", 2, |e| e.kind == "close").await {
        assert_eq!(close.session, json!({"mine": 1, "theirs": 2}));
        assert_eq!(close.uid.as_deref(), Some("u"));
    }
}

/// Proves that who sets a session over the limit from outside learns of it: at once if what it
/// gives is too large by itself, and by the answer if it would only grow over it.
#[tokio::test]
async fn a_session_over_its_limit_is_a_clear_error_outside() {
    let mut town = Town::new().await;
    let client = town.handle.client(town.ids[0]);
    let all = json!({"x": "x".repeat(wire::session::MAX_SESSION)});
    for error in [
        client.set_session(&all).unwrap_err(),
        client.update_session(&all).unwrap_err(),
        client.set_session_if(0, &all).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Session);
        assert!(format!("{error:?}").contains("65536"), "{error:?}");
    }
    let half = "x".repeat(wire::session::MAX_SESSION / 2 + 100);
    let set = client.set_session_if(0, &json!({"a": half})).await;
    assert_eq!(set.expect("answered"), Some(1));
    let grown = client.update_session_if(1, &json!({"b": half})).await;
    let grown = grown.unwrap_err();
    assert_eq!(grown.kind(), ErrorKind::Session);
    assert!(grown.to_string().contains("65536"), "{grown}");
    assert_eq!(town.session(0).await, json!({"a": half}));
}

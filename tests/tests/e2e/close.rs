//! The end of a connection: who ended it, what still arrives, and what the worker learns.

use std::time::Duration;

use async_nats::HeaderMap;
use gatebus_tests::{Client, Entry, Gateway, Journal, Nats, Worker, client::End};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use wire::{Command, Request};

async fn close_of(journal: &Journal, client: &str) -> Entry {
    let fits = |e: &Entry| e.kind == "close" && e.client == client;
    journal.find("close", fits).await
}

/// Proves that a close from a handler lets everything arrive that was sent before it.
#[tokio::test]
async fn close_flushes_what_is_pending_and_then_the_last_message() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    client.send("flood 500 1000").await;
    client.send("close 4001 bye").await;
    for n in 0..500 {
        client.expect(&format!("{n:01000}")).await;
    }
    for text in ["one", "two", "bye"] {
        client.expect(text).await;
    }
    assert_eq!(client.next().await, Err(End::Closed(4001, "R".into())));
    let close = close_of(&journal, &id).await;
    assert_eq!(
        close.details,
        json!({"by": "command", "code": 4001, "reason": "R", "groups": []})
    );
}

/// Proves that destroying is at once: there is no close frame, and what is pending may be lost.
#[tokio::test]
async fn destroy_drops_the_connection_without_a_goodbye() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    client.send("destroy").await;
    assert_eq!(client.end().await, End::Cut);
    let close = close_of(&journal, &id).await;
    assert_eq!(
        (&close.details["by"], &close.details["code"]),
        (&json!("command"), &json!(1006))
    );
}

/// Proves that the client's own goodbye is answered and reported with its code and reason.
#[tokio::test]
async fn a_clients_goodbye_is_answered_and_reported() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    for (code, reason) in [(1000, ""), (1001, "going away"), (4999, "ünicode")] {
        let mut client = Client::connect(&gateway).await;
        let id = client.id().await;
        assert_eq!(
            client.close(code, reason).await,
            End::Closed(code, reason.into())
        );
        let close = close_of(&journal, &id).await;
        assert_eq!(
            close.details,
            json!({"by": "client", "code": code, "reason": reason, "groups": []})
        );
    }
}

/// Proves that a goodbye without a code is reported as what RFC 6455 calls it: 1005.
#[tokio::test]
async fn a_goodbye_without_a_code_is_reported_with_1005() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    client.send(Message::Close(None)).await;
    assert_eq!(client.end().await, End::Closed(1005, String::new()));
    let close = close_of(&journal, &id).await;
    assert_eq!(
        (&close.details["by"], &close.details["code"]),
        (&json!("client"), &json!(1005))
    );
}

/// Proves that a client which never answers a close is gone for the worker at once all the same.
#[tokio::test]
async fn a_client_that_does_not_answer_a_close_is_reported_at_once() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    client.send("close 4000 bye").await;
    let close = close_of(&journal, &id).await;
    assert_eq!(close.details["code"], 4000);
    // Only now does it read.
    assert_eq!(client.end().await, End::Closed(4000, "R".into()));
}

/// Proves that a client which vanishes is reported too: code 1006.
#[tokio::test]
async fn a_connection_that_is_cut_is_reported_with_1006() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    drop(client);
    let close = close_of(&journal, &id).await;
    assert_eq!(
        (&close.details["by"], &close.details["code"]),
        (&json!("client"), &json!(1006))
    );
}

/// Proves what `on_close` knows: the last session, the uid, and the groups, all of which are gone
/// for everybody else.
#[tokio::test]
async fn the_close_event_carries_the_last_session_uid_and_groups() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let handle = nats.handle().await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("bind 42").await, "bound 42");
    for group in ["a", "b", "c"] {
        assert_eq!(
            client.ask(format!("join {group}")).await,
            format!("joined {group}")
        );
    }
    assert_eq!(client.ask("leave b").await, "left b");
    client.send(r#"set name "Ann""#).await;
    let id = client.id().await;
    client.close(1000, "").await;
    let close = close_of(&journal, &id).await;
    assert_eq!(close.uid.as_deref(), Some("42"));
    assert_eq!(close.session, json!({"name": "Ann"}));
    let mut groups: Vec<_> =
        serde_json::from_value::<Vec<String>>(close.details["groups"].clone()).expect("a list");
    groups.sort();
    assert_eq!(groups, ["a", "c"]);
    assert!(!handle.uid("42").is_online().await.expect("answered"));
    assert_eq!(handle.group("a").count().await.expect("answered").total, 0);
}

/// Proves that a closing client which reads slowly, but reads, has the time for all that was sent
/// before: its mailbox, the last message and the close code.
///
/// The pace is the point: a gateway that gives a closing connection 5 s over all, rather than 5 s
/// without progress, cuts this one. There is more than the kernels keep, so that the gateway still
/// holds some of it when 5 s are over.
#[tokio::test]
async fn a_slow_but_steady_reader_gets_its_whole_mailbox_and_then_the_close() {
    const SIZE: usize = 16 * 1024;
    const PORTIONS: usize = 128;
    const PORTION: usize = 8;
    /// All portions take 7 s.
    const PACE: Duration = Duration::from_millis(55);
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--mailbox", "32MiB")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let client = Client::to(gateway.port(), "/").receive_buffer(64 * 1024);
    let mut client = client.connect().await;
    let id = client.id().await;

    let bus = nats.client().await;
    let (gateway_id, conn) = id.split_at(12);
    let subject = nats.subject(&format!("client.{gateway_id}.{conn}"));
    let mut raw = HeaderMap::new();
    raw.insert(wire::subject::RAW_HEADER, "text");
    for n in 0..PORTIONS * PORTION {
        let text = format!("{n:0SIZE$}");
        bus.publish_with_headers(subject.clone(), raw.clone(), text.into())
            .await
            .expect("a subject");
    }
    let close = Request::command(Command::Close {
        code: 4001,
        reason: "R".into(),
        message: Some(wire::Payload::Text("bye".into())),
    });
    bus.publish(subject, wire::encode(&close).into())
        .await
        .expect("a subject");
    assert_eq!(close_of(&journal, &id).await.details["code"], 4001);

    let mut pace = tokio::time::interval(PACE);
    for portion in 0..PORTIONS {
        pace.tick().await;
        for n in portion * PORTION..(portion + 1) * PORTION {
            client.expect(&format!("{n:0SIZE$}")).await;
        }
    }
    client.expect("bye").await;
    assert_eq!(client.next().await, Err(End::Closed(4001, "R".into())));
}

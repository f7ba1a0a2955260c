//! Raw sends: a message with the header `Gatebus-Raw`, from any NATS client in any language.

use async_nats::HeaderMap;
use gatebus_tests::{Client, Gateway, Journal, Nats, Worker};
use tokio_tungstenite::tungstenite::Message;
use wire::subject::RAW_HEADER;

fn raw(kind: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(RAW_HEADER, kind);
    headers
}

/// Proves `nats pub -H Gatebus-Raw:text <p>.group.lobby hello`, on each target.
#[tokio::test]
async fn a_raw_send_reaches_every_target_from_a_plain_nats_client() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let bus = nats.client().await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("bind 42").await, "bound 42");
    assert_eq!(client.ask("join lobby").await, "joined lobby");
    assert_eq!(client.ask("join a.b").await, "joined a.b");
    let id = client.id().await;
    let (gateway_id, conn) = id.split_at(12);
    let own = format!("client.{gateway_id}.{conn}");
    for subject in [own.as_str(), "uid.42", "group.lobby", "group.~YS5i", "all"] {
        let subject = nats.subject(subject);
        let text = format!("for {subject}");
        bus.publish_with_headers(subject.clone(), raw("text"), text.clone().into())
            .await
            .expect("a subject");
        client.expect(&text).await;
        bus.publish_with_headers(subject, raw("binary"), vec![0, 255].into())
            .await
            .expect("a subject");
        assert_eq!(client.binary().await, [0, 255].as_slice());
    }
}

/// Proves that a raw send goes to members only, and to all of them, on any gateway.
#[tokio::test]
async fn a_raw_send_reaches_all_members_and_nobody_else() {
    let nats = Nats::start().await;
    let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let bus = nats.client().await;
    let mut members = Vec::new();
    for gateway in &gateways {
        for mut client in Client::connect_many(gateway, 5).await {
            assert_eq!(client.ask("join lobby").await, "joined lobby");
            members.push(client);
        }
    }
    let mut stranger = Client::connect(&gateways[0]).await;
    assert_eq!(stranger.ask("join another").await, "joined another");
    let subject = nats.subject("group.lobby");
    bus.publish_with_headers(subject, raw("text"), "hello".into())
        .await
        .expect("a subject");
    for member in &mut members {
        member.expect("hello").await;
    }
    assert_eq!(stranger.ask("fence").await, "fence");
}

/// Proves that text must be text here too: a client is never sent a text frame that is none.
#[tokio::test]
async fn a_raw_text_that_is_not_utf8_or_of_an_unknown_kind_is_counted_and_dropped() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats).option("--shards", "1").start().await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let bus = nats.client().await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("join lobby").await, "joined lobby");
    let subject = nats.subject("group.lobby");
    for (kind, body) in [("text", b"\xff".as_slice()), ("poem", b"roses")] {
        bus.publish_with_headers(subject.clone(), raw(kind), body.into())
            .await
            .expect("a subject");
    }
    bus.publish_with_headers(subject, raw("binary"), b"\xff".as_slice().into())
        .await
        .expect("a subject");
    assert_eq!(client.next().await, Ok(Message::binary(vec![255])));
    assert_eq!(
        gateway
            .metric("gatebus_gateway_malformed_messages_total", "")
            .await,
        2.0
    );
}

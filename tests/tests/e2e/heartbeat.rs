//! Heartbeats: who is silent is asked, and who stays silent is let go.

use std::time::Duration;

use gatebus_tests::{Client, Entry, Gateway, Journal, Nats, Worker, client::End, within};
use tokio_tungstenite::tungstenite::Message;

/// Proves that a silent client is pinged, and that answering is enough to stay.
#[tokio::test]
async fn a_silent_client_is_pinged_and_its_pong_keeps_it() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--ping-interval", "200ms")
        .option("--ping-misses", "1")
        .start()
        .await;
    let mut client = Client::connect(&gateway).await;
    // The client's library answers each ping when it reads on; one miss would end this.
    for _ in 0..6 {
        let frame = client.next_frame().await;
        assert!(matches!(frame, Message::Ping(_)), "{frame:?}");
    }
}

/// Proves that a client which is there no more, though its connection stands, is found out.
#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed_with_4007() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--ping-interval", "200ms")
        .option("--ping-misses", "2")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    // It reads nothing, so its library answers nothing.
    let client = Client::connect(&gateway).await;
    let close = journal.find("close", |e: &Entry| e.kind == "close").await;
    assert_eq!(close.details["code"], 4007);
    assert_eq!(close.details["by"], "gateway");
    assert_eq!(
        client.expect_close(4007).await,
        wire::CloseCode::Heartbeat.reason()
    );
}

/// Proves that an application's own ping is a text message, and that any byte counts as life.
#[tokio::test]
async fn an_application_ping_is_a_text_and_any_message_is_a_sign_of_life() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--ping-interval", "200ms")
        .option("--ping-misses", "2")
        .option("--ping-data", r#"{"type":"ping"}"#)
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    for _ in 0..5 {
        client.expect(r#"{"type":"ping"}"#).await;
        client.send("quiet pong").await;
    }
    // From here on it says nothing.
    assert_eq!(
        client.end().await,
        End::Closed(4007, wire::CloseCode::Heartbeat.reason().into())
    );
}

/// Proves that `off` is off, and not zero: nothing comes before a fence that comes a second later.
#[tokio::test]
async fn with_the_heartbeat_off_a_silent_client_is_left_alone() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--ping-interval", "off")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    client.send("sleep 1000").await;
    let frame = within("the first frame", client.next_frame()).await;
    assert_eq!(frame, Message::text("slept 1000"));
}

/// Proves that only silence counts: a client that talks is not pinged.
#[tokio::test]
async fn a_client_that_talks_is_not_pinged() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--ping-interval", "3s")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    for n in 0..16 {
        tick.tick().await;
        client.send(n.to_string()).await;
        assert_eq!(client.next_frame().await, Message::text(n.to_string()));
    }
}

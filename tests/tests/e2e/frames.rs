//! Frames: what a client sends arrives as what it is, and WebSocket's own matters are the gateway's.

use gatebus_tests::{Client, Gateway, Journal, Nats, Worker};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::Data};

/// Proves that the frame type is the payload's type, in both directions.
#[tokio::test]
async fn text_stays_text_and_binary_stays_binary() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    let every_byte: Vec<u8> = (0..=255).collect();
    for message in [
        Message::text("plain"),
        Message::text("süß, 語, 🦀"),
        Message::binary(every_byte),
        Message::binary(b"looks like text".to_vec()),
        Message::text(""),
        Message::text("a\0b\r\n"),
    ] {
        client.send(message.clone()).await;
        assert_eq!(client.next().await, Ok(message));
    }
}

/// Proves that a message is what its frames make together, even when a character is cut in two and
/// a ping comes in between.
#[tokio::test]
async fn a_fragmented_message_arrives_whole() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    let crab = "🦀".as_bytes();
    client.send_frame(Data::Text, &crab[..2], false).await;
    client.send(Message::Ping("between".into())).await;
    client
        .send_frame(Data::Continue, b"".as_slice(), false)
        .await;
    client.send_frame(Data::Continue, &crab[2..], true).await;
    assert_eq!(client.next_frame().await, Message::Pong("between".into()));
    client.expect("🦀").await;
    client
        .send_frame(Data::Binary, b"\x01".as_slice(), false)
        .await;
    client
        .send_frame(Data::Continue, b"\x02".as_slice(), true)
        .await;
    assert_eq!(client.binary().await, b"\x01\x02".as_slice());
    assert_eq!(journal.texts(), ["🦀", "0102"]);
}

/// Proves that the gateway answers pings by itself: no worker hears of them.
#[tokio::test]
async fn a_ping_is_answered_with_its_own_data() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    for data in ["", "are you there?"] {
        client.send(Message::Ping(data.into())).await;
        assert_eq!(client.next_frame().await, Message::Pong(data.into()));
    }
}

/// Proves that an extension which the gateway does not speak is not accepted, so that a browser which
/// offers compression sends plain frames.
#[tokio::test]
async fn no_extension_is_negotiated_and_an_offered_subprotocol_is_taken() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::to(gateway.port(), "/")
        .header(
            "Sec-WebSocket-Extensions",
            "permessage-deflate; client_max_window_bits",
        )
        .header("Sec-WebSocket-Protocol", "chat.v2, chat.v1")
        .connect()
        .await;
    let headers = client.response().headers();
    assert!(headers.get("sec-websocket-extensions").is_none());
    assert_eq!(headers["sec-websocket-protocol"], "chat.v2");
    assert_eq!(client.ask("plain").await, "plain");
}

/// Proves that the largest message passes in both directions with the defaults as they are.
#[tokio::test]
async fn a_message_of_256_kib_comes_back() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    let large = bytes::Bytes::from(vec![7; 256 * 1024]);
    for _ in 0..4 {
        client.send(Message::Binary(large.clone())).await;
    }
    for _ in 0..4 {
        assert_eq!(client.binary().await, large);
    }
}

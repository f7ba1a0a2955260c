//! Bad input: each kind has its answer, and nobody else notices.

use gatebus_tests::{
    Client, Gateway, Journal, Nats, Worker, client::End, http, socket::upgraded, within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::Data};

/// A gateway with a worker, and a neighbour who is served before and after.
struct Street {
    nats: Nats,
    gateway: Gateway,
    journal: Journal,
    _worker: Worker,
    neighbour: Client,
}

impl Street {
    async fn new(options: &[(&str, &str)]) -> Self {
        let nats = Nats::start().await;
        let mut gateway = Gateway::with(&nats);
        for (name, value) in options {
            gateway = gateway.option(name, value);
        }
        let gateway = gateway.start().await;
        let journal = Journal::new();
        let worker = Worker::start(&nats, &journal).await;
        let mut neighbour = Client::connect(&gateway).await;
        assert_eq!(neighbour.ask("hello").await, "hello");
        Self {
            nats,
            gateway,
            journal,
            _worker: worker,
            neighbour,
        }
    }

    /// Nothing of what happened has harmed the neighbour.
    async fn end_unharmed(mut self) {
        assert_eq!(self.neighbour.ask("still here").await, "still here");
    }
}

/// Proves that text is text: what is not UTF-8 never reaches a worker.
#[tokio::test]
async fn text_that_is_not_utf8_closes_with_1007() {
    let street = Street::new(&[]).await;
    let mut client = Client::connect(&street.gateway).await;
    client
        .send_frame(Data::Text, b"\xff\xfe".as_slice(), true)
        .await;
    assert_eq!(
        client.expect_close(1007).await,
        wire::CloseCode::InvalidText.reason()
    );
    let mut client = Client::connect(&street.gateway).await;
    client
        .send_frame(Data::Text, b"caf\xc3".as_slice(), false)
        .await;
    client
        .send_frame(Data::Continue, b"(".as_slice(), true)
        .await;
    client.expect_close(1007).await;
    assert_eq!(street.journal.texts(), ["hello"]);
    street.end_unharmed().await;
}

/// Proves the limit at its edge, in one frame and in several.
#[tokio::test]
async fn a_message_over_the_limit_closes_with_1009_and_one_at_the_limit_passes() {
    let street = Street::new(&[("--max-message", "4KiB")]).await;
    let mut client = Client::connect(&street.gateway).await;
    let full = "x".repeat(4096);
    assert_eq!(client.ask(full.clone()).await, full);
    client.send(format!("{full}y")).await;
    assert_eq!(
        client.expect_close(1009).await,
        wire::CloseCode::TooBig.reason()
    );
    let mut client = Client::connect(&street.gateway).await;
    client.send_frame(Data::Binary, vec![0; 4000], false).await;
    client.send_frame(Data::Continue, vec![0; 97], true).await;
    client.expect_close(1009).await;
    street.end_unharmed().await;
}

/// Proves that a frame which only claims to be huge costs no memory.
#[tokio::test]
async fn a_frame_that_claims_a_huge_length_is_refused_by_its_header() {
    let street = Street::new(&[]).await;
    let mut stream = upgraded(&street.gateway).await;
    // A masked binary frame of 2^62 bytes, of which none ever comes.
    let header = [0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    stream.write_all(&header).await.expect("it listens");
    let code = close_code(&mut stream).await;
    assert_eq!(code, 1009);
    street.end_unharmed().await;
}

/// Proves that breaking the protocol is noticed: RFC 6455 wants masked frames from clients, known
/// opcodes, and no reserved bits without an extension.
#[tokio::test]
async fn broken_frames_close_with_1002() {
    let street = Street::new(&[]).await;
    for broken in [
        [0x81, 0x01, b'a'].as_slice(),
        &[0x83, 0x80, 1, 2, 3, 4],
        &[0xc1, 0x80, 1, 2, 3, 4],
        &[0x80, 0x80, 1, 2, 3, 4],
    ] {
        let mut stream = upgraded(&street.gateway).await;
        stream.write_all(broken).await.expect("it listens");
        assert_eq!(close_code(&mut stream).await, 1002, "{broken:02x?}");
    }
    street.end_unharmed().await;
}

/// Proves that a browser or a health check that comes to the wrong port is told what is spoken here.
#[tokio::test]
async fn a_plain_http_request_gets_426() {
    let street = Street::new(&[]).await;
    let answer = http::get(street.gateway.port(), "/").await;
    assert_eq!(answer.status, 426, "{}", answer.head);
    let head = answer.head.to_ascii_lowercase();
    assert!(head.contains("upgrade: websocket"), "{head}");
    assert!(head.contains("sec-websocket-version: 13"), "{head}");
    street.end_unharmed().await;
}

/// Proves that whoever connects and does not get to the point is cut off.
#[tokio::test]
async fn a_handshake_that_dawdles_is_cut_after_its_time_limit() {
    let street = Street::new(&[("--handshake-timeout", "500ms")]).await;
    let port = street.gateway.port();
    let mut silent = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("it listens");
    let mut slow = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("it listens");
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n")
        .await
        .expect("it listens");
    for stream in [&mut silent, &mut slow] {
        let mut rest = Vec::new();
        let cut = stream.read_to_end(&mut rest);
        // A reset is a cut too.
        let _ = within("the cut", cut).await;
    }
    street.end_unharmed().await;
}

/// Proves that what is no HTTP at all, or has no end, does not get far.
#[tokio::test]
async fn nonsense_in_the_place_of_a_handshake_is_refused() {
    let street = Street::new(&[]).await;
    let endless = format!("GET / HTTP/1.1\r\nX: {}\r\n", "y".repeat(64 * 1024));
    for nonsense in [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n".as_slice(),
        endless.as_bytes(),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", street.gateway.port()))
            .await
            .expect("it listens");
        // The gateway may have had enough before it has read it all.
        let _ = stream.write_all(nonsense).await;
        let mut answer = Vec::new();
        let _ = within("an answer", stream.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"HTTP/1.1 101"));
    }
    street.end_unharmed().await;
}

/// Proves that nobody on the bus can bring a gateway down with bytes.
#[tokio::test]
async fn a_malformed_payload_from_nats_is_counted_and_dropped() {
    let mut street = Street::new(&[]).await;
    let id = street.neighbour.id().await;
    assert_eq!(street.neighbour.ask("join lobby").await, "joined lobby");
    assert_eq!(street.neighbour.ask("bind 42").await, "bound 42");
    let (gateway, conn) = id.split_at(12);
    let bus = street.nats.client().await;
    let subjects = [
        format!("client.{gateway}.{conn}"),
        format!("client.{gateway}.nonsense"),
        "group.lobby".into(),
        "uid.42".into(),
        "all".into(),
        format!("ack.{gateway}"),
        format!("ack.{gateway}.{conn}"),
        format!("gateway.{gateway}"),
    ];
    let deep = vec![0x81; 10_000];
    for subject in &subjects {
        for bytes in [b"\xff\xff\xff".as_slice(), b"", b"\xa1", b"not cbor", &deep] {
            let subject = street.nats.subject(subject);
            bus.publish(subject, bytes::Bytes::copy_from_slice(bytes))
                .await
                .expect("a subject");
        }
    }
    bus.flush().await.expect("the server is there");
    let malformed = "gatebus_gateway_malformed_messages_total";
    street
        .gateway
        .wait_metric(malformed, "", subjects.len() as f64)
        .await;
    street.end_unharmed().await;
}

/// Proves that a worker, too, survives what anybody may publish.
#[tokio::test]
async fn a_malformed_event_does_not_take_a_worker_down() {
    let street = Street::new(&[]).await;
    let bus = street.nats.client().await;
    for kind in ["connect", "websocket", "message", "close", "nonsense"] {
        let subject = street.nats.subject(&format!("event.test.{kind}"));
        for bytes in ["", "nonsense", "\u{1}"] {
            bus.publish(subject.clone(), bytes.into())
                .await
                .expect("a subject");
        }
    }
    bus.flush().await.expect("the server is there");
    street.end_unharmed().await;
}

/// Proves that a text frame without a byte is a message like any other.
#[tokio::test]
async fn an_empty_message_is_a_message() {
    let street = Street::new(&[]).await;
    let mut client = Client::connect(&street.gateway).await;
    assert_eq!(client.ask("").await, "");
    client.send(Message::Binary(bytes::Bytes::new())).await;
    assert!(client.binary().await.is_empty());
    street.end_unharmed().await;
}

/// Proves that the number of connections has a limit of its own, and that one beyond is told so.
#[tokio::test]
async fn a_connection_over_the_limit_is_refused_with_503() {
    let mut street = Street::new(&[("--max-connections", "2")]).await;
    let second = Client::connect(&street.gateway).await;
    let refused = Client::to(street.gateway.port(), "/").try_connect().await;
    match refused {
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
            assert_eq!(answer.status(), 503);
        }
        other => panic!("expected 503, got {other:?}"),
    }
    assert_eq!(
        second.close(1000, "").await,
        End::Closed(1000, String::new())
    );
    // There is room again when the gateway has noticed.
    gatebus_tests::eventually("room for another", || async {
        Client::to(street.gateway.port(), "/")
            .try_connect()
            .await
            .ok()
    })
    .await;
    assert_eq!(street.neighbour.ask("still here").await, "still here");
}

/// The code of the close frame that ends a connection.
async fn close_code(stream: &mut TcpStream) -> u16 {
    let mut frame = [0; 4];
    within("a close frame", stream.read_exact(&mut frame))
        .await
        .expect("a close frame");
    assert_eq!(frame[0], 0x88, "{frame:02x?}");
    u16::from_be_bytes([frame[2], frame[3]])
}

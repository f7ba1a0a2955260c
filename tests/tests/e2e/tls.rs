//! TLS at the gateway: who shakes hands, what ends a connection, and certificates that change.
//!
//! That order and delivery are the same with TLS is proved in `protocols.rs`, over both.

use gatebus_tests::{
    Bare, Certificates, Client, Entry, Gateway, Journal, Nats, Worker,
    client::End,
    eventually, gateway, http,
    tls::{secure, shown},
    within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::rustls::{HandshakeKind, ProtocolVersion};

const REFUSED: &str = "gatebus_gateway_handshakes_refused_total";
const RELOADS: &str = "gatebus_gateway_certificate_reloads_total";
const EXPIRES: &str = "gatebus_gateway_certificate_expiry_timestamp_seconds";

fn with_tls(nats: &Nats, protocol: &str, certificates: &Certificates) -> gateway::Options {
    let tls = certificates.query();
    Gateway::with(nats).listen(format!("{protocol}://127.0.0.1:0?service=test&{tls}"))
}

async fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).await;
    stream.expect("it listens")
}

async fn the_close(journal: &Journal, n: usize) -> Entry {
    journal.wait("close", n, |e| e.kind == "close").await[n - 1].clone()
}

/// Proves what a client negotiates: a new TLS, HTTP/1.1, and a session that it may come back to.
#[tokio::test]
async fn a_client_negotiates_tls_13_and_http_11_and_resumes_its_session() {
    let nats = Nats::start().await;
    let certificates = Certificates::new();
    let gateway = with_tls(&nats, "websocket", &certificates).start().await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let connector = certificates.connector(&["h2", "http/1.1"]);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let stream = secure(&connector, tcp(gateway.port()).await).await;
        let mut stream = stream.expect("TLS");
        let tls = stream.get_ref().1;
        assert_eq!(tls.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(tls.alpn_protocol(), Some(b"http/1.1".as_slice()));
        assert_eq!(tls.handshake_kind(), Some(kind));
        // its answer comes after the ticket
        stream.write_all(b"nonsense\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        let read = within("an answer", stream.read_to_string(&mut answer)).await;
        read.expect("an end that is no cut");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let mut client = Client::to(gateway.port(), "/").tls(connector);
    client = client.header("X-Forwarded-For", "203.0.113.7");
    let mut client = client.connect().await;
    assert_eq!(
        client.who_am_i().await["remote"],
        client.address().to_string()
    );

    let only_h2 = certificates.connector(&["h2"]);
    let refused = secure(&only_h2, tcp(gateway.port()).await).await;
    refused.expect_err("it does not speak HTTP/2");
    gateway.wait_metric(REFUSED, "\"tls\"", 1.0).await;
    assert_eq!(gateway.metric(REFUSED, "\"handshake\"").await, 2.0);
}

/// Proves that who does not speak TLS, or does not believe us, or says nothing, is turned away and
/// counted by what it did, and costs nobody else anything.
#[tokio::test]
async fn who_does_not_shake_hands_is_turned_away_and_costs_nobody_anything() {
    let nats = Nats::start().await;
    let certificates = Certificates::new();
    let gateway = with_tls(&nats, "text", &certificates)
        .option("--handshake-timeout", "1s")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Bare::over(certificates.connect(gateway.port()).await);
    assert_eq!(client.ask("first").await, "first");

    let mut silent = tcp(gateway.port()).await;
    let mut halting = tcp(gateway.port()).await;
    halting
        .write_all(b"\x16\x03\x01\x02\x00\x01")
        .await
        .expect("sent");
    assert!(
        http::try_get(gateway.port(), "/").await.is_none(),
        "no HTTP"
    );
    gateway.wait_metric(REFUSED, "\"tls\"", 1.0).await;
    let stranger = Certificates::new().connector(&[]);
    let doubt = secure(&stranger, tcp(gateway.port()).await).await;
    doubt.expect_err("another authority");
    gateway.wait_metric(REFUSED, "\"tls\"", 2.0).await;
    drop(tcp(gateway.port()).await);
    gateway.wait_metric(REFUSED, "\"gone\"", 1.0).await;
    assert_eq!(client.ask("still here").await, "still here");
    for stream in [&mut silent, &mut halting] {
        let end = within("their time to be over", stream.read_u8()).await;
        end.expect_err("the end");
    }
    gateway.wait_metric(REFUSED, "\"slow\"", 2.0).await;
    assert_eq!(client.ask("last").await, "last");
    assert_eq!(journal.of("connect").len(), 1, "nobody else was a client");
}

/// Proves the ends of a connection: each side's goodbye is TLS's own, after everything that was said
/// before it, and a connection that ends without one was cut.
#[tokio::test]
async fn a_goodbye_is_tlss_own_and_an_end_without_one_is_a_cut() {
    let nats = Nats::start().await;
    let certificates = Certificates::new();
    let gateway = with_tls(&nats, "text", &certificates).start().await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;

    let mut client = Bare::over(certificates.connect(gateway.port()).await);
    client.send("quiet one\nquiet two\n").await;
    client.shut_down().await;
    assert_eq!(client.end().await.expect("a goodbye in turn"), b"");
    assert_eq!(the_close(&journal, 1).await.details["code"], 1005);
    assert_eq!(journal.texts(), ["quiet one", "quiet two"]);

    let mut stream = certificates.connect(gateway.port()).await;
    stream.write_all(b"quiet three\n").await.expect("sent");
    stream.flush().await.expect("sent");
    stream.get_mut().0.shutdown().await.expect("it stands");
    let close = the_close(&journal, 2).await;
    assert_eq!(
        (&close.details["by"], &close.details["code"]),
        (&"client".into(), &1006.into())
    );
    assert_eq!(
        journal.texts()[2],
        "quiet three",
        "what came before it counts"
    );

    // What is no record, in the midst of a session.
    let mut stream = certificates.connect(gateway.port()).await;
    stream.write_all(b"hello\n").await.expect("sent");
    stream.flush().await.expect("sent");
    within("the echo", stream.read_exact(&mut [0; 6]))
        .await
        .expect("an echo");
    stream.get_mut().0.write_all(&[7; 100]).await.expect("sent");
    let end = within("the end", stream.read_u8())
        .await
        .expect_err("an alert");
    assert!(end.to_string().contains("alert"), "{end}");
    assert_eq!(the_close(&journal, 3).await.details["code"], 1006);
}

/// Proves the same for WebSocket, whose own goodbye comes first.
#[tokio::test]
async fn websocket_says_goodbye_before_tls_does() {
    let nats = Nats::start().await;
    let certificates = Certificates::new();
    let gateway = with_tls(&nats, "websocket", &certificates)
        .option("--mailbox", "256KiB")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let connect = async || {
        let client = Client::to(gateway.port(), "/").tls(certificates.connector(&[]));
        client.receive_buffer(4096).connect().await
    };
    let client = connect().await;
    assert_eq!(
        client.close(4999, "bye").await,
        End::Closed(4999, "bye".into())
    );
    assert_eq!(the_close(&journal, 1).await.details["code"], 4999);

    let mut client = connect().await;
    client.send("flood 200 1000").await;
    client.send("close 4001 bye").await;
    for n in 0..200 {
        client.expect(&format!("{n:01000}")).await;
    }
    for text in ["one", "two", "bye"] {
        client.expect(text).await;
    }
    assert_eq!(client.next().await, Err(End::Closed(4001, "R".into())));

    // Who does not read is let go, and can learn why.
    let mut sleeper = connect().await;
    let id = sleeper.id().await;
    let mut other = connect().await;
    let before = gateway.memory();
    for round in 0.. {
        assert!(round < 400, "a mailbox has no end");
        for _ in 0..8 {
            other
                .send(format!("to-client {id} {}", "x".repeat(16 * 1024)))
                .await;
        }
        assert_eq!(other.ask("still here").await, "still here");
        if journal.of("close").iter().any(|e| e.client == id) {
            break;
        }
    }
    let grown = gateway.memory().saturating_sub(before);
    // the kernel gives memory in pages of 2 MiB
    assert!(grown < 16 * 1024 * 1024, "grew by {grown} bytes");
    assert_eq!(
        sleeper.expect_close(4008).await,
        wire::CloseCode::SlowClient.reason()
    );
}

/// Proves that a new certificate reaches new connections and leaves the old ones alone, and that one
/// that cannot be used never takes the place of one that can.
#[tokio::test]
async fn a_certificate_that_changes_reaches_new_connections_and_a_broken_one_nobody() {
    let nats = Nats::start().await;
    let certificates = Certificates::new();
    let first = certificates.renew();
    let gateway = with_tls(&nats, "text", &certificates).start().await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let port = gateway.port();
    let stream = certificates.connect(port).await;
    assert_eq!(shown(&stream), first.bytes);
    let mut old = Bare::over(stream);
    assert_eq!(old.ask("before").await, "before");
    let listener = format!("listener=\"text://127.0.0.1:{port}\"");
    assert!(gateway.metric(EXPIRES, &listener).await > 1_700_000_000.0);

    let second = certificates.renew();
    gateway.wait_metric(RELOADS, "\"renewed\"", 1.0).await;
    assert_eq!(shown(&certificates.connect(port).await), second.bytes);
    assert_eq!(old.ask("after").await, "after");

    std::fs::write(certificates.cert(), &first.certificate).expect("a file");
    gateway.wait_metric(RELOADS, "\"broken\"", 1.0).await;
    let said = "the old one stays";
    let complaint = |line: &str| line.contains(said).then(|| line.to_owned());
    let line = gateway.log.find(said, complaint).await;
    assert!(
        line.contains(certificates.cert().to_str().expect("text")),
        "{line}"
    );
    assert!(line.contains("do not belong together"), "{line}");
    assert_eq!(shown(&certificates.connect(port).await), second.bytes);

    let third = certificates.renew();
    gateway.wait_metric(RELOADS, "\"renewed\"", 2.0).await;
    eventually("the third certificate", || async {
        (shown(&certificates.connect(port).await) == third.bytes).then_some(())
    })
    .await;
    assert_eq!(gateway.log.count(said), 1, "it is said once");
    assert_eq!(old.ask("at last").await, "at last");
}

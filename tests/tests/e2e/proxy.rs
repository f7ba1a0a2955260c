//! The PROXY protocol: an address is believed where it was asked for, and nowhere else.

use gatebus_tests::{
    Bare, Certificates, Client, Entry, Gateway, Journal, Nats, Worker, tls, within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 10.0.0.1 51234 443\r\n";
const V1_UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24\
    \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\xc8\x22\x01\xbb";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const REFUSED: &str = "gatebus_gateway_handshakes_refused_total";

/// A client behind a proxy that says this first, and its own address.
async fn behind(header: &[u8], port: u16, certificates: Option<&Certificates>) -> (Bare, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("it listens");
    let own = stream.local_addr().expect("connected").to_string();
    stream.write_all(header).await.expect("sent");
    let client = match certificates {
        Some(certificates) => {
            let secured = tls::secure(&certificates.connector(&[]), stream).await;
            Bare::over(secured.expect("TLS behind the header"))
        }
        None => Bare::over(stream),
    };
    (client, own)
}

async fn connect(journal: &Journal, n: usize) -> Entry {
    journal.wait("connect", n, |e| e.kind == "connect").await[n - 1].clone()
}

/// Proves both versions, before the protocol and before TLS, and that a proxy's own connections have
/// its own address.
#[tokio::test]
async fn the_address_is_the_one_that_the_proxy_says_with_and_without_tls() {
    let nats = Nats::start().await;
    let certificates = Certificates::new();
    let gateway = Gateway::with(&nats)
        .listen("text://127.0.0.1:0?service=test&proxy=required")
        .listen(format!(
            "text://127.0.0.1:0?service=test&proxy=required&{}",
            certificates.query()
        ))
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut seen = 0;
    for (port, tls) in gateway.ports().iter().zip([None, Some(&certificates)]) {
        for (header, said) in [
            (V1, Some("203.0.113.7:51234")),
            (V2, Some("[2001:db8::7]:51234")),
            (V1_UNKNOWN, None),
            (V2_LOCAL, None),
        ] {
            let (mut client, own) = behind(header, *port, tls).await;
            assert_eq!(client.ask("hello").await, "hello");
            seen += 1;
            let connect = connect(&journal, seen).await;
            assert_eq!(connect.remote, said.unwrap_or(&own));
        }
    }
}

/// Proves that what the proxy says stands in the place of the socket's address, also for the
/// question whether `X-Forwarded-For` is to be believed.
#[tokio::test]
async fn x_forwarded_for_is_believed_if_the_address_that_the_proxy_says_is_trusted() {
    for (trusted, expected) in [
        ("127.0.0.0/8", "203.0.113.7:51234"),
        ("203.0.113.0/24", "198.51.100.1:0"),
    ] {
        let nats = Nats::start().await;
        let gateway = Gateway::with(&nats)
            .listen("websocket://127.0.0.1:0?service=test&proxy=required")
            .option("--trusted-proxies", trusted)
            .start()
            .await;
        let journal = Journal::new();
        let _worker = Worker::start(&nats, &journal).await;
        let client = Client::to(gateway.port(), "/").preamble(V1);
        let client = client.header("X-Forwarded-For", "198.51.100.1");
        let mut client = client.connect().await;
        assert_eq!(
            client.who_am_i().await["remote"],
            expected,
            "trusted: {trusted}"
        );
    }
}

/// Proves that who has no header, or a wrong one, or half of one, does not become a client.
#[tokio::test]
async fn without_a_header_there_is_no_client_and_it_is_counted() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .listen("text://127.0.0.1:0?service=test&proxy=required")
        .option("--handshake-timeout", "1s")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    let mut refused = 0.0;
    for bad in [
        b"hello\n".as_slice(),
        b"\r\n\r\n\0\r\nQUIT\n\x31\0\0\0",
        &endless,
    ] {
        let (mut client, _) = behind(bad, gateway.port(), None).await;
        let _ = client.end().await;
        refused += 1.0;
        gateway
            .wait_metric(REFUSED, "\"proxy_header\"", refused)
            .await;
    }
    let mut halting = TcpStream::connect(("127.0.0.1", gateway.port()))
        .await
        .expect("it listens");
    halting.write_all(&V2[..20]).await.expect("sent");
    let end = within("its time to be over", halting.read_u8()).await;
    end.expect_err("the end");
    gateway.wait_metric(REFUSED, "\"slow\"", 1.0).await;
    let (mut client, _) = behind(V1, gateway.port(), None).await;
    assert_eq!(client.ask("hello").await, "hello");
    assert_eq!(journal.of("connect").len(), 1);
}

/// Proves that a listener which was not asked to takes a header for what its protocol makes of it.
#[tokio::test]
async fn a_header_is_not_believed_where_nobody_asked_for_it() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .listen("text://127.0.0.1:0?service=test")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let (mut client, own) = behind(V1, gateway.port(), None).await;
    assert_eq!(
        client.line().await,
        "PROXY TCP4 203.0.113.7 10.0.0.1 51234 443"
    );
    assert_eq!(connect(&journal, 1).await.remote, own);
}

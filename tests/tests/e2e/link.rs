//! The link: what the NATS server, and anybody on the bus, can do to a gateway's connection.

use std::time::Duration;

use gatebus_tests::{Client, Gateway, Journal, Nats, Worker, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout_at},
};

const LOST: &str = "gatebus_gateway_link_lost_total";

/// Proves that the batches of a client that pipelines fit the server's limit, over which it would
/// close the connection of all clients.
#[tokio::test]
async fn batches_stay_below_the_servers_max_payload() {
    const MANY: usize = 50;
    const SIZE: usize = 4_000;
    let nats = Nats::start_guarded("max_payload: 131072").await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let mut worker = Worker::start(&nats, &journal).await;
    let (mut sender, mut receiver) = Client::connect(&gateway).await.split();
    sender.send("hold gate").await;
    journal.find("held", |e| e.kind == "held").await;
    for n in 0..MANY {
        sender.send(format!("{n:0SIZE$}")).await;
    }
    let received = "gatebus_gateway_received_messages_total";
    gateway.wait_metric(received, "", (MANY + 1) as f64).await;
    worker.open("gate").await;

    assert_eq!(receiver.text().await, "released gate");
    for n in 0..MANY {
        assert_eq!(receiver.text().await, format!("{n:0SIZE$}"));
    }
    sender.send("fence").await;
    assert_eq!(receiver.text().await, "fence");
    assert_eq!(journal.texts().len(), MANY + 2, "each once");
    assert_eq!(gateway.metric(LOST, "").await, 0.0);
}

/// A bare connection to the server, which lets through what no NATS library would send.
struct BarePublisher(TcpStream);

impl BarePublisher {
    async fn connect(nats: &Nats) -> Self {
        let url = nats.url();
        let address = url.strip_prefix("nats://").expect("without TLS");
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let connect = b"CONNECT {\"verbose\":false,\"headers\":true}\r\n";
        stream.write_all(connect).await.expect("it listens");
        Self(stream)
    }

    /// Publishes, as the line and the body say.
    async fn publish(&mut self, line: &[u8], body: &[u8]) {
        let message = [line, b"\r\n", body, b"\r\n"].concat();
        self.0.write_all(&message).await.expect("it listens");
    }

    /// Publishes with this header block, on which nobody has looked.
    async fn publish_with_headers(&mut self, subject: &str, headers: &[u8], body: &[u8]) {
        let (head, all) = (headers.len(), headers.len() + body.len());
        let line = format!("HPUB {subject} {head} {all}");
        let body = [headers, body].concat();
        self.publish(line.as_bytes(), &body).await;
    }

    /// Waits until the server has passed everything on, and finds that it had no objection.
    async fn flush(mut self) {
        self.0.write_all(b"PING\r\n").await.expect("it listens");
        let mut said = Vec::new();
        while !said.ends_with(b"PONG\r\n") {
            let byte = within("the server's PONG", self.0.read_u8()).await;
            said.push(byte.expect("it does not hang up"));
        }
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains("-ERR"), "{said}");
    }
}

/// Proves that nobody on the bus can cut a gateway off with a message that the server passes on and
/// a strict reader chokes on.
#[tokio::test]
async fn odd_messages_do_not_cut_the_link() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats).option("--shards", "1").start().await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    let (gateway_id, conn) = id.split_at(12);
    let (all, own) = (
        nats.subject("all"),
        nats.subject(&format!("client.{gateway_id}")),
    );
    let ack = nats.subject(&format!("ack.{gateway_id}.{conn}"));

    let mut publisher = BarePublisher::connect(&nats).await;
    let mut malformed = 0.0;
    for headers in [
        b"NATS/1.0\r\nno colon\r\n\r\n".as_slice(),
        b"NATS/1.0 abc\r\n\r\n",
        b"NATS/1.0 \xff\xff\xff\r\n\r\n",
        b"NATS/1.0\r\n\xff: \xff\r\n\r\n",
        b"not even that",
        b"\r\n",
    ] {
        for subject in [&all, &ack, &format!("{own}.{conn}")] {
            publisher.publish_with_headers(subject, headers, b"x").await;
            malformed += 1.0;
        }
    }
    // One that cannot be understood, and one that has to be answered.
    let count = wire::encode(&wire::Request::query(wire::Query::Count));
    let line = |subject: &str, end: &[u8]| [b"PUB ", subject.as_bytes(), end].concat();
    publisher.publish(&line(&all, b" \xff 1"), b"x").await;
    let size = format!(" {}", count.len());
    let end = [b" \xff".as_slice(), size.as_bytes()].concat();
    publisher.publish(&line(&all, &end), &count).await;
    publisher.publish(&line(&own, b".\xff 1"), b"x").await;
    publisher.publish(&line(&own, b".\xc3( \xff 1"), b"x").await;
    malformed += 3.0;
    publisher.flush().await;

    assert_eq!(client.ask("still here").await, "still here");
    let counted = gateway
        .metric("gatebus_gateway_malformed_messages_total", "")
        .await;
    assert_eq!(counted, malformed);
    assert_eq!(
        gateway.metric("gatebus_gateway_queries_total", "").await,
        1.0
    );
    assert_eq!(gateway.metric(LOST, "").await, 0.0);
}

/// Greets like a NATS server, answers one PING, and hangs up.
async fn greet_and_hang_up(mut stream: TcpStream) -> std::io::Result<()> {
    let info = b"INFO {\"max_payload\":1048576,\"headers\":true}\r\n";
    stream.write_all(info).await?;
    let mut said = Vec::new();
    while !said.ends_with(b"PING\r\n") {
        said.push(stream.read_u8().await?);
    }
    stream.write_all(b"PONG\r\n").await
}

/// Proves that a server which takes the gateway and drops it at once is not dialled in a tight loop:
/// the pauses double, from 50 ms to 1 s, each up to half shorter.
#[tokio::test]
async fn a_server_that_takes_the_gateway_and_hangs_up_is_not_dialled_over_and_over() {
    const WINDOW: Duration = Duration::from_secs(2);
    /// With every pause as short as it can be there are 9.
    const MOST: usize = 12;
    let nats = Nats::start().await;
    let fake = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = fake.local_addr().expect("bound").port();
    let gateway = Gateway::with(&nats)
        .option("--shards", "1")
        .env("NATS_URL", format!("nats://127.0.0.1:{port}"));
    let starting = tokio::spawn(gateway.start_unready());

    let (stream, _) = within("the first dial", fake.accept())
        .await
        .expect("a socket");
    let until = Instant::now() + WINDOW;
    let mut dialled = 1;
    let mut visitor = Some(stream);
    while let Some(stream) = visitor {
        // A gateway that hangs up first has been served too.
        let _ = within("the greeting", greet_and_hang_up(stream)).await;
        let next = timeout_at(until, fake.accept()).await;
        visitor = next.ok().map(|accepted| accepted.expect("a socket").0);
        dialled += usize::from(visitor.is_some());
    }
    assert!((3..=MOST).contains(&dialled), "dialled {dialled} times");
    let gateway = starting.await.expect("it listens");
    assert!(!gateway.is_ready().await);
}

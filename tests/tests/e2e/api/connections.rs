//! The HTTP API's connections: callers that dawdle, and more of them than there is room for.

use std::net::SocketAddr;

use gatebus_tests::{Api, Gateway, Nats, api::TOKEN, eventually, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// A caller's end of a connection.
struct Caller(TcpStream);

impl Caller {
    async fn connect(api: &Api) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", api.port())).await;
        Self(stream.expect("it listens"))
    }

    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("it reads");
    }

    /// Asks for something, as one who keeps the connection.
    async fn ask(&mut self, path: &str) {
        self.say(&request(path)).await;
    }

    /// The status of the next answer, which is a short one.
    async fn status(&mut self) -> u16 {
        let mut answer = vec![0; 4096];
        let read = within("an answer", self.0.read(&mut answer)).await;
        let read = read.expect("the connection stands");
        let answer = String::from_utf8_lossy(&answer[..read]);
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
        status.unwrap_or_else(|| panic!("no answer: {answer:?}"))
    }

    /// Waits until the connection is closed, and nothing came before that.
    async fn closed(&mut self) {
        let read = within("the end", self.0.read(&mut [0; 1])).await;
        // who has something to read when it closes resets
        assert_eq!(read.unwrap_or(0), 0, "nothing comes before the end");
    }
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n")
}

/// Waits until the metrics say this.
async fn says(api: &Api, text: &str) {
    eventually(text.to_owned(), || async {
        let metrics = api.admin("/metrics").await.body;
        metrics.lines().any(|line| line == text).then_some(())
    })
    .await;
}

fn closed(reason: &str, many: u8) -> String {
    format!(r#"gatebus_api_connections_closed_total{{reason="{reason}"}} {many}"#)
}

/// Proves that a connection without a request ends, before its first one and between two.
#[tokio::test]
async fn who_asks_nothing_is_let_go() {
    let nats = Nats::start().await;
    let _gateway = Gateway::start(&nats).await;
    let api = Api::with(&nats)
        .option("--idle-timeout", "1s")
        .option("--head-timeout", "1h")
        .start()
        .await;
    let mut silent = Caller::connect(&api).await;
    silent.closed().await;
    let mut kept = Caller::connect(&api).await;
    for _ in 0..2 {
        kept.ask("/v1/all/count").await;
        assert_eq!(kept.status().await, 200, "between two requests it stays");
    }
    kept.closed().await;
    says(&api, &closed("idle", 2)).await;
    says(&api, "gatebus_api_connections 0").await;
}

/// Proves that a head has its time, however steadily it dribbles in.
#[tokio::test]
async fn a_head_that_does_not_end_ends_its_connection() {
    let nats = Nats::start().await;
    let _gateway = Gateway::start(&nats).await;
    let api = Api::with(&nats)
        .option("--head-timeout", "500ms")
        .option("--idle-timeout", "1h")
        .start()
        .await;
    let caller = Caller::connect(&api).await;
    let (mut reader, mut writer) = caller.0.into_split();
    writer
        .write_all(b"GET /v1/all/count HTTP/1.1\r\nX: ")
        .await
        .expect("it reads");
    let mut byte = [0; 1];
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(20));
    let dribble = async {
        loop {
            tokio::select! {
                read = reader.read(&mut byte) => break read.unwrap_or(0),
                _ = pace.tick() => {
                    // the end is what is read
                    let _ = writer.write_all(b"x").await;
                }
            }
        }
    };
    assert_eq!(within("the end", dribble).await, 0);
    says(&api, &closed("slow_head", 1)).await;
}

/// Proves that nobody holds a connection by not reading the answer: not even without a token.
#[tokio::test]
async fn an_answer_that_nobody_reads_ends_its_connection() {
    let nats = Nats::start().await;
    let _gateway = Gateway::start(&nats).await;
    let api = Api::with(&nats)
        .option("--answer-timeout", "500ms")
        .option("--idle-timeout", "1h")
        .option("--max-connections", "1")
        .start()
        .await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let address = SocketAddr::from(([127, 0, 0, 1], api.port()));
    let mut stream = socket.connect(address).await.expect("it listens");
    // More than the system keeps for somebody who does not read.
    for _ in 0..100 {
        let asked = stream.write_all(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n");
        asked.await.expect("it reads");
    }
    says(&api, &closed("slow_answer", 1)).await;
    says(&api, "gatebus_api_connections 0").await;
    let mut read = Vec::new();
    let ended = within("the end", stream.read_to_end(&mut read)).await;
    let documents = String::from_utf8_lossy(&read)
        .matches("HTTP/1.1 200")
        .count();
    assert!(documents < 100, "{ended:?}: it got all {documents}");
}

/// Proves that what is no HTTP is told so, and that nothing of it is done.
#[tokio::test]
async fn what_is_no_http_is_refused_and_its_connection_ends() {
    let nats = Nats::start().await;
    let api = Api::start(&nats).await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000));
    let large = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(500_000));
    for (said, status) in [("hello\r\n\r\n", 400), (&long, 414), (&large, 431)] {
        let mut caller = Caller::connect(&api).await;
        // who has read enough may close before the end
        let _ = caller.0.write_all(said.as_bytes()).await;
        assert_eq!(caller.status().await, status);
        caller.closed().await;
    }
}

/// Proves that one who reads slowly, but reads, gets the whole answer.
#[tokio::test]
async fn an_answer_that_is_read_in_time_is_whole_however_large() {
    let nats = Nats::start().await;
    let _gateway = Gateway::start(&nats).await;
    let api = Api::start(&nats).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let address = SocketAddr::from(([127, 0, 0, 1], api.port()));
    let mut stream = socket.connect(address).await.expect("it listens");
    let asked = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(asked).await.expect("it reads");
    let mut answer = String::new();
    let read = within("all of it", stream.read_to_string(&mut answer)).await;
    read.expect("it ends as it should");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let document: serde_json::Value = serde_json::from_str(body).expect("the whole document");
    assert_eq!(document["openapi"], "3.1.0");
}

/// Proves that where all connections are taken, whoever has waited longest gives way, so that
/// callers who do nothing keep nobody out.
#[tokio::test]
async fn at_the_limit_the_connection_that_waits_longest_makes_room() {
    let nats = Nats::start().await;
    let _gateway = Gateway::start(&nats).await;
    let api = Api::with(&nats)
        .option("--max-connections", "2")
        .option("--idle-timeout", "1h")
        .option("--head-timeout", "1h")
        .start()
        .await;
    let mut first = Caller::connect(&api).await;
    let mut second = Caller::connect(&api).await;
    second.ask("/v1/all/count").await;
    assert_eq!(second.status().await, 200);
    let mut third = Caller::connect(&api).await;
    third.ask("/v1/all/count").await;
    assert_eq!(third.status().await, 200);
    first.closed().await;
    second.ask("/v1/all/count").await;
    assert_eq!(second.status().await, 200, "it was not its turn");
    says(&api, &closed("full", 1)).await;
    says(&api, "gatebus_api_connections 2").await;
}

/// Proves that a request at work keeps its connection, and that one more waits for its end.
#[tokio::test]
async fn a_connection_with_a_request_at_work_stays_and_more_wait() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats).option("--shards", "1").start().await;
    let api = Api::with(&nats)
        .option("--max-connections", "1")
        .option("--query-timeout", "20s")
        .option("--request-timeout", "20s")
        .start()
        .await;
    // It knows the gateway before that stands still.
    assert_eq!(api.answer("/v1/all/count").await["count"], 0);
    gateway.hold().await;
    let mut at_work = Caller::connect(&api).await;
    at_work.ask("/v1/all/count").await;
    says(&api, "gatebus_api_requests_running 1").await;
    let mut more = Caller::connect(&api).await;
    more.ask("/openapi.json").await;
    gateway.go_on();
    assert_eq!(at_work.status().await, 200, "its answer comes");
    assert_eq!(more.status().await, 200, "and then the other's");
    at_work.closed().await;
    says(&api, &closed("full", 1)).await;
}

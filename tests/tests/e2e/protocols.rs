//! Protocols: what holds for WebSocket holds for lines, frames and bare bytes too.

use std::collections::BTreeMap;

use gatebus_tests::{
    Bare, Certificates, Client, Entry, Gateway, Journal, Nats, Worker, bare::frame, client, http,
};
use serde_json::json;

pub(crate) const ALL: [&str; 4] = ["websocket", "text", "frame", "tcp"];

/// What carries the bytes: what holds without TLS holds with it.
struct Carrier(Option<Certificates>);

impl Carrier {
    fn both() -> [Self; 2] {
        [Self(None), Self(Some(Certificates::new()))]
    }

    /// A gateway with a listener for each protocol, in the order of [`ALL`].
    async fn gateway_of_all(&self, nats: &Nats, options: &[(&str, &str)]) -> Gateway {
        let mut gateway = Gateway::with(nats);
        for (name, value) in options {
            gateway = gateway.option(name, value);
        }
        let tls = self.0.as_ref();
        let tls = tls.map_or_else(String::new, |c| format!("&{}", c.query()));
        for protocol in ALL {
            gateway = gateway.listen(format!("{protocol}://127.0.0.1:0?service=test{tls}"));
        }
        gateway.start().await
    }

    fn websocket(&self, port: u16) -> client::Options {
        let connector = self.0.as_ref().map(|c| c.connector(&["http/1.1"]));
        Client::to(port, "/").tls(connector)
    }

    async fn bare(&self, port: u16) -> Bare {
        match &self.0 {
            Some(certificates) => Bare::over(certificates.connect(port).await),
            None => Bare::connect(port).await,
        }
    }

    /// One for whom the kernel keeps little of what it does not read.
    async fn narrow(&self, port: u16) -> Bare {
        match &self.0 {
            Some(certificates) => Bare::over(certificates.connect_narrow(port, 4096).await),
            None => Bare::connect_narrow(port, 4096).await,
        }
    }
}

async fn gateway_of_all(nats: &Nats, options: &[(&str, &str)]) -> Gateway {
    Carrier(None).gateway_of_all(nats, options).await
}

async fn close_of(journal: &Journal, client: &str) -> Entry {
    let fits = |e: &Entry| e.kind == "close" && e.client == client;
    journal.find("close", fits).await
}

/// Proves that each protocol has its own shape both ways, and its own type of message.
#[tokio::test]
async fn each_protocol_carries_messages_both_ways() {
    for carrier in Carrier::both() {
        let nats = Nats::start().await;
        let gateway = carrier.gateway_of_all(&nats, &[]).await;
        let journal = Journal::new();
        let _worker = Worker::start(&nats, &journal).await;
        let [websocket, text, framed, tcp] = gateway.ports()[..] else {
            panic!("four ports");
        };
        let mut client = carrier.websocket(websocket).connect().await;
        assert_eq!(client.ask("one").await, "one");

        let mut client = carrier.bare(text).await;
        assert_eq!(client.ask("two \u{1f980}").await, "two \u{1f980}");
        assert_eq!(
            client.ask("three\r").await,
            "three",
            "the return is no text"
        );
        assert_eq!(client.ask("").await, "");

        let mut client = carrier.bare(framed).await;
        client.send(frame(b"\x00\xff\n")).await;
        assert_eq!(client.frame().await, b"\x00\xff\n");
        client.send(frame(b"")).await;
        assert_eq!(client.frame().await, b"");

        let mut client = carrier.bare(tcp).await;
        client.send(b"\x01\n\x02").await;
        assert_eq!(client.bytes(3).await, b"\x01\n\x02");
        let expected = ["one", "two \u{1f980}", "three", "", "00ff0a", "", "010a02"];
        assert_eq!(journal.texts(), expected);
    }
}

/// Proves that a client of a protocol without a handshake is there when it has connected, before it
/// says anything, and that its events are `connect`, messages, `close`.
#[tokio::test]
async fn connect_comes_at_accept_and_there_is_no_handshake() {
    for carrier in Carrier::both() {
        let nats = Nats::start().await;
        let gateway = carrier.gateway_of_all(&nats, &[]).await;
        let journal = Journal::new();
        let worker = Worker::with(&nats, &journal, "worker");
        let _worker = worker.env("WORKER_ON_CONNECT", "welcome").start().await;
        for (port, welcome) in gateway.ports()[1..].iter().zip([
            b"welcome\n".as_slice(),
            b"\0\0\0\x0bwelcome",
            b"welcome",
        ]) {
            let mut client = carrier.bare(*port).await;
            assert_eq!(client.bytes(welcome.len()).await, welcome);
            client.shut_down().await;
            assert_eq!(client.end().await.expect("no cut"), b"");
        }
        let closes = journal.wait("close", 3, |e| e.kind == "close").await;
        for close in closes {
            let expected = json!({"by": "client", "code": 1005, "reason": "", "groups": []});
            assert_eq!(close.details, expected, "its end is its goodbye");
        }
        let mut kinds = BTreeMap::<_, Vec<_>>::new();
        for entry in journal.entries() {
            kinds.entry(entry.client).or_default().push(entry.kind);
        }
        kinds.remove("");
        assert_eq!(kinds.len(), 3);
        assert!(kinds.values().all(|kinds| *kinds == ["connect", "close"]));
    }
}

/// Proves the order of pipelined messages, each one once, in each protocol.
#[tokio::test]
async fn a_thousand_pipelined_messages_are_handled_once_and_in_order() {
    const MANY: usize = 1000;
    for carrier in Carrier::both() {
        let nats = Nats::start().await;
        let gateway = carrier.gateway_of_all(&nats, &[]).await;
        let journal = Journal::new();
        let _workers = [
            Worker::with(&nats, &journal, "one").start().await,
            Worker::with(&nats, &journal, "two").start().await,
        ];
        let numbers = || (0..MANY).map(|n| n.to_string());
        let [websocket, text, framed, tcp] = gateway.ports()[..] else {
            panic!("four ports");
        };

        let (mut sender, mut receiver) = carrier.websocket(websocket).connect().await.split();
        for n in numbers() {
            sender.feed(n).await;
        }
        sender.flush().await;
        let mut lines = carrier.bare(text).await;
        lines
            .send(numbers().map(|n| n + "\n").collect::<String>())
            .await;
        let mut frames = carrier.bare(framed).await;
        let all: Vec<u8> = numbers().flat_map(|n| frame(n.as_bytes())).collect();
        frames.send(all).await;
        let mut bytes = carrier.bare(tcp).await;
        let all: String = numbers().collect();
        for piece in all.as_bytes().chunks(3) {
            bytes.send(piece).await;
        }

        for n in numbers() {
            assert_eq!(receiver.text().await, n);
            assert_eq!(lines.line().await, n);
            assert_eq!(frames.frame().await, n.as_bytes());
        }
        assert_eq!(bytes.bytes(all.len()).await, all.as_bytes());
        let clients = journal.by_client();
        assert_eq!(clients.len(), 4);
        for entries in clients.values() {
            assert!(entries.iter().all(|e| e.attempt <= 1), "each one once");
        }
    }
}

/// Proves the limits at their edges: who breaks a rule is let go, and the worker learns why.
#[tokio::test]
async fn a_broken_rule_ends_the_connection_and_the_worker_learns_its_code() {
    let nats = Nats::start().await;
    let gateway = gateway_of_all(&nats, &[("--max-message", "4KiB")]).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let [_, text, framed, tcp] = gateway.ports()[..] else {
        panic!("four ports");
    };
    let full = "x".repeat(4096);
    let mut closed = 0;
    for (port, good, back, bad, code) in [
        (text, format!("{full}\n"), 4097, format!("{full}y\n"), 1009),
        (text, "a\n".into(), 2, format!("{full}y"), 1009),
        (
            framed,
            frame_text(&full),
            4100,
            frame_text(&format!("{full}y")),
            1009,
        ),
        (framed, frame_text("a"), 5, "\0\0\0\x03".into(), 1002),
    ] {
        let mut client = Bare::connect(port).await;
        client.send(&good).await;
        assert_eq!(client.bytes(back).await, good.as_bytes());
        client.send(bad).await;
        client.shut_down().await;
        assert_eq!(
            client.end().await.expect("no cut"),
            b"",
            "nothing but the end"
        );
        closed += 1;
        let closes = journal.wait("close", closed, |e| e.kind == "close").await;
        assert_eq!(closes[closed - 1].details["code"], code);
        assert_eq!(closes[closed - 1].details["by"], "gateway");
    }
    let mut client = Bare::connect(text).await;
    client.send(b"caf\xc3(\n").await;
    client.shut_down().await;
    client.end().await.expect("no cut");
    let closes = journal.wait("close", 5, |e| e.kind == "close").await;
    assert_eq!(closes[4].details["code"], 1007);

    // Bare bytes have no limit of their own: a message is never larger.
    let mut client = Bare::connect(tcp).await;
    client.send("z".repeat(10_000)).await;
    assert_eq!(client.bytes(10_000).await, "z".repeat(10_000).as_bytes());
    let chunks = journal
        .of("message")
        .into_iter()
        .filter(|e| e.text.starts_with("7a"));
    let sizes: Vec<_> = chunks.map(|e| e.text.len() / 2).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 10_000);
    assert!(sizes.iter().all(|size| *size <= 4096), "{sizes:?}");
}

/// A frame whose bytes are text, whatever its length is.
fn frame_text(message: &str) -> String {
    String::from_utf8(frame(message.as_bytes())).expect("a length of small bytes")
}

/// Proves that a group is one whatever its members speak.
#[tokio::test]
async fn a_group_send_reaches_members_of_every_protocol() {
    let nats = Nats::start().await;
    let gateway = gateway_of_all(&nats, &[]).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let [websocket, text, framed, tcp] = gateway.ports()[..] else {
        panic!("four ports");
    };
    let mut members = Vec::new();
    for _ in 0..3 {
        let mut client = Client::to(websocket, "/").connect().await;
        assert_eq!(client.ask("join lobby").await, "joined lobby");
        let mut lines = Bare::connect(text).await;
        assert_eq!(lines.ask("join lobby").await, "joined lobby");
        members.push((client, lines));
    }
    // What these two send is no text, so the command comes from elsewhere.
    let mut frames = Bare::connect(framed).await;
    let mut bytes = Bare::connect(tcp).await;
    let connected = journal.wait("connect", 8, |e| e.kind == "connect").await;
    let handle = nats.handle().await;
    for entry in &connected[6..] {
        let id: worker_sdk::ClientId = entry.client.parse().expect("an id");
        handle.client(id).join("lobby").await.expect("joined");
    }
    for text in ["hello", "\u{1f980}"] {
        handle.group("lobby").send(text).expect("a message");
        for (client, lines) in &mut members {
            client.expect(text).await;
            assert_eq!(lines.line().await, text);
        }
        assert_eq!(frames.frame().await, text.as_bytes());
        assert_eq!(bytes.bytes(text.len()).await, text.as_bytes());
    }
    handle
        .group("lobby")
        .send(b"\x00\x01".as_slice())
        .expect("a message");
    for (client, lines) in &mut members {
        assert_eq!(client.binary().await, b"\x00\x01".as_slice());
        assert_eq!(lines.line().await, "\0\u{1}");
    }
    assert_eq!(frames.frame().await, b"\x00\x01");
    assert_eq!(bytes.bytes(2).await, b"\x00\x01");
}

/// Proves that a close lets everything arrive that was sent before it, then the last message, and
/// then is the end of the stream: these protocols have no close code.
#[tokio::test]
async fn close_flushes_what_is_pending_then_the_last_message_then_ends_the_stream() {
    for carrier in Carrier::both() {
        let nats = Nats::start().await;
        let gateway = carrier.gateway_of_all(&nats, &[]).await;
        let journal = Journal::new();
        let _worker = Worker::start(&nats, &journal).await;
        let mut client = carrier.bare(gateway.ports()[1]).await;
        client.send("flood 500 1000\nclose 4001 bye\n").await;
        for n in 0..500 {
            assert_eq!(client.line().await, format!("{n:01000}"));
        }
        assert_eq!(client.end().await.expect("no cut"), b"one\ntwo\nbye\n");
        let close = journal.find("close", |e| e.kind == "close").await;
        let expected = json!({"by": "command", "code": 4001, "reason": "R", "groups": []});
        assert_eq!(close.details, expected);
    }
}

/// Proves that a silent client is asked only with a message of the application's, and is closed
/// either way.
#[tokio::test]
async fn a_silent_client_is_asked_only_with_ping_data_and_closed_either_way() {
    for (data, asked) in [
        (None, ""),
        (Some("are you there?"), "are you there?\nare you there?\n"),
    ] {
        let nats = Nats::start().await;
        let mut options = vec![("--ping-interval", "300ms"), ("--ping-misses", "2")];
        options.extend(data.map(|data| ("--ping-data", data)));
        let gateway = gateway_of_all(&nats, &options).await;
        let journal = Journal::new();
        let _worker = Worker::start(&nats, &journal).await;
        let mut client = Bare::connect(gateway.ports()[1]).await;
        if data.is_some() {
            for _ in 0..3 {
                assert_eq!(client.line().await, "are you there?");
                client.send("quiet yes\n").await;
            }
        }
        assert_eq!(client.end().await.expect("no cut"), asked.as_bytes());
        let close = journal.find("close", |e| e.kind == "close").await;
        assert_eq!(close.details["code"], 4007);
        assert_eq!(close.details["by"], "gateway");
    }
}

/// Proves that a line client which reads nothing is let go when its mailbox is full, and costs
/// nobody else anything.
#[tokio::test]
async fn a_line_client_that_stops_reading_is_let_go_with_4008() {
    for carrier in Carrier::both() {
        let nats = Nats::start().await;
        let gateway = carrier
            .gateway_of_all(&nats, &[("--mailbox", "256KiB")])
            .await;
        let journal = Journal::new();
        let _worker = Worker::start(&nats, &journal).await;
        let mut sleeper = carrier.narrow(gateway.ports()[1]).await;
        sleeper.send("whoami\n").await;
        let id = journal
            .find("connect", |e| e.kind == "connect")
            .await
            .client;
        let mut other = carrier.bare(gateway.ports()[1]).await;
        let before = gateway.memory();
        let line = format!("to-client {id} {}\n", "x".repeat(16 * 1024));
        for round in 0.. {
            assert!(round < 400, "a mailbox has no end");
            other.send(line.repeat(8)).await;
            assert_eq!(other.ask("still here").await, "still here");
            if journal.of("close").iter().any(|e| e.client == id) {
                break;
            }
        }
        assert_eq!(close_of(&journal, &id).await.details["code"], 4008);
        let grown = gateway.memory().saturating_sub(before);
        // the kernel gives memory in pages of 2 MiB
        assert!(grown < 16 * 1024 * 1024, "grew by {grown} bytes");
    }
}

/// Proves that a flooding line client is slowed down, and nothing of it is lost.
#[tokio::test]
async fn a_line_client_that_floods_is_slowed_down_and_nothing_of_it_is_lost() {
    const MANY: usize = 2000;
    for carrier in Carrier::both() {
        let nats = Nats::start().await;
        let gateway = carrier.gateway_of_all(&nats, &[]).await;
        let journal = Journal::new();
        let mut worker = Worker::start(&nats, &journal).await;
        let mut client = carrier.bare(gateway.ports()[1]).await;
        client.send("hold gate\n").await;
        journal.find("held", |e| e.kind == "held").await;
        let before = gateway.memory();
        let flood = tokio::spawn(async move {
            let rest = "x".repeat(8 * 1024);
            for n in 0..MANY {
                let line = format!("quiet {n} {rest}\n");
                client
                    .send_slowly(line)
                    .await
                    .expect("the connection stands");
            }
            client
                .send_slowly("fence\n")
                .await
                .expect("the connection stands");
            client
        });
        let paused = "gatebus_gateway_reads_paused_total";
        gateway.wait_metric(paused, "", 1.0).await;
        let grown = gateway.memory().saturating_sub(before);
        assert!(grown < 8 * 1024 * 1024, "grew by {grown} bytes");
        worker.open("gate").await;
        let mut client = flood.await.expect("all is sent");
        assert_eq!(client.line().await, "released gate");
        assert_eq!(client.line().await, "fence");
        let texts = journal.texts();
        let numbers = texts
            .iter()
            .filter_map(|t| t.split(' ').nth(1)?.parse::<usize>().ok());
        assert!(numbers.eq(0..MANY), "all of it, in order, once");
    }
}

/// Proves that a drain lets everybody go, and that what they said is handled.
#[tokio::test]
async fn a_drain_ends_connections_of_every_protocol_after_their_last_events() {
    for carrier in Carrier::both() {
        let nats = Nats::start().await;
        let options = [("--drain-delay", "0s"), ("--drain-spread", "100ms")];
        let mut gateway = carrier.gateway_of_all(&nats, &options).await;
        let journal = Journal::new();
        let mut worker = Worker::start(&nats, &journal).await;
        let websocket = carrier.websocket(gateway.port()).connect().await;
        let mut lines = carrier.bare(gateway.ports()[1]).await;
        lines.send("hold gate\nquiet last words\n").await;
        journal.find("held", |e| e.kind == "held").await;
        let mut others = Vec::new();
        for port in &gateway.ports()[2..] {
            others.push(carrier.bare(*port).await);
        }
        journal.wait("connect", 4, |e| e.kind == "connect").await;
        gateway.terminate();
        websocket.expect_close(1012).await;
        for mut client in others.into_iter().chain([lines]) {
            assert_eq!(client.end().await.expect("no cut"), b"");
        }
        worker.open("gate").await;
        gateway.wait_for_success().await;
        assert_eq!(journal.texts(), ["hold gate", "quiet last words"]);
        let closes = journal.wait("close", 4, |e| e.kind == "close").await;
        assert!(closes.iter().all(|e| e.details["code"] == 1012));
    }
}

/// Proves that a line of HTTP is a line like any other, and one connection too many is just ended.
#[tokio::test]
async fn a_connection_over_the_limit_is_ended_without_a_word() {
    let nats = Nats::start().await;
    let gateway = gateway_of_all(&nats, &[("--max-connections", "1")]).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut first = Bare::connect(gateway.ports()[1]).await;
    assert_eq!(first.ask("GET / HTTP/1.1").await, "GET / HTTP/1.1");
    let mut second = Bare::connect(gateway.ports()[1]).await;
    assert_eq!(second.end().await.unwrap_or_default(), b"");
    let refused = "gatebus_gateway_handshakes_refused_total";
    gateway.wait_metric(refused, "", 1.0).await;
    let answer = http::get(gateway.port(), "/").await;
    assert_eq!(answer.status, 503, "WebSocket is told so");
}

/// Proves that IPv6 is an address like IPv4, for each protocol, and that a listener for both
/// reports IPv4 as IPv4.
#[tokio::test]
async fn listeners_take_ipv6_and_both() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .listen("text://[::1]:0?service=test")
        .listen("frame://[::]:0?service=test")
        .listen("websocket://[::]:0?service=test")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let [six, both, websocket] = gateway.ports()[..] else {
        panic!("three ports");
    };
    let mut client = Bare::connect_to(format!("[::1]:{six}").parse().expect("an address")).await;
    assert_eq!(client.ask("hello").await, "hello");
    let _both = Bare::connect(both).await;
    let connects = journal.wait("connect", 2, |e| e.kind == "connect").await;
    assert!(
        connects[0].remote.starts_with("[::1]:"),
        "{:?}",
        connects[0]
    );
    assert!(
        connects[1].remote.starts_with("127.0.0.1:"),
        "{:?}",
        connects[1]
    );
    for (client, start) in [
        (Client::to(websocket, "/").by_ipv6(), "[::1]:"),
        (Client::to(websocket, "/"), "127.0.0.1:"),
    ] {
        let mut client = client.connect().await;
        let remote = client.who_am_i().await["remote"].clone();
        assert!(
            remote.as_str().expect("text").starts_with(start),
            "{remote}"
        );
    }
}

/// Proves that a worker which dies loses nothing of a line client's.
#[tokio::test]
async fn nothing_of_a_line_client_is_lost_when_its_worker_is_killed() {
    let nats = Nats::start().await;
    let gateway = gateway_of_all(&nats, &[("--ack-wait", "1s")]).await;
    let journal = Journal::new();
    let mut victim = Worker::with(&nats, &journal, "victim").start().await;
    let mut client = Bare::connect(gateway.ports()[1]).await;
    client.send("hold gate\nquiet 1\nquiet 2\nlast\n").await;
    journal.find("held", |e| e.kind == "held").await;
    victim.kill().await;
    let mut heir = Worker::with(&nats, &journal, "heir").start().await;
    heir.open("gate").await;
    assert_eq!(client.line().await, "released gate");
    assert_eq!(client.line().await, "last");
    let handled: Vec<_> = journal.of("message").into_iter().map(|e| e.text).collect();
    assert_eq!(handled, ["hold gate", "quiet 1", "quiet 2", "last"]);
}

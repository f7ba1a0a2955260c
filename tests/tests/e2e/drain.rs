//! Drain: a gateway that is told to stop lets its clients go gently.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, future::join_all};
use gatebus_tests::{
    Client, Entry, Gateway, Journal, Nats, Worker,
    client::{End, Receiver},
    eventually, within, within_secs,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wire::{GatewayBeat, NodeState};

async fn time_of_end(mut receiver: Receiver) -> (Instant, End) {
    let end = receiver.end().await;
    (Instant::now(), end)
}

/// Proves that a thousand clients are spread over `drain_spread`, that each close event is handled,
/// and that the gateway leaves with success.
#[tokio::test]
async fn a_thousand_clients_are_closed_with_1012_evenly_over_drain_spread_and_the_gateway_exits_0()
{
    const CLIENTS: usize = 1000;
    const SPREAD: Duration = Duration::from_secs(4);
    let nats = Nats::start().await;
    let mut gateway = Gateway::with(&nats)
        .option("--drain-delay", "0s")
        .option("--drain-spread", format!("{}s", SPREAD.as_secs()))
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let clients = Client::connect_many(&gateway, CLIENTS).await;
    let is_there = |e: &Entry| e.kind == "websocket";
    journal.wait("websocket", CLIENTS, is_there).await;
    let mut senders = Vec::new();
    let mut ends = Vec::new();
    for client in clients {
        let (sender, receiver) = client.split();
        senders.push(sender);
        ends.push(tokio::spawn(time_of_end(receiver)));
    }

    let start = Instant::now();
    gateway.terminate();
    let ends = within_secs(60, "all clients to be closed", join_all(ends)).await;
    gateway.wait_for_success().await;

    let mut quarters = [0; 4];
    for end in ends {
        let (at, end) = end.expect("no panic");
        let reason = wire::CloseCode::Restart.reason().to_owned();
        assert_eq!(end, End::Closed(1012, reason));
        let quarter = (at - start).as_millis() * 4 / SPREAD.as_millis();
        quarters[usize::try_from(quarter).expect("small").min(3)] += 1;
    }
    // 250 each if the machine were idle.
    assert!(
        quarters.iter().all(|n| (125..=375).contains(n)),
        "{quarters:?}"
    );
    let closes = journal.wait("close", CLIENTS, |e| e.kind == "close").await;
    assert!(closes.iter().all(|e| e.details["code"] == 1012));
    assert!(closes.iter().all(|e| e.details["by"] == "gateway"));
    let gone: std::collections::HashSet<_> = closes.iter().map(|e| &e.client).collect();
    assert_eq!(gone.len(), CLIENTS);
}

/// Proves that load balancers get their time: not ready at once, but still open for whoever comes.
#[tokio::test]
async fn a_draining_gateway_is_unready_at_once_and_accepts_until_drain_delay_is_over() {
    let nats = Nats::start().await;
    let mut gateway = Gateway::with(&nats)
        .option("--drain-delay", "2s")
        .option("--drain-spread", "0s")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut early = Client::connect(&gateway).await;
    assert_eq!(early.ask("hello").await, "hello");
    gateway.terminate();
    gateway.wait_ready(false).await;
    let mut late = Client::connect(&gateway).await;
    assert_eq!(late.ask("hello").await, "hello");
    assert_eq!(early.ask("still here").await, "still here");
    early.expect_close(1012).await;
    late.expect_close(1012).await;
    gateway.wait_for_success().await;
    let refused = Client::to(gateway.port(), "/").try_connect().await;
    assert!(refused.is_err(), "nobody listens any more");
}

/// Proves that what a client said before it was let go is handled, and in its place.
#[tokio::test]
async fn events_in_flight_are_handled_before_a_draining_gateway_leaves() {
    let nats = Nats::start().await;
    let mut gateway = Gateway::with(&nats)
        .option("--drain-delay", "0s")
        .option("--drain-spread", "0s")
        .start()
        .await;
    let journal = Journal::new();
    let mut worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    client.send("hold gate").await;
    client.send("quiet last words").await;
    journal.find("held", |e| e.kind == "held").await;
    gateway.terminate();
    client.expect_close(1012).await;
    worker.open("gate").await;
    gateway.wait_for_success().await;
    let kinds: Vec<_> = journal
        .entries()
        .into_iter()
        .map(|e| (e.kind, e.text))
        .collect();
    let last: Vec<_> = kinds
        .iter()
        .rev()
        .take(3)
        .rev()
        .map(|(k, t)| (k.as_str(), t.as_str()))
        .collect();
    let expected = [
        ("message", "hold gate"),
        ("message", "quiet last words"),
        ("close", ""),
    ];
    assert_eq!(last, expected);
}

/// Proves that a drain has an end even when no worker is there to hear of it.
#[tokio::test]
async fn a_drain_ends_at_its_deadline_whatever_is_left() {
    let nats = Nats::start().await;
    let mut gateway = Gateway::with(&nats)
        .option("--drain-delay", "0s")
        .option("--drain-spread", "0s")
        .option("--drain-deadline", "1s")
        .start()
        .await;
    let client = Client::connect(&gateway).await;
    gateway.terminate();
    client.expect_close(1012).await;
    gateway.wait().await;
}

/// Proves that a gateway which is told to stop while NATS is away lets its clients go all the same.
#[tokio::test]
async fn a_drain_during_an_outage_closes_the_clients_and_ends_at_its_deadline() {
    let mut nats = Nats::start().await;
    let mut gateway = Gateway::with(&nats)
        .option("--drain-delay", "0s")
        .option("--drain-spread", "100ms")
        .option("--drain-deadline", "1s")
        .start()
        .await;
    let clients = Client::connect_many(&gateway, 10).await;
    nats.kill().await;
    gateway.wait_ready(false).await;
    gateway.terminate();
    for client in clients {
        client.expect_close(1012).await;
    }
    gateway.wait().await;
}

/// Proves that a gateway which never found NATS ends at once when it is told to: nobody was ever sent
/// to it, and nothing is left to be said.
#[tokio::test]
async fn a_gateway_that_never_found_nats_ends_long_before_its_deadline() {
    let mut nats = Nats::start().await;
    nats.stop().await;
    let mut gateway = Gateway::with(&nats)
        .option("--drain-deadline", "1h")
        .start_unready()
        .await;
    gateway.terminate();
    gateway.wait_for_success().await;
}

/// Proves that clients which nobody will ever hear of hold up nobody for longer than events would
/// wait for a worker.
#[tokio::test]
async fn a_drain_gives_up_when_nats_has_been_away_for_worker_wait() {
    let mut nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--drain-delay", "0s")
        .option("--drain-spread", "0s")
        .option("--drain-deadline", "1h")
        .option("--worker-wait", "2s")
        .option("--shards", "1");
    nats.stop().await;
    let mut gateway = gateway.start_unready().await;
    let clients = Client::connect_many(&gateway, 20).await;
    gateway.terminate();
    for client in clients {
        client.expect_close(1012).await;
    }
    gateway.wait_for_success().await;
    let said = gateway.log.whole().await;
    let lines = |of: &str| said.iter().filter(|line| line.contains(of)).count();
    assert_eq!(lines("NATS has been away for too long"), 1, "{said:#?}");
    // not a line for each client
    assert_eq!(lines("events are given up"), 1, "{said:#?}");
    assert_eq!(lines("clients=20 events="), 1, "{said:#?}");
    assert_eq!(lines("the dead letter is lost"), 0, "{said:#?}");
}

/// Proves that a restart of NATS during a drain loses no close event.
#[tokio::test]
async fn a_short_outage_during_a_drain_loses_no_event() {
    const CLIENTS: usize = 20;
    let mut nats = Nats::start().await;
    let mut gateway = Gateway::with(&nats)
        .option("--drain-delay", "0s")
        .option("--drain-spread", "0s")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut clients = Client::connect_many(&gateway, CLIENTS).await;
    for client in &mut clients {
        assert_eq!(client.ask("hello").await, "hello");
    }
    nats.kill().await;
    gateway.wait_ready(false).await;
    for client in &mut clients {
        client.send("quiet last words").await;
    }
    gateway.terminate();
    for client in clients {
        client.expect_close(1012).await;
    }
    nats.start_again().await;
    gateway.wait_for_success().await;
    let said = |e: &Entry| e.text == "quiet last words";
    journal.wait("last words", CLIENTS, said).await;
    journal.wait("close", CLIENTS, |e| e.kind == "close").await;
}

/// Proves that who is shaking hands when the listeners close is answered, and then let go.
#[tokio::test]
async fn a_handshake_under_way_is_finished_before_its_client_is_let_go() {
    let nats = Nats::start().await;
    let mut gateway = Gateway::with(&nats)
        .option("--drain-delay", "0s")
        .option("--drain-spread", "0s")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut visitor = TcpStream::connect(("127.0.0.1", gateway.port()))
        .await
        .expect("it listens");
    visitor
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        .await
        .expect("it listens");
    gateway.terminate();
    eventually("both shards to let clients go", || async {
        (gateway.log.count("letting clients go") == 2).then_some(())
    })
    .await;
    visitor
        .write_all(
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .await
        .expect("it listens still");
    let mut answer = Vec::new();
    within("a welcome and a goodbye", async {
        while !answer.windows(2).any(|code| code == 1012_u16.to_be_bytes()) {
            let read = visitor.read_buf(&mut answer).await.expect("an answer");
            assert!(read > 0, "cut after {:?}", String::from_utf8_lossy(&answer));
        }
    })
    .await;
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    drop(visitor);
    gateway.wait_for_success().await;
    journal.wait("close", 1, |e| e.kind == "close").await;
}

/// Proves that a process is known for as long as one of its shards has clients.
#[tokio::test]
async fn a_draining_process_beats_until_its_last_shard_has_left() {
    let nats = Nats::start().await;
    let mut gateway = Gateway::with(&nats)
        .option("--drain-delay", "0s")
        .option("--drain-spread", "0s")
        .start()
        .await;
    let journal = Journal::new();
    let mut worker = Worker::start(&nats, &journal).await;
    let bus = nats.client().await;
    let mut beats = bus
        .subscribe(nats.subject("beat.gateway.*"))
        .await
        .expect("a subject");
    let mut next = async || {
        let beat = within("a beat", beats.next()).await.expect("a beat");
        wire::decode::<GatewayBeat>(&beat.payload).expect("a beat")
    };
    // The first shard speaks for the process while it is there, so the client is to be the second's.
    let second = next().await.shards[1].gateway.to_string();
    let mut client = loop {
        let mut client = Client::connect(&gateway).await;
        if client.id().await.starts_with(&second) {
            break client;
        }
        client.close(1000, "").await;
    };
    client.send("hold gate").await;
    journal.find("held", |e| e.kind == "held").await;
    gateway.terminate();
    client.expect_close(1012).await;
    // By then a roster would have dropped a process that has fallen silent.
    for _ in 0..=wire::beat::MISSES {
        while next().await.state != NodeState::Draining {}
    }
    worker.open("gate").await;
    while next().await.state != NodeState::Leaving {}
    gateway.wait_for_success().await;
}

/// Proves that an operator who cannot wait does not have to.
#[tokio::test]
async fn a_second_signal_ends_a_draining_gateway_at_once_with_status_1() {
    let nats = Nats::start().await;
    let mut gateway = Gateway::with(&nats)
        .option("--drain-delay", "10m")
        .option("--drain-deadline", "1h")
        .start()
        .await;
    gateway.terminate();
    gateway.wait_ready(false).await;
    gateway.terminate();
    assert_eq!(gateway.wait().await.code(), Some(1));
}

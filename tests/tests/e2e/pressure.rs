//! Pressure: whoever is too slow or too fast costs only himself, and memory stays bounded.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use gatebus_tests::{
    Client, Entry, Gateway, Journal, Nats, Worker,
    client::End,
    eventually,
    socket::{text_frame, upgraded},
    within,
};

const MIB: u64 = 1024 * 1024;
/// More than the kernel keeps for a connection that nobody reads.
const FLOOD: usize = 32 * 1024 * 1024;

/// Sends to the group in portions that fit a mailbox, each read by all the others before the next,
/// until `done`; so nobody but the sleeper ever falls behind.
async fn feed_group(
    bus: &async_nats::Client,
    subject: String,
    others: &mut [Client],
    mut done: impl AsyncFnMut() -> bool,
) -> usize {
    const PORTION: usize = 8;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(wire::subject::RAW_HEADER, "text");
    let mut sent = 0;
    while !done().await {
        assert!(sent * 16 * 1024 < FLOOD, "a mailbox has no end");
        for n in sent..sent + PORTION {
            let text = format!("{n:016384}");
            bus.publish_with_headers(subject.clone(), headers.clone(), text.into())
                .await
                .expect("a subject");
        }
        for client in &mut *others {
            for n in sent..sent + PORTION {
                let text = client.text().await;
                assert_eq!(text.trim_start_matches('0').parse().unwrap_or(0), n);
            }
        }
        sent += PORTION;
    }
    sent
}

/// A client that is in the group `crowd` and does not read, and four others that do.
async fn crowd(gateway: &Gateway) -> (Client, String, Vec<Client>) {
    let sleeper = Client::to(gateway.port(), "/").receive_buffer(4096);
    let mut sleeper = sleeper.connect().await;
    let mut others = Client::connect_many(gateway, 4).await;
    for client in others.iter_mut().chain([&mut sleeper]) {
        assert_eq!(client.ask("join crowd").await, "joined crowd");
    }
    let id = sleeper.id().await;
    (sleeper, id, others)
}

/// Proves that a client which stops reading is let go when its mailbox is full, that it can learn
/// why, and that all others get everything.
#[tokio::test]
async fn a_client_that_stops_reading_is_closed_with_4008_and_all_others_get_everything() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--mailbox", "256KiB")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let (sleeper, id, mut others) = crowd(&gateway).await;
    let before = gateway.memory();
    let bus = nats.client().await;
    let is_closed = async || {
        let closed = journal.of("close");
        closed.iter().any(|e| e.client == id)
    };
    feed_group(&bus, nats.subject("group.crowd"), &mut others, is_closed).await;
    let grown = gateway.memory().saturating_sub(before);
    assert!(grown < 8 * MIB, "grew by {grown} bytes");
    let close = journal
        .find("close", |e| e.kind == "close" && e.client == id)
        .await;
    assert_eq!(close.details["code"], 4008);
    assert_eq!(close.details["by"], "gateway");
    assert_eq!(
        gateway
            .metric("gatebus_gateway_connections_closed_total", "slow_client")
            .await,
        1.0
    );
    assert_eq!(
        sleeper.expect_close(4008).await,
        wire::CloseCode::SlowClient.reason()
    );
    for client in &mut others {
        assert_eq!(client.ask("fence").await, "fence");
    }
}

/// Proves the other two policies: the client stays, and what it misses is counted.
async fn stays_and_misses(policy: &str) -> (Vec<usize>, usize) {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--mailbox", "256KiB")
        .option("--slow-client", policy)
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let (mut sleeper, _, mut others) = crowd(&gateway).await;
    let bus = nats.client().await;
    let is_dropping = async || {
        gateway
            .metric("gatebus_gateway_dropped_messages_total", "")
            .await
            >= 40.0
    };
    let sent = feed_group(&bus, nats.subject("group.crowd"), &mut others, is_dropping).await;
    let mut got = Vec::new();
    // It reads again: what was kept comes, and then the fence, which is small enough for the room
    // that 16 KiB messages leave in a mailbox of 256 KiB.
    sleeper.send("fence").await;
    loop {
        let text = sleeper.text().await;
        if text == "fence" {
            break;
        }
        got.push(text.trim_start_matches('0').parse().unwrap_or(0));
    }
    assert!(got.is_sorted(), "in order");
    assert!(got.len() + 40 <= sent, "{} of {sent}", got.len());
    (got, sent)
}

/// Proves that what does not fit is dropped, and what is there stays.
#[tokio::test]
async fn drop_newest_keeps_the_client_and_what_waits_for_it() {
    let (got, _) = stays_and_misses("drop_newest").await;
    let without_gap = got.iter().enumerate().take_while(|(n, got)| n == *got);
    assert_eq!(
        without_gap.count(),
        got.len(),
        "the oldest are there, without a gap"
    );
}

/// Proves that the latest messages are there when the client reads again.
#[tokio::test]
async fn drop_oldest_keeps_the_client_and_what_is_latest() {
    let (got, sent) = stays_and_misses("drop_oldest").await;
    assert_eq!(got.last(), Some(&(sent - 1)), "the newest is there");
}

/// Proves that the gateway reads no faster than workers handle, and loses nothing of it.
#[tokio::test]
async fn a_client_that_floods_is_slowed_down_and_nothing_of_it_is_lost() {
    const ALL: usize = 8192;
    const SIZE: usize = FLOOD / ALL;
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let mut worker = Worker::start(&nats, &journal).await;
    let mut neighbour = Client::connect(&gateway).await;
    let mut client = Client::connect(&gateway).await;
    client.send("hold gate").await;
    journal.find("held", |e| e.kind == "held").await;
    let before = gateway.memory();

    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let (mut sender, mut receiver) = client.split();
    let flood = tokio::spawn(async move {
        for n in 0..ALL {
            sender.send(format!("quiet {n:0SIZE$}")).await;
            counter.fetch_add(1, Ordering::Relaxed);
        }
        sender.send("fence").await;
    });
    // Until it moves no more, though most of it is still to be sent.
    let mut last = (0, 0);
    eventually("the flood to be held up", || {
        let now = sent.load(Ordering::Relaxed);
        last = if now == last.0 {
            (now, last.1 + 1)
        } else {
            (now, 0)
        };
        std::future::ready((now > 0 && last.1 == 25).then_some(()))
    })
    .await;
    assert!(sent.load(Ordering::Relaxed) < ALL, "the gateway has no end");
    let grown = gateway.memory().saturating_sub(before);
    assert!(grown < 8 * MIB, "grew by {grown} bytes");
    assert_eq!(neighbour.ask("me too").await, "me too", "others go on");

    worker.open("gate").await;
    assert_eq!(receiver.text().await, "released gate");
    within("the rest of the flood", flood).await.expect("sent");
    assert_eq!(receiver.text().await, "fence");
    let texts = journal.texts();
    let numbers = texts.iter().filter_map(|t| t.strip_prefix("quiet "));
    let numbers: Vec<usize> = numbers.map(|n| n.parse().expect("a number")).collect();
    assert!(numbers.into_iter().eq(0..ALL), "all of it, in order, once");
}

/// Proves that a flooding client which goes away is noticed although its socket is not read.
#[tokio::test]
async fn what_a_client_said_before_it_left_is_handled_before_its_close() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let mut worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    client.send("hold gate").await;
    journal.find("held", |e| e.kind == "held").await;
    for n in 0..300 {
        client.send(format!("quiet {n}")).await;
    }
    let leaving = tokio::spawn(client.close(1000, "bye"));
    worker.open("gate").await;
    let end = within("the goodbye", leaving).await.expect("no panic");
    assert_eq!(end, End::Closed(1000, "bye".into()));
    journal.find("close", |e: &Entry| e.kind == "close").await;
    let kinds: Vec<_> = journal.entries().into_iter().map(|e| e.kind).collect();
    assert_eq!(kinds.iter().filter(|k| *k == "message").count(), 301);
    assert_eq!(kinds.last().map(String::as_str), Some("close"));
}

/// Proves that answers to pings are bounded too.
#[tokio::test]
async fn a_client_that_pings_and_reads_no_answer_is_let_go() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let before = gateway.memory();
    let client = Client::to(gateway.port(), "/").receive_buffer(4096);
    let (mut sender, _unread) = client.connect().await.split();
    let ping = Message::Ping(vec![7; 125].into());
    let pings = async { while sender.try_feed(ping.clone()).await.is_ok() {} };
    let close = journal.find("close", |e| e.kind == "close");
    let ((), close) = tokio::join!(pings, close);
    assert_eq!(close.details["code"], 4008);
    let grown = gateway.memory().saturating_sub(before);
    assert!(grown < 8 * MIB, "grew by {grown} bytes");
}

/// Proves that who reads its answers may ask for any number of them at once.
#[tokio::test]
async fn a_client_that_pings_and_reads_all_answers_stays() {
    const ROUNDS: usize = 10;
    const PINGS: usize = 50_000;
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--shards", "1")
        .option("--max-message", "64KiB")
        .option("--mailbox", "512KiB")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let (mut reader, mut writer) = upgraded(&gateway).await.into_split();
    for _ in 0..ROUNDS {
        let ping = [0x89, 0x80, 0, 0, 0, 0];
        let all = [text_frame("word"), ping.repeat(PINGS)].concat();
        let mut answers = vec![0; PINGS * 2 + "..word".len()];
        let (sent, read) = within("all answers", async {
            tokio::join!(writer.write_all(&all), reader.read_exact(&mut answers))
        })
        .await;
        sent.expect("the connection stands");
        read.expect("the connection stands");
        let pongs = answers.chunks(2).filter(|two| *two == [0x8a, 0]);
        assert_eq!(pongs.count(), PINGS);
    }
}

/// Proves that a client which is not read, because its events wait, is not taken for dead.
#[tokio::test]
async fn a_client_whose_events_wait_is_not_closed_by_the_heartbeat() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--ping-interval", "200ms")
        .option("--ping-misses", "2")
        .start()
        .await;
    let journal = Journal::new();
    let mut worker = Worker::start(&nats, &journal).await;
    let (mut sender, mut receiver) = Client::connect(&gateway).await.split();
    sender.send("hold gate").await;
    journal.find("held", |e| e.kind == "held").await;
    for n in 0..500 {
        sender.feed(n.to_string()).await;
    }
    sender.flush().await;
    let paused = "gatebus_gateway_reads_paused_total";
    gateway.wait_metric(paused, "", 1.0).await;
    // For longer than the heartbeat would take.
    let mut timer = Client::connect(&gateway).await;
    assert_eq!(timer.ask("sleep 2000").await, "slept 2000");
    worker.open("gate").await;
    assert_eq!(receiver.text().await, "released gate");
    for n in 0..500 {
        assert_eq!(receiver.text().await, n.to_string());
    }
}

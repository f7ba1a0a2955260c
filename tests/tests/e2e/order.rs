//! Order and balance: one client's events in order over any number of workers, each one once.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use gatebus_tests::{
    Client, Entry, Gateway, Journal, Nats, Worker,
    client::{Receiver, Sender},
    within_secs,
};

const ALL: u32 = 20_000;

/// Reads the echoes of messages `0..upto` and of the fence that follows them.
pub(crate) async fn read_echoes(mut receiver: Receiver, upto: u32) {
    for n in 0..upto {
        assert_eq!(receiver.text().await, n.to_string(), "echo {n}");
    }
    assert_eq!(receiver.text().await, "fence", "nothing comes twice");
}

/// Sends numbered messages in one go, waiting for no answer.
pub(crate) async fn send(sender: &mut Sender, numbers: std::ops::Range<u32>) {
    for n in numbers {
        sender.feed(n.to_string()).await;
    }
    sender.flush().await;
}

/// Waits until a worker has handled so many messages.
pub(crate) async fn handled(journal: &Journal, worker: &str, many: usize) {
    let fits = |e: &Entry| e.kind == "message" && e.worker == worker;
    journal
        .wait(&format!("message at {worker}"), many, fits)
        .await;
}

/// One client's handled messages are these, in this order; what was handled again is marked as such.
pub(crate) fn assert_all_in_order(entries: &[Entry], expected: &[String]) {
    let mut next = 0;
    for entry in entries {
        let client = &entry.client;
        let n = expected.iter().position(|text| *text == entry.text);
        let n = n.unwrap_or_else(|| panic!("{client}: {} was never sent", entry.text));
        assert!(n <= next, "{client}: {n} before {next}");
        assert!(
            n == next || entry.attempt > 1,
            "{client}: {n} again, and not marked"
        );
        next = next.max(n + 1);
    }
    assert_eq!(next, expected.len(), "all of them");
}

fn shares(entries: &[Entry]) -> BTreeMap<&str, usize> {
    let mut shares = BTreeMap::new();
    for entry in entries {
        *shares.entry(entry.worker.as_str()).or_default() += 1;
    }
    shares
}

/// Proves the order of one client's events over workers that are started and stopped under load,
/// and that a worker that is told to stop hands over without a loss or a repeat.
#[tokio::test]
async fn one_clients_messages_are_handled_once_and_in_order_while_workers_come_and_go() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let mut first = Worker::with(&nats, &journal, "first").start().await;
    let (mut sender, receiver) = Client::connect(&gateway).await.split();
    let echoes = tokio::spawn(read_echoes(receiver, ALL));

    send(&mut sender, 0..6000).await;
    let mut second = Worker::with(&nats, &journal, "second").start().await;
    let mut third = Worker::with(&nats, &journal, "third").start().await;
    send(&mut sender, 6000..14_000).await;
    handled(&journal, "second", 300).await;
    handled(&journal, "third", 300).await;
    second.terminate();
    first.terminate();
    send(&mut sender, 14_000..ALL).await;
    second.wait_for_success().await;
    first.wait_for_success().await;
    sender.send("fence").await;
    within_secs(120, "all echoes", echoes)
        .await
        .expect("in order");

    let texts = journal.texts();
    let expected = (0..ALL).map(|n| n.to_string()).chain(["fence".into()]);
    assert!(texts.into_iter().eq(expected), "handled once, in order");
    assert!(journal.entries().iter().all(|e| e.attempt <= 1));
    third.terminate();
    third.wait_for_success().await;
}

/// Proves the same for many clients at once, and that new workers take load as soon as they come.
#[tokio::test]
async fn two_hundred_clients_messages_are_handled_once_in_order_and_by_all_workers() {
    const CLIENTS: usize = 200;
    const EACH: u32 = 100;
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _first = Worker::with(&nats, &journal, "first").start().await;
    let mut senders = Vec::new();
    let mut echoes = Vec::new();
    for client in Client::connect_many(&gateway, CLIENTS).await {
        let (sender, receiver) = client.split();
        senders.push(sender);
        echoes.push(tokio::spawn(read_echoes(receiver, EACH)));
    }

    join_all(senders.iter_mut().map(|s| send(s, 0..30))).await;
    let mut second = Worker::with(&nats, &journal, "second").start().await;
    let mut third = Worker::with(&nats, &journal, "third").start().await;
    join_all(senders.iter_mut().map(|s| send(s, 30..80))).await;
    handled(&journal, "second", 500).await;
    handled(&journal, "third", 500).await;
    second.terminate();
    third.terminate();
    join_all(senders.iter_mut().map(|s| send(s, 80..EACH))).await;
    second.wait_for_success().await;
    third.wait_for_success().await;
    join_all(senders.iter_mut().map(|s| s.send("fence"))).await;
    for echo in echoes {
        within_secs(120, "all echoes of a client", echo)
            .await
            .expect("in order");
    }

    let clients = journal.by_client();
    assert_eq!(clients.len(), CLIENTS);
    for entries in clients.values() {
        let texts = entries.iter().map(|e| e.text.clone());
        let expected = (0..EACH).map(|n| n.to_string()).chain(["fence".into()]);
        assert!(texts.eq(expected), "handled once, in order");
    }
    let messages = journal.of("message");
    let shares = shares(&messages);
    assert!(shares.values().all(|n| *n >= 500), "{shares:?}");
}

/// Proves that a batch whose worker dies without a word goes to another one, marked as a repeat,
/// before the events behind it.
#[tokio::test]
async fn nothing_is_lost_when_a_worker_is_killed_among_two_thousand_events() {
    const CLIENTS: usize = 100;
    const EACH: usize = 20;
    const ACK_WAIT: Duration = Duration::from_secs(2);
    const SLACK: Duration = Duration::from_secs(2);
    let nats = Nats::start().await;
    let ack_wait = format!("{}s", ACK_WAIT.as_secs());
    let gateway = Gateway::with(&nats)
        .option("--ack-wait", ack_wait)
        .start()
        .await;
    let journal = Journal::new();
    let slow = |name| Worker::with(&nats, &journal, name).env("WORKER_DELAY_MS", "30");
    let mut victim = slow("victim").start().await;
    let _heir = slow("heir").start().await;
    let mut clients = Client::connect_many(&gateway, CLIENTS).await;
    let fits = |e: &Entry| e.kind == "websocket";
    journal.wait("websocket", CLIENTS, fits).await;

    for client in &mut clients {
        for n in 0..EACH {
            client.send(format!("quiet {n}")).await;
        }
    }
    handled(&journal, "victim", 100).await;
    victim.kill().await;
    let killed = gatebus_tests::journal::now();

    let last = format!("quiet {}", EACH - 1);
    let fits = |e: &Entry| e.kind == "message" && e.text == last;
    journal
        .wait("last message of a client", CLIENTS, fits)
        .await;
    assert!(
        journal.of("message").iter().any(|e| e.attempt > 1),
        "the victim had something in its hands"
    );
    for (client, entries) in journal.by_client() {
        let texts = (0..EACH).map(|n| format!("quiet {n}"));
        assert_all_in_order(&entries, &texts.collect::<Vec<_>>());
        let after = entries.iter().find(|e| e.at > killed);
        let gap = after.map_or(Duration::ZERO, |e| Duration::from_nanos(e.at - killed));
        assert!(gap < ACK_WAIT + SLACK, "{client}: nothing for {gap:?}");
    }
}

/// Proves that a worker whose handlers are all taken passes events on, and that this is no attempt.
#[tokio::test]
async fn a_busy_worker_does_not_hold_up_clients_while_another_is_idle() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let narrow = |name| Worker::with(&nats, &journal, name).concurrency(1);
    let mut one = narrow("one").start().await;
    let mut other = narrow("other").start().await;
    let mut clients = Client::connect_many(&gateway, 20).await;
    let mut holder = clients.pop().expect("one of 20");

    holder.send("hold gate").await;
    let held = journal.find("held", |e| e.kind == "held").await;
    for client in &mut clients {
        for _ in 0..5 {
            assert_ne!(client.who_am_i().await["worker"], held.worker.as_str());
        }
    }
    assert!(
        journal.entries().iter().all(|e| e.attempt <= 1),
        "busy is no attempt"
    );
    let busy = gateway.metric("gatebus_gateway_acks_total", "busy").await;
    assert!(busy > 0.0, "the busy one was asked");
    one.open("gate").await;
    other.open("gate").await;
    holder.expect("released gate").await;
}

//! Sticky routing: a client keeps its worker while it is there, and loses nothing when it is not.

use std::{collections::BTreeSet, time::Duration};

use async_nats::{Message, RequestErrorKind, Subscriber};
use futures_util::{StreamExt, future::join_all};
use gatebus_tests::{
    Client, Entry, Gateway, Journal, Nats, NatsCluster, Worker, eventually, gateway::Options,
    within,
};
use wire::{AckMessage, AckStatus, EventBatch, ServiceName, Subjects, WorkerId, subject};

use crate::{
    many::ack,
    order::{assert_all_in_order, handled, read_echoes, send},
};

const MOVED: &str = "gatebus_gateway_clients_moved_total";

fn gateway(nats: &Nats) -> Options {
    Gateway::with(nats).listen("websocket://127.0.0.1:0?service=test&routing=sticky")
}

/// The subject of its own of the only worker that runs.
async fn own_subject(nats: &Nats, bus: &async_nats::Client) -> String {
    let beats = bus.subscribe(nats.subject("beat.worker.*")).await;
    let mut beats = beats.expect("a subject");
    let beat = within("a beat", beats.next()).await.expect("one");
    let worker = subject::last_token(&beat.subject);
    nats.subject(&format!("worker.{worker}.message"))
}

/// Waits until the server knows that nobody is there.
async fn nobody_hears(bus: &async_nats::Client, subject: &str) {
    let ask = || {
        let request = async_nats::Request::new().timeout(Some(Duration::from_millis(200)));
        bus.send_request(subject.to_owned(), request)
    };
    eventually(format!("nobody to hear {subject}"), || async {
        let refused = ask().await.err()?;
        (refused.kind() == RequestErrorKind::NoResponders).then_some(())
    })
    .await;
}

/// Who handled a client's events, in the order in which they came to it.
fn workers(entries: &[Entry]) -> Vec<&str> {
    let mut workers: Vec<_> = entries.iter().map(|e| e.worker.as_str()).collect();
    workers.dedup();
    workers
}

/// Proves that the first worker that a client meets is its worker from then on, although others are
/// idle, and that the clients share the workers out among them.
#[tokio::test]
async fn a_client_keeps_its_worker_and_clients_are_spread_over_the_workers() {
    const CLIENTS: usize = 40;
    const EACH: usize = 200;
    let nats = Nats::start().await;
    let gateway = gateway(&nats).start().await;
    let journal = Journal::new();
    let start = |name| Worker::with(&nats, &journal, name).start();
    let _workers = join_all(["one", "two", "three"].map(start)).await;
    let clients = Client::connect_many(&gateway, CLIENTS).await;
    join_all(clients.into_iter().map(|mut client| async move {
        for n in 0..EACH {
            assert_eq!(client.ask(n.to_string()).await, n.to_string());
        }
    }))
    .await;

    let clients = journal.by_client();
    assert_eq!(clients.len(), CLIENTS);
    let mut taken = BTreeSet::new();
    let entries = journal.entries();
    for (client, messages) in &clients {
        assert_eq!(messages.len(), EACH);
        let all: Vec<_> = entries
            .iter()
            .filter(|e| e.client == *client)
            .cloned()
            .collect();
        assert_eq!(workers(&all).len(), 1, "{client}: from its first event on");
        taken.extend(all.into_iter().map(|e| e.worker));
    }
    assert_eq!(taken.len(), 3, "{taken:?}");
    assert_eq!(gateway.metric(MOVED, "").await, 0.0);
}

/// Proves order and exactly one handling while workers go from one to three and back to one: those
/// who had the first worker keep it while it is there, and then move without a repeat.
#[tokio::test]
async fn two_hundred_sticky_clients_lose_and_repeat_nothing_while_workers_come_and_go() {
    const CLIENTS: usize = 100;
    const EACH: u32 = 120;
    let nats = Nats::start().await;
    let gateway = gateway(&nats).start().await;
    let journal = Journal::new();
    let mut first = Worker::with(&nats, &journal, "first").start().await;
    let (mut senders, mut echoes) = (Vec::new(), Vec::new());
    let connect = async || {
        let clients = Client::connect_many(&gateway, CLIENTS).await;
        clients.into_iter().map(Client::split).collect::<Vec<_>>()
    };
    for (sender, receiver) in connect().await {
        senders.push(sender);
        echoes.push(tokio::spawn(read_echoes(receiver, EACH)));
    }
    join_all(senders.iter_mut().map(|s| send(s, 0..30))).await;
    handled(&journal, "first", CLIENTS * 30).await;

    let mut second = Worker::with(&nats, &journal, "second").start().await;
    let _third = Worker::with(&nats, &journal, "third").start().await;
    for (sender, receiver) in connect().await {
        senders.push(sender);
        echoes.push(tokio::spawn(read_echoes(receiver, EACH)));
    }
    let (old, new) = senders.split_at_mut(CLIENTS);
    join_all(old.iter_mut().map(|s| send(s, 30..60))).await;
    join_all(new.iter_mut().map(|s| send(s, 0..60))).await;
    journal.wait_messages(CLIENTS * 60 + CLIENTS * 60).await;
    let before = journal.by_client();
    let loyal = before.values().filter(|e| workers(e) == ["first"]).count();
    assert!(
        loyal >= CLIENTS,
        "all that came while it was alone: {loyal}"
    );

    first.terminate();
    second.terminate();
    join_all(senders.iter_mut().map(|s| send(s, 60..EACH))).await;
    first.wait_for_success().await;
    second.wait_for_success().await;
    join_all(senders.iter_mut().map(|s| s.send("fence"))).await;
    for echo in echoes {
        within("all echoes of a client", echo)
            .await
            .expect("in order");
    }
    let clients = journal.by_client();
    assert_eq!(clients.len(), 2 * CLIENTS);
    for (client, entries) in clients {
        let texts = entries.iter().map(|e| e.text.clone());
        let expected = (0..EACH).map(|n| n.to_string()).chain(["fence".into()]);
        assert!(texts.eq(expected), "{client}: handled once, in order");
        assert!(entries.iter().all(|e| e.attempt <= 1), "{client}");
        assert_eq!(entries.last().expect("the fence").worker, "third");
    }
    assert!(gateway.metric(MOVED, "gone").await >= CLIENTS as f64);
    assert_eq!(gateway.metric(MOVED, "silent").await, 0.0);
}

/// Proves that what a worker had in its hands when it was killed is handled by others, in its place
/// and marked, and that its other clients move at once.
#[tokio::test]
async fn sticky_clients_lose_nothing_when_their_worker_is_killed() {
    const CLIENTS: usize = 60;
    const EACH: usize = 20;
    const ACK_WAIT: Duration = Duration::from_secs(2);
    const SLACK: Duration = Duration::from_secs(2);
    let nats = Nats::start().await;
    let gateway = gateway(&nats).option("--ack-wait", "2s").start().await;
    let journal = Journal::new();
    let slow = |name| Worker::with(&nats, &journal, name).env("WORKER_DELAY_MS", "30");
    let mut victim = slow("victim").start().await;
    let bus = nats.client().await;
    let victims = own_subject(&nats, &bus).await;
    let mut clients = Client::connect_many(&gateway, CLIENTS).await;
    let mut idle = Client::connect(&gateway).await;
    assert_eq!(idle.who_am_i().await["worker"], "victim");
    let _heirs = join_all(["heir", "other heir"].map(|name| slow(name).start())).await;
    for client in &mut clients {
        for n in 0..EACH {
            client.send(format!("quiet {n}")).await;
        }
    }
    handled(&journal, "victim", 100).await;
    victim.kill().await;
    let killed = gatebus_tests::journal::now();
    // until the server has read the end of its connection it sends there as before
    nobody_hears(&bus, &victims).await;
    let met = idle.who_am_i().await;
    assert_ne!(met["worker"], "victim");
    assert!(met["attempt"].as_u64() <= Some(1), "nobody had it: {met}");

    let last = format!("quiet {}", EACH - 1);
    let fits = |e: &Entry| e.kind == "message" && e.text == last;
    journal
        .wait("last message of a client", CLIENTS, fits)
        .await;
    let mut clients = journal.by_client();
    clients.retain(|_, entries| entries[0].text != "whoami");
    assert!(
        clients.values().flatten().any(|e| e.attempt > 1),
        "the victim had something in its hands"
    );
    for (client, entries) in clients {
        let texts = (0..EACH).map(|n| format!("quiet {n}"));
        assert_all_in_order(&entries, &texts.collect::<Vec<_>>());
        let met = workers(&entries);
        assert!(met.len() <= 2, "{client} moved once: {met:?}");
        let after = entries.iter().find(|e| e.at > killed);
        let gap = after.map_or(Duration::ZERO, |e| Duration::from_nanos(e.at - killed));
        assert!(gap < ACK_WAIT + SLACK, "{client}: nothing for {gap:?}");
    }
}

/// Proves that a worker which stands still loses its clients after `ack_wait`, and that what it does
/// when it goes on again changes nothing.
#[tokio::test]
async fn a_worker_that_stands_still_loses_its_clients() {
    let nats = Nats::start().await;
    // The queue group may pick the one that stands still again, several times in a row.
    let gateway = gateway(&nats)
        .option("--ack-wait", "500ms")
        .option("--max-attempts", "30")
        .start()
        .await;
    let journal = Journal::new();
    let still = Worker::with(&nats, &journal, "still").start().await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("before").await, "before");
    let _other = Worker::with(&nats, &journal, "other").start().await;
    let _third = Worker::with(&nats, &journal, "third").start().await;
    still.hold().await;
    assert_eq!(client.ask("meanwhile").await, "meanwhile");
    let met = client.who_am_i().await;
    assert_ne!(met["worker"], "still");
    assert!(gateway.metric(MOVED, "silent").await >= 1.0);
    still.go_on();
    gateway
        .wait_metric("gatebus_gateway_acks_late_total", "", 1.0)
        .await;
    let now = client.who_am_i().await;
    assert_eq!(now["worker"], met["worker"], "it stays where it is");
}

/// Proves that events of sticky clients wait, like any others, where no worker runs at all.
#[tokio::test]
async fn sticky_clients_outlive_the_only_worker() {
    let nats = Nats::start().await;
    let gateway = gateway(&nats).option("--shards", "1").start().await;
    let journal = Journal::new();
    let mut old = Worker::with(&nats, &journal, "old").start().await;
    let mut clients = Client::connect_many(&gateway, 10).await;
    for client in &mut clients {
        assert_eq!(client.ask("before").await, "before");
    }
    old.terminate();
    old.wait_for_success().await;
    for client in &mut clients {
        client.send("between").await;
    }
    gateway
        .wait_metric("gatebus_gateway_batches_refused_total", "", 10.0)
        .await;
    assert_eq!(gateway.metric(MOVED, "gone").await, 10.0);
    assert_eq!(gateway.log.count("no worker runs"), 1);
    let _new = Worker::with(&nats, &journal, "new").start().await;
    for client in &mut clients {
        client.expect("between").await;
        assert_eq!(client.who_am_i().await["worker"], "new");
    }
    assert!(journal.entries().iter().all(|e| e.attempt <= 1));
}

/// Proves that clients move without a loss, and in order, also when gateway and workers are at
/// different servers. What was on its way while the servers told each other that the worker has
/// left comes again, and says so.
#[tokio::test]
async fn clients_move_in_order_also_across_a_cluster() {
    const CLIENTS: usize = 30;
    const EACH: u32 = 60;
    let servers = NatsCluster::start(2).await;
    let gateway = gateway(&servers[0])
        .option("--ack-wait", "1s")
        .start()
        .await;
    let journal = Journal::new();
    let mut first = Worker::with(&servers[1], &journal, "first").start().await;
    let clients = Client::connect_many(&gateway, CLIENTS).await;
    let (mut senders, mut receivers): (Vec<_>, Vec<_>) =
        clients.into_iter().map(Client::split).unzip();
    join_all(senders.iter_mut().map(|s| send(s, 0..30))).await;
    handled(&journal, "first", CLIENTS * 30).await;
    let _second = Worker::with(&servers[1], &journal, "second").start().await;
    first.terminate();
    join_all(senders.iter_mut().map(|s| send(s, 30..EACH))).await;
    first.wait_for_success().await;
    join_all(senders.iter_mut().map(|s| s.send("fence"))).await;
    join_all(
        receivers
            .iter_mut()
            .map(|receiver| async move { while receiver.text().await != "fence" {} }),
    )
    .await;
    let expected: Vec<_> = (0..EACH)
        .map(|n| n.to_string())
        .chain(["fence".into()])
        .collect();
    let clients = journal.by_client();
    assert_eq!(clients.len(), CLIENTS);
    for entries in clients.values() {
        assert_all_in_order(entries, &expected);
        assert_eq!(entries.last().expect("the fence").worker, "second");
    }
}

/// Proves that routing is a listener's own business.
#[tokio::test]
async fn two_services_of_one_gateway_are_routed_each_in_its_way() {
    const EACH: usize = 60;
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .listen("websocket://127.0.0.1:0?service=game&routing=sticky")
        .listen("websocket://127.0.0.1:0?service=chat&routing=queue")
        .start()
        .await;
    let journal = Journal::new();
    let start = |(name, service)| Worker::with(&nats, &journal, name).service(service).start();
    let _workers = join_all(
        [
            ("game 1", "game"),
            ("game 2", "game"),
            ("chat 1", "chat"),
            ("chat 2", "chat"),
        ]
        .map(start),
    )
    .await;
    let mut met = Vec::new();
    for port in gateway.ports() {
        let mut client = Client::to(*port, "/").connect().await;
        let mut seen = BTreeSet::new();
        for _ in 0..EACH {
            seen.insert(client.who_am_i().await["worker"].to_string());
        }
        met.push(seen);
    }
    assert_eq!(met[0].len(), 1, "sticky: {met:?}");
    assert!(met[0].iter().all(|w| w.contains("game")), "{met:?}");
    assert_eq!(met[1].len(), 2, "queue: {met:?}");
    assert!(met[1].iter().all(|w| w.contains("chat")), "{met:?}");
}

/// A worker of a few lines, which shows by which subject a batch came.
struct Bare {
    nats: async_nats::Client,
    id: WorkerId,
    own: Subscriber,
    shared: Subscriber,
}

impl Bare {
    async fn start(nats: &Nats) -> Self {
        let client = nats.client().await;
        let id = WorkerId::from_bytes(rand::random());
        let subjects = Subjects::new(nats.prefix().parse().expect("a prefix"));
        let service = ServiceName::new("test").expect("a name");
        let own = client.subscribe(subjects.worker_events(id)).await;
        let shared = client
            .queue_subscribe(subjects.events(&service), service.to_string())
            .await;
        client.flush().await.expect("the server is there");
        Self {
            nats: client,
            id,
            own: own.expect("subscribed"),
            shared: shared.expect("subscribed"),
        }
    }

    async fn ack(&self, message: Message, status: AckStatus) -> EventBatch {
        let batch: EventBatch = wire::decode(&message.payload).expect("a batch");
        let acks = AckMessage {
            worker: self.id,
            many: false,
            acks: vec![ack(&batch, status)],
        };
        let reply = message.reply.expect("a batch wants an ack");
        let sent = self.nats.publish(reply, wire::encode(&acks).into()).await;
        sent.expect("published");
        batch
    }
}

async fn next(subscription: &mut Subscriber) -> Message {
    within("a batch", subscription.next()).await.expect("one")
}

/// Proves that a client waits for its busy worker, but not for ever; and that a worker which cannot
/// be reached by itself costs no attempt.
#[tokio::test]
async fn a_busy_worker_keeps_its_client_for_eight_answers_and_none_is_an_attempt() {
    const BUSY: u32 = 8;
    let nats = Nats::start().await;
    let gateway = gateway(&nats).option("--shards", "1").start().await;
    let mut worker = Bare::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    let coming = next(&mut worker.shared).await;
    assert_eq!(worker.ack(coming, AckStatus::Done).await.seq, 1);
    // less than the bound, and then it has room: it is the same worker
    client.send("zero").await;
    for _ in 0..BUSY - 1 {
        let zero = next(&mut worker.own).await;
        let batch = worker.ack(zero, AckStatus::Busy).await;
        assert_eq!((batch.seq, batch.attempt), (2, 1));
    }
    let zero = next(&mut worker.own).await;
    worker.ack(zero, AckStatus::Done).await;

    client.send("one").await;
    for _ in 0..BUSY {
        let one = next(&mut worker.own).await;
        let batch = worker.ack(one, AckStatus::Busy).await;
        assert_eq!((batch.seq, batch.attempt), (3, 1));
    }
    let one = next(&mut worker.shared).await;
    let batch = worker.ack(one, AckStatus::Done).await;
    assert_eq!((batch.seq, batch.attempt), (3, 1), "anybody's now");
    assert_eq!(gateway.metric(MOVED, "busy").await, 1.0);

    worker.own.unsubscribe().await.expect("connected");
    // a flush hands the UNSUB to the socket; that the server has read it is this
    let own = nats.subject(&format!("worker.{}.message", worker.id));
    nobody_hears(&worker.nats, &own).await;
    for seq in 4..8 {
        client.send("more").await;
        let more = next(&mut worker.shared).await;
        let batch = worker.ack(more, AckStatus::Done).await;
        assert_eq!((batch.seq, batch.attempt), (seq, 1));
    }
    assert_eq!(gateway.metric(MOVED, "gone").await, 4.0);
    assert_eq!(
        gateway
            .metric("gatebus_gateway_batches_refused_total", "")
            .await,
        0.0
    );
}

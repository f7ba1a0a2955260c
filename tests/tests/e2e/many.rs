//! Event messages: batches of several clients travel together where there are many of them, and are
//! each on its own for all that.

use std::{collections::BTreeMap, time::Duration};

use async_nats::Message;
use futures_util::{
    StreamExt,
    future::join_all,
    stream::{self, BoxStream},
};
use gatebus_tests::{Client, Gateway, Journal, Nats, Worker, eventually, gateway::Options, within};
use wire::{
    Ack, AckMessage, AckStatus, ConnId, EventBatch, EventMessage, ServiceName, Subjects, WorkerId,
    subject,
};

const CLIENTS: usize = 100;
/// How many share a message: so that there are eight messages for the one worker.
const SHARE: usize = CLIENTS / 8;
const RECEIVED: &str = "gatebus_gateway_received_messages_total";

/// A worker by hand, which answers when it is told to.
struct Hand {
    nats: async_nats::Client,
    subjects: Subjects,
    id: WorkerId,
    /// Whether it says that it takes several batches in a message.
    many: bool,
    events: BoxStream<'static, Message>,
}

/// What came in one message.
struct Delivery {
    many: bool,
    /// Whether it was for this very worker.
    straight: bool,
    batches: Vec<EventBatch>,
}

impl Hand {
    async fn start(nats: &Nats, many: bool) -> Self {
        Self::start_as(nats, nats.client().await, many).await
    }

    async fn start_as(nats: &Nats, client: async_nats::Client, many: bool) -> Self {
        let id = WorkerId::from_bytes(rand::random());
        let subjects = Subjects::new(nats.prefix().parse().expect("a prefix"));
        let service = ServiceName::new("test").expect("a name");
        let (shared, own) = if many {
            (
                subjects.events_many(&service),
                subjects.worker_events_many(id),
            )
        } else {
            (subjects.events(&service), subjects.worker_events(id))
        };
        let shared = client.queue_subscribe(shared, service.to_string()).await;
        let own = client.subscribe(own).await.expect("subscribed");
        client.flush().await.expect("the server is there");
        Self {
            nats: client,
            subjects,
            id,
            many,
            events: stream::select(shared.expect("subscribed"), own).boxed(),
        }
    }

    async fn next(&mut self) -> Delivery {
        let message = within("events", self.events.next()).await.expect("some");
        let (_, many) = subject::event(&message.subject).expect("a subject of events");
        let batches = if many {
            let message: EventMessage = wire::decode(&message.payload).expect("an event message");
            message.batches
        } else {
            vec![wire::decode(&message.payload).expect("a batch")]
        };
        let reply = message.reply.expect("batches want acks");
        let conns: Vec<ConnId> = batches.iter().map(|batch| batch.client.conn).collect();
        assert_eq!(
            *reply,
            *self.subjects.ack(batches[0].client.gateway, conns),
            "the reply subject names all"
        );
        Delivery {
            many,
            straight: message.subject.contains(&self.id.to_string()),
            batches,
        }
    }

    /// Takes so many batches, in however many messages.
    async fn take(&mut self, batches: usize) -> Vec<Delivery> {
        let (mut deliveries, mut left) = (Vec::new(), batches);
        while left > 0 {
            let delivery = self.next().await;
            left = left.checked_sub(delivery.batches.len()).expect("no more");
            deliveries.push(delivery);
        }
        deliveries
    }

    /// Acks all of them, in one message.
    async fn done(&self, deliveries: &[Delivery]) {
        let batches: Vec<_> = deliveries.iter().flat_map(|d| &d.batches).collect();
        let acks = AckMessage {
            worker: self.id,
            many: self.many,
            acks: batches
                .iter()
                .map(|batch| ack(batch, AckStatus::Done))
                .collect(),
        };
        let to = self.subjects.acks(batches[0].client.gateway);
        let sent = self.nats.publish(to, wire::encode(&acks).into()).await;
        sent.expect("published");
    }
}

/// An ack that only says what became of a batch.
pub(crate) fn ack(batch: &EventBatch, status: AckStatus) -> Ack {
    Ack {
        conn: batch.client.conn,
        seq: batch.seq,
        attempt: batch.attempt,
        status,
        handled: 0,
        failed: 0,
        session: None,
        commands: Vec::new(),
    }
}

fn gateway(nats: &Nats, routing: &str) -> Options {
    Gateway::with(nats)
        .listen(format!(
            "websocket://127.0.0.1:0?service=test&routing={routing}"
        ))
        .option("--shards", "1")
}

/// Many clients that the worker knows, each with a batch in its hands and a message behind that: when
/// it acks those, so many batches are ready at once. Until then there is one at a time.
async fn crowd(gateway: &Gateway, worker: &mut Hand) -> (Vec<Client>, Vec<Delivery>) {
    let (mut clients, mut first) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        clients.push(Client::connect(gateway).await);
        let coming = worker.next().await;
        worker.done(&[coming]).await;
    }
    for client in &mut clients {
        client.send("first").await;
        first.push(worker.next().await);
    }
    assert!(first.iter().all(|delivery| !delivery.many), "one is alone");
    join_all(clients.iter_mut().map(|client| client.send("second"))).await;
    gateway
        .wait_metric(RECEIVED, "", 2.0 * CLIENTS as f64)
        .await;
    (clients, first)
}

/// Proves that what is ready at once shares messages, in parts that leave enough messages for all
/// workers, and that a worker which keeps its clients gets theirs by itself.
#[tokio::test]
async fn what_is_ready_at_once_shares_messages() {
    for (routing, share) in [("queue", SHARE), ("sticky", wire::event::MAX_BATCHES)] {
        let nats = Nats::start().await;
        let gateway = gateway(&nats, routing).start().await;
        let mut worker = Hand::start(&nats, true).await;
        let (_clients, first) = crowd(&gateway, &mut worker).await;
        worker.done(&first).await;
        let second = worker.take(CLIENTS).await;
        assert_eq!(second.len(), CLIENTS.div_ceil(share), "{routing}");
        for delivery in &second {
            assert!(
                delivery.many && delivery.batches.len() <= share,
                "{routing}"
            );
            assert_eq!(delivery.straight, routing == "sticky");
        }
        let batches = second.iter().flat_map(|d| &d.batches);
        let seqs: BTreeMap<_, _> = batches
            .map(|b| (b.client.conn.0, (b.seq, b.attempt)))
            .collect();
        assert_eq!(seqs.len(), CLIENTS, "each client's batch, and each once");
        assert!(seqs.values().all(|seq| *seq == (3, 1)));
    }
}

/// Proves that the permissions that operators are given as an example are enough for that.
#[tokio::test]
async fn the_roles_of_the_example_let_batches_share_messages() {
    let nats = Nats::start_roles().await;
    let url = nats.url_of("gateway");
    let gateway = gateway(&nats, "queue").env("NATS_URL", url).start().await;
    let bus = nats.client_of("worker").await;
    let mut worker = Hand::start_as(&nats, bus, true).await;
    let (_clients, first) = crowd(&gateway, &mut worker).await;
    worker.done(&first).await;
    let second = worker.take(CLIENTS).await;
    assert!(second.iter().all(|delivery| delivery.many));
    assert_eq!(nats.violations(), Vec::<String>::new());
}

/// Proves that a gateway which may not publish event messages says so, loses nothing, and goes on
/// with one batch in a message.
#[tokio::test]
async fn where_the_server_refuses_event_messages_batches_travel_alone() {
    let users = "{ user: gateway, password: p, permissions: { publish: { deny: \"*.event.*.*.many\" } } }, \
                 { user: worker, password: p }";
    let nats = Nats::start_guarded(&format!("authorization {{ users: [{users}] }}")).await;
    let gateway = gateway(&nats, "queue")
        .env("NATS_URL", nats.url().replace("://", "://gateway:p@"))
        .option("--ack-wait", "5s")
        .start()
        .await;
    let options = async_nats::ConnectOptions::with_user_and_password("worker".into(), "p".into());
    let bus = Box::pin(options.connect(nats.url())).await;
    let mut worker = Hand::start_as(&nats, bus.expect("let in"), true).await;
    let (mut clients, first) = crowd(&gateway, &mut worker).await;
    worker.done(&first).await;
    let says = "messages of several batches, so each batch travels alone";
    let pick = |line: &str| line.contains(says).then_some(());
    gateway.log.find("what is refused", pick).await;
    let again = worker.take(CLIENTS).await;
    assert!(again.iter().all(|d| !d.many && d.batches[0].seq == 3));
    join_all(clients.iter_mut().map(|client| client.send("third"))).await;
    gateway
        .wait_metric(RECEIVED, "", 3.0 * CLIENTS as f64)
        .await;
    worker.done(&again).await;
    let third = worker.take(CLIENTS).await;
    assert!(third.iter().all(|d| !d.many && d.batches[0].attempt == 1));
}

/// Proves that a worker which does not say that it takes several batches gets one in a message.
#[tokio::test]
async fn a_plain_worker_gets_one_batch_in_a_message() {
    for routing in ["queue", "sticky"] {
        let nats = Nats::start().await;
        let gateway = gateway(&nats, routing).start().await;
        let mut worker = Hand::start(&nats, false).await;
        let (_clients, first) = crowd(&gateway, &mut worker).await;
        worker.done(&first).await;
        let second = worker.take(CLIENTS).await;
        assert_eq!(second.len(), CLIENTS);
        assert!(second.iter().all(|delivery| !delivery.many));
    }
}

/// Proves that one plain worker among others is enough, so that it gets its share of the batches.
#[tokio::test]
async fn with_one_plain_worker_nothing_is_shared() {
    let nats = Nats::start().await;
    let gateway = gateway(&nats, "queue").start().await;
    let mut one = Hand::start(&nats, true).await;
    let (_clients, first) = crowd(&gateway, &mut one).await;
    let mut plain = Hand::start(&nats, false).await;
    // what it acks does not matter, only that it is there
    let (half, rest) = first.split_at(first.len() / 2);
    plain.done(half).await;
    let of_half = half.iter().map(|delivery| delivery.batches.len()).sum();
    let (by_one, by_plain) = take_of_both(&mut one, &mut plain, of_half).await;
    one.done(rest).await;
    let (more_by_one, more_by_plain) = take_of_both(&mut one, &mut plain, CLIENTS - of_half).await;
    let all = by_one + by_plain + more_by_one + more_by_plain;
    assert_eq!(all, CLIENTS, "a message for each batch");
    let of_plain = by_plain + more_by_plain;
    assert!(of_plain > CLIENTS / 5, "of {all} it has {of_plain}");
}

/// Takes so many batches; in how many messages they came to each.
async fn take_of_both(one: &mut Hand, other: &mut Hand, batches: usize) -> (usize, usize) {
    let (mut of_one, mut of_other, mut left) = (0, 0, batches);
    while left > 0 {
        let delivery = tokio::select! {
            delivery = one.next() => {
                of_one += 1;
                delivery
            }
            delivery = other.next() => {
                of_other += 1;
                delivery
            }
        };
        left = left.checked_sub(delivery.batches.len()).expect("no more");
    }
    (of_one, of_other)
}

/// Proves that a batch which comes again comes alone, so that one that kills its worker harms no
/// other for a second time.
#[tokio::test]
async fn what_comes_again_comes_alone() {
    let nats = Nats::start().await;
    let gateway = gateway(&nats, "queue")
        .option("--ack-wait", "5s")
        .start()
        .await;
    let mut worker = Hand::start(&nats, true).await;
    let (_clients, first) = crowd(&gateway, &mut worker).await;
    worker.done(&first).await;
    let second = worker.take(CLIENTS).await;
    assert!(second.iter().all(|delivery| delivery.many));
    let again = worker.take(CLIENTS).await;
    assert_eq!(again.len(), CLIENTS);
    assert!(again.iter().all(|d| !d.many && d.batches[0].attempt == 2));
}

/// Proves that an event message which reaches nobody costs no attempt: with a worker that takes one
/// batch at a time its batches go there at once, and without any they wait for one.
#[tokio::test]
async fn what_nobody_takes_together_goes_out_one_by_one() {
    let nats = Nats::start().await;
    let gateway = gateway(&nats, "queue").start().await;
    let mut worker = Hand::start(&nats, true).await;
    let (mut clients, first) = crowd(&gateway, &mut worker).await;
    worker.events = stream::empty().boxed();
    nobody_takes_events(&nats).await;
    worker.done(&first).await;
    let refused = "gatebus_gateway_batches_refused_total";
    gateway.wait_metric(refused, "", CLIENTS as f64).await;

    let journal = Journal::new();
    let _worker = Worker::with(&nats, &journal, "late").start().await;
    for client in &mut clients {
        client.send("third").await;
    }
    journal.wait_messages(2 * CLIENTS).await;
    let said = journal.by_client();
    assert_eq!(said.len(), CLIENTS);
    for entries in said.values() {
        let messages = entries.iter().filter(|entry| entry.kind == "message");
        let said: Vec<_> = messages.map(|e| (e.text.as_str(), e.attempt)).collect();
        assert_eq!(said, [("second", 1), ("third", 1)]);
    }
}

/// Waits until the server knows that no worker is there.
async fn nobody_takes_events(nats: &Nats) {
    let bus = nats.client().await;
    for rest in ["event.test.message", "event.test.message.many"] {
        let subject = nats.subject(rest);
        eventually(format!("nobody to hear {subject}"), || async {
            let request = async_nats::Request::new().timeout(Some(Duration::from_millis(200)));
            let refused = bus.send_request(subject.clone(), request).await.err()?;
            (refused.kind() == async_nats::RequestErrorKind::NoResponders).then_some(())
        })
        .await;
    }
}

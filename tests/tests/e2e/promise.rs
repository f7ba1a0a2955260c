//! The first promise in each protocol and with each routing: what a client says is handled, all of
//! it, in its order, and once; or, where a worker died with it in its hands, again and marked so.

use std::ops::Range;

use data_encoding::HEXLOWER;
use gatebus_tests::{
    Bare, Client, Entry, Gateway, Journal, Nats, Worker,
    bare::frame,
    client::{Receiver, Sender},
    gateway::Options,
};

use crate::{order::handled, protocols::ALL as PROTOCOLS};

/// Clients of each protocol.
const EACH: usize = 5;
const CLIENTS: usize = PROTOCOLS.len() * EACH;

/// A client that speaks one of the protocols.
enum Person {
    Websocket(Box<(Sender, Receiver)>),
    Lines(Bare),
    Frames(Bare),
    /// Whose messages are whatever the gateway reads at once.
    Bytes(Bare),
}

/// What is said: so that it can be told apart wherever it is cut, and is the hex of nothing.
fn words(numbers: Range<usize>) -> impl Iterator<Item = String> {
    numbers.map(|n| format!("m{n:03}"))
}

impl Person {
    async fn connect(protocol: &str, port: u16) -> Self {
        match protocol {
            "websocket" => {
                let client = Client::to(port, "/").connect().await;
                Self::Websocket(Box::new(client.split()))
            }
            "text" => Self::Lines(Bare::connect(port).await),
            "frame" => Self::Frames(Bare::connect(port).await),
            _ => Self::Bytes(Bare::connect(port).await),
        }
    }

    /// Says all that, waiting for no answer.
    async fn say(&mut self, numbers: Range<usize>) {
        for word in words(numbers) {
            match self {
                Self::Websocket(socket) => socket.0.send(word).await,
                Self::Lines(socket) => socket.send(word + "\n").await,
                Self::Frames(socket) => socket.send(frame(word.as_bytes())).await,
                Self::Bytes(socket) => socket.send(word).await,
            }
        }
    }

    /// Hears all that, and nothing before or between.
    async fn hear(&mut self, numbers: Range<usize>) {
        for word in words(numbers) {
            let heard = match self {
                Self::Websocket(socket) => socket.1.text().await,
                Self::Lines(socket) => socket.line().await,
                Self::Frames(socket) => text(socket.frame().await),
                Self::Bytes(socket) => text(socket.bytes(word.len()).await),
            };
            assert_eq!(heard, word);
        }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

/// A gateway with a listener for each protocol.
fn gateway(nats: &Nats, routing: &str) -> Options {
    PROTOCOLS.iter().fold(Gateway::with(nats), |gateway, name| {
        gateway.listen(format!(
            "{name}://127.0.0.1:0?service=test&routing={routing}"
        ))
    })
}

async fn people(gateway: &Gateway) -> Vec<Person> {
    let mut people = Vec::new();
    for (protocol, port) in PROTOCOLS.iter().zip(gateway.ports()) {
        for _ in 0..EACH {
            people.push(Person::connect(protocol, *port).await);
        }
    }
    people
}

/// What workers handled of one client is all that it said, in order. What came again is marked, and
/// all that is behind it came again too.
fn assert_handled(entries: &[Entry], said: &str) {
    let (mut at, mut furthest) = (0, 0);
    for entry in entries {
        let client = &entry.client;
        let chunk = match entry.text.starts_with('m') {
            true => entry.text.clone(),
            false => text(HEXLOWER.decode(entry.text.as_bytes()).expect("hex")),
        };
        if !said[at..].starts_with(&chunk) {
            let before = said[..furthest].find(&chunk);
            at = before.unwrap_or_else(|| panic!("{client}: {chunk} out of order"));
        }
        let again = at < furthest;
        assert!(
            !again || entry.attempt > 1,
            "{client}: {chunk} twice, and not marked"
        );
        at += chunk.len();
        furthest = furthest.max(at);
    }
    assert_eq!(at, said.len(), "all of it");
}

/// Workers go from one to three and back to one, and nobody notices.
async fn come_and_go(routing: &str) {
    const MANY: usize = 150;
    let nats = Nats::start().await;
    let gateway = gateway(&nats, routing).start().await;
    let journal = Journal::new();
    let start = |name| {
        let worker = Worker::with(&nats, &journal, name);
        worker.env("WORKER_DELAY_MS", "2").start()
    };
    let mut first = start("first").await;
    let mut all = people(&gateway).await;
    for person in &mut all {
        person.say(0..50).await;
    }
    handled(&journal, "first", CLIENTS).await;
    let mut second = start("second").await;
    let _third = start("third").await;
    // with sticky routing it is the new ones that go to the new workers
    for _ in 0..2 {
        let mut new = people(&gateway).await;
        for person in &mut new {
            person.say(0..50).await;
        }
        all.append(&mut new);
    }
    for person in &mut all {
        person.say(50..100).await;
    }
    handled(&journal, "second", 1).await;
    first.terminate();
    second.terminate();
    for person in &mut all {
        person.say(100..MANY - 1).await;
    }
    first.wait_for_success().await;
    second.wait_for_success().await;
    for person in &mut all {
        person.say(MANY - 1..MANY).await;
    }
    for person in &mut all {
        person.hear(0..MANY).await;
    }

    let said: String = words(0..MANY).collect();
    let clients = journal.by_client();
    assert_eq!(clients.len(), all.len());
    for (client, entries) in &clients {
        assert_handled(entries, &said);
        assert!(entries.iter().all(|e| e.attempt <= 1), "{client}: once");
        assert_eq!(entries.last().expect("the last one").worker, "third");
    }
}

/// The only worker is killed with something of everybody in its hands, and another one comes.
async fn killed(routing: &str) {
    const MANY: usize = 40;
    let nats = Nats::start().await;
    let gateway = gateway(&nats, routing).option("--ack-wait", "1s");
    let gateway = gateway.start().await;
    let journal = Journal::new();
    let slow = Worker::with(&nats, &journal, "victim").admin();
    let mut victim = slow.env("WORKER_DELAY_MS", "2000").start().await;
    let admin = victim.admin().await;
    let mut people = people(&gateway).await;
    for person in &mut people {
        person.say(0..1).await;
    }
    for person in &mut people {
        person.hear(0..1).await;
    }
    for person in &mut people {
        person.say(1..MANY).await;
    }
    let running = "gatebus_worker_batches_running";
    admin.wait_metric(running, "", CLIENTS as f64).await;
    victim.kill().await;
    let _heir = Worker::with(&nats, &journal, "heir").start().await;
    for person in &mut people {
        person.hear(1..MANY).await;
        // a fence: nothing came twice
        person.say(MANY..MANY + 1).await;
        person.hear(MANY..MANY + 1).await;
    }

    let said: String = words(0..MANY + 1).collect();
    let clients = journal.by_client();
    assert_eq!(clients.len(), CLIENTS);
    for (client, entries) in &clients {
        assert_handled(entries, &said);
        let heirs = |e: &Entry| e.worker == "heir" && e.attempt > 1;
        assert!(entries.iter().any(heirs), "{client}: the victim had it");
    }
}

/// Proves order and exactly one handling in all four protocols, while workers come and go.
#[tokio::test]
async fn in_each_protocol_all_is_handled_once_and_in_order_while_workers_come_and_go() {
    come_and_go("queue").await;
}

/// Proves the same with sticky routing.
#[tokio::test]
async fn in_each_protocol_sticky_clients_are_handled_once_and_in_order_while_workers_come_and_go() {
    come_and_go("sticky").await;
}

/// Proves that in all four protocols nothing is lost with a worker that is killed, and that every
/// client hears each answer once.
#[tokio::test]
async fn in_each_protocol_nothing_is_lost_with_a_worker_that_is_killed() {
    killed("queue").await;
}

/// Proves the same with sticky routing.
#[tokio::test]
async fn in_each_protocol_sticky_clients_lose_nothing_with_a_worker_that_is_killed() {
    killed("sticky").await;
}

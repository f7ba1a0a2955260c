//! Another language: the worker and the pusher of `examples/python`, written from `subjects.md`.

use std::collections::HashSet;

use async_nats::Subscriber;
use futures_util::StreamExt;
use gatebus_tests::{
    Client, Gateway, Journal, Nats, Worker, eventually,
    python::{PythonWorker, push},
    within, within_secs,
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use wire::{AckMessage, AckStatus};

/// All acks of the test's workers, as anybody on the bus could see them.
async fn acks(nats: &Nats) -> Subscriber {
    let bus = nats.client().await;
    let acks = bus.subscribe(nats.subject("ack.>")).await;
    bus.flush().await.expect("the server is there");
    acks.expect("a subject")
}

async fn next(acks: &mut Subscriber) -> AckMessage {
    let message = within("an ack", acks.next()).await.expect("not the end");
    wire::decode(&message.payload).expect("an ack")
}

/// Proves that CBOR's types are the frames' types on both ways.
#[tokio::test]
async fn a_python_worker_echoes_text_as_text_and_binary_as_binary() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let _worker = PythonWorker::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    for message in [
        Message::text("hello"),
        Message::binary(b"hello".as_slice()),
        Message::text("世界 and\nmore"),
        Message::binary([0, 255, 128].as_slice()),
        Message::text(""),
        Message::binary(b"".as_slice()),
    ] {
        client.send(message.clone()).await;
        assert_eq!(client.next().await, Ok(message));
    }
}

/// Proves the order over two workers, and that one of them can be stopped under load.
#[tokio::test]
async fn a_thousand_pipelined_messages_outlive_one_of_two_python_workers_in_order() {
    const ALL: u32 = 1000;
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let mut acks = acks(&nats).await;
    let mut first = PythonWorker::start(&nats).await;
    let _second = PythonWorker::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    let mut workers = HashSet::new();
    while workers.len() < 2 {
        assert_eq!(client.ask("who takes this?").await, "who takes this?");
        workers.insert(next(&mut acks).await.worker);
    }

    let (mut sender, mut receiver) = client.split();
    for n in 0..ALL / 2 {
        sender.feed(n.to_string()).await;
    }
    sender.flush().await;
    for n in 0..100 {
        assert_eq!(receiver.text().await, n.to_string());
    }
    first.terminate();
    for n in ALL / 2..ALL {
        sender.feed(n.to_string()).await;
    }
    sender.send("fence").await;
    let rest = async {
        for n in 100..ALL {
            assert_eq!(receiver.text().await, n.to_string());
        }
        assert_eq!(receiver.text().await, "fence", "nothing comes twice");
    };
    within_secs(120, "all echoes", rest).await;
    first.wait_for_success().await;
}

/// Proves that a handler may take longer than `ack_wait`, also if its worker is told to stop
/// meanwhile: `progress` keeps its batch, and the worker ends after the ack.
#[tokio::test]
async fn a_python_worker_that_is_stopped_finishes_a_slow_handler() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--ack-wait", "2s")
        .start()
        .await;
    let mut first = PythonWorker::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    client.send("before").await;
    client.expect("before").await;
    let mut acks = acks(&nats).await;
    client.send("slow 5").await;
    let progress = next(&mut acks).await;
    assert_eq!(progress.acks[0].status, AckStatus::Progress);
    let _second = PythonWorker::start(&nats).await;
    first.terminate();

    client.expect("slept 5").await;
    first.wait_for_success().await;
    assert_eq!(client.ask("fence").await, "fence");
    loop {
        let ack = next(&mut acks).await;
        assert_eq!(ack.acks[0].attempt, 1);
        if ack.worker != progress.worker {
            break;
        }
    }
}

/// Proves `retry` in a batch's middle, and that an error is the event's own trouble.
#[tokio::test]
async fn a_python_handler_may_ask_for_its_event_again_or_fail() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let _worker = PythonWorker::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    for text in ["first", "retry 3", "slow or-not", "last"] {
        client.send(text).await;
    }
    for text in ["first", "delivered 3", "last"] {
        client.expect(text).await;
    }
    let failed = "gatebus_gateway_events_failed_total";
    gateway.wait_metric(failed, "", 1.0).await;
    assert_eq!(gateway.metric(failed, "").await, 1.0);
}

/// Proves the events beside messages: the handshake's name stands in the session, and the last event
/// knows it and the groups.
#[tokio::test]
async fn a_python_worker_tells_a_group_who_speaks_and_who_has_left() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let worker = PythonWorker::start(&nats).await;
    let mut ann = Client::to(gateway.port(), "/?name=Ann").connect().await;
    let mut bob = Client::to(gateway.port(), "/?name=Bob").connect().await;
    for client in [&mut ann, &mut bob] {
        // A dot would make two tokens of the group's name.
        assert_eq!(client.ask("join the.lobby").await, "joined the.lobby");
    }
    ann.send("say the.lobby hello, Bob").await;
    for client in [&mut ann, &mut bob] {
        client.expect("Ann: hello, Bob").await;
    }
    let address = ann.address();
    ann.close(1000, "").await;
    bob.expect("Ann has left").await;
    assert_eq!(worker.log.count(&format!("comes from {address}")), 1);
}

/// Proves that a session is the same to workers in both languages, key by key.
#[tokio::test]
async fn rust_and_python_workers_of_one_service_share_sessions() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let mut python = PythonWorker::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    client.send("set color red").await;
    client.send("set shape round").await;
    assert_eq!(client.ask("get color").await, "color is red");

    let mut rust = Worker::start(&nats, &journal).await;
    python.terminate();
    python.wait_for_success().await;
    let session = client.ask("session").await;
    let session: Value = serde_json::from_str(&session).expect("JSON");
    let expected = json!({"name": "somebody", "color": "red", "shape": "round"});
    assert_eq!(session, expected);
    client.send(r#"set color {"r": 255}"#).await;
    client.send("unset shape").await;
    assert_eq!(client.ask("fence").await, "fence");

    let mut python = PythonWorker::start(&nats).await;
    rust.terminate();
    rust.wait_for_success().await;
    assert_eq!(client.ask("get color").await, "color is {'r': 255}");
    assert_eq!(client.ask("get shape").await, "shape is None");
    client.send("unset color").await;
    assert_eq!(client.ask("get name").await, "name is somebody");

    let _rust = Worker::start(&nats, &journal).await;
    python.terminate();
    python.wait_for_success().await;
    let session = client.ask("session").await;
    let session: Value = serde_json::from_str(&session).expect("JSON");
    assert_eq!(session, json!({"name": "somebody"}));
}

/// Proves every target, both types, and the barrier: what is pushed after `bind_uid` or `join` was
/// answered arrives, although each push is a process and a connection of its own.
#[tokio::test]
async fn a_python_pusher_reaches_a_client_a_uid_a_group_and_all() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    let mut stranger = Client::connect(&gateway).await;
    let id = client.id().await;
    let (uid, group) = ("alice@example.com", "x".repeat(72));
    push(&nats, ["client", &id, "bind_uid", uid]).await;
    push(&nats, ["client", &id, "join", &group]).await;
    for target in [&["client", &id][..], &["uid", uid], &["group", &group]] {
        let words = target.iter().chain(&["text", "hello"]);
        push(&nats, words).await;
        client.expect("hello").await;
        let words = target.iter().chain(&["binary", "00ff"]);
        push(&nats, words).await;
        assert_eq!(client.binary().await, [0, 255].as_slice());
    }
    assert_eq!(stranger.ask("fence").await, "fence", "it heard nothing");
    push(&nats, ["all", "text", "everybody"]).await;
    client.expect("everybody").await;
    stranger.expect("everybody").await;
}

/// Proves that questions are answered over all gateways, and that "no" needs nobody to say it.
#[tokio::test]
async fn a_python_pusher_counts_clients_and_knows_who_is_online() {
    let nats = Nats::start().await;
    let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut members = Vec::new();
    for gateway in &gateways {
        for mut client in Client::connect_many(gateway, 2).await {
            assert_eq!(client.ask("join lobby").await, "joined lobby");
            members.push(client);
        }
    }
    let mut alice = Client::connect(&gateways[0]).await;
    assert_eq!(push(&nats, ["uid", "alice", "online"]).await, "no");
    assert_eq!(alice.ask("bind alice").await, "bound alice");
    // It gives gateways a second to beat and to answer, which a busy machine may exceed.
    let asks = [
        (&["uid", "alice", "online"][..], "yes"),
        (&["group", "lobby", "count"], "4"),
        (&["all", "count"], "5"),
    ];
    for (words, expected) in asks {
        eventually(format!("{words:?} to be {expected}"), || async {
            (push(&nats, words).await == expected).then_some(())
        })
        .await;
    }
    assert_eq!(alice.ask("unbind").await, "unbound");
    assert_eq!(push(&nats, ["uid", "alice", "online"]).await, "no");
}

//! Another language: the workers and the pushers of `examples/python`, written from `subjects.md`.

use std::collections::HashSet;

use async_nats::Subscriber;
use futures_util::StreamExt;
use gatebus_tests::{
    Client, Gateway, Journal, Nats, Worker, eventually,
    python::{Kind, PythonWorker, push, push_complete, short, short_pusher},
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

/// Proves that both are short enough to be read at a glance. That they need no other file is proved by
/// every test: they are run from a folder of their own.
#[test]
fn the_short_worker_and_the_short_pusher_have_fewer_than_60_lines() {
    for program in [short(), short_pusher()] {
        assert!(program.lines().count() < 60);
        let longest = program.lines().map(str::len).max();
        assert!(longest <= Some(100), "and not because they are long");
    }
}

/// Proves that CBOR's types are the frames' types on both ways.
#[tokio::test]
async fn python_workers_echo_text_as_text_and_binary_as_binary() {
    for kind in [Kind::Short, Kind::Complete] {
        let nats = Nats::start().await;
        let gateway = Gateway::start(&nats).await;
        let _worker = PythonWorker::start_as(&nats, kind).await;
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
}

#[tokio::test]
async fn a_thousand_pipelined_messages_outlive_one_of_two_short_python_workers_in_order() {
    a_thousand_messages_outlive_one_of_two(Kind::Short).await;
}

#[tokio::test]
async fn a_thousand_pipelined_messages_outlive_one_of_two_complete_python_workers_in_order() {
    a_thousand_messages_outlive_one_of_two(Kind::Complete).await;
}

/// Proves the order over two workers, and that one of them can be stopped under load.
async fn a_thousand_messages_outlive_one_of_two(kind: Kind) {
    const ALL: u32 = 1000;
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let mut acks = acks(&nats).await;
    let mut first = PythonWorker::start_as(&nats, kind).await;
    let _second = PythonWorker::start_as(&nats, kind).await;
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
    let attempts = gateway.metric("gatebus_gateway_batches_redelivered_total", "");
    assert_eq!(attempts.await, 0.0, "nothing had to come again");
}

/// Proves that a SIGTERM in the middle of a handler costs nothing: the ack is the last that is heard.
#[tokio::test]
async fn a_short_python_worker_that_is_stopped_finishes_what_it_has() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let lines =
        "    if event == \"slow\":\n        await asyncio.sleep(2)\n        yield \"slept\"\n";
    let mut worker = PythonWorker::start_with(&nats, lines).await;
    let mut acks = acks(&nats).await;
    let mut client = Client::connect(&gateway).await;
    next(&mut acks).await;
    client.send("slow").await;
    gateway
        .wait_metric("gatebus_gateway_batches_published_total", "", 2.0)
        .await;
    worker.terminate();
    client.expect("slept").await;
    worker.wait_for_success().await;
    assert_eq!(next(&mut acks).await.acks[0].attempt, 1);
}

/// Proves that one client's batch which comes again, because its handler is slower than `ack_wait`,
/// is handled once and answered for its newest delivery.
#[tokio::test]
async fn a_short_python_worker_takes_a_batch_that_comes_again_for_the_same_work() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats).option("--ack-wait", "1s");
    let gateway = gateway.start().await;
    let lines = "    if event == \"slow\":\n        await asyncio.sleep(3)\n    if kind == \"message\":\n        yield event\n";
    let _worker = PythonWorker::start_with(&nats, lines).await;
    let mut client = Client::connect(&gateway).await;
    client.send("slow").await;
    client.expect("slow").await;
    assert_eq!(client.ask("fence").await, "fence", "it was handled once");
    let again = "gatebus_gateway_batches_redelivered_total";
    assert!(gateway.metric(again, "").await >= 1.0);
}

/// Proves that an error is the event's own trouble.
#[tokio::test]
async fn an_event_that_fails_in_a_short_python_worker_is_counted_and_the_next_one_comes() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let lines = "    if kind == \"message\":\n        yield str(10 // int(event))\n";
    let worker = PythonWorker::start_with(&nats, lines).await;
    let mut client = Client::connect(&gateway).await;
    for text in ["5", "0", "no number", "2"] {
        client.send(text).await;
    }
    for text in ["2", "5"] {
        client.expect(text).await;
    }
    let failed = "gatebus_gateway_events_failed_total";
    gateway.wait_metric(failed, "", 2.0).await;
    assert_eq!(gateway.metric(failed, "").await, 2.0);
    assert_eq!(worker.log.count("ZeroDivisionError"), 1);
}

/// Proves that the end of a worker is no crash where NATS is away, and that its clients' events wait
/// for another.
#[tokio::test]
async fn python_workers_that_are_stopped_while_nats_is_away_end_without_a_traceback() {
    for kind in [Kind::Short, Kind::Complete] {
        let mut nats = Nats::start().await;
        let gateway = Gateway::start(&nats).await;
        let mut worker = PythonWorker::start_as(&nats, kind).await;
        let mut client = Client::connect(&gateway).await;
        assert_eq!(client.ask("hello").await, "hello");
        nats.stop().await;
        let noticed = |line: &str| line.contains("NATS: ").then_some(());
        worker.log.find("NATS is away", noticed).await;
        client.send("meanwhile").await;
        worker.terminate();
        worker.wait_for_success().await;
        let said = worker.log.whole().await.join("\n");
        assert!(!said.contains("Traceback"), "{kind:?}: {said}");

        let mut newcomer = PythonWorker::start_unready(&nats, kind);
        newcomer.log.find("NATS is away", noticed).await;
        newcomer.terminate();
        newcomer.wait().await;
        let said = newcomer.log.whole().await.join("\n");
        assert!(!said.contains("Traceback"), "{kind:?}: {said}");

        nats.start_again().await;
        let _worker = PythonWorker::start_as(&nats, kind).await;
        client.expect("meanwhile").await;
    }
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
    push_complete(&nats, ["client", &id, "join", "lobby"]).await;
    for target in [&["client", &id][..], &["uid", uid], &["group", &group]] {
        let words = target.iter().chain(&["text", "hello"]);
        push(&nats, words).await;
        client.expect("hello").await;
        let words = target.iter().chain(&["binary", "00ff"]);
        push(&nats, words).await;
        assert_eq!(client.binary().await, [0, 255].as_slice());
    }
    push_complete(&nats, ["group", "lobby", "text", "hello"]).await;
    client.expect("hello").await;
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
    assert_eq!(push_complete(&nats, ["uid", "alice", "online"]).await, "no");
    assert_eq!(alice.ask("bind alice").await, "bound alice");
    // It gives gateways a second to beat and to answer, which a busy machine may exceed.
    let asks = [
        (&["uid", "alice", "online"][..], "yes"),
        (&["group", "lobby", "count"], "4"),
        (&["all", "count"], "5"),
    ];
    for (words, expected) in asks {
        eventually(format!("{words:?} to be {expected}"), || async {
            (push_complete(&nats, words).await == expected).then_some(())
        })
        .await;
    }
    assert_eq!(alice.ask("unbind").await, "unbound");
    assert_eq!(push_complete(&nats, ["uid", "alice", "online"]).await, "no");
}

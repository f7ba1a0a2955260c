//! Operations: what an operator sees of gateways and workers.

use std::{collections::BTreeSet, time::Duration};

use futures_util::StreamExt;
use gatebus_tests::{Client, Gateway, Journal, Nats, Worker, eventually, within};
use serde_json::Value;
use wire::{GatewayBeat, NodeState, WorkerBeat};

/// Asks a question that any number of nodes answer, and takes so many answers.
async fn ask(bus: &async_nats::Client, subject: &str, many: usize) -> Vec<Value> {
    let inbox = bus.new_inbox();
    let mut answers = bus.subscribe(inbox.clone()).await.expect("a subject");
    bus.publish_with_reply(subject.to_owned(), inbox, "".into())
        .await
        .expect("a subject");
    let mut found = Vec::new();
    while found.len() < many {
        let answer = within(
            format!("answer {} to {subject}", found.len()),
            answers.next(),
        )
        .await;
        let answer = answer.expect("an answer");
        assert!(answer.status.is_none(), "nobody answers {subject}");
        found.push(serde_json::from_slice(&answer.payload).expect("JSON"));
    }
    found
}

/// Proves that `nats micro ls`, `info` and `stats` show gateways and workers (ADR-32).
#[tokio::test]
async fn gateways_and_workers_answer_as_nats_micro_services() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats).option("--shards", "1").start().await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    client.id().await;
    let bus = nats.client().await;

    for verb in ["PING", "INFO", "STATS"] {
        let answers = ask(&bus, &format!("$SRV.{verb}"), 2).await;
        let names: BTreeSet<_> = answers.iter().filter_map(|a| a["name"].as_str()).collect();
        assert_eq!(names, BTreeSet::from(["gatebus-gateway", "gatebus-worker"]));
        for answer in answers {
            let kind = format!("io.nats.micro.v1.{}_response", verb.to_ascii_lowercase());
            assert_eq!(answer["type"], kind.as_str());
            let (name, id) = (
                answer["name"].as_str().expect("a name"),
                answer["id"].as_str().expect("an id"),
            );
            let version = answer["version"].as_str().expect("a version");
            assert_eq!(version.split('.').count(), 3, "{version}");
            assert_eq!(answer["metadata"]["prefix"], nats.prefix());
            // The same by name, and by name and id.
            for subject in [
                format!("$SRV.{verb}.{name}"),
                format!("$SRV.{verb}.{name}.{id}"),
            ] {
                assert_eq!(ask(&bus, &subject, 1).await[0]["id"], id);
            }
            match verb {
                "INFO" => {
                    assert!(
                        answer["description"]
                            .as_str()
                            .is_some_and(|d| !d.is_empty())
                    );
                    let endpoints = answer["endpoints"].as_array().expect("a list");
                    assert!(endpoints.iter().all(|e| {
                        e["subject"]
                            .as_str()
                            .is_some_and(|s| s.starts_with(nats.prefix()))
                    }));
                }
                "STATS" => {
                    let started = answer["started"].as_str().expect("a time");
                    assert!(started.ends_with('Z') && started.contains('T'), "{started}");
                    let endpoints = answer["endpoints"].as_array().expect("a list");
                    assert!(
                        endpoints
                            .iter()
                            .all(|e| e["num_requests"].is_u64() && e["num_errors"].is_u64())
                    );
                }
                _ => {}
            }
        }
    }
}

/// Proves that a newcomer learns of everybody at once by asking, and that a node which leaves says so.
#[tokio::test]
async fn everybody_beats_when_asked_who_is_there_and_when_leaving() {
    let nats = Nats::start().await;
    let mut gateway = Gateway::with(&nats)
        .option("--drain-delay", "1s")
        .option("--drain-spread", "0s")
        .start()
        .await;
    let journal = Journal::new();
    let mut worker = Worker::with(&nats, &journal, "worker")
        .concurrency(7)
        .start()
        .await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("bind 42").await, "bound 42");
    assert_eq!(client.ask("join lobby").await, "joined lobby");
    client.send("fail").await;
    client.id().await;

    let bus = nats.client().await;
    let mut gateways = bus
        .subscribe(nats.subject("beat.gateway.*"))
        .await
        .expect("a subject");
    let mut workers = bus
        .subscribe(nats.subject("beat.worker.*"))
        .await
        .expect("a subject");
    bus.publish(nats.subject("who"), "".into())
        .await
        .expect("a subject");
    let beat = within("a gateway's beat", gateways.next())
        .await
        .expect("a beat");
    let who: GatewayBeat = wire::decode(&beat.payload).expect("a beat");
    assert_eq!(
        beat.subject.as_str(),
        nats.subject(&format!("beat.gateway.{}", who.process))
    );
    assert_eq!(who.state, NodeState::Ready);
    assert_eq!(who.shards.len(), 2);
    let sum = |count: fn(&wire::ShardBeat) -> u64| who.shards.iter().map(count).sum::<u64>();
    assert_eq!(
        [sum(|s| s.clients), sum(|s| s.uids), sum(|s| s.groups)],
        [1, 1, 1]
    );
    let beat = within("a worker's beat", workers.next())
        .await
        .expect("a beat");
    let who: WorkerBeat = wire::decode(&beat.payload).expect("a beat");
    assert_eq!(
        beat.subject.as_str(),
        nats.subject(&format!("beat.worker.{}", who.worker))
    );
    assert_eq!(
        (who.state, who.service.as_str()),
        (NodeState::Ready, "test")
    );
    assert_eq!((who.concurrency, who.failed), (7, 1));

    worker.terminate();
    worker.wait_for_success().await;
    within("the worker's last beat", async {
        while let Some(beat) = workers.next().await {
            let beat: WorkerBeat = wire::decode(&beat.payload).expect("a beat");
            if beat.state == NodeState::Leaving {
                return;
            }
        }
    })
    .await;
    drop(client);
    let _heir = Worker::with(&nats, &journal, "heir").start().await;
    gateway.terminate();
    let mut states = Vec::new();
    within("the gateway's last beat", async {
        while states.last() != Some(&NodeState::Leaving) {
            let beat = gateways.next().await.expect("a beat");
            let beat: GatewayBeat = wire::decode(&beat.payload).expect("a beat");
            states.push(beat.state);
        }
    })
    .await;
    assert!(states.contains(&NodeState::Draining), "{states:?}");
    gateway.wait_for_success().await;
}

/// Proves that beats go on without being asked for.
#[tokio::test]
async fn a_gateway_and_a_worker_beat_about_once_a_second() {
    let nats = Nats::start().await;
    let _gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let bus = nats.client().await;
    for kind in ["gateway", "worker"] {
        let subject = nats.subject(&format!("beat.{kind}.*"));
        let mut beats = bus.subscribe(subject).await.expect("a subject");
        let start = std::time::Instant::now();
        for n in 0..4 {
            within(format!("beat {n} of a {kind}"), beats.next())
                .await
                .expect("a beat");
        }
        let took = start.elapsed();
        assert!(
            took > Duration::from_secs(2),
            "four {kind} beats in {took:?}"
        );
    }
}

/// Proves that what an operator needs to see is there from the start, and moves.
#[tokio::test]
async fn the_metrics_that_dashboards_use_are_there_and_count() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let answer = gateway.admin("/metrics").await;
    assert_eq!(answer.status, 200);
    let type_line = answer.head.to_ascii_lowercase();
    assert!(
        type_line.contains("content-type: application/openmetrics-text")
            || type_line.contains("content-type: text/plain"),
        "{type_line}"
    );
    let names = [
        "connections",
        "uids",
        "groups",
        "link_up",
        "connections_opened_total",
        "connections_closed_total",
        "handshakes_refused_total",
        "received_messages_total",
        "received_bytes_total",
        "sent_messages_total",
        "sent_bytes_total",
        "dropped_messages_total",
        "reads_paused_total",
        "events_total",
        "batches_published_total",
        "event_messages_published_total",
        "batches_redelivered_total",
        "acks_total",
        "acks_late_total",
        "events_failed_total",
        "batches_refused_total",
        "events_dead_total",
        "commands_total",
        "queries_total",
        "malformed_messages_total",
        "link_lost_total",
    ];
    for name in names {
        let metric = format!("gatebus_gateway_{name}{{");
        assert!(
            answer.body.lines().any(|l| l.starts_with(&metric)),
            "{metric}\n{}",
            answer.body
        );
    }

    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("join lobby").await, "joined lobby");
    assert_eq!(client.ask("bind 42").await, "bound 42");
    client.id().await;
    let metric = async |name: &str, labels: &str| {
        gateway
            .metric(&format!("gatebus_gateway_{name}"), labels)
            .await
    };
    assert_eq!(metric("connections", "").await, 1.0);
    assert_eq!(metric("groups", "").await, 1.0);
    assert_eq!(metric("uids", "").await, 1.0);
    assert_eq!(metric("link_up", "").await, 2.0);
    assert_eq!(metric("connections_opened_total", "").await, 1.0);
    assert_eq!(metric("received_messages_total", "").await, 3.0);
    assert_eq!(metric("sent_messages_total", "").await, 3.0);
    assert_eq!(metric("events_total", "message").await, 3.0);
    assert!(metric("acks_total", "done").await >= 4.0);
    client.close(1000, "").await;
    gateway
        .wait_metric("gatebus_gateway_connections_closed_total", "client", 1.0)
        .await;
    assert_eq!(metric("connections", "").await, 0.0);
}

/// Proves that each service can be scaled by its own figures: a busy one, one without a worker, and
/// one with two listeners, whose clients count together.
#[tokio::test]
async fn each_service_has_figures_of_its_own() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .service("chat")
        .service("iot")
        .service("chat")
        .start()
        .await;
    let journal = Journal::new();
    let worker = Worker::with(&nats, &journal, "worker").env("WORKER_SERVICE", "chat");
    let _worker = worker.start().await;
    let mut clients = Vec::new();
    for port in gateway.ports() {
        clients.push(Client::to(*port, "/").connect().await);
    }
    for at in [0, 2] {
        assert_eq!(clients[at].ask("hello").await, "hello");
    }
    let of = async |name: &str, labels: &str| {
        gateway
            .metric(&format!("gatebus_gateway_{name}"), labels)
            .await
    };
    let refused = "gatebus_gateway_batches_refused_total";
    gateway.wait_metric(refused, "service=\"iot\"", 1.0).await;
    let (chat, iot) = ("service=\"chat\"", "service=\"iot\"");
    for (name, of_chat, of_iot) in [
        ("connections", 2.0, 1.0),
        ("connections_opened_total", 2.0, 1.0),
    ] {
        assert_eq!(of(name, chat).await, of_chat, "{name}");
        assert_eq!(of(name, iot).await, of_iot, "{name}");
    }
    let message = |service| format!("{service},kind=\"message\"");
    assert_eq!(of("events_total", &message(chat)).await, 2.0);
    assert_eq!(of("events_total", &message(iot)).await, 0.0);
    assert_eq!(of("batches_refused_total", chat).await, 0.0);
    assert!(of("acks_total", chat).await > 0.0);
    assert_eq!(of("acks_total", iot).await, 0.0);
    drop(clients.pop());
    eventually("one client of chat less", || async {
        (of("connections", chat).await == 1.0).then_some(())
    })
    .await;
}

/// Proves the three paths of the admin port, and that there is no fourth.
#[tokio::test]
async fn the_admin_port_answers_livez_readyz_and_metrics() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/", 404),
        ("/nope", 404),
    ] {
        assert_eq!(gateway.admin(path).await.status, status, "{path}");
    }
}

/// Proves that logs say what happens to the process, and nothing of what clients say.
#[tokio::test]
async fn no_message_is_ever_in_a_log() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats).option("--log", "trace").start().await;
    let journal = Journal::new();
    let worker = Worker::with(&nats, &journal, "worker")
        .env("RUST_LOG", "worker_sdk=trace")
        .start()
        .await;
    let mut client = Client::connect(&gateway).await;
    let secret = "correct-horse-battery-staple";
    assert_eq!(client.ask(secret).await, secret);
    client.send(format!("set password \"{secret}\"")).await;
    client.id().await;
    client
        .send_frame(
            tokio_tungstenite::tungstenite::protocol::frame::coding::Data::Text,
            b"\xff".as_slice(),
            true,
        )
        .await;
    client.expect_close(1007).await;
    let about =
        |log: &gatebus_tests::log::Log| log.lines().into_iter().find(|l| l.contains(secret));
    assert_eq!(about(&gateway.log), None);
    assert_eq!(about(&worker.log), None);
}

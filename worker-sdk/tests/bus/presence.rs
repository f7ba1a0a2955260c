//! How others know of a worker, and a worker of others.

use async_nats::Subscriber;
use futures_util::StreamExt;
use gatebus_tests::{Nats, within};
use tokio::sync::mpsc;
use wire::{NodeState, WorkerBeat};
use worker_sdk::{Client, Events, GatewayId, HandlerResult, Message};

use crate::fake::{Fake, Running, round_trip};

/// Tells which gateways are lost.
struct Watcher(mpsc::UnboundedSender<GatewayId>);

impl Events for Watcher {
    type Session = ();

    async fn on_message(&self, _: &mut Client<()>, _: Message) -> HandlerResult {
        Ok(())
    }

    async fn on_gateway_lost(&self, gateway: GatewayId) -> HandlerResult {
        self.0.send(gateway)?;
        Ok(())
    }
}

fn watcher() -> (Watcher, mpsc::UnboundedReceiver<GatewayId>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Watcher(sender), receiver)
}

async fn beat(beats: &mut Subscriber) -> WorkerBeat {
    let message = within("a beat", beats.next()).await.expect("a message");
    wire::decode(&message.payload).expect("a beat")
}

#[tokio::test]
async fn a_worker_beats_when_it_comes_when_it_is_asked_and_when_it_goes() {
    let server = Nats::start().await;
    let gateway = Fake::start(&server).await;
    let subject = gateway.subjects.worker_beats();
    let mut beats = gateway.nats.subscribe(subject).await.expect("subscribed");
    round_trip(&gateway.nats).await;
    let worker = Running::start_as(&server, watcher().0, |b| b.concurrency(5)).await;
    let first = beat(&mut beats).await;
    assert_eq!((first.state, first.concurrency), (NodeState::Ready, 5));
    assert_eq!(first.service.as_str(), "test");

    let asked = gateway
        .nats
        .publish(gateway.subjects.who(), "".into())
        .await;
    asked.expect("published");
    assert_eq!(beat(&mut beats).await.worker, first.worker);

    worker.stop().await.expect("stopped");
    let mut states = vec![beat(&mut beats).await.state];
    while states.last() != Some(&NodeState::Leaving) {
        states.push(beat(&mut beats).await.state);
    }
    states.dedup();
    states.retain(|state| *state != NodeState::Ready);
    assert!(matches!(
        states[..],
        [NodeState::Draining, NodeState::Leaving] | [NodeState::Leaving]
    ));
}

#[tokio::test]
async fn a_worker_answers_as_a_nats_micro_service() {
    let server = Nats::start().await;
    let nats = server.client().await;
    let worker = Running::start(&server, watcher().0).await;
    for (verb, has) in [
        ("PING", "metadata"),
        ("INFO", "endpoints"),
        ("STATS", "started"),
    ] {
        for name in ["", ".gatebus-worker"] {
            let asked = nats.request(format!("$SRV.{verb}{name}"), "".into());
            let answer = within("an answer", asked).await.expect("an answer");
            let answer: serde_json::Value = serde_json::from_slice(&answer.payload).expect("JSON");
            assert_eq!(answer["name"], "gatebus-worker");
            assert_eq!(answer["metadata"]["service"], "test");
            let kind = format!("io.nats.micro.v1.{}_response", verb.to_lowercase());
            assert_eq!(answer["type"], kind.as_str());
            assert!(!answer[has].is_null(), "{verb}: {answer}");
        }
    }
    worker.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_gateway_that_falls_silent_is_lost_and_one_that_says_goodbye_is_not() {
    let server = Nats::start().await;
    let (silent, polite) = (Fake::start(&server).await, Fake::start(&server).await);
    let (watcher, mut lost) = watcher();
    let subject = silent.subjects.who();
    let mut who = silent.nats.subscribe(subject).await.expect("subscribed");
    round_trip(&silent.nats).await;
    let worker = Running::start(&server, watcher).await;
    within("the worker to ask who is there", who.next()).await;
    silent.beat(NodeState::Ready).await;
    polite.beat(NodeState::Ready).await;
    polite.beat(NodeState::Leaving).await;
    let first = within("a gateway to be lost", lost.recv()).await;
    assert_eq!(first, Some(silent.id));
    worker.stop().await.expect("stopped");
    assert_eq!(lost.recv().await, None, "and no other");
}

//! Queries when some gateways answer and some do not.

use futures_util::StreamExt;
use gatebus_tests::{Nats, within};
use wire::{Answer, NodeState, Request};
use worker_sdk::{ErrorKind, Gateway};

use crate::fake::{Fake, SOON};

/// Beats whenever it is asked who is there; answers queries with this count, or not at all.
fn play(gateway: Fake, count: Option<u64>) {
    tokio::spawn(async move {
        let nats = gateway.nats.clone();
        let mut who = nats
            .subscribe(gateway.subjects.who())
            .await
            .expect("subscribed");
        let mut all = nats
            .subscribe(gateway.subjects.all())
            .await
            .expect("subscribed");
        gateway.beat(NodeState::Ready).await;
        loop {
            tokio::select! {
                Some(_) = who.next() => gateway.beat(NodeState::Ready).await,
                Some(message) = all.next() => {
                    wire::decode::<Request>(&message.payload).expect("a request");
                    if let (Some(count), Some(reply)) = (count, message.reply) {
                        let answer = wire::encode(&Answer::count(gateway.id, count));
                        nats.publish(reply, answer.into()).await.expect("published");
                    }
                }
            }
        }
    });
}

async fn handle(server: &Nats) -> Gateway {
    let builder = Gateway::builder()
        .nats_url(server.url())
        .prefix(server.prefix())
        .query_timeout(SOON);
    within("the handle", Box::pin(builder.connect()))
        .await
        .expect("connected")
}

#[tokio::test]
async fn an_answer_names_the_gateways_that_gave_none() {
    let server = Nats::start().await;
    let (one, two, mute) = (
        Fake::start(&server).await,
        Fake::start(&server).await,
        Fake::start(&server).await,
    );
    let (mute_id, mut beats) = (mute.id, {
        let subject = mute.subjects.gateway_beats();
        mute.nats.subscribe(subject).await.expect("subscribed")
    });
    mute.nats.flush().await.expect("flushed");
    play(one, Some(3));
    play(two, Some(4));
    play(mute, None);
    for _ in 0..3 {
        within("all three to be up", beats.next()).await;
    }

    let gateway = handle(&server).await;
    let count = gateway.all().count().await.expect("a count");
    assert_eq!((count.total, &count.missing[..]), (7, &[mute_id][..]));
    let error = gateway.all().join("g").await.expect_err("not all answered");
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn without_a_gateway_there_is_nobody_and_nothing_is_missing() {
    let server = Nats::start().await;
    let gateway = handle(&server).await;
    let count = gateway.group("lobby").count().await.expect("a count");
    assert_eq!((count.total, count.missing.len()), (0, 0));
    assert!(!gateway.is_uid_online("42").await.expect("an answer"));
    let nobody = "0a1b2c3d4e5f00c0ffee"
        .parse::<worker_sdk::ClientId>()
        .expect("an id");
    assert!(!gateway.is_online(nobody).await.expect("an answer"));
    assert!(!gateway.join_group(nobody, "g").await.expect("an answer"));
}

//! Queries when some gateways answer and some do not.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use gatebus_tests::{Nats, within};
use wire::{Answer, ClientId, ConnId, NodeState, Request, Uid};
use worker_sdk::{ErrorKind, Gateway};

use crate::fake::{Fake, SOON, round_trip};

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
    round_trip(&mute.nats).await;
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

/// Answers on these subjects, each with its count.
async fn answer(gateway: &Fake, counts: [(String, u64); 2]) {
    let mut questions = stream::SelectAll::new();
    for (subject, count) in counts {
        let asked = gateway.nats.subscribe(subject).await.expect("subscribed");
        questions.push(asked.map(move |message| (message, count)));
    }
    round_trip(&gateway.nats).await;
    let (nats, id) = (gateway.nats.clone(), gateway.id);
    tokio::spawn(async move {
        while let Some((message, count)) = questions.next().await {
            let answer = wire::encode(&Answer::count(id, count));
            if let Some(reply) = message.reply {
                nats.publish(reply, answer.into()).await.expect("published");
            }
        }
    });
}

/// Resolves when the handle has heard of these gateways.
async fn know(gateway: &Gateway, fakes: &[&Fake]) {
    let subject = fakes[0].subjects.who();
    let mut who = fakes[0].nats.subscribe(subject).await.expect("subscribed");
    round_trip(&fakes[0].nats).await;
    let asking = gateway.clone();
    let first = tokio::spawn(async move { asking.totals().await });
    within("it to ask who is there", who.next()).await;
    for fake in fakes {
        fake.beat(NodeState::Ready).await;
    }
    let first = within("the totals", first).await.expect("no panic");
    first.expect("beats");
}

#[tokio::test]
async fn a_gateway_that_still_listens_for_a_uid_does_not_decide_that_it_is_offline() {
    let server = Nats::start().await;
    let (lingers, has_it) = (Fake::start(&server).await, Fake::start(&server).await);
    let uid = |uid: &str| lingers.subjects.uid(&Uid::new(uid).expect("a name"));
    let all = lingers.subjects.all();
    answer(&lingers, [(uid("42"), 0), (all.clone(), 0)]).await;
    // Silent on the uid's subject, so that the other one's answer comes first.
    answer(&has_it, [("unheard".to_owned(), 0), (all, 1)]).await;
    let gateway = handle(&server).await;
    know(&gateway, &[&lingers, &has_it]).await;
    let online = gateway.is_uid_online("42").await;
    assert!(online.expect("an answer"), "the second has it");
    has_it.beat(NodeState::Leaving).await;
    assert!(!gateway.is_uid_online("43").await.expect("an answer"));
}

/// Proves that NATS's "nobody" is no answer while a gateway is away that may have the uid.
#[tokio::test]
async fn a_uid_is_not_called_offline_while_a_gateway_that_may_have_it_is_away() {
    let server = Nats::start().await;
    let (away, there) = (Fake::start(&server).await, Fake::start(&server).await);
    let gateway = handle(&server).await;
    let all = there.subjects.all();
    answer(&there, [(all.clone(), 0), ("unheard".to_owned(), 0)]).await;
    know(&gateway, &[&there]).await;
    let there = Arc::new(there);
    let beating = tokio::spawn({
        let there = there.clone();
        async move {
            loop {
                there.beat(NodeState::Ready).await;
                tokio::time::sleep(SOON).await;
            }
        }
    });
    assert!(!gateway.is_uid_online("42").await.expect("an answer"));

    away.beat_away().await;
    let error = gatebus_tests::eventually("the beat to be heard", async || {
        gateway.is_uid_online("42").await.err()
    })
    .await;
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains(&away.id.to_string()), "{error}");

    // it comes back while somebody waits for it
    let patient = Gateway::builder()
        .nats_url(server.url())
        .prefix(server.prefix());
    let patient = within("the handle", Box::pin(patient.connect()))
        .await
        .expect("connected");
    know(&patient, &[&away, &there]).await;
    away.beat_away().await;
    within("a flush", patient.flush()).await.expect("flushed");
    let asking = tokio::spawn(async move { patient.is_uid_online("42").await });
    let uid = away.subjects.uid(&Uid::new("42").expect("a name"));
    answer(&away, [(uid, 1), (all, 1)]).await;
    away.beat(NodeState::Ready).await;
    let online = within("an answer", asking).await.expect("no panic");
    assert!(online.expect("an answer"), "it has it");
    beating.abort();
}

/// Proves that nobody waits for a gateway that stays away: it is named at once.
#[tokio::test]
async fn a_gateway_that_stays_away_is_named_at_once() {
    const PATIENCE: Duration = Duration::from_secs(3600);
    let server = Nats::start().await;
    let (away, there) = (Fake::start(&server).await, Fake::start(&server).await);
    // Silent on one of the uids, and knows that the other has just left.
    let left = away.subjects.uid(&Uid::new("43").expect("a name"));
    let all = there.subjects.all();
    answer(&there, [(left, 0), (all, 0)]).await;
    let patient = Gateway::builder()
        .nats_url(server.url())
        .prefix(server.prefix())
        .query_timeout(PATIENCE);
    let patient = within("the handle", Box::pin(patient.connect()));
    let patient = patient.await.expect("connected");
    know(&patient, &[&away, &there]).await;
    away.beat_away().await;
    within("a flush", patient.flush()).await.expect("flushed");
    let id = away.id.to_string();
    let beating = tokio::spawn(async move {
        loop {
            there.beat(NodeState::Ready).await;
            away.beat_away().await;
            tokio::time::sleep(SOON).await;
        }
    });
    for uid in ["42", "42", "43"] {
        let error = within("an answer", patient.is_uid_online(uid)).await;
        let error = error.expect_err("who knows");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains(&id), "{uid}: {error}");
    }
    beating.abort();
}

/// Proves the same of a gateway of which nobody says that it is away: its beat is late.
#[tokio::test]
async fn a_uid_is_not_called_offline_while_a_gateways_beat_is_late() {
    let server = Nats::start().await;
    let late = Fake::start(&server).await;
    let gateway = handle(&server).await;
    know(&gateway, &[&late]).await;
    let error = gatebus_tests::eventually("its beat to be late", async || {
        gateway.is_uid_online("42").await.err()
    })
    .await;
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains(&late.id.to_string()), "{error}");
    gatebus_tests::eventually("it to be gone, with its clients", async || {
        let online = gateway.is_uid_online("42").await.ok()?;
        (!online).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_is_off_the_bus_for_a_moment_has_not_lost_its_clients() {
    let server = Nats::start().await;
    let fake = Fake::start(&server).await;
    let client = ClientId {
        gateway: fake.id,
        conn: ConnId(1),
    };
    let gateway = handle(&server).await;
    let all = fake.subjects.all();
    answer(&fake, [("unheard".to_owned(), 0), (all, 1)]).await;
    know(&gateway, &[&fake]).await;

    let error = gateway.join_group(client, "g").await.expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::Timeout);

    let subject = fake.subjects.client(client);
    answer(&fake, [(subject, 1), ("unheard".to_owned(), 0)]).await;
    assert!(gateway.join_group(client, "g").await.expect("an answer"));

    let other = ClientId {
        conn: ConnId(2),
        ..client
    };
    fake.beat(NodeState::Leaving).await;
    let joined = gatebus_tests::eventually("the goodbye to be heard", async || {
        gateway.join_group(other, "g").await.ok()
    });
    assert!(!joined.await, "gone for good");
}

#[tokio::test]
async fn while_nats_is_away_nobody_is_said_to_be_there_or_not() {
    let mut server = Nats::start().await;
    let gateway = handle(&server).await;
    within("a flush", gateway.flush()).await.expect("flushed");
    server.stop().await;
    let count = within("an answer", gateway.all().count()).await;
    assert_eq!(count.expect_err("who knows").kind(), ErrorKind::Timeout);
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

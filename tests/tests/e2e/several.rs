//! Several targets in one go, and commands that say whom they reached.

use std::time::Duration;

use futures_util::StreamExt;
use gatebus_tests::{Client, Gateway, Journal, Nats, Worker, client::End, eventually, within};
use serde_json::{Value, json};
use worker_sdk::{ClientId, Close, ConnId, ErrorKind};

use crate::town::Town;

/// Proves `clients`: each once, wherever it is and however often it is named; who is gone is passed
/// over.
#[tokio::test]
async fn a_message_for_several_clients_reaches_each_of_them_once() {
    let mut town = Town::new().await;
    let mut ids = town.ids.clone();
    ids.extend(town.ids.clone());
    ids.push("00000000000000000000".parse().expect("an id"));
    let gone = ClientId {
        conn: ConnId(!town.ids[0].conn.0),
        ..town.ids[0]
    };
    ids.push(gone);
    let target = town.handle.clients(&ids);
    target.send("to both").expect("sent");
    for client in &mut town.meant {
        client.expect("to both").await;
    }
    target
        .clone()
        .except([town.ids[0]])
        .send("to one")
        .expect("sent");
    town.meant[1].expect("to one").await;
    town.fence().await;
    for other in &mut town.others {
        assert_eq!(other.ask("nothing came").await, "nothing came");
    }
    town.handle
        .clients(Vec::<ClientId>::new())
        .send("to nobody")
        .expect("sent");
    town.fence().await;
}

/// Proves how it travels: one message for each gateway, not for each client, and a long list in
/// pieces.
#[tokio::test]
async fn several_clients_of_a_gateway_are_one_message_and_many_are_a_few() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats).option("--shards", "1").start().await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let handle = nats.handle().await;
    let mut clients = Client::connect_many(&gateway, 20).await;
    let mut ids: Vec<ClientId> = Vec::new();
    for client in &mut clients {
        ids.push(client.id().await.parse().expect("an id"));
    }
    let bus = nats.client().await;
    let mut tap = bus
        .subscribe(nats.subject("gateway.>"))
        .await
        .expect("subscribed");
    // It is subscribed when it hears itself.
    bus.publish(nats.subject("gateway.fence"), "fence".into())
        .await
        .expect("published");
    within("the fence", tap.next()).await.expect("subscribed");
    handle.clients(&ids).send("hello").expect("sent");
    for client in &mut clients {
        client.expect("hello").await;
    }
    // 10,000 that were never there, and these.
    let strangers = (0..10_000).map(|n| ClientId {
        conn: ConnId(n),
        ..ids[0]
    });
    let many: Vec<ClientId> = strangers.chain(ids.iter().copied()).collect();
    handle.clients(&many).send("again").expect("sent");
    for client in &mut clients {
        client.expect("again").await;
    }
    handle.flush().await.expect("flushed");
    bus.publish(nats.subject("gateway.fence"), "fence".into())
        .await
        .expect("published");
    let mut messages = 0;
    loop {
        let message = within("a message", tap.next()).await.expect("subscribed");
        if &*message.payload == b"fence" {
            break;
        }
        messages += 1;
    }
    assert_eq!(messages, 1 + 3);
}

/// Proves `uids` and `groups`: once for each name, so twice for who is in two of the groups; a name
/// that is given twice counts once.
#[tokio::test]
async fn several_uids_or_groups_are_reached_once_each() {
    let mut town = Town::new().await;
    town.handle
        .client(town.ids[0])
        .join("h")
        .await
        .expect("answered");
    town.handle
        .client(town.ids[1])
        .bind_uid("v")
        .await
        .expect("answered");
    town.handle
        .uids(["u", "v", "u", "nobody"])
        .send("by uid")
        .expect("sent");
    town.handle
        .groups(["g", "h", "h", "none"])
        .send("by group")
        .expect("sent");
    town.meant[0].expect("by uid").await;
    town.meant[0].expect("by group").await;
    town.meant[0].expect("by group").await;
    town.meant[1].expect("by uid").await;
    town.meant[1].expect("by group").await;
    town.fence().await;
}

/// Proves every other command on several targets.
#[tokio::test]
async fn every_command_works_on_several_targets() {
    let mut town = Town::new().await;
    let handle = town.handle.clone();
    for (n, target) in [
        handle.clients(&town.ids),
        handle.uids(["u", "nobody"]),
        handle.groups(["g", "none"]),
    ]
    .into_iter()
    .enumerate()
    {
        let group = format!("new {n}");
        assert_eq!(target.join(&group).await.expect("answered"), 2);
        handle.group(&group).send(group.as_str()).expect("sent");
        target.leave(&group).expect("sent");
        handle.group(&group).send("to nobody").expect("sent");
        for client in &mut town.meant {
            client.expect(&group).await;
        }
        target
            .set_session(&json!({"n": n, "m": {"a": 1}}))
            .expect("sent");
        target
            .update_session(&json!({"m": {"b": 2}}))
            .expect("sent");
        town.fence().await;
        for m in 0..2 {
            assert_eq!(
                town.session(m).await,
                json!({"n": n, "m": {"a": 1, "b": 2}})
            );
        }
        assert_eq!(target.bind_uid("w").await.expect("answered"), 2);
        handle.uid("w").send("bound").expect("sent");
        for client in &mut town.meant {
            client.expect("bound").await;
        }
        handle.clients(&town.ids).unbind_uid().expect("sent");
        town.fence().await;
        for client in &mut town.meant {
            assert_eq!(client.who_am_i().await["uid"], Value::Null);
        }
        let bound = handle.clients(&town.ids).bind_uid("u").await;
        assert_eq!(bound.expect("answered"), 2);
    }
    let ids = town.ids.clone();
    handle
        .clients(&ids[..1])
        .close_with(Close::new(4000, "all of you").message("bye"))
        .expect("sent");
    handle.groups(["g", "h"]).destroy().expect("sent");
    let mut first = town.meant.remove(0);
    first.expect("bye").await;
    assert_eq!(
        first.next().await,
        Err(End::Closed(4000, "all of you".into()))
    );
    assert_eq!(town.meant.remove(0).end().await, End::Cut);
}

/// Proves that one bad name among many is an error, and then nothing is sent at all.
#[tokio::test]
async fn a_bad_name_among_several_is_an_error_before_anything_is_sent() {
    let mut town = Town::new().await;
    let long = "x".repeat(1025);
    for bad in ["", long.as_str()] {
        for target in [town.handle.uids(["u", bad]), town.handle.groups(["g", bad])] {
            let error = target.send("never").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidName);
            let error = target.send_confirmed("never").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidName);
        }
    }
    town.fence().await;
}

/// Proves that several targets keep their place in the order of one publisher.
#[tokio::test]
async fn several_targets_keep_their_place_among_other_commands() {
    let mut town = Town::new().await;
    let handle = town.handle.clone();
    for n in 0..100 {
        handle
            .clients(&town.ids)
            .send(format!("clients {n}"))
            .expect("sent");
        handle.all().send(format!("all {n}")).expect("sent");
        handle
            .groups(["g"])
            .send(format!("groups {n}"))
            .expect("sent");
        handle
            .client(town.ids[0])
            .send(format!("client {n}"))
            .expect("sent");
        handle.uids(["u"]).send(format!("uids {n}")).expect("sent");
        if n % 10 == 0 {
            let text = format!("confirmed {n}");
            let reached = handle.group("g").send_confirmed(text).await;
            assert_eq!(reached.expect("answered").clients, 2);
        }
    }
    for n in 0..100 {
        for target in ["clients", "all", "groups", "client", "uids"] {
            town.meant[0].expect(&format!("{target} {n}")).await;
        }
        if n % 10 == 0 {
            town.meant[0].expect(&format!("confirmed {n}")).await;
        }
    }
}

/// Proves `send_confirmed` on every target: it says how many it reached, and reached them.
#[tokio::test]
async fn a_confirmed_send_says_how_many_clients_it_reached() {
    let mut town = Town::new().await;
    let handle = town.handle.clone();
    let both = town.ids.clone();
    for (n, (target, clients)) in [
        (handle.client(both[0]), 1),
        (handle.clients(&both), 2),
        (handle.uid("u"), 2),
        (handle.uids(["u", "nobody"]), 2),
        (handle.group("g"), 2),
        (handle.groups(["g", "none"]), 2),
        (handle.all(), 4),
        (handle.all().except([both[1]]), 3),
        (handle.uid("nobody"), 0),
        (handle.clients(Vec::<ClientId>::new()), 0),
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!("confirmed {n}");
        let reached = target
            .send_confirmed(text.as_str())
            .await
            .expect("answered");
        assert_eq!(
            (reached.clients, reached.missing),
            (clients, vec![]),
            "{target:?}"
        );
        if clients > 0 {
            town.meant[0].expect(&text).await;
        }
    }
    let (client, gone) = town.newcomer(0).await;
    client.close(1000, "").await;
    town.journal.find("close", |e| e.kind == "close").await;
    let nowhere: ClientId = "00000000000000000000".parse().expect("an id");
    for id in [gone, nowhere] {
        for target in [handle.client(id), handle.clients([id])] {
            let reached = within("an answer", target.send_confirmed("hello?")).await;
            let reached = reached.expect("answered");
            assert_eq!((reached.clients, reached.missing), (0, vec![]));
        }
    }
}

/// Proves that a confirmed send names the gateways that did not answer, and counts the others.
#[tokio::test]
async fn a_confirmed_send_names_the_gateways_that_did_not_answer() {
    let town = Town::new().await;
    let builder = worker_sdk::Gateway::builder()
        .nats_url(town.nats.url())
        .prefix(town.nats.prefix());
    let handle = builder
        .query_timeout(Duration::from_secs(1))
        .connect()
        .await
        .expect("the server is there");
    assert_eq!(handle.all().count().await.expect("answered").total, 4);
    town.gateways[1].hold().await;
    // All at once: a gateway that is silent for long is forgotten, and then nobody misses it.
    let [group, clients, uids, groups] = [
        handle.group("g"),
        handle.clients(&town.ids),
        handle.uids(["u"]),
        handle.groups(["g"]),
    ];
    let (group, clients, uids, joined) = tokio::join!(
        group.send_confirmed("hello"),
        clients.send_confirmed("hello"),
        uids.send_confirmed("hello"),
        groups.join("h"),
    );
    for reached in [group, clients, uids] {
        let reached = reached.expect("answered");
        assert_eq!(reached.clients, 1);
        assert!(reached.missing.contains(&town.ids[1].gateway));
        assert!(!reached.missing.contains(&town.ids[0].gateway));
    }
    let error = joined.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains(&town.ids[1].gateway.to_string()));
    town.gateways[1].go_on();
    let reached = eventually("a complete answer", || async {
        let reached = handle.group("g").send_confirmed("again").await;
        reached.ok().filter(|reached| reached.missing.is_empty())
    })
    .await;
    assert_eq!(reached.clients, 2);
}

//! The harness against a small chat, and the in-memory gateway against every command and query.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    BindPolicy, Bound, Client, ClientId, Close, Closed, ClosedBy, Error, ErrorKind, Events,
    Gateway, GatewayId, HandlerResult, Handshake, Message, Retry,
};

type Free = BTreeMap<String, serde_json::Value>;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Person {
    name: String,
    room: Option<String>,
}

/// Does what it is told, and writes down what happens.
#[derive(Default)]
struct Chat {
    log: std::sync::Mutex<Vec<String>>,
}

impl Chat {
    fn note(&self, line: impl Into<String>) {
        self.log.lock().unwrap().push(line.into());
    }
}

impl Events for Chat {
    type Session = Person;

    async fn on_worker_start(&self, _: &Gateway) -> HandlerResult {
        self.note("start");
        Ok(())
    }

    async fn on_connect(&self, client: &mut Client<Person>) -> HandlerResult {
        client.session.name = "somebody".into();
        Ok(())
    }

    async fn on_websocket_connect(
        &self,
        client: &mut Client<Person>,
        handshake: &Handshake,
    ) -> HandlerResult {
        if let Some(name) = handshake.query("name") {
            client.session.name = name.into();
            client.bind_uid(name).await?;
        }
        Ok(())
    }

    async fn on_message(&self, client: &mut Client<Person>, message: Message) -> HandlerResult {
        let text = message.as_text().unwrap_or_default();
        match text.split_once(' ').unwrap_or((text, "")) {
            ("join", room) => {
                client.join(room).await?;
                client.session.room = Some(room.into());
                let room = client.gateway().group(room);
                room.clone()
                    .except([client.id()])
                    .send(format!("{} is here", client.session.name))?;
                client.send(format!("members: {}", room.count().await?.total))?;
            }
            ("say", words) => {
                let room = client.session.room.as_deref().ok_or("join a room first")?;
                client.gateway().send_to_group(room, words)?;
            }
            ("half", _) => {
                client.session.name = "half-done".into();
                client.send("before")?;
                panic!("at half");
            }
            ("later", _) if client.attempt() < 3 => {
                client.session.name = "thrown away".into();
                client.send("thrown away")?;
                return Err(Retry.into());
            }
            ("later", _) => client.send(format!("{} at last", client.session.name))?,
            ("bye", _) => client.close_with(Close::new(4000, "as you say").message("bye"))?,
            (other, _) => client.send(other)?,
        }
        Ok(())
    }

    async fn on_close(&self, client: &mut Client<Person>, close: &Closed) -> HandlerResult {
        let (name, uid) = (&client.session.name, client.uid());
        self.note(format!(
            "{name} {uid:?} {:?} {} {:?}",
            close.by, close.code, close.groups
        ));
        for room in &close.groups {
            client.gateway().group(room).send(format!("{name} left"))?;
        }
        Ok(())
    }

    async fn on_worker_stop(&self, gateway: &Gateway) -> HandlerResult {
        gateway.send_to_all("see you")?;
        Ok(())
    }

    async fn on_gateway_lost(&self, gateway: GatewayId) -> HandlerResult {
        self.note(format!("lost {gateway}"));
        Ok(())
    }
}

fn named(name: &str) -> Handshake {
    Handshake {
        query: vec![("name".into(), name.into())],
        ..Handshake::default()
    }
}

#[tokio::test]
async fn a_chat_is_played_through() {
    let mut app = Harness::new(Chat::default());
    let ann = app.connect_with(named("ann")).await;
    let bob = app.connect().await;
    assert_eq!(app.uid(ann).as_deref(), Some("ann"));
    assert_eq!(app.session(bob).name, "somebody");

    app.message(ann, "join lobby").await;
    app.message(bob, "join lobby").await;
    assert_eq!(app.received(ann), ["members: 1", "somebody is here"]);
    assert_eq!(app.received(bob), ["members: 2"]);
    assert_eq!(app.groups(bob), ["lobby"]);

    app.message(bob, "say hello").await;
    assert_eq!(app.received(ann), ["hello"]);
    assert_eq!(app.received(bob), ["hello"]);

    app.message(ann, "bye").await;
    assert_eq!(app.received(ann), ["bye"]);
    assert_eq!(app.closed(ann).map(|c| c.code), Some(4000));
    assert!(!app.is_connected(ann));
    assert_eq!(app.received(bob), ["ann left"]);

    app.stop().await;
    assert_eq!(app.received(bob), ["see you"]);
    app.disconnect(bob).await;
    app.lose_gateway(bob.gateway).await;
    let log = app.events().log.lock().unwrap();
    let expected = [
        "start",
        "ann Some(\"ann\") Command 4000 [\"lobby\"]",
        "somebody None Client 1000 [\"lobby\"]",
        "lost 6d656d6f7279",
    ];
    assert_eq!(*log, expected);
    assert_ne!(ClosedBy::Client, ClosedBy::Command);
}

#[tokio::test]
async fn a_failed_event_is_told_and_the_session_is_as_before_a_panic() {
    let mut app = Harness::new(Chat::default());
    let ann = app.connect_with(named("ann")).await;
    let handled = app.try_message(ann, "half").await;
    assert_eq!(
        handled,
        Handled::Failed("the handler panicked: at half".into())
    );
    assert_eq!(app.received(ann), ["before"]);
    assert_eq!(app.session(ann).name, "ann");
    let handled = app.try_message(ann, "say hello").await;
    assert_eq!(handled, Handled::Failed("join a room first".into()));
}

#[tokio::test]
async fn an_event_to_be_retried_comes_again_and_leaves_no_trace_before() {
    let mut app = Harness::new(Chat::default());
    let ann = app.connect_with(named("ann")).await;
    assert_eq!(app.try_message(ann, "later").await, Handled::Retry);
    assert_eq!(app.again().await, Handled::Retry);
    assert_eq!(app.received(ann), [""; 0]);
    assert_eq!(app.session(ann).name, "ann");
    assert_eq!(app.again().await, Handled::Done);
    assert_eq!(app.received(ann), ["ann at last"]);
}

#[tokio::test]
async fn a_batch_of_messages_is_handled_in_order() {
    let mut app = Harness::new(Chat::default());
    let ann = app.connect().await;
    app.messages(ann, ["a", "join r", "b", "say c", "d"]).await;
    assert_eq!(app.received(ann), ["a", "members: 1", "b", "c", "d"]);
}

#[tokio::test]
async fn a_session_of_another_shape_fails_the_event_and_says_so() {
    let mut app = Harness::new(Chat::default());
    let ann = app.connect().await;
    app.gateway()
        .set_session(ann, &Free::from([("name".into(), 5.into())]))
        .unwrap();
    match app.try_message(ann, "hello").await {
        Handled::Failed(says) => assert!(says.contains("does not fit the type"), "{says}"),
        other => panic!("{other:?}"),
    }
}

/// Five clients: 0 and 1 in group g, 1 and 2 of uid u.
async fn five() -> (Harness<Chat>, Vec<crate::ClientId>) {
    let mut app = Harness::new(Chat::default());
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(app.connect().await);
    }
    let gateway = app.gateway();
    for id in &ids[0..2] {
        assert!(gateway.join_group(id, "g").await.unwrap());
    }
    for id in &ids[1..3] {
        assert!(gateway.bind_uid(id, "u").await.unwrap());
    }
    (app, ids)
}

#[tokio::test]
async fn every_target_reaches_its_clients_and_no_others() {
    let (mut app, ids) = five().await;
    let gateway = app.gateway().clone();
    gateway.client(ids[0]).send("client").unwrap();
    gateway.uid("u").send("uid").unwrap();
    gateway.group("g").send("group").unwrap();
    gateway.all().except([ids[3], ids[4]]).send("all").unwrap();
    gateway.group("*").send("nobody").unwrap();
    gateway.uid("u.x").send("nobody").unwrap();
    let received: Vec<_> = ids.iter().map(|id| app.received(id)).collect();
    assert_eq!(received[0], ["client", "group", "all"]);
    assert_eq!(received[1], ["uid", "group", "all"]);
    assert_eq!(received[2], ["uid", "all"]);
    assert_eq!(received[3], [""; 0]);
}

#[tokio::test]
async fn every_command_works_on_every_target() {
    let (mut app, ids) = five().await;
    let gateway = app.gateway().clone();
    assert_eq!(gateway.group("g").join("h").await.unwrap(), 2);
    assert_eq!(gateway.uid("u").join("h").await.unwrap(), 2);
    assert_eq!(
        gateway.all().except([ids[0]]).bind_uid("v").await.unwrap(),
        4
    );
    assert_eq!(gateway.group("nobody").join("h").await.unwrap(), 0);
    assert_eq!(
        (app.groups(ids[1]), app.uid(ids[1])),
        (vec!["g".into(), "h".into()], Some("v".into()))
    );
    assert_eq!(app.uid(ids[0]), None);

    gateway.ungroup("g").unwrap();
    assert_eq!(app.groups(ids[0]), ["h"]);
    gateway.uid("v").unbind_uid().unwrap();
    assert_eq!(app.uid(ids[4]), None);

    gateway
        .group("h")
        .set_session(&Free::from([("name".into(), "x".into())]))
        .unwrap();
    gateway
        .client(ids[0])
        .update_session(&Free::from([("room".into(), "r".into())]))
        .unwrap();
    let person = |name: &str, room: Option<&str>| Person {
        name: name.into(),
        room: room.map(Into::into),
    };
    assert_eq!(app.session(ids[0]), person("x", Some("r")));
    assert_eq!(app.session(ids[2]), person("x", None));
    assert_eq!(app.session(ids[3]), person("somebody", None));

    gateway
        .group("h")
        .close_with(Close::new(4001, "closed"))
        .unwrap();
    gateway.client(ids[3]).destroy().unwrap();
    app.settle().await;
    let there: Vec<bool> = ids.iter().map(|id| app.is_connected(id)).collect();
    assert_eq!(there, [false, false, false, false, true]);
    let log = app.events().log.lock().unwrap().join("\n");
    assert_eq!(log.matches("Command 4001").count(), 3, "{log}");
    assert_eq!(log.matches("Command 1006").count(), 1, "{log}");
}

#[tokio::test]
async fn queries_answer_for_every_target() {
    let (mut app, ids) = five().await;
    app.disconnect(ids[4]).await;
    let gateway = app.gateway();
    let counts = [
        gateway.all().count().await.unwrap().total,
        gateway.group("g").count().await.unwrap().total,
        gateway
            .uid("u")
            .except([ids[1]])
            .count()
            .await
            .unwrap()
            .total,
        gateway.client(ids[0]).count().await.unwrap().total,
        gateway.client(ids[4]).count().await.unwrap().total,
        gateway.uid("nobody").count().await.unwrap().total,
    ];
    assert_eq!(counts, [4, 2, 1, 1, 0, 0]);
    assert!(gateway.is_online(ids[0]).await.unwrap());
    assert!(!gateway.is_online(ids[4]).await.unwrap());
    assert!(gateway.is_uid_online("u").await.unwrap());
    assert!(!gateway.is_uid_online("nobody").await.unwrap());

    let listing = gateway
        .client_sessions_by_group::<Person>("g")
        .await
        .unwrap();
    assert!(listing.missing.is_empty());
    let entries: Vec<_> = listing
        .clients
        .iter()
        .map(|c| (c.id, c.uid.as_deref(), c.session.name.as_str()))
        .collect();
    assert_eq!(
        entries,
        [(ids[0], None, "somebody"), (ids[1], Some("u"), "somebody")]
    );
    let one = gateway.client(ids[2]).clients().await.unwrap();
    assert_eq!(one.clients.len(), 1);
    assert!(
        gateway
            .client(ids[4])
            .clients()
            .await
            .unwrap()
            .clients
            .is_empty()
    );
}

#[tokio::test]
async fn lists_names_sessions_and_totals_are_those_of_the_harness() {
    let (mut app, ids) = five().await;
    app.disconnect(ids[4]).await;
    let gateway = app.gateway();
    gateway
        .client(ids[3])
        .set_session(&Free::from([("name".into(), 7.into())]))
        .unwrap();
    let names = |listing: crate::NameListing| -> Vec<(String, u64)> {
        let names = listing.names.into_iter();
        names.map(|entry| (entry.name, entry.clients)).collect()
    };
    let groups = names(gateway.all().groups().await.unwrap());
    let of_one = gateway.groups_by_client_id(ids[0]).await.unwrap();
    let uids = names(gateway.all_uids().await.unwrap());
    assert_eq!(groups.iter().map(|g| &g.0).collect::<Vec<_>>(), ["g"]);
    assert_eq!(
        (of_one, &uids[..]),
        (vec!["g".into()], &[("u".into(), 2)][..])
    );
    let totals = gateway.totals().await.unwrap();
    assert_eq!((totals.clients, totals.uids, totals.groups), (4, 1, 1));

    let session = gateway.session::<Person>(ids[0]).await.unwrap();
    assert_eq!(session.unwrap().name, "somebody");
    assert_eq!(gateway.session::<Person>(ids[4]).await.unwrap(), None);
    let error = gateway.session::<Person>(ids[3]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Session, "7 is no name");
    let error = gateway.all().session::<Person>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "one client has one");

    let only = crate::Filter::new()
        .without_uid()
        .session("name", "somebody");
    let list = gateway.all().list().groups().remote().filter(only);
    let listing = list.collect().await.unwrap();
    let [entry] = &listing.clients[..] else {
        panic!("one is a somebody without a uid: {listing:?}")
    };
    assert_eq!(
        (entry.id, &entry.groups[..]),
        (ids[0], &["g".to_owned()][..])
    );
    assert!(entry.remote.is_some());
    let online = gateway.are_uids_online(["u", "v"]).await.unwrap().names;
    assert!(online["u"] && !online["v"]);
    let counts = gateway.client_counts_by_groups(["g", "h"]).await.unwrap();
    assert_eq!((counts.names["g"], counts.names["h"]), (2, 0));
}

#[tokio::test]
async fn a_long_list_comes_whole_from_its_pages() {
    struct Quiet;
    impl Events for Quiet {
        type Session = ();
        async fn on_message(&self, _: &mut Client<()>, _: Message) -> HandlerResult {
            Ok(())
        }
    }
    let mut app = Harness::new(Quiet);
    for _ in 0..2500 {
        app.connect_plain().await;
    }
    let listing = app.gateway().all().clients().await.unwrap();
    assert_eq!(listing.clients.len(), 2500);
    assert!(
        listing.clients.is_sorted_by(|a, b| a.id < b.id),
        "each one once"
    );
}

#[tokio::test]
async fn what_cannot_be_is_an_error_when_it_is_used() {
    let app = Harness::new(Chat::default());
    let gateway = app.gateway();
    let kind = |result: Result<(), Error>| result.unwrap_err().kind();
    assert_eq!(kind(gateway.group("").send("x")), ErrorKind::InvalidName);
    assert_eq!(
        kind(gateway.uid("u".repeat(1025)).send("x")),
        ErrorKind::InvalidName
    );
    assert_eq!(kind(gateway.all().leave("")), ErrorKind::InvalidName);
    assert_eq!(
        kind(gateway.all().close_with(Close::new(1006, ""))),
        ErrorKind::InvalidClose
    );
    assert_eq!(kind(gateway.all().set_session("text")), ErrorKind::Session);
    assert_eq!(
        kind(gateway.all().send("x".repeat(2 << 20))),
        ErrorKind::TooLarge
    );
    let error = gateway.group("").count().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidName);
}

#[tokio::test]
async fn several_targets_and_confirmed_sends_work_in_memory() {
    let mut app = Harness::new(Chat::default());
    let (ann, bob, cid) = (
        app.connect().await,
        app.connect().await,
        app.connect().await,
    );
    let gateway = app.gateway().clone();
    gateway.clients([ann, bob]).join("a").await.unwrap();
    gateway.clients([bob, cid]).join("b").await.unwrap();
    gateway.client(ann).bind_uid("ann").await.unwrap();
    gateway.groups(["a", "b", "b"]).send("hello").unwrap();
    assert_eq!(app.received(ann), ["hello"]);
    assert_eq!(app.received(bob), ["hello", "hello"]);
    let stranger = ClientId {
        gateway: GatewayId::from_bytes([7; 6]),
        conn: ann.conn,
    };
    for (target, clients) in [
        (gateway.clients([ann, ann, cid, stranger]), 2),
        (gateway.uids(["ann", "nobody"]), 1),
        (gateway.all().except([bob]), 2),
        (gateway.client(stranger), 0),
    ] {
        let reached = target.send_confirmed("x").await.unwrap();
        assert_eq!((reached.clients, reached.missing), (clients, vec![]));
    }
    let refused = gateway.groups(["a", ""]).send("never").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidName);
    let refused = gateway.groups(["a"]).count().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidTarget);
}

#[tokio::test]
async fn a_uid_is_for_one_alone_in_memory() {
    let mut app = Harness::new(Chat::default());
    let (ann, bob) = (app.connect().await, app.connect().await);
    let gateway = app.gateway().clone();
    let bind = |id, policy| {
        let target = gateway.client(id);
        async move { target.bind_uid_with("u", policy).await.unwrap() }
    };
    assert!(bind(ann, BindPolicy::RejectNew).await.is_bound());
    assert_eq!(bind(bob, BindPolicy::RejectNew).await, Bound::Rejected);
    assert_eq!(app.uid(bob), None);
    assert_eq!(
        bind(bob, BindPolicy::KickOld).await,
        Bound::Yes { kicked: 1 }
    );
    app.settle().await;
    assert_eq!(app.closed(ann).map(|close| close.code), Some(4009));
    assert_eq!(app.uid(bob).as_deref(), Some("u"));
    assert_eq!(bind(ann, BindPolicy::KickOld).await, Bound::Gone);
}

#[tokio::test]
async fn a_session_is_swapped_by_its_version_in_memory() {
    let mut app = Harness::new(Chat::default());
    let ann = app.connect().await;
    let target = app.gateway().client(ann);
    let session = Free::from([("name".into(), "Ann".into())]);
    let conflict = target.set_session_if(0, &session).await.unwrap_err();
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
    let version = conflict.session_version().unwrap();
    let now = target.set_session_if(version, &session).await.unwrap();
    assert_eq!(now, Some(version + 1));
    assert_eq!(app.session(ann).name, "Ann");
    let room = Free::from([("room".into(), "lobby".into())]);
    let now = target.update_session_if(version + 1, &room).await.unwrap();
    assert_eq!(now, Some(version + 2));
    assert_eq!(app.session(ann).room.as_deref(), Some("lobby"));
}

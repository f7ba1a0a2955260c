//! Commands: all nine, on all four targets, over two gateways, with and without exceptions.

use gatebus_tests::{client::End, within};
use serde_json::{Value, json};
use worker_sdk::{ClientId, Close};

use crate::town::{SHARED, Town};

/// Proves `send`: each target reaches whom it means, once, on every gateway, and nobody else.
#[tokio::test]
async fn send_reaches_whom_the_target_means_once_each() {
    let mut town = Town::new().await;
    for (n, (target, meant)) in town.each().into_iter().enumerate() {
        let text = format!("send {n}");
        target.send(text.as_str()).expect("sent");
        for m in meant {
            town.meant[m].expect(&text).await;
        }
    }
    town.fence().await;
    for other in &mut town.others {
        other.expect("send 3").await;
        assert_eq!(other.ask("fence").await, "fence");
    }
}

/// Proves that `except` leaves out whom it names, on every target and wherever they are.
#[tokio::test]
async fn except_leaves_out_whom_it_names() {
    let mut town = Town::new().await;
    for name in SHARED {
        for (out, stays) in [(0, 1), (1, 0)] {
            let text = format!("{name} without {out}");
            let target = town.target(name).except([town.ids[out]]);
            target.send(text.as_str()).expect("sent");
            town.meant[stays].expect(&text).await;
        }
        town.target(name)
            .except(town.ids.clone())
            .send("for nobody of them")
            .expect("sent");
    }
    town.handle
        .client(town.ids[0])
        .except([town.ids[0]])
        .send("for nobody")
        .expect("sent");
    town.fence().await;
}

/// Proves `join` and `leave`, and that who awaited `join` can send to the group at once.
#[tokio::test]
async fn join_and_leave_work_on_every_target() {
    let mut town = Town::new().await;
    for (n, (target, meant)) in town.each().into_iter().enumerate() {
        let group = format!("new {n}");
        let all = if n == 3 { 4 } else { meant.len() };
        assert_eq!(target.join(&group).await.expect("answered"), all as u64);
        town.handle
            .group(&group)
            .send(group.as_str())
            .expect("sent");
        for m in &meant {
            town.meant[*m].expect(&group).await;
        }
        target.leave(&group).expect("sent");
        town.handle.group(&group).send("to nobody").expect("sent");
    }
    town.fence().await;
}

/// Proves `bind_uid` and `unbind_uid`, and that who awaited the first can send to the uid at once.
#[tokio::test]
async fn bind_and_unbind_work_on_every_target() {
    let mut town = Town::new().await;
    let one = town.handle.client(town.ids[0]);
    let group = town.handle.group("g");
    let all = town.handle.all();
    for (n, (target, meant, many)) in [
        (one, vec![0], 1),
        (group, vec![0, 1], 2),
        (all, vec![0, 1], 4),
    ]
    .into_iter()
    .enumerate()
    {
        let uid = format!("uid {n}");
        assert_eq!(target.bind_uid(&uid).await.expect("answered"), many);
        town.handle.uid(&uid).send(uid.as_str()).expect("sent");
        for m in meant {
            town.meant[m].expect(&uid).await;
            assert_eq!(town.meant[m].who_am_i().await["uid"], uid.as_str());
        }
        // The uid as a target: a new one for all clients of the old one, and then none.
        let next = format!("{uid} again");
        assert_eq!(
            town.handle
                .uid(&uid)
                .bind_uid(&next)
                .await
                .expect("answered"),
            many
        );
        town.handle.uid(&uid).send("to nobody").expect("sent");
        town.handle.uid(&next).unbind_uid().expect("sent");
        town.handle.uid(&next).send("to nobody").expect("sent");
    }
    for other in &mut town.others {
        other.expect("uid 2").await;
    }
    for target in [
        town.handle.client(town.ids[0]),
        town.handle.group("g"),
        town.handle.all(),
    ] {
        town.handle
            .all()
            .bind_uid("somebody")
            .await
            .expect("answered");
        target.unbind_uid().expect("sent");
        town.fence().await;
        assert_eq!(town.meant[0].who_am_i().await["uid"], Value::Null);
    }
}

/// Proves `set_session` and `update_session` from outside, as a back end has them.
#[tokio::test]
async fn set_session_replaces_and_update_session_merges_on_every_target() {
    let mut town = Town::new().await;
    for (n, (target, meant)) in town.each().into_iter().enumerate() {
        let old = json!({"n": n, "deep": {"a": 1, "b": [1, 2]}});
        target.set_session(&old).expect("sent");
        town.fence().await;
        for m in &meant {
            assert_eq!(town.session(*m).await, old);
        }
        target
            .update_session(&json!({"deep": {"b": [3], "c": null}, "x": "y"}))
            .expect("sent");
        town.fence().await;
        let new = json!({"n": n, "deep": {"a": 1, "b": [3], "c": null}, "x": "y"});
        for m in meant {
            assert_eq!(town.session(m).await, new);
        }
        target.set_session(&json!({})).expect("sent");
    }
}

/// Proves `close`: what is pending comes first, then the last message, then the code and reason.
#[tokio::test]
async fn close_works_on_every_target() {
    for name in ["client", "uid", "group", "all"] {
        let mut town = Town::new().await;
        let target = match name {
            "client" => town.handle.client(town.ids[0]),
            name => town.target(name),
        };
        for n in 0..100 {
            target.send(format!("pending {n}")).expect("sent");
        }
        target
            .close_with(Close::new(4321, "because").message("last words"))
            .expect("sent");
        target.send("after the end").expect("sent");
        let closed = if name == "client" { 1 } else { 2 };
        let mut gone: Vec<_> = town.meant.drain(..closed).collect();
        if name == "all" {
            gone.append(&mut town.others);
        }
        let many = gone.len();
        for mut client in gone {
            for n in 0..100 {
                client.expect(&format!("pending {n}")).await;
            }
            client.expect("last words").await;
            assert_eq!(
                client.next().await,
                Err(End::Closed(4321, "because".into()))
            );
        }
        let closes = town
            .journal
            .wait("close", many, |e| e.kind == "close")
            .await;
        for close in closes {
            assert_eq!(close.details["by"], "command");
            assert_eq!(close.details["code"], 4321);
            assert_eq!(close.details["reason"], "because");
        }
        for client in town.meant.iter_mut().chain(&mut town.others) {
            assert_eq!(client.ask("still here").await, "still here");
        }
    }
}

/// Proves `destroy`: the connection ends without a goodbye.
#[tokio::test]
async fn destroy_works_on_every_target() {
    for name in ["client", "uid", "group", "all"] {
        let mut town = Town::new().await;
        let target = match name {
            "client" => town.handle.client(town.ids[0]),
            name => town.target(name),
        };
        target.destroy().expect("sent");
        let destroyed = if name == "client" { 1 } else { 2 };
        let mut gone: Vec<_> = town.meant.drain(..destroyed).collect();
        if name == "all" {
            gone.append(&mut town.others);
        }
        let many = gone.len();
        for client in gone {
            assert_eq!(client.end().await, End::Cut);
        }
        let closes = town
            .journal
            .wait("close", many, |e| e.kind == "close")
            .await;
        assert!(
            closes
                .iter()
                .all(|e| e.details["by"] == "command" && e.details["code"] == 1006)
        );
        for client in town.meant.iter_mut().chain(&mut town.others) {
            assert_eq!(client.ask("still here").await, "still here");
        }
    }
}

/// Proves the order of one publisher's commands over changing targets, from outside a worker.
#[tokio::test]
async fn commands_of_one_publisher_arrive_in_their_order_whatever_the_targets() {
    let mut town = Town::new().await;
    for n in 0..200 {
        let text = |target: &str| format!("{target} {n}");
        town.handle
            .client(town.ids[0])
            .send(text("client"))
            .expect("sent");
        town.handle.group("g").send(text("group")).expect("sent");
        town.handle.all().send(text("all")).expect("sent");
        town.handle.uid("u").send(text("uid")).expect("sent");
    }
    for n in 0..200 {
        for target in ["client", "group", "all", "uid"] {
            town.meant[0].expect(&format!("{target} {n}")).await;
        }
    }
}

/// Proves that names are only names: no wildcard, no second token, whatever their length.
#[tokio::test]
async fn any_text_can_name_a_uid_or_a_group() {
    let mut town = Town::new().await;
    let long = "ü".repeat(512);
    let names = [
        "*",
        ">",
        "a.b",
        "a b",
        "$SYS.>",
        "~",
        "\n",
        "ö",
        "g",
        long.as_str(),
    ];
    for name in names {
        let client = town.handle.client(town.ids[0]);
        assert_eq!(client.join(name).await.expect("answered"), 1);
        assert_eq!(client.bind_uid(name).await.expect("answered"), 1);
        town.handle
            .group(name)
            .send(format!("group {name}"))
            .expect("sent");
        town.handle
            .uid(name)
            .send(format!("uid {name}"))
            .expect("sent");
        town.meant[0].expect(&format!("group {name}")).await;
        town.meant[0].expect(&format!("uid {name}")).await;
    }
    // The other is in `g` and is `u`, and none of the wildcards was one.
    town.meant[1].expect("group g").await;
    town.fence().await;
}

/// Proves that a command for a client that is gone harms nobody, and that awaiting it says so.
#[tokio::test]
async fn a_command_for_a_client_that_is_gone_reaches_nobody() {
    let mut town = Town::new().await;
    let (client, gone) = town.newcomer(0).await;
    client.close(1000, "").await;
    town.journal.find("close", |e| e.kind == "close").await;
    let target = town.handle.client(gone);
    target.send("hello?").expect("sent");
    target.close().expect("sent");
    assert_eq!(target.join("g").await.expect("answered"), 0);
    assert_eq!(target.bind_uid("u").await.expect("answered"), 0);
    let nowhere: ClientId = "00000000000000000000".parse().expect("an id");
    let joined = within(
        "an answer from nobody",
        town.handle.client(nowhere).join("g"),
    )
    .await;
    assert_eq!(joined.expect("answered"), 0);
    town.fence().await;
    assert!(town.nats.prefix().starts_with("test-"));
}

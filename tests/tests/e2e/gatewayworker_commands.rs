//! GatewayWorker's method names that do something: one test for each, named as it, over two
//! gateways of two shards each.

use gatebus_tests::client::End;
use serde_json::{Value, json};

use crate::town::Town;

/// `sendToAll($message)`, with `$client_id_array`, and with `$exclude_client_id`.
#[tokio::test]
async fn send_to_all() {
    let mut town = Town::new().await;
    town.handle.send_to_all("all").expect("sent");
    let exclude = [town.ids[0]];
    town.handle
        .send_to_all_except("but one", exclude)
        .expect("sent");
    town.handle
        .send_to_clients(&town.ids, "these")
        .expect("sent");
    town.meant[0].expect("all").await;
    town.meant[0].expect("these").await;
    town.meant[1].expect("all").await;
    town.meant[1].expect("but one").await;
    town.meant[1].expect("these").await;
    for other in &mut town.others {
        other.expect("all").await;
        other.expect("but one").await;
        assert_eq!(other.ask("and nothing more").await, "and nothing more");
    }
}

/// `sendToClient($client_id, $message)`
#[tokio::test]
async fn send_to_client() {
    let mut town = Town::new().await;
    for n in 0..2 {
        town.handle
            .send_to_client(town.ids[n], format!("client {n}"))
            .expect("sent");
        town.meant[n].expect(&format!("client {n}")).await;
    }
    town.fence().await;
}

/// `sendToCurrentClient($message)`
#[tokio::test]
async fn send_to_current_client() {
    let mut town = Town::new().await;
    for client in &mut town.meant {
        assert_eq!(client.ask("welcome").await, "welcome");
    }
}

/// `sendToUid($uid, $message)`, and with an array of uids.
#[tokio::test]
async fn send_to_uid() {
    let mut town = Town::new().await;
    let (other, handle) = (&mut town.others[0], &town.handle);
    assert_eq!(other.ask("bind v").await, "bound v");
    handle.send_to_uid("u", "one uid").expect("sent");
    handle
        .send_to_uids(["u", "v", "nobody"], "uids")
        .expect("sent");
    other.expect("uids").await;
    for client in &mut town.meant {
        client.expect("one uid").await;
        client.expect("uids").await;
    }
    town.fence().await;
}

/// `sendToGroup($group, $message)`, with an array of groups, and with `$exclude_client_id`.
#[tokio::test]
async fn send_to_group() {
    let mut town = Town::new().await;
    let (other, handle) = (&mut town.others[1], &town.handle);
    assert_eq!(other.ask("join h").await, "joined h");
    handle.send_to_group("g", "one group").expect("sent");
    handle
        .send_to_group_except("g", "but one", [town.ids[1]])
        .expect("sent");
    handle.send_to_groups(["g", "h"], "groups").expect("sent");
    other.expect("groups").await;
    town.meant[0].expect("one group").await;
    town.meant[0].expect("but one").await;
    town.meant[0].expect("groups").await;
    town.meant[1].expect("one group").await;
    town.meant[1].expect("groups").await;
    town.fence().await;
}

/// `closeClient($client_id)`, and with a last message: both after what is pending.
#[tokio::test]
async fn close_client() {
    let mut town = Town::new().await;
    let handle = &town.handle;
    handle.send_to_client(town.ids[0], "pending").expect("sent");
    handle.close_client(town.ids[0]).expect("sent");
    handle.close_client_with(town.ids[1], "bye").expect("sent");
    let mut second = town.meant.remove(1);
    let mut first = town.meant.remove(0);
    first.expect("pending").await;
    assert_eq!(first.next().await, Err(End::Closed(1000, String::new())));
    second.expect("bye").await;
    assert_eq!(second.next().await, Err(End::Closed(1000, String::new())));
    let closes = town.journal.wait("close", 2, |e| e.kind == "close").await;
    assert!(closes.iter().all(|e| e.details["by"] == "command"));
}

/// `closeCurrentClient($message)`
#[tokio::test]
async fn close_current_client() {
    let mut town = Town::new().await;
    let mut client = town.meant.remove(0);
    client.send("close 1000 bye").await;
    for text in ["one", "two", "bye"] {
        client.expect(text).await;
    }
    assert_eq!(client.next().await, Err(End::Closed(1000, "R".into())));
}

/// `destoryClient($client_id)`
#[tokio::test]
async fn destroy_client() {
    let mut town = Town::new().await;
    town.handle.destroy_client(town.ids[1]).expect("sent");
    assert_eq!(town.meant.remove(1).end().await, End::Cut);
    assert_eq!(town.meant[0].ask("here").await, "here");
}

/// `destoryCurrentClient()`
#[tokio::test]
async fn destroy_current_client() {
    let mut town = Town::new().await;
    let mut client = town.meant.remove(0);
    client.send("destroy").await;
    assert_eq!(client.end().await, End::Cut);
}

/// `bindUid($client_id, $uid)`: the last one counts, and a uid has many clients.
#[tokio::test]
async fn bind_uid() {
    let mut town = Town::new().await;
    for id in town.ids.clone() {
        assert!(town.handle.bind_uid(id, "v").await.expect("answered"));
    }
    town.handle.send_to_uid("u", "to nobody").expect("sent");
    town.handle.send_to_uid("v", "to both").expect("sent");
    for client in &mut town.meant {
        client.expect("to both").await;
    }
    let gone = "00000000000000000000".parse::<worker_sdk::ClientId>();
    let bound = town.handle.bind_uid(gone.expect("an id"), "v").await;
    assert!(!bound.expect("answered"));
}

/// `unbindUid($client_id, $uid)`
#[tokio::test]
async fn unbind_uid() {
    let mut town = Town::new().await;
    town.handle.unbind_uid(town.ids[0]).expect("sent");
    town.handle.send_to_uid("u", "to one").expect("sent");
    town.meant[1].expect("to one").await;
    town.fence().await;
    assert_eq!(town.meant[0].who_am_i().await["uid"], Value::Null);
}

/// `joinGroup($client_id, $group)`: into as many as one likes.
#[tokio::test]
async fn join_group() {
    let mut town = Town::new().await;
    for id in town.ids.clone() {
        for group in ["h", "i"] {
            assert!(town.handle.join_group(id, group).await.expect("answered"));
        }
    }
    for group in ["g", "h", "i"] {
        town.handle.send_to_group(group, group).expect("sent");
        for client in &mut town.meant {
            client.expect(group).await;
        }
    }
}

/// `leaveGroup($client_id, $group)`
#[tokio::test]
async fn leave_group() {
    let mut town = Town::new().await;
    town.handle.leave_group(town.ids[0], "g").expect("sent");
    town.handle.send_to_group("g", "to one").expect("sent");
    town.meant[1].expect("to one").await;
    town.fence().await;
}

/// `ungroup($group)`: on every gateway nobody is in it any more.
#[tokio::test]
async fn ungroup() {
    let mut town = Town::new().await;
    town.handle.ungroup("g").expect("sent");
    town.handle.send_to_group("g", "to nobody").expect("sent");
    town.fence().await;
    let reached = town.handle.group("g").send_confirmed("to nobody").await;
    assert_eq!(reached.expect("answered").clients, 0);
}

/// `setSession($client_id, $session)`: in the place of the old one.
#[tokio::test]
async fn set_session() {
    let mut town = Town::new().await;
    town.meant[0].send("set old 1").await;
    assert_eq!(town.session(0).await, json!({"old": 1}));
    for n in 0..2 {
        let session = json!({"new": n});
        town.handle
            .set_session(town.ids[n], &session)
            .expect("sent");
        town.fence().await;
        assert_eq!(town.session(n).await, session);
    }
}

/// `updateSession($client_id, $session)`: merged into the old one, map by map.
#[tokio::test]
async fn update_session() {
    let mut town = Town::new().await;
    for n in 0..2 {
        let (id, handle) = (town.ids[n], town.handle.clone());
        handle
            .set_session(id, &json!({"a": 1, "m": {"x": 1}}))
            .expect("sent");
        handle
            .update_session(id, &json!({"m": {"y": [2]}}))
            .expect("sent");
        town.fence().await;
        let merged = json!({"a": 1, "m": {"x": 1, "y": [2]}});
        assert_eq!(town.session(n).await, merged);
    }
}

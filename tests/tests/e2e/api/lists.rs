//! The HTTP API's lists: whole, in order, a page at a time.

use std::collections::BTreeMap;

use gatebus_tests::{Api, Client, Gateway, Journal, Nats, Worker};
use serde_json::{Value, json};

/// All pages of a list, as one list.
async fn all(api: &Api, path: &str, field: &str, limit: usize) -> Vec<Value> {
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.answer(&format!("{path}limit={limit}{cursor}")).await;
        assert_eq!(page["missing"], json!([]));
        let entries = page[field].as_array().expect("a list");
        assert!(entries.len() <= limit, "{path}");
        listed.extend(entries.iter().cloned());
        let Some(next) = page["next"].as_str() else {
            return listed;
        };
        let next: String = next.bytes().map(|b| format!("%{b:02x}")).collect();
        cursor = format!("&cursor={next}");
    }
}

/// Proves that pages of any size make the same list, with every field, over four gateways.
#[tokio::test]
async fn pages_of_any_size_are_the_same_list() {
    let nats = Nats::start().await;
    let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let mut clients = Vec::new();
    let mut expected = Vec::new();
    for (n, gateway) in gateways.iter().cycle().take(30).enumerate() {
        let mut client = Client::connect(gateway).await;
        let (mut groups, mut uid) = (vec!["lobby"], Value::Null);
        assert_eq!(client.ask("join lobby").await, "joined lobby");
        if n % 3 == 0 {
            assert_eq!(client.ask("join a/b").await, "joined a/b");
            groups.push("a/b");
            assert_eq!(client.ask("bind 世界").await, "bound 世界");
            uid = "世界".into();
        }
        client.send(format!("set n {n}")).await;
        groups.sort_unstable();
        expected.push(json!({
            "client": client.id().await, "uid": uid, "session": {"n": n}, "groups": groups,
            "remote": client.address().to_string(),
        }));
        clients.push(client);
    }
    let id = |client: &Value| client["client"].as_str().map(str::to_owned);
    expected.sort_by_key(id);
    for limit in [1, 7, 15, 30, 1000] {
        let path = "/v1/group/lobby/clients?fields=uid,session,groups,remote&";
        let mut listed = all(&api, path, "clients", limit).await;
        for client in &mut listed {
            let client = client.as_object_mut().expect("an object");
            assert_eq!(client.remove("version"), Some(json!(1)));
            let groups = client["groups"].as_array_mut().expect("a list");
            groups.sort_by_key(ToString::to_string);
        }
        assert_eq!(listed, expected, "{limit} a page");
    }
    for (filter, many) in [
        ("bound=true&", 10),
        ("bound=false&", 20),
        ("in_group=a%2Fb&", 10),
    ] {
        let listed = all(&api, &format!("/v1/all/clients?{filter}"), "clients", 4).await;
        assert_eq!(listed.len(), many, "{filter}");
    }
    let session = api
        .answer(&format!(
            "/v1/client/{}/session",
            id(&expected[0]).expect("an id")
        ))
        .await;
    assert_eq!(
        session,
        json!({"session": expected[0]["session"], "version": 1})
    );
    let gone = api.get("/v1/client/00000000000000000000/session").await;
    assert_eq!((gone.status, gone.code()), (404, "no_client"));
    let others = api.get("/v1/uid/1/session").await;
    assert_eq!((others.status, others.code()), (404, "not_found"));
}

/// Proves that uids and groups are listed and counted once each, with all their clients.
#[tokio::test]
async fn uids_and_groups_are_listed_once_each() {
    let nats = Nats::start().await;
    let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let names = ["a/b", "b", "c d", "ü&=+", "世界"];
    let mut clients = Vec::new();
    let mut expected = BTreeMap::new();
    for n in 0..12 {
        let name = names[n % names.len()];
        let mut client = Client::connect(&gateways[n % 2]).await;
        assert_eq!(
            client.ask(format!("bind {name}")).await,
            format!("bound {name}")
        );
        assert_eq!(
            client.ask(format!("join {name}")).await,
            format!("joined {name}")
        );
        assert_eq!(client.ask("join lobby").await, "joined lobby");
        *expected.entry(name).or_insert(0) += 1;
        clients.push(client);
    }
    for limit in [1, 2, 100] {
        let listed = all(&api, "/v1/group/lobby/uids?", "uids", limit).await;
        let uids = expected
            .iter()
            .map(|(uid, n)| json!({"uid": uid, "clients": n}));
        assert_eq!(listed, uids.collect::<Vec<_>>(), "{limit} a page");
        let listed = all(&api, "/v1/uid/%E4%B8%96%E7%95%8C/groups?", "groups", limit).await;
        let (lobby, own) = (("lobby", 2), ("世界", 2));
        let groups = [lobby, own].map(|(group, n)| json!({"group": group, "clients": n}));
        assert_eq!(listed, groups, "{limit} a page");
    }
    let counted = |count: u8| json!({"count": count, "missing": []});
    assert_eq!(api.answer("/v1/all/uid_count").await, counted(5));
    assert_eq!(api.answer("/v1/all/group_count").await, counted(6));
    let calls = json!({"calls": [
        {"target": {"group": "b"}, "query": "uid_count"},
        {"target": {"client": clients[0].id().await}, "query": "session"},
        {"target": {"uid": "nobody"}, "query": "count"},
    ]});
    let done = api.done("/v1/batch", calls).await;
    let expected = json!([
        {"status": 200, "count": 1, "missing": []},
        {"status": 200, "session": {}, "version": 0},
        {"status": 200, "count": 0, "missing": []},
    ]);
    assert_eq!(done["results"], expected);
}

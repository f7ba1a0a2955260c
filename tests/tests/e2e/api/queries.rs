//! Queries: answered by all gateways, or with the names of those that did not.

use gatebus_tests::{Api, Client, Gateway, Journal, Nats, Worker};
use serde_json::{Value, json};

/// Proves the queries over two gateways of two shards each, with pages that are whole together.
#[tokio::test]
async fn queries_are_answered_for_all_gateways_and_lists_come_in_pages() {
    let nats = Nats::start().await;
    let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let mut expected = Vec::new();
    let mut clients = Vec::new();
    for (n, gateway) in gateways.iter().cycle().take(10).enumerate() {
        let mut client = Client::connect(gateway).await;
        assert_eq!(client.ask("join lobby").await, "joined lobby");
        client.send(format!("set n {n}")).await;
        let mut uid = Value::Null;
        if n % 2 == 0 {
            assert_eq!(client.ask("bind even").await, "bound even");
            uid = "even".into();
        }
        let id = client.id().await;
        expected.push(json!({"client": id, "uid": uid, "session": {"n": n}, "version": 1}));
        clients.push(client);
    }
    expected.sort_by_key(|client| client["client"].as_str().map(str::to_owned));
    let first = expected[0]["client"].as_str().expect("an id");
    for (target, count) in [
        ("all".to_owned(), 10),
        ("group/lobby".to_owned(), 10),
        ("uid/even".to_owned(), 5),
        (format!("client/{first}"), 1),
        ("uid/nobody".to_owned(), 0),
        ("client/00000000000000000000".to_owned(), 0),
    ] {
        let counted = api.answer(&format!("/v1/{target}/count")).await;
        assert_eq!(counted, json!({"count": count, "missing": []}), "{target}");
        let online = api.answer(&format!("/v1/{target}/is_online")).await;
        assert_eq!(online, json!({"online": count > 0}), "{target}");
        let listed = api.answer(&format!("/v1/{target}/clients")).await;
        let many = listed["clients"].as_array().map(Vec::len);
        assert_eq!(many, Some(count), "{target}");
        assert_eq!(
            (&listed["next"], &listed["missing"]),
            (&Value::Null, &json!([]))
        );
    }

    let (mut listed, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let path = format!("/v1/group/lobby/clients?limit=4&fields=uid,session{cursor}");
        let page = api.answer(&path).await;
        let clients = page["clients"].as_array().expect("a list");
        assert!(clients.len() <= 4);
        listed.extend(clients.iter().cloned());
        pages += 1;
        let Some(next) = page["next"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, expected);
    assert!(pages >= 3, "{pages}");
    let ids = api.answer("/v1/group/lobby/clients?limit=1").await;
    assert_eq!(
        ids["clients"],
        json!([{"client": first}]),
        "only what was asked for"
    );
    assert_eq!(clients.len(), 10);
}

/// Proves that a gateway which does not answer is named.
#[tokio::test]
async fn who_did_not_answer_is_part_of_the_answer() {
    let nats = Nats::start().await;
    let gateways = [
        Gateway::with(&nats).option("--shards", "1").start().await,
        Gateway::with(&nats).option("--shards", "1").start().await,
    ];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::with(&nats)
        .option("--query-timeout", "1s")
        .start()
        .await;
    let mut clients = Vec::new();
    for gateway in &gateways {
        let mut client = Client::connect(gateway).await;
        assert_eq!(client.ask("join lobby").await, "joined lobby");
        clients.push(client);
    }
    let silent = clients[1].id().await;
    let before = api.answer("/v1/all/count").await;
    assert_eq!(before, json!({"count": 2, "missing": []}));
    gateways[1].hold().await;
    let count = api.answer("/v1/group/lobby/count").await;
    assert_eq!(count, json!({"count": 1, "missing": [silent[..12]]}));
    let list = api.answer("/v1/group/lobby/clients").await;
    assert_eq!(list["missing"], json!([silent[..12]]));
    let bind = api.post("/v1/all/join", json!({"group": "b"})).await;
    assert_eq!((bind.status, bind.code()), (504, "timeout"));
    gateways[1].go_on();
}

//! Batches: many calls in one request, and calls for several.

use gatebus_tests::{Api, Client, Gateway, Journal, Nats, Worker};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::Somebody;

/// Proves that a batch is done in order with a result each, and not at all if it is wrong.
#[tokio::test]
async fn a_batch_is_done_in_order_with_a_result_each() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    let gone = "00000000000000000000";
    let batch = json!({"calls": [
        {"target": {"client": id}, "command": "bind_uid", "uid": "a/b"},
        {"target": {"uid": "a/b"}, "command": "send", "text": "one"},
        {"target": {"client": gone}, "command": "join", "group": "g"},
        {"target": {"client": id}, "command": "join", "group": "g"},
        {"target": {"group": "g"}, "command": "send", "binary": "AA=="},
        {"target": {"group": "g"}, "query": "count"},
        {"target": {"all": true}, "command": "send", "text": "two", "except": [gone]},
        {"target": {"uid": "nobody"}, "query": "is_online"},
    ]});
    let done = api.done("/v1/batch", batch).await;
    let mut results = done["results"].as_array().expect("a list").clone();
    assert_eq!(results[2]["error"]["code"], "no_client");
    assert_eq!(results[2]["status"], 404);
    results.remove(2);
    let expected = [
        json!({"status": 200, "clients": 1, "kicked": 0}),
        json!({"status": 202}),
        json!({"status": 200, "clients": 1}),
        json!({"status": 202}),
        json!({"status": 200, "count": 1, "missing": []}),
        json!({"status": 202}),
        json!({"status": 200, "online": false}),
    ];
    assert_eq!(results, expected);
    client.expect("one").await;
    assert_eq!(client.next().await, Ok(Message::binary([0].as_slice())));
    client.expect("two").await;

    let wrong = json!({"calls": [
        {"target": {"client": id}, "command": "send", "text": "never"},
        {"target": {"client": id}, "command": "sned", "text": "never"},
    ]});
    let refused = api.post("/v1/batch", wrong).await;
    assert_eq!((refused.status, refused.code()), (422, "invalid_body"));
    assert_eq!(client.ask("fence").await, "fence", "nothing of it was done");
    assert_eq!(
        api.done("/v1/batch", json!({"calls": []})).await,
        json!({"results": []})
    );
}

/// Proves that one call of a batch can be for several of a kind.
#[tokio::test]
async fn a_call_of_a_batch_may_be_for_several() {
    let nats = Nats::start().await;
    let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let mut clients = Vec::new();
    for (n, gateway) in gateways.iter().cycle().take(4).enumerate() {
        let who = Somebody::enter(gateway, &format!("name-{n}")).await;
        clients.push(who);
    }
    let ids = [&clients[0].id, &clients[3].id];
    let calls = json!({"calls": [
        {"target": {"clients": ids}, "command": "send", "text": "ids"},
        {"target": {"uids": ["name-0", "name-1"]}, "command": "send", "text": "uids"},
        {"target": {"groups": ["name-2", "name-3"]}, "command": "send_confirmed", "text": "groups"},
        {"target": {"clients": []}, "command": "send", "text": "nobody"},
    ]});
    let done = api.done("/v1/batch", calls).await;
    assert_eq!(
        done["results"][2],
        json!({"status": 200, "clients": 2, "missing": []})
    );
    for (who, texts) in clients.iter_mut().zip([
        &["ids", "uids"][..],
        &["uids"],
        &["groups"],
        &["ids", "groups"],
    ]) {
        for text in texts {
            who.client.expect(text).await;
        }
        assert_eq!(who.client.ask("fence").await, "fence");
    }
}

/// Proves that several uids or groups are asked about in one call, and answered name by name.
#[tokio::test]
async fn a_call_of_a_batch_may_ask_about_several_by_name() {
    let nats = Nats::start().await;
    let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let mut people = Vec::new();
    for (gateway, name) in gateways.iter().cycle().zip(["ann", "b/b", "ann", "eve"]) {
        let mut who = Somebody::enter(gateway, name).await;
        assert_eq!(who.client.ask("join lobby").await, "joined lobby");
        people.push(who);
    }
    let ids = |which: &[usize]| {
        let mut ids: Vec<&String> = which.iter().map(|n| &people[*n].id).collect();
        ids.sort();
        json!(ids)
    };
    let uids = json!({"uids": ["ann", "b/b", "nobody", "ann"]});
    let groups = json!({"groups": ["lobby", "eve", "empty"]});
    let calls = json!({"calls": [
        {"target": uids, "query": "is_online"},
        {"target": uids, "query": "count"},
        {"target": uids, "query": "client_ids"},
        {"target": groups, "query": "is_online"},
        {"target": groups, "query": "count"},
        {"target": groups, "query": "client_ids"},
        {"target": {"uids": []}, "query": "count"},
    ]});
    let done = api.done("/v1/batch", calls).await;
    let expected = json!([
        {"status": 200, "missing": [], "online": {"ann": true, "b/b": true, "nobody": false}},
        {"status": 200, "missing": [], "counts": {"ann": 2, "b/b": 1, "nobody": 0}},
        {"status": 200, "missing": [], "clients":
            {"ann": ids(&[0, 2]), "b/b": ids(&[1]), "nobody": []}},
        {"status": 200, "missing": [], "online": {"lobby": true, "eve": true, "empty": false}},
        {"status": 200, "missing": [], "counts": {"lobby": 4, "eve": 1, "empty": 0}},
        {"status": 200, "missing": [], "clients":
            {"lobby": ids(&[0, 1, 2, 3]), "eve": ids(&[3]), "empty": []}},
        {"status": 200, "missing": [], "counts": {}},
    ]);
    assert_eq!(done["results"], expected);

    // What is for one, or in pages, is told so.
    for (target, query) in [
        (json!({"clients": [people[0].id]}), "is_online"),
        (uids, "session"),
        (groups, "clients"),
        (json!({"uid": "ann"}), "client_ids"),
    ] {
        let calls = json!({"calls": [{"target": target, "query": query}]});
        let refused = api.post("/v1/batch", calls).await;
        assert_eq!((refused.status, refused.code()), (422, "invalid_body"));
        let says = refused.body["error"]["message"].to_string();
        assert!(says.contains(&format!("no query `{query}` for ")), "{says}");
    }
}

/// Proves that as many uids or groups can be asked about as a call may name, however long they are.
#[tokio::test]
async fn a_call_may_ask_about_a_thousand_long_names() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::with(&nats).option("--max-body", "8MiB");
    let api = api.start().await;
    let names: Vec<String> = (0..1000).map(|n| format!("{n:0>1000}")).collect();
    let last = Somebody::enter(&gateway, &names[999]).await;
    for kind in ["uids", "groups"] {
        let calls = json!({"calls": [{"target": {kind: names}, "query": "client_ids"}]});
        let done = api.done("/v1/batch", calls).await;
        let clients = done["results"][0]["clients"].as_object();
        let clients = clients.unwrap_or_else(|| panic!("no answer: {done}"));
        assert_eq!(clients.len(), 1000);
        assert_eq!(clients[&names[999]], json!([last.id]), "{kind}");
        assert_eq!(clients[&names[0]], json!([]), "{kind}");
    }
}

/// Proves that a gateway which does not answer is named there too.
#[tokio::test]
async fn who_did_not_answer_about_several_is_part_of_the_answer() {
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
    let here = Somebody::enter(&gateways[0], "here").await;
    let silent = Somebody::enter(&gateways[1], "silent").await;
    let target = json!({"uids": ["here", "silent"]});
    let calls = json!({"calls": [
        {"target": target, "query": "is_online"},
        {"target": target, "query": "client_ids"},
    ]});
    let before = api.done("/v1/batch", calls.clone()).await;
    assert_eq!(before["results"][0]["missing"], json!([]));
    gateways[1].hold().await;
    let done = api.done("/v1/batch", calls).await;
    let missing = json!([silent.id[..12]]);
    let expected = json!([
        {"status": 200, "missing": missing, "online": {"here": true, "silent": false}},
        {"status": 200, "missing": missing, "clients": {"here": [here.id], "silent": []}},
    ]);
    assert_eq!(done["results"], expected);
    gateways[1].go_on();
}

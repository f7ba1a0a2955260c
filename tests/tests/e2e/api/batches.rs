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

//! Sessions: as JSON and back, and changed by one at a time.

use gatebus_tests::{Api, Client, Gateway, Journal, Nats, Worker};
use serde_json::json;

/// Proves what a session looks like on both sides, also what JSON has no word for.
#[tokio::test]
async fn a_session_goes_out_and_comes_back_as_it_was() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    let session = json!({
        "int": i64::MAX, "unsigned": u64::MAX, "float": 0.5, "text": "ü", "no": null,
        "list": [1, [true]], "bytes": {"$binary": "AP8="}, "map": {"": {}},
    });
    let path = format!("/v1/client/{id}");
    api.done(&format!("{path}/set_session"), json!({"session": session}))
        .await;
    let listed = api.answer(&format!("{path}/clients?fields=session")).await;
    assert_eq!(listed["clients"][0]["session"], session);
    let wrong = json!({"session": {"a": {"$binary": "?"}}});
    let refused = api.post(&format!("{path}/set_session"), wrong).await;
    assert_eq!((refused.status, refused.code()), (422, "invalid_session"));
    let large = json!({"session": {"a": "x".repeat(70_000)}});
    let refused = api.post(&format!("{path}/set_session"), large).await;
    assert_eq!((refused.status, refused.code()), (422, "invalid_session"));
}

/// Proves that of two who change a session at once the slower one learns of it.
#[tokio::test]
async fn a_session_is_changed_only_if_it_is_still_the_one_that_was_read() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    let path = |call: &str| format!("/v1/client/{id}/{call}");
    let first = json!({"version": 0, "session": {"a": 1}});
    let changed = api.done(&path("set_session_if"), first.clone()).await;
    let version = changed["version"].as_u64().expect("a version");
    let late = api.post(&path("set_session_if"), first).await;
    assert_eq!((late.status, late.code()), (409, "conflict"));
    let next = json!({"version": version, "session": {"b": 2}});
    api.done(&path("update_session_if"), next).await;
    let listed = api.answer(&path("clients?fields=session")).await;
    assert_eq!(listed["clients"][0]["session"], json!({"a": 1, "b": 2}));
    let gone = "/v1/client/00000000000000000000/set_session_if";
    let gone = api.post(gone, json!({"version": 0, "session": {}})).await;
    assert_eq!((gone.status, gone.code()), (404, "no_client"));
}

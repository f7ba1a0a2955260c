//! The life of the process: without NATS, and to its end.

use gatebus_tests::{Api, Client, Gateway, Journal, Nats, Worker, eventually};
use serde_json::json;

/// Proves that a replica which starts before NATS, or outlives it, says so at once and comes back.
#[tokio::test]
async fn without_nats_calls_fail_at_once_and_afterwards_they_work_again() {
    let mut nats = Nats::start().await;
    nats.stop().await;
    let api = Api::with(&nats).start_unready().await;
    api.wait_ready(false).await;
    assert_eq!(api.admin("/livez").await.status, 200);
    for path in ["/v1/all/count", "/v1/uid/1/is_online"] {
        let reply = api.get(path).await;
        assert_eq!((reply.status, reply.code()), (503, "nats_unavailable"));
        assert!(
            reply.head.to_lowercase().contains("retry-after"),
            "{}",
            reply.head
        );
    }
    nats.start_again().await;
    api.wait_ready(true).await;
    let gateway = Gateway::start(&nats).await;
    eventually("the gateway to be counted", || async {
        let reply = api.get("/v1/all/count").await;
        (reply.body == json!({"count": 0, "missing": []})).then_some(())
    })
    .await;

    nats.stop().await;
    api.wait_ready(false).await;
    let send = api.post("/v1/all/send", json!({"text": "lost"})).await;
    assert_eq!((send.status, send.code()), (503, "nats_unavailable"));
    assert!(
        api.admin("/metrics")
            .await
            .body
            .contains("gatebus_api_nats_up 0")
    );
    nats.start_again().await;
    api.wait_ready(true).await;
    gateway.wait_ready(true).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    api.done(&format!("/v1/client/{id}/send"), json!({"text": "back"}))
        .await;
    client.expect("back").await;
}

/// Proves that what was accepted before a SIGTERM still goes out, that the process ends with 0, and
/// that it counted what it did.
#[tokio::test]
async fn a_stop_answers_what_was_asked_and_sends_what_was_accepted() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats).option("--shards", "1").start().await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut api = Api::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    for n in 0..50 {
        let text = json!({"text": n.to_string()});
        api.done(&format!("/v1/client/{id}/send"), text).await;
    }
    let metrics = api.admin("/metrics").await.body;
    let counted = r#"gatebus_api_calls_total{call="send",target="client",code="ok"} 50"#;
    assert!(metrics.contains(counted), "{metrics}");
    let timed = "gatebus_api_request_duration_seconds_count 50";
    assert!(metrics.contains(timed), "{metrics}");
    // The last request is at work while the signal comes: its gateway stands still.
    gateway.hold().await;
    let path = format!("/v1/client/{id}/join");
    let join = api.post(&path, json!({"group": "g"}));
    let meanwhile = async {
        eventually("the request to be at work", || async {
            let metrics = api.admin("/metrics").await.body;
            metrics
                .contains("gatebus_api_requests_running 1")
                .then_some(())
        })
        .await;
        api.terminate();
        api.log
            .find("draining", |line| line.contains("draining").then_some(()))
            .await;
        gateway.go_on();
    };
    let (joined, ()) = tokio::join!(join, meanwhile);
    assert_eq!(joined.body, json!({"clients": 1}));
    api.wait_for_success().await;
    for n in 0..50 {
        client.expect(&n.to_string()).await;
    }
}

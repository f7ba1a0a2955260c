//! The HTTP API's doors: who is let in, and how much at once.

use gatebus_tests::{
    Api, Gateway, Nats,
    api::{self, TOKEN, tokens},
    eventually, within,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn status(api: &Api, token: &str) -> u16 {
    let token = format!("Bearer {token}");
    let headers = [("Authorization", token.as_str())];
    let reply = api.exchange("GET", "/v1/all/count", &headers, b"").await;
    if reply.status == 401 {
        assert_eq!(reply.code(), "unauthorized");
        let head = reply.head.to_lowercase();
        assert!(head.contains("www-authenticate: bearer"), "{head}");
    }
    reply.status
}

/// Proves that only known tokens are let in, and that the file may change while it runs.
#[tokio::test]
async fn tokens_come_and_go_with_their_file() {
    const OTHER: &str = "another-token-of-the-tests";
    let nats = Nats::start().await;
    let _gateway = Gateway::start(&nats).await;
    let api = Api::start(&nats).await;
    assert_eq!(status(&api, TOKEN).await, 200);
    assert_eq!(status(&api, OTHER).await, 401);
    assert_eq!(status(&api, &TOKEN[..TOKEN.len() - 1]).await, 401);
    assert_eq!(status(&api, "").await, 401);
    for headers in [&[][..], &[("Authorization", "Basic dXNlcjpwYXNz")]] {
        for path in ["/v1/all/count", "/v1/no/such/path", "/v1/batch"] {
            let reply = api.exchange("GET", path, headers, b"").await;
            assert_eq!(reply.status, 401, "{path}");
        }
    }

    let both = format!("# two of them\n{TOKEN}\n\n{OTHER} another\n");
    std::fs::write(tokens(&nats), both).expect("a temporary file");
    eventually("the other token to be let in", || async {
        (status(&api, OTHER).await == 200).then_some(())
    })
    .await;
    assert_eq!(status(&api, TOKEN).await, 200);

    // A file that makes no sense changes nothing, and is told of.
    std::fs::write(tokens(&nats), "short\n").expect("a temporary file");
    let told = |line: &str| line.contains("line 1: a token has at least").then_some(());
    api.log.find("the tokens stay as they were", told).await;
    assert_eq!(status(&api, TOKEN).await, 200);

    std::fs::write(tokens(&nats), OTHER).expect("a temporary file");
    eventually("the first token to be gone", || async {
        (status(&api, TOKEN).await == 401).then_some(())
    })
    .await;
    assert_eq!(status(&api, OTHER).await, 200);
    for line in api.log.lines() {
        assert!(!line.contains(TOKEN) && !line.contains(OTHER), "{line}");
    }
}

/// Proves that it does not start open by mistake, and that it can be opened by saying so.
#[tokio::test]
async fn without_tokens_it_starts_only_if_that_is_said_plainly() {
    let nats = Nats::start().await;
    let output = within("it to refuse", api::command(&nats).output()).await;
    let output = output.expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("--tokens-file (GATEBUS_API_TOKENS_FILE)"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");

    let _gateway = Gateway::start(&nats).await;
    let open = Api::with(&nats)
        .env("GATEBUS_API_TOKENS_FILE", "")
        .env("GATEBUS_API_NO_AUTH", "1")
        .start()
        .await;
    let reply = open.exchange("GET", "/v1/all/count", &[], b"").await;
    assert_eq!(reply.status, 200);
}

/// Proves the limits of a body and of a batch, each at its edge.
#[tokio::test]
async fn bodies_and_batches_have_limits() {
    let nats = Nats::start().await;
    let _gateway = Gateway::start(&nats).await;
    let api = Api::with(&nats)
        .option("--max-body", "2MB")
        .option("--max-batch", "2")
        .start()
        .await;
    let body = |size: usize| json!({"text": "x".repeat(size - r#"{"text":""}"#.len())});
    let reply = api.post("/v1/uid/1/send", body(2_000_001)).await;
    assert_eq!((reply.status, reply.code()), (413, "too_large"));
    // The body may be as large, but NATS takes a megabyte and no more.
    let reply = api.post("/v1/uid/1/send", body(2_000_000)).await;
    assert_eq!((reply.status, reply.code()), (413, "too_large"));
    assert_eq!(
        api.post("/v1/uid/1/send", body(1_000_000)).await.status,
        202
    );

    let call = json!({"target": {"uid": "1"}, "query": "is_online"});
    let reply = api
        .post("/v1/batch", json!({"calls": [call, call, call]}))
        .await;
    assert_eq!((reply.status, reply.code()), (422, "invalid_body"));
    let reply = api.post("/v1/batch", json!({"calls": [call, call]})).await;
    assert_eq!(reply.status, 200);
}

/// Proves that requests over the limit are refused at once, and that none takes longer than its time.
#[tokio::test]
async fn too_many_at_once_are_refused_and_slow_ones_end() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let api = Api::with(&nats)
        .option("--concurrency", "1")
        .option("--request-timeout", "2s")
        .option("--query-timeout", "20s")
        .start()
        .await;
    assert_eq!(api.get("/v1/all/count").await.status, 200);
    gateway.hold().await;
    let at_work = |many: u8| {
        let api = &api;
        let text = format!("gatebus_api_requests_running {many}");
        eventually(text.clone(), move || {
            let text = text.clone();
            async move {
                api.admin("/metrics")
                    .await
                    .body
                    .contains(&text)
                    .then_some(())
            }
        })
    };
    let slow = api.get("/v1/all/count");
    let more = async {
        at_work(1).await;
        let reply = api.get("/v1/all/count").await;
        assert_eq!((reply.status, reply.code()), (429, "busy"));
        assert!(reply.head.to_lowercase().contains("retry-after: 1"));
    };
    let (slow, ()) = tokio::join!(slow, more);
    assert_eq!((slow.status, slow.code()), (504, "timeout"));
    let calls = json!({"calls": [
        {"target": {"all": true}, "query": "count"},
        {"target": {"all": true}, "query": "count"},
    ]});
    let batch = api.done("/v1/batch", calls).await;
    assert_eq!(batch["results"][0]["error"]["code"], "timeout");
    assert_eq!(batch["results"][1]["error"]["code"], "skipped");
    gateway.go_on();

    // A body that never comes takes a seat no longer than any other request.
    let mut stream = TcpStream::connect(("127.0.0.1", api.port()))
        .await
        .expect("it listens");
    let head = format!(
        "POST /v1/all/send HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = vec![0; 4096];
    let read = within("an answer", stream.read(&mut answer))
        .await
        .expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(
        answer.contains(" 408 ") && answer.contains("slow_request"),
        "{answer}"
    );
    assert_eq!(api.get("/v1/all/count").await.status, 200);
}

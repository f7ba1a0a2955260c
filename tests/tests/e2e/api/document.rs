//! The OpenAPI document.

use gatebus_tests::{Api, Gateway, Nats};
use serde_json::json;

/// Proves that the document and the code are the same: what it names answers as it says, and the
/// copy in the repository is the one that is served.
#[tokio::test]
async fn the_openapi_document_is_what_the_service_does() {
    let nats = Nats::start().await;
    let _gateway = Gateway::start(&nats).await;
    let api = Api::start(&nats).await;
    let served = api.exchange("GET", "/openapi.json", &[], b"").await;
    assert_eq!(served.status, 200, "without a token");
    let document = served.body;
    assert_eq!(document["openapi"], "3.1.0");
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../api-svc/openapi.json");
    let text = serde_json::to_string_pretty(&document).expect("JSON") + "\n";
    if std::env::var_os("GATEBUS_FREEZE").is_some() {
        std::fs::write(kept, &text).expect("a file of the repository");
    }
    let same = std::fs::read_to_string(kept).is_ok_and(|kept| kept == text);
    assert!(
        same,
        "api-svc/openapi.json is not what is served; set GATEBUS_FREEZE=1 to write it anew"
    );

    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 40, "{}", paths.len());
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().expect("operations") {
            let name = match path.split('/').nth(2) {
                Some("client") => "00000000000000000000",
                _ => "somebody",
            };
            let concrete = path.replace("{name}", name);
            let reply = if method == "get" {
                api.get(&concrete).await
            } else {
                api.post(&concrete, json!({})).await
            };
            let said = reply.status.to_string();
            assert!(
                operation["responses"].get(&said).is_some() && reply.status != 405,
                "{method} {path} answers {said}"
            );
            assert_ne!(reply.code(), "not_found", "{method} {path}");
        }
    }
}

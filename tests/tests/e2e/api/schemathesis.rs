//! The HTTP API keeps what its OpenAPI document says, whatever it is sent: schemathesis makes
//! requests from the document and judges the answers.

use std::{path::Path, process::Stdio};

use gatebus_tests::{Api, Client, Gateway, Journal, Nats, Worker, api::TOKEN, python, within_secs};
use serde_json::json;
use tokio::process::Command;

use super::Somebody;

/// Commands after which somebody is not where they were.
const DEADLY: &str = "/(close|destroy|bind_uid|unbind_uid|leave|batch)$";

/// Lets schemathesis make requests from a document, and counts them; all answers must be right.
async fn judge(document: &str, folder: &Path, args: &[&str]) -> u32 {
    let mut command = Command::new(python::interpreter());
    command
        .args([
            "-c",
            "from schemathesis.cli import schemathesis; schemathesis()",
            "run",
        ])
        .arg(document)
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--checks", "all", "--phases", "examples,coverage,fuzzing"])
        .args(["--seed", "1", "--workers", "2"])
        .args(["--no-color", "--request-timeout", "20"])
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = within_secs(180, "schemathesis to end", command.output()).await;
    let output = output.expect("schemathesis starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let cases = said.lines().find(|line| line.contains(" generated, "));
    let mut numbers = cases.unwrap_or(&said).split_whitespace();
    let (made, passed) = (numbers.next(), numbers.nth(1));
    assert_eq!(made, passed, "{said}");
    made.and_then(|n| n.parse().ok()).expect("a number")
}

/// Proves it for requests of any sort, right ones and wrong ones, about names that nobody has.
#[tokio::test]
async fn schemathesis_finds_nothing_wrong() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    assert_eq!(
        api.answer("/v1/all/count").await,
        json!({"count": 0, "missing": []})
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let document = format!("{}/openapi.json", api.url());
    let made = judge(&document, folder.path(), &["--max-examples", "15"]).await;
    assert!(made > 1000, "{made}");
    let mut client = Client::connect(&gateway).await;
    assert_eq!(
        client.ask("fence").await,
        "fence",
        "the gateway has borne it"
    );
}

/// Proves it for answers that have something to tell: about clients that are there, with uids,
/// groups and sessions, at two gateways.
#[tokio::test]
async fn schemathesis_finds_nothing_wrong_with_answers_about_clients_that_are_there() {
    let nats = Nats::start().await;
    let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let names = ["a", "b/c", "世界"];
    let mut people = Vec::new();
    for name in names.into_iter().cycle().take(6) {
        let who = Somebody::enter(&gateways[people.len() % 2], name).await;
        let session = json!({"session": {"name": name, "bytes": {"$binary": "AP8="}}});
        let path = format!("/v1/client/{}/set_session", who.id);
        api.done(&path, session).await;
        people.push(who);
    }
    // One without a uid, a group or a session.
    let nobody = Client::connect(&gateways[0]).await;

    let mut document = api.answer("/openapi.json").await;
    let ids: Vec<&String> = people.iter().map(|who| &who.id).collect();
    let (ids, names) = (json!({"enum": ids}), json!({"enum": names}));
    for (path, methods) in document["paths"].as_object_mut().expect("paths") {
        for operation in methods.as_object_mut().expect("operations").values_mut() {
            let parameters = operation.get_mut("parameters");
            let parameters = parameters.and_then(|list| list.as_array_mut());
            for parameter in parameters.into_iter().flatten() {
                let is_id = path.starts_with("/v1/client/");
                match parameter["name"].as_str() {
                    Some("name") if is_id => parameter["schema"] = ids.clone(),
                    Some("name" | "in_group") => parameter["schema"] = names.clone(),
                    _ => {}
                }
            }
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("openapi.json");
    std::fs::write(&file, document.to_string()).expect("a temporary file");
    let url = api.url();
    let args = [
        ["--url", &url],
        ["--mode", "positive"],
        ["--max-examples", "5"],
        ["--exclude-path-regex", DEADLY],
    ];
    let made = judge(
        &file.display().to_string(),
        folder.path(),
        args.as_flattened(),
    )
    .await;
    assert!(made > 200, "{made}");

    // All along there was somebody to tell of.
    let count = api.answer("/v1/all/count").await;
    assert_eq!(count, json!({"count": 7, "missing": []}));
    for who in &people {
        let path = format!("{}/clients?fields=uid", who.targets[0]);
        assert_eq!(api.answer(&path).await["clients"][0]["uid"], who.name);
    }
    let metrics = api.admin("/metrics").await.body;
    for target in ["client", "uid", "group", "all"] {
        for call in ["clients", "uids", "groups", "count", "send_confirmed"] {
            let counted =
                format!(r#"gatebus_api_calls_total{{call="{call}",target="{target}",code="ok"}} "#);
            let many = metrics.lines().find_map(|line| line.strip_prefix(&counted));
            assert_ne!(many.unwrap_or("0"), "0", "{counted}");
        }
    }
    drop(nobody);
}

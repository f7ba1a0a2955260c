//! The HTTP API and programs that nobody here wrote: curl, Python and PHP.

use std::{path::Path, process::Stdio};

use gatebus_tests::{Api, Client, Gateway, Journal, Nats, Worker, api::TOKEN, python, within};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;

const README: &str = include_str!("../../../../api-svc/README.md");

/// The code in the README, as it stands.
fn snippet(language: &str) -> &'static str {
    let start = format!("\n```{language}\n");
    let mut blocks = README.split(&start).skip(1);
    let (block, rest) = (blocks.next(), blocks.next());
    assert!(rest.is_none(), "one block in {language} is expected");
    let code = block.and_then(|block| block.split("\n```").next());
    code.unwrap_or_else(|| panic!("the README has no {language}"))
}

/// Runs a snippet to its end, which must be a success, and returns what it printed.
async fn run(api: &Api, client: &str, language: &str, interpreter: &Path, args: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("snippet");
    std::fs::write(&file, snippet(language)).expect("a temporary file");
    let mut command = Command::new(interpreter);
    command
        .args(args)
        .arg(&file)
        .env("API", api.url())
        .env("TOKEN", TOKEN)
        .env("CLIENT", client)
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = within(format!("the {language} to end"), command.output()).await;
    let output = output.unwrap_or_else(|e| panic!("{} does not run: {e}", interpreter.display()));
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{language}: {said}{complained}");
    assert_eq!(complained, "", "{language}");
    said
}

/// Proves that the README's examples work as they stand, each in its own language.
#[tokio::test]
async fn the_examples_of_the_readme_work_as_they_stand() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;

    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    let said = run(&api, &id, "sh", Path::new("bash"), &["-e"]).await;
    client.expect("hello from curl").await;
    assert_eq!(
        client.next().await,
        Ok(Message::binary([0, 255].as_slice()))
    );
    let answers: Vec<&str> = said.lines().collect();
    assert_eq!(
        answers,
        [
            r#"{"clients":1,"kicked":0}"#,
            r#"{"clients":1}"#,
            "{}",
            "{}",
            r#"{"online":true}"#,
            r#"{"count":1,"missing":[]}"#,
        ]
    );
    drop(client);

    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    let said = run(&api, &id, "python", python::interpreter(), &[]).await;
    client.expect("hello from Python").await;
    assert!(said.lines().any(|line| line == "42 Ann"), "{said}");
    assert_eq!(client.ask("fence").await, "fence", "it was left out");
    drop(client);

    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    let said = run(&api, &id, "php", Path::new("php"), &[]).await;
    client.expect("hello from PHP").await;
    client.expect(r#"{"type":"news"}"#).await;
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with("202 ") && lines[0].ends_with(" offline"),
        "{said}"
    );
    assert!(lines[1..].contains(&"42"), "{said}");
}

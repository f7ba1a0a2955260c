//! The HTTP API and programs that nobody here wrote: curl, Python and PHP, with what the READMEs say.

use std::process::Stdio;

use gatebus_tests::{Api, Client, Gateway, Journal, Nats, Worker, api::TOKEN, python, within};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;

const README: &str = include_str!("../../../../README.md");
const API_README: &str = include_str!("../../../../api-svc/README.md");

/// The code in a README, as it stands, in one language.
fn snippets<'a>(readme: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("\n```{language}\n");
    let blocks = readme.split(&start).skip(1);
    let code = blocks.map(|block| block.split("\n```").next().unwrap_or_default());
    code.collect()
}

/// The one block of a language in the API's README.
fn snippet(language: &str) -> &'static str {
    let [code] = snippets(API_README, language)[..] else {
        panic!("one block in {language} is expected")
    };
    code
}

/// How a snippet is run.
fn interpreter(language: &str) -> Command {
    match language {
        "sh" => {
            let mut bash = Command::new("bash");
            bash.arg("-e");
            bash
        }
        "python" => Command::new(python::interpreter()),
        php => Command::new(php),
    }
}

/// Runs a snippet to its end, which must be a success, and returns what it printed.
async fn run(api: &Api, client: &str, language: &str, code: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("snippet");
    std::fs::write(&file, code).expect("a temporary file");
    let mut command = interpreter(language);
    command
        .arg(&file)
        .env("API", api.url())
        .env("TOKEN", TOKEN)
        .env("CLIENT", client)
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = within(format!("the {language} to end"), command.output()).await;
    let output = output.unwrap_or_else(|e| panic!("{language} does not run: {e}"));
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{language}: {said}{complained}");
    // curl shows how far it is where nobody told it to be silent
    let is_quiet = language == "sh" || complained.is_empty();
    assert!(is_quiet, "{language}: {complained}");
    said
}

/// A world for the examples, and its next client.
struct World {
    _nats: Nats,
    gateway: Gateway,
    _worker: Worker,
    api: Api,
}

impl World {
    async fn start() -> Self {
        let nats = Nats::start().await;
        let gateway = Gateway::start(&nats).await;
        let worker = Worker::start(&nats, &Journal::new()).await;
        let api = Api::start(&nats).await;
        Self {
            gateway,
            _worker: worker,
            api,
            _nats: nats,
        }
    }

    async fn client(&self) -> (Client, String) {
        let mut client = Client::connect(&self.gateway).await;
        let id = client.id().await;
        (client, id)
    }
}

/// Proves that the API README's curl lines work as they stand.
#[tokio::test]
async fn the_readme_works_in_a_shell() {
    let world = World::start().await;
    let (mut client, id) = world.client().await;
    let said = run(&world.api, &id, "sh", snippet("sh")).await;
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
}

/// Proves that the API README's Python works as it stands, also for a command without fields.
#[tokio::test]
async fn the_readme_works_in_python() {
    let world = World::start().await;
    let (mut client, id) = world.client().await;
    let said = run(&world.api, &id, "python", snippet("python")).await;
    client.expect("hello from Python").await;
    // It was left out of the last message, and closed then.
    client.expect_close(1000).await;
    assert_eq!(said, "42 Ann\n1\n{'42': True, '43': False}\n");
}

/// Proves that the API README's PHP works as it stands, also for a command without fields.
#[tokio::test]
async fn the_readme_works_in_php() {
    let world = World::start().await;
    let (mut client, id) = world.client().await;
    let said = run(&world.api, &id, "php", snippet("php")).await;
    client.expect("hello from PHP").await;
    client.expect(r#"{"type":"news"}"#).await;
    client.expect_close(1000).await;
    assert_eq!(said, "202 1 {\"42\":true,\"43\":false}\n42\n");
}

/// Proves that what the first page of the project says about HTTP works as it stands.
#[tokio::test]
async fn the_first_readme_works_too() {
    let world = World::start().await;
    let mut ran = 0;
    for language in ["sh", "python", "php"] {
        let all = snippets(README, language).into_iter();
        for code in all.filter(|code| language != "sh" || code.contains("curl")) {
            let (mut client, id) = world.client().await;
            assert_eq!(client.ask("bind 42").await, "bound 42");
            run(&world.api, &id, language, code).await;
            client.expect("hello, on all your devices").await;
            ran += 1;
        }
    }
    assert!(ran > 0, "it says nothing any more");
}

/// Proves that the line which makes a token makes one that lets its owner in, and nobody else read it.
#[tokio::test]
async fn the_readme_makes_a_token() {
    use std::os::unix::fs::PermissionsExt;
    let nats = Nats::start().await;
    let _gateway = Gateway::start(&nats).await;
    let line = snippets(API_README, "console")[0].lines().next();
    let line = line.and_then(|line| line.strip_prefix("$ "));
    let line = line.expect("the first thing to type");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut shell = Command::new("bash");
    shell.args(["-ec", line]).current_dir(folder.path());
    let ended = within("the shell", shell.status()).await;
    assert!(ended.expect("it starts").success(), "{line}");
    let file = folder.path().join("tokens");
    let mode = std::fs::metadata(&file)
        .expect("the file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    let api = Api::with(&nats).option("--tokens-file", &file);
    let api = api.start().await;
    let token = std::fs::read_to_string(&file).expect("a text");
    let bearer = format!("Bearer {}", token.trim());
    let headers = [("Authorization", bearer.as_str())];
    let reply = api.exchange("GET", "/v1/all/count", &headers, b"").await;
    assert_eq!(reply.status, 200);
}

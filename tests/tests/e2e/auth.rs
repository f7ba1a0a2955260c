//! Identity towards NATS: each way in, for gateway and worker, and the door that stays shut.

use std::path::PathBuf;

use gatebus_tests::{
    Client, Gateway, Journal, Nats, Worker,
    gateway::command,
    identity::{Creds, Nkey},
    process::Process,
};

/// Writes a secret into a file, as operators keep them.
fn secret(nats: &Nats, text: &str) -> PathBuf {
    let file = nats.folder().join("secret");
    std::fs::write(&file, format!("{text}\n")).expect("a temporary file");
    file
}

/// A gateway and a worker with these variables serve a client.
async fn serve(nats: &Nats, variables: &[(&str, &std::ffi::OsStr)]) {
    let journal = Journal::new();
    let mut gateway = Gateway::with(nats);
    let mut worker = Worker::with(nats, &journal, "worker");
    for (name, value) in variables {
        gateway = gateway.env(name, value);
        worker = worker.env(name, value);
    }
    let gateway = gateway.start().await;
    let _worker = worker.start().await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("hello").await, "hello");
    assert_eq!(client.ask("join lobby").await, "joined lobby");
}

/// Proves a user with a password file.
#[tokio::test]
async fn a_user_and_a_password_file_let_in() {
    let nats = Nats::start_guarded("authorization { user: ann, password: \"s3cret\" }").await;
    let file = secret(&nats, "s3cret");
    serve(
        &nats,
        &[
            ("NATS_USER", "ann".as_ref()),
            ("NATS_PASSWORD_FILE", file.as_ref()),
        ],
    )
    .await;
}

/// Proves a user in the URL, percent-encoded as URLs are.
#[tokio::test]
async fn a_user_in_the_url_lets_in() {
    let nats = Nats::start_guarded("authorization { user: ann, password: \"p@ss\" }").await;
    let url = nats.url().replace("nats://", "nats://ann:p%40ss@");
    serve(&nats, &[("NATS_URL", url.as_ref())]).await;
}

/// Proves a token file.
#[tokio::test]
async fn a_token_file_lets_in() {
    let nats = Nats::start_guarded("authorization { token: \"t0ken\" }").await;
    let file = secret(&nats, "t0ken");
    serve(&nats, &[("NATS_TOKEN_FILE", file.as_ref())]).await;
}

/// Proves an nkey: the server knows the public half only.
#[tokio::test]
async fn an_nkey_seed_lets_in() {
    let nkey = Nkey::user();
    let users = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", nkey.public);
    let nats = Nats::start_guarded(&users).await;
    let file = secret(&nats, &nkey.seed);
    serve(&nats, &[("NATS_NKEY_FILE", file.as_ref())]).await;
}

/// Proves a credentials file: a user whom an account vouches for, for which an operator does.
#[tokio::test]
async fn a_creds_file_lets_in() {
    let creds = Creds::new();
    let nats = Nats::start_guarded(&creds.configuration).await;
    let file = secret(&nats, &creds.file);
    serve(&nats, &[("NATS_CREDS_FILE", file.as_ref())]).await;
}

/// Proves TLS with an authority of one's own, and that nobody else's certificate is taken.
#[tokio::test]
async fn tls_with_an_own_authority_lets_in_and_without_it_does_not() {
    let nats = Nats::start_tls().await;
    let authority = nats.authority().expect("it speaks TLS");
    serve(&nats, &[("NATS_CA_FILE", authority.as_ref())]).await;
    let stranger = Gateway::with(&nats).start_unready().await;
    stranger
        .log
        .find("a line on certificates", |l| {
            l.to_ascii_lowercase().contains("certificate").then_some(())
        })
        .await;
    assert!(!stranger.is_ready().await);
}

/// Proves that a wrong password is said clearly by the gateway, which goes on trying, for it may be
/// set right; its secret is never in the log.
#[tokio::test]
async fn a_wrong_password_keeps_the_gateway_unready_and_is_said() {
    let nats = Nats::start_guarded("authorization { user: ann, password: \"s3cret\" }").await;
    let file = secret(&nats, "wr0ng");
    let gateway = Gateway::with(&nats)
        .env("NATS_USER", "ann")
        .env("NATS_PASSWORD_FILE", &file)
        .start_unready()
        .await;
    gateway
        .log
        .find("authorization", |l| {
            l.to_ascii_lowercase()
                .contains("authorization")
                .then_some(())
        })
        .await;
    assert!(!gateway.is_ready().await);
    assert_eq!(gateway.log.count("wr0ng"), 0);
}

/// Proves that two identities at once are one too many.
#[tokio::test]
async fn two_kinds_of_identity_at_once_are_refused() {
    let nats = Nats::start().await;
    let file = secret(&nats, "x");
    let mut command = command(&nats);
    command
        .env("NATS_TOKEN_FILE", &file)
        .env("NATS_NKEY_FILE", &file);
    let mut process = Process::start("gateway", command);
    assert_eq!(process.wait().await.code(), Some(2));
    let said = process.log.whole().await;
    assert_eq!(said.len(), 1, "{said:#?}");
}

/// A server with two users: `ann` may not subscribe to this, and `bob` may do everything.
async fn without_right_to(subject: &str) -> (Nats, String, String) {
    let users = format!(
        "authorization {{ users: [\n\
         {{ user: ann, password: s3cret, permissions: {{ subscribe: {{ deny: [{subject:?}] }} }} }}\n\
         {{ user: bob, password: s3cret }}\n] }}"
    );
    let nats = Nats::start_guarded(&users).await;
    let url = |user: &str| {
        nats.url()
            .replace("nats://", &format!("nats://{user}:s3cret@"))
    };
    let (ann, bob) = (url("ann"), url("bob"));
    (nats, ann, bob)
}

/// Proves that a gateway which could never hear an ack does not take clients, and that the operator
/// reads which right is missing.
#[tokio::test]
async fn a_gateway_that_may_not_hear_acks_is_never_ready_and_names_the_subject() {
    let (nats, ann, _) = without_right_to("*.ack.>").await;
    let gateway = Gateway::with(&nats)
        .option("--shards", "1")
        .env("NATS_URL", &ann)
        .start_unready()
        .await;
    let subject = nats.subject("ack.");
    let pick = |line: &str| {
        let refused = line.contains("Permissions Violation") && line.contains(&subject);
        refused.then_some(())
    };
    gateway.log.find("the subject that is refused", pick).await;
    // It goes on trying, for the right may be given; each time in vain.
    gateway
        .wait_metric("gatebus_gateway_link_lost_total", "", 4.0)
        .await;
    assert!(!gateway.is_ready().await);
    let was_ready = |line: &String| line.ends_with("ready");
    assert!(!gateway.log.lines().iter().any(was_ready));
}

/// Proves that discovery by `nats micro` is a comfort: a gateway serves without the right to it.
#[tokio::test]
async fn a_gateway_without_the_right_to_srv_is_ready_and_serves() {
    let (nats, ann, bob) = without_right_to("$SRV.>").await;
    let gateway = Gateway::with(&nats).env("NATS_URL", &ann).start().await;
    let journal = Journal::new();
    let worker = Worker::with(&nats, &journal, "worker");
    let _worker = worker.env("NATS_URL", &bob).start().await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("join lobby").await, "joined lobby");
    let lost = gateway.metric("gatebus_gateway_link_lost_total", "").await;
    assert_eq!(lost, 0.0);
}

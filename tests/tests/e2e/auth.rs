//! Identity towards NATS: each way in, for gateway and worker, and the door that stays shut.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use gatebus_tests::{
    Api, Client, Gateway, Journal, Nats, Worker,
    gateway::command,
    identity::{Clients, Creds, Nkey},
    nats::CertificateFiles,
    process::Process,
};

/// Writes a secret into a file, as operators keep them.
fn secret(nats: &Nats, text: &str) -> PathBuf {
    let file = nats.folder().join("secret");
    std::fs::write(&file, format!("{text}\n")).expect("a temporary file");
    file
}

/// A gateway, a worker and an API, which prove themselves in the same way, and a client.
struct House {
    gateway: Gateway,
    _worker: Worker,
    api: Api,
    client: Client,
}

impl House {
    async fn start(nats: &Nats, variables: &[(&str, &OsStr)]) -> Self {
        let journal = Journal::new();
        let mut gateway = Gateway::with(nats);
        let mut worker = Worker::with(nats, &journal, "worker");
        let mut api = Api::with(nats);
        for (name, value) in variables {
            gateway = gateway.env(name, value);
            worker = worker.env(name, value);
            api = api.env(name, value);
        }
        let gateway = gateway.start().await;
        Self {
            _worker: worker.start().await,
            api: api.start().await,
            client: Client::connect(&gateway).await,
            gateway,
        }
    }

    async fn serves(&mut self) {
        assert_eq!(self.client.ask("hello").await, "hello");
        assert_eq!(self.client.ask("join lobby").await, "joined lobby");
        let count = self.api.answer("/v1/group/lobby/count").await;
        assert_eq!(count["count"], 1, "{count}");
    }

    /// The server is away while something changes, for all of them.
    async fn meanwhile(&mut self, nats: &mut Nats, change: impl FnOnce(&mut Nats)) {
        nats.stop().await;
        self.gateway.wait_ready(false).await;
        self.api.wait_ready(false).await;
        change(nats);
        nats.start_again().await;
        self.gateway.wait_ready(true).await;
        self.api.wait_ready(true).await;
        self.serves().await;
    }
}

/// A gateway, a worker and an API with these variables serve.
async fn serve(nats: &Nats, variables: &[(&str, &OsStr)]) {
    House::start(nats, variables).await.serves().await;
}

/// The variables that name a client's certificate.
fn shown<'a>(authority: &'a Path, own: &'a CertificateFiles) -> [(&'a str, &'a OsStr); 3] {
    [
        ("NATS_CA_FILE", authority.as_ref()),
        ("NATS_CERT_FILE", own.cert.as_ref()),
        ("NATS_KEY_FILE", own.key.as_ref()),
    ]
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

/// Proves a client certificate, where the server wants to see one, and that nobody comes in without.
#[tokio::test]
async fn a_client_certificate_lets_in_where_the_server_verifies_it() {
    let nats = Nats::start_tls_for(Clients::Verified).await;
    let authority = nats.authority().expect("it speaks TLS");
    let own = nats.certify_client("anybody");
    serve(&nats, &shown(&authority, &own)).await;
    let stranger = Gateway::with(&nats)
        .env("NATS_CA_FILE", &authority)
        .start_unready()
        .await;
    let pick = |l: &str| l.contains("cannot connect to NATS: ").then_some(());
    stranger.log.find("a line on the refusal", pick).await;
    assert!(!stranger.is_ready().await);
}

/// Proves a certificate that says who one is: no password anywhere, and others are refused.
#[tokio::test]
async fn a_client_certificate_names_the_user_where_the_server_maps_it() {
    let nats = Nats::start_tls_for(Clients::Mapped(vec!["ann".into()])).await;
    let authority = nats.authority().expect("it speaks TLS");
    let own = nats.certify_client("ann");
    serve(&nats, &shown(&authority, &own)).await;
    let other = nats.certify_client("bob");
    let mut stranger = Gateway::with(&nats);
    for (name, value) in shown(&authority, &other) {
        stranger = stranger.env(name, value);
    }
    let stranger = stranger.start_unready().await;
    let pick = |l: &str| l.contains("NATS refuses the gateway: ").then_some(());
    stranger.log.find("a line on the refusal", pick).await;
    assert!(!stranger.is_ready().await);
}

/// Proves that a Secret may be rotated under running processes: each connection reads the files.
#[tokio::test]
async fn secrets_that_are_rotated_count_from_the_next_connection_on() {
    let password = |p: &str| format!("authorization {{ user: ann, password: {p:?} }}");
    let token = |t: &str| format!("authorization {{ token: {t:?} }}");
    let nkey = |n: &Nkey| format!("authorization {{ users: [ {{ nkey: {} }} ] }}", n.public);
    let nkeys = [Nkey::user(), Nkey::user()];
    let creds = [Creds::new(), Creds::new()];
    let ann = Some(("NATS_USER", OsStr::new("ann")));
    for (variable, more, old, new) in [
        (
            "NATS_PASSWORD_FILE",
            ann,
            (password("old"), "old"),
            (password("new"), "new"),
        ),
        (
            "NATS_TOKEN_FILE",
            None,
            (token("old"), "old"),
            (token("new"), "new"),
        ),
        (
            "NATS_NKEY_FILE",
            None,
            (nkey(&nkeys[0]), nkeys[0].seed.as_str()),
            (nkey(&nkeys[1]), &nkeys[1].seed),
        ),
        (
            "NATS_CREDS_FILE",
            None,
            (creds[0].configuration.clone(), creds[0].file.as_str()),
            (creds[1].configuration.clone(), &creds[1].file),
        ),
    ] {
        let mut nats = Nats::start_guarded(&old.0).await;
        let file = secret(&nats, old.1);
        let variables: Vec<_> = more
            .into_iter()
            .chain([(variable, file.as_ref())])
            .collect();
        let mut house = House::start(&nats, &variables).await;
        let rotate = |nats: &mut Nats| {
            secret(nats, new.1);
            nats.guard_anew(&new.0);
        };
        house.meanwhile(&mut nats, rotate).await;
    }
}

/// Proves the same for certificates, the authority's too.
#[tokio::test]
async fn certificates_that_are_rotated_count_from_the_next_connection_on() {
    let mut nats = Nats::start_tls_for(Clients::Verified).await;
    let authority = nats.authority().expect("it speaks TLS");
    let own = nats.certify_client("anybody");
    let mut house = House::start(&nats, &shown(&authority, &own)).await;
    let rotate = |nats: &mut Nats| {
        nats.renew_authority(Clients::Verified);
        let _ = nats.certify_client("anybody");
    };
    house.meanwhile(&mut nats, rotate).await;
}

/// Proves that a file which is gone for a moment keeps nobody out for longer, and that it is said.
#[tokio::test]
async fn a_secret_that_is_gone_is_said_and_used_when_it_is_back() {
    let mut nats = Nats::start_guarded("authorization { token: \"t0ken\" }").await;
    let file = secret(&nats, "t0ken");
    let gateway = Gateway::with(&nats)
        .env("NATS_TOKEN_FILE", &file)
        .start()
        .await;
    nats.stop().await;
    gateway.wait_ready(false).await;
    std::fs::remove_file(&file).expect("it was there");
    nats.start_again().await;
    let pick = |l: &str| {
        let said = l.contains("cannot prove itself") && l.contains("NATS_TOKEN_FILE");
        said.then_some(())
    };
    gateway.log.find("a line on the file", pick).await;
    secret(&nats, "t0ken");
    gateway.wait_ready(true).await;
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

//! Smoke: the gateway's own program visits one as a client, and asks one whether it is ready.

use gatebus_tests::{
    Certificates, Gateway, Journal, Nats, Worker,
    gateway::{SERVICE, command},
    port,
    process::{Ended, run_to_end},
};
use tokio::net::TcpListener;

async fn run(nats: &Nats, arguments: &[&str]) -> Ended {
    let mut command = command(nats);
    // What is wrong with the gateway's own options is none of its business.
    command.env("GATEBUS_LISTEN", "nonsense").args(arguments);
    run_to_end(format!("{arguments:?}"), command).await
}

async fn smoke(nats: &Nats, url: &str, more: &[&str]) -> Ended {
    run(nats, &[&["smoke", "--url", url], more].concat()).await
}

/// One line on stdout, and nothing else.
#[track_caller]
fn said_well(ended: Ended) -> String {
    assert_eq!((ended.status, ended.err.as_str()), (0, ""), "{ended:?}");
    assert_eq!(ended.out.lines().count(), 1, "{ended:?}");
    ended.out
}

/// One line on stderr, and nothing else.
#[track_caller]
fn said_not_well(ended: Ended, status: i32) -> String {
    assert_eq!(
        (ended.status, ended.out.as_str()),
        (status, ""),
        "{ended:?}"
    );
    assert_eq!(ended.err.lines().count(), 1, "{ended:?}");
    ended.err
}

/// Proves that a gateway can be tried by who knows nothing of the application: no worker runs.
#[tokio::test]
async fn a_gateway_without_a_worker_is_well_and_each_step_has_its_time() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let url = format!("ws://localhost:{}/chat?token=s3cret", gateway.port());
    let said = said_well(smoke(&nats, &url, &[]).await);
    assert!(
        said.starts_with(&format!("ws://localhost:{}/chat is well: ", gateway.port())),
        "{said}"
    );
    for step in [
        "resolve ",
        "connect to 127.0.0.1:",
        "handshake ",
        "ping ",
        "close ",
    ] {
        assert!(said.contains(step), "{step}: {said}");
    }
    assert!(!said.contains("s3cret") && !said.contains("echo"), "{said}");
}

/// Proves that a worker's answer can be asked for, and what it must be.
#[tokio::test]
async fn a_message_is_answered_by_a_worker_and_the_answer_must_be_the_expected_one() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let url = format!("ws://127.0.0.1:{}/", gateway.port());
    let said = said_well(smoke(&nats, &url, &["--send", "hello"]).await);
    assert!(
        said.contains("echo ") && said.contains("it answered \"hello\""),
        "{said}"
    );
    // What comes before the answer is passed over.
    let two = ["--send", "join-and-send lobby", "--expect", "direct"];
    let said = said_well(smoke(&nats, &url, &two).await);
    assert!(said.contains("it answered \"direct\""), "{said}");

    let other = [
        "--send",
        "hello",
        "--expect",
        "goodbye",
        "--timeout",
        "500ms",
    ];
    let said = said_not_well(smoke(&nats, &url, &other).await, 1);
    assert!(said.contains(": echo: not done after 500ms"), "{said}");
    assert!(said.contains("the last message was \"hello\""), "{said}");
    assert!(said.contains("ping "), "what went well before: {said}");
}

/// Proves that a gateway which lets the client go is quoted, with its close code.
#[tokio::test]
async fn a_close_in_the_place_of_an_answer_is_told_with_its_code() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--worker-wait", "100ms")
        .start()
        .await;
    let url = format!("ws://127.0.0.1:{}/", gateway.port());
    let said = said_not_well(smoke(&nats, &url, &["--send", "hello"]).await, 1);
    assert!(said.contains(": echo: closed with 1013: "), "{said}");
}

/// Proves that who reads the line knows where to look.
#[tokio::test]
async fn a_step_that_fails_is_named() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = silent.local_addr().expect("bound");
    for (url, expected) in [
        ("ws://no-such-host.invalid/".to_owned(), ": resolve: "),
        (
            format!("ws://127.0.0.1:{}/", port::free()),
            ": connect to 127.0.0.1:",
        ),
        (format!("wss://127.0.0.1:{}/", gateway.port()), ": TLS: "),
        (nats.url().replace("nats:", "ws:"), ": handshake: "),
        (format!("ws://{silent}/"), ": handshake: not done after 2s"),
    ] {
        let said = said_not_well(smoke(&nats, &url, &["--timeout", "2s"]).await, 1);
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

/// Proves that a refusal is quoted: what a gateway answers that is full.
#[tokio::test]
async fn a_handshake_that_is_refused_is_told_with_its_status() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--max-connections", "1")
        .start()
        .await;
    let _taken = gatebus_tests::Client::connect(&gateway).await;
    let url = format!("ws://127.0.0.1:{}/", gateway.port());
    let said = said_not_well(smoke(&nats, &url, &[]).await, 1);
    assert!(said.contains(": handshake: HTTP status 503"), "{said}");
}

/// Proves TLS, and that an authority which is not known is the operator's to name.
#[tokio::test]
async fn a_gateway_with_tls_is_believed_by_its_authority() {
    let nats = Nats::start().await;
    let certificates = Certificates::new();
    let query = certificates.query();
    let gateway = Gateway::with(&nats)
        .listen(format!("websocket://127.0.0.1:0?service={SERVICE}&{query}"))
        .start()
        .await;
    let url = format!("wss://127.0.0.1:{}/", gateway.port());
    let authority = certificates.authority_file();
    let ca = ["--ca", authority.to_str().expect("text")];
    let said = said_well(smoke(&nats, &url, &ca).await);
    assert!(said.contains(", TLS "), "{said}");

    let said = said_not_well(smoke(&nats, &url, &[]).await, 1);
    assert!(said.contains(": TLS: ") && said.contains("--ca "), "{said}");
    let stranger = Certificates::new();
    let authority = stranger.authority_file();
    let ca = ["--ca", authority.to_str().expect("text")];
    let said = said_not_well(smoke(&nats, &url, &ca).await, 1);
    assert!(said.contains(": TLS: "), "{said}");
    let ca = ["--ca", "/nowhere/ca.crt"];
    let said = said_not_well(smoke(&nats, &url, &ca).await, 2);
    assert!(said.contains("--ca: "), "{said}");
}

/// Proves that what makes no sense is a line that names the option.
#[tokio::test]
async fn bad_options_of_smoke_are_one_line_and_exit_2() {
    let nats = Nats::start().await;
    for (arguments, named) in [
        (["--url", "http://127.0.0.1/"].as_slice(), "--url"),
        (&["--url", "ws://127.0.0.1/", "--expect", "x"], "--send"),
        (
            &["--url", "ws://127.0.0.1/", "--timeout", "0s"],
            "--timeout",
        ),
        (&["--url", "ws://127.0.0.1/", "--ca", "/nowhere"], "--ca"),
        (&["--send", "x"], "--url"),
    ] {
        let said = said_not_well(run(&nats, &[&["smoke"], arguments].concat()).await, 2);
        assert!(said.contains(named), "{named}: {said}");
    }
}

/// Proves that an image without a shell can ask for readiness, and for life, which is another thing.
#[tokio::test]
async fn healthcheck_says_what_the_admin_port_says() {
    let mut nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    // As a container's gateway has it, to be reached from outside.
    let admin = format!("0.0.0.0:{}", gateway.admin_port());
    let ask = async |nats: &Nats, more: &[&str]| {
        let arguments = [&["healthcheck", "--admin", &admin], more].concat();
        run(nats, &arguments).await
    };
    assert_eq!(said_well(ask(&nats, &[]).await), "ready\n");
    nats.stop().await;
    gateway.wait_ready(false).await;
    let said = said_not_well(ask(&nats, &[]).await, 1);
    assert!(said.contains("not ready: NATS is not connected"), "{said}");
    assert_eq!(said_well(ask(&nats, &["--live"]).await), "ok\n");
    drop(gateway);

    let nobody = format!("127.0.0.1:{}", port::free());
    let said = said_not_well(run(&nats, &["healthcheck", "--admin", &nobody]).await, 1);
    assert!(said.contains(&nobody), "{said}");
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = silent.local_addr().expect("bound").to_string();
    let arguments = ["healthcheck", "--admin", &silent, "--timeout", "200ms"];
    let said = said_not_well(run(&nats, &arguments).await, 1);
    assert!(said.contains("timed out"), "{said}");
}

/// Proves that an address which is none is not shown: what looks like a password may be one.
#[tokio::test]
async fn a_wrong_address_is_told_without_what_is_in_it() {
    let nats = Nats::start().await;
    for url in ["ws://me:s3cret@h/", "http://h/?token=s3cret", "s3cret"] {
        let said = said_not_well(smoke(&nats, url, &[]).await, 2);
        assert!(said.contains("--url"), "{url}: {said}");
        assert!(!said.contains("s3cret"), "{url}: {said}");
    }
}

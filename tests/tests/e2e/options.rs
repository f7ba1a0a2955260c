//! Options: what is wrong is said in one line, before anything is opened.

use gatebus_tests::{
    Certificates, Gateway, Nats,
    gateway::command,
    process::{Process, run_to_end},
};

/// Runs a gateway that must not start, and returns what it says.
async fn refusal(nats: &Nats, arguments: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let mut command = command(nats);
    command.args(arguments).envs(variables.iter().copied());
    let mut process = Process::start("gateway", command);
    let status = process.wait().await;
    assert_eq!(status.code(), Some(2), "{arguments:?} {variables:?}");
    process.log.whole().await
}

/// A file that is there, and holds no certificate.
const NO_CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

/// Proves that an operator reads one line, and finds the option in it.
#[tokio::test]
async fn a_bad_option_is_one_line_that_names_it_and_exit_2() {
    let nats = Nats::start().await;
    for (name, value) in [
        ("--listen", "websocket://nowhere"),
        ("--listen", "ftp://127.0.0.1:1?service=test"),
        ("--listen", "websocket://127.0.0.1:0?service=a.b"),
        ("--listen", "websocket://127.0.0.1:0"),
        ("--listen", "ws://127.0.0.1:0?service=test"),
        (
            "--listen",
            "websocket://127.0.0.1:0?service=test&routing=random",
        ),
        ("--listen", "text://127.0.0.1:0?service=test&cert=/a"),
        ("--listen", "text://127.0.0.1:0?service=test&key=/a"),
        ("--listen", "text://127.0.0.1:0?service=test&proxy=perhaps"),
        ("--listen", "text://127.0.0.1:0?service=test&tls=1"),
        ("--nats", "http://127.0.0.1:4222"),
        ("--nats-password-file", "/nowhere/password"),
        ("--nats-token-file", "/nowhere/token"),
        ("--nats-nkey-file", "/nowhere/seed"),
        ("--nats-creds-file", "/nowhere/creds"),
        ("--nats-ca-file", "/nowhere/ca.pem"),
        ("--nats-ca-file", NO_CERTIFICATE),
        ("--prefix", "a..b"),
        ("--prefix", "a.*"),
        ("--shards", "0"),
        ("--shards", "many"),
        ("--admin", "7280"),
        ("--trusted-proxies", "everybody"),
        ("--max-message", "12 apples"),
        ("--max-message", "0"),
        ("--max-message", "9MiB"),
        ("--max-connections", "0"),
        ("--max-connection-age", "0s"),
        ("--reconnect-min", "soon"),
        ("--reconnect-max", "100ms"),
        ("--handshake-timeout", "10"),
        ("--ack-wait", "0s"),
        ("--max-attempts", "0"),
        ("--worker-wait", "soon"),
        ("--worker-wait", "366days"),
        ("--mailbox", "1KiB"),
        ("--slow-client", "scold"),
        ("--ping-interval", "0s"),
        ("--ping-misses", "0"),
        ("--drain-delay", "x"),
        ("--drain-spread", "1 fortnight"),
        ("--drain-deadline", "1s"),
        ("--log", "shouting=very"),
        ("--log-format", "poem"),
    ] {
        let mut arguments = vec![name, value];
        if name == "--nats-password-file" {
            arguments.extend(["--nats-user", "somebody"]);
        }
        let said = refusal(&nats, &arguments, &[]).await;
        assert_eq!(said.len(), 1, "{name} {value}: {said:#?}");
        assert!(said[0].contains(name), "{name} {value}: {said:?}");
    }
    let said = refusal(&nats, &["--no-such-option"], &[]).await;
    assert!(
        said.len() == 1 && said[0].contains("--no-such-option"),
        "{said:?}"
    );
}

/// Proves that who names a certificate that cannot be used reads which file is to be mended.
#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_one_line_that_names_its_file() {
    let nats = Nats::start().await;
    let (own, other) = (Certificates::new(), Certificates::new());
    let unreadable = own.cert().with_file_name("folder");
    std::fs::create_dir(&unreadable).expect("a folder");
    let (cert, key) = (own.cert(), own.key());
    let nowhere = "/nowhere/file.pem".into();
    let no_pem = NO_CERTIFICATE.into();
    for (cert, key, names) in [
        (&nowhere, &key, [&nowhere].as_slice()),
        (&cert, &nowhere, &[&nowhere]),
        (&unreadable, &key, &[&unreadable]),
        (&no_pem, &key, &[&no_pem]),
        (&cert, &no_pem, &[&no_pem]),
        (&key, &key, &[&key]),
        (&cert, &other.key(), &[&cert, &other.key()]),
    ] {
        let (cert, key) = (cert.display(), key.display());
        let url = format!("text://127.0.0.1:0?service=test&cert={cert}&key={key}");
        let said = refusal(&nats, &["--listen", &url], &[]).await;
        assert_eq!(said.len(), 1, "{url}: {said:#?}");
        let (_, why) = said[0].rsplit_once(&*url).expect("it names the option");
        for name in names {
            assert!(
                why.contains(name.to_str().expect("text")),
                "{url}: {said:?}"
            );
        }
    }
}

/// Proves the same for variables, which an operator looks for by their own name.
#[tokio::test]
async fn a_bad_variable_is_one_line_that_names_it_and_exit_2() {
    let nats = Nats::start().await;
    for (name, value) in [
        ("GATEBUS_LISTEN", "nowhere"),
        ("NATS_URL", "gopher://x"),
        ("NATS_TOKEN_FILE", "/nowhere/token"),
        ("GATEBUS_PREFIX", "*"),
        ("GATEBUS_SHARDS", "0"),
        ("GATEBUS_ADMIN", "x"),
        ("GATEBUS_ACK_WAIT", "10"),
        ("GATEBUS_MAX_MESSAGE", "big"),
        ("GATEBUS_SLOW_CLIENT", "scold"),
        ("GATEBUS_PING_INTERVAL", "never"),
        ("GATEBUS_LOG_FORMAT", "poem"),
    ] {
        let said = refusal(&nats, &[], &[(name, value)]).await;
        assert_eq!(said.len(), 1, "{name}={value}: {said:#?}");
        assert!(said[0].contains(name), "{name}={value}: {said:?}");
    }
}

/// Proves that who has to look into a log for a bad address does not find a password there.
#[tokio::test]
async fn a_bad_nats_address_does_not_show_its_password() {
    let nats = Nats::start().await;
    let url = "nats://me:s3cret@host:99999";
    for said in [
        refusal(&nats, &["--nats", url], &[]).await,
        refusal(&nats, &["--nats", "nats://host:4222", url], &[]).await,
        refusal(&nats, &[], &[("NATS_URL", url)]).await,
    ] {
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(!said[0].contains("s3cret"), "{said:?}");
    }
}

/// Proves that an option which needs another says which.
#[tokio::test]
async fn a_password_without_a_user_is_a_line_that_names_both() {
    let nats = Nats::start().await;
    let said = refusal(&nats, &["--nats-password-file", NO_CERTIFICATE], &[]).await;
    assert_eq!(said.len(), 1, "{said:#?}");
    for name in [
        "--nats-password-file",
        "NATS_PASSWORD_FILE",
        "--nats-user",
        "NATS_USER",
    ] {
        assert!(said[0].contains(name), "{said:?}");
    }
}

/// Proves that half a client certificate, and one that does not belong to its key, is refused by name.
#[tokio::test]
async fn a_client_certificate_goes_with_its_key() {
    let nats = Nats::start().await;
    let (own, other) = (Certificates::new(), Certificates::new());
    let text = |path: &std::path::PathBuf| path.to_str().expect("text").to_owned();
    let (cert, key, foreign) = (text(&own.cert()), text(&own.key()), text(&other.key()));
    let (cert_file, key_file) = ("--nats-cert-file", "--nats-key-file");
    for (arguments, named) in [
        ([cert_file, &cert].as_slice(), [key_file, "NATS_KEY_FILE"]),
        (&[key_file, &key], [cert_file, "NATS_CERT_FILE"]),
        (&[cert_file, &cert, key_file, &foreign], [&cert, &foreign]),
        (
            &[cert_file, NO_CERTIFICATE, key_file, &key],
            [cert_file, NO_CERTIFICATE],
        ),
        (
            &[cert_file, &cert, key_file, "/nowhere"],
            ["NATS_KEY_FILE", "/nowhere"],
        ),
    ] {
        let said = refusal(&nats, arguments, &[]).await;
        assert_eq!(said.len(), 1, "{arguments:?}: {said:#?}");
        for name in named {
            assert!(said[0].contains(name), "{arguments:?}: {said:?}");
        }
    }
}

/// Proves that a chart may set what it does not use to nothing.
#[tokio::test]
async fn a_variable_that_is_set_to_nothing_is_not_set() {
    let nats = Nats::start().await;
    let mut gateway = Gateway::with(&nats);
    for name in [
        "NATS_USER",
        "NATS_PASSWORD_FILE",
        "NATS_TOKEN_FILE",
        "NATS_NKEY_FILE",
        "NATS_CREDS_FILE",
        "NATS_CA_FILE",
        "NATS_CERT_FILE",
        "NATS_KEY_FILE",
        "GATEBUS_LISTEN",
        "GATEBUS_SHARDS",
        "GATEBUS_TRUSTED_PROXIES",
        "GATEBUS_MAX_MESSAGE",
        "GATEBUS_MAX_CONNECTIONS",
        "GATEBUS_SLOW_CLIENT",
        "GATEBUS_PING_INTERVAL",
        "GATEBUS_PING_DATA",
        "GATEBUS_DRAIN_DELAY",
        "GATEBUS_LOG",
        "GATEBUS_LOG_FORMAT",
    ] {
        gateway = gateway.env(name, "");
    }
    gateway.start().await;
}

/// Proves that a configuration can be checked before it is rolled out: what counts is printed, and no
/// secret; no port is opened, and nobody is asked.
#[tokio::test]
async fn check_config_prints_what_counts_and_ends_without_nats_or_ports() {
    let mut nats = Nats::start().await;
    nats.stop().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let password = nats.folder().join("password");
    std::fs::write(&password, "s3cret\n").expect("a temporary file");
    let password = password.to_str().expect("text");
    let listen = format!("websocket://{address}?service=test");
    let mut command = command(&nats);
    command.args(["--check-config", "--listen", &listen, "--nats-user", "ann"]);
    command.env("NATS_PASSWORD_FILE", password);
    let ended = run_to_end("--check-config", command).await;
    assert_eq!((ended.status, ended.err.as_str()), (0, ""), "{ended:?}");
    for line in [
        format!("GATEBUS_LISTEN={listen}  # --listen"),
        format!("GATEBUS_PREFIX={}  # environment", nats.prefix()),
        format!("NATS_PASSWORD_FILE={password}  # environment"),
        "GATEBUS_ACK_WAIT=10s  # default".to_owned(),
    ] {
        assert!(
            ended.out.lines().any(|l| l == line),
            "{line}: {}",
            ended.out
        );
    }
    assert!(!ended.out.contains("s3cret"), "{}", ended.out);
}

/// Proves that all that is wrong is told at once, and not one thing after another.
#[tokio::test]
async fn each_problem_of_a_configuration_is_a_line() {
    let nats = Nats::start().await;
    let files = [
        "--nats-token-file",
        "/nowhere/token",
        "--nats-ca-file",
        "/nowhere/ca",
    ];
    for more in [[].as_slice(), &["--check-config"]] {
        let arguments = [more, &files].concat();
        let said = refusal(&nats, &arguments, &[("GATEBUS_DRAIN_DEADLINE", "1s")]).await;
        assert_eq!(said.len(), 3, "{said:#?}");
        for name in ["NATS_TOKEN_FILE", "NATS_CA_FILE", "GATEBUS_DRAIN_DEADLINE"] {
            assert!(said.iter().any(|line| line.contains(name)), "{said:#?}");
        }
        let values = [("GATEBUS_SHARDS", "0"), ("GATEBUS_ACK_WAIT", "1")];
        let said = refusal(&nats, more, &values).await;
        assert_eq!(said.len(), 2, "{said:#?}");
    }
}

/// Proves that a port which is taken is an error that says so, not a gateway that nobody finds.
#[tokio::test]
async fn a_port_that_is_taken_ends_the_gateway_with_a_line_that_names_it() {
    let nats = Nats::start().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let mut command = command(&nats);
    command.args(["--listen", &format!("websocket://{address}?service=test")]);
    let mut process = Process::start("gateway", command);
    assert!(!process.wait().await.success());
    let said = process.log.whole().await;
    assert!(said.iter().any(|line| line.contains(&address)), "{said:#?}");
}

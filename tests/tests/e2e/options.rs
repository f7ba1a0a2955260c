//! Options: what is wrong is said in one line, before anything is opened.

use gatebus_tests::{Nats, gateway::command, process::Process};

/// Runs a gateway that must not start, and returns what it says.
async fn refusal(nats: &Nats, arguments: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let mut command = command(nats);
    command.args(arguments).envs(variables.iter().copied());
    let mut process = Process::start("gateway", command);
    let status = process.wait().await;
    assert_eq!(status.code(), Some(2), "{arguments:?} {variables:?}");
    process.log.whole().await
}

/// Proves that an operator reads one line, and finds the option in it.
#[tokio::test]
async fn a_bad_option_is_one_line_that_names_it_and_exit_2() {
    let nats = Nats::start().await;
    for (name, value) in [
        ("--listen", "websocket://nowhere"),
        ("--listen", "ftp://127.0.0.1:1?service=test"),
        ("--listen", "websocket://127.0.0.1:0?service=a.b"),
        ("--listen", "websocket://127.0.0.1:0"),
        ("--nats", "http://127.0.0.1:4222"),
        ("--nats-password-file", "/nowhere/password"),
        ("--nats-token-file", "/nowhere/token"),
        ("--nats-nkey-file", "/nowhere/seed"),
        ("--nats-creds-file", "/nowhere/creds"),
        ("--nats-ca-file", "/nowhere/ca.pem"),
        ("--prefix", "a..b"),
        ("--prefix", "a.*"),
        ("--shards", "0"),
        ("--shards", "many"),
        ("--admin", "7280"),
        ("--trusted-proxies", "everybody"),
        ("--max-message", "12 apples"),
        ("--max-message", "0"),
        ("--max-connections", "0"),
        ("--handshake-timeout", "10"),
        ("--ack-wait", "0s"),
        ("--max-attempts", "0"),
        ("--worker-wait", "soon"),
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

//! A protocol of one's own: `examples/codec` is a gateway like any other, with netstrings more.

use std::process::Stdio;

use gatebus_tests::{
    Bare, Client, Gateway, Journal, Nats, Worker, gateway::command_of, process::Process, within,
};

const PROGRAM: &str = "gatebus-codec";

fn netstring(text: &str) -> String {
    format!("{}:{text},", text.len())
}

async fn next_netstring(client: &mut Bare) -> String {
    let mut digits = String::new();
    loop {
        match client.bytes(1).await[0] {
            b':' => break,
            digit => digits.push(digit.into()),
        }
    }
    let length: usize = digits.parse().expect("a length");
    let mut message = client.bytes(length + 1).await;
    assert_eq!(message.pop(), Some(b','));
    String::from_utf8(message).expect("text")
}

/// Proves that it has the gateway's promises: order, back-pressure, groups across protocols, close
/// codes, metrics and drain.
#[tokio::test]
async fn a_gateway_with_a_codec_of_its_own_keeps_every_promise() {
    const MANY: usize = 1000;
    let nats = Nats::start().await;
    let mut gateway = Gateway::program(&nats, PROGRAM)
        .option("--max-message", "4KiB")
        .option("--drain-delay", "0s")
        .listen("netstring://127.0.0.1:0?service=test")
        .listen("websocket://127.0.0.1:0?service=test")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Bare::connect(gateway.port()).await;
    let all: String = (0..MANY).map(|n| netstring(&n.to_string())).collect();
    client.send(all).await;
    for n in 0..MANY {
        assert_eq!(next_netstring(&mut client).await, n.to_string());
    }

    let mut browser = Client::to(gateway.ports()[1], "/").connect().await;
    assert_eq!(browser.ask("join lobby").await, "joined lobby");
    client.send(netstring("join lobby")).await;
    assert_eq!(next_netstring(&mut client).await, "joined lobby");
    browser.send("to-group lobby \u{1f980}").await;
    browser.expect("\u{1f980}").await;
    assert_eq!(next_netstring(&mut client).await, "\u{1f980}");

    for (bad, code) in [("x", 1002), ("5:helloX", 1002), ("4097:", 1009)] {
        let mut client = Bare::connect(gateway.port()).await;
        client.send(bad).await;
        assert_eq!(client.end().await.expect("no cut"), b"");
        let fits = |e: &gatebus_tests::Entry| e.kind == "close" && e.details["code"] == code;
        journal.find("its close", fits).await;
    }
    let broken = "gatebus_gateway_connections_closed_total";
    assert_eq!(gateway.metric(broken, "\"protocol\"").await, 2.0);

    gateway.terminate();
    browser.expect_close(1012).await;
    assert_eq!(client.end().await.expect("no cut"), b"");
    gateway.wait_for_success().await;
}

/// Proves that its help and its complaints know the new protocol, and go by the program's own name.
#[tokio::test]
async fn its_help_and_its_complaints_name_the_protocol_and_the_program() {
    let nats = Nats::start().await;
    let mut help = command_of(&nats, PROGRAM);
    help.arg("--help").stdout(Stdio::piped());
    let help = within("the help", help.output()).await.expect("it starts");
    let help = String::from_utf8(help.stdout).expect("text");
    assert!(help.contains("tcp, netstring"), "{help}");
    assert!(help.contains("GATEBUS_MAX_MESSAGE"), "{help}");

    let mut command = command_of(&nats, PROGRAM);
    command.args(["--listen", "ftp://127.0.0.1:0?service=test"]);
    let mut process = Process::start(PROGRAM, command);
    assert_eq!(process.wait().await.code(), Some(2));
    let said = process.log.whole().await;
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("gatebus-codec: --listen"), "{said:?}");
    assert!(said[0].ends_with("tcp, netstring"), "{said:?}");
}

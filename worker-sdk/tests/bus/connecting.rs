//! Coming to a NATS server, and what happens while it is away.

use futures_util::StreamExt;
use gatebus_tests::{Nats, within};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};
use worker_sdk::{Client, ErrorKind, Events, Gateway, HandlerResult, Message, Worker};

use crate::fake::{SOON, round_trip};

struct Nothing;

impl Events for Nothing {
    type Session = ();

    async fn on_message(&self, _: &mut Client<()>, _: Message) -> HandlerResult {
        Ok(())
    }
}

#[tokio::test]
async fn refused_credentials_are_an_error_at_once_and_those_in_the_url_count() {
    let server = Nats::start_guarded("authorization { user: ann, password: \"p@ss\" }").await;
    let at = |user: &str| server.url().replace("://", &format!("://{user}@"));
    for url in [server.url(), at("ann:wrong"), at("token")] {
        let worker = Worker::builder("test")
            .nats_url(&url)
            .build()
            .expect("a worker");
        let run = Box::pin(worker.run_until(Nothing, std::future::pending()));
        let error = within("the refusal", run).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error:?}");
        assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
    }
    let gateway = Gateway::builder().nats_url(at("ann:p%40ss")).connect();
    let gateway = within("the handle", Box::pin(gateway))
        .await
        .expect("connected");
    within("a flush", gateway.flush()).await.expect("flushed");
}

#[tokio::test]
async fn a_worker_tries_on_while_there_is_no_server_and_can_be_stopped_while_it_does() {
    // Takes connections, and hangs up.
    let door = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("nats://{}", door.local_addr().expect("bound"));
    let two_knocks = async {
        for _ in 0..2 {
            door.accept().await.expect("a knock");
        }
    };
    let worker = Worker::builder("test")
        .nats_url(&url)
        .build()
        .expect("a worker");
    let run = Box::pin(worker.run_until(Nothing, two_knocks));
    within("the worker to stop", run).await.expect("stopped");
}

/// Its hook waits for something that never comes.
struct Waiting;

impl Events for Waiting {
    type Session = ();

    async fn on_worker_start(&self, _: &Gateway) -> HandlerResult {
        std::future::pending().await
    }

    async fn on_message(&self, _: &mut Client<()>, _: Message) -> HandlerResult {
        Ok(())
    }
}

#[tokio::test]
async fn a_worker_that_is_still_starting_can_be_stopped() {
    let server = Nats::start().await;
    let worker = Worker::builder("test")
        .nats_url(server.url())
        .build()
        .expect("a worker");
    let run = Box::pin(worker.run_until(Waiting, tokio::task::yield_now()));
    within("the worker to stop", run).await.expect("stopped");
}

/// A server that hangs up on the first message that is published, and delivers the second.
async fn moody(door: TcpListener) {
    let mut published = 0;
    loop {
        let (socket, _) = door.accept().await.expect("a knock");
        let mut socket = BufReader::new(socket);
        let hello =
            b"INFO {\"server_id\":\"moody\",\"version\":\"2.15.1\",\"max_payload\":1048576}\r\n";
        socket.write_all(hello).await.expect("said");
        let mut sid = String::new();
        let mut line = String::new();
        while socket.read_line(&mut line).await.is_ok_and(|n| n > 0) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["PING"] => socket.write_all(b"PONG\r\n").await.expect("said"),
                ["SUB", _, number] => number.clone_into(&mut sid),
                ["PUB", subject, "0"] => {
                    published += 1;
                    if published == 1 {
                        break;
                    }
                    let echo = format!("MSG {subject} {sid} 0\r\n\r\n");
                    socket.write_all(echo.as_bytes()).await.expect("said");
                }
                _ => {}
            }
            line.clear();
        }
    }
}

#[tokio::test]
async fn a_flush_outlives_the_connection_that_it_began_on() {
    let door = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("nats://{}", door.local_addr().expect("bound"));
    let server = tokio::spawn(moody(door));
    let gateway = Gateway::builder().nats_url(url).connect();
    let gateway = within("the handle", Box::pin(gateway))
        .await
        .expect("connected");
    within("a flush", gateway.flush()).await.expect("flushed");
    server.abort();
}

#[tokio::test]
async fn a_worker_gives_up_after_its_connect_timeout_if_it_has_one() {
    let mut server = Nats::start().await;
    server.stop().await;
    let worker = Worker::builder("test")
        .nats_url(server.url())
        .connect_timeout(SOON)
        .build()
        .expect("a worker");
    let run = Box::pin(worker.run_until(Nothing, std::future::pending()));
    let error = within("it to give up", run).await.expect_err("no server");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn commands_wait_while_the_server_is_away_until_the_outbox_is_full() {
    let mut server = Nats::start().await;
    let gateway = Gateway::builder()
        .nats_url(server.url())
        .prefix(server.prefix())
        .outbox_limit(1024 * 1024)
        .connect();
    let gateway = within("the handle", Box::pin(gateway))
        .await
        .expect("connected");
    within("a flush", gateway.flush()).await.expect("flushed");
    server.stop().await;

    let message = Message::from(vec![0; 100_000]);
    let mut taken = 0;
    let error = loop {
        match gateway.all().send(&message) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        tokio::task::yield_now().await;
        assert!(taken < 10_000, "it is never full");
    };
    assert_eq!(error.kind(), ErrorKind::Full);

    server.start_again().await;
    let nats = server.client().await;
    let mut all = nats
        .subscribe(server.subject("all"))
        .await
        .expect("subscribed");
    round_trip(&nats).await;
    within("what waited to go out", gateway.flush())
        .await
        .expect("flushed");
    gateway.all().send("and on").expect("room again");
    while within("the last", all.next())
        .await
        .expect("a message")
        .length
        > 1000
    {}
}

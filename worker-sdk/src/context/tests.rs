//! The order of what a handler issues, read from an outbox that nobody takes out.

use wire::{Ack, EventBatch, EventKind, Payload, RequestKind, Session};

use crate::{
    Client, Error, ErrorKind, Events, Gateway, HandlerResult, Message, Retry,
    desk::Desk,
    link::Link,
    outbox::{Queue, Seen},
};

use super::*;

/// A handler as a script: one word, one thing it does.
struct Script {
    /// A handle that does not come from the client.
    stored: Gateway,
}

impl Events for Script {
    type Session = ();

    async fn on_message(&self, client: &mut Client<()>, message: Message) -> HandlerResult {
        for word in message.as_text().unwrap_or_default().split(' ') {
            match word {
                "yield" => tokio::task::yield_now().await,
                "ready" => std::future::ready(()).await,
                "group" => client.gateway().group("g").send("group")?,
                "stored" => self.stored.all().send("stored")?,
                "same" => self.stored.client(client.id()).send("same")?,
                "elsewhere" => {
                    let (stored, id) = (self.stored.clone(), client.id());
                    tokio::spawn(async move { stored.client(id).send("elsewhere") }).await??;
                }
                "big" => client.send("B".repeat(BUFFER))?,
                "retry" => return Err(Retry.into()),
                "panic" => panic!("as told"),
                "error" => return Err("as told".into()),
                word => client.send(word)?,
            }
        }
        Ok(())
    }
}

/// What leaves the worker when the client says these messages, one batch: texts of requests in
/// order, and at the end those of the ack in brackets.
async fn play(messages: &[&str]) -> String {
    let (log, _) = play_with(messages).await;
    log
}

async fn play_with(messages: &[&str]) -> (String, Ack) {
    let queue = Arc::new(Queue::new(1 << 20));
    let gateway = Gateway::over(Link::stuck(queue.clone()));
    let events = Script {
        stored: gateway.clone(),
    };
    let desk = Desk::new(events, gateway, Arc::default()).unwrap();
    desk.handle(EventKind::Message, &mut batch(messages)).await;

    let text = |command: &Command| match command {
        Command::Send(message) if message.len() >= BUFFER => "big".to_owned(),
        Command::Send(Payload::Text(text)) => text.to_string(),
        other => format!("{other:?}"),
    };
    let mut log = Vec::new();
    let mut last = None;
    for item in queue.look() {
        match item {
            Seen::Letter(payload) => match wire::decode::<Request>(&payload).unwrap().kind {
                RequestKind::Command(command) => log.push(text(&command)),
                RequestKind::Query(query) => log.push(format!("{query:?}")),
            },
            Seen::Acks(acks) => {
                let [ack] = &acks[..] else {
                    panic!("one batch, one ack")
                };
                log.push(format!(
                    "{:?}",
                    ack.commands.iter().map(text).collect::<Vec<_>>()
                ));
                last = Some(Ack::clone(ack));
            }
        }
    }
    (log.join(" ").replace('"', ""), last.expect("an ack"))
}

fn batch(messages: &[&str]) -> EventBatch {
    EventBatch {
        client: "0a1b2c3d4e5f00c0ffee".parse().unwrap(),
        seq: 1,
        attempt: 1,
        ack_wait: wire::event::ACK_WAIT,
        remote: String::new(),
        local: String::new(),
        uid: None,
        session: Session::default(),
        version: 0,
        messages: messages
            .iter()
            .map(|m| Payload::Text((*m).into()))
            .collect(),
        connect: false,
        handshake: None,
        close: None,
    }
}

#[tokio::test]
async fn own_commands_ride_in_the_ack() {
    assert_eq!(play(&["a b"]).await, "[a, b]");
    assert_eq!(play(&["a", "b"]).await, "[a, b]");
    assert_eq!(
        play(&["a ready b"]).await,
        "[a, b]",
        "an await that is ready at once"
    );
}

#[tokio::test]
async fn an_await_that_waits_publishes_what_was_issued_and_what_follows() {
    assert_eq!(play(&["a yield b"]).await, "a b []");
    assert_eq!(play(&["a", "b yield c", "d"]).await, "a b c [d]");
}

#[tokio::test]
async fn whatever_the_handle_nothing_overtakes_own_commands() {
    assert_eq!(play(&["a group b"]).await, "a group b []");
    assert_eq!(play(&["a stored b"]).await, "a stored b []");
    assert_eq!(play(&["a same b"]).await, "a same b []");
    assert_eq!(play(&["a elsewhere b"]).await, "a elsewhere b []");
    assert_eq!(play(&["a group", "b"]).await, "a group [b]");
    assert_eq!(play(&["a", "stored b", "c"]).await, "a stored b [c]");
}

#[tokio::test]
async fn what_is_too_large_for_an_ack_goes_out_directly() {
    assert_eq!(play(&["a big b"]).await, "a big b []");
}

#[tokio::test]
async fn retry_discards_what_the_event_issued_and_is_not_out_yet() {
    let (log, ack) = play_with(&["a", "b retry", "c"]).await;
    assert_eq!((log.as_str(), ack.handled), ("[a]", 1));
    assert_eq!(ack.status, wire::AckStatus::Retry);
    let (log, ack) = play_with(&["b yield c retry"]).await;
    assert_eq!((log.as_str(), ack.handled), ("b c []", 0));
}

#[tokio::test]
async fn what_a_failing_handler_issued_before_goes_out_and_the_next_event_comes() {
    let (log, ack) = play_with(&["a panic", "b error", "c"]).await;
    assert_eq!((log.as_str(), ack.failed), ("[a, b, c]", 2));
    assert_eq!(ack.status, wire::AckStatus::Done);
}

#[tokio::test]
async fn a_full_outbox_and_a_message_too_large_are_told_to_the_handler() {
    let kind = |result: Result<(), Error>| result.map_err(|e| e.kind());
    let gateway = Gateway::over(Link::stuck(Arc::new(Queue::new(1000))));
    let context = Context::new(batch(&[]).client, gateway);
    let send = |len| kind(context.issue(Command::Send(Payload::Binary(vec![0; len].into()))));
    assert_eq!(send(1000), Err(ErrorKind::Full));
    assert_eq!(send(1024 * 1024), Err(ErrorKind::TooLarge));
    assert_eq!(send(100), Ok(()));
}

#[test]
fn outside_of_a_handler_there_is_nothing_to_overtake() {
    overtaking();
}

#[test]
fn what_waits_is_small_because_it_is_made_for_every_batch() {
    let gateway = Gateway::over(Link::stuck(Arc::new(Queue::new(1000))));
    let stored = gateway.clone();
    let desk = Desk::new(Script { stored }, gateway.clone(), Arc::default()).unwrap();
    let mut batch = batch(&[]);
    let handling = size_of_val(&desk.handle(EventKind::Message, &mut batch));
    assert!(handling <= 1536, "{handling} bytes");
    let joining = size_of_val(&gateway.all().join("g"));
    assert!(joining <= 128, "{joining} bytes");
}

/// A session whose own code panics when it is told to.
#[derive(Default)]
struct Brittle(String);

impl serde::Serialize for Brittle {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.0, "serialize", "as told");
        std::collections::BTreeMap::from([("text", &self.0)]).serialize(to)
    }
}

impl<'de> serde::Deserialize<'de> for Brittle {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let map = std::collections::BTreeMap::<String, String>::deserialize(from)?;
        Ok(Self(map.into_values().next().unwrap_or_default()))
    }
}

impl Drop for Brittle {
    fn drop(&mut self) {
        if self.0 == "drop" {
            self.0.clear();
            panic!("as told");
        }
    }
}

/// An error whose text panics.
#[derive(Debug)]
struct Unspeakable;

impl std::error::Error for Unspeakable {}

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("as told")
    }
}

struct Careless;

impl Events for Careless {
    type Session = Brittle;

    async fn on_message(&self, client: &mut Client<Brittle>, message: Message) -> HandlerResult {
        match message.as_text() {
            Some("speak") => Err(Unspeakable.into()),
            text => {
                client.session.0 = text.unwrap_or_default().to_owned();
                Ok(())
            }
        }
    }
}

#[tokio::test]
async fn a_panic_beside_the_handler_is_a_failed_event_too_and_is_acked() {
    for (messages, failed) in [
        (["serialize", "fine"], 1),
        (["fine", "drop"], 2),
        (["speak", "fine"], 2),
    ] {
        let queue = Arc::new(Queue::new(1 << 20));
        let gateway = Gateway::over(Link::stuck(queue.clone()));
        let desk = Desk::new(Careless, gateway, Arc::default()).unwrap();
        desk.handle(EventKind::Message, &mut batch(&messages)).await;
        let [Seen::Acks(acks)] = &queue.look()[..] else {
            panic!("one ack for {messages:?}")
        };
        assert_eq!(acks[0].status, wire::AckStatus::Done);
        assert_eq!(acks[0].failed, failed, "{messages:?}");
        let next = wire::EventBatch {
            seq: 2,
            ..batch(&["fine"])
        };
        assert!(desk.admit(&next, true), "the client is not stuck");
    }
}

//! Segments: many messages that come to the gateway in one read.
//!
//! A full queue stops the parsing in the midst of what was read. What is left over then, in the
//! gateway's hands and no longer in the kernel's, comes when there is room again.

use gatebus_tests::{Entry, Gateway, Journal, Nats, Worker, socket};
use tokio::io::AsyncWriteExt;

/// What a client does behind its last message.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    /// It stays.
    Stay,
    /// It says goodbye, in the same segment.
    Goodbye,
    /// It ends its stream without a goodbye, and reads on.
    HalfClose,
    /// It is gone, and whatever is sent to it comes back as a reset.
    Cut,
}

/// Numbers of messages about the queue's length, with the one in flight and without it, and more.
const NUMBERS: [usize; 6] = [63, 64, 65, 66, 130, 200];

/// A worker holds a client's first message; so many copies of a text come in one segment, and what
/// follows them; the worker goes on. All are handled, and the close after them.
async fn all_are_handled(text: &str, then: Then) {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let mut worker = Worker::start(&nats, &journal).await;
    for many in NUMBERS {
        let hold = format!("hold {many}");
        let mut stream = socket::upgraded(&gateway).await;
        let first = stream.write_all(&socket::text_frame(&hold)).await;
        first.expect("it listens");
        let fits = |e: &Entry| e.kind == "held" && e.text == many.to_string();
        let client = journal.find("held", fits).await.client;

        let mut segment = socket::text_frame(text).repeat(many);
        if then == Then::Goodbye {
            segment.extend(socket::close_frame(1000));
        }
        stream.write_all(&segment).await.expect("it listens");
        match then {
            Then::Stay | Then::Goodbye => {}
            Then::HalfClose => stream.shutdown().await.expect("it listens"),
            Then::Cut => drop(std::mem::replace(
                &mut stream,
                socket::upgraded(&gateway).await,
            )),
        }
        worker.open(&many.to_string()).await;
        let fits = |e: &Entry| e.client == client && e.kind == "message";
        journal.wait("message of the segment", many + 1, fits).await;
        drop(stream);
        let fits = |e: &Entry| e.client == client && e.kind == "close";
        journal.find("close", fits).await;

        let mut entries = journal.entries();
        entries.retain(|e| e.client == client && (e.kind == "message" || e.kind == "close"));
        let last = entries.pop().expect("the close");
        assert_eq!(last.kind, "close", "{many} times {text:?}, then {then:?}");
        let texts: Vec<_> = entries.iter().map(|e| e.text.as_str()).collect();
        assert_eq!(texts.len(), many + 1, "each once");
        assert_eq!(texts[0], hold);
        assert!(texts[1..].iter().all(|t| *t == text));
    }
}

/// Proves that messages without a byte are not overlooked where the parsing was stopped.
#[tokio::test]
async fn empty_messages_in_one_segment_are_all_handled() {
    all_are_handled("", Then::Stay).await;
}

/// Proves the same where the codec has taken a part of the next frames.
#[tokio::test]
async fn short_messages_in_one_segment_are_all_handled() {
    all_are_handled("ab", Then::Stay).await;
}

/// Proves that a goodbye waits its turn behind the messages before it.
#[tokio::test]
async fn messages_in_one_segment_with_a_goodbye_are_handled_before_the_close() {
    all_are_handled("", Then::Goodbye).await;
    all_are_handled("ab", Then::Goodbye).await;
}

/// Proves that the end of the stream does too.
#[tokio::test]
async fn messages_right_before_the_end_of_the_stream_are_handled_before_the_close() {
    all_are_handled("", Then::HalfClose).await;
    all_are_handled("ab", Then::HalfClose).await;
}

/// Proves that messages which arrived are handled though nobody is there to hear the answers.
#[tokio::test]
async fn messages_right_before_a_cut_are_handled_before_the_close() {
    all_are_handled("", Then::Cut).await;
    all_are_handled("ab", Then::Cut).await;
}

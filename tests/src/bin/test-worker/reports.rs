//! Reports: one line of JSON on stdout for each thing that happened.

use std::io::Write;

use gatebus_tests::{Entry, journal::now};
use serde_json::Value;
use worker_sdk::{Client, Message};

use crate::events::Session;

/// The entry of a client, without what happened.
pub(crate) fn of(worker: &str, kind: &str, client: &Client<Session>) -> Entry {
    let session = serde_json::to_value(&client.session).expect("a session has a JSON form");
    Entry {
        worker: worker.to_owned(),
        kind: kind.to_owned(),
        client: client.id().to_string(),
        attempt: client.attempt(),
        uid: client.uid().map(str::to_owned),
        remote: client.remote_addr().to_owned(),
        session: if client.session.is_empty() {
            Value::Null
        } else {
            session
        },
        ..Entry::default()
    }
}

/// A message as an entry's text: text as it is, bytes as hex.
pub(crate) fn text(message: &Message) -> String {
    match message.as_text() {
        Some(text) => text.to_owned(),
        None => data_encoding::HEXLOWER.encode(message.as_bytes()),
    }
}

/// Writes an entry, in one piece and at once: it must not be lost with the process.
pub(crate) fn write(entry: Entry) {
    let entry = Entry { at: now(), ..entry };
    let mut line = serde_json::to_vec(&entry).expect("an entry has a JSON form");
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    // The test may be gone; then nobody wants to know.
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

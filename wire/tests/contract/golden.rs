//! Frozen bytes: what any version ever wrote, every later version reads.
//!
//! `golden/README.md` says how the files are written and how new bytes are added.

use std::{fmt::Write as _, fs, path::PathBuf};

use data_encoding::HEXLOWER;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    diagnostic,
    foreign::STYLES,
    samples::{self, Sample},
};

/// One frozen message.
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Whose bytes: `own`, or the foreign style.
    pub(crate) style: String,
    /// What stands in it, in diagnostic notation; of our own bytes only.
    pub(crate) notation: Option<String>,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn path(message: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("golden/{message}.txt"))
}

/// Everything that is frozen of one message.
pub(crate) fn entries(message: &str) -> Vec<Entry> {
    let Ok(text) = fs::read_to_string(path(message)) else {
        return Vec::new();
    };
    text.split("\n\n")
        .filter_map(|block| entry(message, block))
        .collect()
}

fn entry(message: &str, block: &str) -> Option<Entry> {
    let mut lines = block.lines().filter(|line| !line.is_empty()).peekable();
    let head = lines.next()?;
    let (name, style) = head
        .strip_prefix("= ")
        .and_then(|head| head.split_once(", "))
        .unwrap_or_else(|| panic!("golden/{message}.txt: {head:?} is not `= name, style`"));
    let notation = lines
        .next_if(|line| !line.starts_with("  "))
        .map(str::to_owned);
    let hex: String = lines.flat_map(str::split_whitespace).collect();
    let bytes = HEXLOWER.decode(hex.as_bytes());
    Some(Entry {
        name: name.to_owned(),
        style: style.to_owned(),
        notation,
        bytes: bytes.unwrap_or_else(|e| panic!("golden/{message}.txt, {name}, {style}: {e}")),
    })
}

fn write(entry: &Entry) -> String {
    let mut out = format!("= {}, {}\n", entry.name, entry.style);
    if let Some(notation) = &entry.notation {
        writeln!(out, "{notation}").expect("a string");
    }
    for line in entry.bytes.chunks(40) {
        writeln!(out, "  {}", HEXLOWER.encode(line)).expect("a string");
    }
    out
}

/// Adds what is not there yet; what is there stays as it is.
fn freeze(message: &str, missing: &[Entry]) {
    let mut text = fs::read_to_string(path(message)).unwrap_or_default();
    for entry in missing {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&write(entry));
    }
    fs::write(path(message), text).expect("the golden folder can be written");
}

/// Holds the samples against the frozen bytes. Of those in `odd`, the foreign styles are frozen too.
fn check<T>(message: &str, samples: &[Sample<T>], odd: &[&str])
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let frozen = entries(message);
    let mut missing = Vec::new();
    for (name, value) in samples {
        let own = wire::encode(value);
        let mut shapes = vec![("own", own.clone())];
        if odd.contains(name) {
            shapes.extend(
                STYLES
                    .iter()
                    .map(|(style, how)| (*style, how.rewrite(&own))),
            );
        }
        for (style, bytes) in shapes {
            if !frozen.iter().any(|e| e.name == *name && e.style == style) {
                missing.push(Entry {
                    name: (*name).to_owned(),
                    style: style.to_owned(),
                    notation: (style == "own").then(|| diagnostic::of_bytes(&bytes)),
                    bytes,
                });
            }
        }
    }
    if std::env::var_os("GATEBUS_FREEZE").is_some() {
        freeze(message, &missing);
    } else if let Some(entry) = missing.first() {
        panic!(
            "golden/{message}.txt has no bytes of `{}, {}`: add them, as golden/README.md says",
            entry.name, entry.style
        );
    }
    for entry in entries(message) {
        held(message, &entry, samples);
    }
}

fn held<T>(message: &str, entry: &Entry, samples: &[Sample<T>])
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let place = format!("golden/{message}.txt, `{}, {}`", entry.name, entry.style);
    let Some((_, value)) = samples.iter().find(|(name, _)| *name == entry.name) else {
        panic!("{place}: no such sample any more; frozen bytes must decode for ever");
    };
    match wire::decode::<T>(&entry.bytes) {
        Ok(decoded) if decoded == *value => {}
        Ok(decoded) => panic!(
            "{place}: decodes to another value\n frozen: {}\n    now: {decoded:?}",
            diagnostic::of_bytes(&entry.bytes)
        ),
        Err(error) => panic!("{place}: does not decode any more: {error}"),
    }
    if entry.style != "own" {
        return;
    }
    let now = wire::encode(value);
    assert!(
        now == entry.bytes,
        "{place}: encodes to other bytes, which older processes do not expect\n frozen: {}\n    now: {}",
        diagnostic::of_bytes(&entry.bytes),
        diagnostic::of_bytes(&now),
    );
    let notation = diagnostic::of_bytes(&entry.bytes);
    assert_eq!(
        entry.notation.as_deref(),
        Some(&*notation),
        "{place}: the notation does not say what the bytes are"
    );
}

#[test]
fn events_are_read_and_written_as_ever() {
    check(
        "event",
        &samples::events(),
        &["websocket", "message_many", "close_command"],
    );
}

#[test]
fn event_messages_are_read_and_written_as_ever() {
    check("event_message", &samples::event_messages(), &["two"]);
}

#[test]
fn acks_are_read_and_written_as_ever() {
    check(
        "ack",
        &samples::acks(),
        &["done_session", "done_commands", "gathered"],
    );
}

#[test]
fn requests_are_read_and_written_as_ever() {
    let odd = [
        "close_with_all",
        "update_session",
        "send_to_group_except",
        "send_to_clients",
        "contest",
        "list_group_next_page",
        "list_where",
        "groups_named_next_page",
    ];
    check("request", &samples::requests(), &odd);
}

#[test]
fn answers_are_read_and_written_as_ever() {
    check(
        "answer",
        &samples::answers(),
        &["no_client", "contest", "page", "names"],
    );
}

#[test]
fn orders_are_read_and_written_as_ever() {
    check("order", &samples::orders(), &["drain"]);
}

#[test]
fn beats_are_read_and_written_as_ever() {
    check("gateway_beat", &samples::gateway_beats(), &["draining"]);
    check("worker_beat", &samples::worker_beats(), &["ready"]);
}

#[test]
fn dead_letters_are_read_and_written_as_ever() {
    check("dead", &samples::dead(), &["attempts"]);
}

#[test]
fn sessions_are_read_and_written_as_ever() {
    check("session", &samples::sessions(), &[]);
}

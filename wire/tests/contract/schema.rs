//! `gatebus.cddl` and the code say the same.

use std::collections::BTreeSet;

use cddl_cat::{cbor::validate_cbor, context::BasicContext, flatten::flatten_from_str};
use ciborium::Value;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use wire::{
    AckMessage, Answer, Dead, EventBatch, EventMessage, GatewayBeat, Order, Request, WorkerBeat,
    session::SessionMap,
};

use crate::{diagnostic, golden, strategies};

const TEXT: &str = include_str!("../../gatebus.cddl");

/// The schema, read once.
struct Schema(BasicContext);

impl Schema {
    fn read() -> Self {
        // A CDDL expression matches the whole string (RFC 8610, section 3.8.3); the crate's may
        // match a part of it.
        let whole = TEXT
            .split('\n')
            .map(|line| match line.split_once(".regexp \"") {
                Some((before, rest)) => {
                    let (expression, after) = rest.split_once('"').expect("a closing quote");
                    format!("{before}.regexp \"^({expression})$\"{after}\n")
                }
                None => format!("{line}\n"),
            })
            .collect::<String>();
        Self(BasicContext::new(
            flatten_from_str(&whole).expect("gatebus.cddl is CDDL"),
        ))
    }

    fn check(&self, rule: &str, value: &Value) -> Result<(), String> {
        let rule = self
            .0
            .rules
            .get(rule)
            .unwrap_or_else(|| panic!("no rule `{rule}`"));
        validate_cbor(rule, value, &self.0).map_err(|e| e.to_string())
    }
}

fn value(bytes: &[u8]) -> Value {
    ciborium::from_reader(bytes).expect("well-formed CBOR")
}

fn decodes<T: DeserializeOwned>(value: &Value) -> bool {
    wire::decode::<T>(&wire::encode(value)).is_ok()
}

type Decodes = fn(&Value) -> bool;

/// The golden file, the rule, and whether the code takes a value.
const MESSAGES: [(&str, &str, Decodes); 10] = [
    ("event", "event-batch", decodes::<EventBatch>),
    ("event_message", "event-message", decodes::<EventMessage>),
    ("ack", "ack-message", decodes::<AckMessage>),
    ("request", "request", decodes::<Request>),
    ("answer", "answer", decodes::<Answer>),
    ("order", "order", decodes::<Order>),
    ("gateway_beat", "gateway-beat", decodes::<GatewayBeat>),
    ("worker_beat", "worker-beat", decodes::<WorkerBeat>),
    ("dead", "dead", decodes::<Dead>),
    ("session", "session-map", decodes::<SessionMap>),
];

/// Our own frozen bytes of one message.
pub(crate) fn own(message: &str) -> impl Iterator<Item = (String, Value)> {
    let entries = golden::entries(message).into_iter();
    entries
        .filter(|e| e.style == "own")
        .map(|e| (e.name, value(&e.bytes)))
}

/// Every value that differs from this one in one place: `change` says what may stand there instead.
fn variants(whole: &Value, change: &dyn Fn(&Value) -> Vec<Value>) -> Vec<Value> {
    let mut out = change(whole);
    match whole {
        Value::Map(entries) => {
            for (at, (_, inner)) in entries.iter().enumerate() {
                out.extend(variants(inner, change).into_iter().map(|inner| {
                    let mut entries = entries.clone();
                    entries[at].1 = inner;
                    Value::Map(entries)
                }));
            }
        }
        Value::Array(items) => {
            for (at, inner) in items.iter().enumerate() {
                out.extend(variants(inner, change).into_iter().map(|inner| {
                    let mut items = items.clone();
                    items[at] = inner;
                    Value::Array(items)
                }));
            }
        }
        _ => {}
    }
    out
}

fn notation(value: &Value) -> String {
    diagnostic::of_bytes(&wire::encode(value))
}

#[test]
fn every_golden_message_is_valid() {
    let schema = Schema::read();
    for (message, rule, _) in MESSAGES {
        for (name, value) in own(message) {
            if let Err(error) = schema.check(rule, &value) {
                panic!(
                    "golden/{message}.txt, `{name}` is no {rule}: {error}\n{}",
                    notation(&value)
                );
            }
        }
    }
}

#[test]
fn schema_and_code_require_the_same_fields() {
    let without_one = |value: &Value| match value {
        Value::Map(entries) => (0..entries.len())
            .map(|at| {
                let mut entries = entries.clone();
                entries.remove(at);
                Value::Map(entries)
            })
            .collect(),
        _ => Vec::new(),
    };
    let schema = Schema::read();
    for (message, rule, decodes) in &MESSAGES[..8] {
        for (name, whole) in own(message) {
            for value in variants(&whole, &without_one) {
                let valid = schema.check(rule, &value);
                // A field of another command may be there: the code ignores it, as any it does not
                // know, and the schema says that nobody writes it.
                if *message == "request" || *message == "ack" {
                    if valid.is_ok() {
                        assert!(decodes(&value), "{name}: {}", notation(&value));
                    }
                    continue;
                }
                assert_eq!(
                    valid.is_ok(),
                    decodes(&value),
                    "{message} {name}: schema {valid:?}, code otherwise: {}",
                    notation(&value)
                );
            }
        }
    }
}

#[test]
fn what_the_schema_allows_the_code_takes() {
    let others = |_: &Value| {
        vec![
            0.into(),
            (-1).into(),
            1000.into(),
            65_536.into(),
            (1_u64 << 40).into(),
            u64::MAX.into(),
            1.5.into(),
            true.into(),
            Value::Null,
            "".into(),
            "x".into(),
            "count".into(),
            "x".repeat(124).into(),
            "x".repeat(1025).into(),
            "0123456789ab".into(),
            Value::Bytes(vec![]),
            Value::Bytes(vec![0xa0]),
            Value::Bytes(vec![1]),
            Value::Array(vec![]),
            Value::Array(vec!["x".into(), "y".into(), "z".into()]),
            Value::Map(vec![]),
        ]
    };
    let schema = Schema::read();
    let mut allowed = 0;
    for (message, rule, decodes) in &MESSAGES[..8] {
        for (name, whole) in own(message) {
            for value in variants(&whole, &others) {
                if schema.check(rule, &value).is_ok() {
                    allowed += 1;
                    assert!(
                        decodes(&value),
                        "{message} {name}: the schema allows what the code refuses: {}",
                        notation(&value)
                    );
                }
            }
        }
    }
    assert!(
        allowed > 500,
        "only {allowed} variants were valid: do they still try anything?"
    );
}

#[test]
fn a_field_that_nobody_writes_is_not_in_the_schema() {
    fn collect(value: &Value, keys: &mut BTreeSet<String>) {
        match value {
            Value::Map(entries) => {
                for (key, value) in entries {
                    keys.insert(key.as_text().expect("a text key").to_owned());
                    collect(value, keys);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, keys)),
            _ => {}
        }
    }
    let mut written = BTreeSet::new();
    let (_session, messages) = MESSAGES.split_last().expect("some");
    for (message, ..) in messages {
        own(message).for_each(|(_, value)| collect(&value, &mut written));
    }
    let code = TEXT
        .lines()
        .map(|line| line.split(';').next().unwrap_or_default());
    let fields: BTreeSet<String> = code
        .flat_map(|line| line.split([',', '{', '(']).collect::<Vec<_>>())
        .filter_map(|part| part.split_once(':'))
        .map(|(key, _)| key.trim_start_matches([' ', '?']).to_owned())
        .collect();
    assert_eq!(fields, written);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn everything_that_is_written_is_valid(
        (event, ack, request) in (strategies::event(), strategies::ack(), strategies::request()),
        events in strategies::event_message(),
        (answer, order, dead) in (strategies::answer(), strategies::order(), strategies::dead()),
        (gateway, worker) in (strategies::gateway_beat(), strategies::worker_beat()),
    ) {
        let schema = Schema::read();
        for (rule, bytes) in [
            ("event-batch", wire::encode(&event)),
            ("event-message", wire::encode(&events)),
            ("ack-message", wire::encode(&ack)),
            ("request", wire::encode(&request)),
            ("answer", wire::encode(&answer)),
            ("order", wire::encode(&order)),
            ("dead", wire::encode(&dead)),
            ("gateway-beat", wire::encode(&gateway)),
            ("worker-beat", wire::encode(&worker)),
        ] {
            if let Err(error) = schema.check(rule, &value(&bytes)) {
                prop_assert!(false, "{}: {}\n{}", rule, error, diagnostic::of_bytes(&bytes));
            }
        }
    }
}

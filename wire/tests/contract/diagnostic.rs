//! CBOR diagnostic notation (RFC 8949, section 8): how a person reads the bytes.
//!
//! A session, which travels as a byte string, is written as what it holds: `<<{"name": "alice"}>>`
//! (RFC 8610, appendix G.3).

use std::fmt::Write as _;

use ciborium::Value;
use data_encoding::HEXLOWER;

/// The one item in these bytes, in words.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    of_value(&ciborium::from_reader(bytes).expect("well-formed CBOR"))
}

fn of_value(value: &Value) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value {
        Value::Integer(n) => i128::from(*n).to_string(),
        Value::Float(n) => format!("{n:?}"),
        Value::Bool(b) => b.to_string(),
        Value::Null => "null".to_owned(),
        Value::Text(text) => quoted(text),
        Value::Bytes(bytes) => format!("h'{}'", HEXLOWER.encode(bytes)),
        Value::Tag(tag, value) => format!("{tag}({})", of_value(value)),
        Value::Array(items) => format!("[{}]", list(items.iter().map(of_value).collect())),
        Value::Map(items) => format!("{{{}}}", list(items.iter().map(of_entry).collect())),
        other => unreachable!("no notation for {other:?}"),
    }
}

fn of_entry((key, value): &(Value, Value)) -> String {
    let value = match (key.as_text(), value) {
        (Some("session" | "set"), Value::Bytes(map)) if !map.is_empty() => {
            format!("<<{}>>", of_bytes(map))
        }
        _ => of_value(value),
    };
    format!("{}: {value}", of_value(key))
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c)).expect("a string"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

//! Batches: a bounded list of calls, done in order, with a result each.
//!
//! A batch that is wrong anywhere is refused whole, before anything of it is done. Then each call is
//! done, or fails for itself, and the next comes.

use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};
use worker_sdk::Gateway;

use crate::{
    call::{Done, Ready, find},
    failure::{Code, Failure},
    metrics::Metrics,
    parameters::Parameters,
    target::Target,
};

/// Reads a batch of at most so many calls.
pub(crate) fn read(mut body: Map<String, Value>, most: usize) -> Result<Vec<Ready>, Failure> {
    let calls = match body.remove("calls") {
        Some(Value::Array(calls)) if body.is_empty() => calls,
        _ => {
            let says = "a batch is an object with the one field `calls`, a list";
            return Err(Failure::new(Code::InvalidBody, says));
        }
    };
    if calls.len() > most {
        let says = format!(
            "a batch has at most {most} calls, this one has {}",
            calls.len()
        );
        return Err(Failure::new(Code::InvalidBody, says));
    }
    let each = calls.into_iter().enumerate().map(|(n, call)| {
        one(call).map_err(|e| Failure::new(e.code, format!("calls[{n}]: {}", e.message)))
    });
    each.collect()
}

fn one(call: Value) -> Result<Ready, Failure> {
    let wrong = |says: &str| Failure::new(Code::InvalidBody, says);
    let Value::Object(mut call) = call else {
        return Err(wrong("a call is an object"));
    };
    let target = call.remove("target");
    let target = Target::from_json(target.ok_or_else(|| wrong("`target` is missing"))?)?;
    let (name, is_command) = match (call.remove("command"), call.remove("query")) {
        (Some(Value::String(name)), None) => (name, true),
        (None, Some(Value::String(name))) => (name, false),
        _ => return Err(wrong("a call has either a `command` or a `query`, by name")),
    };
    let kind = target.kind();
    let known =
        find(&name, kind).filter(|call| call.is_command() == is_command && call.fits_a_batch());
    let Some(known) = known else {
        let sort = if is_command { "command" } else { "query" };
        let says = format!(
            "there is no {sort} `{name}` for `{}` in a batch",
            kind.word()
        );
        return Err(wrong(&says));
    };
    if is_command {
        return known.read_body(target, call);
    }
    match call.keys().next() {
        Some(field) => Err(wrong(&format!("unknown field `{field}`"))),
        None => known.read_query(target, Parameters::default()),
    }
}

/// Does a batch, as much of it as the time allows.
pub(crate) async fn run(
    batch: Vec<Ready>,
    gateway: &Gateway,
    metrics: &Metrics,
    until: Instant,
) -> Done {
    let mut results = Vec::with_capacity(batch.len());
    for ready in batch {
        let (name, kind) = (ready.call.name, ready.kind());
        let outcome = if Instant::now() >= until {
            Err(Code::Skipped.into())
        } else {
            let done = timeout_at(until, ready.run(gateway)).await;
            done.unwrap_or_else(|_| Err(Code::Timeout.into()))
        };
        metrics.call(name, kind, outcome.as_ref().err().map(|e| e.code));
        results.push(match outcome {
            Ok(Done {
                status,
                body: Value::Object(mut fields),
            }) => {
                fields.insert("status".into(), status.into());
                Value::Object(fields)
            }
            Ok(Done { status, .. }) => json!({"status": status}),
            Err(failure) => {
                let mut body = failure.body();
                body["status"] = failure.code.status().into();
                body
            }
        });
    }
    Done {
        status: 200,
        body: json!({"results": results}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: Value) -> String {
        let Value::Object(body) = body else {
            unreachable!()
        };
        let Err(failure) = read(body, 2) else {
            panic!("it is right")
        };
        assert_eq!(failure.code, Code::InvalidBody);
        failure.message
    }

    #[test]
    fn what_is_wrong_with_a_batch_is_told_with_its_place() {
        let right = json!({"target": {"uid": "1"}, "command": "send", "text": "a"});
        for (calls, says) in [
            (json!([right, {"command": "send"}]), "calls[1]: `target`"),
            (json!([{"target": {"uid": "1"}}]), "calls[0]: a call has"),
            (
                json!([{"target": {"uid": "1"}, "command": "count"}]),
                "no command `count`",
            ),
            (
                json!([{"target": {"uid": "1"}, "query": "clients"}]),
                "no query `clients`",
            ),
            (
                json!([{"target": {"all": true}, "command": "send", "txt": "a"}]),
                "unknown field `txt`",
            ),
            (
                json!([{"target": {"all": true}, "query": "count", "limit": 1}]),
                "unknown field `limit`",
            ),
            (json!([right, right, right]), "at most 2"),
        ] {
            let said = refused(json!({"calls": calls}));
            assert!(said.contains(says), "{said}");
        }
        refused(json!({"calls": [], "more": 1}));
        refused(json!({}));
    }

    #[test]
    fn a_right_batch_keeps_its_order() {
        let body = json!({"calls": [
            {"target": {"group": "a"}, "command": "join", "group": "b", "except": ["0a1b2c3d4e5f00c0ffee"]},
            {"target": {"uid": "1"}, "query": "is_online"},
        ]});
        let Value::Object(body) = body else {
            unreachable!()
        };
        let batch = read(body, 2).ok().unwrap();
        let names: Vec<_> = batch.iter().map(|ready| ready.call.name).collect();
        assert_eq!(names, ["join", "is_online"]);
    }
}

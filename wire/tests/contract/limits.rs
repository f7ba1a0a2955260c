//! Every limit of a message, at its edge: the last that passes and the first that does not.

use ciborium::Value;
use serde::de::DeserializeOwned;
use wire::{
    Answer, CloseCode, Command, EventBatch, Payload, Request, Session, SessionChange,
    codec::{MAX_ENVELOPE, MAX_ITEMS},
    filter::{MAX_WHERE, MAX_WHERE_KEYS},
    name::MAX_NAME,
    request::MAX_REASON,
    session::{MAX_SESSION, MAX_SESSION_DEPTH, SessionError},
};

use crate::samples;

fn decodes<T: DeserializeOwned>(value: &Value) -> bool {
    wire::decode::<T>(&wire::encode(value)).is_ok()
}

fn map(items: &[(&str, Value)]) -> Value {
    Value::Map(
        items
            .iter()
            .map(|(key, value)| ((*key).into(), value.clone()))
            .collect(),
    )
}

#[test]
fn an_envelope_has_a_longest() {
    let send = |len| Request::command(Command::Send(Payload::Binary(vec![0; len].into())));
    let head = wire::encode(&send(MAX_ENVELOPE / 2)).len() - MAX_ENVELOPE / 2;
    let longest = wire::encode(&send(MAX_ENVELOPE - head));
    assert_eq!(longest.len(), MAX_ENVELOPE);
    assert!(wire::decode::<Request>(&longest).is_ok());
    let longer = wire::encode(&send(MAX_ENVELOPE - head + 1));
    assert!(wire::decode::<Request>(&longer).is_err());
}

#[test]
fn a_list_has_a_longest() {
    let request = |n: usize| {
        let ids = vec![samples::client().to_string().into(); n];
        map(&[("ask", "count".into()), ("except", Value::Array(ids))])
    };
    assert!(decodes::<Request>(&request(MAX_ITEMS)));
    assert!(!decodes::<Request>(&request(MAX_ITEMS + 1)));

    let messages = |n| EventBatch {
        messages: vec![samples::text(""); n],
        ..samples::events().remove(0).1
    };
    assert!(wire::decode::<EventBatch>(&wire::encode(&messages(MAX_ITEMS))).is_ok());
    assert!(wire::decode::<EventBatch>(&wire::encode(&messages(MAX_ITEMS + 1))).is_err());

    let removed = |n| SessionChange {
        removed: vec![String::new(); n],
        ..SessionChange::default()
    };
    assert!(wire::decode::<SessionChange>(&wire::encode(&removed(MAX_ITEMS))).is_ok());
    assert!(wire::decode::<SessionChange>(&wire::encode(&removed(MAX_ITEMS + 1))).is_err());
}

#[test]
fn a_name_in_a_message_has_a_longest() {
    let join = |len| map(&[("do", "join".into()), ("group", "g".repeat(len).into())]);
    assert!(decodes::<Request>(&join(1)));
    assert!(decodes::<Request>(&join(MAX_NAME)));
    assert!(!decodes::<Request>(&join(MAX_NAME + 1)));
    assert!(!decodes::<Request>(&join(0)));
}

#[test]
fn a_close_reason_has_a_longest() {
    let close = |reason: String| map(&[("do", "close".into()), ("reason", reason.into())]);
    assert!(decodes::<Request>(&close("r".repeat(MAX_REASON))));
    assert!(!decodes::<Request>(&close("r".repeat(MAX_REASON + 1))));
    // In bytes, not in characters.
    assert!(!decodes::<Request>(&close("é".repeat(MAX_REASON / 2 + 1))));
}

#[test]
fn an_application_closes_with_its_own_codes_only() {
    let close = |code: u32| map(&[("do", "close".into()), ("code", code.into())]);
    for code in [1000, 3000, 3999, 4000, 4999] {
        assert!(decodes::<Request>(&close(code)), "{code}");
    }
    for code in [0, 999, 1001, 1005, 1006, 1012, 2999, 5000, 65_535, 65_536] {
        assert!(!decodes::<Request>(&close(code)), "{code}");
    }
}

#[test]
fn the_gateways_own_reasons_fit_a_close_frame() {
    for code in CloseCode::ALL {
        assert!(code.reason().len() <= MAX_REASON, "{code:?}");
    }
}

#[test]
fn a_session_has_a_largest() {
    let of = |len: usize| Session::from_map(&samples::map(&[("k", vec![0u8; len].into())]));
    let head = of(MAX_SESSION / 2).expect("half").as_bytes().len() - MAX_SESSION / 2;
    let largest = of(MAX_SESSION - head).expect("the largest");
    assert_eq!(largest.as_bytes().len(), MAX_SESSION);
    assert!(largest.to_map().is_ok());
    let error = of(MAX_SESSION - head + 1).expect_err("one more");
    assert!(matches!(error, SessionError::TooLarge(n) if n == MAX_SESSION + 1));

    let set = |len| {
        map(&[
            ("do", "set_session".into()),
            ("session", vec![0u8; len].into()),
        ])
    };
    assert!(decodes::<Request>(&set(MAX_SESSION)));
    assert!(!decodes::<Request>(&set(MAX_SESSION + 1)));

    let more = samples::session(&[("other", 1.into())]);
    assert!(matches!(
        largest.merged(&more),
        Err(SessionError::TooLarge(_))
    ));
    assert!(matches!(
        largest.changed(&more, &[]),
        Err(SessionError::TooLarge(_))
    ));
    assert!(largest.changed(&more, &["k".to_owned()]).is_ok());
}

#[test]
fn a_session_has_a_deepest() {
    let nested = |depth: usize| {
        let inner = (1..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        Session::from_map(&samples::map(&[("k", inner)]))
    };
    assert!(
        nested(MAX_SESSION_DEPTH)
            .expect("the deepest")
            .to_map()
            .is_ok()
    );
    assert!(matches!(
        nested(MAX_SESSION_DEPTH + 1),
        Err(SessionError::TooDeep)
    ));
}

#[test]
fn a_filter_has_a_largest() {
    let texts = |n: usize| Value::Array(vec!["x".into(); n]);
    let list = |filter| map(&[("ask", "list".into()), ("where", filter)]);
    for field in ["uids", "groups"] {
        let of = |n| list(map(&[(field, texts(n))]));
        assert!(decodes::<Request>(&of(MAX_WHERE)), "{field}");
        assert!(!decodes::<Request>(&of(MAX_WHERE + 1)), "{field}");
    }
    for ask in ["uids", "groups"] {
        let of = |n| map(&[("ask", ask.into()), ("names", texts(n))]);
        assert!(decodes::<Request>(&of(MAX_WHERE)), "{ask}");
        assert!(!decodes::<Request>(&of(MAX_WHERE + 1)), "{ask}");
    }
    let keys = |n: usize| {
        let map: Value = Value::Map(
            (0..n)
                .map(|n| (n.to_string().into(), true.into()))
                .collect(),
        );
        list(self::map(&[("session", wire::encode(&map).into())]))
    };
    assert!(decodes::<Request>(&keys(MAX_WHERE_KEYS)));
    assert!(!decodes::<Request>(&keys(MAX_WHERE_KEYS + 1)));
}

#[test]
fn a_filter_compares_scalars_only() {
    let of = |value: Value| {
        let session = wire::encode(&map(&[("k", value)]));
        let filter = map(&[("session", session.into())]);
        decodes::<Request>(&map(&[("ask", "list".into()), ("where", filter)]))
    };
    for scalar in [
        Value::Null,
        true.into(),
        1.into(),
        (-0.5).into(),
        "x".into(),
    ] {
        assert!(of(scalar.clone()), "{scalar:?}");
    }
    assert!(of(Value::Bytes(vec![0])));
    assert!(!of(Value::Array(vec![])));
    assert!(!of(Value::Map(vec![])));
}

#[test]
fn a_page_may_hold_as_many_clients_as_a_list_may() {
    let info = samples::answers()
        .pop()
        .expect("the page")
        .1
        .clients
        .remove(0);
    let page = |n| Answer {
        clients: vec![info.clone(); n],
        ..Answer::count(samples::gateway(), n as u64)
    };
    assert!(wire::decode::<Answer>(&wire::encode(&page(MAX_ITEMS))).is_ok());
    assert!(wire::decode::<Answer>(&wire::encode(&page(MAX_ITEMS + 1))).is_err());
}

//! How sessions merge and change.

use ciborium::Value;
use proptest::prelude::*;
use wire::{Filter, Request, Session, session::SessionMap};

use crate::{
    samples::{map, session},
    strategies,
};

fn object(items: &[(&str, Value)]) -> Value {
    Value::Map(
        items
            .iter()
            .map(|(key, value)| ((*key).into(), value.clone()))
            .collect(),
    )
}

fn list(items: &[i64]) -> Value {
    Value::Array(items.iter().copied().map(Value::from).collect())
}

fn merged(old: &[(&str, Value)], new: &[(&str, Value)]) -> SessionMap {
    let merged = session(old).merged(&session(new)).expect("small");
    merged.to_map().expect("our own bytes")
}

#[test]
fn a_session_is_compared_key_by_key() {
    let mine = session(&[
        ("name", "alice".into()),
        ("room", Value::Null),
        ("score", 3.into()),
        ("deep", object(&[("name", "bob".into())])),
        ("vip", true.into()),
    ]);
    let has = |session: &Session, wanted: &[(&str, Value)]| {
        let filter = Filter {
            session: self::session(wanted),
            ..Filter::default()
        };
        session.has(&filter.wanted().expect("scalars"))
    };
    assert!(has(&mine, &[]));
    assert!(has(&Session::default(), &[]));
    assert!(has(&mine, &[("name", "alice".into())]));
    assert!(has(&mine, &[("vip", true.into()), ("score", 3.into())]));
    assert!(has(&mine, &[("room", Value::Null)]));
    for (key, value) in [
        ("name", "bob".into()),
        ("name", Value::Null),
        ("nick", "alice".into()),
        ("nick", Value::Null),
        ("score", 3.0.into()),
        ("score", "3".into()),
        ("deep", "bob".into()),
    ] {
        assert!(!has(&mine, &[(key, value)]), "{key}");
    }
    assert!(!has(
        &mine,
        &[("name", "alice".into()), ("vip", false.into())]
    ));
    assert!(!has(&Session::default(), &[("name", "alice".into())]));
}

#[test]
fn merging_keeps_what_the_other_does_not_name() {
    assert_eq!(
        merged(
            &[("a", 1.into()), ("b", 2.into())],
            &[("b", 3.into()), ("c", 4.into())]
        ),
        map(&[("a", 1.into()), ("b", 3.into()), ("c", 4.into())]),
    );
}

#[test]
fn merging_goes_into_maps() {
    let old = object(&[
        ("x", 1.into()),
        ("deep", object(&[("p", 1.into()), ("q", 2.into())])),
    ]);
    let new = object(&[("deep", object(&[("q", 3.into())])), ("y", 4.into())]);
    assert_eq!(
        merged(&[("m", old)], &[("m", new)]),
        map(&[(
            "m",
            object(&[
                ("x", 1.into()),
                ("deep", object(&[("p", 1.into()), ("q", 3.into())])),
                ("y", 4.into()),
            ]),
        )]),
    );
}

#[test]
fn merging_takes_lists_and_mixed_kinds_whole() {
    assert_eq!(
        merged(&[("l", list(&[1, 2, 3]))], &[("l", list(&[9]))]),
        map(&[("l", list(&[9]))]),
    );
    let object = object(&[("x", 1.into())]);
    assert_eq!(
        merged(
            &[("a", object.clone()), ("b", 1.into())],
            &[("a", 1.into()), ("b", object.clone())]
        ),
        map(&[("a", 1.into()), ("b", object)]),
    );
}

#[test]
fn merging_null_sets_null() {
    assert_eq!(
        merged(&[("a", 1.into())], &[("a", Value::Null)]),
        map(&[("a", Value::Null)])
    );
}

#[test]
fn changing_takes_keys_out_before_it_sets() {
    let old = session(&[
        ("a", 1.into()),
        ("b", object(&[("x", 1.into())])),
        ("c", 3.into()),
    ]);
    let set = session(&[("a", 2.into()), ("b", object(&[("y", 2.into())]))]);
    let removed = ["a".to_owned(), "c".to_owned(), "unknown".to_owned()];
    let new = old
        .changed(&set, &removed)
        .expect("small")
        .to_map()
        .expect("our own bytes");
    // `b` is replaced, not merged: a change names whole values.
    assert_eq!(
        new,
        map(&[("a", 2.into()), ("b", object(&[("y", 2.into())]))])
    );
}

#[test]
fn the_empty_session_has_no_bytes() {
    assert!(
        Session::from_map(&SessionMap::new())
            .expect("empty")
            .as_bytes()
            .is_empty()
    );
    let old = session(&[("a", 1.into())]);
    assert!(
        old.changed(&Session::default(), &["a".to_owned()])
            .expect("empty")
            .is_empty()
    );
    assert!(Session::default().to_map().expect("empty").is_empty());
}

#[test]
fn an_encoded_empty_map_is_the_empty_session() {
    for empty in [&b"\xa0"[..], b"\xbf\xff", b""] {
        let set: Session =
            wire::decode(&wire::encode(&Value::from(empty.to_vec()))).expect("bytes");
        assert!(set.is_empty(), "{empty:02x?}");
    }
}

#[test]
fn bytes_that_are_no_session_are_found_out() {
    let bad: [&[u8]; 6] = [
        b"\x80",
        b"\xa1\x01\x02",
        b"\xa1\x61a",
        b"\xff",
        b"\xa0\x00",
        b"\xa1\x61a\x01\x00",
    ];
    for bytes in bad {
        let carried: Session =
            wire::decode(&wire::encode(&Value::from(bytes.to_vec()))).expect("bytes");
        assert!(carried.to_map().is_err(), "{bytes:02x?}");
        assert!(carried.checked().is_err(), "{bytes:02x?}");
        assert!(Session::default().merged(&carried).is_err(), "{bytes:02x?}");
    }
}

#[test]
fn a_session_too_deep_is_found_out_however_it_came() {
    let mut bytes = b"\xa1\x61k".to_vec();
    bytes.extend(b"\x81".repeat(16));
    bytes.push(0);
    let carried: Session = wire::decode(&wire::encode(&Value::from(bytes))).expect("bytes");
    assert!(carried.checked().is_err());
}

#[test]
fn checking_makes_equal_sessions_equal_bytes() {
    let odd = b"\xbf\x61b\x18\x02\x61a\x01\xff".to_vec();
    let carried: Session = wire::decode(&wire::encode(&Value::from(odd))).expect("bytes");
    assert_eq!(
        carried.checked().expect("a session"),
        session(&[("a", 1.into()), ("b", 2.into())]),
    );
}

#[test]
fn a_merge_of_large_maps_takes_no_square_of_time() {
    let large = |value: u8| {
        let entry = |n: u32| (Value::from(format!("{n:x}")), Value::from(value));
        session(&[("m", Value::Map((0..9_000).map(entry).collect()))])
    };
    // A hundred merges of this size compare 8 billion keys one by one, or look them up.
    let (old, new) = (large(1), large(2));
    for _ in 0..100 {
        assert_eq!(old.merged(&new).expect("within the limits"), new);
    }
}

/// The rule, said as simply as it can be, for maps with text keys.
fn rule(old: &Value, new: &Value) -> Value {
    let (Value::Map(old), Value::Map(new)) = (old, new) else {
        return new.clone();
    };
    let mut out = old.clone();
    for (key, value) in new {
        match out.iter_mut().find(|(k, _)| k == key) {
            Some((_, slot)) => *slot = rule(slot, value),
            None => out.push((key.clone(), value.clone())),
        }
    }
    Value::Map(out)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merging_follows_the_rule(old in strategies::session_map(), new in strategies::session_map()) {
        let got = Session::from_map(&old).expect("small").merged(&Session::from_map(&new).expect("small"));
        let mut want = old.clone();
        for (key, value) in &new {
            let value = old.get(key).map_or_else(|| value.clone(), |old| rule(old, value));
            want.insert(key.clone(), value);
        }
        prop_assert_eq!(got.expect("small").to_map().expect("our own bytes"), want);
    }

    #[test]
    fn merging_twice_is_merging_once(old in strategies::session(), new in strategies::session()) {
        let once = old.merged(&new).expect("small");
        prop_assert_eq!(once.merged(&new).expect("small"), once);
    }

    #[test]
    fn merging_nothing_changes_nothing(old in strategies::session()) {
        prop_assert_eq!(old.merged(&Session::default()).expect("small"), old.clone());
        prop_assert_eq!(old.changed(&Session::default(), &[]).expect("small"), old);
    }

    #[test]
    fn changing_follows_the_rule(
        old in strategies::session_map(),
        set in strategies::session_map(),
        removed in prop::collection::vec("[a-c]{1,2}", 0..4),
    ) {
        let got = Session::from_map(&old).expect("small")
            .changed(&Session::from_map(&set).expect("small"), &removed);
        let mut want = old;
        want.retain(|key, _| !removed.contains(key));
        want.extend(set);
        prop_assert_eq!(got.expect("small").to_map().expect("our own bytes"), want);
    }

    #[test]
    fn any_bytes_as_a_session_are_a_session_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let request = object(&[("do", "update_session".into()), ("session", bytes.into())]);
        let request = wire::decode::<Request>(&wire::encode(&request)).expect("a byte string");
        if let wire::RequestKind::Command(wire::Command::UpdateSession(session)) = request.kind {
            prop_assert_eq!(session.to_map().is_ok(), Session::default().merged(&session).is_ok());
        }
    }
}

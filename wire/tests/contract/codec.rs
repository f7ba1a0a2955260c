//! Whatever the bytes are, decoding ends with a value or an error, and costs memory by what came,
//! not by what was announced.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    collections::BTreeMap,
};

use ciborium::Value;
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use wire::{
    AckMessage, Answer, Dead, DecodeError, EventBatch, GatewayBeat, Request, WorkerBeat,
    codec::{MAX_DEPTH, MAX_ENVELOPE},
    session::SessionMap,
};

use crate::{
    diagnostic,
    foreign::{STYLES, Style},
    golden, strategies,
};

/// Counts what each thread asks for.
struct Tally;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static TALLY: Tally = Tally;

// SAFETY: everything is passed on to the system's allocator as it came.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Tally {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(at, layout, size) }
    }
}

fn count(bytes: usize) {
    // Fails only while the thread ends.
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + bytes));
}

/// What came out, and how many bytes of memory were asked for on the way.
fn asked<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = ASKED.get();
    let out = f();
    (out, ASKED.get() - before)
}

/// Most memory that a decoder may ask for, whatever a message of so many bytes announces.
fn fair(len: usize) -> usize {
    128 * 1024 + 128 * len
}

fn decode_fairly<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (result, asked) = asked(|| wire::decode::<T>(bytes));
    assert!(
        asked <= fair(bytes.len()),
        "{asked} bytes of memory for a message of {} that begins {:02x?}",
        bytes.len(),
        &bytes[..bytes.len().min(40)],
    );
    result
}

/// Decodes the bytes as every message; how many took them.
fn decode_as_everything(bytes: &[u8]) -> usize {
    [
        decode_fairly::<EventBatch>(bytes).is_ok(),
        decode_fairly::<AckMessage>(bytes).is_ok(),
        decode_fairly::<Request>(bytes).is_ok(),
        decode_fairly::<Answer>(bytes).is_ok(),
        decode_fairly::<GatewayBeat>(bytes).is_ok(),
        decode_fairly::<WorkerBeat>(bytes).is_ok(),
        decode_fairly::<Dead>(bytes).is_ok(),
        decode_fairly::<SessionMap>(bytes).is_ok(),
    ]
    .into_iter()
    .filter(|ok| *ok)
    .count()
}

const MESSAGES: [&str; 8] = [
    "event",
    "ack",
    "request",
    "answer",
    "gateway_beat",
    "worker_beat",
    "dead",
    "session",
];

fn frozen() -> Vec<Vec<u8>> {
    let bytes = |message| {
        golden::entries(message)
            .into_iter()
            .map(|entry| entry.bytes)
    };
    MESSAGES.into_iter().flat_map(bytes).collect()
}

/// A head that announces 2^40 items or bytes, or as many as can be announced at all.
fn bombs() -> Vec<Vec<u8>> {
    let head = |major: u8, n: u64| {
        let mut head = vec![major << 5 | 27];
        head.extend(n.to_be_bytes());
        head
    };
    (2..=5)
        .flat_map(|major| {
            [
                head(major, 1 << 40),
                head(major, u64::MAX),
                head(major, 1 << 20),
            ]
        })
        .collect()
}

#[test]
fn an_announced_length_costs_nothing() {
    let own = MESSAGES.into_iter().flat_map(golden::entries);
    for bytes in own
        .filter(|entry| entry.style == "own")
        .map(|entry| entry.bytes)
    {
        for at in 0..bytes.len() {
            for bomb in bombs() {
                let mut bytes = bytes[..at].to_vec();
                bytes.extend(bomb);
                bytes.extend([0; 3]);
                decode_as_everything(&bytes);
            }
        }
    }
}

#[test]
fn every_message_may_end_anywhere() {
    for bytes in frozen() {
        assert_ne!(
            decode_as_everything(&bytes),
            0,
            "{}",
            diagnostic::of_bytes(&bytes)
        );
        for end in 0..bytes.len() {
            assert_eq!(decode_as_everything(&bytes[..end]), 0);
        }
    }
}

#[test]
fn nothing_may_follow_a_message() {
    let mut bytes = wire::encode(&Request::query(wire::Query::Count));
    bytes.push(0);
    assert!(matches!(
        wire::decode::<Request>(&bytes),
        Err(DecodeError::Trailing(1))
    ));
}

#[test]
fn endless_nesting_is_an_error() {
    let open: [&[u8]; 9] = [
        b"\x81",
        b"\x9f",
        b"\xa1\x01",
        b"\xbf\x01",
        b"\xc1",
        b"\xd9\xd9\xf7",
        b"\x5f",
        b"\x7f",
        b"\xa1\x61x",
    ];
    for piece in open {
        for before in [
            &b""[..],
            b"\xa1\x61x",
            b"\xa1\x62do",
            b"\xa1\x67message",
            b"\xa1\x64acks",
        ] {
            let mut bytes = before.to_vec();
            bytes.extend(piece.repeat((MAX_ENVELOPE - before.len()) / piece.len()));
            assert_eq!(
                decode_as_everything(&bytes),
                0,
                "{before:02x?}, then {piece:02x?}"
            );
        }
    }
}

#[test]
fn an_unknown_field_nests_to_the_limit_and_no_deeper() {
    let nested = |levels: usize| {
        let mut bytes = b"\xa2\x63ask\x65count\x61x".to_vec();
        bytes.extend(b"\x81".repeat(levels));
        bytes.push(0);
        wire::decode::<Request>(&bytes)
    };
    // The message itself is the first level.
    assert!(nested(MAX_DEPTH - 1).is_ok());
    assert!(nested(MAX_DEPTH).is_err());
}

#[test]
fn an_error_does_not_repeat_what_the_message_said() {
    let mut bytes = b"\xa1\x62do\x79\x0f\xa0".to_vec();
    bytes.extend(b"secret".repeat(4000 / 6 + 1).split_at(4000).0);
    let error = wire::decode::<Request>(&bytes)
        .expect_err("no such command")
        .to_string();
    assert!(error.len() < 300, "{} bytes of {error}", error.len());
}

/// Everything that serde knows: an application's session type may be any of it.
#[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
struct Everything {
    unit: (),
    flag: bool,
    letter: char,
    small: i8,
    large: (u64, i64),
    huge: (u128, i128),
    floats: (f32, f64),
    text: String,
    bytes: Vec<u8>,
    some: Option<Box<Everything>>,
    nested: Option<Option<u8>>,
    newtype: Newtype,
    choices: Vec<Choice>,
    map: BTreeMap<i32, Choice>,
    free: Value,
}

#[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
struct Newtype(Unit);

#[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
struct Unit;

#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
enum Choice {
    Bare,
    One(u32),
    Two(String, bool),
    Fields { a: i16, b: Option<String> },
    Inner(Box<Choice>),
}

fn everything(some: Option<Everything>) -> Everything {
    let choices = vec![
        Choice::Bare,
        Choice::One(u32::MAX),
        Choice::Two("two".to_owned(), true),
        Choice::Fields {
            a: i16::MIN,
            b: None,
        },
        Choice::Inner(Box::new(Choice::Inner(Box::new(Choice::One(0))))),
    ];
    Everything {
        unit: (),
        flag: true,
        letter: '世',
        small: i8::MIN,
        large: (u64::MAX, i64::MIN),
        huge: (u128::MAX, i128::MIN),
        floats: (1.5, -0.1),
        text: "text".to_owned(),
        bytes: vec![0, 255],
        some: some.map(Box::new),
        nested: Some(Some(0)),
        newtype: Newtype(Unit),
        map: (-2..).zip(choices.clone()).collect(),
        choices,
        free: Value::Tag(
            1,
            Box::new(Value::Array(vec![
                Value::Tag(2, Box::new(Value::Bytes(vec![1; 20]))),
                Value::Float(f64::INFINITY),
                Value::Map(vec![(Value::Null, (-1).into())]),
            ])),
        ),
    }
}

#[test]
fn any_type_of_serde_can_be_read() {
    let value = everything(Some(everything(None)));
    let bytes = wire::encode(&value);
    assert_eq!(
        wire::decode::<Everything>(&bytes).expect("our own bytes"),
        value
    );
    let endless = Style {
        endless: true,
        ..Style::default()
    };
    let flags = wire::encode(&BTreeMap::from([(1, vec![true, false]), (2, vec![])]));
    let decoded: BTreeMap<u8, Vec<bool>> = wire::decode(&endless.rewrite(&flags)).expect("bytes");
    assert_eq!(
        decoded,
        BTreeMap::from([(1, vec![true, false]), (2, vec![])])
    );
}

#[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
struct Flat {
    own: u8,
    tagged: Tagged,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Tagged {
    Guest { name: String, bytes: Vec<u8> },
}

#[test]
fn flattened_and_tagged_types_can_be_read() {
    let value = Flat {
        own: 1,
        tagged: Tagged::Guest {
            name: "bob".to_owned(),
            bytes: vec![1, 2],
        },
        rest: BTreeMap::from([
            ("more".to_owned(), vec![3u8].into()),
            ("世".to_owned(), 2.into()),
        ]),
    };
    let bytes = wire::encode(&value);
    assert_eq!(wire::decode::<Flat>(&bytes).expect("our own bytes"), value);
}

#[test]
fn floats_of_every_width_are_read() {
    // RFC 8949, appendix A.
    let cases: [(&[u8], f64); 14] = [
        (b"\xf9\x00\x00", 0.0),
        (b"\xf9\x80\x00", -0.0),
        (b"\xf9\x3c\x00", 1.0),
        (b"\xf9\x3e\x00", 1.5),
        (b"\xf9\x7b\xff", 65504.0),
        (b"\xf9\x00\x01", 5.960_464_477_539_063e-8),
        (b"\xf9\x04\x00", 0.000_061_035_156_25),
        (b"\xf9\xc4\x00", -4.0),
        (b"\xf9\x7c\x00", f64::INFINITY),
        (b"\xf9\xfc\x00", f64::NEG_INFINITY),
        (b"\xfa\x47\xc3\x50\x00", 100_000.0),
        (b"\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a", 1.1),
        (b"\x0a", 10.0),
        (b"\x39\x03\xe7", -1000.0),
    ];
    for (bytes, number) in cases {
        let read: f64 = wire::decode(bytes).expect("a float");
        assert_eq!(read.to_bits(), number.to_bits(), "{bytes:02x?}");
    }
    assert!(
        wire::decode::<f64>(b"\xf9\x7e\x00")
            .expect("a float")
            .is_nan()
    );
}

#[test]
fn a_list_of_two_holds_two() {
    let pairs = |bytes: &[u8]| wire::decode::<Vec<(u8, u8)>>(bytes).is_ok();
    assert!(pairs(b"\x81\x82\x01\x02"));
    assert!(pairs(b"\x81\x9f\x01\x02\xff"));
    assert!(!pairs(b"\x81\x81\x01"));
    assert!(!pairs(b"\x81\x83\x01\x02\x03"));
    assert!(!pairs(b"\x81\x9f\x01\x02\x03\xff"));
    assert!(!pairs(b"\x82\x83\x01\x02\x82\x03\x04"));
}

#[test]
fn a_key_that_comes_twice_is_an_error() {
    let twice = b"\xa3\x63ask\x65count\x62to\x61a\x62to\x61b";
    assert!(wire::decode::<Request>(twice).is_err());
}

fn round_trips<T>(value: &T) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let own = wire::encode(value);
    prop_assert_eq!(&decode_fairly::<T>(&own).expect("our own bytes"), value);
    for (name, style) in STYLES {
        let bytes = style.rewrite(&own);
        match decode_fairly::<T>(&bytes) {
            Ok(decoded) => prop_assert_eq!(&decoded, value, "style {}", name),
            Err(error) => prop_assert!(false, "style {}: {}", name, error),
        }
    }
    Ok(())
}

/// Bytes that are nearly a message: a good one, spoilt at some places.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let spoilt = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    let good = prop::sample::select(frozen());
    (good, prop::collection::vec(spoilt, 1..6)).prop_map(|(mut bytes, places)| {
        for (at, byte, how) in places {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            match (how, at < bytes.len()) {
                (0, true) => bytes[at] = byte,
                (1, true) => drop(bytes.remove(at)),
                (2, true) => bytes[at] ^= 1 << (byte % 8),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_decode_to_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_as_everything(&bytes);
    }

    #[test]
    fn nearly_a_message_decodes_to_a_value_or_an_error(bytes in nearly()) {
        decode_as_everything(&bytes);
    }

    #[test]
    fn events_round_trip(value in strategies::event()) {
        round_trips(&value)?;
    }

    #[test]
    fn acks_round_trip(value in strategies::ack()) {
        round_trips(&value)?;
    }

    #[test]
    fn requests_round_trip(value in strategies::request()) {
        round_trips(&value)?;
    }

    #[test]
    fn answers_round_trip(value in strategies::answer()) {
        round_trips(&value)?;
    }

    #[test]
    fn gateway_beats_round_trip(value in strategies::gateway_beat()) {
        round_trips(&value)?;
    }

    #[test]
    fn worker_beats_round_trip(value in strategies::worker_beat()) {
        round_trips(&value)?;
    }

    #[test]
    fn dead_letters_round_trip(value in strategies::dead()) {
        round_trips(&value)?;
    }

    #[test]
    fn session_maps_round_trip(value in strategies::session_map()) {
        let bytes = wire::encode(&value);
        prop_assert_eq!(&wire::decode::<SessionMap>(&bytes).expect("our own bytes"), &value);
        let odd = Style { endless: true, pieces: true, wide: true, reversed: false, ..Style::default() };
        prop_assert_eq!(wire::decode::<SessionMap>(&odd.rewrite(&bytes)).expect("odd bytes"), value);
    }
}

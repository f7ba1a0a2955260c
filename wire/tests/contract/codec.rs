//! Whatever the bytes are, decoding ends with a value or an error, and costs memory by what came,
//! not by what was announced.

use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use wire::{
    AckMessage, Answer, Dead, DecodeError, EventBatch, EventBatchView, EventMessage,
    EventMessageWriter, GatewayBeat, Order, Payload, Request, WorkerBeat, codec::MAX_DEPTH,
    session::SessionMap,
};

use crate::{
    diagnostic,
    foreign::{STYLES, Style},
    golden,
    memory::asked,
    samples, strategies,
};

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
        decode_fairly::<EventMessage>(bytes).is_ok(),
        decode_fairly::<AckMessage>(bytes).is_ok(),
        decode_fairly::<Request>(bytes).is_ok(),
        decode_fairly::<Answer>(bytes).is_ok(),
        decode_fairly::<Order>(bytes).is_ok(),
        decode_fairly::<GatewayBeat>(bytes).is_ok(),
        decode_fairly::<WorkerBeat>(bytes).is_ok(),
        decode_fairly::<Dead>(bytes).is_ok(),
        decode_fairly::<SessionMap>(bytes).is_ok(),
    ]
    .into_iter()
    .filter(|ok| *ok)
    .count()
}

const MESSAGES: [&str; 10] = [
    "event",
    "event_message",
    "ack",
    "request",
    "answer",
    "order",
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
            bytes.extend(piece.repeat(1024 * 1024 / piece.len()));
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

fn borrowed(value: &EventBatch) -> EventBatchView<'_, &Vec<Payload>> {
    EventBatchView {
        client: value.client,
        seq: value.seq,
        attempt: value.attempt,
        ack_wait: value.ack_wait,
        remote: &value.remote,
        local: &value.local,
        uid: value.uid.as_deref(),
        session: &value.session,
        version: value.version,
        messages: (!value.messages.is_empty()).then_some(&value.messages),
        connect: value.connect,
        handshake: value.handshake.as_ref(),
        close: value.close.as_ref(),
    }
}

/// Proves that a message which gets no more batches is whole, and the one after it as well.
#[test]
fn a_batch_that_does_not_fit_leaves_the_message_as_it_was() {
    let samples = samples::event_messages();
    let (_, many) = samples.last().expect("some");
    let (first, second) = (borrowed(&many.batches[0]), borrowed(&many.batches[1]));
    let mut writer = EventMessageWriter::default();
    let alone = wire::encode(&first).len();
    assert!(!writer.push(&first, alone - 1) && writer.is_empty());
    assert!(writer.push(&first, alone), "no message around it");
    let message = writer.message().to_owned();
    assert!(!writer.push(&second, message.len() + alone - 1));
    assert_eq!(writer.message(), message);
    // of more than 23 batches the length takes one byte more
    assert!(writer.push(&second, message.len() + alone + 1));
    assert_eq!(writer.message().len(), message.len() + alone);
    while writer.batches() < wire::event::MAX_BATCHES {
        assert!(writer.push(&second, usize::MAX));
    }
    assert!(!writer.push(&second, usize::MAX));
    let full: wire::EventMessage = wire::decode(writer.message()).expect("a message");
    assert_eq!(full.batches.len(), wire::event::MAX_BATCHES);
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
    fn an_event_in_borrowed_parts_is_the_same_bytes(value in strategies::event()) {
        prop_assert_eq!(wire::encode(&borrowed(&value)), wire::encode(&value));
    }

    #[test]
    fn event_messages_round_trip(value in strategies::event_message()) {
        round_trips(&value)?;
    }

    #[test]
    fn a_message_that_is_written_batch_by_batch_is_the_same_bytes(
        messages in prop::collection::vec(strategies::event_message(), 1..3),
    ) {
        let mut writer = EventMessageWriter::default();
        for message in messages {
            for batch in &message.batches {
                prop_assert!(writer.push(&borrowed(batch), usize::MAX));
            }
            prop_assert_eq!(writer.message(), wire::encode(&message));
            if let [batch] = &*message.batches {
                prop_assert_eq!(writer.batch(), Some(&*wire::encode(batch)));
            }
            writer.clear(0);
        }
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
    fn orders_round_trip(value in strategies::order()) {
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

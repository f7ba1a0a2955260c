//! What all codecs have in common: however the bytes are cut, the messages are the same.

use std::ops::ControlFlow;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use tokio_tungstenite::tungstenite::protocol::frame::{
    Frame as WsFrame,
    coding::{Data, OpCode},
};

use super::{
    Broken, Codec, Payload, Received, frame::Frame, tcp::Tcp, text::Text, websocket::WebSocket,
};
use crate::intake::Intake;

pub(super) fn texts(texts: &[&str]) -> Vec<Payload> {
    let texts = texts.iter().map(|text| Payload::Text((*text).into()));
    texts.collect()
}

pub(super) fn binaries(binaries: &[&[u8]]) -> Vec<Payload> {
    let bytes = binaries.iter().map(|b| Bytes::copy_from_slice(b));
    bytes.map(Payload::Binary).collect()
}

/// The messages that a client sends in these pieces, up to its first mistake.
pub(super) fn decoded(
    codec: &dyn Codec,
    max_message: usize,
    pieces: &[&[u8]],
) -> Result<Vec<Payload>, Broken> {
    decoded_with_pauses(codec, max_message, pieces, usize::MAX)
}

/// The same with a pause after each so many messages, as for a client whose events wait.
fn decoded_with_pauses(
    codec: &dyn Codec,
    max_message: usize,
    pieces: &[&[u8]],
    run: usize,
) -> Result<Vec<Payload>, Broken> {
    let mut intake = Intake::default();
    let (mut messages, mut broken) = (Vec::new(), None);
    for piece in pieces {
        let mut piece = *piece;
        loop {
            let mut left = run;
            let outcome = intake.feed(piece, codec, max_message, |said| {
                match said {
                    Ok(Received::Message(payload)) => messages.push(payload),
                    Ok(Received::Ping(_)) => {}
                    Ok(Received::Goodbye { .. }) => return ControlFlow::Break(()),
                    Err(e) => {
                        broken = Some(e);
                        return ControlFlow::Break(());
                    }
                }
                left -= 1;
                if left == 0 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            if let Some(broken) = broken {
                return Err(broken);
            }
            if outcome.is_continue() {
                break;
            }
            assert!(intake.has_rest(), "it is known that there may be more");
            piece = &[];
        }
    }
    Ok(messages)
}

/// Cuts bytes at places that are given as parts of the whole.
fn cut<'a>(bytes: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = places.iter().map(|p| p.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for place in places {
        pieces.push(&bytes[from..place]);
        from = place;
    }
    pieces.push(&bytes[from..]);
    pieces
}

fn joined(payloads: &[Payload]) -> Vec<u8> {
    payloads
        .iter()
        .flat_map(|p| p.as_bytes().to_vec())
        .collect()
}

proptest! {
    #[test]
    fn lines_are_the_same_however_they_are_cut(
        lines in vec("[^\n\r]{0,40}", 0..20), cuts in vec(any::<prop::sample::Index>(), 0..12), run in 1_usize..5,
    ) {
        let payloads: Vec<_> = lines.iter().map(|l| Payload::Text(l.as_str().into())).collect();
        let bytes: Vec<u8> = payloads.iter().flat_map(|p| Text.message(p)).collect();
        prop_assert_eq!(decoded_with_pauses(&Text, 160, &cut(&bytes, &cuts), run), Ok(payloads));
    }

    #[test]
    fn frames_are_the_same_however_they_are_cut(
        frames in vec(vec(any::<u8>(), 0..40), 0..20), cuts in vec(any::<prop::sample::Index>(), 0..12), run in 1_usize..5,
    ) {
        let payloads: Vec<_> = frames.into_iter().map(|f| Payload::Binary(f.into())).collect();
        let bytes: Vec<u8> = payloads.iter().flat_map(|p| Frame.message(p)).collect();
        prop_assert_eq!(decoded_with_pauses(&Frame, 40, &cut(&bytes, &cuts), run), Ok(payloads));
    }

    #[test]
    fn websocket_messages_are_the_same_however_they_are_cut(
        messages in vec("\\PC{0,60}", 0..20), cuts in vec(any::<prop::sample::Index>(), 0..12), run in 1_usize..5,
    ) {
        let payloads: Vec<_> = messages.iter().map(|m| Payload::Text(m.as_str().into())).collect();
        let mut bytes = Vec::new();
        for message in messages {
            let mut frame = WsFrame::message(message, OpCode::Data(Data::Text), true);
            frame.header_mut().mask = Some([1, 2, 3, 4]);
            frame.format(&mut bytes).expect("memory");
        }
        prop_assert_eq!(decoded_with_pauses(&WebSocket, 240, &cut(&bytes, &cuts), run), Ok(payloads));
    }

    #[test]
    fn no_byte_of_a_stream_is_lost_wherever_it_is_cut(
        bytes in vec(any::<u8>(), 0..400), cuts in vec(any::<prop::sample::Index>(), 0..12), run in 1_usize..5,
    ) {
        let chunks = decoded_with_pauses(&Tcp, 16, &cut(&bytes, &cuts), run).expect("nothing is wrong");
        prop_assert!(chunks.iter().all(|chunk| (1..=16).contains(&chunk.len())));
        prop_assert_eq!(joined(&chunks), bytes);
    }

    #[test]
    fn nonsense_is_messages_or_a_broken_rule_and_never_a_panic(
        bytes in vec(any::<u8>(), 0..200), cuts in vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let codecs: [&dyn Codec; 4] = [&Text, &Frame, &Tcp, &WebSocket];
        for codec in codecs {
            let _ = decoded(codec, 16, &cut(&bytes, &cuts));
        }
    }
}

/// A codec that never finds a message.
struct Never;

impl Codec for Never {
    fn decoder(&self, _: usize) -> Box<dyn super::Decoder> {
        Box::new(Self)
    }

    fn message(&self, _: &Payload) -> Bytes {
        Bytes::new()
    }
}

impl super::Decoder for Never {
    fn decode(&mut self, _: &mut &[u8]) -> Result<Option<Received>, Broken> {
        Ok(None)
    }
}

#[test]
fn what_a_decoder_leaves_is_bounded_whatever_the_decoder() {
    let most = [b'x'; 8 + super::MOST_OVERHEAD];
    assert_eq!(decoded(&Never, 8, &[&most]), Ok(vec![]));
    assert_eq!(decoded(&Never, 8, &[&most, b"x"]), Err(Broken::TooBig));
}

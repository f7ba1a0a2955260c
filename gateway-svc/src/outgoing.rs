//! A message on its way to clients: encoded once for all receivers that speak the same protocol.

use bytes::Bytes;
use wire::Payload;

use crate::{codec::Codec, protocols::CodecId};

/// A message, and what has been made of it so far.
pub(crate) struct Outgoing<'a> {
    payload: &'a Payload,
    /// Nearly always all receivers speak the same; then no list is needed.
    first: Option<(CodecId, Bytes)>,
    others: Vec<(CodecId, Bytes)>,
}

impl<'a> Outgoing<'a> {
    pub(crate) const fn new(payload: &'a Payload) -> Self {
        Self {
            payload,
            first: None,
            others: Vec::new(),
        }
    }

    /// The message as it stands on the wire of a protocol.
    pub(crate) fn frame(&mut self, id: CodecId, codec: &dyn Codec) -> Bytes {
        match &self.first {
            Some((known, frame)) if *known == id => return frame.clone(),
            Some(_) => {}
            None => {
                let frame = codec.message(self.payload);
                self.first = Some((id, frame.clone()));
                return frame;
            }
        }
        if let Some((_, frame)) = self.others.iter().find(|(known, _)| *known == id) {
            return frame.clone();
        }
        let frame = codec.message(self.payload);
        self.others.push((id, frame.clone()));
        frame
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::codec::Decoder;

    /// Counts how often it is asked.
    struct Counting(&'static str, AtomicUsize);

    impl Codec for Counting {
        fn decoder(&self, _: usize) -> Box<dyn Decoder> {
            unreachable!("nobody speaks")
        }

        fn message(&self, payload: &Payload) -> Bytes {
            self.1.fetch_add(1, Relaxed);
            [self.0.as_bytes(), payload.as_bytes()].concat().into()
        }
    }

    #[test]
    fn a_message_is_encoded_once_for_each_protocol() {
        let codecs = ["a", "b", "c"].map(|name| Counting(name, AtomicUsize::new(0)));
        let payload = Payload::Text("x".into());
        let mut message = Outgoing::new(&payload);
        for id in [0, 1, 0, 2, 1, 2, 0] {
            let codec = &codecs[usize::from(id)];
            let frame = message.frame(CodecId(id), codec);
            assert_eq!(frame, format!("{}x", codec.0).as_bytes());
        }
        assert!(codecs.iter().all(|codec| codec.1.load(Relaxed) == 1));
    }
}

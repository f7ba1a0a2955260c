//! The intake: what a connection has read, on its way through the decoder.

use std::ops::ControlFlow;

use bytes::{Buf, BytesMut};

use crate::codec::{Broken, Codec, Decoder, MOST_OVERHEAD, Received};

/// The decoder of a connection, and the bytes that it has not taken yet.
#[derive(Default)]
pub(crate) struct Intake {
    /// Made when the client first speaks: many only listen.
    decoder: Option<Box<dyn Decoder>>,
    /// There, if empty, when the decoder was stopped and may have more to say.
    rest: Option<Box<BytesMut>>,
}

/// What the decoder has to say.
pub(crate) type Said = Result<Received, Broken>;

impl Intake {
    /// Begins with what was read beyond a handshake.
    pub(crate) fn new(beyond: BytesMut) -> Self {
        Self {
            decoder: None,
            rest: (!beyond.is_empty()).then(|| Box::new(beyond)),
        }
    }

    /// Whether something is to be decoded without new bytes, or is not complete.
    pub(crate) const fn has_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// Forgets everything: the client is not listened to any more.
    pub(crate) fn clear(&mut self) {
        self.rest = None;
    }

    /// Decodes what was kept, and then these bytes, until the decoder needs more or `take` breaks.
    /// Then it says so, and goes on there the next time. What is kept is at most one message and its
    /// overhead, and what one read brings.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        codec: &dyn Codec,
        max_message: usize,
        mut take: impl FnMut(Said) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let decoder = self
            .decoder
            .get_or_insert_with(|| codec.decoder(max_message));
        let mut kept = self.rest.take();
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(bytes);
        }
        let all = kept.as_deref().map_or(bytes, |kept| &kept[..]);
        let mut rest = all;
        let stopped = loop {
            match decoder.decode(&mut rest) {
                Ok(Some(received)) => {
                    if take(Ok(received)).is_break() {
                        break ControlFlow::Break(());
                    }
                }
                Ok(None) if rest.len() > max_message.saturating_add(MOST_OVERHEAD) => {
                    let _ = take(Err(Broken::TooBig));
                    break ControlFlow::Break(());
                }
                Ok(None) => break ControlFlow::Continue(()),
                Err(broken) => {
                    let _ = take(Err(broken));
                    break ControlFlow::Break(());
                }
            }
        };
        if rest.is_empty() && stopped.is_continue() {
            return stopped;
        }
        let taken = all.len() - rest.len();
        self.rest = Some(match kept {
            Some(mut kept) => {
                kept.advance(taken);
                kept
            }
            None => Box::new(BytesMut::from(rest)),
        });
        stopped
    }
}

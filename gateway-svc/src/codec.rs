//! Codecs: how bytes become messages, and messages bytes.
//!
//! A protocol is two things: a [`Codec`], of which the process has one, writes what goes out; a
//! [`Decoder`], of which each connection has one as soon as its client speaks, reads what comes in.
//! The gateway does everything else: sockets, TLS, limits, back-pressure, order.
//!
//! Write both, give them a name in [`Protocols`](crate::Protocols), [run](crate::program::run) them, and
//! `--listen name://…` speaks it.

mod frame;
mod tcp;
#[cfg(test)]
mod tests;
mod text;
mod websocket;

use bytes::Bytes;
use bytestring::ByteString;
pub use wire::Payload;

pub(crate) use self::{frame::Frame, tcp::Tcp, text::Text, websocket::WebSocket};
use wire::CloseCode;

/// How far the bytes of one message may exceed `max_message` before the message is complete: room
/// for a protocol's head and tail. A client that goes beyond is closed with 1009.
pub const MOST_OVERHEAD: usize = 1024;

/// A protocol, as it is spoken to clients.
///
/// One value serves all connections of all shards. What it returns is kept for all receivers of the
/// same message: it must depend on nothing but the arguments.
pub trait Codec: Send + Sync + 'static {
    /// A decoder for one connection, made when its client first speaks. Messages of more than
    /// `max_message` bytes are not to be taken; the decoder may refuse them before they are complete.
    fn decoder(&self, max_message: usize) -> Box<dyn Decoder>;

    /// A message as it stands on the wire.
    fn message(&self, payload: &Payload) -> Bytes;

    /// The protocol's own question whether the client is there, if it has one. Where it has none, a
    /// silent client is not asked before it is closed, unless `--ping-data` says with what message.
    fn ping(&self) -> Option<Bytes> {
        None
    }

    /// The last word before the connection ends, if the protocol has one. `reason` has at most 123
    /// bytes.
    fn close(&self, code: u16, reason: &str) -> Option<Bytes> {
        let _ = (code, reason);
        None
    }

    /// Whether clients say goodbye before they end the connection. Where they do, an end without it
    /// is reported to workers as a cut (1006); where they do not, the end is the goodbye (1005).
    fn has_goodbye(&self) -> bool {
        false
    }
}

/// What one client sends, as it is read.
pub trait Decoder {
    /// Takes the next thing from the front of `bytes`; `None`: more bytes are needed for it.
    ///
    /// What is left in `bytes` stands there again at the next call, with what has come meanwhile
    /// behind it, so a decoder need not keep bytes. A decoder that does keep some must go on with
    /// them also where `bytes` is empty, and must not keep more than a message.
    ///
    /// It is called until it returns `None` or an error, but with a pause whenever the client's
    /// events wait. After an error or a goodbye it is not called again.
    fn decode(&mut self, bytes: &mut &[u8]) -> Result<Option<Received>, Broken>;
}

/// What a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A message.
    Message(Payload),
    /// A question whether we are there, which no worker hears of, and our answer.
    Ping(Bytes),
    /// Its goodbye, and our answer if the protocol has one.
    Goodbye {
        /// Its code, as RFC 6455 has them; 1005 if it had none.
        code: u16,
        /// Its reason.
        reason: String,
        /// What it is answered.
        answer: Option<Bytes>,
    },
}

impl Received {
    /// A text message, if the bytes are UTF-8.
    pub fn text(bytes: Bytes) -> Result<Self, Broken> {
        match ByteString::try_from(bytes) {
            Ok(text) => Ok(Self::Message(Payload::Text(text))),
            Err(_) => Err(Broken::InvalidText),
        }
    }

    /// A binary message.
    #[must_use]
    pub const fn binary(bytes: Bytes) -> Self {
        Self::Message(Payload::Binary(bytes))
    }
}

/// The rule that a client broke: it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The bytes mean nothing; close code 1002.
    #[error("the client broke the protocol")]
    Protocol,
    /// Close code 1007.
    #[error("text is not UTF-8")]
    InvalidText,
    /// Close code 1009.
    #[error("the message is too big")]
    TooBig,
}

impl From<Broken> for CloseCode {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Protocol => Self::Protocol,
            Broken::InvalidText => Self::InvalidText,
            Broken::TooBig => Self::TooBig,
        }
    }
}

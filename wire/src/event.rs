//! Events: what a gateway tells the workers of a service.

use serde::{Deserialize, Serialize};

use crate::{ClientId, Group, Payload, Session, Uid, codec};

/// What happened. The subject of an event says it in its last token, or before
/// [`MANY`](crate::subject::MANY).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A client is there. That of a WebSocket client travels with its handshake.
    Connect,
    /// A WebSocket client shook hands: what it asked for is in [`EventBatch::handshake`].
    Websocket,
    /// A client said something: [`EventBatch::messages`].
    Message,
    /// A client is gone: [`EventBatch::close`].
    Close,
}

impl EventKind {
    /// Every kind, in the order in which a client goes through them.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Websocket, Self::Message, Self::Close];

    /// The token in the subject.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Websocket => "websocket",
            Self::Message => "message",
            Self::Close => "close",
        }
    }

    /// The kind that a subject's last token names.
    #[must_use]
    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.token() == token)
    }
}

/// Several batches of one kind, for one worker.
///
/// They are of different clients of one gateway, and each is handled and acknowledged by itself.
/// Only workers that say that they take such messages get them: see
/// [`AckMessage::many`](crate::AckMessage::many).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventMessage {
    /// At least one.
    #[serde(deserialize_with = "codec::bounded")]
    pub batches: Vec<EventBatch>,
}

/// Most batches that a gateway puts into one message.
pub const MAX_BATCHES: usize = 32;

/// Writes an [`EventMessage`] batch by batch, into memory that serves the next one too.
#[derive(Debug, Clone, Default)]
pub struct EventMessageWriter {
    /// Room for the head, then the batches; or nothing.
    bytes: Vec<u8>,
    batches: u8,
}

/// The head of a message up to the list's length: a map of one, and its key.
const HEAD: &[u8] = b"\xa1\x67batches";
/// Room for the head with a length of up to two bytes.
const HEAD_ROOM: usize = HEAD.len() + 2;

const _: () = assert!(
    MAX_BATCHES <= u8::MAX as usize,
    "the head has room for them"
);

impl EventMessageWriter {
    /// How many batches are in it.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.batches.into()
    }

    /// Whether no batch is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.batches == 0
    }

    /// Adds a batch at the end. If there were then more than [`MAX_BATCHES`], or the message had more
    /// than `most` bytes, all is as it was, and the answer false. The first may have `most` bytes by
    /// itself, since it may travel without a message around it.
    pub fn push<M: Serialize>(&mut self, batch: &EventBatchView<'_, M>, most: usize) -> bool {
        if self.batches() == MAX_BATCHES {
            return false;
        }
        if self.bytes.is_empty() {
            self.bytes.resize(HEAD_ROOM, 0);
        }
        let head = if self.is_empty() { HEAD_ROOM } else { 0 };
        let before = self.bytes.len();
        codec::encode_into(batch, &mut self.bytes);
        if self.bytes.len() - head > most {
            self.bytes.truncate(before);
            return false;
        }
        self.batches += 1;
        true
    }

    /// The batch, if there is only one: what travels without an event message around it.
    #[must_use]
    pub fn batch(&self) -> Option<&[u8]> {
        (self.batches == 1).then(|| &self.bytes[HEAD_ROOM..])
    }

    /// The message. It has at least one batch.
    pub fn message(&mut self) -> &[u8] {
        debug_assert!(!self.is_empty(), "a message of no batch");
        // lists of up to 23 have their length in the first byte
        let head = if self.batches < 24 {
            self.bytes[HEAD_ROOM - 1] = 0x80 | self.batches;
            1
        } else {
            self.bytes[HEAD_ROOM - 2..HEAD_ROOM].copy_from_slice(&[0x98, self.batches]);
            0
        };
        self.bytes[head..][..HEAD.len()].copy_from_slice(HEAD);
        &self.bytes[head..]
    }

    /// Begins the next message. Memory that grew beyond `keep` bytes is given back.
    pub fn clear(&mut self, keep: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(keep);
        self.batches = 0;
    }
}

/// A run of events of one kind and one client, in the order in which they happened.
///
/// The exception is a WebSocket client's coming: `connect` and `websocket` happen at once and
/// travel together, as [`EventBatch::connect`] says.
///
/// A client has at most one batch in flight, so the next comes only after this one's ack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventBatch {
    /// Whose events these are.
    pub client: ClientId,
    /// Counts this client's batches, from 1.
    pub seq: u64,
    /// Counts the deliveries of this batch, from 1; above 1 it may have been handled before.
    pub attempt: u32,
    /// How long the gateway waits for an ack, in milliseconds; a worker that takes longer says
    /// `progress` every third of it. Absent where it is [`ACK_WAIT`].
    #[serde(default = "ack_wait", skip_serializing_if = "is_ack_wait")]
    pub ack_wait: u32,
    /// The client's address, `ip:port`; behind a trusted proxy the one that the proxy reported.
    pub remote: String,
    /// The address of the listener that took the client, `ip:port`.
    pub local: String,
    /// The uid that is bound to the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// The client's session; absent where it is empty.
    #[serde(default, skip_serializing_if = "Session::is_empty")]
    pub session: Session,
    /// Counts the session's changes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u64,
    /// Of `message`: the messages, at least one.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "codec::bounded"
    )]
    pub messages: Vec<Payload>,
    /// Of `websocket`: the batch holds two events, the client's `connect` and then its handshake.
    #[serde(default, skip_serializing_if = "is_false")]
    pub connect: bool,
    /// Of `websocket`: what the client asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Handshake>,
    /// Of `close`: how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close: Option<CloseEvent>,
}

/// How long a gateway waits for an ack unless it says otherwise, in milliseconds.
pub const ACK_WAIT: u32 = 10_000;

const fn ack_wait() -> u32 {
    ACK_WAIT
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_ack_wait(ms: &u32) -> bool {
    *ms == ACK_WAIT
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(yes: &bool) -> bool {
    !*yes
}

impl EventBatch {
    /// How many events this batch stands for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len().max(1) + usize::from(self.connect)
    }

    /// Never: a batch stands for at least one event.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }
}

/// An [`EventBatch`] in borrowed parts: the same bytes, and nothing is copied to make it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct EventBatchView<'a, M> {
    /// Whose events these are.
    pub client: ClientId,
    /// Counts this client's batches, from 1.
    pub seq: u64,
    /// Counts the deliveries of this batch, from 1.
    pub attempt: u32,
    /// How long the gateway waits for an ack, in milliseconds.
    #[serde(skip_serializing_if = "is_ack_wait")]
    pub ack_wait: u32,
    /// The client's address.
    pub remote: &'a str,
    /// The address of the listener that took the client.
    pub local: &'a str,
    /// The uid that is bound to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<&'a str>,
    /// The client's session.
    #[serde(skip_serializing_if = "Session::is_empty")]
    pub session: &'a Session,
    /// Counts the session's changes.
    #[serde(skip_serializing_if = "is_zero")]
    pub version: u64,
    /// Of `message`: whatever is written as the list of the messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<M>,
    /// Of `websocket`: the client's `connect` comes first.
    #[serde(skip_serializing_if = "is_false")]
    pub connect: bool,
    /// Of `websocket`: what the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<&'a Handshake>,
    /// Of `close`: how it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<&'a CloseEvent>,
}

/// The request with which a WebSocket client came. Names of headers are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handshake {
    /// The path, as the client wrote it.
    pub path: String,
    /// The query's pairs, percent-decoded, in the client's order.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "codec::bounded"
    )]
    pub query: Vec<(String, String)>,
    /// The headers, cookies apart.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "codec::bounded"
    )]
    pub headers: Vec<(String, String)>,
    /// The cookies' names and values.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "codec::bounded"
    )]
    pub cookies: Vec<(String, String)>,
}

/// How a connection ended, and what was the client's until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseEvent {
    /// Who ended it.
    pub by: ClosedBy,
    /// The close code, as in RFC 6455; 1006 where the connection was cut without one.
    pub code: u16,
    /// The close reason, or a word on what went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The groups that the client was in.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "codec::bounded"
    )]
    pub groups: Vec<Group>,
}

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedBy {
    /// The client, with or without a goodbye.
    Client,
    /// The gateway: a limit, the heartbeat, a drain.
    Gateway,
    /// A `close` or `destroy` command.
    Command,
}

//! Clients: how they come, what they say, how they go.

use std::{
    ops::ControlFlow,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use tracing::debug;
use wire::{CloseCode, CloseEvent, ClosedBy, ConnId, EventKind, Handshake, Session, Uid};

use super::{Shard, since};
use crate::{
    config::SlowClient,
    connection::{Connection, Input, Reading},
    dispatch::{Dispatch, Event, MOST_EVENTS},
    outgoing::Outgoing,
    process::Seat,
    protocols::CodecId,
    stream::Stream,
    topics::Slot,
};

/// A client: from its first event until its last is acknowledged.
pub(super) struct Client {
    /// Which listener took it, and what is spoken there.
    pub(super) listener: u16,
    pub(super) codec: CodecId,
    /// When it came, in seconds since the shard started.
    pub(super) born: u32,
    pub(super) remote: Box<str>,
    pub(super) session: Session,
    pub(super) version: u64,
    pub(super) dispatch: Dispatch,
    /// The socket; gone when it is closed, while events may still wait.
    pub(super) connection: Option<Box<Connection>>,
    /// It is in the hub's uids and groups, and may be sent to.
    pub(super) open: bool,
    /// The uid that it had when it ended.
    pub(super) last_uid: Option<Uid>,
    /// Taken until the last event is done, so that clients who wait for that are bounded too.
    _seat: Seat,
}

/// A visitor that becomes a client.
pub(super) struct Newcomer {
    pub(super) listener: u16,
    pub(super) codec: CodecId,
    pub(super) stream: Stream,
    /// What was read beyond the handshake.
    pub(super) beyond: BytesMut,
    pub(super) remote: String,
    /// Of a protocol that has one.
    pub(super) handshake: Option<Handshake>,
    pub(super) seat: Seat,
}

/// Why a connection ends, for the worker and for the metrics.
pub(super) struct End {
    pub(super) by: ClosedBy,
    pub(super) code: u16,
    pub(super) reason: String,
    pub(super) label: &'static str,
}

impl From<CloseCode> for End {
    fn from(code: CloseCode) -> Self {
        Self {
            by: ClosedBy::Gateway,
            code: code.code(),
            reason: code.reason().to_owned(),
            label: code.label(),
        }
    }
}

impl Shard {
    /// Takes in a new client; its first events are on their way.
    pub(super) fn insert(&mut self, newcomer: Newcomer) -> (Slot, ConnId) {
        let now = self.now();
        let (slot, conn) = self.hub.insert();
        let client = Client {
            listener: newcomer.listener,
            codec: newcomer.codec,
            born: u32::try_from(now / 1000).unwrap_or(u32::MAX),
            remote: newcomer.remote.into(),
            session: Session::default(),
            version: 0,
            dispatch: Dispatch::default(),
            connection: Some(Box::new(Connection::new(
                newcomer.stream,
                newcomer.beyond,
                now,
            ))),
            open: true,
            last_uid: None,
            _seat: newcomer.seat,
        };
        let index = slot as usize;
        if index >= self.clients.len() {
            self.clients.resize_with(index + 1, || None);
        }
        self.clients[index] = Some(Box::new(client));
        self.open += 1;
        let service = self.metrics.service(newcomer.listener);
        service.opened.inc();
        service.connections.inc();
        self.count();
        let handshake = newcomer.handshake.map(|h| Event::Websocket(Box::new(h)));
        self.push_events(
            slot,
            [Some(Event::Connect), handshake].into_iter().flatten(),
        );
        if self.draining {
            self.let_go(slot, CloseCode::Restart.label());
        }
        (slot, conn)
    }

    /// A connection's turn. Ready: its task may end.
    pub(super) fn poll_connection(
        &mut self,
        slot: Slot,
        conn: ConnId,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if self.hub.find(conn) != Some(slot) {
            return Poll::Ready(());
        }
        let now = self.now();
        let Some(client) = &mut self.clients[slot as usize] else {
            return Poll::Ready(());
        };
        let Client {
            connection: Some(connection),
            dispatch,
            open,
            codec,
            listener,
            ..
        } = &mut **client
        else {
            return Poll::Ready(());
        };
        let (mut ending, mut heard) = (None, false);
        let (metrics, most) = (&self.metrics, self.max_message);
        let service = metrics.service(*listener);
        let reading = Reading {
            scratch: &mut self.scratch,
            codec: self.protocols.codec(*codec),
            max_message: most,
            mailbox: self.limits.mailbox,
        };
        let polled = connection.poll(cx, reading, now, |input| {
            match input {
                Input::Life => {
                    heard = true;
                    return ControlFlow::Continue(());
                }
                Input::Message(payload) if payload.len() > most => {
                    ending = Some(Input::Broken(CloseCode::TooBig));
                    return ControlFlow::Break(());
                }
                Input::Message(payload) => {
                    metrics.received.inc();
                    metrics.received_bytes.inc_by(payload.len() as u64);
                    if *open {
                        service.event(EventKind::Message);
                        dispatch.push(Event::Message(payload));
                    }
                }
                last => {
                    ending = Some(last);
                    return ControlFlow::Break(());
                }
            }
            if dispatch.is_full() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        if heard {
            connection.heard = now;
            connection.pinged = 0;
        }
        if dispatch.is_full() && !connection.paused && *open {
            connection.paused = true;
            self.metrics.paused.inc();
        }
        if dispatch.begin(self.most_batch) {
            self.ready.push_back(slot);
        }
        if connection.has_mail() {
            self.mark_dirty(slot);
        }
        if let Some(input) = ending {
            self.ended_by_client(slot, input);
        } else if polled.is_ready() {
            self.lost(slot);
        }
        self.wake_driver();
        let client = self.clients[slot as usize].as_ref();
        if client.is_none_or(|client| client.connection.is_none()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn ended_by_client(&mut self, slot: Slot, input: Input) {
        match input {
            Input::Life | Input::Message(_) => {}
            Input::Goodbye { code, reason } => {
                let end = End {
                    by: ClosedBy::Client,
                    code,
                    reason,
                    label: "client",
                };
                self.end(slot, end);
                self.part(slot);
            }
            Input::Broken(code) => self.close(slot, code.into(), None),
            Input::Slow => self.close(slot, CloseCode::SlowClient.into(), None),
            Input::End => self.fell_silent(slot),
            Input::Cut => self.lost(slot),
        }
    }

    /// Adds events of a client, and makes them a batch if none is in flight.
    fn push_events(&mut self, slot: Slot, events: impl IntoIterator<Item = Event>) {
        let Some(client) = &mut self.clients[slot as usize] else {
            return;
        };
        let service = self.metrics.service(client.listener);
        for event in events {
            service.event(event.kind());
            client.dispatch.push(event);
        }
        self.begin(slot);
    }

    /// Makes the next batch of a client, if none is in flight.
    pub(super) fn begin(&mut self, slot: Slot) {
        let Some(client) = &mut self.clients[slot as usize] else {
            return;
        };
        if client.dispatch.begin(self.most_batch) {
            self.ready.push_back(slot);
            self.wake_driver();
        }
    }

    /// Room was made in a client's queue: its socket may be read again.
    pub(super) fn unpause(&mut self, slot: Slot) {
        let Some(client) = &mut self.clients[slot as usize] else {
            return;
        };
        if let Some(connection) = &mut client.connection
            && connection.paused
            && !client.dispatch.is_full()
        {
            connection.paused = false;
            connection.wake();
        }
    }

    /// Puts a message into a client's mailbox; a client that does not read is dealt with.
    /// True: it will be written.
    pub(super) fn deliver(&mut self, slot: Slot, message: &mut Outgoing<'_>) -> bool {
        let Some(client) = &self.clients[slot as usize] else {
            return false;
        };
        let frame = message.frame(client.codec, self.protocols.codec(client.codec));
        self.deliver_frame(slot, frame)
    }

    /// The same for what is a frame of the client's protocol already.
    fn deliver_frame(&mut self, slot: Slot, frame: Bytes) -> bool {
        let Some(client) = &mut self.clients[slot as usize] else {
            return false;
        };
        let Some(connection) = client.connection.as_deref_mut().filter(|c| c.is_open()) else {
            return false;
        };
        let (limit, bytes) = (self.limits.mailbox, frame.len() as u64);
        // a mailbox is full only if the client does not read: it may just not have had its turn
        if !connection.has_room(frame.len(), limit) {
            connection.flush(&mut self.scratch, since(self.start));
        }
        let fits = match self.limits.slow_client {
            SlowClient::DropOldest => {
                let dropped = connection.push_dropping_oldest(frame, limit);
                self.metrics.dropped.inc_by(dropped as u64);
                true
            }
            _ => connection.push(frame, limit).is_ok(),
        };
        if fits {
            if !connection.dirty {
                connection.dirty = true;
                self.dirty.push_back(slot);
            }
            self.metrics.sent.inc();
            self.metrics.sent_bytes.inc_by(bytes);
            return true;
        }
        self.metrics.dropped.inc();
        if self.limits.slow_client == SlowClient::Close {
            debug!(client = %self.client_id(slot), "the client reads too slowly");
            self.close(slot, CloseCode::SlowClient.into(), None);
        }
        false
    }

    /// Asks a client in its protocol's own way whether it is there, if there is such a way.
    pub(super) fn ping(&mut self, slot: Slot) {
        if let Some(client) = &self.clients[slot as usize]
            && let Some(frame) = self.protocols.codec(client.codec).ping()
        {
            self.deliver_frame(slot, frame);
        }
    }

    /// Lets the next sweep look at a client's mailbox.
    pub(super) fn mark_dirty(&mut self, slot: Slot) {
        if let Some(client) = &mut self.clients[slot as usize]
            && let Some(connection) = &mut client.connection
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push_back(slot);
        }
    }

    /// Closes a connection: what is pending, then the last message, then the protocol's goodbye.
    /// To a client that does not read, only the goodbye.
    pub(super) fn close(&mut self, slot: Slot, end: End, message: Option<&mut Outgoing<'_>>) {
        let Some(client) = &self.clients[slot as usize] else {
            return;
        };
        if !client.open {
            return;
        }
        let drop_pending = end.code == CloseCode::SlowClient.code() && end.by == ClosedBy::Gateway;
        let codec = self.protocols.codec(client.codec);
        let message = message.map(|message| message.frame(client.codec, codec));
        let goodbye = codec.close(end.code, &end.reason);
        self.end(slot, end);
        self.finish(slot, [message, goodbye], drop_pending);
    }

    /// Closes a connection that another gateway may take over, and says when to come back.
    pub(super) fn let_go(&mut self, slot: Slot, label: &'static str) {
        let end = End {
            reason: self.advice.to_string(),
            label,
            ..CloseCode::Restart.into()
        };
        self.close(slot, end, None);
    }

    /// Drops a connection at once, with what is pending.
    pub(super) fn destroy(&mut self, slot: Slot) {
        let end = End {
            by: ClosedBy::Command,
            code: 1006,
            reason: "destroyed".into(),
            label: "destroyed",
        };
        self.drop_connection(slot, end);
    }

    /// The client has ended the connection, and said nothing of it: in some protocols that is how
    /// one says goodbye.
    fn fell_silent(&mut self, slot: Slot) {
        let now = self.now();
        let Some(client) = &mut self.clients[slot as usize] else {
            return;
        };
        if let Some(connection) = &mut client.connection {
            connection.bow(&mut self.scratch, now);
        }
        if self.protocols.codec(client.codec).has_goodbye() {
            return self.lost(slot);
        }
        let end = End {
            by: ClosedBy::Client,
            code: 1005,
            reason: String::new(),
            label: "client",
        };
        self.drop_connection(slot, end);
    }

    /// The socket is gone.
    pub(super) fn lost(&mut self, slot: Slot) {
        let end = End {
            by: ClosedBy::Client,
            code: 1006,
            reason: "connection lost".into(),
            label: "cut",
        };
        self.drop_connection(slot, end);
    }

    fn drop_connection(&mut self, slot: Slot, end: End) {
        self.end(slot, end);
        if let Some(client) = &mut self.clients[slot as usize]
            && let Some(mut connection) = client.connection.take()
        {
            connection.wake();
        }
        self.reap(slot);
    }

    /// Both have said goodbye, the answer to the client's being in the mailbox: nothing is left to
    /// wait for once that is written.
    fn part(&mut self, slot: Slot) {
        let now = self.now();
        let Some(client) = &mut self.clients[slot as usize] else {
            return;
        };
        let Some(connection) = &mut client.connection else {
            return;
        };
        if connection.part(&mut self.scratch, now) {
            client.connection = None;
            self.reap(slot);
        } else {
            self.finish(slot, [None, None], false);
        }
    }

    /// The last words, after which the socket waits for the client to end it.
    fn finish(&mut self, slot: Slot, last: [Option<Bytes>; 2], drop_pending: bool) {
        let now = self.now();
        let Some(client) = &mut self.clients[slot as usize] else {
            return;
        };
        let Some(connection) = &mut client.connection else {
            return;
        };
        connection.paused = false;
        connection.close(last.into_iter().flatten(), drop_pending, now);
        self.mark_dirty(slot);
        self.wake_driver();
    }

    /// The client is nobody's any more: out of the hub, and its last event is on its way.
    fn end(&mut self, slot: Slot, end: End) {
        let now = self.now();
        let groups = self.hub.groups_of(slot);
        let uid = self.hub.uid(slot);
        let Some(client) = &mut self.clients[slot as usize] else {
            return;
        };
        if !std::mem::replace(&mut client.open, false) {
            return;
        }
        client.last_uid = uid;
        self.open -= 1;
        self.metrics.closed(end.label);
        self.metrics.service(client.listener).connections.dec();
        self.hub.leave_all(slot, now);
        self.count();
        let End {
            by, code, reason, ..
        } = end;
        let close = Event::Close(Box::new(CloseEvent {
            by,
            code,
            reason,
            groups,
        }));
        self.push_events(slot, [close]);
    }

    /// Forgets a client whose socket is gone and whose last event is done.
    pub(super) fn reap(&mut self, slot: Slot) {
        let Some(client) = &self.clients[slot as usize] else {
            return;
        };
        if client.open || client.connection.is_some() || !client.dispatch.is_empty() {
            return;
        }
        self.clients[slot as usize] = None;
        self.hub.remove(slot);
        self.count();
        if self.hub.len() == 0 {
            self.emptied.notify_waiters();
        }
    }

    /// Tells the beat and the metrics how many there are.
    pub(super) fn count(&self) {
        let status = self.process.shard(self.number);
        let (uids, groups) = self.hub.counts();
        status.clients.store(self.open, Relaxed);
        status.uids.store(uids, Relaxed);
        status.groups.store(groups, Relaxed);
        self.metrics.closing.set(self.hub.len() as u64 - self.open);
        self.metrics.uids.set(uids);
        self.metrics.groups.set(groups);
    }
}

/// A paused client's queue is bounded by this plus what one read brings.
const _: () = assert!(MOST_EVENTS >= 2, "the first two events come at once");

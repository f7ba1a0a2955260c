//! The harness: plays the clients.

use std::{borrow::Borrow, sync::Arc};

use wire::{
    ClientId, CloseEvent, ClosedBy, ConnId, EventBatch, EventKind, GatewayId, Payload, Session,
};

use super::{Hub, Received};
use crate::{
    Close, Events, Gateway, Handshake, Message,
    desk::{self, Desk, Report},
    link::Link,
    session::Codec,
};

/// The address that every client of a harness comes from.
pub(crate) const REMOTE: &str = "192.0.2.1:50000";
const LOCAL: &str = "192.0.2.2:7272";

/// How an event was handled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handled {
    /// The handler returned `Ok`.
    Done,
    /// The handler returned an error, or panicked; what it said.
    Failed(String),
    /// The handler asked for the event again; see [`Harness::again`].
    Retry,
}

/// Drives an [`Events`] implementation without a server. See [the module](super).
///
/// Methods that take a client's id take it by value (it is `Copy`) or by reference.
pub struct Harness<E: Events> {
    desk: Desk<E>,
    hub: Arc<Hub>,
    started: bool,
    clients: u32,
    /// The last event that was to come again.
    again: Option<(EventKind, EventBatch)>,
}

impl<E: Events> Harness<E> {
    /// A worker with these hooks, and a gateway with no clients. `on_worker_start` runs before the
    /// first event.
    ///
    /// # Panics
    /// If the session type is neither a map with text keys, nor a struct, nor `()`.
    #[must_use]
    pub fn new(events: E) -> Self {
        let hub = Arc::new(Hub::new());
        let gateway = Gateway::over(Link::memory(hub.clone()));
        let desk = Desk::new(events, gateway, Arc::default())
            .unwrap_or_else(|error| panic!("these hooks cannot be run: {error}"));
        Self {
            desk,
            hub,
            started: false,
            clients: 0,
            again: None,
        }
    }

    /// Runs `on_worker_start`, if it did not run yet.
    ///
    /// # Panics
    /// If it fails.
    pub async fn start(&mut self) {
        if !std::mem::replace(&mut self.started, true) {
            let run = self.desk.events.on_worker_start(&self.desk.gateway);
            if let Err(says) = desk::hook(run).await {
                panic!("on_worker_start failed: {says}");
            }
        }
    }

    /// A WebSocket client comes: `on_connect`, then `on_websocket_connect` with path `/`.
    ///
    /// # Panics
    /// If a handler fails or asks for a retry.
    pub async fn connect(&mut self) -> ClientId {
        self.connect_with(Handshake::default()).await
    }

    /// A WebSocket client comes with this handshake.
    ///
    /// # Panics
    /// If a handler fails or asks for a retry.
    pub async fn connect_with(&mut self, handshake: Handshake) -> ClientId {
        let id = self.seat();
        let mut batch = self.batch(id);
        batch.connect = true;
        batch.handshake = Some(handshake.into());
        fine(self.event(EventKind::Websocket, batch).await);
        id
    }

    /// A client comes that shakes no hands, as over plain TCP: `on_connect` only.
    ///
    /// # Panics
    /// If the handler fails or asks for a retry.
    pub async fn connect_plain(&mut self) -> ClientId {
        let id = self.seat();
        let batch = self.batch(id);
        fine(self.event(EventKind::Connect, batch).await);
        id
    }

    /// The client says something.
    ///
    /// # Panics
    /// If the client is gone, or if the handler fails or asks for a retry; see
    /// [`try_message`](Self::try_message).
    pub async fn message(&mut self, id: impl Borrow<ClientId>, message: impl Into<Message>) {
        fine(self.try_message(id, message).await);
    }

    /// The client says something; tells how the handler took it.
    ///
    /// # Panics
    /// If the client is gone.
    pub async fn try_message(
        &mut self,
        id: impl Borrow<ClientId>,
        message: impl Into<Message>,
    ) -> Handled {
        let mut batch = self.batch(*id.borrow());
        batch.messages = vec![message.into().0];
        self.event(EventKind::Message, batch).await
    }

    /// The client says several things at once, which come in one batch: each is handled, one after
    /// the other, and one ack brings all their commands.
    ///
    /// # Panics
    /// If the client is gone, or if a handler fails or asks for a retry.
    pub async fn messages<M: Into<Message>>(
        &mut self,
        id: impl Borrow<ClientId>,
        messages: impl IntoIterator<Item = M>,
    ) {
        let messages: Vec<Payload> = messages.into_iter().map(|m| m.into().0).collect();
        if !messages.is_empty() {
            let mut batch = self.batch(*id.borrow());
            batch.messages = messages;
            fine(self.event(EventKind::Message, batch).await);
        }
    }

    /// The event whose handler asked for it comes again, with the next `attempt`. As it would be
    /// after an ack that says retry: only that event and those after it.
    ///
    /// # Panics
    /// If no handler asked for a retry.
    pub async fn again(&mut self) -> Handled {
        let Some((kind, mut batch)) = self.again.take() else {
            panic!("no handler asked for its event again");
        };
        batch.attempt += 1;
        self.hub.seat(batch.client, |seat| {
            batch.session = seat.session.clone();
            batch.uid = seat.uid.clone();
        });
        self.event(kind, batch).await
    }

    /// The client goes away (code 1000): `on_close`.
    ///
    /// # Panics
    /// If the client is gone already, or if the handler fails or asks for a retry.
    pub async fn disconnect(&mut self, id: impl Borrow<ClientId>) {
        let id = *id.borrow();
        assert!(self.is_connected(id), "client {id} is gone already");
        self.hub.seat(id, |seat| {
            seat.closing = Some(CloseEvent {
                by: ClosedBy::Client,
                code: 1000,
                reason: String::new(),
                groups: seat.groups.iter().cloned().collect(),
            });
        });
        self.settle().await;
    }

    /// A gateway vanishes: `on_gateway_lost`.
    ///
    /// # Panics
    /// If the hook fails.
    pub async fn lose_gateway(&mut self, gateway: GatewayId) {
        self.start().await;
        let run = self.desk.events.on_gateway_lost(gateway);
        if let Err(says) = desk::hook(run).await {
            panic!("on_gateway_lost failed: {says}");
        }
        self.settle().await;
    }

    /// The worker stops: `on_worker_stop`.
    ///
    /// # Panics
    /// If the hook fails.
    pub async fn stop(&mut self) {
        self.start().await;
        let run = self.desk.events.on_worker_stop(&self.desk.gateway);
        if let Err(says) = desk::hook(run).await {
            panic!("on_worker_stop failed: {says}");
        }
    }

    /// Runs `on_close` of clients that were closed by a command. Every event does so at its end;
    /// needed only after commands of the test itself, through [`gateway`](Self::gateway).
    ///
    /// # Panics
    /// If a handler fails or asks for a retry.
    pub async fn settle(&mut self) {
        while let Some(id) = self.next_closing() {
            let mut batch = self.batch(id);
            batch.close = self.hub.seat(id, |seat| seat.closing.take());
            self.hub.seat(id, |seat| {
                seat.gone = true;
                seat.uid = None;
                seat.groups.clear();
            });
            self.start().await;
            fine(outcome(
                self.desk.handle(EventKind::Close, &mut batch).await,
            ));
        }
    }

    /// What reached the client since this was last asked, in order.
    pub fn received(&mut self, id: impl Borrow<ClientId>) -> Vec<Received> {
        self.hub
            .seat(*id.borrow(), |seat| std::mem::take(&mut seat.received))
    }

    /// Whether the client is still there.
    #[must_use]
    pub fn is_connected(&self, id: impl Borrow<ClientId>) -> bool {
        let id = *id.borrow();
        self.hub
            .seats(|seats| seats.get(&id.conn).is_some_and(super::hub::Seat::is_there))
    }

    /// How the client was closed, if a `close` command did it.
    #[must_use]
    pub fn closed(&self, id: impl Borrow<ClientId>) -> Option<Close> {
        self.hub.seat(*id.borrow(), |seat| seat.closed.clone())
    }

    /// The uid that is bound to the client.
    #[must_use]
    pub fn uid(&self, id: impl Borrow<ClientId>) -> Option<String> {
        self.hub.seat(*id.borrow(), |seat| {
            seat.uid.as_ref().map(ToString::to_string)
        })
    }

    /// The groups that the client is in, in alphabetical order.
    #[must_use]
    pub fn groups(&self, id: impl Borrow<ClientId>) -> Vec<String> {
        self.hub.seat(*id.borrow(), |seat| {
            seat.groups.iter().map(ToString::to_string).collect()
        })
    }

    /// The client's session, as the gateway keeps it.
    ///
    /// # Panics
    /// If it does not fit the session type.
    #[must_use]
    pub fn session(&self, id: impl Borrow<ClientId>) -> E::Session {
        let session: Session = self.hub.seat(*id.borrow(), |seat| seat.session.clone());
        Codec::new()
            .and_then(|codec| codec.decode(&session))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The handle that a back end would have. What it issues is applied at once.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.desk.gateway
    }

    /// The hooks.
    #[must_use]
    pub fn events(&self) -> &E {
        &self.desk.events
    }

    async fn event(&mut self, kind: EventKind, mut batch: EventBatch) -> Handled {
        self.start().await;
        let sent = batch.clone();
        let handled = outcome(self.desk.handle(kind, &mut batch).await);
        if handled == Handled::Retry {
            let done = self.hub.seat(sent.client, |seat| {
                seat.acked.as_ref().map_or(0, |ack| ack.handled)
            });
            let mut rest = sent;
            let connected = rest.connect && done > 0;
            rest.connect &= !connected;
            let messages = (done as usize).min(rest.messages.len());
            rest.messages.drain(..messages);
            self.again = Some((kind, rest));
        }
        self.settle().await;
        handled
    }

    fn seat(&mut self) -> ClientId {
        self.clients += 1;
        let id = ClientId {
            gateway: self.hub.gateway,
            conn: ConnId(self.clients),
        };
        self.hub.seat(id, |_| ());
        id
    }

    fn batch(&self, client: ClientId) -> EventBatch {
        self.hub.seat(client, |seat| {
            assert!(!seat.gone, "client {client} is gone");
            seat.seq += 1;
            EventBatch {
                client,
                seq: seat.seq,
                attempt: 1,
                ack_wait: wire::event::ACK_WAIT,
                remote: REMOTE.to_owned(),
                local: LOCAL.to_owned(),
                uid: seat.uid.clone(),
                session: seat.session.clone(),
                version: seat.version,
                messages: Vec::new(),
                connect: false,
                handshake: None,
                close: None,
            }
        })
    }

    fn next_closing(&self) -> Option<ClientId> {
        self.hub.seats(|seats| {
            let (conn, _) = seats.iter().find(|(_, seat)| seat.closing.is_some())?;
            Some(ClientId {
                gateway: self.hub.gateway,
                conn: *conn,
            })
        })
    }
}

fn outcome(report: Report) -> Handled {
    match (report.retry, report.failures.into_iter().next()) {
        (true, _) => Handled::Retry,
        (false, Some(says)) => Handled::Failed(says),
        (false, None) => Handled::Done,
    }
}

fn fine(handled: Handled) {
    match handled {
        Handled::Done => {}
        Handled::Failed(says) => panic!("a handler failed: {says}"),
        Handled::Retry => panic!("a handler asked for its event again"),
    }
}

//! A shard: one core's share of the gateway, which shares nothing with the others.
//!
//! A thread, a single-threaded runtime, and one [`Shard`] that all its tasks borrow in turn:
//!
//! - a task per connection reads its socket and hands in what came ([`Shard::poll_connection`]);
//! - the driver ([`Shard::poll_drive`]) takes everything that NATS has, in order, publishes the
//!   batches that are ready, and then *sweeps*: writes each mailbox that got something, in one go.
//!
//! A task that leaves something to publish or to write wakes the driver, which so runs after all
//! connections that were ready, or, while it is [`gathering`], after the next look at all sockets.

mod admit;
mod apply;
mod client;
mod contest;
mod drain;
mod events;
mod gathering;
mod inbox;
mod load;
mod publish;
mod query;
mod serve;
mod tick;

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    net::TcpListener,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::Notify,
};
use wire::{Advice, ClientId, GatewayId, Subjects};

use self::{
    client::Client, events::Service, gathering::Gathering, inbox::Sids, publish::Filling,
    tick::Ticker,
};
use crate::{
    Protocols,
    config::{Config, Heartbeat, Limits},
    dispatch::{MOST_BYTES, Millis},
    hub::Hub,
    link::{Dialer, Link, LinkEvent},
    listen::Listen,
    metrics::ShardMetrics,
    process::Process,
    topics::Slot,
};

/// How much is read from a socket at once, into one buffer that all connections share.
const SCRATCH: usize = 64 * 1024;
/// Messages from NATS that are taken before connections get their turn.
const MOST_MESSAGES: usize = 1024;
/// Mailboxes that are written before everybody else gets a turn: a broadcast to many clients must
/// hold up neither the others nor what comes behind it.
const MOST_WRITES: usize = 128;

/// About how many bytes a batch of one short message is.
const ABOUT_A_BATCH: usize = 256;

/// A bound listener of one shard.
pub(crate) struct Listener {
    pub(crate) listen: Listen,
    pub(crate) socket: TcpListener,
}

/// The shard, as its tasks hold it. Borrowed for one poll, never over an await.
pub(crate) type Handle = Rc<RefCell<Shard>>;

/// What a shard is made of.
pub(crate) struct ShardParts {
    pub(crate) number: u16,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) config: Arc<Config>,
    pub(crate) process: Arc<Process>,
    pub(crate) metrics: ShardMetrics,
    pub(crate) dialer: Dialer,
    pub(crate) drain: Arc<Notify>,
}

/// Clients, hub and link of one core.
pub(crate) struct Shard {
    number: u16,
    gateway: GatewayId,
    subjects: Subjects,
    /// `<p>.ack.<gateway>.`, of this length, and connections: where the last batches are acknowledged.
    ack_subject: String,
    ack_prefix: usize,
    filling: Filling,
    limits: Limits,
    heartbeat: Option<Heartbeat>,
    /// What a message, and a batch of them, may have so that they fit the NATS server's limit.
    max_message: usize,
    most_batch: usize,
    start: Instant,
    process: Arc<Process>,
    metrics: ShardMetrics,
    hub: Hub,
    clients: Vec<Option<Box<Client>>>,
    /// Clients whose connection is open.
    open: u64,
    protocols: Protocols,
    /// One for each listener, in the listeners' order.
    services: Vec<Service>,
    locals: Vec<String>,
    link: Link,
    sids: Sids,
    /// Clients with a batch that waits for room on the link, in order.
    ready: VecDeque<Slot>,
    /// Clients whose mailbox has to be written, in order.
    dirty: VecDeque<Slot>,
    /// What is read at once, and frames that are joined for a write.
    scratch: Box<[u8]>,
    gathering: Gathering,
    driver: Option<Waker>,
    ticker: Ticker,
    draining: bool,
    /// When clients that are let go should come back.
    advice: Advice,
    /// Told when the last client is gone.
    emptied: Rc<Notify>,
}

impl Shard {
    fn new(parts: ShardParts, locals: Vec<String>) -> Self {
        let gateway = parts.process.shard(parts.number).gateway;
        let subjects = Subjects::new(parts.config.prefix.clone());
        let services = parts
            .listeners
            .iter()
            .map(|l| &l.listen.url)
            .map(|url| Service::new(url.service.clone(), url.routing, &subjects))
            .collect();
        let ack_subject = format!("{}.", subjects.acks(gateway));
        let limits = parts.config.limits.clone();
        let heartbeat = parts.config.heartbeat.clone();
        Self {
            number: parts.number,
            gateway,
            ack_prefix: ack_subject.len(),
            ack_subject,
            filling: Filling::default(),
            ticker: Ticker::new(&limits, heartbeat.as_ref()),
            sids: Sids::default(),
            max_message: limits.max_message,
            most_batch: MOST_BYTES,
            limits,
            heartbeat,
            start: Instant::now(),
            process: parts.process,
            metrics: parts.metrics,
            hub: Hub::default(),
            clients: Vec::new(),
            open: 0,
            protocols: parts.config.protocols.clone(),
            services,
            locals,
            link: Link::new(parts.dialer),
            ready: VecDeque::new(),
            dirty: VecDeque::new(),
            scratch: vec![0; SCRATCH].into(),
            gathering: Gathering::default(),
            driver: None,
            draining: false,
            advice: parts.config.drain.advice,
            emptied: Rc::new(Notify::new()),
            subjects,
        }
    }

    fn now(&self) -> Millis {
        since(self.start)
    }

    fn client_id(&self, slot: Slot) -> ClientId {
        ClientId {
            gateway: self.gateway,
            conn: self.hub.conn(slot),
        }
    }

    /// Gives the driver a turn, after the tasks that are ready now.
    fn wake_driver(&mut self) {
        if let Some(waker) = self.driver.take() {
            waker.wake();
        }
    }

    /// The driver's turn.
    fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // what is woken from here on runs in this very turn
        self.driver = None;
        for taken in 0.. {
            if taken == MOST_MESSAGES {
                cx.waker().wake_by_ref();
                break;
            }
            match self.link.poll_event(cx) {
                Poll::Ready(event) => self.link_event(event),
                Poll::Pending => break,
            }
        }
        self.poll_ticks(cx);
        self.sweep();
        let waits = self.gathering.goes_on(self.outgoing(), Instant::now());
        if !waits {
            self.write_out(cx);
        }
        if self.dirty.is_empty() && !waits {
            self.driver = Some(cx.waker().clone());
        } else {
            // Its next turn comes when the runtime has looked at all sockets again: what NATS has
            // got meanwhile goes into the mailboxes that are still to be written.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
        Poll::Pending
    }

    /// About how many bytes wait to be written to NATS.
    fn outgoing(&self) -> usize {
        let ready = if self.link.is_ready() && self.link.has_room() {
            self.waiting() * ABOUT_A_BATCH
        } else {
            0
        };
        self.link.unwritten() + ready
    }

    /// Publishes what is ready, and writes to NATS.
    fn write_out(&mut self, cx: &mut Context<'_>) {
        loop {
            self.publish_ready();
            if let Some(event) = self.link.poll_write(cx) {
                self.link_event(event);
                // a link that dials has to be asked again
                cx.waker().wake_by_ref();
            } else if self.waiting() == 0 || !self.link.is_ready() || !self.link.has_room() {
                return;
            }
        }
    }

    fn link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Message(message) => self.receive(&message),
            LinkEvent::Up => {
                self.fit_messages();
                self.subscribe_all();
                self.link.flush();
            }
            LinkEvent::Ready => {
                self.metrics.link_up.set(1);
                self.process.set_ready(self.number, true);
                self.relink();
            }
            LinkEvent::Down => {
                self.metrics.reconnects.inc();
                self.metrics.link_up.set(0);
                self.process.set_ready(self.number, false);
            }
        }
    }

    /// An event must fit the server's limit together with a full session and its envelope.
    fn fit_messages(&mut self) {
        const ENVELOPE: usize = wire::session::MAX_SESSION + 8 * 1024;
        let max_payload = self.link.max_payload().unwrap_or_default();
        let fits = max_payload
            .min(wire::codec::MAX_ENVELOPE)
            .saturating_sub(ENVELOPE)
            .max(1);
        self.max_message = self.limits.max_message.min(fits);
        self.most_batch = MOST_BYTES.min(fits);
        if fits < self.limits.max_message {
            tracing::warn!(
                max_payload,
                max_message = self.limits.max_message,
                fits,
                "the NATS server's max_payload is too small for max_message; larger messages are closed with 1009"
            );
        }
    }

    /// Writes the mailboxes that got something, in one go each. What is more than one turn's share
    /// is left for the next.
    fn sweep(&mut self) {
        if self.dirty.is_empty() {
            return;
        }
        let now = self.now();
        for _ in 0..MOST_WRITES {
            let Some(slot) = self.dirty.pop_front() else {
                return;
            };
            if let Some(client) = &mut self.clients[slot as usize]
                && let Some(connection) = &mut client.connection
            {
                connection.dirty = false;
                connection.flush(&mut self.scratch, now);
            }
        }
    }
}

fn since(start: Instant) -> Millis {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Runs a shard on this thread until it has drained.
pub(crate) fn run(parts: ShardParts) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(serve::run(parts))
}

//! The link: a shard's one connection to NATS.
//!
//! Everything comes in through one ordered stream, whatever its subject, and goes out in the order
//! in which it was put in. Subscriptions are numbers that the shard gives and understands, so one
//! costs nothing here. When the connection is lost the link dials again, with back-off and jitter;
//! the shard then subscribes and sends anew, and the link says [`LinkEvent::Ready`] only after a
//! round trip behind all that.
//!
//! What was written before a loss may or may not have arrived. The shard knows what needs an ack.

mod dial;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use bytestring::ByteString;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{debug, error, info, warn};
use watermelon_net::StreamingConnection;
use watermelon_proto::{
    MessageBase, ServerMessage, Subject, headers::HeaderMap, proto::ClientOp, proto::ServerOp,
};

use self::dial::Socket;
pub(crate) use self::dial::{Dialer, Established, client_config};

/// How often a quiet link asks whether the server is there. The server's own default is minutes,
/// and until a dead peer is noticed its messages vanish without a word.
const PING_EVERY: Duration = Duration::from_secs(5);
/// After so many unanswered pings the connection is given up.
const PING_MISSES: u32 = 2;
/// Above this nothing more is put in before the server has taken some.
const MOST_UNWRITTEN: usize = 4 * 1024 * 1024;

/// What happens to a link.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// There is a connection: subscribe now. `max_payload` is the server's.
    Up { max_payload: usize },
    /// The server has heard everything since [`LinkEvent::Up`].
    Ready,
    /// A message, in order.
    Message(Box<ServerMessage>),
    /// The connection is lost.
    Down,
}

enum Phase {
    Dialing(Pin<Box<dyn Future<Output = Established>>>),
    Up(Box<Up>),
}

struct Up {
    conn: StreamingConnection<Socket>,
    ready: bool,
    /// PONGs that were asked for; the first is the round trip behind the subscriptions.
    pongs_due: u32,
    unwritten: usize,
    server: String,
}

/// The connection and its life.
pub(crate) struct Link {
    dialer: Arc<Dialer>,
    phase: Phase,
    ping: Interval,
}

impl Link {
    /// Starts to dial.
    pub(crate) fn new(dialer: Dialer) -> Self {
        let dialer = Arc::new(dialer);
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            phase: Phase::Dialing(Box::pin(dialer.clone().dial())),
            dialer,
            ping,
        }
    }

    /// Whether events may be published: connected, subscribed, and a round trip ago.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(&self.phase, Phase::Up(up) if up.ready)
    }

    /// Whether the server keeps up with what is put in.
    pub(crate) fn has_room(&self) -> bool {
        matches!(&self.phase, Phase::Up(up) if up.unwritten < MOST_UNWRITTEN)
    }

    /// Whether everything has been written.
    pub(crate) fn is_flushed(&self) -> bool {
        matches!(&self.phase, Phase::Up(up) if !up.conn.may_write() && up.pongs_due == 0)
    }

    /// Asks for a round trip; [`Self::is_flushed`] tells when it is over.
    pub(crate) fn flush(&mut self) {
        if let Phase::Up(up) = &mut self.phase {
            up.pongs_due += 1;
            up.conn.enqueue_write_op(&ClientOp::Ping);
        }
    }

    /// Puts a message in. Lost if there is no connection.
    pub(crate) fn publish(
        &mut self,
        subject: ByteString,
        reply: Option<ByteString>,
        payload: Bytes,
    ) {
        let Phase::Up(up) = &mut self.phase else {
            return;
        };
        up.unwritten += subject.len() + reply.as_ref().map_or(0, |r| r.len()) + payload.len() + 16;
        up.conn.enqueue_write_op(&ClientOp::Publish {
            message: MessageBase {
                subject: Subject::from_dangerous_value(subject),
                reply_subject: reply.map(Subject::from_dangerous_value),
                headers: HeaderMap::new(),
                payload,
            },
        });
    }

    /// Subscribes under a number of the shard's choice.
    pub(crate) fn subscribe(&mut self, sid: u64, subject: String) {
        let Phase::Up(up) = &mut self.phase else {
            return;
        };
        up.conn.enqueue_write_op(&ClientOp::Subscribe {
            id: sid.into(),
            subject: Subject::from_dangerous_value(subject.into()),
            queue_group: None,
        });
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&mut self, sid: u64) {
        let Phase::Up(up) = &mut self.phase else {
            return;
        };
        up.conn.enqueue_write_op(&ClientOp::Unsubscribe {
            id: sid.into(),
            max_messages: None,
        });
    }

    /// The subscriptions are in: asks for the round trip that makes the link ready.
    pub(crate) fn subscribed(&mut self) {
        self.flush();
    }

    /// What happens next.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        loop {
            match &mut self.phase {
                Phase::Dialing(dialing) => {
                    let Poll::Ready(established) = dialing.as_mut().poll(cx) else {
                        return Poll::Pending;
                    };
                    let Established {
                        conn,
                        max_payload,
                        server,
                    } = established;
                    info!(%server, "connected to NATS");
                    self.ping.reset();
                    self.phase = Phase::Up(Box::new(Up {
                        conn,
                        ready: false,
                        pongs_due: 0,
                        unwritten: 0,
                        server,
                    }));
                    return Poll::Ready(LinkEvent::Up { max_payload });
                }
                Phase::Up(up) => match up.conn.poll_read_next(cx) {
                    Poll::Pending => {
                        if self.ping.poll_tick(cx).is_pending() {
                            return Poll::Pending;
                        }
                        if up.pongs_due > PING_MISSES {
                            return Poll::Ready(self.lost("it does not answer"));
                        }
                        self.flush();
                    }
                    Poll::Ready(Ok(op)) => {
                        if let Some(event) = up.handle(op) {
                            return Poll::Ready(event);
                        }
                    }
                    Poll::Ready(Err(e)) => return Poll::Ready(self.lost(&error_text(&e))),
                },
            }
        }
    }

    /// Writes what was put in, as far as the server takes it.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Option<LinkEvent> {
        loop {
            let Phase::Up(up) = &mut self.phase else {
                return None;
            };
            if !up.conn.may_write() {
                up.unwritten = 0;
                // plain TCP has nothing to flush, and TLS flushes what it can
                return match up.conn.may_flush().then(|| up.conn.poll_flush(cx)) {
                    Some(Poll::Ready(Err(e))) => Some(self.lost(&e.to_string())),
                    _ => None,
                };
            }
            match up.conn.poll_write_next(cx) {
                Poll::Pending => return None,
                Poll::Ready(Ok(n)) => up.unwritten = up.unwritten.saturating_sub(n),
                Poll::Ready(Err(e)) => return Some(self.lost(&e.to_string())),
            }
        }
    }

    fn lost(&mut self, why: &str) -> LinkEvent {
        if let Phase::Up(up) = &self.phase {
            warn!(server = %up.server, why, "lost the connection to NATS");
        }
        self.phase = Phase::Dialing(Box::pin(self.dialer.clone().dial()));
        LinkEvent::Down
    }
}

impl Up {
    fn handle(&mut self, op: ServerOp) -> Option<LinkEvent> {
        match op {
            ServerOp::Message { message } => Some(LinkEvent::Message(Box::new(message))),
            ServerOp::Ping => {
                self.conn.enqueue_write_op(&ClientOp::Pong);
                None
            }
            ServerOp::Pong => {
                self.pongs_due = self.pongs_due.saturating_sub(1);
                (!std::mem::replace(&mut self.ready, true)).then_some(LinkEvent::Ready)
            }
            ServerOp::Info { .. } | ServerOp::Success => None,
            ServerOp::Error { error } => {
                match error.is_fatal() {
                    Some(true) => {
                        debug!(%error, "the NATS server is about to close the connection");
                    }
                    _ => error!(%error, server = %self.server, "the NATS server refused something"),
                }
                None
            }
        }
    }
}

/// An error with what caused it, on one line.
fn error_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

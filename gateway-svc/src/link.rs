//! The link: a shard's one connection to NATS.
//!
//! Everything comes in through one ordered stream, whatever its subject, and goes out in the order
//! in which it was put in. Subscriptions are numbers that the shard gives and understands, so one
//! costs nothing here. When the connection is lost the link dials again, with back-off and jitter;
//! the shard then subscribes and sends anew, and the link says [`LinkEvent::Ready`] only after a
//! round trip behind all that.
//!
//! A server that says that it is about to stop (lame duck mode) is left before it does: the link
//! dials another while it goes on, has it subscribed too, and moves when both have heard all; see
//! [`handover`]. To the shard that is no loss: nothing is sent anew.
//!
//! What was written before a loss may or may not have arrived. The shard knows what needs an ack.

mod dial;
mod handover;
mod proto;
mod socket;
mod twins;
mod up;
mod wire;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use ::wire::subject::event;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tracing::{debug, error, info, warn};

pub(crate) use self::{
    dial::{Dialer, Talk},
    proto::Message,
    socket::Socket,
};
use self::{
    dial::{Established, Trouble},
    handover::{Move, Side},
    proto::ServerOp,
    twins::Twins,
    up::Up,
};

/// How often a quiet link asks whether the server is there. The server's own default is minutes,
/// and until a dead peer is noticed its messages vanish without a word.
const PING_EVERY: Duration = Duration::from_secs(5);
/// After so many unanswered pings the connection is given up.
const PING_MISSES: u32 = 2;
/// Above this no more events are put in before the server has taken some.
const MOST_UNWRITTEN: usize = 4 * 1024 * 1024;
/// Above this nothing at all is put in: a server that takes nothing must not cost our memory.
const MOST_WAITING: usize = 16 * 1024 * 1024;
/// A server that is about to stop is left within this, at a random time: not by everybody at once.
/// It gives its clients ten seconds, unless it is told otherwise.
const MOVE_WITHIN: Duration = Duration::from_secs(1);
/// A connection that dies younger than this makes the next one wait.
const YOUNG: Duration = Duration::from_secs(5);

/// What happens to a link.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// There is a connection, the first one or another to move to: subscribe to everything now,
    /// then [`Link::flush`].
    Up,
    /// The server has heard everything since [`LinkEvent::Up`]. Not said of one that is moved to.
    Ready,
    /// A message, in order.
    Message(Message),
    /// The connection is lost.
    Down,
}

/// Why a message was not put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// There is no connection.
    Down,
    /// Larger than the server takes: it would close the connection.
    TooLarge,
    /// The server takes nothing, and enough waits already.
    Full,
}

type Dialing = Pin<Box<dyn Future<Output = Established>>>;

enum Phase {
    Dialing(Dialing),
    Up(Box<Up>),
}

/// The connection and its life.
pub(crate) struct Link {
    dialer: Arc<Dialer>,
    phase: Phase,
    ping: Interval,
    /// Since when there is no connection that may be used, while there is none.
    away: Instant,
    /// Connections in a row that died young.
    young: u32,
    /// Complaints that were not told, since one was.
    untold: u64,
    told: Option<Instant>,
}

impl Link {
    /// Starts to dial.
    pub(crate) fn new(dialer: Dialer) -> Self {
        let dialer = Arc::new(dialer);
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let phase = Phase::Dialing(Box::pin(dialer.clone().dial(Duration::ZERO)));
        Self {
            dialer,
            phase,
            ping,
            away: Instant::now(),
            young: 0,
            untold: 0,
            told: None,
        }
    }

    /// Whether there is a connection, be it ready or not.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_))
    }

    /// Whether events may be published: connected, subscribed, and a round trip ago.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(&self.phase, Phase::Up(up) if up.ready)
    }

    /// For how long NATS has been away, if it is; from the start, if it never was there.
    pub(crate) fn away_for(&self) -> Option<Duration> {
        (!self.is_ready()).then(|| self.away.elapsed())
    }

    /// Whether the server keeps up with what is put in.
    pub(crate) fn has_room(&self) -> bool {
        self.is_up() && self.unwritten() < MOST_UNWRITTEN
    }

    /// How many bytes were put in and are not written yet.
    pub(crate) fn unwritten(&self) -> usize {
        match &self.phase {
            Phase::Up(up) => up.out().wire.writer.bytes().len(),
            Phase::Dialing(_) => 0,
        }
    }

    /// Whether everything has been written, and the server has heard it.
    pub(crate) fn is_flushed(&self) -> bool {
        matches!(&self.phase, Phase::Up(up)
            if up.conn.is_flushed() && up.handover().is_none_or(|h| h.next.is_flushed()))
    }

    /// The server's limit for a payload, if there is a connection.
    pub(crate) fn max_payload(&self) -> Option<usize> {
        match &self.phase {
            Phase::Up(up) => {
                let next = up.handover().map_or(usize::MAX, |h| h.next.max_payload);
                Some(up.conn.max_payload.min(next))
            }
            Phase::Dialing(_) => None,
        }
    }

    /// Whether the server takes event messages, as far as is known.
    pub(crate) fn takes_many(&self) -> bool {
        matches!(&self.phase, Phase::Up(up) if !up.out().refuses_many)
    }

    /// Asks for a round trip; [`Self::is_flushed`] tells when it is over.
    pub(crate) fn flush(&mut self) {
        if let Phase::Up(up) = &mut self.phase {
            up.flush();
        }
    }

    /// Puts a message in.
    pub(crate) fn publish(
        &mut self,
        subject: impl AsRef<[u8]>,
        reply: Option<&[u8]>,
        payload: &[u8],
    ) -> Result<(), Unsent> {
        let Phase::Up(up) = &mut self.phase else {
            return Err(Unsent::Down);
        };
        let out = up.out_mut();
        if payload.len() > out.max_payload {
            return Err(Unsent::TooLarge);
        }
        if out.wire.writer.bytes().len() > MOST_WAITING {
            return Err(Unsent::Full);
        }
        out.wire.writer.publish(subject.as_ref(), reply, payload);
        Ok(())
    }

    /// Subscribes under a number of the shard's choice.
    pub(crate) fn subscribe(&mut self, sid: u64, subject: &str) {
        if let Phase::Up(up) = &mut self.phase {
            up.subscribe(sid, subject);
        }
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&mut self, sid: u64) {
        if let Phase::Up(up) = &mut self.phase {
            up.unsubscribe(sid);
        }
    }

    /// What happens next.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        loop {
            match &mut self.phase {
                Phase::Dialing(dialing) => {
                    let Poll::Ready(conn) = dialing.as_mut().poll(cx) else {
                        return Poll::Pending;
                    };
                    if self.young == 0 {
                        info!(server = %conn.server, "connected to NATS");
                        self.dialer.talk.reset();
                    }
                    self.ping.reset();
                    self.phase = Phase::Up(Box::new(Up {
                        conn,
                        ready: false,
                        since: Instant::now(),
                        moving: None,
                        twins: Twins::default(),
                        complaint: None,
                    }));
                    return Poll::Ready(LinkEvent::Up);
                }
                Phase::Up(up) => {
                    if let Some(message) = up.held() {
                        return Poll::Ready(LinkEvent::Message(message));
                    }
                    let (side, op) = match up.poll_next(cx) {
                        Poll::Ready(said) => said,
                        Poll::Pending => {
                            if let Poll::Ready(event) = up.poll_move(cx) {
                                return Poll::Ready(event);
                            }
                            if self.ping.poll_tick(cx).is_pending() {
                                return Poll::Pending;
                            }
                            if let Some(event) = self.tick() {
                                return Poll::Ready(event);
                            }
                            continue;
                        }
                    };
                    let event = match op {
                        Ok(ServerOp::Error(says)) => self
                            .complained(side, says)
                            .and_then(|why| self.failed(side, &why)),
                        Ok(ServerOp::LameDuck) => {
                            self.move_on(side);
                            None
                        }
                        Ok(op) => self.handle(side, op),
                        Err(e) => self.failed(side, &e.to_string()),
                    };
                    if let Some(event) = event {
                        return Poll::Ready(event);
                    }
                }
            }
        }
    }

    /// Writes what was put in, as far as the server takes it.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Option<LinkEvent> {
        let Phase::Up(up) = &mut self.phase else {
            return None;
        };
        if let Poll::Ready(Err(e)) = up.conn.wire.poll_write(cx) {
            return Some(self.lost(&e.to_string()));
        }
        let next = &mut up.handover_mut()?.next;
        if let Poll::Ready(Err(e)) = next.wire.poll_write(cx) {
            // where it dials again it has to be asked again
            cx.waker().wake_by_ref();
            return self.failed(Side::Next, &e.to_string());
        }
        None
    }

    /// The server complains. `Some`: without that this link is of no use.
    fn complained(&mut self, side: Side, says: String) -> Option<String> {
        let Phase::Up(up) = &mut self.phase else {
            return None;
        };
        let subscription = says.strip_prefix("Permissions Violation for Subscription to ");
        match subscription {
            // discovery by `nats micro` is a comfort that an allow-list may leave out
            Some(subject) if subject.starts_with("\"$SRV.") => {
                debug!(says, "the NATS server refuses a subscription");
                return None;
            }
            Some(_) => return Some(says),
            None => {}
        }
        let publication = says.strip_prefix("Permissions Violation for Publish to ");
        let subject = publication.map(|subject| subject.trim_matches('"'));
        if let Some((_, true)) = subject.and_then(event)
            && !std::mem::replace(&mut up.side_mut(side).refuses_many, true)
        {
            error!(
                says,
                "the NATS server refuses messages of several batches, so each batch travels alone; \
                 let the gateway's user publish to <prefix>.event.*.> and <prefix>.worker.*.>"
            );
        }
        self.untold += 1;
        if self
            .told
            .is_none_or(|at| at.elapsed() >= Duration::from_secs(1))
        {
            error!(says, server = %up.conn.server, times = self.untold, "the NATS server complains");
            self.told = Some(Instant::now());
            self.untold = 0;
        }
        up.complaint = Some(says);
        None
    }

    /// Asks whether the servers are there.
    fn tick(&mut self) -> Option<LinkEvent> {
        let Phase::Up(up) = &mut self.phase else {
            return None;
        };
        if up.since.elapsed() >= YOUNG {
            self.young = 0;
        }
        let misses = up.handover().map_or(0, |h| h.next.pongs_due);
        let side = if up.conn.pongs_due > PING_MISSES {
            Some(Side::Old)
        } else {
            (misses > PING_MISSES).then_some(Side::Next)
        };
        self.flush();
        side.and_then(|side| self.failed(side, "it does not answer"))
    }

    /// A server is about to stop: goes to another.
    fn move_on(&mut self, side: Side) {
        let Phase::Up(up) = &mut self.phase else {
            return;
        };
        if let (Side::Next, Some(handover)) = (side, up.handover_mut()) {
            // that one has to be left again
            handover.lame = true;
        } else if up.moving.is_none() {
            info!(server = %up.conn.server, "the NATS server is about to stop; moving to another");
            let dialing = self.dialer.clone().dial(MOVE_WITHIN);
            up.moving = Some(Move::Dialing(Box::pin(dialing)));
        }
    }

    fn handle(&mut self, side: Side, op: ServerOp) -> Option<LinkEvent> {
        let Phase::Up(up) = &mut self.phase else {
            return None;
        };
        match (op, side) {
            (ServerOp::Message(message), _) => up.sort(side, message).map(LinkEvent::Message),
            (ServerOp::Ping, _) => {
                up.side_mut(side).wire.writer.pong();
                None
            }
            (ServerOp::Pong, Side::Next) => {
                up.next_answers();
                None
            }
            (ServerOp::Pong, Side::Old) => {
                up.conn.pong();
                let first = !std::mem::replace(&mut up.ready, true);
                if up.leave() {
                    self.move_on(Side::Old);
                }
                first.then_some(LinkEvent::Ready)
            }
            (ServerOp::Error(_) | ServerOp::LameDuck | ServerOp::Other, _) => None,
        }
    }

    /// A connection is of no use any more. One that was to be moved to is replaced, unless what was
    /// put in has gone there already.
    fn failed(&mut self, side: Side, why: &str) -> Option<LinkEvent> {
        let Phase::Up(up) = &mut self.phase else {
            return None;
        };
        let next = up.handover().filter(|_| side == Side::Next);
        let Some(next) = next else {
            return Some(self.lost(why));
        };
        warn!(server = %next.next.server, why, "lost the connection to the next NATS server");
        if next.is_leaving() {
            up.moving = None;
            return Some(self.lost(why));
        }
        up.twins = Twins::default();
        let dialing = self.dialer.clone().dial(MOVE_WITHIN);
        up.moving = Some(Move::Dialing(Box::pin(dialing)));
        None
    }

    fn lost(&mut self, why: &str) -> LinkEvent {
        if let Phase::Up(up) = &self.phase {
            if up.since.elapsed() >= YOUNG {
                self.young = 0;
            }
            if up.ready {
                self.away = Instant::now();
            }
            let why = up.complaint.as_deref().unwrap_or(why);
            if self.young == 0 || self.dialer.talk.may_speak(Trouble::Away) {
                warn!(server = %up.conn.server, why, "lost the connection to NATS");
            }
            self.young = self.young.saturating_add(1);
        }
        let moving = match &mut self.phase {
            Phase::Up(up) => up.moving.take(),
            Phase::Dialing(_) => None,
        };
        let pause = dial::pause_after(self.young.saturating_sub(1));
        self.phase = Phase::Dialing(match moving {
            Some(Move::Handover(h)) => Box::pin(std::future::ready(h.next)),
            Some(Move::Dialing(dialing)) => dialing,
            None => Box::pin(self.dialer.clone().dial(pause)),
        });
        LinkEvent::Down
    }
}

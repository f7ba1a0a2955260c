//! The link: a shard's one connection to NATS.
//!
//! Everything comes in through one ordered stream, whatever its subject, and goes out in the order
//! in which it was put in. Subscriptions are numbers that the shard gives and understands, so one
//! costs nothing here. When the connection is lost the link dials again, with back-off and jitter;
//! the shard then subscribes and sends anew, and the link says [`LinkEvent::Ready`] only after a
//! round trip behind all that.
//!
//! A server that says that it is about to stop (lame duck mode) is left before it does: the link
//! dials another while it goes on, and when there is one it lets the old server hear all that was
//! written, and hands over what that had for it, before it leaves ([`LinkEvent::Moved`]).
//!
//! What was written before a loss may or may not have arrived. The shard knows what needs an ack.

mod dial;
mod proto;
mod socket;
mod wire;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval, sleep};
use tracing::{debug, error, info, warn};

pub(crate) use self::{
    dial::{Dialer, Talk},
    proto::Message,
    socket::Socket,
};
use self::{
    dial::{Established, Trouble},
    proto::ServerOp,
    wire::Wire,
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
/// A server that is left has so long to bring the acks of what is under way; nothing new goes out
/// meanwhile.
const LAST_ACKS: Duration = Duration::from_millis(200);
/// A connection that dies younger than this makes the next one wait.
const YOUNG: Duration = Duration::from_secs(5);

/// What happens to a link.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// There is a connection: subscribe now, then [`Link::flush`].
    Up,
    /// The server has heard everything since [`LinkEvent::Up`].
    Ready,
    /// A message, in order.
    Message(Message),
    /// The connection is lost.
    Down,
    /// The connection was left, for another that is there already.
    Moved,
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

/// How far it is on the way to another server.
enum Move {
    Dialing(Dialing),
    /// There it is; the old server still hears what was put in, and brings the last acks.
    Leaving(Box<Established>, Pin<Box<Sleep>>),
}

struct Up {
    wire: Wire,
    ready: bool,
    /// PONGs that were asked for; the first is the round trip behind the subscriptions.
    pongs_due: u32,
    max_payload: usize,
    server: String,
    since: Instant,
    moving: Option<Move>,
    /// Something was put in since the last round trip was asked for.
    unheard: bool,
    /// What the server complained of last: why it then closes the connection.
    complaint: Option<String>,
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
        matches!(&self.phase, Phase::Up(up)
            if up.wire.writer.bytes().len() < MOST_UNWRITTEN
                && !matches!(up.moving, Some(Move::Leaving(..))))
    }

    /// Whether everything has been written, and the server has heard it.
    pub(crate) fn is_flushed(&self) -> bool {
        matches!(&self.phase, Phase::Up(up) if up.wire.writer.bytes().is_empty() && up.pongs_due == 0)
    }

    /// The server's limit for a payload, if there is a connection.
    pub(crate) fn max_payload(&self) -> Option<usize> {
        match &self.phase {
            Phase::Up(up) => Some(up.max_payload),
            Phase::Dialing(_) => None,
        }
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
        if payload.len() > up.max_payload {
            return Err(Unsent::TooLarge);
        }
        if up.wire.writer.bytes().len() > MOST_WAITING {
            return Err(Unsent::Full);
        }
        up.unheard = true;
        up.wire.writer.publish(subject.as_ref(), reply, payload);
        Ok(())
    }

    /// Subscribes under a number of the shard's choice.
    pub(crate) fn subscribe(&mut self, sid: u64, subject: &str) {
        if let Phase::Up(up) = &mut self.phase {
            up.wire.writer.subscribe(sid, subject);
        }
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&mut self, sid: u64) {
        if let Phase::Up(up) = &mut self.phase {
            up.wire.writer.unsubscribe(sid);
        }
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
                        wire,
                        max_payload,
                        server,
                    } = established;
                    if self.young == 0 {
                        info!(%server, "connected to NATS");
                        self.dialer.talk.reset();
                    }
                    self.ping.reset();
                    self.phase = Phase::Up(Box::new(Up {
                        wire,
                        ready: false,
                        pongs_due: 0,
                        max_payload,
                        server,
                        since: Instant::now(),
                        moving: None,
                        unheard: false,
                        complaint: None,
                    }));
                    return Poll::Ready(LinkEvent::Up);
                }
                Phase::Up(up) => match up.wire.poll_next(cx) {
                    Poll::Pending => {
                        match up.poll_move(cx) {
                            Poll::Pending => {}
                            Poll::Ready(next) => return Poll::Ready(self.moved(next)),
                        }
                        if self.ping.poll_tick(cx).is_pending() {
                            return Poll::Pending;
                        }
                        if up.since.elapsed() >= YOUNG {
                            self.young = 0;
                        }
                        if up.pongs_due > PING_MISSES {
                            return Poll::Ready(self.lost("it does not answer"));
                        }
                        self.flush();
                    }
                    Poll::Ready(Ok(ServerOp::Error(says))) => {
                        if let Some(why) = self.complained(says) {
                            return Poll::Ready(self.lost(&why));
                        }
                    }
                    Poll::Ready(Ok(op)) => {
                        if op == ServerOp::LameDuck && up.moving.is_none() {
                            info!(server = %up.server, "the NATS server is about to stop; moving to another");
                            let dialing = self.dialer.clone().dial(MOVE_WITHIN);
                            up.moving = Some(Move::Dialing(Box::pin(dialing)));
                            continue;
                        }
                        if let Some(event) = up.handle(op) {
                            return Poll::Ready(event);
                        }
                    }
                    Poll::Ready(Err(e)) => return Poll::Ready(self.lost(&e.to_string())),
                },
            }
        }
    }

    /// Writes what was put in, as far as the server takes it.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Option<LinkEvent> {
        let Phase::Up(up) = &mut self.phase else {
            return None;
        };
        match up.wire.poll_write(cx) {
            Poll::Pending | Poll::Ready(Ok(())) => None,
            Poll::Ready(Err(e)) => Some(self.lost(&e.to_string())),
        }
    }

    /// The server complains. `Some`: without that this link is of no use.
    fn complained(&mut self, says: String) -> Option<String> {
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
        self.untold += 1;
        if self
            .told
            .is_none_or(|at| at.elapsed() >= Duration::from_secs(1))
        {
            error!(says, server = %up.server, times = self.untold, "the NATS server complains");
            self.told = Some(Instant::now());
            self.untold = 0;
        }
        up.complaint = Some(says);
        None
    }

    /// Leaves a server that has heard everything.
    fn moved(&mut self, next: Established) -> LinkEvent {
        self.away = Instant::now();
        self.phase = Phase::Dialing(Box::pin(std::future::ready(next)));
        LinkEvent::Moved
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
                warn!(server = %up.server, why, "lost the connection to NATS");
            }
            self.young = self.young.saturating_add(1);
        }
        let moving = match &mut self.phase {
            Phase::Up(up) => up.moving.take(),
            Phase::Dialing(_) => None,
        };
        let pause = dial::pause_after(self.young.saturating_sub(1));
        self.phase = Phase::Dialing(match moving {
            Some(Move::Leaving(next, _)) => Box::pin(std::future::ready(*next)),
            Some(Move::Dialing(dialing)) => dialing,
            None => Box::pin(self.dialer.clone().dial(pause)),
        });
        LinkEvent::Down
    }
}

impl Up {
    /// Ready: there is another server, and this one has heard everything.
    fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<Established> {
        if let Some(Move::Dialing(dialing)) = &mut self.moving {
            let next = ready!(dialing.as_mut().poll(cx));
            let last_acks = Box::pin(sleep(LAST_ACKS));
            self.moving = Some(Move::Leaving(Box::new(next), last_acks));
            self.unheard = true;
        }
        let Some(Move::Leaving(_, last_acks)) = &mut self.moving else {
            return Poll::Pending;
        };
        ready!(last_acks.as_mut().poll(cx));
        if self.unheard {
            self.flush();
            cx.waker().wake_by_ref();
        }
        match self.moving.take() {
            Some(Move::Leaving(next, _)) if self.pongs_due == 0 => Poll::Ready(*next),
            moving => {
                self.moving = moving;
                Poll::Pending
            }
        }
    }

    fn flush(&mut self) {
        self.unheard = false;
        self.pongs_due += 1;
        self.wire.writer.ping();
    }

    fn handle(&mut self, op: ServerOp) -> Option<LinkEvent> {
        match op {
            ServerOp::Message(message) => Some(LinkEvent::Message(message)),
            ServerOp::Ping => {
                self.wire.writer.pong();
                None
            }
            ServerOp::Pong => {
                self.pongs_due = self.pongs_due.saturating_sub(1);
                (!std::mem::replace(&mut self.ready, true)).then_some(LinkEvent::Ready)
            }
            ServerOp::Error(_) | ServerOp::LameDuck | ServerOp::Other => None,
        }
    }
}

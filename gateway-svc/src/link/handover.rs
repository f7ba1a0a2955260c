//! The handover: from a server that is about to stop to another, while the old one still serves.
//!
//! The other is subscribed to everything first, and for [`SETTLE`] both bring everything. What the old
//! one brings counts; what the other brings is its twin, and dropped, or held until its twin comes.
//! Then what is put in goes to the other, and the old one is asked for a last round trip. With that
//! it is left; what the other brought beyond it comes next, in the other's order. So nothing is lost,
//! nor what one sender sends put out of order, unless the rest of the cluster takes longer than
//! [`SETTLE`] to hear of the new subscriptions.
//!
//! Which messages are twins, and how far that holds: [`super::twins`].

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};
use tracing::info;

use super::{Dialing, LinkEvent, Message, Up, dial::Established, proto::ServerOp};

/// So long both servers are heard: a server answers for itself, and nothing tells when all of its
/// cluster know of a subscription.
pub(super) const SETTLE: Duration = Duration::from_millis(200);

/// How far it is on the way to another server.
pub(super) enum Move {
    Dialing(Dialing),
    /// There it is, and the old one still serves.
    Handover(Box<Handover>),
}

/// Two servers at once.
pub(super) struct Handover {
    pub(super) next: Established,
    step: Step,
    /// The next one is about to stop too.
    pub(super) lame: bool,
    /// They are read in turn.
    next_first: bool,
}

enum Step {
    /// The shard subscribes, at the next one only.
    Greeting,
    /// It has yet to hear of all subscriptions.
    Subscribing,
    /// Both bring everything.
    Settling(Pin<Box<Sleep>>),
    /// What is put in goes to the next one. After so many PONGs the old one is left.
    Leaving(u32),
}

/// Of two connections, one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Old,
    Next,
}

impl Handover {
    fn new(next: Established) -> Self {
        Self {
            next,
            step: Step::Greeting,
            lame: false,
            next_first: false,
        }
    }

    /// Whether what is put in goes to the next server.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.step, Step::Leaving(_))
    }

    /// Whether only the next server is being subscribed.
    pub(super) fn is_greeting(&self) -> bool {
        matches!(self.step, Step::Greeting)
    }

    pub(super) fn flush(&mut self) {
        if self.is_greeting() {
            self.step = Step::Subscribing;
        }
        self.next.flush();
    }
}

impl Up {
    pub(super) fn handover(&self) -> Option<&Handover> {
        match &self.moving {
            Some(Move::Handover(handover)) => Some(handover),
            _ => None,
        }
    }

    pub(super) fn handover_mut(&mut self) -> Option<&mut Handover> {
        match &mut self.moving {
            Some(Move::Handover(handover)) => Some(handover),
            _ => None,
        }
    }

    /// What a server says next; of two, each in its turn.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(Side, io::Result<ServerOp>)> {
        let full = self.twins.is_full();
        let Some(Move::Handover(handover)) = &mut self.moving else {
            return self.conn.wire.poll_next(cx).map(|op| (Side::Old, op));
        };
        let mut sides = [Side::Old, Side::Next];
        if handover.next_first {
            sides.reverse();
        }
        for side in sides {
            let wire = match side {
                Side::Old => &mut self.conn.wire,
                Side::Next if full => continue,
                Side::Next => &mut handover.next.wire,
            };
            if let Poll::Ready(op) = wire.poll_next(cx) {
                handover.next_first = side == Side::Old;
                return Poll::Ready((side, op));
            }
        }
        Poll::Pending
    }

    /// The next step to another server. Ready: it is there, to be subscribed.
    pub(super) fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        match &mut self.moving {
            None => Poll::Pending,
            Some(Move::Dialing(dialing)) => {
                let next = ready!(dialing.as_mut().poll(cx));
                self.moving = Some(Move::Handover(Box::new(Handover::new(next))));
                Poll::Ready(LinkEvent::Up)
            }
            Some(Move::Handover(handover)) => {
                if let Step::Settling(sleep) = &mut handover.step {
                    ready!(sleep.as_mut().poll(cx));
                    self.conn.flush();
                    handover.step = Step::Leaving(self.conn.pongs_due);
                }
                Poll::Pending
            }
        }
    }

    /// A message of one of the servers: is it to be taken now?
    pub(super) fn sort(&mut self, side: Side, message: Message) -> Option<Message> {
        // a server says to whom it spoke to that nobody is there: that has no twin
        if message.status().is_some() {
            return Some(message);
        }
        match (side, self.handover()) {
            (Side::Old, Some(_)) => {
                self.twins.brought(&message);
                Some(message)
            }
            (Side::Old, None) => (!self.twins.is_twin(&message)).then_some(message),
            (Side::Next, _) => {
                if !self.twins.is_twin(&message) {
                    self.twins.hold(message);
                }
                None
            }
        }
    }

    /// The next message that was held, once the server that could bring its twin is left.
    pub(super) fn held(&mut self) -> Option<Message> {
        match self.handover() {
            Some(_) => None,
            None => self.twins.release(),
        }
    }

    /// The next server answers.
    pub(super) fn next_answers(&mut self) {
        if let Some(handover) = self.handover_mut() {
            handover.next.pong();
            if let Step::Subscribing = handover.step {
                handover.step = Step::Settling(Box::pin(sleep(SETTLE)));
            }
        }
    }

    /// The old server answers. After its last answer it is left. True: for one that is about to
    /// stop too.
    pub(super) fn leave(&mut self) -> bool {
        let Some(Move::Handover(handover)) = &mut self.moving else {
            return false;
        };
        let Step::Leaving(pongs) = &mut handover.step else {
            return false;
        };
        *pongs -= 1;
        if *pongs > 0 {
            return false;
        }
        let Some(Move::Handover(handover)) = self.moving.take() else {
            return false;
        };
        self.conn = handover.next;
        self.since = Instant::now();
        self.complaint = None;
        info!(server = %self.conn.server, "connected to NATS");
        handover.lame
    }
}

//! A link that is up: one connection, or two while it moves to another server.

use tokio::time::Instant;

use super::{
    dial::Established,
    handover::{Handover, Move, Side},
    twins::Twins,
};

/// What there is between dialing and a loss.
pub(super) struct Up {
    pub(super) conn: Established,
    pub(super) ready: bool,
    pub(super) since: Instant,
    pub(super) moving: Option<Move>,
    pub(super) twins: Twins,
    /// What the server complained of last: why it then closes the connection.
    pub(super) complaint: Option<String>,
}

impl Up {
    /// Where what is put in goes.
    pub(super) fn out(&self) -> &Established {
        match self.handover() {
            Some(handover) if handover.is_leaving() => &handover.next,
            _ => &self.conn,
        }
    }

    pub(super) fn out_mut(&mut self) -> &mut Established {
        let leaving = self.handover().is_some_and(Handover::is_leaving);
        self.side_mut(if leaving { Side::Next } else { Side::Old })
    }

    pub(super) fn side_mut(&mut self, side: Side) -> &mut Established {
        match &mut self.moving {
            Some(Move::Handover(handover)) if side == Side::Next => &mut handover.next,
            _ => &mut self.conn,
        }
    }

    pub(super) fn flush(&mut self) {
        match &mut self.moving {
            Some(Move::Handover(handover)) if handover.is_greeting() => handover.flush(),
            Some(Move::Handover(handover)) => {
                handover.flush();
                self.conn.flush();
            }
            _ => self.conn.flush(),
        }
    }

    /// Subscribes wherever it is not yet.
    pub(super) fn subscribe(&mut self, sid: u64, subject: &str) {
        if let Some(handover) = self.handover_mut() {
            handover.next.wire.writer.subscribe(sid, subject);
            if handover.is_greeting() {
                return;
            }
        }
        self.conn.wire.writer.subscribe(sid, subject);
    }

    pub(super) fn unsubscribe(&mut self, sid: u64) {
        if let Some(handover) = self.handover_mut() {
            handover.next.wire.writer.unsubscribe(sid);
        }
        self.conn.wire.writer.unsubscribe(sid);
    }
}

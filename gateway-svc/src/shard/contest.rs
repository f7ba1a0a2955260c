//! A uid for one client alone: what the four commands of a claim do here.

use wire::{Answer, AnswerError, CloseCode, ClosedBy, Policy, Rank, Uid, claim::Contest};

use super::{Shard, client::End};
use crate::topics::Slot;

impl Shard {
    /// A client claims a uid.
    pub(super) fn claim(&mut self, slot: Slot, uid: &Uid, policy: Policy, ticket: u64) {
        let rank = Rank {
            policy,
            ticket,
            client: self.client_id(slot),
        };
        self.hub.claim(slot, uid, rank, self.now());
    }

    /// Makes a client one of the uid that it claimed.
    pub(super) fn settle(
        &mut self,
        slot: Slot,
        uid: &Uid,
        ticket: u64,
    ) -> Result<bool, AnswerError> {
        let settled = self.hub.settle(slot, uid, ticket, self.now());
        if let Some(interest) = settled.map_err(|_| AnswerError::Conflict)? {
            self.subscribe(interest);
        }
        self.count();
        Ok(true)
    }

    /// Takes a claim back; says whether it was there.
    pub(super) fn withdraw(&mut self, slot: Slot, uid: &Uid, ticket: u64) -> bool {
        let withdrawn = self.hub.withdraw(slot, uid, ticket, self.now());
        self.count();
        withdrawn
    }

    /// Holds a claim against those who have the uid or claim it, and closes who gives way.
    pub(super) fn contest(
        &mut self,
        uid: &Uid,
        by: Option<&Rank>,
        meant: impl Fn(Slot) -> bool,
    ) -> Answer {
        let Contest {
            ticket,
            holder,
            rival,
            kicked,
            withdrawn,
        } = self.hub.contest(self.gateway, uid, by, meant);
        let count = kicked.len() as u64 + withdrawn;
        for slot in kicked {
            let code = CloseCode::SignedInElsewhere;
            let end = End {
                by: ClosedBy::Command,
                ..End::from(code)
            };
            self.close(slot, end, None);
        }
        Answer {
            ticket,
            holder,
            rival,
            ..Answer::count(self.gateway, count)
        }
    }
}

//! Claims to a uid, as the hub keeps them; `wire::claim` has the rule.

use wire::{ClientId, GatewayId, Rank, Uid, claim::Contest};

use super::{Hub, Interest, TopicKind};
use crate::topics::Slot;

/// There is no such claim, or not any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoClaim;

impl Hub {
    /// A client claims a uid for itself.
    pub(crate) fn claim(&mut self, slot: Slot, uid: &Uid, rank: Rank, now: u64) {
        self.claims.claim(slot, uid, rank, now);
    }

    /// Makes a client one of the uid that it claimed. What was settled stays so.
    pub(crate) fn settle(
        &mut self,
        slot: Slot,
        uid: &Uid,
        ticket: u64,
        now: u64,
    ) -> Result<Option<Interest>, NoClaim> {
        match self.claims.take(slot, uid, ticket) {
            Some(rank) => {
                let interest = self.bind(slot, uid, now);
                self.claims.hold(slot, rank);
                Ok(interest)
            }
            None if self.has_settled(slot, uid, ticket) => Ok(None),
            None => Err(NoClaim),
        }
    }

    /// Takes a claim back, settled or not; says whether it was there.
    pub(crate) fn withdraw(&mut self, slot: Slot, uid: &Uid, ticket: u64, now: u64) -> bool {
        if self.claims.take(slot, uid, ticket).is_some() {
            return true;
        }
        self.has_settled(slot, uid, ticket) && self.unbind(slot, now)
    }

    /// Holds a claim against whom of `meant` has the uid or claims it; says whom to close.
    pub(crate) fn contest(
        &mut self,
        gateway: GatewayId,
        uid: &Uid,
        by: Option<&Rank>,
        meant: impl Fn(Slot) -> bool,
    ) -> Contest<Slot> {
        let topics = self.topics(TopicKind::Uid);
        let holders: Vec<(Slot, ClientId)> = topics
            .find(uid)
            .into_iter()
            .flat_map(|topic| topics.members(topic))
            .map(|slot| {
                let conn = self.conn(slot);
                (slot, ClientId { gateway, conn })
            })
            .collect();
        self.claims.contest(uid, by, holders, meant)
    }

    fn has_settled(&self, slot: Slot, uid: &Uid, ticket: u64) -> bool {
        let held = self.claims.held(slot);
        held.is_some_and(|rank| rank.ticket == ticket) && self.uid(slot).as_ref() == Some(uid)
    }
}

#[cfg(test)]
mod tests {
    use wire::{Policy, claim::LAPSE_MS};

    use super::*;

    const HERE: GatewayId = GatewayId::from_bytes([1; 6]);

    fn uid(text: &str) -> Uid {
        Uid::new(text).unwrap()
    }

    fn hub() -> (Hub, Slot, Rank) {
        let mut hub = Hub::default();
        let (slot, conn) = hub.insert();
        let rank = Rank {
            policy: Policy::KickOld,
            ticket: 1,
            client: ClientId {
                gateway: HERE,
                conn,
            },
        };
        (hub, slot, rank)
    }

    #[test]
    fn a_claim_is_no_uid_until_it_is_settled() {
        let (mut hub, slot, rank) = hub();
        hub.bind(slot, &uid("before"), 0);
        hub.claim(slot, &uid("42"), rank, 0);
        assert_eq!(hub.uid(slot), Some(uid("before")));
        assert_eq!(hub.settle(slot, &uid("42"), 2, 0), Err(NoClaim));
        assert!(hub.settle(slot, &uid("42"), 1, 0).unwrap().is_some());
        assert_eq!(hub.uid(slot), Some(uid("42")));
        assert_eq!(hub.settle(slot, &uid("42"), 1, 0), Ok(None), "once more");
    }

    #[test]
    fn what_was_settled_can_be_taken_back_but_not_what_came_after() {
        let (mut hub, slot, rank) = hub();
        hub.claim(slot, &uid("42"), rank, 0);
        assert!(hub.withdraw(slot, &uid("42"), 1, 0));
        assert_eq!(hub.settle(slot, &uid("42"), 1, 0), Err(NoClaim));
        hub.claim(slot, &uid("42"), rank, 0);
        hub.settle(slot, &uid("42"), 1, 0).unwrap();
        assert!(hub.withdraw(slot, &uid("42"), 1, 0));
        assert_eq!(hub.uid(slot), None);
        hub.bind(slot, &uid("42"), 0);
        assert!(!hub.withdraw(slot, &uid("42"), 1, 0));
        assert_eq!(hub.uid(slot), Some(uid("42")), "bound by nobody's claim");
    }

    #[test]
    fn who_gets_another_uid_holds_the_old_one_no_more() {
        let (mut hub, slot, rank) = hub();
        hub.claim(slot, &uid("42"), rank, 0);
        hub.settle(slot, &uid("42"), 1, 0).unwrap();
        let look = |hub: &mut Hub| hub.contest(HERE, &uid("42"), None, |_| true);
        assert_eq!(look(&mut hub).holder, Some(rank.client));
        assert_eq!(look(&mut hub).ticket, 1);
        hub.bind(slot, &uid("43"), 0);
        assert_eq!((look(&mut hub).holder, look(&mut hub).ticket), (None, 0));
        hub.leave_all(slot, 0);
        hub.remove(slot);
    }

    #[test]
    fn a_claim_that_nobody_settles_lapses() {
        let (mut hub, slot, rank) = hub();
        hub.claim(slot, &uid("42"), rank, 7);
        let look = |hub: &mut Hub| hub.contest(HERE, &uid("42"), None, |_| true).rival;
        hub.expire(7 + LAPSE_MS - 1, |_, _| {});
        assert_eq!(look(&mut hub), Some(rank.client));
        hub.expire(7 + LAPSE_MS, |_, _| {});
        assert_eq!(look(&mut hub), None);
        assert_eq!(hub.settle(slot, &uid("42"), 1, 0), Err(NoClaim));
    }
}

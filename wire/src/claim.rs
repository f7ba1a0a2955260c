//! Claims: who stays when several clients want one uid for themselves.
//!
//! Whoever binds a uid by a [`Policy`] first *claims* it at the client's gateway, then *contests* it
//! at every gateway, and *settles* if nobody stands against it. A claim is there before its contest
//! begins, so of two that run at the same time at least one meets the other, and both go by the same
//! order of [`Rank`]s. What a claim does to those that it meets is decided by their own gateway, in
//! one step: [`Claims::contest`].
//!
//! No clock decides anything. A ticket is above the highest that was there when its bind began, so a
//! bind that began after another was done has the higher one; by how much is random, so that it names
//! one attempt and a late [`Withdraw`](crate::Command::Withdraw) undoes no other.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use serde::{Deserialize, Serialize};

use crate::{ClientId, Uid};

/// A claim that is not settled lapses after so many milliseconds: whoever made it is gone.
pub const LAPSE_MS: u64 = 10_000;

/// Who stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The newest: those who had the uid are closed.
    KickOld,
    /// The first: whoever comes later does not get the uid.
    RejectNew,
}

/// A claim's place among all of its uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rank {
    /// By which policy.
    pub policy: Policy,
    /// Above the highest that was there when the bind began.
    pub ticket: u64,
    /// The client that is to have the uid. It decides where tickets are the same.
    pub client: ClientId,
}

impl Rank {
    fn place(&self) -> (u64, ClientId) {
        (self.ticket, self.client)
    }

    /// Whether another claim, which is not settled, gives way to this one.
    #[must_use]
    pub fn beats_claim(&self, other: &Self) -> bool {
        match (self.policy, other.policy) {
            (Policy::KickOld, Policy::KickOld) => self.place() > other.place(),
            (Policy::KickOld, Policy::RejectNew) => true,
            (Policy::RejectNew, Policy::KickOld) => false,
            (Policy::RejectNew, Policy::RejectNew) => self.place() < other.place(),
        }
    }

    /// Whether a client that has the uid gives way to this claim. `None`: it has it by no policy.
    #[must_use]
    pub fn beats_holder(&self, holder: Option<&Self>) -> bool {
        match (self.policy, holder) {
            (Policy::RejectNew, _) => false,
            (Policy::KickOld, None) => true,
            (Policy::KickOld, Some(holder)) => {
                holder.policy == Policy::RejectNew || self.place() > holder.place()
            }
        }
    }
}

/// What a contest came to at one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contest<K> {
    /// The highest ticket of the uid here; 0 if there is none.
    pub ticket: u64,
    /// A client that has the uid and keeps it.
    pub holder: Option<ClientId>,
    /// A client whose claim stands.
    pub rival: Option<ClientId>,
    /// Clients that have to be closed.
    pub kicked: Vec<K>,
    /// How many claims were withdrawn whose clients stay.
    pub withdrawn: u64,
}

#[derive(Debug)]
struct Open<K> {
    key: K,
    rank: Rank,
}

/// The claims at one gateway, and the ranks of the clients that hold their uid by one.
///
/// `K` is what the gateway knows its clients by.
#[derive(Debug)]
pub struct Claims<K> {
    open: HashMap<Uid, Vec<Open<K>>>,
    /// The uid that a client has an open claim for; one at a time.
    claimed: HashMap<K, Uid>,
    held: HashMap<K, Rank>,
    /// Oldest first.
    lapses: VecDeque<(u64, K, Rank)>,
}

impl<K> Default for Claims<K> {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            claimed: HashMap::new(),
            held: HashMap::new(),
            lapses: VecDeque::new(),
        }
    }
}

impl<K: Copy + Eq + Hash> Claims<K> {
    /// A client claims a uid; an open claim that it has already is replaced.
    pub fn claim(&mut self, key: K, uid: &Uid, rank: Rank, now: u64) {
        self.drop_open(key);
        let open = Open { key, rank };
        self.open.entry(uid.clone()).or_default().push(open);
        self.claimed.insert(key, uid.clone());
        self.lapses.push_back((now + LAPSE_MS, key, rank));
    }

    /// The claim with this ticket, which is not open any more; `None` if there is none.
    pub fn take(&mut self, key: K, uid: &Uid, ticket: u64) -> Option<Rank> {
        let open = self.open.get(uid)?;
        let found = open.iter().find(|o| o.key == key).map(|o| o.rank);
        let rank = found.filter(|rank| rank.ticket == ticket)?;
        self.drop_open(key);
        Some(rank)
    }

    /// The client has its uid by this rank from now on.
    pub fn hold(&mut self, key: K, rank: Rank) {
        self.held.insert(key, rank);
    }

    /// The rank by which the client has its uid.
    #[must_use]
    pub fn held(&self, key: K) -> Option<&Rank> {
        self.held.get(&key)
    }

    /// The client has another uid now, or none.
    pub fn release(&mut self, key: K) {
        self.held.remove(&key);
    }

    /// The client is gone.
    pub fn forget(&mut self, key: K) {
        self.release(key);
        self.drop_open(key);
    }

    /// Holds a claim against all that `holders` and open claims have of the uid; without one only
    /// looks. Claims that give way are withdrawn here; holders are for the caller to close.
    pub fn contest(
        &mut self,
        uid: &Uid,
        by: Option<&Rank>,
        holders: impl IntoIterator<Item = (K, ClientId)>,
        meant: impl Fn(K) -> bool,
    ) -> Contest<K> {
        let mut contest = Contest {
            ticket: 0,
            holder: None,
            rival: None,
            kicked: Vec::new(),
            withdrawn: 0,
        };
        // A client does not stand against itself.
        let other = |client: ClientId| by.is_none_or(|by| by.client != client);
        for (key, client) in holders {
            let rank = self.held.get(&key);
            contest.ticket = contest.ticket.max(rank.map_or(0, |rank| rank.ticket));
            if !other(client) || !meant(key) {
                continue;
            }
            match by.is_some_and(|by| by.beats_holder(rank)) {
                true => contest.kicked.push(key),
                false => contest.holder = Some(client),
            }
        }
        let mut gone = Vec::new();
        for Open { key, rank } in self.open.get(uid).into_iter().flatten() {
            contest.ticket = contest.ticket.max(rank.ticket);
            if !other(rank.client) || !meant(*key) {
                continue;
            }
            if by.is_none_or(|by| !by.beats_claim(rank)) {
                contest.rival = Some(rank.client);
                continue;
            }
            gone.push(*key);
            match rank.policy {
                // It would have been closed, had it been settled a moment before.
                Policy::KickOld if !contest.kicked.contains(key) => contest.kicked.push(*key),
                Policy::KickOld => {}
                Policy::RejectNew => contest.withdrawn += 1,
            }
        }
        for key in gone {
            self.drop_open(key);
        }
        contest
    }

    /// Drops the claims that were not settled in time.
    pub fn lapse(&mut self, now: u64) {
        while let Some((at, key, rank)) = self.lapses.front().copied() {
            if at > now {
                return;
            }
            self.lapses.pop_front();
            // Settled or withdrawn long ago, or replaced by a later one.
            if let Some(uid) = self.claimed.get(&key).cloned() {
                self.take(key, &uid, rank.ticket);
            }
        }
    }

    fn drop_open(&mut self, key: K) {
        let Some(uid) = self.claimed.remove(&key) else {
            return;
        };
        if let Some(open) = self.open.get_mut(&uid) {
            open.retain(|o| o.key != key);
            if open.is_empty() {
                self.open.remove(&uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConnId, GatewayId};

    fn rank(policy: Policy, ticket: u64, client: u8) -> Rank {
        Rank {
            policy,
            ticket,
            client: id(client),
        }
    }

    fn id(n: u8) -> ClientId {
        ClientId {
            gateway: GatewayId::from_bytes([n; 6]),
            conn: ConnId(u32::from(n)),
        }
    }

    fn all() -> Vec<Rank> {
        let policies = [Policy::KickOld, Policy::RejectNew];
        let each = |policy| (1..4).flat_map(move |t| (1..4).map(move |c| rank(policy, t, c)));
        policies.into_iter().flat_map(each).collect()
    }

    #[test]
    fn of_any_two_claims_exactly_one_gives_way() {
        for a in all() {
            for b in all().into_iter().filter(|b| b.client != a.client) {
                assert_ne!(a.beats_claim(&b), b.beats_claim(&a), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn claims_go_by_one_order_without_a_circle() {
        for a in all() {
            for b in all() {
                for c in all() {
                    if a.beats_claim(&b) && b.beats_claim(&c) {
                        assert!(a.beats_claim(&c), "{a:?} {b:?} {c:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_holder_gives_way_to_what_is_newer_and_only_where_the_old_are_kicked() {
        let kick = rank(Policy::KickOld, 2, 1);
        assert!(kick.beats_holder(None));
        assert!(kick.beats_holder(Some(&rank(Policy::KickOld, 1, 2))));
        assert!(kick.beats_holder(Some(&rank(Policy::RejectNew, 9, 2))));
        assert!(!kick.beats_holder(Some(&rank(Policy::KickOld, 3, 2))));
        let first = rank(Policy::RejectNew, 1, 1);
        assert!(!first.beats_holder(None));
        assert!(!first.beats_holder(Some(&rank(Policy::RejectNew, 2, 2))));
    }

    #[test]
    fn a_claim_lapses_unless_it_is_settled_and_a_later_one_lives_on() {
        let uid = Uid::new("42").unwrap();
        let mut claims = Claims::default();
        claims.claim(1, &uid, rank(Policy::RejectNew, 1, 1), 0);
        claims.claim(2, &uid, rank(Policy::RejectNew, 1, 2), 0);
        claims.claim(2, &uid, rank(Policy::RejectNew, 2, 2), 5);
        claims.lapse(LAPSE_MS - 1);
        assert_eq!(claims.open[&uid].len(), 2);
        claims.lapse(LAPSE_MS);
        assert!(claims.take(1, &uid, 1).is_none(), "lapsed");
        assert!(claims.take(2, &uid, 1).is_none(), "replaced");
        assert!(claims.take(2, &uid, 2).is_some(), "the later one stands");
        claims.lapse(LAPSE_MS * 2);
        assert!(claims.open.is_empty() && claims.claimed.is_empty() && claims.lapses.is_empty());
    }

    #[test]
    fn who_is_gone_leaves_nothing_behind() {
        let uid = Uid::new("42").unwrap();
        let mut claims = Claims::default();
        claims.claim(1, &uid, rank(Policy::KickOld, 1, 1), 0);
        claims.hold(1, rank(Policy::KickOld, 1, 1));
        claims.forget(1);
        assert!(claims.open.is_empty() && claims.claimed.is_empty() && claims.held.is_empty());
    }

    #[test]
    fn a_contest_says_who_stands_and_does_away_with_who_does_not() {
        let uid = Uid::new("42").unwrap();
        let mut claims = Claims::default();
        claims.hold(1, rank(Policy::KickOld, 3, 1));
        claims.claim(2, &uid, rank(Policy::KickOld, 5, 2), 0);
        claims.claim(3, &uid, rank(Policy::RejectNew, 9, 3), 0);
        let holders = || [(1, id(1)), (4, id(4))];
        let looked = claims.contest(&uid, None, holders(), |_| true);
        assert_eq!((looked.ticket, looked.kicked.len()), (9, 0));
        assert!(looked.holder.is_some() && looked.rival.is_some());

        let by = rank(Policy::KickOld, 4, 7);
        let contest = claims.contest(&uid, Some(&by), holders(), |_| true);
        assert_eq!(
            contest.kicked,
            [1, 4],
            "the older, and who has it by no policy"
        );
        assert_eq!((contest.holder, contest.rival), (None, Some(id(2))));
        assert_eq!(contest.withdrawn, 1);
        assert!(claims.take(3, &uid, 9).is_none(), "withdrawn");

        let own = rank(Policy::KickOld, 6, 2);
        let contest = claims.contest(&uid, Some(&own), [(1, id(1))], |key| key != 1);
        assert_eq!(
            (contest.kicked.len(), contest.rival),
            (0, None),
            "neither itself nor who is not meant"
        );
    }
}

//! The hub: which clients this gateway has, and to which uid and groups they belong.
//!
//! A plain single-threaded data structure without I/O. It says which subjects to subscribe and to
//! drop ([`Interest`]); the shard tells the link.

mod claims;

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use slab::Slab;
use wire::{Claims, ConnId, Group, Uid};

use crate::conn_ids::ConnIds;
use crate::topics::{Membership, Slot, TopicId, Topics};

/// How long a subject stays subscribed after its last client has left.
pub(crate) const LINGER_MS: u64 = 10_000;

/// The two kinds of names that clients belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TopicKind {
    Uid,
    Group,
}

/// A subject that has to be subscribed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) kind: TopicKind,
    pub(crate) id: TopicId,
}

#[derive(Debug)]
struct Entry {
    conn: ConnId,
    uid: Option<Membership>,
    groups: Vec<Membership>,
}

/// Clients, uids and groups.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    ids: ConnIds,
    clients: Slab<Entry>,
    by_conn: FxHashMap<u32, Slot>,
    /// The same ids in their order, for lists that come in pages.
    in_order: BTreeSet<ConnId>,
    uids: Topics,
    groups: Topics,
    claims: Claims<Slot>,
}

impl Hub {
    /// Takes a new client in, under an id that nobody can guess and that was not used before.
    pub(crate) fn insert(&mut self) -> (Slot, ConnId) {
        let conn = loop {
            let conn = self.ids.next();
            // after 2^32 clients the first may still be here
            if !self.by_conn.contains_key(&conn.0) {
                break conn;
            }
        };
        let entry = Entry {
            conn,
            uid: None,
            groups: Vec::new(),
        };
        let slot = Slot::try_from(self.clients.insert(entry)).expect("fewer than 2^32 clients");
        self.by_conn.insert(conn.0, slot);
        self.in_order.insert(conn);
        (slot, conn)
    }

    /// Forgets a client and frees its slot; it must have been left out of everything before.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let entry = self.clients.remove(slot as usize);
        debug_assert!(entry.uid.is_none() && entry.groups.is_empty());
        self.by_conn.remove(&entry.conn.0);
        self.in_order.remove(&entry.conn);
    }

    /// The client of this id.
    pub(crate) fn find(&self, conn: ConnId) -> Option<Slot> {
        self.by_conn.get(&conn.0).copied()
    }

    /// The id of the client in this slot.
    pub(crate) fn conn(&self, slot: Slot) -> ConnId {
        self.clients[slot as usize].conn
    }

    /// How many distinct uids and groups have a client.
    pub(crate) const fn counts(&self) -> (u64, u64) {
        (self.uids.populated() as u64, self.groups.populated() as u64)
    }

    /// How many clients.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Every client.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.clients
            .iter()
            .map(|(slot, _)| Slot::try_from(slot).expect("fewer than 2^32 clients"))
    }

    /// Every client whose id comes after this one, or every client, ordered by id.
    pub(crate) fn after(&self, conn: Option<ConnId>) -> impl Iterator<Item = (ConnId, Slot)> + '_ {
        self.in_order
            .range((conn.map_or(Unbounded, Excluded), Unbounded))
            .map(|conn| (*conn, self.by_conn[&conn.0]))
    }

    /// The topics of one kind that a client belongs to.
    pub(crate) fn topics_of(
        &self,
        slot: Slot,
        kind: TopicKind,
    ) -> impl ExactSizeIterator<Item = u32> + '_ {
        let entry = &self.clients[slot as usize];
        let memberships = match kind {
            TopicKind::Uid => entry.uid.as_slice(),
            TopicKind::Group => &entry.groups,
        };
        memberships.iter().map(|m| m.topic())
    }

    /// The uid of a client.
    pub(crate) fn uid(&self, slot: Slot) -> Option<Uid> {
        let membership = self.clients[slot as usize].uid?;
        Some(Uid::new(self.uids.name(membership.topic()).clone()).expect("it was one"))
    }

    /// The same as plain text.
    pub(crate) fn uid_name(&self, slot: Slot) -> Option<&str> {
        let membership = self.clients[slot as usize].uid?;
        Some(self.uids.name(membership.topic()))
    }

    /// The groups of a client.
    pub(crate) fn groups_of(&self, slot: Slot) -> Vec<Group> {
        let groups = &self.clients[slot as usize].groups;
        groups
            .iter()
            .map(|m| Group::new(self.groups.name(m.topic()).clone()).expect("it was one"))
            .collect()
    }

    /// The uids, or the groups.
    pub(crate) const fn topics(&self, kind: TopicKind) -> &Topics {
        match kind {
            TopicKind::Uid => &self.uids,
            TopicKind::Group => &self.groups,
        }
    }

    /// Makes a client one of this uid, and of no other.
    pub(crate) fn bind(&mut self, slot: Slot, uid: &Uid, now: u64) -> Option<Interest> {
        if let Some(old) = self.clients[slot as usize].uid {
            if **self.uids.name(old.topic()) == **uid {
                return None;
            }
            self.unbind(slot, now);
        }
        let added = self.uids.add(&uid.to_arc(), slot, 0);
        self.clients[slot as usize].uid = Some(added.membership);
        added.new.map(|id| Interest {
            kind: TopicKind::Uid,
            id,
        })
    }

    /// Makes a client one of no uid; says whether it had one.
    pub(crate) fn unbind(&mut self, slot: Slot, now: u64) -> bool {
        let Some(old) = self.clients[slot as usize].uid.take() else {
            return false;
        };
        self.claims.release(slot);
        let clients = &mut self.clients;
        self.uids.remove(old, now, |slot, _, membership| {
            clients[slot as usize].uid = Some(membership);
        });
        true
    }

    /// Puts a client into a group, if it is not in it.
    pub(crate) fn join(&mut self, slot: Slot, group: &Group) -> Option<Interest> {
        let mine = &self.clients[slot as usize].groups;
        if let Some(topic) = self.groups.find(group)
            && mine.iter().any(|m| m.topic() == topic)
        {
            return None;
        }
        let added = self.groups.add(&group.to_arc(), slot, mine.len());
        let mine = &mut self.clients[slot as usize].groups;
        if mine.is_empty() {
            mine.reserve_exact(1);
        }
        mine.push(added.membership);
        added.new.map(|id| Interest {
            kind: TopicKind::Group,
            id,
        })
    }

    /// Takes a client out of a group; says whether it was in it.
    pub(crate) fn leave(&mut self, slot: Slot, group: &Group, now: u64) -> bool {
        let Some(topic) = self.groups.find(group) else {
            return false;
        };
        let place = self.clients[slot as usize]
            .groups
            .iter()
            .position(|m| m.topic() == topic);
        place.map(|place| self.leave_at(slot, place, now)).is_some()
    }

    /// Takes a client out of its uid and of all groups, and its claim back.
    pub(crate) fn leave_all(&mut self, slot: Slot, now: u64) {
        self.claims.forget(slot);
        self.unbind(slot, now);
        while !self.clients[slot as usize].groups.is_empty() {
            let last = self.clients[slot as usize].groups.len() - 1;
            self.leave_at(slot, last, now);
        }
        self.clients[slot as usize].groups = Vec::new();
    }

    fn leave_at(&mut self, slot: Slot, place: usize, now: u64) {
        let membership = self.clients[slot as usize].groups.swap_remove(place);
        if let Some(moved) = self.clients[slot as usize].groups.get(place) {
            self.groups.replace(*moved, place);
        }
        let clients = &mut self.clients;
        self.groups
            .remove(membership, now, |slot, place, membership| {
                clients[slot as usize].groups[place] = membership;
            });
    }

    /// Drops the subjects whose last client left long enough ago, each of which has to be
    /// unsubscribed, and the claims that were not settled in time.
    pub(crate) fn expire(&mut self, now: u64, mut dropped: impl FnMut(TopicKind, TopicId)) {
        self.claims.lapse(now);
        let before = now.saturating_sub(LINGER_MS);
        if now < LINGER_MS {
            return;
        }
        self.uids.expire(before, |id| dropped(TopicKind::Uid, id));
        self.groups
            .expire(before, |id| dropped(TopicKind::Group, id));
    }
}

/// The shared text of a name.
trait ToArc {
    fn to_arc(&self) -> Arc<str>;
}

impl ToArc for Uid {
    fn to_arc(&self) -> Arc<str> {
        self.clone().into()
    }
}

impl ToArc for Group {
    fn to_arc(&self) -> Arc<str> {
        self.clone().into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    fn names(groups: &[Group]) -> BTreeSet<String> {
        groups.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_client_has_one_uid_and_a_uid_many_clients() {
        let mut hub = Hub::default();
        let (a, _) = hub.insert();
        let (b, _) = hub.insert();
        let (one, two) = (Uid::new("1").unwrap(), Uid::new("2").unwrap());
        assert!(hub.bind(a, &one, 0).is_some());
        assert!(hub.bind(b, &one, 0).is_none());
        assert!(hub.bind(a, &one, 0).is_none(), "bound already");
        assert!(hub.bind(a, &two, 0).is_some());
        assert_eq!(hub.uid(a), Some(two));
        let topic = hub.topics(TopicKind::Uid).find("1").unwrap();
        assert_eq!(
            hub.topics(TopicKind::Uid)
                .members(topic)
                .collect::<Vec<_>>(),
            [b]
        );
        assert!(hub.unbind(b, 0) && !hub.unbind(b, 0));
        assert_eq!(hub.counts(), (1, 0));
    }

    #[test]
    fn memberships_stay_right_through_thousands_of_random_changes() {
        let mut hub = Hub::default();
        let mut rng = StdRng::seed_from_u64(7);
        type Model = BTreeMap<Slot, (ConnId, Option<String>, BTreeSet<String>)>;
        let mut model = Model::new();
        for now in 0..20_000 {
            let some = model
                .keys()
                .copied()
                .nth(rng.random_range(0..model.len().max(1)));
            let name = rng.random_range(0..12).to_string();
            match (rng.random_range(0..10), some) {
                (0, _) | (_, None) => {
                    let (slot, conn) = hub.insert();
                    assert!(model.insert(slot, (conn, None, BTreeSet::new())).is_none());
                }
                (1, Some(slot)) if model.len() > 20 => {
                    hub.leave_all(slot, now);
                    hub.remove(slot);
                    let (conn, ..) = model.remove(&slot).unwrap();
                    assert_eq!(hub.find(conn), None);
                }
                (2..=4, Some(slot)) => {
                    hub.join(slot, &Group::new(name.as_str()).unwrap());
                    model.get_mut(&slot).unwrap().2.insert(name);
                }
                (5..=6, Some(slot)) => {
                    let left = hub.leave(slot, &Group::new(name.as_str()).unwrap(), now);
                    assert_eq!(left, model.get_mut(&slot).unwrap().2.remove(&name));
                }
                (7, Some(slot)) => {
                    hub.unbind(slot, now);
                    model.get_mut(&slot).unwrap().1 = None;
                }
                (_, Some(slot)) => {
                    hub.bind(slot, &Uid::new(name.as_str()).unwrap(), now);
                    model.get_mut(&slot).unwrap().1 = Some(name);
                }
            }
            hub.expire(now, |_, _| {});
        }
        for (slot, (conn, uid, groups)) in &model {
            assert_eq!(hub.find(*conn), Some(*slot));
            assert_eq!(hub.uid(*slot).map(|u| u.to_string()), *uid);
            assert_eq!(names(&hub.groups_of(*slot)), *groups);
        }
        for kind in [TopicKind::Uid, TopicKind::Group] {
            for (id, name) in hub.topics(kind).all() {
                let members: BTreeSet<Slot> = hub.topics(kind).members(id.index).collect();
                let expected = model.iter().filter(|(_, (_, uid, groups))| match kind {
                    TopicKind::Uid => uid.as_deref() == Some(name),
                    TopicKind::Group => groups.contains(name),
                });
                assert_eq!(
                    members,
                    expected.map(|(slot, _)| *slot).collect::<BTreeSet<_>>()
                );
            }
        }
    }
}

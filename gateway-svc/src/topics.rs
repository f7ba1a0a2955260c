//! Topics: the uids, or the groups, that clients of this gateway belong to.
//!
//! One subject is subscribed for each name that has a client here. It is kept for a while after the
//! last client has left, because clients come back and interest is dear to the whole cluster.
//!
//! Plain data, no I/O. A membership is known at both ends by index, so that leaving a group of
//! 100,000 costs as much as leaving one of two.

use std::{collections::VecDeque, hash::BuildHasher, sync::Arc};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use slab::Slab;

/// A client's place in the hub.
pub(crate) type Slot = u32;

/// A name within a table, and its generation: places are used again, subscriptions must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// One end of a membership, kept with the client: which topic, and where in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Membership {
    topic: u32,
    place: u32,
}

impl Membership {
    pub(crate) const fn topic(self) -> u32 {
        self.topic
    }
}

/// The other end: which client, and where in *its* list.
#[derive(Debug, Clone, Copy)]
struct Member {
    slot: Slot,
    place: u32,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    generation: u32,
    members: Vec<Member>,
    /// When it lost its last member, if it has none.
    empty_since: u64,
}

/// Names with their members.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_name: HashTable<u32>,
    topics: Slab<Topic>,
    /// Topics without members and when they lost the last, oldest first.
    empty: VecDeque<(u64, TopicId)>,
    generation: u32,
    populated: usize,
}

/// What a client's arrival did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) membership: Membership,
    /// The topic is new: it has to be subscribed.
    pub(crate) new: Option<TopicId>,
}

fn hash(name: &str) -> u64 {
    FxBuildHasher.hash_one(name)
}

impl Topics {
    /// Adds a client, whose own list will hold the membership at `place`.
    pub(crate) fn add(&mut self, name: &Arc<str>, slot: Slot, place: usize) -> Added {
        let (index, new) = match self.find(name) {
            Some(index) => (index, None),
            None => {
                // 31 bits, as many as a subscription's number has room for
                self.generation = (self.generation + 1) & 0x7fff_ffff;
                let topic = Topic {
                    name: name.clone(),
                    generation: self.generation,
                    members: Vec::new(),
                    empty_since: 0,
                };
                let index = narrow(self.topics.insert(topic));
                let topics = &self.topics;
                self.by_name
                    .insert_unique(hash(name), index, |i| hash(&topics[*i as usize].name));
                (
                    index,
                    Some(TopicId {
                        index,
                        generation: self.generation,
                    }),
                )
            }
        };
        let members = &mut self.topics[index as usize].members;
        if members.is_empty() {
            members.reserve_exact(1);
            self.populated += 1;
        }
        members.push(Member {
            slot,
            place: narrow(place),
        });
        Added {
            membership: Membership {
                topic: index,
                place: narrow(members.len() - 1),
            },
            new,
        }
    }

    /// Removes a client. The last member of the list takes its place, and has to be told:
    /// `moved(slot, place, membership)` puts the membership into that client's list.
    pub(crate) fn remove(
        &mut self,
        membership: Membership,
        now: u64,
        mut moved: impl FnMut(Slot, usize, Membership),
    ) {
        let topic = &mut self.topics[membership.topic as usize];
        topic.members.swap_remove(membership.place as usize);
        if let Some(member) = topic.members.get(membership.place as usize) {
            moved(member.slot, member.place as usize, membership);
        }
        if topic.members.is_empty() {
            topic.members = Vec::new();
            topic.empty_since = now;
            let id = TopicId {
                index: membership.topic,
                generation: topic.generation,
            };
            self.populated -= 1;
            self.empty.push_back((now, id));
        } else if topic.members.len() * 4 < topic.members.capacity() {
            topic.members.shrink_to(topic.members.len() * 2);
        }
    }

    /// A client's own list was reordered: its membership now stands at `place`.
    pub(crate) fn replace(&mut self, membership: Membership, place: usize) {
        self.topics[membership.topic as usize].members[membership.place as usize].place =
            narrow(place);
    }

    /// The name of a topic.
    pub(crate) fn name(&self, topic: u32) -> &Arc<str> {
        &self.topics[topic as usize].name
    }

    /// The topic of this name.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.by_name
            .find(hash(name), |i| *self.topics[*i as usize].name == *name)
            .copied()
    }

    /// The topic of this id, if it has not been dropped since.
    pub(crate) fn current(&self, id: TopicId) -> Option<u32> {
        let topic = self.topics.get(id.index as usize)?;
        (topic.generation == id.generation).then_some(id.index)
    }

    /// How many members a topic has.
    pub(crate) fn len(&self, topic: u32) -> usize {
        self.topics[topic as usize].members.len()
    }

    /// The members of a topic.
    pub(crate) fn members(&self, topic: u32) -> impl ExactSizeIterator<Item = Slot> + '_ {
        self.topics[topic as usize].members.iter().map(|m| m.slot)
    }

    /// How many names have a member.
    pub(crate) const fn populated(&self) -> usize {
        self.populated
    }

    /// Every topic, members or none: what has to be subscribed on a new link.
    pub(crate) fn all(&self) -> impl Iterator<Item = (TopicId, &str)> {
        self.topics.iter().map(|(index, t)| {
            (
                TopicId {
                    index: narrow(index),
                    generation: t.generation,
                },
                &*t.name,
            )
        })
    }

    /// Drops the topics that have been without a member since `before`; each has to be unsubscribed.
    pub(crate) fn expire(&mut self, before: u64, mut dropped: impl FnMut(TopicId)) {
        while let Some((since, id)) = self.empty.front().copied() {
            if since > before {
                return;
            }
            self.empty.pop_front();
            // somebody may have come back meanwhile, or come and left again: then a later entry stands
            let Some(topic) = self.topics.get(id.index as usize) else {
                continue;
            };
            if topic.generation != id.generation
                || !topic.members.is_empty()
                || topic.empty_since != since
            {
                continue;
            }
            let topic = self.topics.remove(id.index as usize);
            if let Ok(entry) = self
                .by_name
                .find_entry(hash(&topic.name), |i| *i == id.index)
            {
                entry.remove();
            }
            dropped(id);
        }
    }
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).expect("fewer than 2^32 clients")
}

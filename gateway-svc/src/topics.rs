//! Topics: the uids, or the groups, that clients of this gateway belong to.
//!
//! One subject is subscribed for each name that has a client here. It is kept for a while after the
//! last client has left, because clients come back and interest is dear to the whole cluster.
//!
//! Plain data, no I/O. A membership is known at both ends by index, so that leaving a group of
//! 100,000 costs as much as leaving one of two.

mod names;

use std::{collections::VecDeque, sync::Arc};

use slab::Slab;

use self::names::Names;

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
    names: Names,
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

/// The name of a topic, for those who only know its number.
fn named<'a>(topics: &'a Slab<Topic>) -> impl Fn(u32) -> &'a str + Copy {
    |topic| &topics[topic as usize].name
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
                self.names.insert(name, index, named(&self.topics));
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
        self.names.find(name, named(&self.topics))
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

    /// The topics whose names come after this one, or all, ordered by name, byte by byte; some may
    /// have no member.
    pub(crate) fn after(&self, name: Option<&str>) -> impl Iterator<Item = u32> {
        self.names.after(name, named(&self.topics))
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
            let name = topic.name.clone();
            self.names.remove(&name, named(&self.topics));
            self.topics.remove(id.index as usize);
            dropped(id);
        }
    }
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).expect("fewer than 2^32 clients")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn the_first_client_makes_a_topic_and_later_ones_do_not() {
        let mut topics = Topics::default();
        let first = topics.add(&name("lobby"), 1, 0);
        let id = first.new.expect("new");
        assert_eq!(topics.add(&name("lobby"), 2, 0).new, None);
        assert_eq!(topics.find("lobby"), Some(id.index));
        assert_eq!(topics.members(id.index).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(topics.populated(), 1);
    }

    #[test]
    fn a_topic_outlives_its_last_client_for_a_while() {
        let mut topics = Topics::default();
        let added = topics.add(&name("lobby"), 1, 0);
        let id = added.new.expect("new");
        topics.remove(added.membership, 100, |_, _, _| unreachable!());
        assert_eq!(
            (topics.populated(), topics.current(id)),
            (0, Some(id.index))
        );
        // somebody comes back, and goes: the wait begins anew
        let again = topics.add(&name("lobby"), 2, 0);
        assert_eq!(again.new, None, "it is still subscribed");
        topics.remove(again.membership, 200, |_, _, _| unreachable!());
        let mut dropped = vec![];
        topics.expire(150, |id| dropped.push(id));
        assert!(dropped.is_empty());
        topics.expire(200, |id| dropped.push(id));
        assert_eq!(dropped, [id]);
        assert_eq!((topics.current(id), topics.find("lobby")), (None, None));
        let new = topics.add(&name("den"), 1, 0).new.expect("new");
        assert_eq!(new.index, id.index, "the place is used again");
        assert_ne!(new, id, "the id is not");
    }

    #[test]
    fn who_takes_a_leavers_place_is_told() {
        let mut topics = Topics::default();
        let first = topics.add(&name("g"), 10, 0).membership;
        topics.add(&name("g"), 11, 4);
        let last = topics.add(&name("g"), 12, 7).membership;
        let mut told = vec![];
        topics.remove(first, 0, |slot, place, membership| {
            told.push((slot, place, membership));
        });
        assert_eq!(told, [(12, 7, first)]);
        assert_ne!(first, last);
        assert_eq!(topics.members(first.topic()).collect::<Vec<_>>(), [12, 11]);
    }
}

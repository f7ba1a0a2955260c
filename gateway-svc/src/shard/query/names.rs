//! Lists of uids and groups.

use rustc_hash::FxHashMap;
use wire::{Answer, NameCount, Names};

use super::{Census, Facts, MOST_STEPS, limit_of, scope::Scope};
use crate::{hub::TopicKind, topics::Slot};

impl<'a, F: Fn(Slot) -> Option<Facts<'a>>> Census<'a, F> {
    /// A page of the distinct uids, or groups, of a scope's clients, ordered by name.
    pub(super) fn names(&self, kind: TopicKind, scope: &Scope, asked: &Names) -> Answer {
        let (topics, after) = (self.hub.topics(kind), asked.after.as_deref());
        let name = |topic: &u32| &**topics.name(*topic);
        if !asked.names.is_empty() {
            let found = asked.names.iter().filter_map(|name| topics.find(name));
            let mut found: Vec<u32> = found
                .filter(|topic| after.is_none_or(|after| name(topic) > after))
                .collect();
            found.sort_unstable_by_key(name);
            found.dedup();
            return self.page_of_names(kind, scope, asked, found.into_iter(), |topic| {
                self.count(kind, scope, topic)
            });
        }
        match self.tally(kind, scope) {
            Some(mut few) => {
                let mut found: Vec<u32> = few.keys().copied().collect();
                found.retain(|topic| after.is_none_or(|after| name(topic) > after));
                // only what may be in the page is put in order
                let limit = limit_of(asked.limit) + 1;
                if found.len() > limit {
                    found.select_nth_unstable_by_key(limit, name);
                    found.truncate(limit);
                }
                found.sort_unstable_by_key(name);
                self.page_of_names(kind, scope, asked, found.into_iter(), |topic| {
                    (few.remove(&topic).unwrap_or(0), 0)
                })
            }
            None => self.page_of_names(kind, scope, asked, topics.after(after), |topic| {
                self.count(kind, scope, topic)
            }),
        }
    }

    /// The names of a few clients, with the number of clients of each; `None` if these are many, or
    /// have many.
    fn tally(&self, kind: TopicKind, scope: &Scope) -> Option<FxHashMap<u32, u64>> {
        let clients = scope.candidates(self.hub)?;
        let memberships = |slot: &Slot| self.hub.topics_of(*slot, kind).len();
        if clients.iter().map(memberships).sum::<usize>() > MOST_STEPS {
            return None;
        }
        let mut few = FxHashMap::default();
        for slot in clients {
            if (self.facts)(slot).is_some() && scope.holds(self.hub, slot) {
                for topic in self.hub.topics_of(slot, kind) {
                    *few.entry(topic).or_insert(0) += 1;
                }
            }
        }
        Some(few)
    }

    /// How many of a topic's members are in the scope, and how many steps it took to know.
    fn count(&self, kind: TopicKind, scope: &Scope, topic: u32) -> (u64, usize) {
        let topics = self.hub.topics(kind);
        if scope.has_all_of(kind, topic) {
            return (topics.len(topic) as u64, 0);
        }
        let (mut count, mut steps) = (0, 0);
        for slot in topics.members(topic) {
            steps += scope.steps(self.hub, slot);
            count += u64::from(scope.holds(self.hub, slot));
        }
        (count, steps)
    }

    fn page_of_names(
        &self,
        kind: TopicKind,
        scope: &Scope,
        asked: &Names,
        topics: impl Iterator<Item = u32>,
        mut count: impl FnMut(u32) -> (u64, usize),
    ) -> Answer {
        debug_assert!(scope.wanted.is_empty(), "sessions are not compared here");
        let mut answer = Answer::count(self.gateway, 0);
        let (mut steps, mut bytes, mut last) = (0, 0, None);
        for topic in topics {
            let full = answer.names.len() == limit_of(asked.limit) || bytes > self.most_page;
            if full || steps >= MOST_STEPS {
                answer.next_name = last.map(|topic| self.hub.topics(kind).name(topic).to_string());
                break;
            }
            last = Some(topic);
            let (clients, took) = count(topic);
            steps += 1 + took;
            if clients > 0 {
                let name = self.hub.topics(kind).name(topic).to_string();
                bytes += 32 + name.len();
                answer.names.push(NameCount {
                    name,
                    count: clients,
                });
            }
        }
        answer.count = answer.names.len() as u64;
        answer
    }
}

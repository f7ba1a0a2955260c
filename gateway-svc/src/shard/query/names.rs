//! Lists of uids and groups.

use rustc_hash::FxHashMap;
use wire::{Answer, NameCount, Names};

use super::{
    Census, Facts, MOST_STEPS, limit_of,
    scope::{Counted, Scope},
};
use crate::{hub::TopicKind, topics::Slot};

impl<'a, F: Fn(Slot) -> Option<Facts<'a>>> Census<'a, F> {
    /// A page of the distinct uids, or groups, of a scope's clients, ordered by name.
    pub(super) fn names(&self, kind: TopicKind, scope: &Scope, asked: &Names) -> Answer {
        let (topics, after) = (self.hub.topics(kind), asked.after.as_deref());
        let name = |topic: &u32| &**topics.name(*topic);
        let count = |topic| {
            let counted = scope.count(self.hub, kind, topic);
            counted.unwrap_or_else(|| scope.count_on(self.hub, kind, topic, None))
        };
        if !asked.names.is_empty() {
            let found = asked.names.iter().filter_map(|name| topics.find(name));
            let mut found: Vec<u32> = found
                .filter(|topic| after.is_none_or(|after| name(topic) > after))
                .collect();
            found.sort_unstable_by_key(name);
            found.dedup();
            return self.page_of_names(kind, scope, asked, found.into_iter(), count);
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
                self.page_of_names(kind, scope, asked, found.into_iter(), |topic| Counted {
                    clients: few.remove(&topic).unwrap_or(0),
                    ..Counted::default()
                })
            }
            None => self.page_of_names(kind, scope, asked, topics.after(after), count),
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

    fn page_of_names(
        &self,
        kind: TopicKind,
        scope: &Scope,
        asked: &Names,
        topics: impl Iterator<Item = u32>,
        mut count: impl FnMut(u32) -> Counted,
    ) -> Answer {
        debug_assert!(scope.wanted.is_empty(), "sessions are not compared here");
        let name = |topic| self.hub.topics(kind).name(topic).to_string();
        let mut answer = Answer::count(self.gateway, 0);
        let (mut steps, mut bytes, mut last) = (0, 0, None);
        // the name that the page before did not finish, if it is still there
        let begun = asked.after.as_deref().zip(asked.within);
        let begun = begun.and_then(|(name, conn)| {
            let topic = self.hub.topics(kind).find(name)?;
            Some((topic, Some(conn)))
        });
        for (topic, within) in begun.into_iter().chain(topics.map(|topic| (topic, None))) {
            let full = answer.names.len() == limit_of(asked.limit) || bytes > self.most_page;
            if full || steps >= MOST_STEPS {
                answer.next_name = last.map(name);
                break;
            }
            last = Some(topic);
            let counted = match within {
                Some(_) => scope.count_on(self.hub, kind, topic, within),
                None => count(topic),
            };
            steps += 1 + counted.steps;
            if counted.clients > 0 {
                let name = name(topic);
                bytes += 32 + name.len();
                answer.names.push(NameCount {
                    name,
                    count: counted.clients,
                });
            }
            if counted.rest.is_some() {
                answer.next_name = Some(name(topic));
                answer.next_within = counted.rest;
                break;
            }
        }
        answer.count = answer.names.len() as u64;
        answer
    }
}

//! Queries: what is asked about the clients of a target.
//!
//! The work that goes into an answer is bounded: a list comes in pages, and a page ends when it is
//! full, or when enough was looked through. See [`MOST_STEPS`].

mod clients;
mod names;
mod scope;
#[cfg(test)]
mod tests;

use wire::{Answer, AnswerError, Query, Request, Session};

use self::scope::{Scope, Whose};
use super::{Shard, apply::Target};
use crate::{
    hub::{Hub, TopicKind},
    topics::Slot,
};

/// Largest page, in bytes of names and sessions, where the server's `max_payload` allows it.
const MOST_PAGE: usize = 256 * 1024;
/// What a page may have beyond that: the answer around it.
const AROUND: usize = 4 * 1024;
/// Most clients or names in a page.
const MOST_ITEMS: u32 = 4096;
/// Most clients, or what takes as long, that are looked at for a page: a millisecond or two, for
/// which the shard does nothing else.
const MOST_STEPS: usize = 16 * 1024;

/// What there is to be asked about.
struct Census<'a, F> {
    gateway: wire::GatewayId,
    hub: &'a Hub,
    /// How many clients are open.
    open: u64,
    /// How much a page may have, in bytes.
    most_page: usize,
    /// What is known of a client, if it is open.
    facts: F,
}

/// What is known of a client, beside its place in the hub.
#[derive(Clone, Copy)]
struct Facts<'a> {
    session: &'a Session,
    version: u64,
    remote: &'a str,
}

impl Shard {
    pub(super) fn query(&self, target: Target, request: &Request, query: &Query) -> Answer {
        if matches!(query, Query::Count) {
            return Answer::count(self.gateway, self.how_many(target, request));
        }
        if matches!(target, Target::Nobody) && request.to.is_none() {
            return Answer::error(self.gateway, AnswerError::NoClient);
        }
        let census = Census {
            gateway: self.gateway,
            hub: &self.hub,
            open: self.open,
            most_page: self.most_page(),
            facts: |slot: Slot| {
                let client = self.clients[slot as usize].as_ref().filter(|c| c.open)?;
                Some(Facts {
                    session: &client.session,
                    version: client.version,
                    remote: &client.remote,
                })
            },
        };
        let whose = match target {
            Target::All => Whose::Everybodys,
            Target::Topic(kind, topic) => Whose::Of(kind, topic),
            _ => Whose::these(self.slots(target, request)),
        };
        let mut scope = Scope::new(whose, self.left_out(request));
        match query {
            Query::Count => unreachable!("answered above"),
            Query::List {
                fields,
                filter,
                after,
                limit,
            } => match scope.narrow(&self.hub, filter) {
                Ok(()) => census.list(&scope, *fields, *after, limit_of(*limit)),
                Err(_) => Answer::error(self.gateway, AnswerError::Malformed),
            },
            Query::Uids(names) => census.names(TopicKind::Uid, &scope, names),
            Query::Groups(names) => census.names(TopicKind::Group, &scope, names),
        }
    }

    fn most_page(&self) -> usize {
        let max_payload = self.link.max_payload().unwrap_or_default();
        MOST_PAGE.min(max_payload.saturating_sub(AROUND))
    }

    fn how_many(&self, target: Target, request: &Request) -> u64 {
        let whose = match target {
            Target::Topic(kind, topic) => Whose::Of(kind, topic),
            Target::All => Whose::Everybodys,
            _ => return self.slots(target, request).len() as u64,
        };
        Scope::new(whose, self.left_out(request)).size(&self.hub, self.open)
    }

    fn left_out(&self, request: &Request) -> Vec<Slot> {
        let ours = request
            .except
            .iter()
            .filter(|id| id.gateway == self.gateway);
        let open = ours.filter_map(|id| self.open_client(id.conn));
        let mut slots: Vec<Slot> = open.collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

fn limit_of(asked: u32) -> usize {
    asked.clamp(1, MOST_ITEMS) as usize
}

//! Scope: which clients a query is about.

use wire::{ConnId, Filter, FilterError, Wanted};

use super::MOST_STEPS;
use crate::{
    hub::{Hub, TopicKind},
    topics::Slot,
};

/// Whose clients.
#[derive(Debug)]
pub(super) enum Whose {
    Everybodys,
    /// A uid's or a group's.
    Of(TopicKind, u32),
    /// These, ordered by slot.
    These(Vec<Slot>),
}

/// The clients of a target, less those that are left out, and of these the ones that a filter lets
/// through.
#[derive(Debug)]
pub(super) struct Scope {
    whose: Whose,
    /// Ordered by slot.
    except: Vec<Slot>,
    /// Of these uids and groups, if it matters: ordered numbers of topics.
    uids: Option<Vec<u32>>,
    groups: Option<Vec<u32>>,
    bound: Option<bool>,
    pub(super) wanted: Wanted,
}

/// How many clients were found, in how many steps.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) clients: u64,
    pub(super) steps: usize,
    /// Those after this one have not been looked at.
    pub(super) rest: Option<ConnId>,
}

impl Whose {
    pub(super) fn these(mut slots: Vec<Slot>) -> Self {
        slots.sort_unstable();
        Self::These(slots)
    }
}

impl Scope {
    /// `except` is ordered, and has open clients only.
    pub(super) fn new(whose: Whose, except: Vec<Slot>) -> Self {
        Self {
            whose,
            except,
            uids: None,
            groups: None,
            bound: None,
            wanted: Wanted::default(),
        }
    }

    /// Leaves only those that the filter lets through.
    pub(super) fn narrow(&mut self, hub: &Hub, filter: &Filter) -> Result<(), FilterError> {
        let numbers = |kind, names: &mut dyn Iterator<Item = &str>| {
            let mut found: Vec<u32> = names.filter_map(|n| hub.topics(kind).find(n)).collect();
            found.sort_unstable();
            found.dedup();
            found
        };
        let uids = filter.uids.as_ref();
        self.uids = uids.map(|uids| numbers(TopicKind::Uid, &mut uids.iter().map(|uid| &**uid)));
        let groups = filter.groups.as_ref();
        self.groups = groups.map(|g| numbers(TopicKind::Group, &mut g.iter().map(|g| &**g)));
        self.bound = filter.bound;
        self.wanted = filter.wanted()?;
        Ok(())
    }

    /// How many clients the target has, whatever the filter says.
    pub(super) fn size(&self, hub: &Hub, open: u64) -> u64 {
        match &self.whose {
            Whose::Everybodys => open - self.except.len() as u64,
            Whose::Of(kind, topic) => {
                let out = self.except.iter();
                let out = out.filter(|slot| is_of(hub, *kind, *topic, **slot));
                (hub.topics(*kind).len(*topic) - out.count()) as u64
            }
            Whose::These(slots) => slots.len() as u64,
        }
    }

    /// How many clients of a uid or group are in it; `None` where that takes too long for one step.
    pub(super) fn count(&self, hub: &Hub, kind: TopicKind, topic: u32) -> Option<Counted> {
        let members = hub.topics(kind).len(topic);
        let (whole, others) = match &self.whose {
            Whose::Everybodys => (true, usize::MAX),
            Whose::Of(of, whose) => ((*of, *whose) == (kind, topic), hub.topics(*of).len(*whose)),
            Whose::These(slots) => (false, slots.len()),
        };
        // whoever are the fewest are looked at
        if whole && !self.is_filtered() && self.except.len() < members {
            let out = self.tally(hub, self.except.iter().copied(), |slot| {
                is_of(hub, kind, topic, slot)
            })?;
            return Some(Counted {
                clients: members as u64 - out.clients,
                ..out
            });
        }
        if others >= members {
            let among = hub.topics(kind).members(topic);
            return self.tally(hub, among, |slot| self.holds(hub, slot));
        }
        let both = |slot| is_of(hub, kind, topic, slot) && self.holds(hub, slot);
        match &self.whose {
            Whose::Of(of, whose) => self.tally(hub, hub.topics(*of).members(*whose), both),
            Whose::These(slots) => self.tally(hub, slots.iter().copied(), both),
            Whose::Everybodys => unreachable!("nobody has more members than there are clients"),
        }
    }

    /// The same in several steps, in the order of the connection ids: those after this one, as far as
    /// a step goes.
    pub(super) fn count_on(
        &self,
        hub: &Hub,
        kind: TopicKind,
        topic: u32,
        after: Option<ConnId>,
    ) -> Counted {
        let mut counted = Counted::default();
        let mut last = None;
        for (conn, slot) in hub.after(after) {
            if counted.steps >= MOST_STEPS {
                counted.rest = last;
                break;
            }
            last = Some(conn);
            counted.steps += self.look(hub, slot);
            counted.clients += u64::from(is_of(hub, kind, topic, slot) && self.holds(hub, slot));
        }
        counted
    }

    /// How many of these clients it is true of; `None` where that takes too long for one step.
    fn tally(
        &self,
        hub: &Hub,
        slots: impl ExactSizeIterator<Item = Slot>,
        is_true: impl Fn(Slot) -> bool,
    ) -> Option<Counted> {
        let mut counted = Counted::default();
        if slots.len() > MOST_STEPS {
            return None;
        }
        for slot in slots {
            counted.steps += self.look(hub, slot);
            if counted.steps > MOST_STEPS {
                return None;
            }
            counted.clients += u64::from(is_true(slot));
        }
        Some(counted)
    }

    /// How long it takes to find a topic among a client's, and whether the scope has the client.
    fn look(&self, hub: &Hub, slot: Slot) -> usize {
        self.steps(hub, slot) + hub.topics_of(slot, TopicKind::Group).len() / 16
    }

    fn is_filtered(&self) -> bool {
        self.uids.is_some()
            || self.groups.is_some()
            || self.bound.is_some()
            || !self.wanted.is_empty()
    }

    /// Clients among whom all of the scope are, if they are few; else everybody has to be looked at.
    pub(super) fn candidates(&self, hub: &Hub) -> Option<Vec<Slot>> {
        let members = |kind, topics: &[u32]| -> usize {
            topics
                .iter()
                .map(|topic| hub.topics(kind).len(*topic))
                .sum()
        };
        let gather = |kind, topics: &[u32]| -> Vec<Slot> {
            let members = topics.iter().flat_map(|t| hub.topics(kind).members(*t));
            let mut slots: Vec<Slot> = members.collect();
            slots.sort_unstable();
            slots.dedup();
            slots
        };
        let mut sources: Vec<(usize, TopicKind, &[u32])> = Vec::new();
        let mut add = |kind, topics| sources.push((members(kind, topics), kind, topics));
        if let Some(uids) = &self.uids {
            add(TopicKind::Uid, uids);
        }
        if let Some(groups) = &self.groups {
            add(TopicKind::Group, groups);
        }
        match &self.whose {
            Whose::These(slots) => return Some(slots.clone()),
            Whose::Of(kind, topic) => add(*kind, std::slice::from_ref(topic)),
            Whose::Everybodys => {}
        }
        let (_, kind, topics) = sources
            .into_iter()
            .filter(|(members, ..)| *members <= MOST_STEPS)
            .min_by_key(|(members, ..)| *members)?;
        Some(gather(kind, topics))
    }

    /// Whether a client's place in the hub lets it through; its session is another matter.
    pub(super) fn holds(&self, hub: &Hub, slot: Slot) -> bool {
        let is_of_any = |kind, among: &[u32]| {
            let mut topics = hub.topics_of(slot, kind);
            topics.any(|topic| among.binary_search(&topic).is_ok())
        };
        let meant = match &self.whose {
            Whose::Everybodys => true,
            Whose::Of(kind, topic) => is_of(hub, *kind, *topic, slot),
            Whose::These(slots) => slots.binary_search(&slot).is_ok(),
        };
        meant
            && self.except.binary_search(&slot).is_err()
            && self
                .bound
                .is_none_or(|bound| bound == (hub.topics_of(slot, TopicKind::Uid).len() > 0))
            && self
                .uids
                .as_ref()
                .is_none_or(|uids| is_of_any(TopicKind::Uid, uids))
            && self
                .groups
                .as_ref()
                .is_none_or(|groups| is_of_any(TopicKind::Group, groups))
    }

    /// How long [`holds`](Self::holds) takes: a client in many groups takes longer.
    pub(super) fn steps(&self, hub: &Hub, slot: Slot) -> usize {
        let groups = self.groups.is_some() || matches!(self.whose, Whose::Of(TopicKind::Group, _));
        match groups {
            true => 1 + hub.topics_of(slot, TopicKind::Group).len() / 16,
            false => 1,
        }
    }
}

/// Whether a client has this uid, or is in this group.
fn is_of(hub: &Hub, kind: TopicKind, topic: u32, slot: Slot) -> bool {
    hub.topics_of(slot, kind).any(|t| t == topic)
}

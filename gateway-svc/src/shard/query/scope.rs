//! Scope: which clients a query is about.

use wire::{Filter, FilterError, Wanted};

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

    /// Whether all clients of this uid or group are in it.
    pub(super) fn has_all_of(&self, kind: TopicKind, topic: u32) -> bool {
        let whole = match self.whose {
            Whose::Everybodys => true,
            Whose::Of(of, whose) => (of, whose) == (kind, topic),
            Whose::These(_) => false,
        };
        whole
            && self.except.is_empty()
            && self.uids.is_none()
            && self.groups.is_none()
            && self.bound.is_none()
            && self.wanted.is_empty()
    }

    /// How many clients the target has, whatever the filter says.
    pub(super) fn size(&self, hub: &Hub, open: u64) -> u64 {
        match &self.whose {
            Whose::Everybodys => open - self.except.len() as u64,
            Whose::Of(kind, topic) => {
                let out = self.except.iter();
                let out = out.filter(|slot| hub.topics_of(**slot, *kind).any(|t| t == *topic));
                (hub.topics(*kind).len(*topic) - out.count()) as u64
            }
            Whose::These(slots) => slots.len() as u64,
        }
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
        let is_of = |kind, among: &[u32]| {
            let mut topics = hub.topics_of(slot, kind);
            topics.any(|topic| among.binary_search(&topic).is_ok())
        };
        let meant = match &self.whose {
            Whose::Everybodys => true,
            Whose::Of(kind, topic) => is_of(*kind, std::slice::from_ref(topic)),
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
                .is_none_or(|uids| is_of(TopicKind::Uid, uids))
            && self
                .groups
                .as_ref()
                .is_none_or(|groups| is_of(TopicKind::Group, groups))
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

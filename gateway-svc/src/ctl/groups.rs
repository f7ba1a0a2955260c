//! `groups`: which there are, and how many members each has.

use std::collections::BTreeMap;

use serde_json::json;
use wire::{Answer, Names, Query, Request, request::DEFAULT_LIMIT};

use super::{
    Report,
    bus::Bus,
    census::nobody,
    options::Groups,
    pages::pages,
    table::{
        Align::{Left, Right},
        Table,
    },
};

/// Groups by name, with their members at all gateways, up to the limit.
pub(super) async fn groups(bus: &mut Bus, options: &Groups) -> Report {
    let page = |before: Option<&Answer>| {
        Request::query(Query::Groups(Names {
            after: before.and_then(|answer| answer.next_name.clone()),
            within: before.and_then(|answer| answer.next_within),
            limit: options.limit.min(DEFAULT_LIMIT),
            ..Names::default()
        }))
    };
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let mut members: BTreeMap<String, u64> = BTreeMap::new();
    let (mut taken, mut cut) = (BTreeMap::new(), false);
    let gaps = pages(bus, page, |answer| {
        let taken: &mut usize = taken.entry(answer.gateway).or_default();
        // a name that goes on comes again
        let goes_on = answer.next_within.is_some();
        let counted = answer.names.iter();
        *taken += counted
            .filter(|group| !goes_on || Some(&group.name) != answer.next_name.as_ref())
            .count();
        for group in answer.names.drain(..) {
            *members.entry(group.name).or_default() += group.count;
        }
        // a name among the first of all is among the first of each gateway that has it
        let enough = *taken >= limit && !goes_on;
        cut |= enough && answer.next_name.is_some();
        !enough
    })
    .await;
    cut |= members.len() > limit;
    let mut table = Table::new([("GROUP", Left), ("MEMBERS", Right)]);
    let mut shown = Vec::new();
    for (name, count) in members.into_iter().take(limit) {
        table.row([name.clone(), count.to_string()]);
        shown.push(json!({ "group": name, "members": count }));
    }
    let mut text = table.to_string();
    text.push_str(&match cut {
        false => format!("{} in all\n", shown.len()),
        true => format!("{} shown, and there are more\n", shown.len()),
    });
    let mut trouble = nobody(bus, bus.roster.gateways().is_empty(), "no gateway beats");
    trouble.extend(gaps.trouble);
    Report {
        text,
        json: json!({ "more": cut, "groups": shown, "missing": gaps.missing }),
        trouble,
    }
}

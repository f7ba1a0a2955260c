//! `connections`: the clients of all gateways, page by page.

use std::collections::BTreeMap;

use serde_json::json;
use wire::{Answer, ClientInfo, Fields, Filter, Query, Request, TargetKind};

use super::{
    Report,
    bus::Bus,
    census::nobody,
    options::Connections,
    pages::pages,
    table::{Align::Left, Table},
};

/// Largest page that is asked for: a gateway gives no more than it likes.
const PAGE: u32 = 1000;

/// Clients, by gateway and connection, up to the limit.
pub(super) async fn connections(bus: &mut Bus, options: &Connections) -> Report {
    let page = |before: Option<&Answer>| {
        let query = Query::List {
            fields: Fields {
                uid: true,
                groups: true,
                remote: true,
                session: false,
            },
            filter: Filter::default(),
            after: before.and_then(|answer| answer.next),
            limit: options.limit.min(PAGE),
        };
        let (uid, group) = (options.uid.as_deref(), options.group.as_deref());
        about(Request::query(query), uid, group)
    };
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let mut clients: Vec<ClientInfo> = Vec::new();
    let mut totals = BTreeMap::new();
    let gaps = pages(bus, page, |answer| {
        totals.insert(answer.gateway, answer.count);
        let room = limit - clients.len();
        clients.extend(answer.clients.drain(..).take(room));
        clients.len() < limit
    })
    .await;
    let total: u64 = totals.values().sum();
    let mut table = Table::new([
        ("CLIENT", Left),
        ("UID", Left),
        ("REMOTE", Left),
        ("GROUPS", Left),
        ("GATEWAY", Left),
    ]);
    for client in &clients {
        let more = client.more_groups.then_some("…");
        let groups = client.groups.iter().map(|g| &**g).chain(more);
        let groups: Vec<&str> = groups.collect();
        table.row([
            client.client.to_string(),
            client.uid.as_deref().unwrap_or_default().to_owned(),
            client.remote.clone().unwrap_or_default(),
            groups.join(", "),
            client.client.gateway.to_string(),
        ]);
    }
    let shown = clients.len() as u64;
    let mut text = table.to_string();
    text.push_str(&match total.saturating_sub(shown) {
        0 => format!("{shown} in all\n"),
        more => format!(
            "{total} in all, {more} of them not shown: --limit is {}\n",
            options.limit
        ),
    });
    let mut trouble = nobody(bus, bus.roster.gateways().is_empty(), "no gateway beats");
    trouble.extend(gaps.trouble);
    let clients: Vec<_> = clients
        .into_iter()
        .map(|client| {
            json!({
                "client": client.client,
                "uid": client.uid,
                "remote": client.remote,
                "groups": client.groups,
                "more_groups": client.more_groups,
                "gateway": client.client.gateway,
            })
        })
        .collect();
    Report {
        text,
        json: json!({ "total": total, "connections": clients, "missing": gaps.missing }),
        trouble,
    }
}

/// The same request about a uid or a group, on a subject that is everybody's or a gateway's own.
pub(super) fn about(request: Request, uid: Option<&str>, group: Option<&str>) -> Request {
    let (target, name) = match (uid, group) {
        (Some(uid), _) => (TargetKind::Uid, uid),
        (None, Some(group)) => (TargetKind::Group, group),
        (None, None) => return request,
    };
    Request {
        target: Some(target),
        ..request.to(name)
    }
}

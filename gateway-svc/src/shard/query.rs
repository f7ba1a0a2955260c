//! Queries: what is asked about the clients of a target.

use wire::{Answer, AnswerError, ClientInfo, ConnId, Fields, Query, Request, Session};

use super::{Shard, apply::Target};
use crate::topics::Slot;

/// Largest page, in bytes of names and sessions; well below NATS's `max_payload` of 1 MiB.
const MOST_PAGE: usize = 256 * 1024;
/// Most clients in a page.
const MOST_CLIENTS: u32 = 4096;

impl Shard {
    pub(super) fn query(&self, target: Target, request: &Request, query: &Query) -> Answer {
        match query {
            Query::Count => {
                let count = match target {
                    Target::Topic(kind, topic) if request.except.is_empty() => {
                        self.hub.topics(kind).len(topic)
                    }
                    Target::All if request.except.is_empty() => {
                        usize::try_from(self.open).unwrap_or(usize::MAX)
                    }
                    _ => self.slots(target, request).len(),
                };
                Answer::count(self.gateway, count as u64)
            }
            Query::List { .. } if matches!(target, Target::Nobody) && request.to.is_none() => {
                Answer::error(self.gateway, AnswerError::NoClient)
            }
            Query::List {
                fields,
                after,
                limit,
            } => self.list(
                self.slots(target, request),
                *fields,
                *after,
                (*limit).clamp(1, MOST_CLIENTS),
            ),
        }
    }

    /// A page of clients, ordered by connection id: an order that holds while clients come and go.
    fn list(&self, slots: Vec<Slot>, fields: Fields, after: Option<ConnId>, limit: u32) -> Answer {
        let mut answer = Answer::count(self.gateway, slots.len() as u64);
        let mut rest: Vec<(ConnId, Slot)> = slots
            .into_iter()
            .map(|slot| (self.hub.conn(slot), slot))
            .collect();
        rest.retain(|(conn, _)| after.is_none_or(|after| *conn > after));
        let mut more = keep_first(&mut rest, limit as usize);
        let mut bytes = 0;
        for (conn, slot) in rest {
            if bytes > MOST_PAGE {
                more = true;
                break;
            }
            let info = self.info(slot, conn, fields);
            bytes += 64
                + info.session.as_bytes().len()
                + info.uid.as_ref().map_or(0, |uid| uid.len())
                + info
                    .groups
                    .iter()
                    .map(|group| group.len() + 4)
                    .sum::<usize>();
            answer.clients.push(info);
        }
        if more {
            answer.next = answer.clients.last().map(|c| c.client.conn);
        }
        answer
    }

    fn info(&self, slot: Slot, conn: ConnId, fields: Fields) -> ClientInfo {
        let client = self.clients[slot as usize].as_ref();
        ClientInfo {
            client: wire::ClientId {
                gateway: self.gateway,
                conn,
            },
            uid: if fields.uid { self.hub.uid(slot) } else { None },
            session: client
                .filter(|_| fields.session)
                .map_or_else(Session::default, |c| c.session.clone()),
            version: client.filter(|_| fields.session).map_or(0, |c| c.version),
            groups: if fields.groups {
                self.hub.groups_of(slot)
            } else {
                Vec::new()
            },
            remote: client
                .filter(|_| fields.remote)
                .map(|c| c.remote.to_string()),
        }
    }
}

/// Leaves the smallest `limit` items, in order, and says whether there were more. Only what is left
/// is sorted, so that a page of a long list costs one pass over it.
fn keep_first<T: Ord>(items: &mut Vec<T>, limit: usize) -> bool {
    let more = items.len() > limit;
    if more {
        items.select_nth_unstable(limit);
        items.truncate(limit);
    }
    items.sort_unstable();
    more
}

#[cfg(test)]
mod tests {
    use rand::seq::SliceRandom;

    use super::keep_first;

    #[test]
    fn a_page_has_the_first_in_order_and_tells_whether_more_follow() {
        for (len, limit, more) in [
            (0, 1, false),
            (1, 1, false),
            (2, 1, true),
            (4097, 4096, true),
        ] {
            let mut items: Vec<u32> = (0..len).collect();
            items.shuffle(&mut rand::rng());
            assert_eq!(keep_first(&mut items, limit), more, "{len} {limit}");
            let first: Vec<u32> = (0..len).take(limit).collect();
            assert_eq!(items, first);
        }
    }
}

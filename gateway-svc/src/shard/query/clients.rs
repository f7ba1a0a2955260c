//! Lists of clients.

use wire::{Answer, ClientId, ClientInfo, ConnId, Fields, Session};

use super::{Census, Facts, MOST_STEPS, scope::Scope};
use crate::{hub::TopicKind, topics::Slot};

/// Most bytes of one client's groups in a list.
const MOST_GROUPS: usize = 64 * 1024;
/// To compare a session takes as long as so many steps, and one more for each so many bytes.
const SESSION_STEPS: usize = 4;
const SESSION_STEP: usize = 64;

impl<'a, F: Fn(Slot) -> Option<Facts<'a>>> Census<'a, F> {
    /// A page of clients, ordered by connection id: an order that holds while clients come and go.
    pub(super) fn list(
        &self,
        scope: &Scope,
        fields: Fields,
        after: Option<ConnId>,
        limit: usize,
    ) -> Answer {
        let count = scope.size(self.hub, self.open);
        match scope.candidates(self.hub) {
            Some(few) => {
                let few = few.into_iter().map(|slot| (self.hub.conn(slot), slot));
                let mut few: Vec<(ConnId, Slot)> = few
                    .filter(|(conn, _)| after.is_none_or(|after| *conn > after))
                    .collect();
                few.sort_unstable();
                self.page(count, scope, fields, limit, few.into_iter())
            }
            None => self.page(count, scope, fields, limit, self.hub.after(after)),
        }
    }

    fn page(
        &self,
        count: u64,
        scope: &Scope,
        fields: Fields,
        limit: usize,
        clients: impl Iterator<Item = (ConnId, Slot)>,
    ) -> Answer {
        let mut answer = Answer::count(self.gateway, count);
        let (mut steps, mut bytes, mut last) = (0, 0, None);
        for (conn, slot) in clients {
            let before = last.replace(conn);
            if answer.clients.len() == limit || steps >= MOST_STEPS {
                answer.next = before;
                break;
            }
            steps += scope.steps(self.hub, slot);
            let Some(facts) = (self.facts)(slot).filter(|_| scope.holds(self.hub, slot)) else {
                continue;
            };
            if !scope.wanted.is_empty() {
                steps += SESSION_STEPS + facts.session.as_bytes().len() / SESSION_STEP;
                if !facts.session.has(&scope.wanted) {
                    continue;
                }
            }
            let info = self.info(slot, conn, facts, fields);
            bytes += size(&info);
            if bytes > self.most_page && !answer.clients.is_empty() {
                answer.next = before;
                break;
            }
            answer.clients.push(info);
        }
        answer
    }

    /// What a page says of a client. It fits a page of its own: what has no room is left out, and the
    /// entry says so.
    fn info(&self, slot: Slot, conn: ConnId, facts: Facts<'a>, fields: Fields) -> ClientInfo {
        let mut info = ClientInfo {
            client: ClientId {
                gateway: self.gateway,
                conn,
            },
            uid: None,
            session: Session::default(),
            session_left_out: false,
            version: 0,
            groups: Vec::new(),
            more_groups: false,
            remote: fields.remote.then(|| facts.remote.to_owned()),
        };
        if fields.uid {
            info.uid = self.hub.uid(slot);
        }
        if fields.session {
            info.version = facts.version;
            if size(&info) + facts.session.as_bytes().len() <= self.most_page {
                info.session = facts.session.clone();
            } else {
                info.session_left_out = !facts.session.is_empty();
            }
        }
        if fields.groups {
            let mut room = MOST_GROUPS.min(self.most_page.saturating_sub(size(&info)));
            let topics = self.hub.topics(TopicKind::Group);
            let names = self.hub.topics_of(slot, TopicKind::Group);
            let all = names.len();
            let fit = names
                .map(|topic| topics.name(topic))
                .take_while(|name| {
                    let fits = name.len() + 4 <= room;
                    room = room.saturating_sub(name.len() + 4);
                    fits
                })
                .map(|name| wire::Group::new(name.clone()).expect("it was one"));
            info.groups = fit.collect();
            info.more_groups = info.groups.len() < all;
        }
        info
    }
}

/// How many bytes a client takes in a page, or somewhat more.
fn size(info: &ClientInfo) -> usize {
    let groups: usize = info.groups.iter().map(|group| group.len() + 4).sum();
    let uid = info.uid.as_ref().map_or(0, |uid| uid.len());
    let remote = info.remote.as_ref().map_or(0, String::len);
    112 + info.session.as_bytes().len() + uid + groups + remote
}

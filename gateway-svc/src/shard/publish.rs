//! Batches on their way out. Those that go the same way share a message.

use std::collections::VecDeque;

use wire::{DeadReason, EventBatchView, EventKind, EventMessageWriter, WorkerId};

use super::{Shard, client::Client};
use crate::{
    dispatch::{Batch, Event, Messages, Millis},
    listen::Routing,
    topics::Slot,
};

/// Batches that share a message have so many bytes together at the most, and room beyond that is not
/// kept.
const ENOUGH: usize = 64 * 1024;
/// So many that are ready are sorted by where they go.
const MOST_SORTED: usize = 1024;

/// Which subject a batch goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    listener: u16,
    /// None: to any of the service.
    worker: Option<WorkerId>,
    kind: EventKind,
}

/// A message that is being filled.
#[derive(Default)]
pub(super) struct Filling {
    /// Where it goes; that of the message before while it is empty.
    way: Option<Way>,
    /// How many batches it may have.
    share: usize,
    writer: EventMessageWriter,
    /// Whose batches are in it, in order.
    slots: Vec<Slot>,
    /// Whose batches come next: those that go the same way one behind the other. What the link has no
    /// room for stays in it, so that what comes later cannot pass it.
    queue: VecDeque<Slot>,
}

impl Shard {
    /// Publishes the batches that are ready, while the link takes them: [`MOST_SORTED`] at a time, in
    /// the order in which they became ready, and these by where they go.
    pub(super) fn publish_ready(&mut self) {
        if self.waiting() == 0 {
            return;
        }
        let now = self.now();
        let mut filling = std::mem::take(&mut self.filling);
        while self.link.is_ready() && self.link.has_room() {
            if filling.queue.is_empty() {
                if self.ready.is_empty() {
                    break;
                }
                let some = self.ready.len().min(MOST_SORTED);
                filling.queue.extend(self.ready.drain(..some));
                let clients = &self.clients;
                filling.queue.make_contiguous().sort_by_key(|slot| {
                    let client = clients[*slot as usize].as_ref();
                    client.and_then(|client| way_of(client).map(|(way, _)| way))
                });
            }
            while self.link.has_room()
                && let Some(slot) = filling.queue.pop_front()
            {
                self.fill(&mut filling, slot, now);
            }
            self.publish(&mut filling);
            filling.way = None;
        }
        self.filling = filling;
    }

    /// How many batches wait to be published.
    pub(super) fn waiting(&self) -> usize {
        self.filling.queue.len() + self.ready.len()
    }

    /// Nothing waits any more: everything that is to be published is found anew.
    pub(super) fn forget_ready(&mut self) {
        self.filling.queue.clear();
        self.ready.clear();
    }

    /// Puts a client's batch into a message, if it waits to be sent.
    fn fill(&mut self, filling: &mut Filling, slot: Slot, now: Millis) {
        let most = self.link.max_payload().unwrap_or_default();
        let Some((way, batch)) = self.way(slot) else {
            return;
        };
        let alone = batch.alone;
        if filling.way != Some(way) {
            self.publish(filling);
            filling.way = Some(way);
            filling.share = self.share(way, &filling.queue);
        } else if alone || filling.slots.len() >= filling.share {
            self.publish(filling);
        }
        loop {
            let Some(client) = &self.clients[slot as usize] else {
                return;
            };
            let batch = self.envelope(slot, client, client.dispatch.batch());
            let room = match filling.writer.is_empty() {
                true => most,
                false => most.min(ENOUGH),
            };
            if filling.writer.push(&batch, room) {
                break;
            }
            if !filling.writer.is_empty() {
                self.publish(filling);
                continue;
            }
            let Some(client) = &mut self.clients[slot as usize] else {
                return;
            };
            if !client.dispatch.shrink() {
                self.give_up(slot, DeadReason::TooLarge);
                self.go_on(slot);
                return;
            }
        }
        if let Some(client) = &mut self.clients[slot as usize] {
            // a batch that was made smaller may be of another kind
            filling.way = way_of(client).map(|(way, _)| way);
            filling.slots.push(slot);
            let service = &self.services[usize::from(client.listener)];
            client.dispatch.sent(now, service.load.in_flight.begin());
        }
        if alone {
            self.publish(filling);
        }
    }

    /// How many batches may share a message, one that goes this way having been taken from these.
    fn share(&self, to: Way, queue: &VecDeque<Slot>) -> usize {
        if !self.link.takes_many() {
            return 1;
        }
        let service = &self.services[usize::from(to.listener)];
        match (to.worker, service.routing) {
            (Some(worker), _) => service.load.share_of(worker),
            // whoever takes these keeps their clients, so each is dealt out by itself
            (None, Routing::Sticky) => 1,
            (None, Routing::Queue) => {
                let same = |slot: &&Slot| self.way(**slot).is_some_and(|(way, _)| way == to);
                let ready = 1 + queue.iter().take_while(same).count();
                service.load.share(ready)
            }
        }
    }

    /// Where a client's batch goes, if it waits to be sent.
    fn way(&self, slot: Slot) -> Option<(Way, Batch<'_>)> {
        way_of(self.clients[slot as usize].as_ref()?)
    }

    /// Publishes a message, if there is something in it.
    fn publish(&mut self, filling: &mut Filling) {
        let Some(way) = filling.way.filter(|_| !filling.writer.is_empty()) else {
            return;
        };
        self.ack_subject.truncate(self.ack_prefix);
        for slot in &filling.slots {
            self.hub.conn(*slot).push_to(&mut self.ack_subject);
        }
        let Way { worker, kind, .. } = way;
        let many = filling.slots.len() > 1;
        let straight;
        let subject = match worker {
            None => {
                let subjects = &self.services[usize::from(way.listener)].subjects[kind as usize];
                if many { &subjects.many } else { &subjects.one }
            }
            Some(worker) => {
                straight = match many {
                    true => self.subjects.worker_many(worker, kind),
                    false => self.subjects.worker(worker, kind),
                };
                &straight
            }
        };
        let payload = match many {
            true => filling.writer.message(),
            false => filling.writer.batch().unwrap_or_default(),
        };
        let reply = self.ack_subject.as_bytes();
        let sent = self.link.publish(subject, Some(reply), payload).is_ok();
        let metrics = self.metrics.service(way.listener);
        if sent {
            metrics.messages.inc();
        }
        for slot in filling.slots.drain(..).rev() {
            let Some(client) = &mut self.clients[slot as usize] else {
                continue;
            };
            if !sent {
                client.dispatch.not_sent();
                self.ready.push_front(slot);
                continue;
            }
            metrics.batches.inc();
            if client.dispatch.batch().attempt > 1 {
                metrics.redelivered.inc();
            }
        }
        filling.writer.clear(ENOUGH);
    }

    /// A client's batch as it travels.
    pub(super) fn envelope<'a>(
        &'a self,
        slot: Slot,
        client: &'a Client,
        batch: Batch<'a>,
    ) -> EventBatchView<'a, Messages<'a>> {
        let (mut handshake, mut close) = (None, None);
        match batch.last() {
            Event::Connect | Event::Message(_) => {}
            Event::Websocket(event) => handshake = Some(&**event),
            Event::Close(event) => close = Some(&**event),
        }
        EventBatchView {
            client: self.client_id(slot),
            seq: batch.seq,
            attempt: batch.attempt,
            ack_wait: u32::try_from(self.limits.ack_wait.as_millis()).unwrap_or(u32::MAX),
            remote: &client.remote,
            local: &self.locals[usize::from(client.listener)],
            uid: if client.open {
                self.hub.uid_name(slot)
            } else {
                client.last_uid.as_deref()
            },
            session: &client.session,
            version: client.version,
            messages: batch.messages(),
            connect: batch.has_connect(),
            handshake,
            close,
        }
    }
}

/// Where a client's batch goes, if it waits to be sent.
fn way_of(client: &Client) -> Option<(Way, Batch<'_>)> {
    let batch = client.dispatch.ready()?;
    let way = Way {
        listener: client.listener,
        worker: client.dispatch.worker(),
        kind: batch.kind,
    };
    Some((way, batch))
}

//! The bounded queue between those who publish and the task that owns the way to NATS.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_nats::Subject;
use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use wire::{Ack, GatewayId, Subjects, WorkerId};

use super::{
    Letter, OVERHEAD,
    acks::{pieces, weight},
};
use crate::{Error, ErrorKind};

/// Gathered acks leave when they weigh this much, well below any `max_payload`.
const GATHERED: usize = 256 * 1024;
/// The bounded queue between those who publish and the task that owns the way to NATS.
pub(crate) struct Queue {
    state: Mutex<State>,
    ready: Notify,
    bytes: AtomicUsize,
    limit: usize,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    /// Acks that may still gather company; younger than every item.
    open: Vec<Gathering>,
    closed: bool,
}

struct Gathering {
    gateway: GatewayId,
    acks: Vec<Arc<Ack>>,
    weight: usize,
}

/// What a test sees of an outbox.
#[cfg(test)]
pub(crate) enum Seen {
    Letter(Vec<u8>),
    Acks(Vec<Arc<Ack>>),
}

enum Item {
    Letter(Letter),
    Acks(Gathering),
    Flush(oneshot::Sender<()>),
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            state: Mutex::default(),
            ready: Notify::new(),
            bytes: AtomicUsize::new(0),
            limit,
        }
    }

    /// How many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn check(&self, len: usize) -> Result<(), Error> {
        let bytes = self.bytes.load(Ordering::Relaxed);
        if bytes.saturating_add(len.max(1)) > self.limit {
            return Err(Error::new(
                ErrorKind::Full,
                format!("the outbox is full: {bytes} bytes wait for NATS"),
            ));
        }
        Ok(())
    }

    pub(super) fn publish(&self, letter: Letter) -> Result<(), Error> {
        self.check(letter.payload.len() + OVERHEAD)?;
        if self.lock().closed {
            return Err(closed());
        }
        self.push(letter);
        Ok(())
    }

    pub(super) fn publish_all(&self, letters: Vec<Letter>) -> Result<(), Error> {
        let weight = |letter: &Letter| letter.payload.len() + OVERHEAD;
        self.check(letters.iter().map(weight).sum())?;
        if self.lock().closed {
            return Err(closed());
        }
        letters.into_iter().for_each(|letter| self.push(letter));
        Ok(())
    }

    pub(super) fn push(&self, letter: Letter) {
        let weight = letter.payload.len() + OVERHEAD;
        let mut state = self.lock();
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        state.seal();
        state.items.push_back(Item::Letter(letter));
        drop(state);
        self.ready.notify_one();
    }

    pub(super) fn ack(&self, gateway: GatewayId, ack: Arc<Ack>) {
        let weight = weight(&ack);
        let mut state = self.lock();
        if state.closed {
            return;
        }
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        let first = state.open.is_empty();
        match state.open.iter_mut().find(|open| open.gateway == gateway) {
            Some(open) if open.weight + weight > GATHERED => {
                let full = std::mem::replace(open, Gathering::new(gateway, ack, weight));
                state.items.push_back(Item::Acks(full));
            }
            Some(open) => {
                open.acks.push(ack);
                open.weight += weight;
            }
            None => state.open.push(Gathering::new(gateway, ack, weight)),
        }
        drop(state);
        if first {
            self.ready.notify_one();
        }
    }

    /// Resolves when everything before has been handed to the socket.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        let (done, flushed) = oneshot::channel();
        {
            let mut state = self.lock();
            if state.closed {
                return Err(closed());
            }
            state.seal();
            state.items.push_back(Item::Flush(done));
        }
        self.ready.notify_one();
        flushed.await.map_err(|_| closed())
    }

    /// Takes nothing more; what is in it still goes out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    /// What is in it, in order.
    #[cfg(test)]
    pub(crate) fn look(&self) -> Vec<Seen> {
        let mut state = self.lock();
        state.seal();
        let look = |item: &Item| match item {
            Item::Letter(letter) => Some(Seen::Letter(letter.payload.clone())),
            Item::Acks(gathered) => Some(Seen::Acks(gathered.acks.clone())),
            Item::Flush(_) => None,
        };
        state.items.iter().filter_map(look).collect()
    }

    /// Takes the queue out to NATS until it is closed and empty.
    pub(crate) async fn drain(
        self: Arc<Self>,
        nats: async_nats::Client,
        worker: WorkerId,
        subjects: Subjects,
    ) {
        let mut taken = VecDeque::new();
        loop {
            let closed = {
                let mut state = self.lock();
                state.seal();
                std::mem::swap(&mut state.items, &mut taken);
                state.closed
            };
            if taken.is_empty() {
                if closed {
                    break;
                }
                self.ready.notified().await;
                continue;
            }
            for item in taken.drain(..) {
                let (weight, sent) = match item {
                    Item::Letter(letter) => {
                        let weight = letter.payload.len() + OVERHEAD;
                        (weight, send(&nats, letter).await)
                    }
                    Item::Acks(gathered) => {
                        let subject = Subject::from(subjects.acks(gathered.gateway));
                        let mut sent = Ok(());
                        for payload in pieces(worker, &gathered.acks, nats.max_payload()) {
                            sent = sent.and(nats.publish(subject.clone(), payload).await);
                        }
                        (gathered.weight, sent)
                    }
                    Item::Flush(done) => {
                        if let Err(error) = nats.flush().await {
                            tracing::warn!(%error, "could not flush to NATS");
                        }
                        // Whoever waited may have given up.
                        let _ = done.send(());
                        continue;
                    }
                };
                self.bytes.fetch_sub(weight, Ordering::Relaxed);
                if let Err(error) = sent {
                    tracing::error!(%error, "a message could not be published");
                }
            }
        }
        // Dropping a client loses what it has buffered, so not before this.
        if let Err(error) = nats.flush().await {
            tracing::debug!(%error, "could not flush at the end");
        }
    }
}

impl State {
    fn seal(&mut self) {
        self.items.extend(self.open.drain(..).map(Item::Acks));
    }
}

impl Gathering {
    fn new(gateway: GatewayId, ack: Arc<Ack>, weight: usize) -> Self {
        Self {
            gateway,
            acks: vec![ack],
            weight,
        }
    }
}

async fn send(nats: &async_nats::Client, letter: Letter) -> Result<(), async_nats::PublishError> {
    let payload = Bytes::from(letter.payload);
    match letter.reply {
        None => nats.publish(letter.subject, payload).await,
        Some(reply) => {
            nats.publish_with_reply(letter.subject, reply, payload)
                .await
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the connection to NATS is closed")
}

#[cfg(test)]
mod tests {
    use wire::Command;

    use super::*;
    use crate::outbox::acks::tests::ack;

    fn letter(subject: &str, len: usize) -> Letter {
        Letter {
            subject: subject.into(),
            reply: None,
            payload: vec![0; len],
        }
    }

    fn order(queue: &Queue) -> Vec<String> {
        let mut state = queue.lock();
        state.seal();
        state
            .items
            .iter()
            .map(|item| match item {
                Item::Letter(letter) => letter.subject.clone(),
                Item::Acks(acks) => acks.acks.iter().map(|a| a.conn.0.to_string()).collect(),
                Item::Flush(_) => "flush".into(),
            })
            .collect()
    }

    const A: GatewayId = GatewayId::from_bytes([1; 6]);
    const B: GatewayId = GatewayId::from_bytes([2; 6]);

    #[test]
    fn acks_gather_by_gateway_and_never_pass_a_request() {
        let queue = Queue::new(1 << 20);
        queue.ack(A, ack(1));
        queue.ack(B, ack(2));
        queue.ack(A, ack(3));
        queue.publish(letter("one", 0)).unwrap();
        queue.ack(A, ack(4));
        queue.publish(letter("two", 0)).unwrap();
        assert_eq!(order(&queue), ["13", "2", "one", "4", "two"]);
    }

    #[test]
    fn a_full_outbox_refuses_requests_and_takes_acks() {
        let queue = Queue::new(1000);
        queue.publish(letter("fits", 1000 - OVERHEAD)).unwrap();
        let refused = queue.publish(letter("does not", 0)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Full);
        queue.ack(A, ack(1));
        assert_eq!(order(&queue), ["fits", "1"]);
    }

    #[test]
    fn several_messages_go_in_together_or_not_at_all() {
        let queue = Queue::new(1000);
        let letters = |many: usize| (0..many).map(|_| letter("one", 200)).collect();
        let refused = queue.publish_all(letters(4)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Full);
        assert!(order(&queue).is_empty());
        queue.publish_all(letters(3)).unwrap();
        assert_eq!(order(&queue).len(), 3);
    }

    #[test]
    fn gathered_acks_stay_far_below_the_largest_message() {
        let queue = Queue::new(1 << 30);
        let mut big = Ack::clone(&ack(7));
        big.commands = vec![Command::Send(wire::Payload::Binary(
            vec![0; 200_000].into(),
        ))];
        let big = Arc::new(big);
        for _ in 0..3 {
            queue.ack(A, big.clone());
        }
        assert_eq!(order(&queue), ["7", "7", "7"]);
    }
}

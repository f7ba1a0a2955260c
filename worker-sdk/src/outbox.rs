//! The outbox: everything a process publishes, in one order.
//!
//! Handlers put requests and acks in, one task takes them out to NATS. Acks that become ready at
//! about the same time are gathered, one message for each gateway, and sealed before the next
//! request goes in, so that the order in which things were issued is the order on the wire.
//!
//! It is bounded in bytes. When it is full, requests are refused with
//! [`ErrorKind::Full`], and the worker begins no new batch. Acks, and commands
//! that were to ride in one, are always taken: a batch has at most 64 KiB of them, so the worker's
//! concurrency bounds what goes above the limit.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_nats::Subject;
use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeSeq};
use tokio::sync::{Notify, oneshot};
use wire::{Ack, Command, GatewayId, Subjects, WorkerId};

use crate::{Error, ErrorKind, testing::Hub};

/// Gathered acks leave when they weigh this much, well below any `max_payload`.
const GATHERED: usize = 256 * 1024;
/// What a message weighs beside its payload.
pub(crate) const OVERHEAD: usize = 128;

/// Where everything goes that a process publishes.
pub(crate) enum Outbox {
    /// To NATS, through a queue.
    Nats(Arc<Queue>),
    /// To the in-memory gateway of the test entrance, at once.
    Memory(Arc<Hub>),
}

/// One message to be published.
pub(crate) struct Letter {
    pub(crate) subject: String,
    pub(crate) reply: Option<String>,
    pub(crate) payload: Vec<u8>,
}

impl Outbox {
    /// Puts a message at the end.
    pub(crate) fn publish(&self, letter: Letter) -> Result<(), Error> {
        match self {
            Self::Nats(queue) => queue.publish(letter),
            Self::Memory(hub) => {
                hub.publish(&letter);
                Ok(())
            }
        }
    }

    /// Puts messages at the end, all of them or none.
    pub(crate) fn publish_all(&self, letters: Vec<Letter>) -> Result<(), Error> {
        match self {
            Self::Nats(queue) => queue.publish_all(letters),
            Self::Memory(hub) => {
                letters.iter().for_each(|letter| hub.publish(letter));
                Ok(())
            }
        }
    }

    /// Puts a message at the end that was taken before: room or not.
    pub(crate) fn publish_promised(&self, letter: Letter) {
        match self {
            Self::Nats(queue) => queue.push(letter),
            Self::Memory(hub) => hub.publish(&letter),
        }
    }

    /// Puts an ack at the end.
    pub(crate) fn ack(&self, gateway: GatewayId, ack: Arc<Ack>) {
        match self {
            Self::Nats(queue) => queue.ack(gateway, ack),
            Self::Memory(hub) => hub.ack(&ack),
        }
    }

    /// Whether it is not full.
    pub(crate) fn has_room(&self) -> bool {
        self.check(0).is_ok()
    }

    /// How many bytes wait.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Nats(queue) => queue.bytes.load(Ordering::Relaxed),
            Self::Memory(_) => 0,
        }
    }

    /// Whether so many bytes would be taken now; for commands that wait for an ack to ride in.
    pub(crate) fn check(&self, len: usize) -> Result<(), Error> {
        match self {
            Self::Nats(queue) => queue.check(len),
            Self::Memory(_) => Ok(()),
        }
    }
}

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

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, len: usize) -> Result<(), Error> {
        let bytes = self.bytes.load(Ordering::Relaxed);
        if bytes.saturating_add(len.max(1)) > self.limit {
            return Err(Error::new(
                ErrorKind::Full,
                format!("the outbox is full: {bytes} bytes wait for NATS"),
            ));
        }
        Ok(())
    }

    fn publish(&self, letter: Letter) -> Result<(), Error> {
        self.check(letter.payload.len() + OVERHEAD)?;
        if self.lock().closed {
            return Err(closed());
        }
        self.push(letter);
        Ok(())
    }

    fn publish_all(&self, letters: Vec<Letter>) -> Result<(), Error> {
        let weight = |letter: &Letter| letter.payload.len() + OVERHEAD;
        self.check(letters.iter().map(weight).sum())?;
        if self.lock().closed {
            return Err(closed());
        }
        letters.into_iter().for_each(|letter| self.push(letter));
        Ok(())
    }

    fn push(&self, letter: Letter) {
        let weight = letter.payload.len() + OVERHEAD;
        let mut state = self.lock();
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        state.seal();
        state.items.push_back(Item::Letter(letter));
        drop(state);
        self.ready.notify_one();
    }

    fn ack(&self, gateway: GatewayId, ack: Arc<Ack>) {
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

/// About how many bytes an ack is on the wire.
pub(crate) fn weight(ack: &Ack) -> usize {
    let session = ack.session.as_ref().map_or(0, |change| {
        change.set.as_bytes().len() + change.removed.iter().map(|k| k.len() + 2).sum::<usize>()
    });
    OVERHEAD + session + ack.commands.iter().map(command_weight).sum::<usize>()
}

/// About how many bytes a command is on the wire.
pub(crate) fn command_weight(command: &Command) -> usize {
    48 + match command {
        Command::Send(message) => message.len(),
        Command::Close {
            reason, message, ..
        } => reason.len() + message.as_ref().map_or(0, wire::Payload::len),
        Command::BindUid(uid)
        | Command::Claim { uid, .. }
        | Command::Contest { uid, .. }
        | Command::Settle { uid, .. }
        | Command::Withdraw { uid, .. } => uid.len(),
        Command::Join(group) | Command::Leave(group) => group.len(),
        Command::SetSession(session) | Command::UpdateSession(session) => session.as_bytes().len(),
        Command::Destroy | Command::UnbindUid => 0,
    }
}

/// The messages for these acks: one, or more on a server with a small `max_payload`.
fn pieces(worker: WorkerId, acks: &[Arc<Ack>], most: usize) -> Vec<Bytes> {
    let whole = encode(worker, acks);
    if whole.len() <= most || acks.len() < 2 {
        return vec![whole];
    }
    let (head, tail) = acks.split_at(acks.len() / 2);
    let mut pieces = self::pieces(worker, head, most);
    pieces.extend(self::pieces(worker, tail, most));
    pieces
}

/// An [`wire::AckMessage`] of acks that the ledger keeps as well.
fn encode(worker: WorkerId, acks: &[Arc<Ack>]) -> Bytes {
    #[derive(Serialize)]
    struct Shared<'a> {
        worker: WorkerId,
        #[serde(serialize_with = "each")]
        acks: &'a [Arc<Ack>],
    }
    fn each<S: Serializer>(acks: &[Arc<Ack>], to: S) -> Result<S::Ok, S::Error> {
        let mut seq = to.serialize_seq(Some(acks.len()))?;
        for ack in acks {
            seq.serialize_element(&**ack)?;
        }
        seq.end()
    }
    wire::encode(&Shared { worker, acks }).into()
}

#[cfg(test)]
mod tests {
    use wire::{AckMessage, AckStatus, ConnId};

    use super::*;

    fn ack(conn: u32) -> Arc<Ack> {
        Arc::new(Ack {
            conn: ConnId(conn),
            seq: 1,
            attempt: 1,
            status: AckStatus::Done,
            handled: 0,
            failed: 0,
            session: None,
            commands: Vec::new(),
        })
    }

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

    #[test]
    fn a_server_with_a_small_limit_gets_gathered_acks_in_pieces_and_in_order() {
        let worker = WorkerId::from_bytes([9; 6]);
        let acks: Vec<_> = (0..7).map(ack).collect();
        let most = encode(worker, &acks[..3]).len();
        let mut conns = Vec::new();
        for piece in pieces(worker, &acks, most) {
            assert!(piece.len() <= most);
            let message: AckMessage = wire::decode(&piece).unwrap();
            conns.extend(message.acks.iter().map(|ack| ack.conn.0));
        }
        assert_eq!(conns, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(
            pieces(worker, &acks[..1], 1).len(),
            1,
            "that is all there is"
        );
    }

    #[test]
    fn shared_acks_are_encoded_as_the_contract_says() {
        let worker = WorkerId::from_bytes([9; 6]);
        let acks = [ack(1), ack(2)];
        let plain = AckMessage {
            worker,
            acks: acks.iter().map(|a| Ack::clone(a)).collect(),
        };
        assert_eq!(encode(worker, &acks), wire::encode(&plain));
    }
}

//! A gateway that sends batches and reads acks; and a worker in this process.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_nats::Subscriber;
use futures_util::StreamExt;
use gatebus_tests::{Nats, within};
use tokio::{sync::Notify, task::JoinHandle};
use wire::{
    Ack, AckMessage, ClientId, ConnId, EventBatch, EventKind, EventMessage, GatewayBeat, GatewayId,
    NodeState, Payload, Prefix, ProcessId, ServiceName, Session, Subjects, beat::ShardBeat,
};
use worker_sdk::{Error, Events, Worker, WorkerBuilder};

pub(crate) const SERVICE: &str = "test";

/// A gateway with as many clients as are asked for.
pub(crate) struct Fake {
    pub(crate) id: GatewayId,
    pub(crate) subjects: Subjects,
    pub(crate) nats: async_nats::Client,
    acks: Subscriber,
    unread: VecDeque<Ack>,
}

impl Fake {
    pub(crate) async fn start(server: &Nats) -> Self {
        let nats = server.client().await;
        let id = GatewayId::from_bytes(rand::random());
        let subjects = Subjects::new(Prefix::new(server.prefix()).expect("a prefix"));
        let acks = nats.subscribe(subjects.acks(id)).await.expect("subscribed");
        round_trip(&nats).await;
        Self {
            id,
            subjects,
            nats,
            acks,
            unread: VecDeque::new(),
        }
    }

    /// One message of one client.
    pub(crate) async fn send(&self, conn: u32, seq: u64, attempt: u32, text: &str) {
        let batch = self.batch(ConnId(conn), seq, attempt, text);
        let service = ServiceName::new(SERVICE).expect("a name");
        self.nats
            .publish_with_reply(
                self.subjects.event(&service, EventKind::Message),
                self.subjects.ack(self.id, [batch.client.conn]),
                wire::encode(&batch).into(),
            )
            .await
            .expect("published");
    }

    /// The first message of each of several clients, all in one.
    pub(crate) async fn send_many(&self, said: &[(u32, &str)]) {
        let message = EventMessage {
            batches: said
                .iter()
                .map(|(conn, text)| self.batch(ConnId(*conn), 1, 1, text))
                .collect(),
        };
        let service = ServiceName::new(SERVICE).expect("a name");
        let conns = said.iter().map(|(conn, _)| ConnId(*conn));
        self.nats
            .publish_with_reply(
                self.subjects.event_many(&service, EventKind::Message),
                self.subjects.ack(self.id, conns),
                wire::encode(&message).into(),
            )
            .await
            .expect("published");
    }

    fn batch(&self, conn: ConnId, seq: u64, attempt: u32, text: &str) -> EventBatch {
        EventBatch {
            client: ClientId {
                gateway: self.id,
                conn,
            },
            seq,
            attempt,
            ack_wait: u32::try_from(SOON.as_millis()).expect("short") * 3,
            remote: "192.0.2.1:1".into(),
            local: "192.0.2.2:2".into(),
            uid: None,
            session: Session::default(),
            version: 0,
            messages: vec![Payload::Text(text.into())],
            connect: false,
            handshake: None,
            close: None,
        }
    }

    /// The next ack.
    pub(crate) async fn ack(&mut self) -> Ack {
        while self.unread.is_empty() {
            let message = within("an ack", self.acks.next()).await.expect("a message");
            let message: AckMessage = wire::decode(&message.payload).expect("acks");
            assert!(message.many, "it takes event messages, and says so");
            self.unread.extend(message.acks);
        }
        self.unread.pop_front().expect("one was read")
    }

    /// Beats once.
    pub(crate) async fn beat(&self, state: NodeState) {
        self.beat_as(state, false).await;
    }

    /// Beats once, as another shard of its process does while this one has lost NATS.
    pub(crate) async fn beat_away(&self) {
        self.beat_as(NodeState::Ready, true).await;
    }

    async fn beat_as(&self, state: NodeState, away: bool) {
        let mut process = [0; 6];
        process.copy_from_slice(self.id.as_bytes());
        let process = ProcessId::from_bytes(process);
        let beat = GatewayBeat {
            process,
            state,
            version: "0".into(),
            host: String::new(),
            started: 0,
            shards: vec![ShardBeat {
                gateway: self.id,
                clients: 1,
                uids: 0,
                groups: 0,
                away,
            }],
        };
        let subject = self.subjects.gateway_beat(process);
        let sent = self.nats.publish(subject, wire::encode(&beat).into()).await;
        sent.expect("published");
        round_trip(&self.nats).await;
    }
}

/// Resolves when the server knows all that was subscribed to on this connection; after a flush it
/// may still be on the way.
pub(crate) async fn round_trip(nats: &async_nats::Client) {
    let inbox = nats.new_inbox();
    let mut echo = nats.subscribe(inbox.clone()).await.expect("subscribed");
    nats.publish(inbox, "".into()).await.expect("published");
    within("an echo", echo.next()).await.expect("a message");
}

/// A worker that runs in this process until it is stopped.
pub(crate) struct Running {
    stop: Arc<Notify>,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Starts it; ready when this resolves.
    pub(crate) async fn start<E: Events>(server: &Nats, events: E) -> Self {
        Self::start_as(server, events, |builder| builder).await
    }

    pub(crate) async fn start_as<E: Events>(
        server: &Nats,
        events: E,
        how: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
    ) -> Self {
        let subjects = Subjects::new(Prefix::new(server.prefix()).expect("a prefix"));
        let nats = server.client().await;
        let mut beats = nats
            .subscribe(subjects.worker_beats())
            .await
            .expect("subscribed");
        round_trip(&nats).await;
        let builder = Worker::builder(SERVICE)
            .nats_url(server.url())
            .prefix(server.prefix());
        let worker = how(builder).build().expect("a worker");
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let stop = async move { stopped.notified().await };
            Box::pin(worker.run_until(events, stop)).await
        });
        // It beats from when it has subscribed, on the connection of the subscription.
        within("the worker to beat", beats.next()).await;
        Self { stop, task }
    }

    /// Stops it, and says how it ended.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.stop.notify_one();
        within("the worker to stop", self.task)
            .await
            .expect("no panic")
    }
}

/// A time limit for what is not to happen at all, or that a test wants to see pass.
pub(crate) const SOON: Duration = Duration::from_millis(200);

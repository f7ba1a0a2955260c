//! Binds of which nobody knows what became of them.

use async_nats::Subscriber;
use futures_util::{StreamExt, stream::SelectAll};
use gatebus_tests::{Nats, eventually, within};
use tokio::task::JoinHandle;
use wire::{Answer, ClientId, Command, ConnId, NodeState, Request, RequestKind};
use worker_sdk::{BindPolicy, Bound, Error, ErrorKind, Gateway};

use crate::fake::{Fake, round_trip};

/// What a gateway is asked, in its order.
struct Requests(SelectAll<Subscriber>);

impl Requests {
    async fn of(gateway: &Fake) -> Self {
        let mut subscriptions = SelectAll::new();
        for subject in [gateway.subjects.all(), gateway.subjects.clients(gateway.id)] {
            let subscription = gateway.nats.subscribe(subject).await;
            subscriptions.push(subscription.expect("subscribed"));
        }
        round_trip(&gateway.nats).await;
        Self(subscriptions)
    }

    /// The next command, and where to answer it.
    async fn next(&mut self) -> (Command, Option<async_nats::Subject>) {
        let message = within("a request", self.0.next()).await.expect("a message");
        let request: Request = wire::decode(&message.payload).expect("a request");
        match request.kind {
            RequestKind::Command(command) => (command, message.reply),
            RequestKind::Query(query) => panic!("{query:?}"),
        }
    }
}

async fn answer(gateway: &Fake, reply: Option<async_nats::Subject>, count: u64) {
    let answer = wire::encode(&Answer::count(gateway.id, count));
    let sent = gateway
        .nats
        .publish(reply.expect("it is asked"), answer.into());
    sent.await.expect("published");
}

/// A bind that was begun, up to its last step: the ticket of that, and who waits for its answer.
async fn begin(
    handle: &Gateway,
    fake: &Fake,
    requests: &mut Requests,
    policy: BindPolicy,
) -> (u64, JoinHandle<Result<Bound, Error>>) {
    let target = handle.client(client_of(fake));
    let binding = tokio::spawn(async move { Box::pin(target.bind_uid_with("42", policy)).await });
    loop {
        let (command, reply) = requests.next().await;
        match command {
            Command::Contest { .. } => answer(fake, reply, 0).await,
            Command::Claim { .. } => answer(fake, reply, 1).await,
            Command::Settle { ticket, .. } => return (ticket, binding),
            other => panic!("{other:?}"),
        }
    }
}

fn client_of(fake: &Fake) -> ClientId {
    ClientId {
        gateway: fake.id,
        conn: ConnId(7),
    }
}

/// Proves that a client does not keep a uid of whose bind the caller was told an error: not when NATS
/// is away for so long that both the answer and what takes the bind back are lost, and not when the
/// gateway comes back later than the caller.
#[tokio::test]
async fn a_bind_that_an_outage_cut_is_taken_back_when_its_gateway_is_there_again() {
    let mut server = Nats::start().await;
    let fake = Fake::start(&server).await;
    let mut requests = Requests::of(&fake).await;
    let handle = server.handle().await;
    let (settled, binding) = begin(&handle, &fake, &mut requests, BindPolicy::KickOld).await;
    // It is done, and nobody hears of it.
    server.stop().await;
    let error = within("the bind", binding).await.expect("no panic");
    assert_eq!(error.expect_err("no answer").kind(), ErrorKind::Timeout);
    let id = fake.id;
    drop((fake, requests));

    server.start_again().await;
    eventually("the handle to be back", || {
        std::future::ready(handle.is_connected().then_some(()))
    })
    .await;
    // Whatever was on its way has reached nobody.
    within("a flush", handle.flush()).await.expect("flushed");
    let mut fake = Fake::start(&server).await;
    fake.id = id;
    let mut requests = Requests::of(&fake).await;
    fake.beat(NodeState::Ready).await;
    let (command, reply) = requests.next().await;
    match command {
        Command::Withdraw { ticket, .. } => assert_eq!(ticket, settled),
        other => panic!("{other:?}"),
    }
    answer(&fake, reply, 1).await;
}

/// Proves that dropping a bind in its last step is no way to keep half of it.
#[tokio::test]
async fn a_bind_that_is_dropped_before_it_is_done_is_taken_back() {
    let server = Nats::start().await;
    let fake = Fake::start(&server).await;
    let mut requests = Requests::of(&fake).await;
    let handle = server.handle().await;
    let (settled, binding) = begin(&handle, &fake, &mut requests, BindPolicy::RejectNew).await;
    binding.abort();
    match requests.next().await {
        (Command::Withdraw { ticket, .. }, _) => assert_eq!(ticket, settled),
        (other, _) => panic!("{other:?}"),
    }
}

//! A cluster of NATS servers: a group's first message finds its newest member, and who loses a server
//! is not lost.

use std::time::Duration;

use futures_util::future::join_all;
use gatebus_tests::{
    Client, Gateway, Journal, Nats, NatsCluster, Worker,
    client::{Receiver, Sender},
    eventually, within,
};
use tokio::task::JoinHandle;

/// Proves that an awaited `join` is a barrier also where gateway and worker are on different servers
/// and each group is new, so that its interest has yet to travel.
#[tokio::test]
async fn a_group_send_after_join_reaches_the_new_member_3000_of_3000_times_across_a_cluster() {
    const CLIENTS: usize = 10;
    const EACH: usize = 300;
    let cluster = NatsCluster::start(2).await;
    let gateway = Gateway::start(&cluster[0]).await;
    let journal = Journal::new();
    let _worker = Worker::start(&cluster[1], &journal).await;
    let clients = Client::connect_many(&gateway, CLIENTS).await;
    let joins = clients
        .into_iter()
        .enumerate()
        .map(async |(c, mut client)| {
            for n in 0..EACH {
                client.send(format!("join-and-send group-{c}-{n}")).await;
                client.expect("to group").await;
                client.expect("direct").await;
            }
        });
    join_all(joins).await;
}

/// Proves the same for a uid.
#[tokio::test]
async fn a_uid_send_after_bind_reaches_the_client_across_a_cluster() {
    let cluster = NatsCluster::start(2).await;
    let gateway = Gateway::start(&cluster[0]).await;
    let journal = Journal::new();
    let _worker = Worker::start(&cluster[1], &journal).await;
    let mut client = Client::connect(&gateway).await;
    for n in 0..300 {
        client.send(format!("bind-and-send user-{n}")).await;
        client.expect("to uid").await;
        client.expect("direct").await;
    }
}

/// Proves that commands arrive in the order in which one handler issued them, whatever their
/// targets, though each target is a subject of its own.
#[tokio::test]
async fn join_group_send_and_direct_send_of_one_handler_arrive_in_order() {
    let cluster = NatsCluster::start(2).await;
    let gateway = Gateway::start(&cluster[0]).await;
    let journal = Journal::new();
    let _worker = Worker::start(&cluster[1], &journal).await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("join lobby").await, "joined lobby");
    assert_eq!(client.ask("bind me").await, "bound me");
    for round in 0..100 {
        client.send(format!("mix lobby me {round}")).await;
        for part in ["direct", "group", "uid", "all", "client", "direct again"] {
            client.expect(&format!("{part} {round}")).await;
        }
    }
}

/// Proves that servers may be added to a cluster under a running gateway.
#[tokio::test]
async fn a_server_that_joins_the_cluster_disturbs_nobody() {
    let mut cluster = NatsCluster::start(1).await;
    let gateway = Gateway::start(&cluster[0]).await;
    let journal = Journal::new();
    let _worker = Worker::start(&cluster[0], &journal).await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("before").await, "before");
    cluster.grow().await;
    // Whoever comes by the new server finds everybody.
    let handle = cluster[1].handle().await;
    eventually("the client to be found", || async {
        let count = handle.all().count().await.expect("answered");
        (count.total == 1).then_some(())
    })
    .await;
    assert_eq!(client.ask("after").await, "after");
    assert_eq!(
        gateway.metric("gatebus_gateway_link_lost_total", "").await,
        0.0
    );
    assert!(gateway.is_ready().await);
}

/// Proves that the death of a server costs a pause: gateway and worker move to another, and nothing
/// that was on its way is lost, or heard twice by the client.
#[tokio::test]
async fn gateway_and_worker_move_to_another_server_when_theirs_dies() {
    const ALL: usize = 3000;
    let mut cluster = NatsCluster::start(2).await;
    let urls = cluster.urls();
    let gateway = Gateway::with(&cluster[0])
        .env("NATS_URL", &urls)
        .option("--shards", "4")
        .option("--ack-wait", "2s")
        .start()
        .await;
    let journal = Journal::new();
    let worker = |name| Worker::with(&cluster[0], &journal, name).env("NATS_URL", &urls);
    let _one = worker("one").start().await;
    let _other = worker("other").start().await;
    let clients = pipelining(&gateway, ALL).await;
    journal.wait_messages(ALL).await;
    cluster[0].kill().await;
    all_once_in_order(clients).await;
    gateway.wait_ready(true).await;
}

type Pipeline = (JoinHandle<Sender>, JoinHandle<Receiver>);

/// Twenty clients, each of which sends so many messages and hears them again, once and in order.
async fn pipelining(gateway: &Gateway, all: usize) -> Vec<Pipeline> {
    let mut clients = Vec::new();
    for client in Client::connect_many(gateway, 20).await {
        let (mut sender, mut receiver) = client.split();
        let send = tokio::spawn(async move {
            for n in 0..all {
                sender.send(n.to_string()).await;
            }
            sender
        });
        let receive = tokio::spawn(async move {
            for n in 0..all {
                assert_eq!(receiver.text().await, n.to_string());
            }
            receiver
        });
        clients.push((send, receive));
    }
    clients
}

async fn all_once_in_order(clients: Vec<Pipeline>) {
    for (send, receive) in clients {
        let mut sender = send.await.expect("sent");
        let mut receiver = receive.await.expect("all, once, in order");
        sender.send("fence").await;
        assert_eq!(receiver.text().await, "fence");
    }
}

/// Proves that a server which is about to stop is left in good order while it still serves: nothing
/// is lost or heard twice, and no connection counts as lost.
#[tokio::test]
async fn a_server_in_lame_duck_mode_is_left_before_it_stops_and_nothing_is_lost() {
    const ALL: usize = 1000;
    let cluster = NatsCluster::start(2).await;
    let moving = Moving::start(&cluster).await;
    let journal = Journal::new();
    let _worker = Worker::start(&cluster[moving.new], &journal).await;
    let clients = pipelining(&moving.gateway, ALL).await;
    journal.wait_messages(ALL).await;

    moving.run().await;
    all_once_in_order(clients).await;
    moving.undisturbed().await;
}

/// A gateway with shards at the first of a cluster's first two servers, the old one.
struct Moving<'a> {
    cluster: &'a NatsCluster,
    gateway: Gateway,
    old: usize,
    new: usize,
}

impl<'a> Moving<'a> {
    const SHARDS: usize = 4;

    async fn start(cluster: &'a NatsCluster) -> Self {
        let urls = format!("{},{}", cluster[0].url(), cluster[1].url());
        let gateway = Gateway::with(&cluster[0])
            .env("NATS_URL", &urls)
            .option("--shards", Self::SHARDS.to_string())
            .start()
            .await;
        let mut moving = Self {
            cluster,
            gateway,
            old: 0,
            new: 1,
        };
        // Wherever some of the shards are; and the other.
        if moving.connected(0) == 0 {
            (moving.old, moving.new) = (1, 0);
        }
        moving
    }

    fn connected(&self, at: usize) -> usize {
        let server = self.cluster[at].url().replace("nats://", "server=");
        let lines = self.gateway.log.lines().into_iter();
        let is_there = |l: &String| l.contains("connected to NATS") && l.contains(&server);
        lines.filter(is_there).count()
    }

    /// Tells the old server that it is to stop, and waits until all shards are at the other.
    async fn run(&self) {
        self.cluster[self.old].lame_duck();
        eventually("all shards to be at the other server", || async {
            (self.connected(self.new) == Self::SHARDS).then_some(())
        })
        .await;
    }

    /// Nothing was lost or sent again.
    async fn undisturbed(&self) {
        self.gateway.wait_ready(true).await;
        for metric in ["link_lost_total", "batches_redelivered_total"] {
            let metric = format!("gatebus_gateway_{metric}");
            assert_eq!(self.gateway.metric(&metric, "").await, 0.0, "{metric}");
        }
    }
}

/// Proves that handlers which run through the move are left alone: nothing in hand is handled twice,
/// and their answers find the gateway at its new server.
#[tokio::test]
async fn a_handler_that_runs_while_the_gateway_changes_servers_gets_nothing_twice() {
    const CLIENTS: usize = 40;
    let cluster = NatsCluster::start(2).await;
    let moving = Moving::start(&cluster).await;
    let journal = Journal::new();
    let worker = |name| Worker::with(&cluster[moving.new], &journal, name).start();
    let mut workers = [worker("one").await, worker("other").await];
    let mut clients = Client::connect_many(&moving.gateway, CLIENTS).await;
    for (n, client) in clients.iter_mut().enumerate() {
        // some go on while it moves, and some after
        let text = if n % 2 == 0 {
            "hold gate"
        } else {
            "sleep 1000"
        };
        client.send(text).await;
    }
    journal
        .wait("the held ones", CLIENTS / 2, |e| e.kind == "held")
        .await;

    moving.run().await;
    for worker in &mut workers {
        worker.open("gate").await;
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let said = if n % 2 == 0 {
            "released gate"
        } else {
            "slept 1000"
        };
        client.expect(said).await;
        assert_eq!(client.ask("fence").await, "fence");
    }
    assert_eq!(journal.of("held").len(), CLIENTS / 2);
    assert_eq!(journal.texts().len(), 2 * CLIENTS);
    assert!(journal.entries().iter().all(|e| e.attempt <= 1));
    moving.undisturbed().await;
}

async fn other_than_tick(receiver: &mut Receiver, ticks: &mut usize) -> String {
    loop {
        let text = receiver.text().await;
        if text != "tick" {
            return text;
        }
        *ticks += 1;
    }
}

/// Proves that pushes of a sender at a third server arrive once and in order while the gateway
/// changes servers, whatever their target.
#[tokio::test]
async fn pushes_arrive_once_and_in_order_while_the_gateway_changes_servers() {
    const CLIENTS: usize = 8;
    let cluster = NatsCluster::start(3).await;
    let moving = Moving::start(&cluster).await;
    let journal = Journal::new();
    let _worker = Worker::start(&cluster[2], &journal).await;
    let handle = cluster[2].handle().await;
    let (mut ids, mut receivers) = (Vec::new(), Vec::new());
    for (n, mut client) in Client::connect_many(&moving.gateway, CLIENTS)
        .await
        .into_iter()
        .enumerate()
    {
        let uid = format!("user-{n}");
        assert_eq!(
            client.ask(format!("bind {uid}")).await,
            format!("bound {uid}")
        );
        assert_eq!(client.ask("join all").await, "joined all");
        let id = client.id().await;
        ids.push((id.parse::<worker_sdk::ClientId>().expect("an id"), uid));
        receivers.push(client.split());
    }
    let push = |n: usize| {
        for (id, uid) in &ids {
            handle
                .client(*id)
                .send(format!("client {n}"))
                .expect("sent");
            handle.uid(uid).send(format!("uid {n}")).expect("sent");
        }
        handle
            .group("all")
            .send(format!("group {n}"))
            .expect("sent");
        // the same each time: of these some may be taken for one
        handle.group("all").send("tick").expect("sent");
    };
    let mut sent = 0;
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    let mut run = std::pin::pin!(moving.run());
    loop {
        tokio::select! {
            () = &mut run => break,
            _ = pace.tick() => {
                push(sent);
                sent += 1;
            }
        }
    }
    let all = sent + 300;
    for n in sent..all {
        pace.tick().await;
        push(n);
    }
    for (sender, receiver) in &mut receivers {
        let mut ticks = 0;
        for n in 0..all {
            for whom in ["client", "uid", "group"] {
                assert_eq!(
                    other_than_tick(receiver, &mut ticks).await,
                    format!("{whom} {n}")
                );
            }
        }
        sender.send("fence").await;
        assert_eq!(other_than_tick(receiver, &mut ticks).await, "fence");
        assert!(ticks <= all && ticks > all / 2, "{ticks} of {all}");
    }
    moving.undisturbed().await;
}

/// Proves that a server which is about to stop is kept for as long as there is no other.
#[tokio::test]
async fn a_server_in_lame_duck_mode_is_kept_where_there_is_no_other() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("before").await, "before");
    nats.lame_duck();
    let vain = |l: &str| l.contains("cannot connect to NATS").then_some(());
    gateway.log.find("a line on another server", vain).await;
    assert_eq!(client.ask("meanwhile").await, "meanwhile");
    assert!(gateway.is_ready().await);
}

/// Proves that a uid whose only gateway has lost NATS for the moment is not called offline.
#[tokio::test]
async fn a_uid_is_not_offline_while_its_gateway_has_lost_nats() {
    let mut cluster = NatsCluster::start(2).await;
    let gateway = Gateway::with(&cluster[1]).start().await;
    let journal = Journal::new();
    let _worker = Worker::start(&cluster[0], &journal).await;
    let builder = worker_sdk::Gateway::builder()
        .nats_url(cluster[0].url())
        .prefix(cluster[0].prefix())
        .query_timeout(Duration::from_millis(300));
    let handle = within("the handle to connect", Box::pin(builder.connect())).await;
    let handle = handle.expect("the server takes clients");
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.ask("bind 42").await, "bound 42");
    eventually("its beat to tell of it", async || {
        let totals = handle.totals().await.expect("beats");
        (totals.uids == 1).then_some(())
    })
    .await;
    assert!(handle.is_uid_online("42").await.expect("answered"));

    cluster[1].kill().await;
    let error = eventually("it to be noticed", async || {
        handle.is_uid_online("42").await.err()
    })
    .await;
    assert_eq!(error.kind(), worker_sdk::ErrorKind::Timeout);
    cluster[1].start_again().await;
    eventually("the gateway to be back", async || {
        let online = handle.is_uid_online("42").await;
        online.is_ok_and(|online| online).then_some(())
    })
    .await;
    assert_eq!(client.ask("still here").await, "still here");
}

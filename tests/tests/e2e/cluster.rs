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
    const SHARDS: usize = 4;
    let cluster = NatsCluster::start(2).await;
    let urls = cluster.urls();
    let gateway = Gateway::with(&cluster[0])
        .env("NATS_URL", &urls)
        .option("--shards", SHARDS.to_string())
        .start()
        .await;
    let server = |at: usize| cluster[at].url().replace("nats://", "server=");
    let connected = |at: usize| {
        let lines = gateway.log.lines().into_iter();
        let is_there = |l: &String| l.contains("connected to NATS") && l.contains(&server(at));
        lines.filter(is_there).count()
    };
    // Wherever some of the shards are; and the other.
    let old = usize::from(connected(0) == 0);
    let new = 1 - old;
    let journal = Journal::new();
    let worker = Worker::with(&cluster[new], &journal, "worker");
    let _worker = worker.start().await;
    let clients = pipelining(&gateway, ALL).await;
    journal.wait_messages(ALL).await;

    cluster[old].lame_duck();
    eventually("all shards to be at the other server", || async {
        (connected(new) == SHARDS).then_some(())
    })
    .await;
    all_once_in_order(clients).await;
    gateway.wait_ready(true).await;
    let lost = gateway.metric("gatebus_gateway_link_lost_total", "").await;
    assert_eq!(lost, 0.0);
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

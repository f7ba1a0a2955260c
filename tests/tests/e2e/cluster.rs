//! A cluster of NATS servers: a group's first message finds its newest member.

use futures_util::future::join_all;
use gatebus_tests::{Client, Gateway, Journal, NatsCluster, Worker};

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

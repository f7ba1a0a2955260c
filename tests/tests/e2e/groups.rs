//! Uids and groups: who belongs to whom, and for how long.

use gatebus_tests::{Client, Entry, Gateway, Journal, Nats, Worker};

/// A gateway with a worker and the SDK's handle.
struct House {
    gateway: Gateway,
    journal: Journal,
    _worker: Worker,
    handle: worker_sdk::Gateway,
    _nats: Nats,
}

impl House {
    async fn new() -> Self {
        let nats = Nats::start().await;
        let gateway = Gateway::start(&nats).await;
        let journal = Journal::new();
        let worker = Worker::start(&nats, &journal).await;
        let handle = nats.handle().await;
        Self {
            gateway,
            journal,
            _worker: worker,
            handle,
            _nats: nats,
        }
    }

    async fn uid_count(&self, uid: &str) -> u64 {
        self.handle.uid(uid).count().await.expect("answered").total
    }

    async fn group_count(&self, group: &str) -> u64 {
        self.handle
            .group(group)
            .count()
            .await
            .expect("answered")
            .total
    }
}

/// Proves that a client has one uid: the last bind wins.
#[tokio::test]
async fn binding_another_uid_takes_the_old_one_away() {
    let house = House::new().await;
    let mut client = Client::connect(&house.gateway).await;
    assert_eq!(client.ask("bind old").await, "bound old");
    assert_eq!(client.ask("bind new").await, "bound new");
    house.handle.uid("old").send("to nobody").expect("sent");
    house.handle.uid("new").send("to me").expect("sent");
    client.expect("to me").await;
    assert_eq!(
        (house.uid_count("old").await, house.uid_count("new").await),
        (0, 1)
    );
    assert_eq!(client.who_am_i().await["uid"], "new");
    assert_eq!(client.ask("unbind").await, "unbound");
    assert_eq!(house.uid_count("new").await, 0);
    assert!(client.who_am_i().await["uid"].is_null());
}

/// Proves that a uid has as many clients as the user has devices, and lives until the last is gone.
#[tokio::test]
async fn a_uid_has_many_clients() {
    let house = House::new().await;
    let mut devices = Client::connect_many(&house.gateway, 5).await;
    for device in &mut devices {
        assert_eq!(device.ask("bind ann").await, "bound ann");
    }
    for left in (0..5).rev() {
        house
            .handle
            .uid("ann")
            .send(format!("{left}"))
            .expect("sent");
        for device in &mut devices {
            device.expect(&left.to_string()).await;
        }
        let device = devices.pop().expect("one is left");
        device.close(1000, "").await;
        let closed = |e: &Entry| e.kind == "close";
        house.journal.wait("close", 5 - left, closed).await;
        assert_eq!(house.uid_count("ann").await, left as u64);
        assert_eq!(
            house.handle.uid("ann").is_online().await.expect("answered"),
            left > 0
        );
    }
}

/// Proves that a client may be in any number of groups, and is in each only once.
#[tokio::test]
async fn a_client_is_in_many_groups_and_once_in_each() {
    let house = House::new().await;
    let mut client = Client::connect(&house.gateway).await;
    for n in 0..100 {
        let group = format!("group {n}");
        for _ in 0..2 {
            assert_eq!(
                client.ask(format!("join {group}")).await,
                format!("joined {group}")
            );
        }
        assert_eq!(house.group_count(&group).await, 1);
        house
            .handle
            .group(&group)
            .send(group.as_str())
            .expect("sent");
        client.expect(&group).await;
    }
    assert_eq!(client.ask("leave group 7").await, "left group 7");
    assert_eq!(client.ask("leave never joined").await, "left never joined");
    house
        .handle
        .group("group 7")
        .send("to nobody")
        .expect("sent");
    house.handle.group("group 8").send("fence").expect("sent");
    client.expect("fence").await;
}

/// Proves that a large group, whose members are not all written in one go, misses nothing and keeps
/// the order, whatever comes in between.
#[tokio::test]
async fn every_member_of_a_large_group_gets_everything_in_order() {
    let house = House::new().await;
    let mut members = Client::connect_many(&house.gateway, 400).await;
    for member in &mut members {
        assert_eq!(member.ask("join crowd").await, "joined crowd");
    }
    for n in 0..50 {
        house
            .handle
            .group("crowd")
            .send(format!("{n}"))
            .expect("sent");
        house.handle.all().send(format!("all {n}")).expect("sent");
    }
    for member in &mut members {
        for n in 0..50 {
            member.expect(&n.to_string()).await;
            member.expect(&format!("all {n}")).await;
        }
    }
}

/// Proves that a burst to a large group is nobody's fault: whoever reads is not taken for slow
/// because others are written first, although the burst is larger than a mailbox.
#[tokio::test]
async fn a_burst_to_a_large_group_closes_nobody_who_reads() {
    const BURST: usize = 1500;
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats)
        .option("--shards", "1")
        .option("--mailbox", "256KiB")
        .start()
        .await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let handle = nats.handle().await;
    let mut members = Client::connect_many(&gateway, 200).await;
    for member in &mut members {
        assert_eq!(member.ask("join crowd").await, "joined crowd");
    }
    let body = "x".repeat(400);
    for n in 0..BURST {
        handle
            .group("crowd")
            .send(format!("{n} {body}"))
            .expect("sent");
    }
    let everything = members.into_iter().map(|mut member| {
        let body = &body;
        async move {
            for n in 0..BURST {
                member.expect(&format!("{n} {body}")).await;
            }
        }
    });
    futures_util::future::join_all(everything).await;
}

/// Proves that groups and uids need no tidying up: who is gone is gone everywhere.
#[tokio::test]
async fn a_client_leaves_its_groups_and_its_uid_when_it_closes() {
    let house = House::new().await;
    let mut stays = Client::connect(&house.gateway).await;
    assert_eq!(stays.ask("join lobby").await, "joined lobby");
    for n in 0..20 {
        let mut client = Client::connect(&house.gateway).await;
        assert_eq!(client.ask("join lobby").await, "joined lobby");
        assert_eq!(client.ask("bind ann").await, "bound ann");
        assert_eq!(house.group_count("lobby").await, 2);
        client.close(1000, "").await;
        house
            .journal
            .wait("close", n + 1, |e| e.kind == "close")
            .await;
        assert_eq!(house.group_count("lobby").await, 1);
        assert_eq!(house.uid_count("ann").await, 0);
    }
    assert_eq!(
        house.gateway.metric("gatebus_gateway_groups", "").await,
        1.0
    );
    assert_eq!(house.gateway.metric("gatebus_gateway_uids", "").await, 0.0);
}

/// Proves that coming back at once is as good as having stayed: interest that lingers is used again.
#[tokio::test]
async fn a_group_that_was_empty_for_a_moment_works_at_once_again() {
    let house = House::new().await;
    let mut client = Client::connect(&house.gateway).await;
    for n in 0..200 {
        client.send("join-and-send room").await;
        client.expect("to group").await;
        client.expect("direct").await;
        assert_eq!(client.ask("leave room").await, "left room", "round {n}");
    }
}

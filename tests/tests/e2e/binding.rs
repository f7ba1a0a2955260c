//! A uid for one client alone: exactly one stays, on whichever gateways, whoever binds at the same
//! time.

use std::time::Duration;

use gatebus_tests::{Client, Gateway, Journal, Nats, Worker, eventually, within, within_secs};
use wire::{Command, Policy, Request, Subjects};
use worker_sdk::{
    BindPolicy::{KickOld, Multi, RejectNew},
    Bound, ClientId, ErrorKind,
};

struct Stage {
    nats: Nats,
    gateways: [Gateway; 2],
    journal: Journal,
    _worker: Worker,
    handle: worker_sdk::Gateway,
}

impl Stage {
    async fn new() -> Self {
        let nats = Nats::start().await;
        let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
        let journal = Journal::new();
        let worker = Worker::start(&nats, &journal).await;
        let handle = nats.handle().await;
        Self {
            nats,
            gateways,
            journal,
            _worker: worker,
            handle,
        }
    }

    async fn client(&self, gateway: usize) -> (Client, ClientId) {
        let mut client = Client::connect(&self.gateways[gateway]).await;
        let id = client.id().await.parse().expect("a client id");
        (client, id)
    }

    /// Who has the uid.
    async fn holders(&self, uid: &str) -> Vec<ClientId> {
        let listing = self.handle.uid(uid).clients().await.expect("answered");
        assert!(listing.missing.is_empty());
        listing.clients.into_iter().map(|c| c.id).collect()
    }
}

/// Proves `kick_old`: the newest stays, the others are closed with 4009 wherever they are, however
/// they were bound, and their workers are told.
#[tokio::test]
async fn kick_old_closes_those_who_had_the_uid_on_every_gateway() {
    let stage = Stage::new().await;
    let (one, first) = stage.client(0).await;
    let (two, second) = stage.client(1).await;
    for id in [first, second] {
        let bound = stage.handle.client(id).bind_uid_with("u", Multi).await;
        assert_eq!(bound.expect("answered"), Bound::Yes { kicked: 0 });
    }
    let (mut three, third) = stage.client(0).await;
    let bound = stage.handle.client(third).bind_uid_with("u", KickOld).await;
    assert_eq!(bound.expect("answered"), Bound::Yes { kicked: 2 });
    stage.handle.uid("u").send("for one").expect("sent");
    three.expect("for one").await;
    assert_eq!(one.expect_close(4009).await, "signed in elsewhere");
    assert_eq!(two.expect_close(4009).await, "signed in elsewhere");
    let closes = stage.journal.wait("close", 2, |e| e.kind == "close").await;
    for close in closes {
        assert_eq!(close.uid.as_deref(), Some("u"));
        assert_eq!(close.details["by"], "command");
        assert_eq!(close.details["code"], 4009);
    }
    assert_eq!(stage.holders("u").await, [third]);

    // Who was bound so gives way to the next, and to bind oneself again closes nobody.
    let (mut four, fourth) = stage.client(1).await;
    for kicked in [1, 0] {
        let again = stage
            .handle
            .client(fourth)
            .bind_uid_with("u", KickOld)
            .await;
        assert_eq!(again.expect("answered"), Bound::Yes { kicked });
    }
    three.expect_close(4009).await;
    assert_eq!(four.ask("still here").await, "still here");
}

/// Proves `reject_new`: who has the uid keeps it, on any gateway, and the other is as it was.
#[tokio::test]
async fn reject_new_leaves_the_uid_with_who_had_it() {
    let stage = Stage::new().await;
    let (mut one, first) = stage.client(0).await;
    let (mut two, second) = stage.client(1).await;
    let bound = stage
        .handle
        .client(first)
        .bind_uid_with("u", RejectNew)
        .await;
    assert_eq!(bound.expect("answered"), Bound::Yes { kicked: 0 });
    assert_eq!(two.ask("bind before").await, "bound before");
    let bound = stage
        .handle
        .client(second)
        .bind_uid_with("u", RejectNew)
        .await;
    assert_eq!(bound.expect("answered"), Bound::Rejected);
    assert_eq!(two.who_am_i().await["uid"], "before");
    stage.handle.uid("u").send("for the first").expect("sent");
    one.expect("for the first").await;
    assert_eq!(two.ask("nothing came").await, "nothing came");

    // It has it once more if it asks, and when it is gone the other gets it.
    let again = stage
        .handle
        .client(first)
        .bind_uid_with("u", RejectNew)
        .await;
    assert_eq!(again.expect("answered"), Bound::Yes { kicked: 0 });
    stage.handle.client(first).unbind_uid().expect("sent");
    let bound = stage
        .handle
        .client(second)
        .bind_uid_with("u", RejectNew)
        .await;
    assert_eq!(bound.expect("answered"), Bound::Yes { kicked: 0 });
    assert_eq!(stage.holders("u").await, [second]);
}

/// Proves the same from within handlers, and that the handler's client knows its uid then.
#[tokio::test]
async fn a_handler_binds_by_a_policy() {
    let stage = Stage::new().await;
    let (mut one, _) = stage.client(0).await;
    let (mut two, _) = stage.client(1).await;
    assert_eq!(
        one.ask("bind-by reject-new u").await,
        "Yes { kicked: 0 }, uid Some(\"u\")"
    );
    assert_eq!(two.ask("bind-by reject-new u").await, "Rejected, uid None");
    assert_eq!(
        two.ask("bind-by kick-old u").await,
        "Yes { kicked: 1 }, uid Some(\"u\")"
    );
    one.expect_close(4009).await;
    assert_eq!(two.who_am_i().await["uid"], "u");
}

/// Proves what is asked of a client that is gone, and of more than one client.
#[tokio::test]
async fn a_policy_is_for_one_client_that_is_there() {
    let stage = Stage::new().await;
    let (client, gone) = stage.client(0).await;
    client.close(1000, "").await;
    stage.journal.find("close", |e| e.kind == "close").await;
    for policy in [Multi, KickOld, RejectNew] {
        let bound = stage.handle.client(gone).bind_uid_with("u", policy).await;
        assert_eq!(bound.expect("answered"), Bound::Gone);
    }
    let (_client, id) = stage.client(0).await;
    for target in [
        stage.handle.uid("u"),
        stage.handle.group("g"),
        stage.handle.all(),
        stage.handle.clients([id]),
    ] {
        let error = target.bind_uid_with("u", KickOld).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidTarget);
    }
    let error = stage.handle.client(id).bind_uid_with("", KickOld).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidName);
}

/// Proves it under real races: two workers bind the same uid to clients of different gateways at
/// the same time, again and again; one gets it, the other is told that it did not, and it is so.
#[tokio::test]
async fn of_two_who_bind_at_the_same_time_the_first_stays_in_100_races() {
    let stage = Stage::new().await;
    let handles = [stage.nats.handle().await, stage.nats.handle().await];
    let (mut one, first) = stage.client(0).await;
    let (mut two, second) = stage.client(1).await;
    let mut won = [0, 0];
    for round in 0..100 {
        let uid = format!("user {round}");
        let targets = [handles[0].client(first), handles[1].client(second)];
        let [a, b] = &targets;
        let said = within("both binds", async {
            tokio::join!(
                a.bind_uid_with(&uid, RejectNew),
                b.bind_uid_with(&uid, RejectNew)
            )
        })
        .await;
        let (a, b) = (said.0.expect("answered"), said.1.expect("answered"));
        let winner = match (a, b) {
            (Bound::Yes { .. }, Bound::Rejected) => 0,
            (Bound::Rejected, Bound::Yes { .. }) => 1,
            other => panic!("round {round}: {other:?}"),
        };
        won[winner] += 1;
        let holders = stage.holders(&uid).await;
        assert_eq!(holders, [[first, second][winner]], "round {round}");
    }
    // Nobody was closed for it.
    assert_eq!(one.ask("here").await, "here");
    assert_eq!(two.ask("here").await, "here");
    assert_eq!(won[0] + won[1], 100);
}

/// Proves the same of `kick_old`: one stays, and the other is closed.
#[tokio::test]
async fn of_two_who_bind_at_the_same_time_the_newest_stays_in_100_races() {
    let stage = Stage::new().await;
    let handles = [stage.nats.handle().await, stage.nats.handle().await];
    let mut left: Option<Client> = None;
    for round in 0..100 {
        let (one, first) = stage.client(0).await;
        let (two, second) = stage.client(1).await;
        // One uid for all rounds: who stayed has to go as well.
        let targets = [handles[0].client(first), handles[1].client(second)];
        let [a, b] = &targets;
        let said = within("both binds", async {
            tokio::join!(a.bind_uid_with("u", KickOld), b.bind_uid_with("u", KickOld))
        })
        .await;
        let said = [said.0.expect("answered"), said.1.expect("answered")];
        let holders = stage.holders("u").await;
        let [holder] = holders[..] else {
            panic!("round {round}: {holders:?}, {said:?}");
        };
        let (stays, goes, winner) = match holder == first {
            true => (one, two, said[0]),
            false => (two, one, said[1]),
        };
        assert!(holder == first || holder == second, "round {round}");
        assert!(winner.is_bound(), "round {round}: {said:?}");
        goes.expect_close(4009).await;
        if let Some(before) = left.replace(stays) {
            before.expect_close(4009).await;
        }
    }
    let mut last = left.expect("somebody");
    assert_eq!(last.ask("here").await, "here");
}

/// Proves it with both policies and three workers at once, on all four shards.
#[tokio::test]
async fn of_three_who_bind_at_the_same_time_by_either_policy_one_stays() {
    let stage = Stage::new().await;
    let handles = [
        stage.nats.handle().await,
        stage.nats.handle().await,
        stage.nats.handle().await,
    ];
    for round in 0..40 {
        let uid = format!("user {round}");
        let mut clients = Vec::new();
        for n in 0..3 {
            clients.push(stage.client((round + n) % 2).await);
        }
        let bind = |n: usize, policy| {
            let target = handles[n].client(clients[n].1);
            let uid = uid.clone();
            async move { target.bind_uid_with(uid, policy).await.expect("answered") }
        };
        let said = within("three binds", async {
            tokio::join!(bind(0, KickOld), bind(1, RejectNew), bind(2, KickOld))
        })
        .await;
        let holders = stage.holders(&uid).await;
        assert_eq!(holders.len(), 1, "round {round}: {holders:?}, {said:?}");
        assert_ne!(holders[0], clients[1].1, "the newest goes before the first");
    }
}

/// Proves that a gateway which does not answer fails the bind: it is named, nobody is closed, and
/// the client has the uid that it had before.
#[tokio::test]
async fn a_gateway_that_does_not_answer_fails_the_bind_and_is_named() {
    let stage = Stage::new().await;
    let builder = worker_sdk::Gateway::builder()
        .nats_url(stage.nats.url())
        .prefix(stage.nats.prefix());
    let handle = builder
        .query_timeout(Duration::from_secs(1))
        .connect()
        .await
        .expect("the server is there");
    let (mut old, first) = stage.client(0).await;
    let (_held, on_held) = stage.client(1).await;
    let (mut new, second) = stage.client(0).await;
    assert_eq!(new.ask("bind before").await, "bound before");
    let bound = handle.client(first).bind_uid_with("u", KickOld).await;
    assert!(bound.expect("answered").is_bound());
    stage.gateways[1].hold().await;
    for policy in [KickOld, RejectNew] {
        let uid = if policy == KickOld { "u" } else { "free" };
        let error = handle.client(second).bind_uid_with(uid, policy).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        let named = error.to_string().contains(&on_held.gateway.to_string());
        assert!(named, "{error}");
    }
    assert_eq!(old.ask("still here").await, "still here");
    assert_eq!(new.who_am_i().await["uid"], "before");
    stage.gateways[1].go_on();
    let bound = eventually("the bind to be done", || async {
        let bound = handle.client(second).bind_uid_with("u", KickOld).await;
        bound.ok()
    })
    .await;
    assert_eq!(bound, Bound::Yes { kicked: 1 });
    old.expect_close(4009).await;
}

/// Proves that a worker which dies between its claim and the end blocks the uid for 10 s at the most
/// for those who wait for it, and not at all for those who do not.
#[tokio::test]
async fn a_claim_whose_worker_died_lapses() {
    let stage = Stage::new().await;
    let (_dying, dying) = stage.client(0).await;
    let (mut other, id) = stage.client(1).await;
    let bus = stage.nats.client().await;
    let prefix = wire::Prefix::new(stage.nats.prefix()).expect("a prefix");
    let subjects = Subjects::new(prefix);
    let claim = |uid: &str, policy| {
        let command = Command::Claim {
            uid: wire::Uid::new(uid).expect("a uid"),
            policy,
            ticket: 1,
        };
        wire::encode(&Request::command(command))
    };
    let subject = subjects.client(dying);
    let claimed = bus.request(subject.clone(), claim("kicks", Policy::RejectNew).into());
    within("the claim", claimed).await.expect("answered");
    let bound = stage
        .handle
        .client(id)
        .bind_uid_with("kicks", KickOld)
        .await;
    assert_eq!(bound.expect("answered"), Bound::Yes { kicked: 1 });

    let claimed = bus.request(subject, claim("waits", Policy::RejectNew).into());
    within("the claim", claimed).await.expect("answered");
    let bound = within_secs(30, "the claim to lapse", async {
        loop {
            match stage
                .handle
                .client(id)
                .bind_uid_with("waits", RejectNew)
                .await
            {
                Ok(bound) => return bound,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Timeout);
                    assert!(error.to_string().contains("does not end"), "{error}");
                }
            }
        }
    })
    .await;
    assert_eq!(bound, Bound::Yes { kicked: 0 });
    assert_eq!(other.who_am_i().await["uid"], "waits");
}

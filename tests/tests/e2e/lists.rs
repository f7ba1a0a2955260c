//! Lists: clients one after the other, as many as there are, chosen and described as one likes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gatebus_tests::{Api, Client, Gateway, Journal, Nats, Worker, eventually, within, within_secs};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::Notify};
use worker_sdk::{ClientId, ErrorKind, Filter};

type Session = BTreeMap<String, Value>;

async fn id_of(client: &mut Client) -> ClientId {
    client.id().await.parse().expect("an id")
}

/// Proves that gateways do the choosing, by uid, group and session, and that all conditions count.
#[tokio::test]
async fn a_filter_lets_through_whom_it_describes_at_every_gateway() {
    let nats = Nats::start().await;
    let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let handle = nats.handle().await;
    let mut clients = Vec::new();
    for gateway in &gateways {
        for (n, mut client) in Client::connect_many(gateway, 8)
            .await
            .into_iter()
            .enumerate()
        {
            client.send(format!("set n {}", n / 2)).await;
            client
                .send(format!("set color \"{}\"", ["red", "blue"][n % 2]))
                .await;
            client.ask(format!("join room {}", n % 3)).await;
            if n > 0 {
                client.ask(format!("bind user {n}")).await;
            }
            clients.push((n, id_of(&mut client).await, client));
        }
    }
    let expected = |pick: &dyn Fn(usize) -> bool| -> Vec<ClientId> {
        let mut ids: Vec<_> = clients.iter().filter(|c| pick(c.0)).map(|c| c.1).collect();
        ids.sort_unstable();
        ids
    };
    let users = Filter::new().uids(["user 1", "user 5", "nobody"]);
    let rooms = Filter::new().groups(["room 0", "room 2", "nobody's"]);
    let red = Filter::new().session("color", "red").with_uid();
    let both = rooms.clone().session("n", 1).session("color", "red");
    for (what, filter, ids) in [
        ("nothing", Filter::new(), expected(&|_| true)),
        ("uids", users, expected(&|n| n == 1 || n == 5)),
        ("groups", rooms, expected(&|n| n % 3 != 1)),
        (
            "without",
            Filter::new().without_uid(),
            expected(&|n| n == 0),
        ),
        ("red", red, expected(&|n| n % 2 == 0 && n > 0)),
        ("both", both, expected(&|n| n == 2)),
        ("no uid", Filter::new().uids([""; 0]), expected(&|_| false)),
        (
            "no such key",
            Filter::new().session("x", 1),
            expected(&|_| false),
        ),
    ] {
        let listing = handle
            .all()
            .list()
            .filter(filter)
            .collect()
            .await
            .expect("answered");
        let found: Vec<_> = listing.clients.iter().map(|c| c.id).collect();
        assert_eq!((found, listing.missing), (ids, vec![]), "{what}");
    }
    let in_room = handle
        .group("room 1")
        .list()
        .filter(Filter::new().session("n", 0));
    let listing = in_room.collect().await.expect("answered");
    assert_eq!(listing.clients.len(), 2, "of the group only");
}

/// Proves that a list tells what was asked for and no more.
#[tokio::test]
async fn a_list_tells_what_was_asked_for() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let handle = nats.handle().await;
    let mut client = Client::connect(&gateway).await;
    client.ask("join lobby").await;
    client.ask("join den").await;
    client.ask("bind 42").await;
    client.send("set name \"ann\"").await;
    let id = id_of(&mut client).await;

    let bare = handle.all().list().collect().await.expect("answered");
    let [bare] = &bare.clients[..] else {
        panic!("one client")
    };
    assert_eq!((bare.id, &bare.uid, &bare.remote), (id, &None, &None));
    assert_eq!((bare.groups.len(), bare.version), (0, 0));

    let list = handle
        .all()
        .list()
        .uid()
        .groups()
        .remote()
        .session::<Session>();
    let full = list.collect().await.expect("answered").clients.remove(0);
    assert_eq!((full.id, full.uid.as_deref()), (id, Some("42")));
    assert_eq!(full.remote, Some(client.address().to_string()));
    assert_eq!(full.groups.iter().collect::<BTreeSet<_>>().len(), 2);
    assert_eq!(full.session["name"], "ann");
    assert_eq!(full.version, 1, "one change");
}

#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct Level {
    level: u32,
}

/// Proves that one client whose session is of another type costs nobody else anything.
#[tokio::test]
async fn a_session_of_another_type_is_one_clients_error_and_the_list_goes_on() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let handle = nats.handle().await;
    let mut clients = Client::connect_many(&gateway, 6).await;
    let mut ids = Vec::new();
    for (n, client) in clients.iter_mut().enumerate() {
        let level = if n == 2 { json!("high") } else { json!(n) };
        client.send(format!("set level {level}")).await;
        ids.push(id_of(client).await);
    }
    let list = handle.all().list().session::<Level>().page_size(1);
    let mut list = list.stream().await.expect("begun");
    let (mut levels, mut errors) = (Vec::new(), Vec::new());
    while let Some(entry) = within("the next client", list.next()).await {
        match entry {
            Ok(entry) => levels.push(entry.session.level),
            Err(error) => errors.push(error),
        }
    }
    levels.sort_unstable();
    assert_eq!(levels, [0, 1, 3, 4, 5]);
    let [error] = &errors[..] else {
        panic!("one error, not {errors:?}")
    };
    assert_eq!(error.kind(), ErrorKind::Session);
    assert!(error.to_string().contains(&ids[2].to_string()), "{error}");
    assert!(list.missing().is_empty());

    let listing = handle
        .all()
        .clients_with_sessions::<Level>()
        .await
        .expect("answered");
    assert_eq!((listing.clients.len(), &listing.unfit[..]), (5, &ids[2..3]));
    let error = handle
        .client(ids[2])
        .session::<Level>()
        .await
        .expect_err("high");
    assert_eq!(error.kind(), ErrorKind::Session);
}

/// Proves that whoever stays comes exactly once, in a list of very many small pages, while others
/// come and go all the time.
#[tokio::test]
async fn thousands_of_clients_come_once_each_while_others_come_and_go() {
    const CLIENTS: usize = 5000;
    let nats = Nats::start().await;
    let mut gateways = Vec::new();
    for _ in 0..2 {
        let options = Gateway::with(&nats).listen("text://127.0.0.1:0?service=test");
        gateways.push(options.start().await);
    }
    let journal = Journal::new();
    let _worker = Worker::with(&nats, &journal, "worker")
        .env("WORKER_ON_CONNECT", "join lobby")
        .start()
        .await;
    let handle = nats.handle().await;
    let ports: Vec<u16> = gateways.iter().map(Gateway::port).collect();
    let connect = async |n: usize| {
        let stream = TcpStream::connect(("127.0.0.1", ports[n % 2])).await;
        stream.expect("the gateway listens")
    };
    let mut stay = Vec::new();
    for n in 0..CLIENTS {
        stay.push(connect(n).await);
    }
    let lobby = handle.group("lobby");
    eventually("all to be in the lobby", async || {
        let count = lobby.count().await.expect("answered");
        (count.total == CLIENTS as u64).then_some(())
    })
    .await;
    let staying: BTreeSet<ClientId> = {
        let listing = lobby.clients().await.expect("answered");
        listing.clients.iter().map(|c| c.id).collect()
    };
    assert_eq!(staying.len(), CLIENTS);

    let enough = Arc::new(Notify::new());
    let coming_and_going = async {
        let mut visitors = std::collections::VecDeque::new();
        let mut n = 0;
        let stop = enough.notified();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return n,
                visitor = connect(n) => visitors.push_back(visitor),
            }
            n += 1;
            if visitors.len() > 200 {
                visitors.pop_front();
            }
        }
    };
    let reading = async {
        for target in [handle.all(), lobby.clone()] {
            let mut seen: BTreeMap<ClientId, u32> = BTreeMap::new();
            let list = target.list().uid().page_size(20).stream().await;
            let mut list = list.expect("begun");
            while let Some(entry) = list.next().await {
                *seen.entry(entry.expect("a client").id).or_default() += 1;
            }
            assert!(list.missing().is_empty());
            assert!(seen.values().all(|times| *times == 1), "none comes twice");
            assert!(
                staying.iter().all(|id| seen.contains_key(id)),
                "none is left out"
            );
        }
        enough.notify_one();
    };
    let both = async { tokio::join!(coming_and_going, reading) };
    let (visitors, ()) = within_secs(60, "the lists to be read", both).await;
    assert!(visitors > 200, "{visitors} came, and most of them went");
}

/// Proves that the groups of a client that is in more of them than fit a page are all told.
#[tokio::test]
async fn a_client_in_very_many_groups_is_told_of_with_all_of_them() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let handle = nats.handle().await;
    let mut client = Client::connect(&gateway).await;
    let id = id_of(&mut client).await;
    let names: BTreeSet<String> = (0..400).map(|n| format!("{n:0>1000}")).collect();
    for name in &names {
        handle.join_group(id, name).await.expect("joined");
    }
    let list = handle.all().list().groups();
    let entry = list.collect().await.expect("answered").clients.remove(0);
    assert_eq!(entry.groups.into_iter().collect::<BTreeSet<_>>(), names);
    let groups = handle.groups_by_client_id(id).await.expect("answered");
    assert!(groups.iter().eq(&names), "in order, page by page");
}

/// Proves that lists come whole from a server that takes small messages only, and that one client
/// whose session does not fit them is named and costs nobody else anything.
#[tokio::test]
async fn lists_fit_a_server_with_a_small_max_payload() {
    const CLIENTS: usize = 40;
    let nats = Nats::start_guarded("max_payload: 65536").await;
    let gateway = Gateway::with(&nats).option("--shards", "1").start().await;
    let handle = nats.handle().await;
    let _clients = Client::connect_many(&gateway, CLIENTS).await;
    let ids: Vec<ClientId> = eventually("all to be there", async || {
        let listing = handle.all().clients().await.expect("answered");
        let ids: Vec<_> = listing.clients.iter().map(|c| c.id).collect();
        (ids.len() == CLIENTS).then_some(ids)
    })
    .await;
    for id in &ids {
        let session = json!({"text": "x".repeat(5000)});
        handle.client(id).set_session(&session).expect("sent");
    }
    let (talkative, large) = (ids[3], ids[7]);
    for key in ["a", "b"] {
        // in pieces, because whoever sends it has no more room either
        let more = json!({key: "x".repeat(29_500)});
        handle.client(large).update_session(&more).expect("sent");
    }
    let groups: BTreeSet<String> = (0..100).map(|n| format!("{n:0>1000}")).collect();
    for group in &groups {
        handle.join_group(talkative, group).await.expect("joined");
    }

    let list = handle.all().list().session::<Session>().groups();
    let listing = list.clone().collect().await.expect("answered");
    assert_eq!((listing.missing, listing.unfit), (vec![], vec![large]));
    assert_eq!(listing.clients.len(), CLIENTS - 1);
    let entry = listing.clients.into_iter().find(|c| c.id == talkative);
    let entry = entry.expect("it is there");
    assert_eq!(entry.groups.into_iter().collect::<BTreeSet<_>>(), groups);
    assert_eq!(entry.session["text"].as_str().map(str::len), Some(5000));
    let names = handle.all().groups().await.expect("answered");
    assert_eq!((names.names.len(), names.missing), (100, vec![]));

    let page = list.page(Some(ids[6]), 2).await.expect("answered");
    assert_eq!((page.unfit, page.next), (vec![large], Some(ids[8])));
    assert_eq!(
        page.clients.iter().map(|c| c.id).collect::<Vec<_>>(),
        [ids[8]]
    );
    let api = Api::start(&nats).await;
    let path = format!("/v1/all/clients?fields=session&limit=1&cursor={}", ids[6]);
    let page = api.answer(&path).await;
    assert_eq!(
        (&page["unfit"], &page["clients"]),
        (&json!([large]), &json!([]))
    );

    let error = handle.client(large).session::<Session>().await;
    assert_eq!(
        error.expect_err("it has no room").kind(),
        ErrorKind::TooLarge
    );
    let online = handle.client(large).is_online().await;
    assert!(online.expect("answered"), "it is there all the same");
}

/// Proves that totals are what the gateways have, and come from their beats.
#[tokio::test]
async fn totals_come_from_the_beats() {
    let nats = Nats::start().await;
    let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let handle = nats.handle().await;
    let mut clients = Vec::new();
    for gateway in &gateways {
        for (n, mut client) in Client::connect_many(gateway, 3)
            .await
            .into_iter()
            .enumerate()
        {
            client.ask(format!("bind {}-{n}", gateway.port())).await;
            clients.push(client);
        }
    }
    let totals = eventually("the beats to tell of everybody", async || {
        let totals = handle.totals().await.expect("beats");
        (totals.clients == 6).then_some(totals)
    })
    .await;
    assert_eq!((totals.uids, totals.groups), (6, 0));
    assert_eq!(totals.gateways.len(), 4, "two gateways of two shards");
    let sum: u64 = totals.gateways.iter().map(|gateway| gateway.clients).sum();
    assert_eq!(sum, 6);
}

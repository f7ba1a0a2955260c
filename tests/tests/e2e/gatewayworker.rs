//! What GatewayWorker's `Lib\Gateway` and GatewayClient can ask, under their names, over two
//! gateways of two shards each.

use std::collections::{BTreeMap, BTreeSet};

use gatebus_tests::{Client, Gateway, Journal, Nats, Worker, within};
use serde_json::{Value, json};
use worker_sdk::{ClientId, Listing, NameListing};

type Session = BTreeMap<String, Value>;

/// A client, and what is known of it.
struct Person {
    id: ClientId,
    uid: Option<String>,
    groups: BTreeSet<String>,
    session: Value,
    client: Client,
}

/// Two gateways with 12 clients each, on four shards.
struct Crowd {
    nats: Nats,
    gateways: [Gateway; 2],
    _worker: Worker,
    people: Vec<Person>,
}

impl Crowd {
    /// Everybody is in the lobby, some in `even`. Every fourth has no uid, the others share them
    /// with somebody at the other gateway. Every sixth has no session.
    async fn gather() -> Self {
        let nats = Nats::start().await;
        let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
        let worker = Worker::start(&nats, &Journal::new()).await;
        let mut people = Vec::new();
        for gateway in &gateways {
            let clients = Client::connect_many(gateway, 12).await;
            for (n, mut client) in clients.into_iter().enumerate() {
                let mut groups = BTreeSet::from(["lobby".to_owned()]);
                if n % 2 == 0 {
                    groups.insert("even".to_owned());
                }
                for group in &groups {
                    client.ask(format!("join {group}")).await;
                }
                let uid = (n % 4 > 0).then(|| format!("user {n}"));
                if let Some(uid) = &uid {
                    client.ask(format!("bind {uid}")).await;
                }
                let mut session = json!({});
                if n % 6 > 0 {
                    client.send(format!("set n {n}")).await;
                    session = json!({"n": n});
                }
                let id = client.id().await.parse().expect("an id");
                people.push(Person {
                    id,
                    uid,
                    groups,
                    session,
                    client,
                });
            }
        }
        people.sort_by_key(|person| person.id);
        Self {
            nats,
            gateways,
            _worker: worker,
            people,
        }
    }

    fn ids(&self, pick: impl Fn(&Person) -> bool) -> BTreeSet<ClientId> {
        let picked = self.people.iter().filter(|person| pick(person));
        picked.map(|person| person.id).collect()
    }

    /// The names that people have, with how many have each.
    fn counts<'a, N: Iterator<Item = &'a String>>(
        &'a self,
        names: impl Fn(&'a Person) -> N,
    ) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for name in self.people.iter().flat_map(names) {
            *counts.entry(name.clone()).or_insert(0) += 1;
        }
        counts
    }
}

fn ids<S>(listing: &Listing<S>) -> BTreeSet<ClientId> {
    assert_eq!(
        (&listing.missing[..], &listing.unfit[..]),
        (&[][..], &[][..])
    );
    listing.clients.iter().map(|client| client.id).collect()
}

fn counts(listing: NameListing) -> BTreeMap<String, u64> {
    assert_eq!(listing.missing, vec![]);
    let names = listing.names.into_iter();
    names.map(|entry| (entry.name, entry.clients)).collect()
}

const NOBODY: &str = "0a1b2c3d4e5f00c0ffee";

/// Proves isOnline, isUidOnline and isUidsOnline.
#[tokio::test]
async fn who_is_online_is_known_wherever_it_is() {
    let crowd = Crowd::gather().await;
    let handle = crowd.nats.handle().await;
    for person in &crowd.people {
        assert!(handle.is_online(person.id).await.expect("answered"));
        if let Some(uid) = &person.uid {
            assert!(handle.is_uid_online(uid).await.expect("answered"));
        }
    }
    let nobody: ClientId = NOBODY.parse().expect("an id");
    assert!(!handle.is_online(nobody).await.expect("answered"));
    assert!(!handle.is_uid_online("user 0").await.expect("answered"));
    let asked = ["user 1", "user 0", "user 11", "*"];
    let online = handle.are_uids_online(asked).await.expect("answered");
    let expected = [
        ("*", false),
        ("user 0", false),
        ("user 1", true),
        ("user 11", true),
    ];
    let expected = expected.map(|(uid, online)| (uid.to_owned(), online));
    assert_eq!((online.names, online.missing), (expected.into(), vec![]));
}

/// Proves getClientIdByUid, batchGetClientIdByUid, getClientIdListByGroup, getAllClientIdList and
/// getAllGroupClientIdList.
#[tokio::test]
async fn clients_are_found_by_uid_and_group_at_all_gateways() {
    let crowd = Crowd::gather().await;
    let handle = crowd.nats.handle().await;
    let of_uid = |uid: &str| crowd.ids(|person| person.uid.as_deref() == Some(uid));
    let of_group = |group: &str| crowd.ids(|person| person.groups.contains(group));
    assert_eq!(of_uid("user 1").len(), 2, "one at each gateway");
    let found = handle.client_ids_by_uid("user 1").await.expect("answered");
    assert_eq!(ids(&found), of_uid("user 1"));
    let found = handle
        .client_ids_by_uids(["user 1", "user 2", "user 0"])
        .await;
    let found = found.expect("answered");
    let expected = ["user 0", "user 1", "user 2"].map(|uid| (uid.to_owned(), of_uid(uid)));
    assert_eq!((found.names, found.missing), (expected.into(), vec![]));
    for group in ["lobby", "even", "nobody's"] {
        let found = handle.client_ids_by_group(group).await.expect("answered");
        assert_eq!(ids(&found), of_group(group), "{group}");
    }
    let all = handle.all_client_ids().await.expect("answered");
    assert_eq!(ids(&all), crowd.ids(|_| true));
    let by_group = handle.all_group_client_ids().await.expect("answered");
    let expected = ["even", "lobby"].map(|group| (group.to_owned(), of_group(group)));
    assert_eq!(
        (by_group.names, by_group.missing),
        (expected.into(), vec![])
    );
}

/// Proves getClientIdCountByGroup, batchGetClientIdCountByGroup, getAllClientIdCount,
/// getAllGroupIdList and getAllGroupClientIdCount.
#[tokio::test]
async fn clients_are_counted_over_all_gateways() {
    let crowd = Crowd::gather().await;
    let handle = crowd.nats.handle().await;
    for (group, total) in [("lobby", 24), ("even", 12), ("nobody's", 0)] {
        let count = handle.client_count_by_group(group).await.expect("answered");
        assert_eq!((count.total, count.missing), (total, vec![]), "{group}");
    }
    let count = handle.all_client_count().await.expect("answered");
    assert_eq!((count.total, count.missing), (24, vec![]));
    let found = handle.client_counts_by_groups(["lobby", "nobody's"]).await;
    let found = found.expect("answered");
    let expected = [("lobby".to_owned(), 24), ("nobody's".to_owned(), 0)];
    assert_eq!((found.names, found.missing), (expected.into(), vec![]));
    let groups = handle.all_groups().await.expect("answered");
    assert_eq!(counts(groups), crowd.counts(|person| person.groups.iter()));
}

/// Proves getUidByClientId, getUidListByGroup, getUidCountByGroup, getAllUidList, getAllUidCount,
/// getAllGroupUidList and getAllGroupUidCount, and what PHP has no name for, the groups of a client.
/// In PHP a client without a uid, or without a group, ends the list of its gateway.
#[tokio::test]
async fn uids_are_listed_and_counted_once_and_who_has_none_ends_no_list() {
    let crowd = Crowd::gather().await;
    let handle = crowd.nats.handle().await;
    let mut hermit = Client::connect(&crowd.gateways[0]).await;
    let hermit_id: ClientId = hermit.id().await.parse().expect("an id");
    hermit.ask("bind hermit").await;
    for person in &crowd.people {
        let uid = handle.uid_by_client_id(person.id).await.expect("answered");
        assert_eq!(uid, person.uid);
        let groups = handle
            .groups_by_client_id(person.id)
            .await
            .expect("answered");
        assert!(groups.iter().eq(&person.groups));
    }
    let nobody: ClientId = NOBODY.parse().expect("an id");
    let uid = handle.uid_by_client_id(nobody).await.expect("answered");
    let groups = handle
        .groups_by_client_id(hermit_id)
        .await
        .expect("answered");
    assert_eq!((uid, groups.len()), (None, 0));

    let mut uids = crowd.counts(|person| person.uid.iter());
    let found = handle.uids_by_group("lobby").await.expect("answered");
    assert_eq!(counts(found), uids, "each once, with its two clients");
    let count = handle.uid_count_by_group("lobby").await.expect("answered");
    assert_eq!((count.total, count.missing), (9, vec![]));
    uids.insert("hermit".into(), 1);
    let found = handle.all_uids().await.expect("answered");
    assert_eq!(counts(found), uids);
    let count = handle.all_uid_count().await.expect("answered");
    assert_eq!((count.total, count.missing), (10, vec![]));

    let of_group = |group: &str| -> BTreeSet<String> {
        let members = crowd.people.iter().filter(|p| p.groups.contains(group));
        members.filter_map(|person| person.uid.clone()).collect()
    };
    let by_group = handle.all_group_uids().await.expect("answered");
    let expected = ["even", "lobby"].map(|group| (group.to_owned(), of_group(group)));
    assert_eq!(
        (by_group.names, by_group.missing),
        (expected.into(), vec![])
    );
    let found = handle.all_group_uid_counts().await.expect("answered");
    let expected = [("even".to_owned(), 3), ("lobby".to_owned(), 9)];
    assert_eq!((found.names, found.missing), (expected.into(), vec![]));
}

/// Proves getSession, getClientSessionsByGroup and getAllClientSessions, and their deprecated kin
/// getClientInfoByGroup and getAllClientInfo.
#[tokio::test]
async fn sessions_are_read_at_all_gateways() {
    let crowd = Crowd::gather().await;
    let handle = crowd.nats.handle().await;
    for person in &crowd.people {
        let session = handle
            .session::<Session>(person.id)
            .await
            .expect("answered");
        let session = session.expect("it is online");
        assert_eq!(json!(session), person.session, "none is an empty one");
    }
    let nobody: ClientId = NOBODY.parse().expect("an id");
    let session = handle.session::<Session>(nobody).await.expect("answered");
    assert_eq!(session, None, "offline");
    let sessions = |listing: Listing<Session>| -> BTreeMap<ClientId, Value> {
        assert_eq!(listing.missing, vec![]);
        let clients = listing.clients.into_iter();
        clients
            .map(|client| (client.id, json!(client.session)))
            .collect()
    };
    let expected = |group: &str| -> BTreeMap<ClientId, Value> {
        let members = crowd.people.iter().filter(|p| p.groups.contains(group));
        members
            .map(|person| (person.id, person.session.clone()))
            .collect()
    };
    let even = handle.client_sessions_by_group("even").await;
    assert_eq!(sessions(even.expect("answered")), expected("even"));
    let all = handle.all_client_sessions().await;
    assert_eq!(sessions(all.expect("answered")), expected("lobby"));
}

/// Proves that a gateway which does not answer is named by every query, and that the clients of the
/// others are there. PHP waits five seconds for it, and leaves its clients out without a word.
#[tokio::test]
async fn every_query_names_the_gateways_that_did_not_answer() {
    let crowd = Crowd::gather().await;
    let builder = worker_sdk::Gateway::builder()
        .nats_url(crowd.nats.url())
        .prefix(crowd.nats.prefix())
        .query_timeout(std::time::Duration::from_millis(300));
    let handle = builder.connect().await.expect("the server is there");
    let totals = handle.totals().await.expect("beats");
    assert_eq!(totals.gateways.len(), 4);
    let mut newcomer = Client::connect(&crowd.gateways[0]).await;
    let here: ClientId = newcomer.id().await.parse().expect("an id");
    crowd.gateways[1].hold().await;

    let mut held: BTreeSet<_> = totals.gateways.iter().map(|g| g.gateway).collect();
    let list = within("the list", handle.all_client_ids())
        .await
        .expect("answered");
    held.retain(|gateway| list.missing.contains(gateway));
    assert_eq!((held.len(), list.missing.len()), (2, 2), "both shards");
    let mut expected = crowd.ids(|person| !held.contains(&person.id.gateway));
    expected.insert(here);
    assert_eq!(
        list.clients.iter().map(|c| c.id).collect::<BTreeSet<_>>(),
        expected
    );
    let missing = |what: &str, missing: Vec<worker_sdk::GatewayId>| {
        assert_eq!(missing.into_iter().collect::<BTreeSet<_>>(), held, "{what}");
    };
    let count = handle
        .client_count_by_group("lobby")
        .await
        .expect("answered");
    assert_eq!(count.total, 12);
    missing("a count", count.missing);
    let uids = handle.all_uids().await.expect("answered");
    assert_eq!(uids.names.len(), 9);
    missing("uids", uids.missing);
    let groups = handle.all_groups().await.expect("answered");
    assert_eq!(groups.names.len(), 2);
    missing("groups", groups.missing);
    let count = handle.uid_count_by_group("lobby").await.expect("answered");
    missing("a count of uids", count.missing);
    let found = handle
        .client_ids_by_uids(["user 1"])
        .await
        .expect("answered");
    assert_eq!(found.names["user 1"].len(), 1);
    missing("by uids", found.missing);
    let found = handle.all_group_uids().await.expect("answered");
    missing("uids of groups", found.missing);
    let found = handle.are_uids_online(["user 1"]).await.expect("answered");
    assert!(found.names["user 1"]);
    missing("uids online", found.missing);
    crowd.gateways[1].go_on();
    assert_eq!(crowd.people.len(), 24);
    drop(crowd.people.into_iter().map(|person| person.client));
}

//! Lists whose gateways are slow, stop in the middle, or are wrong.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use futures_util::{StreamExt, stream};
use gatebus_tests::{Nats, within};
use wire::{
    Answer, ClientId, ClientInfo, ConnId, GatewayId, NameCount, NodeState, Query, Request,
    RequestKind, Session,
};
use worker_sdk::{ErrorKind, Gateway, NameListing};

use crate::fake::{Fake, SOON, round_trip};

/// What a gateway has, and how it behaves.
#[derive(Clone, Default)]
struct Play {
    clients: u32,
    uids: Vec<(String, u64)>,
    /// It is silent from this question on.
    mute_at: Option<usize>,
    /// It has lost NATS after so many answers.
    leaves_at: Option<usize>,
    /// It gives its first page again and again.
    again: bool,
    /// It counts the clients of a name in two steps.
    halves: bool,
    /// How often it was asked for a page.
    asked: Arc<AtomicUsize>,
}

impl Play {
    fn clients(clients: u32) -> Self {
        Self {
            clients,
            ..Self::default()
        }
    }

    fn uids(uids: &[(&str, u64)]) -> Self {
        Self {
            uids: uids
                .iter()
                .map(|(uid, n)| ((*uid).to_owned(), *n))
                .collect(),
            ..Self::default()
        }
    }

    /// A page, as a gateway would give it.
    fn page(&self, gateway: GatewayId, query: &Query) -> Answer {
        let mut answer = Answer::count(gateway, u64::from(self.clients));
        match query {
            Query::Count => {}
            Query::List { after, limit, .. } => {
                let first = after.filter(|_| !self.again).map_or(0, |after| after.0 + 1);
                let last = self.clients.min(first + limit);
                answer.clients = (first..last).map(|n| info(gateway, n)).collect();
                answer.next = (last < self.clients).then(|| ConnId(last - 1));
            }
            Query::Uids(names) | Query::Groups(names) => {
                let after = names.after.as_deref();
                let is_next = |name: &str| match names.within {
                    Some(_) => Some(name) >= after,
                    None => Some(name) > after,
                };
                // one at a time, so that there are pages
                let mut rest = self.uids.iter().filter(|(name, _)| is_next(name));
                if let Some((name, count)) = rest.next() {
                    let goes_on = self.halves && names.within.is_none();
                    let count = match (self.halves, goes_on) {
                        (true, true) => count / 2,
                        (true, false) => count - count / 2,
                        (false, _) => *count,
                    };
                    // a gateway says nothing of a name that has no client yet
                    answer.names.extend((count > 0).then(|| NameCount {
                        name: name.clone(),
                        count,
                    }));
                    answer.next_within = goes_on.then_some(ConnId(7));
                    answer.next_name = (goes_on || rest.next().is_some()).then(|| name.clone());
                }
            }
        }
        answer
    }
}

fn info(gateway: GatewayId, conn: u32) -> ClientInfo {
    ClientInfo {
        client: ClientId {
            gateway,
            conn: ConnId(conn),
        },
        uid: None,
        session: Session::default(),
        session_left_out: false,
        version: 0,
        groups: Vec::new(),
        more_groups: false,
        remote: None,
    }
}

/// Starts a gateway that answers lists; it beats whenever it is asked who is there.
async fn start(server: &Nats, play: &Play) -> GatewayId {
    let fake = Fake::start(server).await;
    let (nats, id, play) = (fake.nats.clone(), fake.id, play.clone());
    let mut questions = stream::SelectAll::new();
    for subject in [fake.subjects.all(), fake.subjects.gateway(id)] {
        questions.push(nats.subscribe(subject).await.expect("subscribed"));
    }
    let mut who = nats
        .subscribe(fake.subjects.who())
        .await
        .expect("subscribed");
    round_trip(&nats).await;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(_) = who.next() => fake.beat(NodeState::Ready).await,
                Some(message) = questions.next() => {
                    let request: Request = wire::decode(&message.payload).expect("a request");
                    let (RequestKind::Query(query), Some(reply)) = (request.kind, message.reply)
                    else {
                        continue;
                    };
                    let before = play.asked.fetch_add(1, Relaxed);
                    if play.mute_at.is_none_or(|at| before < at) {
                        let answer = wire::encode(&play.page(id, &query));
                        if play.leaves_at == Some(before + 1) {
                            // NATS forgets it before its answer comes, so before it is asked again
                            for mut subscription in std::mem::take(&mut questions) {
                                subscription.unsubscribe().await.expect("unsubscribed");
                            }
                            round_trip(&nats).await;
                        }
                        nats.publish(reply, answer.into()).await.expect("published");
                    }
                }
                else => return,
            }
        }
    });
    id
}

/// Names with their clients.
fn pairs(listing: &NameListing) -> Vec<(&str, u64)> {
    let names = listing.names.iter();
    names.map(|entry| (&*entry.name, entry.clients)).collect()
}

async fn handle(server: &Nats) -> Gateway {
    let builder = Gateway::builder()
        .nats_url(server.url())
        .prefix(server.prefix())
        .query_timeout(SOON);
    within("the handle", Box::pin(builder.connect()))
        .await
        .expect("connected")
}

#[tokio::test]
async fn of_each_gateway_one_page_waits_however_slowly_a_list_is_read() {
    let server = Nats::start().await;
    let plays = [Play::clients(95), Play::clients(1000), Play::clients(40)];
    for play in &plays {
        start(&server, play).await;
    }
    let gateway = handle(&server).await;
    let list = gateway.all().list().page_size(10).stream().await;
    let mut list = list.expect("begun");
    let mut seen = BTreeSet::new();
    while let Some(entry) = within("a client", list.next()).await {
        assert!(seen.insert(entry.expect("a client").id), "none twice");
        // All that was asked for by now has been answered by now.
        within("a flush", gateway.flush()).await.expect("flushed");
        let asked: usize = plays.iter().map(|play| play.asked.load(Relaxed)).sum();
        let read = seen.len().div_ceil(10);
        let most = read + plays.len();
        assert!(
            asked <= most,
            "{asked} pages were asked for, {read} are read"
        );
    }
    assert_eq!(seen.len(), 1135);
    assert!(list.missing().is_empty());
}

#[tokio::test]
async fn a_list_that_is_not_read_to_its_end_asks_for_no_more() {
    let server = Nats::start().await;
    let play = Play::clients(1000);
    start(&server, &play).await;
    let gateway = handle(&server).await;
    let list = gateway.all().list().page_size(10).stream().await;
    let mut list = list.expect("begun");
    within("a client", list.next())
        .await
        .expect("one")
        .expect("a client");
    drop(list);
    for _ in 0..3 {
        within("a flush", gateway.flush()).await.expect("flushed");
    }
    assert_eq!(
        play.asked.load(Relaxed),
        2,
        "the page, and the one after it"
    );
}

#[tokio::test]
async fn a_gateway_that_falls_silent_in_the_middle_is_missing_and_the_others_come_whole() {
    let server = Nats::start().await;
    let silent = Play {
        mute_at: Some(2),
        ..Play::clients(100)
    };
    let silent_id = start(&server, &silent).await;
    start(&server, &Play::clients(100)).await;
    let gateway = handle(&server).await;
    let list = gateway.all().list().page_size(10).collect();
    let listing = within("the list", list).await.expect("answered");
    assert_eq!(
        listing.clients.len(),
        120,
        "all of one, two pages of the other"
    );
    assert_eq!(listing.missing, [silent_id]);
}

#[tokio::test]
async fn a_gateway_that_gives_the_same_page_again_is_an_error_and_the_list_ends() {
    let server = Nats::start().await;
    let wrong = Play {
        again: true,
        ..Play::clients(100)
    };
    let wrong_id = start(&server, &wrong).await;
    let gateway = handle(&server).await;
    let list = gateway.all().list().page_size(10).stream().await;
    let mut list = list.expect("begun");
    let mut errors = Vec::new();
    while let Some(entry) = within("an entry", list.next()).await {
        errors.extend(entry.err().map(|error| error.kind()));
    }
    assert_eq!(errors, [ErrorKind::Refused]);
    assert_eq!(list.missing(), [wrong_id]);
}

#[tokio::test]
async fn names_of_several_gateways_are_merged_in_order() {
    let server = Nats::start().await;
    for uids in [
        &[("a", 1), ("c", 2), ("d", 1), ("x", 9)][..],
        &[("b", 1), ("c", 3)],
        &[("c", 4), ("e", 1)],
        &[],
    ] {
        start(&server, &Play::uids(uids)).await;
    }
    let gateway = handle(&server).await;
    let listing = within("the names", gateway.all().uids())
        .await
        .expect("answered");
    let expected = [("a", 1), ("b", 1), ("c", 9), ("d", 1), ("e", 1), ("x", 9)];
    assert_eq!(
        (pairs(&listing), &listing.missing[..]),
        (expected.to_vec(), &[][..])
    );
    let count = within("the count", gateway.all_uid_count())
        .await
        .expect("answered");
    assert_eq!(count.total, 6);
}

#[tokio::test]
async fn names_of_a_gateway_that_falls_silent_are_missing_and_the_others_come_whole() {
    let server = Nats::start().await;
    let silent = Play {
        mute_at: Some(1),
        ..Play::uids(&[("a", 1), ("c", 2)])
    };
    let silent_id = start(&server, &silent).await;
    start(&server, &Play::uids(&[("b", 1), ("c", 3), ("d", 1)])).await;
    let gateway = handle(&server).await;
    let listing = within("the names", gateway.all().uids())
        .await
        .expect("answered");
    assert_eq!(pairs(&listing), [("a", 1), ("b", 1), ("c", 3), ("d", 1)]);
    assert_eq!(listing.missing, [silent_id]);
}

/// Proves that a name's clients are added up where a gateway counts them in several pages, also if
/// another gateway has the name too, or has others in between.
#[tokio::test]
async fn a_name_that_is_counted_in_several_pages_comes_once() {
    let server = Nats::start().await;
    let halves = Play {
        halves: true,
        ..Play::uids(&[("a", 1), ("c", 5), ("d", 4)])
    };
    start(&server, &halves).await;
    start(&server, &Play::uids(&[("b", 1), ("c", 3), ("d", 1)])).await;
    let gateway = handle(&server).await;
    let listing = within("the names", gateway.all().uids())
        .await
        .expect("answered");
    assert_eq!(pairs(&listing), [("a", 1), ("b", 1), ("c", 8), ("d", 5)]);
    assert!(listing.missing.is_empty());
}

/// Proves that names stay in order, each once, when a gateway's answer comes that nobody waits for,
/// because it was in no roster when the list began: what it has of them is in the list where it has
/// room, and the gateway is named, because the rest is not.
#[tokio::test]
async fn names_of_a_gateway_that_comes_in_the_middle_do_not_come_again() {
    let server = Nats::start().await;
    let names = ["a", "b", "c", "d", "e", "f", "g"].map(|name| (name, 1));
    start(&server, &Play::uids(&names)).await;
    let late = Fake::start(&server).await;
    let mut questions = late
        .nats
        .subscribe(late.subjects.all())
        .await
        .expect("subscribed");
    round_trip(&late.nats).await;
    let gateway = handle(&server).await;
    let mut list = gateway.all().list_uids().await.expect("begun");
    let question = within("the question", questions.next())
        .await
        .expect("a message");
    let mut read = Vec::new();
    for _ in 0..3 {
        let entry = within("a name", list.next()).await.expect("a name");
        read.push(entry.expect("a name"));
    }
    let named = |name: &str| NameCount {
        name: name.to_owned(),
        count: 9,
    };
    let answer = Answer {
        names: vec![named("a"), named("c"), named("z")],
        ..Answer::count(late.id, 3)
    };
    let reply = question.reply.expect("a question");
    let sent = late.nats.publish(reply, wire::encode(&answer).into()).await;
    sent.expect("published");
    round_trip(&late.nats).await;
    within("a flush", gateway.flush()).await.expect("flushed");
    while let Some(entry) = within("a name", list.next()).await {
        read.push(entry.expect("a name"));
    }
    let read: Vec<_> = read.iter().map(|n| (&*n.name, n.clients)).collect();
    assert_eq!(read, [&names[..], &[("z", 9)]].concat());
    assert_eq!(list.missing(), [late.id]);
}

/// Proves it by what is on the bus: an unknown uid costs one question on the uid's own subject,
/// which NATS answers, and no gateway hears of it.
#[tokio::test]
async fn an_unknown_uid_is_offline_after_one_question_that_nats_answers() {
    let server = Nats::start().await;
    let spy = Fake::start(&server).await;
    let mut heard = stream::SelectAll::new();
    for rest in ["all", "who", "gateway.>", "client.>", "group.>"] {
        let subject = server.subject(rest);
        heard.push(spy.nats.subscribe(subject).await.expect("subscribed"));
    }
    round_trip(&spy.nats).await;
    let gateway = handle(&server).await;
    let online = within("the answer", gateway.is_uid_online("nobody")).await;
    assert!(!online.expect("answered"));
    gateway.group("fence").send("fence").expect("sent");
    let first = within("the fence", heard.next()).await.expect("a message");
    assert_eq!(first.subject.as_str(), server.subject("group.fence"));
}

/// Proves that a gateway which is known to be there, and has lost NATS, is not taken for one that has
/// no clients.
#[tokio::test]
async fn a_page_names_a_gateway_that_nats_does_not_know_for_the_moment() {
    let server = Nats::start().await;
    let there = start(&server, &Play::clients(3)).await;
    let handle = handle(&server).await;
    let away = Fake::start(&server).await;
    // the handle follows the beats from its first question on
    assert_eq!(
        handle
            .all()
            .clients()
            .await
            .expect("answered")
            .clients
            .len(),
        3
    );
    away.beat(NodeState::Ready).await;
    gatebus_tests::eventually("the handle to know both", || async {
        let missing = handle.all().count().await.expect("answered").missing;
        (missing == [away.id]).then_some(())
    })
    .await;
    let page = handle.all().list().page(None, 10).await.expect("a page");
    assert_eq!(page.missing, [away.id]);
    assert!(page.clients.iter().all(|client| client.id.gateway == there));
    assert_eq!(page.clients.len(), 3);
    // and the same read all at once
    let listing = handle.all().clients().await.expect("answered");
    assert_eq!((listing.clients.len(), listing.missing), (3, vec![away.id]));
    let listing = handle.all().uids().await.expect("answered");
    assert_eq!((listing.names.len(), listing.missing), (0, vec![away.id]));
}

/// Proves that a gateway which NATS does not know any more when its next page is asked for, and which
/// is still in the roster, is named.
#[tokio::test]
async fn a_gateway_that_loses_nats_in_the_middle_of_a_list_is_missing() {
    let server = Nats::start().await;
    let leaves = Play {
        leaves_at: Some(2),
        ..Play::clients(100)
    };
    let away = start(&server, &leaves).await;
    start(&server, &Play::clients(100)).await;
    let gateway = handle(&server).await;
    let list = gateway.all().list().page_size(10).collect();
    let listing = within("the list", list).await.expect("answered");
    assert_eq!((listing.clients.len(), listing.missing), (120, vec![away]));
}

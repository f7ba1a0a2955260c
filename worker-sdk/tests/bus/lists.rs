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
use worker_sdk::{ErrorKind, Gateway};

use crate::fake::{Fake, SOON, round_trip};

/// What a gateway has, and how it behaves.
#[derive(Clone, Default)]
struct Play {
    clients: u32,
    uids: Vec<(String, u64)>,
    /// It is silent from this question on.
    mute_at: Option<usize>,
    /// It gives its first page again and again.
    again: bool,
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
                let rest = self.uids.iter().filter(|(name, _)| Some(&**name) > after);
                // one at a time, so that there are pages
                let mut rest = rest.map(|(name, count)| NameCount {
                    name: name.clone(),
                    count: *count,
                });
                answer.names = rest.next().into_iter().collect();
                answer.next_name = rest
                    .next()
                    .and(answer.names.first())
                    .map(|n| n.name.clone());
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
                        nats.publish(reply, answer.into()).await.expect("published");
                    }
                }
                else => return,
            }
        }
    });
    id
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
    let names: Vec<_> = listing
        .names
        .iter()
        .map(|n| (&*n.name, n.clients))
        .collect();
    let expected = [("a", 1), ("b", 1), ("c", 9), ("d", 1), ("e", 1), ("x", 9)];
    assert_eq!((&names[..], &listing.missing[..]), (&expected[..], &[][..]));
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
    let names: Vec<_> = listing
        .names
        .iter()
        .map(|n| (&*n.name, n.clients))
        .collect();
    assert_eq!(names, [("a", 1), ("b", 1), ("c", 3), ("d", 1)]);
    assert_eq!(listing.missing, [silent_id]);
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
}

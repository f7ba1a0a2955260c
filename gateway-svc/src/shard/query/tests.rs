//! Pages, held against a plain look through everybody.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use wire::{ConnId, Fields, Filter, GatewayId, Group, NameCount, Names, Session, Uid};

use super::{
    Census, Facts, MOST_PAGE, MOST_STEPS,
    scope::{Scope, Whose},
};
use crate::{
    hub::{Hub, TopicKind},
    topics::Slot,
};

/// A hub with clients, all of them open.
struct World {
    hub: Hub,
    most_page: usize,
    sessions: Vec<Session>,
}

fn uid(name: impl ToString) -> Uid {
    Uid::new(name.to_string()).expect("a name")
}

fn group(name: impl ToString) -> Group {
    Group::new(name.to_string()).expect("a name")
}

fn session(key: &str, value: u64) -> Session {
    Session::from_map(&[(key.to_owned(), value.into())].into()).expect("small")
}

impl Default for World {
    fn default() -> Self {
        Self {
            hub: Hub::default(),
            most_page: MOST_PAGE,
            sessions: Vec::new(),
        }
    }
}

impl World {
    fn client(&mut self, uid: Option<String>, groups: &[String]) -> (Slot, ConnId) {
        let (slot, conn) = self.hub.insert();
        if let Some(name) = uid {
            self.hub.bind(slot, &self::uid(name), 0);
        }
        for name in groups {
            self.hub.join(slot, &group(name));
        }
        self.sessions.resize(
            self.sessions.len().max(slot as usize + 1),
            Session::default(),
        );
        self.sessions[slot as usize] = session("n", u64::from(slot) % 10);
        (slot, conn)
    }

    fn census<'a>(&'a self) -> Census<'a, impl Fn(Slot) -> Option<Facts<'a>>> {
        Census {
            gateway: GatewayId::from_bytes([1; 6]),
            hub: &self.hub,
            open: self.hub.len() as u64,
            most_page: self.most_page,
            facts: |slot: Slot| {
                Some(Facts {
                    session: &self.sessions[slot as usize],
                    version: 1,
                    remote: "192.0.2.1:1",
                })
            },
        }
    }

    fn group(&self, name: &str) -> Whose {
        let topic = self.hub.topics(TopicKind::Group).find(name);
        Whose::Of(TopicKind::Group, topic.expect("it has members"))
    }

    /// All pages of a list, and how many there were.
    fn list(&self, scope: &Scope, limit: usize) -> (Vec<ConnId>, usize) {
        let (mut found, mut after) = (Vec::new(), None);
        for pages in 1.. {
            let answer = self.census().list(scope, Fields::default(), after, limit);
            assert!(answer.clients.len() <= limit);
            found.extend(answer.clients.iter().map(|info| info.client.conn));
            match answer.next {
                Some(next) => assert!(after.replace(next).is_none_or(|before| before < next)),
                None => return (found, pages),
            }
        }
        unreachable!()
    }

    /// All pages of names, as one list.
    fn names(&self, kind: TopicKind, scope: &Scope, limit: u32) -> Vec<(String, u64)> {
        let mut found: Vec<(String, u64)> = Vec::new();
        let mut asked = Names {
            limit,
            ..Names::default()
        };
        loop {
            let answer = self.census().names(kind, scope, &asked);
            assert!(answer.names.len() <= limit as usize);
            for NameCount { name, count } in answer.names {
                match found.last_mut() {
                    // it goes on
                    Some((last, clients)) if *last == name => *clients += count,
                    last => {
                        assert!(last.is_none_or(|(last, _)| *last < name));
                        found.push((name, count));
                    }
                }
            }
            if answer.next_name.is_none() {
                return found;
            }
            // a name that goes on comes before the end of it
            let place = |name: &Option<String>, within: Option<ConnId>| {
                (name.clone(), within.is_none(), within)
            };
            let before = place(&asked.after, asked.within);
            (asked.after, asked.within) = (answer.next_name, answer.next_within);
            assert!(before < place(&asked.after, asked.within));
        }
    }
}

/// Many clients: every tenth without a uid, uids of three, groups of many sizes.
fn crowd(many: usize) -> World {
    let mut world = World::default();
    for n in 0..many {
        let uid = (n % 10 > 0).then(|| format!("u{}", n / 3));
        let groups = [
            "all".to_owned(),
            format!("g{}", n % 100),
            format!("h{}", n / 7),
        ];
        world.client(uid, &groups);
    }
    world
}

#[test]
fn every_client_comes_once_and_in_order_whatever_the_way_there() {
    let world = crowd(40_000);
    for (whose, total) in [
        (Whose::Everybodys, 40_000),
        (world.group("all"), 40_000),
        (world.group("g7"), 400),
        (world.group("h0"), 7),
    ] {
        let scope = Scope::new(whose, Vec::new());
        let (found, pages) = world.list(&scope, 1000);
        assert!(found.is_sorted(), "ordered, and none twice");
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), total);
        assert_eq!(pages, total.div_ceil(1000));
    }
}

#[test]
fn a_page_stays_below_what_the_server_takes_and_says_what_had_no_room() {
    let mut world = World {
        most_page: 20_000,
        ..World::default()
    };
    for n in 0..50 {
        let groups: Vec<String> = match n {
            9 => (0..30).map(|n| format!("{n:0>1000}")).collect(),
            _ => Vec::new(),
        };
        let (slot, _) = world.client(None, &groups);
        let text = "x".repeat(if n == 7 { 60_000 } else { 3_000 });
        let map = [("text".to_owned(), text.into())].into();
        world.sessions[slot as usize] = Session::from_map(&map).expect("small");
    }
    let fields = Fields {
        session: true,
        groups: true,
        uid: true,
        remote: true,
    };
    let scope = Scope::new(Whose::Everybodys, Vec::new());
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let answer = world.census().list(&scope, fields, after, 1000);
        let bytes = wire::encode(&answer).len();
        assert!(bytes <= 20_000, "{bytes}");
        found.extend(answer.clients);
        match answer.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert!(found.is_sorted_by_key(|info| info.client.conn));
    assert_eq!(found.len(), 50);
    let cut: Vec<_> = found.iter().filter(|info| info.session_left_out).collect();
    let [cut] = &cut[..] else {
        panic!("one session has no room, not {}", cut.len())
    };
    assert!(cut.session.is_empty() && cut.version == 1);
    let cut: Vec<_> = found.iter().filter(|info| info.more_groups).collect();
    let [cut] = &cut[..] else {
        panic!("one client's groups have no room, not {}", cut.len())
    };
    assert!(!cut.session.is_empty() && cut.groups.len() == 16);
}

#[test]
fn a_filter_lets_through_whom_a_look_at_each_would() {
    let world = crowd(40_000);
    let mut rng = StdRng::seed_from_u64(11);
    for round in 0..60 {
        let some = |rng: &mut StdRng, text: &str, most: u32| -> Option<Vec<String>> {
            let many = rng.random_range(0..4);
            let one = |rng: &mut StdRng| format!("{text}{}", rng.random_range(0..most));
            rng.random_bool(0.5)
                .then(|| (0..many).map(|_| one(rng)).collect())
        };
        let (uids, groups) = (some(&mut rng, "u", 14_000), some(&mut rng, "g", 110));
        let bound = rng.random_bool(0.5).then(|| rng.random_bool(0.8));
        let n = rng.random_bool(0.5).then(|| rng.random_range(0..11_u64));
        let filter = Filter {
            uids: uids.as_ref().map(|uids| uids.iter().map(uid).collect()),
            groups: groups
                .as_ref()
                .map(|groups| groups.iter().map(group).collect()),
            bound,
            session: n.map_or_else(Session::default, |n| session("n", n)),
        };
        let everybody = rng.random_bool(0.5);
        let whose = if everybody {
            Whose::Everybodys
        } else {
            world.group("g3")
        };
        let except: Vec<Slot> = vec![3, 5, 103];
        let mut scope = Scope::new(whose, except.clone());
        scope.narrow(&world.hub, &filter).expect("scalars");
        let expected = world.hub.after(None).filter(|(_, slot)| {
            let mine = world.hub.uid(*slot).map(|uid| uid.to_string());
            let my_groups = world.hub.groups_of(*slot);
            let among =
                |names: &Vec<String>| my_groups.iter().any(|g| names.contains(&g.to_string()));
            !except.contains(slot)
                && (everybody || among(&vec!["g3".to_owned()]))
                && uids
                    .as_ref()
                    .is_none_or(|uids| mine.as_ref().is_some_and(|uid| uids.contains(uid)))
                && groups.as_ref().is_none_or(among)
                && bound.is_none_or(|bound| bound == mine.is_some())
                && n.is_none_or(|n| u64::from(*slot) % 10 == n)
        });
        let expected: Vec<ConnId> = expected.map(|(conn, _)| conn).collect();
        assert_eq!(
            world.list(&scope, 500).0,
            expected,
            "round {round}: {filter:?}"
        );
    }
}

#[test]
fn who_stays_comes_exactly_once_while_others_come_and_go() {
    let mut world = crowd(30_000);
    let stay: BTreeSet<ConnId> = world
        .hub
        .after(None)
        .step_by(2)
        .map(|(conn, _)| conn)
        .collect();
    let mut rng = StdRng::seed_from_u64(5);
    for whole in [true, false] {
        let mut seen = BTreeMap::<ConnId, u32>::new();
        let mut after = None;
        loop {
            let whose = if whole {
                Whose::Everybodys
            } else {
                world.group("all")
            };
            let scope = Scope::new(whose, Vec::new());
            let answer = world.census().list(&scope, Fields::default(), after, 700);
            for info in &answer.clients {
                *seen.entry(info.client.conn).or_default() += 1;
            }
            after = answer.next;
            if after.is_none() {
                break;
            }
            let go: Vec<Slot> = world
                .hub
                .after(None)
                .filter(|(conn, _)| !stay.contains(conn) && rng.random_bool(0.01))
                .map(|(_, slot)| slot)
                .collect();
            for slot in go {
                world.hub.leave_all(slot, 0);
                world.hub.remove(slot);
            }
            for _ in 0..100 {
                world.client(None, &["all".to_owned()]);
            }
        }
        assert!(seen.values().all(|times| *times == 1));
        assert!(stay.iter().all(|conn| seen.contains_key(conn)));
    }
}

#[test]
fn names_come_once_in_order_with_their_clients() {
    let mut world = crowd(40_000);
    // a name that is only kept for those who may come back
    let (gone, _) = world.client(Some("nobody".into()), &["nobody's".into()]);
    world.hub.leave_all(gone, 0);
    for (whose, name) in [
        (Whose::Everybodys, None),
        (world.group("all"), Some("all")),
        (world.group("g7"), Some("g7")),
    ] {
        let (mut uids, mut groups) = (BTreeMap::new(), BTreeMap::new());
        for (_, slot) in world.hub.after(None) {
            let mine = world.hub.groups_of(slot);
            if name.is_none_or(|name| mine.iter().any(|g| **g == *name)) {
                if let Some(uid) = world.hub.uid(slot) {
                    *uids.entry(uid.to_string()).or_insert(0) += 1;
                }
                for group in mine {
                    *groups.entry(group.to_string()).or_insert(0) += 1;
                }
            }
        }
        let scope = Scope::new(whose, Vec::new());
        let found = world.names(TopicKind::Uid, &scope, 900);
        assert!(found.into_iter().eq(uids), "{name:?}");
        let found = world.names(TopicKind::Group, &scope, 900);
        assert!(found.into_iter().eq(groups), "{name:?}");
    }
}

/// Proves that whoever is left out costs as many looks as they are, not as many as stay.
#[test]
fn a_few_who_are_left_out_of_many_are_counted_without_a_look_at_the_many() {
    let world = crowd(MOST_STEPS * 2 + 2);
    let all = world.hub.topics(TopicKind::Group).find("all");
    let all = all.expect("it has members");
    for whose in [Whose::Everybodys, world.group("all")] {
        let scope = Scope::new(whose, vec![3, 5, 103]);
        let counted = scope.count(&world.hub, TopicKind::Group, all);
        let counted = counted.expect("at once");
        assert_eq!(counted.clients, world.hub.len() as u64 - 3);
        assert!(counted.steps < 10, "{counted:?}");
        let names = world.names(TopicKind::Group, &scope, 1000);
        assert!(names.contains(&("all".to_owned(), world.hub.len() as u64 - 3)));
        assert!(names.contains(&("h0".to_owned(), 5)), "of seven");
    }
}

#[test]
fn a_few_clients_of_a_large_group_are_counted_without_a_look_at_the_others() {
    let world = crowd(MOST_STEPS * 2 + 2);
    let all = world.hub.topics(TopicKind::Group).find("all");
    let scope = Scope::new(world.group("h1"), vec![7]);
    let counted = scope.count(&world.hub, TopicKind::Group, all.expect("it has members"));
    let counted = counted.expect("at once");
    assert!(
        (counted.clients, counted.steps < 20) == (6, true),
        "{counted:?}"
    );
}

/// Proves that two large groups are held against each other in steps, and that whoever stays in both
/// meanwhile is counted once.
#[test]
fn names_whose_clients_are_too_many_for_one_step_are_counted_in_several() {
    let mut world = World::default();
    for n in 0..MOST_STEPS * 3 {
        let groups = ["all", "even", "third", "tiny"];
        let is_in = [true, n % 2 == 0, n % 3 == 0, n < 10];
        let groups = groups.iter().zip(is_in).filter(|(_, is_in)| *is_in);
        let groups: Vec<String> = groups.map(|(name, _)| (*name).to_owned()).collect();
        world.client(None, &groups);
    }
    let [even, third] = ["even", "third"].map(|name| world.hub.topics(TopicKind::Group).find(name));
    let (even, third) = (even.expect("members"), third.expect("members"));
    let whose = || Whose::Of(TopicKind::Group, even);
    let scope = Scope::new(whose(), vec![0]);
    let at_once = scope.count(&world.hub, TopicKind::Group, third);
    assert!(at_once.is_none_or(|counted| counted.steps <= MOST_STEPS));
    let all = world
        .hub
        .topics(TopicKind::Group)
        .find("all")
        .expect("members");
    assert_eq!(scope.count(&world.hub, TopicKind::Group, all), None);
    let expected = [
        ("all", MOST_STEPS * 3 / 2 - 1),
        ("even", MOST_STEPS * 3 / 2 - 1),
        ("third", MOST_STEPS / 2 - 1),
        ("tiny", 4),
    ];
    let expected = expected.map(|(name, many)| (name.to_owned(), many as u64));
    assert_eq!(
        world.names(TopicKind::Group, &scope, 1000),
        expected.clone()
    );
    // no page of them is larger than a step, and who leaves from page to page changes nothing for
    // those who stay
    let mut asked = Names {
        names: vec!["all".to_owned(), "tiny".to_owned()],
        ..Names::default()
    };
    let mut found = BTreeMap::new();
    for pages in 1.. {
        let scope = Scope::new(whose(), vec![0]);
        let answer = world.census().names(TopicKind::Group, &scope, &asked);
        for NameCount { name, count } in answer.names {
            assert!(count <= MOST_STEPS as u64);
            *found.entry(name).or_insert(0) += count;
        }
        if answer.next_name.is_none() {
            assert!((2..=4).contains(&pages), "{pages}");
            break;
        }
        (asked.after, asked.within) = (answer.next_name, answer.next_within);
        let odd = world.hub.slots().filter(|slot| slot % 2 == 1);
        let gone: Vec<Slot> = odd.take(5000).collect();
        for slot in gone {
            world.hub.leave_all(slot, 0);
            world.hub.remove(slot);
        }
    }
    let [all, _, _, tiny] = expected;
    assert!(found.into_iter().eq([all, tiny]));
}

#[test]
fn only_the_names_that_are_asked_for_come() {
    let world = crowd(1000);
    let asked = |names: &[&str], after: Option<&str>| {
        let names = Names {
            names: names.iter().map(ToString::to_string).collect(),
            after: after.map(str::to_owned),
            limit: 10,
            ..Names::default()
        };
        let scope = Scope::new(Whose::Everybodys, Vec::new());
        let answer = world.census().names(TopicKind::Uid, &scope, &names);
        let names = answer.names.into_iter().map(|n| (n.name, n.count));
        names.collect::<Vec<_>>()
    };
    let (one, two) = (("u1".to_owned(), 3), ("u9".to_owned(), 3));
    assert_eq!(asked(&["u9", "x", "u1", "u9"], None), [one, two.clone()]);
    assert_eq!(asked(&["u9", "x", "u1"], Some("u1")), [two]);
}

#[test]
fn a_page_ends_when_enough_was_looked_at() {
    let world = crowd(MOST_STEPS * 2 + 2);
    let mut scope = Scope::new(Whose::Everybodys, Vec::new());
    let filter = Filter {
        session: session("n", 77),
        ..Filter::default()
    };
    scope.narrow(&world.hub, &filter).expect("a scalar");
    let answer = world.census().list(&scope, Fields::default(), None, 1000);
    assert_eq!(answer.clients.len(), 0);
    assert!(answer.next.is_some(), "nobody yet, but it is not the end");
    assert_eq!(
        answer.count,
        world.hub.len() as u64,
        "whatever the filter says"
    );
    let (found, pages) = world.list(&scope, 1000);
    let most = world.hub.len().div_ceil(MOST_STEPS.div_ceil(5));
    assert_eq!((found.len(), pages), (0, most), "a session is five steps");
}

#[test]
fn a_client_in_very_many_groups_fits_a_page_and_says_that_there_are_more() {
    let mut world = World::default();
    let long = |n: usize| format!("{n:0>1000}");
    let names: Vec<String> = (0..200).map(long).collect();
    world.client(None, &names);
    let fields = Fields {
        groups: true,
        ..Fields::default()
    };
    let scope = Scope::new(Whose::Everybodys, Vec::new());
    let answer = world.census().list(&scope, fields, None, 1000);
    let [info] = &answer.clients[..] else {
        panic!("one")
    };
    assert!(
        info.more_groups && info.groups.len() == 65,
        "{}",
        info.groups.len()
    );
    assert_eq!(world.names(TopicKind::Group, &scope, 1000).len(), 200);
}

#[test]
fn a_page_of_large_sessions_ends_by_its_size() {
    let mut world = crowd(100);
    let long = [("k".to_owned(), "x".repeat(60_000).into())];
    let large = Session::from_map(&long.into()).expect("small enough");
    world.sessions.iter_mut().for_each(|s| *s = large.clone());
    let fields = Fields {
        session: true,
        ..Fields::default()
    };
    let scope = Scope::new(Whose::Everybodys, Vec::new());
    let answer = world.census().list(&scope, fields, None, 1000);
    // a fifth would bring it beyond
    assert_eq!(answer.clients.len(), 4);
    assert!(wire::encode(&answer).len() < MOST_PAGE);
    assert!(answer.next.is_some());
}

//! A uid or group name, whatever it is, becomes one harmless token of a subject.

use std::collections::HashMap;

use proptest::prelude::*;
use wire::{
    EventKind, GatewayId, Group, NameError, Prefix, ServiceName, Subjects, Uid,
    name::{MAX_NAME, MAX_PREFIX, MAX_SERVICE},
    subject,
    token::{self, Decoded, MAX_TOKEN},
};

use crate::{samples, strategies};

/// The longest line that nats-server reads; a longer one ends the connection.
const MAX_LINE: usize = 4096;

/// The longest reply subject that the project itself makes, and more than any NATS client's inbox.
const REPLY: usize = 512;

fn longest_prefix() -> Prefix {
    Prefix::new("p".repeat(MAX_PREFIX)).expect("the longest prefix")
}

fn harmless(token: &str) {
    assert!(!token.is_empty() && token.len() <= MAX_TOKEN, "{token:?}");
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_~".contains(c);
    assert!(token.chars().all(safe), "{token:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_name_becomes_one_harmless_token(name in strategies::name()) {
        let token = token::encode(&name);
        harmless(&token);
        match token::decode(&token).expect("our own token") {
            Decoded::Name(decoded) => prop_assert_eq!(decoded, name),
            Decoded::Hash(_) => {
                prop_assert!(token.starts_with("~~"));
                prop_assert!(name.len() > 71, "{} bytes fit as they are", name.len());
            }
        }
    }

    #[test]
    fn a_whole_line_stays_below_the_servers_limit(name in strategies::name(), raw in any::<bool>()) {
        let subjects = Subjects::new(longest_prefix());
        let of_uid = subjects.uid(&Uid::new(&*name).expect("a name"));
        let of_group = subjects.group(&Group::new(&*name).expect("a name"));
        for subject in [of_uid, of_group] {
            prop_assert_eq!(subject.split('.').count(), 3);
            prop_assert!(!subject.contains(|c: char| c.is_whitespace() || c == '*' || c == '>'));
            let reply = "r".repeat(REPLY);
            let verb = if raw { "HPUB" } else { "PUB" };
            let publish = format!("{verb} {subject} {reply} {} {}\r\n", usize::MAX, usize::MAX);
            let subscribe = format!("SUB {subject} {} {}\r\n", "q".repeat(MAX_SERVICE), u64::MAX);
            prop_assert!(publish.len() <= MAX_LINE && subscribe.len() <= MAX_LINE);
        }
    }

    #[test]
    fn a_name_travels_whole(name in strategies::name()) {
        let uid = Uid::new(&*name).expect("a name");
        prop_assert_eq!(uid.as_str(), &name);
        prop_assert_eq!(wire::decode::<Uid>(&wire::encode(&uid)).expect("our own bytes"), uid);
    }

    #[test]
    fn any_token_reads_back_or_is_refused(token in "\\PC{0,120}|~[A-Za-z0-9_-]{0,120}|~~[A-Za-z0-9_-]{22}") {
        match token::decode(&token) {
            Some(Decoded::Name(name)) => prop_assert_eq!(token::encode(&name), token),
            Some(Decoded::Hash(_)) => prop_assert!(token.starts_with("~~")),
            None => {}
        }
    }

    #[test]
    fn a_client_id_round_trips(client in strategies::client()) {
        let text = client.to_string();
        prop_assert_eq!(text.len(), wire::ClientId::DIGITS);
        prop_assert_eq!(text.parse::<wire::ClientId>().expect("our own text"), client);
        prop_assert_eq!(subject::conn(&Subjects::default().client(client)), Some(client.conn));
    }

    #[test]
    fn a_reply_subject_names_its_clients(
        gateway in strategies::client(),
        clients in prop::collection::vec(strategies::client(), 1..=wire::event::MAX_BATCHES),
    ) {
        let conns: Vec<_> = clients.iter().map(|client| client.conn).collect();
        let subject = Subjects::default().ack(gateway.gateway, conns.iter().copied());
        prop_assert_eq!(subject::conns(&subject).collect::<Vec<_>>(), conns);
    }

    #[test]
    fn only_an_id_is_an_id(text in "\\PC{0,24}|[0-9A-Fa-f]{20}") {
        let plain = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let good = text.len() == 20 && text.bytes().all(plain);
        prop_assert_eq!(text.parse::<wire::ClientId>().is_ok(), good);
    }
}

#[test]
fn different_names_have_different_tokens() {
    let names = [
        "a.b", "a.b ", "~YS5i", "YS5i", "*", ">", "", "-", "_", "~", "~~",
    ];
    let tokens: HashMap<_, _> = names
        .into_iter()
        .map(|name| (token::encode(name), name))
        .collect();
    assert_eq!(tokens.len(), names.len());
}

#[test]
fn each_form_ends_where_the_next_begins() {
    let plain = token::encode(&"a".repeat(48));
    assert_eq!(plain, "a".repeat(48));
    let coded = token::encode(&"a".repeat(49));
    assert!(coded.starts_with("~YWFh") && !coded.starts_with("~~"));
    let longest_coded = token::encode(&"a".repeat(71));
    assert_eq!(longest_coded.len(), MAX_TOKEN);
    assert!(!longest_coded.starts_with("~~"));
    let hashed = token::encode(&"a".repeat(72));
    assert_eq!(hashed.len(), 24);
    assert!(hashed.starts_with("~~"));
}

#[test]
fn names_have_a_longest_and_a_shortest() {
    assert!(Uid::new("a".repeat(MAX_NAME)).is_ok());
    assert_eq!(
        Uid::new("a".repeat(MAX_NAME + 1)),
        Err(NameError::TooLong("uid", MAX_NAME))
    );
    assert_eq!(Uid::new(""), Err(NameError::Empty("uid")));
    assert!(Group::new("a".repeat(MAX_NAME)).is_ok());
    assert!(Group::new("a".repeat(MAX_NAME + 1)).is_err());
    assert!(Group::new("").is_err());
    assert!(ServiceName::new("a".repeat(MAX_SERVICE)).is_ok());
    assert!(ServiceName::new("a".repeat(MAX_SERVICE + 1)).is_err());
    assert!(Prefix::new("a".repeat(MAX_PREFIX)).is_ok());
    assert!(Prefix::new("a".repeat(MAX_PREFIX + 1)).is_err());
}

#[test]
fn a_service_or_prefix_cannot_change_a_subject() {
    for bad in ["", "a b", "*", ">", "a.*", "chät", "a\n", "$SRV"] {
        assert!(ServiceName::new(bad).is_err(), "{bad:?}");
        assert!(Prefix::new(bad).is_err(), "{bad:?}");
    }
    assert!(ServiceName::new("a.b").is_err());
    assert!(Prefix::new("a.b").is_ok());
    for bad in [".", ".a", "a.", "a..b"] {
        assert!(Prefix::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_subject_without_a_connection_names_none() {
    for subject in [
        "",
        "gatebus.ack.0a1b2c3d4e5f",
        "gatebus.all",
        "x.00C0FFEE",
        "x.00c0ffe",
    ] {
        assert_eq!(subject::conn(subject), None, "{subject}");
        assert_eq!(subject::conns(subject).next(), None, "{subject}");
    }
    let gateway = GatewayId::from_bytes([0; 6]);
    assert_eq!(subject::conn(&Subjects::default().acks(gateway)), None);
}

#[test]
fn a_subject_of_events_says_of_what_kind_and_how_many() {
    let (s, service) = (Subjects::default(), samples::service());
    for kind in EventKind::ALL {
        assert_eq!(
            subject::event(&s.event(&service, kind)),
            Some((kind, false))
        );
        assert_eq!(
            subject::event(&s.event_many(&service, kind)),
            Some((kind, true))
        );
        assert_eq!(
            subject::event(&s.worker(samples::worker(), kind)),
            Some((kind, false))
        );
        assert_eq!(
            subject::event(&s.worker_many(samples::worker(), kind)),
            Some((kind, true))
        );
    }
    for subject in [
        "",
        "many",
        ".many",
        "gatebus.event.chat.tea",
        "answers.message",
        "answers.of.message.many",
        "gatebus.event.chat.tea.many",
    ] {
        assert_eq!(subject::event(subject), None, "{subject}");
    }
}

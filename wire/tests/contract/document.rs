//! The tables of `subjects.md` say what the code does.

use std::collections::BTreeSet;

use ciborium::Value;
use data_encoding::HEXLOWER;
use wire::{
    AckStatus, AnswerError, ClientId, CloseCode, ConnId, DeadReason, EventKind, GatewayId,
    NodeState, OrderKind, ProcessId, Subjects, TargetKind, WorkerId, beat, claim, codec, event,
    filter, micro, name, request, session, subject, token,
};

use crate::{
    diagnostic, golden,
    page::{PAGE, blocks, table},
    samples, schema,
};

/// Both say the same, in any order; else the rows that only one of them has are named.
fn same(what: &str, page: Vec<impl Into<String>>, code: Vec<impl Into<String>>) {
    let rows: Vec<String> = page.into_iter().map(Into::into).collect();
    let page: BTreeSet<String> = rows.iter().cloned().collect();
    let code: BTreeSet<String> = code.into_iter().map(Into::into).collect();
    assert_eq!(
        rows.len(),
        page.len(),
        "{what}: a row stands twice in subjects.md: {rows:?}"
    );
    let only_page: Vec<_> = page.difference(&code).collect();
    let only_code: Vec<_> = code.difference(&page).collect();
    assert!(
        only_page.is_empty() && only_code.is_empty(),
        "{what}: only in subjects.md {only_page:?}, only in the code {only_code:?}"
    );
}

/// What serde writes for a value that is a word.
fn word(value: impl serde::Serialize) -> String {
    wire::decode(&wire::encode(&value)).expect("a text string")
}

#[test]
fn subjects_are_built_as_the_page_says() {
    let page = table("## Subjects", "subject");
    let (s, id) = (Subjects::default(), samples::gateway().to_string());
    let (uid, group) = (samples::uid("a.b"), samples::group("a.b"));
    let mut code: Vec<String> = EventKind::ALL
        .map(|kind| {
            s.event(&samples::service(), kind)
                .replace(kind.token(), "<kind>")
        })
        .into();
    code.extend(EventKind::ALL.map(|kind| {
        s.worker(samples::worker(), kind)
            .replace(kind.token(), "<kind>")
    }));
    code.extend(EventKind::ALL.map(|kind| {
        s.event_many(&samples::service(), kind)
            .replace(kind.token(), "<kind>")
    }));
    code.extend(EventKind::ALL.map(|kind| {
        s.worker_many(samples::worker(), kind)
            .replace(kind.token(), "<kind>")
    }));
    code.dedup();
    code.extend([
        s.acks(samples::gateway()),
        s.ack(samples::gateway(), [samples::conn(), samples::other_conn()]),
        s.client(samples::client()),
        s.uid(&uid),
        s.group(&group),
        s.all(),
        s.gateway(samples::gateway()),
        s.process(samples::process()),
        s.gateway_beat(samples::process()),
        s.worker_beat(samples::worker()),
        s.who(),
        s.dead(),
    ]);
    for verb in micro::Verb::ALL {
        code.extend(micro::subjects(verb, micro::GATEWAY, &id));
    }
    let rows = page.column("subject").into_iter().map(|row| {
        let row = if row.starts_with("$SRV.") {
            row.replace("<id>", &id)
        } else {
            row.to_owned()
        };
        fill(&row)
    });
    same("Subjects", rows.collect(), code);
}

/// A subject with the samples' names in the places of what stands in `<>`.
fn fill(row: &str) -> String {
    row.replace("<p>", "gatebus")
        .replace("<service>", &samples::service())
        .replace("<gateway>", &samples::gateway().to_string())
        .replace("<conn>", &samples::conn().to_string())
        .replace(
            "<conns>",
            &format!("{}{}", samples::conn(), samples::other_conn()),
        )
        .replace("<token>", "~YS5i")
        .replace("<process>", &samples::process().to_string())
        .replace("<worker>", &samples::worker().to_string())
        .replace("<name>", micro::GATEWAY)
}

#[test]
fn subscriptions_are_built_as_the_page_says() {
    let page = table("## Subjects", "subscription");
    let s = Subjects::default();
    let rows = page.column("subscription").into_iter().map(fill).collect();
    let code = vec![
        s.events(&samples::service()),
        s.events_many(&samples::service()),
        s.worker_events(samples::worker()),
        s.worker_events_many(samples::worker()),
        s.ack_replies(samples::gateway()),
        s.clients(samples::gateway()),
        s.gateway_beats(),
        s.worker_beats(),
    ];
    same("Subscriptions", rows, code);
}

#[test]
fn every_subject_that_is_built_is_on_the_page() {
    // A new builder must come with a row, so its name must be in one of the tests above.
    let source = include_str!("../../src/subject.rs");
    let builders: Vec<_> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub fn ")?.split_once("(&self"))
        .map(|(name, _)| name)
        .collect();
    assert!(builders.len() > 10, "{builders:?}");
    let tests = include_str!("document.rs");
    for name in builders {
        assert!(
            tests.contains(&format!("s.{name}(")),
            "`Subjects::{name}` is held against no row of subjects.md"
        );
    }
}

#[test]
fn ids_have_the_digits_that_the_page_says() {
    let page = table("## Ids", "id");
    let rows = page
        .rows
        .iter()
        .map(|row| format!("{} {}", page.cell(row, "id"), page.cell(row, "digits")));
    let code = vec![
        format!("gateway id {}", GatewayId::DIGITS),
        format!("worker id {}", WorkerId::DIGITS),
        format!("process id {}", ProcessId::DIGITS),
        format!("connection id {}", ConnId(0).to_string().len()),
        format!("client id {}", ClientId::DIGITS),
    ];
    same("Ids", rows.collect(), code);
}

#[test]
fn tokens_are_as_the_page_shows_them() {
    let page = table("## Names and tokens", "name");
    assert!(page.rows.len() > 10);
    for row in &page.rows {
        let name = match row[0].split_once("` ") {
            Some((piece, times)) => {
                let times = times.strip_suffix(" times").expect("`x` n times");
                piece
                    .trim_matches('`')
                    .repeat(times.parse().expect("a number"))
            }
            None => row[0].trim_matches('`').to_owned(),
        };
        assert_eq!(
            token::encode(&name),
            row[1].trim_matches('`'),
            "the row of {}",
            row[0]
        );
    }
}

#[test]
fn event_kinds_are_on_the_page() {
    let page = table("## Events", "kind");
    same(
        "Event kinds",
        page.column("kind"),
        EventKind::ALL.map(EventKind::token).into(),
    );
}

#[test]
fn ack_statuses_are_on_the_page() {
    let page = table("### Ack", "status");
    let all = [
        AckStatus::Done,
        AckStatus::Retry,
        AckStatus::Progress,
        AckStatus::Busy,
    ];
    for status in all {
        // A new status must be added to the list above and to the page.
        match status {
            AckStatus::Done | AckStatus::Retry | AckStatus::Progress | AckStatus::Busy => {}
        }
    }
    same("Ack statuses", page.column("status"), all.map(word).into());
}

#[test]
fn dead_reasons_are_on_the_page() {
    let page = table("### Dead letter", "reason");
    let all = [
        DeadReason::Attempts,
        DeadReason::NoWorker,
        DeadReason::Drain,
        DeadReason::TooLarge,
    ];
    for reason in all {
        match reason {
            DeadReason::Attempts
            | DeadReason::NoWorker
            | DeadReason::Drain
            | DeadReason::TooLarge => {}
        }
    }
    same("Dead reasons", page.column("reason"), all.map(word).into());
}

#[test]
fn orders_are_on_the_page() {
    let page = table("### Order", "order");
    let all = [OrderKind::Drain];
    for order in all {
        match order {
            OrderKind::Drain => {}
        }
    }
    same("Orders", page.column("order"), all.map(word).into());
}

#[test]
fn answer_errors_are_on_the_page() {
    let page = table("### Answer", "error");
    let all = [
        AnswerError::NoClient,
        AnswerError::Malformed,
        AnswerError::SessionTooLarge,
        AnswerError::Conflict,
        AnswerError::Other,
    ];
    for error in all {
        match error {
            AnswerError::NoClient
            | AnswerError::Malformed
            | AnswerError::SessionTooLarge
            | AnswerError::Conflict
            | AnswerError::Other => {}
        }
    }
    same("Answer errors", page.column("error"), all.map(word).into());
}

#[test]
fn an_error_from_the_future_is_other() {
    let unknown = wire::encode(&"out_of_tea");
    assert_eq!(
        wire::decode::<AnswerError>(&unknown).expect("a word"),
        AnswerError::Other
    );
}

#[test]
fn states_are_on_the_page() {
    let page = table("## Beats", "state");
    let all = [NodeState::Ready, NodeState::Draining, NodeState::Leaving];
    for state in all {
        match state {
            NodeState::Ready | NodeState::Draining | NodeState::Leaving => {}
        }
    }
    same("States", page.column("state"), all.map(word).into());
}

#[test]
fn targets_are_on_the_page() {
    let page = table("## Requests", "target");
    let s = Subjects::default();
    let code = [
        TargetKind::Client,
        TargetKind::Uid,
        TargetKind::Group,
        TargetKind::All,
    ]
    .map(|t| {
        let subject = match t {
            TargetKind::Client => s.client(samples::client()),
            TargetKind::Uid => s.uid(&samples::uid("a.b")),
            TargetKind::Group => s.group(&samples::group("a.b")),
            TargetKind::All => s.all(),
        };
        format!("{} {subject}", word(t))
    });
    let rows = page.rows.iter().map(|row| {
        format!(
            "{} {}",
            page.cell(row, "target"),
            fill(page.cell(row, "subject"))
        )
    });
    same("Targets", rows.collect(), code.into());
}

/// The words in code marks in a cell.
fn marked(cell: &str) -> BTreeSet<&str> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| !word.is_empty())
        .collect()
}

/// The fields of a request that decide whether it decodes, and those that may stand beside.
fn of_verb(key: &str) -> Vec<(String, Vec<(String, Value)>)> {
    let mut verbs: Vec<(String, Vec<(String, Value)>)> = Vec::new();
    let common = ["to", "target", "conns", "except", "version", key];
    for (_, request) in schema::own("request") {
        let entries = request.into_map().expect("a map").into_iter();
        let entries: Vec<(String, Value)> = entries
            .map(|(key, value)| (key.into_text().expect("a text key"), value))
            .collect();
        let Some((_, verb)) = entries.iter().find(|(name, _)| name == key) else {
            continue;
        };
        let verb = verb.as_text().expect("a word").to_owned();
        let rest = entries
            .into_iter()
            .filter(|(name, _)| !common.contains(&&**name));
        match verbs.iter_mut().find(|(known, _)| *known == verb) {
            Some((_, fields)) => {
                for (name, value) in rest {
                    if !fields.iter().any(|(known, _)| *known == name) {
                        fields.push((name, value));
                    }
                }
            }
            None => verbs.push((verb, rest.collect())),
        }
    }
    verbs
}

/// Whether the verb's request decodes with exactly these of its fields.
fn decodes(key: &str, verb: &str, fields: &[&(String, Value)]) -> bool {
    let mut entries = vec![(Value::from(key), Value::from(verb))];
    entries.extend(
        fields
            .iter()
            .map(|(name, value)| (Value::from(&**name), value.clone())),
    );
    wire::decode::<wire::Request>(&wire::encode(&Value::Map(entries))).is_ok()
}

fn verbs(heading: &str, column: &str, key: &str, source: &str) {
    let page = table(heading, column);
    let code = of_verb(key);
    same(
        heading,
        page.column(column),
        code.iter().map(|(verb, _)| verb.clone()).collect(),
    );
    // The samples must not forget one: the enum in the source has as many.
    let variants = include_str!("../../src/request/raw.rs")
        .split_once(source)
        .expect(source)
        .1;
    let variants = variants.split_once('}').expect("an end").0;
    let variants = variants
        .lines()
        .filter(|line| line.trim().ends_with(','))
        .count();
    assert_eq!(
        page.rows.len(),
        variants,
        "{heading}: as many rows as `{source}` has variants"
    );
    for row in &page.rows {
        let verb = page.cell(row, column);
        let fields = &code
            .iter()
            .find(|(known, _)| known == verb)
            .expect("checked above")
            .1;
        let needed: BTreeSet<&str> = fields
            .iter()
            .filter(|without| {
                let rest: Vec<_> = fields.iter().filter(|f| f != without).collect();
                !decodes(key, verb, &rest)
            })
            .map(|(name, _)| &**name)
            .collect();
        let optional: BTreeSet<&str> = fields
            .iter()
            .map(|(name, _)| &**name)
            .filter(|name| !needed.contains(name))
            .collect();
        if page.head.contains(&"needs") {
            let at = page
                .head
                .iter()
                .position(|head| *head == "needs")
                .expect("it is there");
            assert_eq!(marked(row[at]), needed, "the row of `{verb}`, needs");
        }
        let at = page
            .head
            .iter()
            .position(|head| *head == "may have")
            .expect("a column");
        assert_eq!(marked(row[at]), optional, "the row of `{verb}`, may have");
    }
}

#[test]
fn commands_are_on_the_page() {
    verbs("### Commands", "command", "do", "enum Do {");
}

#[test]
fn queries_are_on_the_page() {
    verbs("### Queries", "query", "ask", "enum Ask {");
}

#[test]
fn close_codes_are_on_the_page() {
    let page = table("## Close codes", "code");
    let row = |row: &Vec<&'static str>| {
        let cell = |name| page.cell(row, name);
        format!(
            "{} {} {:?} {}",
            cell("code"),
            cell("label"),
            cell("reason"),
            cell("reconnect")
        )
    };
    let code = CloseCode::ALL.map(|code| {
        let again = if code.reconnect() { "yes" } else { "no" };
        format!(
            "{} {} {:?} {again}",
            code.code(),
            code.label(),
            code.reason()
        )
    });
    same(
        "Close codes",
        page.rows.iter().map(row).collect(),
        code.into(),
    );
}

#[test]
fn limits_are_on_the_page() {
    let page = table("## Limits", "limit");
    let rows = page
        .rows
        .iter()
        .map(|row| format!("{} = {}", page.cell(row, "constant"), page.cell(row, "is")));
    let limit = |name: &str, n: u64| format!("{name} = {n}");
    let code = vec![
        limit("codec::MAX_ENVELOPE", codec::MAX_ENVELOPE as u64),
        limit("codec::MAX_DEPTH", codec::MAX_DEPTH as u64),
        limit("codec::MAX_ITEMS", codec::MAX_ITEMS as u64),
        limit("event::MAX_BATCHES", event::MAX_BATCHES as u64),
        limit("name::MAX_NAME", name::MAX_NAME as u64),
        limit("name::MAX_PREFIX", name::MAX_PREFIX as u64),
        limit("name::MAX_SERVICE", name::MAX_SERVICE as u64),
        limit("token::MAX_TOKEN", token::MAX_TOKEN as u64),
        limit("request::MAX_REASON", request::MAX_REASON as u64),
        limit("request::DEFAULT_LIMIT", u64::from(request::DEFAULT_LIMIT)),
        limit("filter::MAX_WHERE", filter::MAX_WHERE as u64),
        limit("filter::MAX_WHERE_KEYS", filter::MAX_WHERE_KEYS as u64),
        limit("session::MAX_SESSION", session::MAX_SESSION as u64),
        limit(
            "session::MAX_SESSION_DEPTH",
            session::MAX_SESSION_DEPTH as u64,
        ),
        limit("claim::LAPSE_MS", claim::LAPSE_MS),
        limit("beat::INTERVAL_MS", beat::INTERVAL_MS),
        limit("beat::MISSES", beat::MISSES),
    ];
    same("Limits", rows.collect(), code);
}

#[test]
fn names_that_are_said_in_passing_are_right() {
    for said in [subject::RAW_HEADER, micro::GATEWAY, micro::WORKER] {
        assert!(
            PAGE.contains(&format!("`{said}`")),
            "subjects.md does not name `{said}`"
        );
    }
    assert_eq!(name::Prefix::default().as_str(), "gatebus");
}

/// The maps at a place in the frozen messages of one kind; every list is looked through.
fn maps_at(message: &str, path: &[&str]) -> Vec<Vec<(Value, Value)>> {
    fn walk(value: Value, path: &[&str], out: &mut Vec<Vec<(Value, Value)>>) {
        match (value, path) {
            (Value::Array(items), path) => {
                items.into_iter().for_each(|item| walk(item, path, out));
            }
            (Value::Map(entries), []) => out.push(entries),
            (Value::Map(entries), [first, rest @ ..]) => {
                let inner = entries
                    .into_iter()
                    .find(|(key, _)| key.as_text() == Some(first));
                if let Some((_, inner)) = inner {
                    walk(inner, rest, out);
                }
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    schema::own(message).for_each(|(_, value)| walk(value, path, &mut out));
    assert!(!out.is_empty(), "no golden message has {message} {path:?}");
    out
}

fn fields(heading: &str, message: &str, path: &[&str]) {
    let page = table(heading, "field");
    let maps = maps_at(message, path);
    let written: BTreeSet<String> = maps
        .iter()
        .flatten()
        .map(|(key, _)| key.as_text().expect("a text key").to_owned())
        .collect();
    same(heading, page.column("field"), written.into_iter().collect());
    for row in &page.rows {
        let (field, required) = (page.cell(row, "field"), page.cell(row, "required"));
        let always = maps
            .iter()
            .all(|map| map.iter().any(|(key, _)| key.as_text() == Some(field)));
        match required {
            "yes" => assert!(
                always,
                "{heading}, the row of `{field}`: it is not always written"
            ),
            "no" | "one of both" => {}
            other => panic!("{heading}, the row of `{field}`: required is {other:?}"),
        }
    }
}

#[test]
fn fields_are_on_the_page() {
    fields("### Event batch", "event", &[]);
    fields("### Event message", "event_message", &[]);
    fields("### Handshake", "event", &["handshake"]);
    fields("### Close event", "event", &["close"]);
    fields("### Ack message", "ack", &[]);
    fields("### Ack", "ack", &["acks"]);
    fields("### Session change", "ack", &["acks", "session"]);
    fields("### Dead letter", "dead", &[]);
    fields("### Request", "request", &[]);
    fields("### Claim", "request", &["by"]);
    fields("### Fields", "request", &["fields"]);
    fields("### Filter", "request", &["where"]);
    fields("### Answer", "answer", &[]);
    fields("### Name count", "answer", &["names"]);
    fields("### Client info", "answer", &["clients"]);
    fields("### Order", "order", &[]);
    fields("### Gateway beat", "gateway_beat", &[]);
    fields("### Shard beat", "gateway_beat", &["shards"]);
    fields("### Worker beat", "worker_beat", &[]);
}

/// The fields that the page requires are those without which the code refuses a message.
#[test]
fn required_fields_are_required() {
    type Message = (&'static str, &'static str, fn(&[u8]) -> bool);
    fn ok<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> bool {
        wire::decode::<T>(bytes).is_ok()
    }
    let messages: [Message; 8] = [
        (
            "### Event message",
            "event_message",
            ok::<wire::EventMessage>,
        ),
        ("### Event batch", "event", ok::<wire::EventBatch>),
        ("### Ack message", "ack", ok::<wire::AckMessage>),
        ("### Answer", "answer", ok::<wire::Answer>),
        ("### Order", "order", ok::<wire::Order>),
        ("### Gateway beat", "gateway_beat", ok::<wire::GatewayBeat>),
        ("### Worker beat", "worker_beat", ok::<wire::WorkerBeat>),
        ("### Dead letter", "dead", ok::<wire::Dead>),
    ];
    for (heading, message, decodes) in messages {
        let page = table(heading, "field");
        for map in maps_at(message, &[]) {
            for row in &page.rows {
                let field = page.cell(row, "field");
                let without: Vec<_> = map
                    .iter()
                    .filter(|(key, _)| key.as_text() != Some(field))
                    .cloned()
                    .collect();
                if without.len() < map.len() {
                    assert_eq!(
                        !decodes(&wire::encode(&Value::Map(without))),
                        page.cell(row, "required") == "yes",
                        "{heading}, the row of `{field}`"
                    );
                }
            }
        }
    }
}

#[test]
fn the_example_is_made_of_frozen_messages() {
    let frozen: Vec<String> = ["event", "event_message", "ack", "request", "answer"]
        .into_iter()
        .flat_map(golden::entries)
        .filter_map(|entry| entry.notation)
        .collect();
    let examples = blocks("diag");
    assert_eq!(examples.len(), 5);
    for example in examples {
        assert!(
            frozen.iter().any(|f| f == example),
            "not in wire/golden: {example}"
        );
    }
    let [hex] = blocks("hex")[..] else {
        panic!("one example in hex")
    };
    let code = hex
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let digits: String = code.flat_map(str::split_whitespace).collect();
    let bytes = HEXLOWER.decode(digits.as_bytes()).expect("hex");
    assert_eq!(diagnostic::of_bytes(&bytes), blocks("diag")[1]);
}

//! Any value of any message, for properties that must hold for all of them.

use ciborium::Value;
use proptest::{collection::vec, option, prelude::*, sample::select};
use wire::{
    Ack, AckMessage, AckStatus, Answer, AnswerError, ClientId, ClientInfo, CloseCode, CloseEvent,
    ClosedBy, Command, ConnId, Dead, DeadReason, EventBatch, EventKind, EventMessage, Fields,
    Filter, GatewayBeat, GatewayId, Group, Handshake, NameCount, Names, NodeState, Order,
    OrderKind, Payload, Policy, ProcessId, Query, Rank, Request, RequestKind, ServiceName, Session,
    SessionChange, ShardBeat, TargetKind, Uid, WorkerBeat, WorkerId, name::MAX_NAME,
    request::MAX_REASON, session::SessionMap,
};

fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rfind(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

const TRIED: &[&str] = &[
    "*",
    ">",
    ".",
    "..",
    "a.b",
    "a b",
    "a\r\nPUB x 0",
    "\0",
    "~",
    "~~",
    "~YQ",
    "$SRV.PING",
    "%",
    "世界",
    "\u{feff}",
    "\t",
    "-",
    "_INBOX.x",
    "42",
];

/// A uid or group name: any text, and what people try.
pub(crate) fn name() -> impl Strategy<Value = String> {
    let long = ("\\PC{1,16}", 1..=MAX_NAME).prop_map(|(piece, len)| {
        let text = piece.repeat(len / piece.len() + 1);
        cut(&text, len.max(4)).to_owned()
    });
    prop_oneof![
        select(TRIED).prop_map(str::to_owned),
        "[A-Za-z0-9_-]{1,60}",
        vec(any::<char>(), 1..40).prop_map(String::from_iter),
        long,
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "\\PC{0,40}",
        vec(any::<char>(), 0..40).prop_map(String::from_iter)
    ]
}

fn gateway() -> impl Strategy<Value = GatewayId> {
    any::<[u8; 6]>().prop_map(GatewayId::from_bytes)
}

fn worker() -> impl Strategy<Value = WorkerId> {
    any::<[u8; 6]>().prop_map(WorkerId::from_bytes)
}

fn conn() -> impl Strategy<Value = ConnId> {
    any::<u32>().prop_map(ConnId)
}

pub(crate) fn client() -> impl Strategy<Value = ClientId> {
    (gateway(), conn()).prop_map(|(gateway, conn)| ClientId { gateway, conn })
}

fn uid() -> impl Strategy<Value = Uid> {
    name().prop_map(|name| Uid::new(name).expect("a name"))
}

fn group() -> impl Strategy<Value = Group> {
    name().prop_map(|name| Group::new(name).expect("a name"))
}

fn service() -> impl Strategy<Value = ServiceName> {
    "[A-Za-z0-9_-]{1,48}".prop_map(|name| ServiceName::new(name).expect("a name"))
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        text().prop_map(|text| Payload::Text(text.into())),
        vec(any::<u8>(), 0..40).prop_map(|bytes| Payload::Binary(bytes.into())),
        (4000..9000_usize).prop_map(|len| Payload::Text("é".repeat(len / 2).into())),
        (4000..9000_usize).prop_map(|len| Payload::Binary(vec![7; len].into())),
    ]
}

/// A value that may stand in a session; floats are never NaN, so that equal means equal.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        text().prop_map(Value::from),
        vec(any::<u8>(), 0..20).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let entries = proptest::collection::btree_map("[a-c]{0,2}", inner.clone(), 0..4);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::Array),
            entries.prop_map(|map| {
                Value::Map(
                    map.into_iter()
                        .map(|(key, value)| (key.into(), value))
                        .collect(),
                )
            }),
        ]
    })
}

pub(crate) fn session_map() -> impl Strategy<Value = SessionMap> {
    proptest::collection::btree_map(prop_oneof!["[a-c]{1,2}", text()], value(), 0..5)
}

pub(crate) fn session() -> impl Strategy<Value = Session> {
    session_map().prop_map(|map| Session::from_map(&map).expect("small and flat"))
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((text(), text()), 0..4)
}

fn handshake() -> impl Strategy<Value = Handshake> {
    (text(), pairs(), pairs(), pairs()).prop_map(|(path, query, headers, cookies)| Handshake {
        path,
        query,
        headers,
        cookies,
    })
}

fn close_event() -> impl Strategy<Value = CloseEvent> {
    let by = select(&[ClosedBy::Client, ClosedBy::Gateway, ClosedBy::Command][..]);
    (by, any::<u16>(), text(), vec(group(), 0..3)).prop_map(|(by, code, reason, groups)| {
        CloseEvent {
            by,
            code,
            reason,
            groups,
        }
    })
}

pub(crate) fn event() -> impl Strategy<Value = EventBatch> {
    let head = (client(), any::<u64>(), any::<u32>(), text(), text());
    let of_client = (option::of(uid()), session(), any::<u64>());
    let events = (
        vec(payload(), 0..4),
        any::<bool>(),
        option::of(handshake()),
        option::of(close_event()),
    );
    (head, of_client, events).prop_map(
        |(
            (client, seq, attempt, remote, local),
            (uid, session, version),
            (messages, connect, handshake, close),
        )| {
            EventBatch {
                client,
                seq,
                attempt,
                ack_wait: attempt.rotate_left(7),
                remote,
                local,
                uid,
                session,
                version,
                messages,
                connect,
                handshake,
                close,
            }
        },
    )
}

pub(crate) fn event_message() -> impl Strategy<Value = EventMessage> {
    vec(event(), 1..4).prop_map(|batches| EventMessage { batches })
}

fn code() -> impl Strategy<Value = u16> {
    any::<u16>().prop_map(|code| {
        if CloseCode::is_allowed(code) {
            code
        } else {
            3000 + code % 2000
        }
    })
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let close = (code(), text(), option::of(payload())).prop_map(|(code, reason, message)| {
        Command::Close {
            code,
            reason: cut(&reason, MAX_REASON).to_owned(),
            message,
        }
    });
    prop_oneof![
        payload().prop_map(Command::Send),
        close,
        Just(Command::Destroy),
        uid().prop_map(Command::BindUid),
        Just(Command::UnbindUid),
        group().prop_map(Command::Join),
        group().prop_map(Command::Leave),
        session().prop_map(Command::SetSession),
        session().prop_map(Command::UpdateSession),
        claiming(),
    ]
}

fn claiming() -> impl Strategy<Value = Command> {
    let policy = || select(&[Policy::KickOld, Policy::RejectNew][..]);
    let rank = (policy(), any::<u64>(), client()).prop_map(|(policy, ticket, client)| Rank {
        policy,
        ticket,
        client,
    });
    prop_oneof![
        (uid(), policy(), any::<u64>()).prop_map(|(uid, policy, ticket)| Command::Claim {
            uid,
            policy,
            ticket
        }),
        (uid(), option::of(rank)).prop_map(|(uid, by)| Command::Contest { uid, by }),
        (uid(), any::<u64>()).prop_map(|(uid, ticket)| Command::Settle { uid, ticket }),
        (uid(), any::<u64>()).prop_map(|(uid, ticket)| Command::Withdraw { uid, ticket }),
    ]
}

/// A value that a session may be compared with.
fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        text().prop_map(Value::from),
        vec(any::<u8>(), 0..20).prop_map(Value::from),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let keys = proptest::collection::btree_map("[a-c]{1,2}", scalar(), 0..4);
    let session = keys.prop_map(|map| Session::from_map(&map).expect("small and flat"));
    (
        option::of(vec(uid(), 0..3)),
        option::of(vec(group(), 0..3)),
        option::of(any::<bool>()),
        session,
    )
        .prop_map(|(uids, groups, bound, session)| Filter {
            uids,
            groups,
            bound,
            session,
        })
}

fn names() -> impl Strategy<Value = Names> {
    let place = (option::of(name()), option::of(conn()));
    (vec(name(), 0..3), place, any::<u32>()).prop_map(|(names, (after, within), limit)| Names {
        names,
        after,
        within,
        limit,
    })
}

fn query() -> impl Strategy<Value = Query> {
    let list = (
        any::<[bool; 4]>(),
        filter(),
        option::of(conn()),
        any::<u32>(),
    )
        .prop_map(
            |([uid, session, groups, remote], filter, after, limit)| Query::List {
                fields: Fields {
                    uid,
                    session,
                    groups,
                    remote,
                },
                filter,
                after,
                limit,
            },
        );
    prop_oneof![
        Just(Query::Count),
        list,
        names().prop_map(Query::Uids),
        names().prop_map(Query::Groups),
    ]
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let targets = [
        TargetKind::Client,
        TargetKind::Uid,
        TargetKind::Group,
        TargetKind::All,
    ];
    let kind = prop_oneof![
        3 => command().prop_map(RequestKind::Command),
        1 => query().prop_map(RequestKind::Query),
    ];
    let whom = (
        option::of(name()),
        option::of(select(targets.to_vec())),
        vec(conn(), 0..4),
        vec(client(), 0..4),
        option::of(any::<u64>()),
    );
    (whom, kind).prop_map(|((to, target, conns, except, version), kind)| Request {
        to,
        target,
        conns,
        except,
        version,
        kind,
    })
}

pub(crate) fn ack() -> impl Strategy<Value = AckMessage> {
    let statuses = [
        AckStatus::Done,
        AckStatus::Retry,
        AckStatus::Progress,
        AckStatus::Busy,
    ];
    let change =
        (session(), vec(text(), 0..3)).prop_map(|(set, removed)| SessionChange { set, removed });
    let head = (
        conn(),
        any::<u64>(),
        any::<u32>(),
        select(statuses.to_vec()),
    );
    let rest = (
        any::<u32>(),
        any::<u32>(),
        option::of(change),
        vec(command(), 0..4),
    );
    let one = (head, rest).prop_map(
        |((conn, seq, attempt, status), (handled, failed, session, commands))| Ack {
            conn,
            seq,
            attempt,
            status,
            handled,
            failed,
            session,
            commands,
        },
    );
    (worker(), any::<bool>(), vec(one, 0..4)).prop_map(|(worker, many, acks)| AckMessage {
        worker,
        many,
        acks,
    })
}

pub(crate) fn answer() -> impl Strategy<Value = Answer> {
    let errors = [
        AnswerError::NoClient,
        AnswerError::Malformed,
        AnswerError::SessionTooLarge,
        AnswerError::Conflict,
        AnswerError::Other,
    ];
    let of_client = (option::of(uid()), session(), any::<bool>(), any::<u64>());
    let of_groups = (vec(group(), 0..3), any::<bool>());
    let info = (client(), of_client, of_groups, option::of(text())).prop_map(
        |(client, (uid, session, session_left_out, version), (groups, more_groups), remote)| {
            ClientInfo {
                client,
                uid,
                session,
                session_left_out,
                version,
                groups,
                more_groups,
                remote,
            }
        },
    );
    let named = (name(), any::<u64>()).prop_map(|(name, count)| NameCount { name, count });
    let page = (
        vec(info, 0..4),
        option::of(conn()),
        vec(named, 0..4),
        option::of(name()),
        option::of(conn()),
    );
    let contest = (
        any::<[u64; 2]>(),
        option::of(client()),
        option::of(client()),
    );
    (
        gateway(),
        option::of(select(errors.to_vec())),
        any::<u64>(),
        page,
        contest,
    )
        .prop_map(
            |(
                gateway,
                error,
                count,
                (clients, next, names, next_name, next_within),
                ([version, ticket], holder, rival),
            )| Answer {
                gateway,
                error,
                count,
                clients,
                next,
                names,
                next_name,
                next_within,
                version,
                ticket,
                holder,
                rival,
            },
        )
}

fn state() -> impl Strategy<Value = NodeState> {
    select(&[NodeState::Ready, NodeState::Draining, NodeState::Leaving][..])
}

pub(crate) fn order() -> impl Strategy<Value = Order> {
    Just(Order {
        what: OrderKind::Drain,
    })
}

pub(crate) fn gateway_beat() -> impl Strategy<Value = GatewayBeat> {
    let shard = (gateway(), any::<[u64; 3]>(), any::<bool>()).prop_map(
        |(gateway, [clients, uids, groups], away)| ShardBeat {
            gateway,
            clients,
            uids,
            groups,
            away,
        },
    );
    let process = any::<[u8; 6]>().prop_map(ProcessId::from_bytes);
    (
        process,
        state(),
        text(),
        text(),
        any::<u64>(),
        vec(shard, 0..4),
    )
        .prop_map(
            |(process, state, version, host, started, shards)| GatewayBeat {
                process,
                state,
                version,
                host,
                started,
                shards,
            },
        )
}

pub(crate) fn worker_beat() -> impl Strategy<Value = WorkerBeat> {
    let head = (worker(), service(), state(), text(), text());
    (head, any::<[u64; 5]>()).prop_map(
        |(
            (worker, service, state, version, host),
            [started, running, concurrency, handled, failed],
        )| {
            WorkerBeat {
                worker,
                service,
                state,
                version,
                host,
                started,
                running,
                concurrency,
                handled,
                failed,
            }
        },
    )
}

pub(crate) fn dead() -> impl Strategy<Value = Dead> {
    let reasons = [
        DeadReason::Attempts,
        DeadReason::NoWorker,
        DeadReason::TooLarge,
        DeadReason::Drain,
    ];
    let kind = select(EventKind::ALL.to_vec());
    (service(), kind, select(reasons.to_vec()), event()).prop_map(
        |(service, kind, reason, batch)| Dead {
            service,
            kind: kind.token().to_owned(),
            reason,
            batch,
        },
    )
}

//! One named value of every message in every shape that it has: what the frozen bytes stand for.
//!
//! A sample is never changed, because bytes like its own are on somebody's bus. Add a new one.

use ciborium::Value;
use wire::{
    Ack, AckMessage, AckStatus, Answer, AnswerError, ClientId, ClientInfo, CloseEvent, ClosedBy,
    Command, ConnId, Dead, DeadReason, EventBatch, EventMessage, Fields, Filter, GatewayBeat,
    GatewayId, Group, Handshake, NameCount, Names, NodeState, Order, OrderKind, Payload, Policy,
    ProcessId, Query, Rank, Request, ServiceName, Session, SessionChange, ShardBeat, TargetKind,
    Uid, WorkerBeat, WorkerId, session::SessionMap,
};

/// A value and the name under which its bytes are frozen.
pub(crate) type Sample<T> = (&'static str, T);

pub(crate) fn gateway() -> GatewayId {
    GatewayId::from_bytes([0x0a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f])
}

pub(crate) fn worker() -> WorkerId {
    WorkerId::from_bytes([0xf0, 0xe1, 0xd2, 0xc3, 0xb4, 0xa5])
}

pub(crate) fn process() -> ProcessId {
    ProcessId::from_bytes([0x11, 0x22, 0x33, 0x44, 0x55, 0x66])
}

pub(crate) fn conn() -> ConnId {
    ConnId(0x00c0_ffee)
}

pub(crate) fn other_conn() -> ConnId {
    ConnId(0x0bad_cafe)
}

pub(crate) fn client() -> ClientId {
    ClientId {
        gateway: gateway(),
        conn: conn(),
    }
}

pub(crate) fn service() -> ServiceName {
    ServiceName::new("chat").expect("a service name")
}

pub(crate) fn uid(text: &str) -> Uid {
    Uid::new(text).expect("a uid")
}

pub(crate) fn group(text: &str) -> Group {
    Group::new(text).expect("a group name")
}

pub(crate) fn text(text: &str) -> Payload {
    Payload::Text(text.into())
}

fn binary(bytes: &'static [u8]) -> Payload {
    Payload::Binary(bytes.into())
}

pub(crate) fn map(items: &[(&str, Value)]) -> SessionMap {
    items
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect()
}

pub(crate) fn session(items: &[(&str, Value)]) -> Session {
    Session::from_map(&map(items)).expect("a session within the limits")
}

fn alice() -> Session {
    session(&[("name", "alice".into()), ("visits", 3.into())])
}

fn pairs(items: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    items.iter().map(own).collect()
}

fn batch() -> EventBatch {
    EventBatch {
        client: client(),
        seq: 1,
        attempt: 1,
        ack_wait: wire::event::ACK_WAIT,
        remote: "203.0.113.9:51234".to_owned(),
        local: "10.0.0.1:7272".to_owned(),
        uid: None,
        session: Session::default(),
        version: 0,
        messages: Vec::new(),
        connect: false,
        handshake: None,
        close: None,
    }
}

pub(crate) fn events() -> Vec<Sample<EventBatch>> {
    let bound = || EventBatch {
        uid: Some(uid("42")),
        session: alice(),
        version: 7,
        ..batch()
    };
    let close = |by, code, reason: &str, groups| EventBatch {
        seq: 9,
        close: Some(CloseEvent {
            by,
            code,
            reason: reason.to_owned(),
            groups,
        }),
        ..bound()
    };
    vec![
        ("connect", batch()),
        (
            "websocket",
            EventBatch {
                seq: 2,
                handshake: Some(Handshake {
                    path: "/chat/room%201".to_owned(),
                    query: pairs(&[("token", "s3cr=t"), ("tag", "a"), ("tag", "b")]),
                    headers: pairs(&[("host", "chat.example"), ("user-agent", "test/1.0")]),
                    cookies: pairs(&[("sid", "abc")]),
                }),
                ..batch()
            },
        ),
        (
            "websocket_connect",
            EventBatch {
                connect: true,
                handshake: Some(Handshake {
                    path: "/chat".to_owned(),
                    headers: pairs(&[("host", "chat.example")]),
                    ..Handshake::default()
                }),
                ..batch()
            },
        ),
        (
            "websocket_bare",
            EventBatch {
                seq: 2,
                handshake: Some(Handshake {
                    path: "/".to_owned(),
                    ..Handshake::default()
                }),
                ..batch()
            },
        ),
        (
            "message_text",
            EventBatch {
                seq: 3,
                messages: vec![text("hello")],
                ..batch()
            },
        ),
        (
            "message_again",
            EventBatch {
                seq: 3,
                attempt: 2,
                messages: vec![text("hello")],
                ..batch()
            },
        ),
        (
            "message_soon",
            EventBatch {
                seq: 3,
                ack_wait: 1500,
                messages: vec![text("hello")],
                ..batch()
            },
        ),
        (
            "message_many",
            EventBatch {
                seq: u64::MAX,
                attempt: u32::MAX,
                messages: vec![
                    text(""),
                    binary(b""),
                    binary(&[0x00, 0xff, 0x61]),
                    text("grüß Gott, 世界"),
                ],
                ..bound()
            },
        ),
        ("close_client", close(ClosedBy::Client, 1001, "", vec![])),
        (
            "close_gateway",
            close(
                ClosedBy::Gateway,
                4008,
                "client reads too slowly",
                vec![group("lobby")],
            ),
        ),
        (
            "close_command",
            close(
                ClosedBy::Command,
                4001,
                "bye",
                vec![group("lobby"), group("a.b *>")],
            ),
        ),
    ]
}

fn ack(status: AckStatus) -> Ack {
    Ack {
        conn: conn(),
        seq: 3,
        attempt: 1,
        status,
        handled: 0,
        failed: 0,
        session: None,
        commands: Vec::new(),
    }
}

fn acks_of(acks: Vec<Ack>) -> AckMessage {
    AckMessage {
        worker: worker(),
        many: false,
        acks,
    }
}

/// Those that there were from the start: what the frozen `done_commands` holds.
fn all_commands() -> Vec<Command> {
    let of_old = |(_, command)| match command {
        Command::Claim { .. }
        | Command::Contest { .. }
        | Command::Settle { .. }
        | Command::Withdraw { .. } => None,
        command => Some(command),
    };
    commands().into_iter().filter_map(of_old).collect()
}

pub(crate) fn acks() -> Vec<Sample<AckMessage>> {
    let one = |ack| acks_of(vec![ack]);
    vec![
        ("done", one(ack(AckStatus::Done))),
        (
            "done_many",
            AckMessage {
                many: true,
                ..one(ack(AckStatus::Done))
            },
        ),
        (
            "done_echo",
            one(Ack {
                commands: vec![Command::Send(text("hello"))],
                ..ack(AckStatus::Done)
            }),
        ),
        (
            "done_failed",
            one(Ack {
                failed: 1,
                ..ack(AckStatus::Done)
            }),
        ),
        (
            "done_session",
            one(Ack {
                session: Some(SessionChange {
                    set: session(&[("name", "bob".into())]),
                    removed: vec!["visits".to_owned()],
                }),
                ..ack(AckStatus::Done)
            }),
        ),
        (
            "done_session_removed",
            one(Ack {
                session: Some(SessionChange {
                    set: Session::default(),
                    removed: vec!["name".to_owned(), "visits".to_owned()],
                }),
                ..ack(AckStatus::Done)
            }),
        ),
        (
            "done_commands",
            one(Ack {
                commands: all_commands(),
                ..ack(AckStatus::Done)
            }),
        ),
        ("retry", one(ack(AckStatus::Retry))),
        (
            "retry_after_two",
            one(Ack {
                handled: 2,
                failed: 1,
                commands: vec![Command::Send(text("so far"))],
                ..ack(AckStatus::Retry)
            }),
        ),
        ("progress", one(ack(AckStatus::Progress))),
        ("busy", one(ack(AckStatus::Busy))),
        (
            "gathered",
            acks_of(vec![
                ack(AckStatus::Done),
                Ack {
                    conn: ConnId(1),
                    seq: 700,
                    attempt: 2,
                    ..ack(AckStatus::Busy)
                },
            ]),
        ),
        ("none", acks_of(vec![])),
    ]
}

fn commands() -> Vec<Sample<Command>> {
    vec![
        ("send_text", Command::Send(text("hello"))),
        ("send_binary", Command::Send(binary(&[1, 2, 3]))),
        (
            "close",
            Command::Close {
                code: 1000,
                reason: String::new(),
                message: None,
            },
        ),
        (
            "close_with_all",
            Command::Close {
                code: 4001,
                reason: "signed in elsewhere".to_owned(),
                message: Some(text("bye")),
            },
        ),
        ("destroy", Command::Destroy),
        ("bind_uid", Command::BindUid(uid("42"))),
        ("unbind_uid", Command::UnbindUid),
        ("join", Command::Join(group("lobby"))),
        ("leave", Command::Leave(group("a.b *>"))),
        ("set_session", Command::SetSession(alice())),
        ("set_session_empty", Command::SetSession(Session::default())),
        ("update_session", Command::UpdateSession(alice())),
        (
            "claim",
            Command::Claim {
                uid: uid("42"),
                policy: Policy::KickOld,
                ticket: 3,
            },
        ),
        (
            "contest",
            Command::Contest {
                uid: uid("42"),
                by: Some(Rank {
                    policy: Policy::RejectNew,
                    ticket: 3,
                    client: client(),
                }),
            },
        ),
        (
            "contest_looks",
            Command::Contest {
                uid: uid("42"),
                by: None,
            },
        ),
        (
            "settle",
            Command::Settle {
                uid: uid("42"),
                ticket: 3,
            },
        ),
        (
            "withdraw",
            Command::Withdraw {
                uid: uid("42"),
                ticket: 3,
            },
        ),
    ]
}

pub(crate) fn requests() -> Vec<Sample<Request>> {
    let mut all: Vec<_> = commands()
        .into_iter()
        .map(|(name, command)| (name, Request::command(command)))
        .collect();
    let everything = Fields {
        uid: true,
        session: true,
        groups: true,
        remote: true,
    };
    let list = |fields, after, limit| {
        Request::query(Query::List {
            fields,
            filter: Filter::default(),
            after,
            limit,
        })
    };
    let list_where = |filter| {
        Request::query(Query::List {
            fields: Fields::default(),
            filter,
            after: None,
            limit: 1000,
        })
    };
    let about = |target, to: Option<&str>, request: Request| Request {
        target: Some(target),
        to: to.map(str::to_owned),
        ..request
    };
    all.extend([
        (
            "send_to_group_except",
            Request::command(Command::Send(text("hello")))
                .to("lobby")
                .except(vec![client()]),
        ),
        (
            "join_by_uid",
            Request::command(Command::Join(group("lobby"))).to("42"),
        ),
        (
            "send_to_clients",
            Request::command(Command::Send(text("hello"))).conns(vec![conn(), ConnId(u32::MAX)]),
        ),
        (
            "send_confirmed_to_uid",
            about(
                TargetKind::Uid,
                Some("42"),
                Request::command(Command::Send(text("hello"))),
            ),
        ),
        (
            "set_session_if",
            Request::command(Command::SetSession(alice())).version(Some(7)),
        ),
        (
            "update_session_if",
            Request::command(Command::UpdateSession(alice())).version(Some(0)),
        ),
        ("count", Request::query(Query::Count)),
        ("count_uid", Request::query(Query::Count).to("42")),
        (
            "count_all",
            about(TargetKind::All, None, Request::query(Query::Count)),
        ),
        (
            "count_client",
            about(TargetKind::Client, None, Request::query(Query::Count)),
        ),
        (
            "list_ids_of_uid",
            about(
                TargetKind::Uid,
                Some("42"),
                list(Fields::default(), None, 1000),
            ),
        ),
        (
            "list_group_next_page",
            about(
                TargetKind::Group,
                Some("lobby"),
                list(everything, Some(conn()), 100),
            ),
        ),
        (
            "list_where",
            about(
                TargetKind::All,
                None,
                list_where(Filter {
                    uids: Some(vec![uid("42"), uid("a.b *>")]),
                    groups: Some(vec![group("lobby")]),
                    bound: Some(true),
                    session: alice(),
                }),
            ),
        ),
        (
            "list_where_nobody",
            list_where(Filter {
                uids: Some(vec![]),
                bound: Some(false),
                ..Filter::default()
            }),
        ),
        ("uids", Request::query(Query::Uids(Names::default()))),
        (
            "uids_of_group_next_page",
            about(
                TargetKind::Group,
                Some("lobby"),
                Request::query(Query::Uids(Names {
                    after: Some("a.b *>".to_owned()),
                    limit: 100,
                    ..Names::default()
                })),
            ),
        ),
        (
            "uids_named",
            about(
                TargetKind::All,
                None,
                Request::query(Query::Uids(Names {
                    names: vec!["42".to_owned(), "43".to_owned()],
                    ..Names::default()
                })),
            ),
        ),
        (
            "groups_named_next_page",
            about(
                TargetKind::All,
                None,
                Request::query(Query::Groups(Names {
                    names: vec!["lobby".to_owned()],
                    after: Some("a".to_owned()),
                    within: None,
                    limit: 1,
                })),
            ),
        ),
        (
            "uids_within",
            Request::query(Query::Uids(Names {
                after: Some("42".to_owned()),
                within: Some(conn()),
                ..Names::default()
            })),
        ),
        (
            "groups_of_group_within",
            about(
                TargetKind::Group,
                Some("lobby"),
                Request::query(Query::Groups(Names {
                    after: Some("lobby".to_owned()),
                    within: Some(conn()),
                    ..Names::default()
                })),
            ),
        ),
    ]);
    all
}

pub(crate) fn answers() -> Vec<Sample<Answer>> {
    let named = |name: &str, count| NameCount {
        name: name.to_owned(),
        count,
    };
    let bare = ClientInfo {
        client: client(),
        uid: None,
        session: Session::default(),
        session_left_out: false,
        version: 0,
        groups: vec![],
        more_groups: false,
        remote: None,
    };
    let full = ClientInfo {
        client: ClientId {
            conn: ConnId(u32::MAX),
            ..client()
        },
        uid: Some(uid("42")),
        session: alice(),
        session_left_out: false,
        version: 7,
        groups: vec![group("lobby"), group("a.b *>")],
        more_groups: false,
        remote: Some("[2001:db8::1]:51234".to_owned()),
    };
    vec![
        ("count", Answer::count(gateway(), 3)),
        ("count_none", Answer::count(gateway(), 0)),
        ("no_client", Answer::error(gateway(), AnswerError::NoClient)),
        (
            "malformed",
            Answer::error(gateway(), AnswerError::Malformed),
        ),
        (
            "session_too_large",
            Answer::error(gateway(), AnswerError::SessionTooLarge),
        ),
        (
            "conflict",
            Answer {
                version: 8,
                ..Answer::error(gateway(), AnswerError::Conflict)
            },
        ),
        (
            "session_set",
            Answer {
                version: 8,
                ..Answer::count(gateway(), 1)
            },
        ),
        (
            "contest",
            Answer {
                ticket: 3,
                holder: Some(client()),
                rival: Some(ClientId {
                    conn: ConnId(u32::MAX),
                    ..client()
                }),
                ..Answer::count(gateway(), 1)
            },
        ),
        ("other", Answer::error(gateway(), AnswerError::Other)),
        (
            "page_empty",
            Answer {
                next: Some(conn()),
                ..Answer::count(gateway(), 100_000)
            },
        ),
        (
            "names",
            Answer {
                names: vec![named("a.b *>", 1), named("lobby", 70_000)],
                next_name: Some("lobby".to_owned()),
                ..Answer::count(gateway(), 2)
            },
        ),
        (
            "names_within",
            Answer {
                names: vec![named("lobby", 16_000)],
                next_name: Some("lobby".to_owned()),
                next_within: Some(conn()),
                ..Answer::count(gateway(), 1)
            },
        ),
        (
            "page_more_groups",
            Answer {
                clients: vec![ClientInfo {
                    more_groups: true,
                    ..full.clone()
                }],
                ..Answer::count(gateway(), 1)
            },
        ),
        (
            "page_session_left_out",
            Answer {
                clients: vec![ClientInfo {
                    session: Session::default(),
                    session_left_out: true,
                    ..full.clone()
                }],
                ..Answer::count(gateway(), 1)
            },
        ),
        (
            "page",
            Answer {
                clients: vec![bare, full],
                next: Some(ConnId(u32::MAX)),
                ..Answer::count(gateway(), 5)
            },
        ),
    ]
}

pub(crate) fn orders() -> Vec<Sample<Order>> {
    let what = OrderKind::Drain;
    vec![("drain", Order { what })]
}

pub(crate) fn gateway_beats() -> Vec<Sample<GatewayBeat>> {
    let beat = |state, shards| GatewayBeat {
        process: process(),
        state,
        version: "0.1.0".to_owned(),
        host: "edge-1".to_owned(),
        started: 1_700_000_000,
        shards,
    };
    let shard = |gateway, clients, uids, groups| ShardBeat {
        gateway,
        clients,
        uids,
        groups,
        away: false,
    };
    vec![
        (
            "ready",
            beat(NodeState::Ready, vec![shard(gateway(), 100_000, 7, 3)]),
        ),
        (
            "draining",
            beat(
                NodeState::Draining,
                vec![
                    shard(gateway(), 0, 0, 0),
                    shard(GatewayId::from_bytes([0xff; 6]), u64::MAX, 1, 1),
                ],
            ),
        ),
        ("leaving", beat(NodeState::Leaving, vec![])),
        (
            "away",
            beat(
                NodeState::Ready,
                vec![ShardBeat {
                    away: true,
                    ..shard(gateway(), 3, 2, 1)
                }],
            ),
        ),
    ]
}

pub(crate) fn worker_beats() -> Vec<Sample<WorkerBeat>> {
    let beat = |state| WorkerBeat {
        worker: worker(),
        service: service(),
        state,
        version: "0.1.0".to_owned(),
        host: "app-1".to_owned(),
        started: 1_700_000_000,
        running: 2,
        concurrency: 1024,
        handled: 5_000_000_000,
        failed: 1,
    };
    vec![
        ("ready", beat(NodeState::Ready)),
        ("draining", beat(NodeState::Draining)),
        ("leaving", beat(NodeState::Leaving)),
    ]
}

pub(crate) fn event_messages() -> Vec<Sample<EventMessage>> {
    let hello = |seq, conn, said: &str| EventBatch {
        client: ClientId { conn, ..client() },
        seq,
        messages: vec![text(said)],
        ..batch()
    };
    let hellos = |many: u64| EventMessage {
        batches: (1..=many)
            .map(|n| hello(n, ConnId(0xc0de_0000 + u32::try_from(n).expect("few")), ""))
            .collect(),
    };
    vec![
        ("one", hellos(1)),
        (
            "two",
            EventMessage {
                batches: vec![
                    hello(3, conn(), "hello"),
                    hello(8, other_conn(), "good morning"),
                ],
            },
        ),
        ("as_many_as_one_byte_says", hellos(23)),
        (
            "as_many_as_it_may_have",
            hellos(wire::event::MAX_BATCHES as u64),
        ),
    ]
}

pub(crate) fn dead() -> Vec<Sample<Dead>> {
    let dead = |reason, kind: &str, batch| Dead {
        service: service(),
        kind: kind.to_owned(),
        reason,
        batch,
    };
    let hello = EventBatch {
        seq: 3,
        attempt: 5,
        messages: vec![text("hello")],
        ..batch()
    };
    vec![
        ("attempts", dead(DeadReason::Attempts, "message", hello)),
        ("no_worker", dead(DeadReason::NoWorker, "connect", batch())),
        ("drain", dead(DeadReason::Drain, "connect", batch())),
        ("too_large", dead(DeadReason::TooLarge, "connect", batch())),
    ]
}

pub(crate) fn sessions() -> Vec<Sample<SessionMap>> {
    vec![
        ("one_key", map(&[("name", "alice".into())])),
        (
            "every_kind",
            map(&[
                ("", Value::Null),
                ("bool", true.into()),
                ("bytes", vec![0u8, 255].into()),
                ("float", 1.5.into()),
                ("list", Value::Array(vec![1.into(), "two".into()])),
                ("long key, with 世界 and a dot.", 0.into()),
                (
                    "map",
                    Value::Map(vec![("a".into(), 1.into()), (2.into(), "b".into())]),
                ),
                ("negative", (-500).into()),
                ("unsigned", u64::MAX.into()),
            ]),
        ),
    ]
}

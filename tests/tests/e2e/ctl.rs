//! `gateway-svc ctl`: operators see and command gateways, workers and clients over NATS.

use std::{collections::BTreeSet, time::Duration};

use futures_util::StreamExt;
use gatebus_tests::{
    Client, Gateway, Journal, Nats, Worker,
    client::End,
    ctl::{ctl, watch},
    eventually,
    process::Ended,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use wire::{
    Answer, AnswerError, ClientId, ClientInfo, ConnId, GatewayBeat, GatewayId, NameCount,
    NodeState, ProcessId, Session, ShardBeat, Subjects,
};

/// Two gateways of two shards each, two services with a worker each, and three clients at each
/// gateway, of which the first are the same user, and all are in a group of their gateway.
struct House {
    nats: Nats,
    gateways: [Gateway; 2],
    journal: Journal,
    _workers: [Worker; 2],
    clients: [Vec<Client>; 2],
    ids: BTreeSet<String>,
}

impl House {
    async fn start() -> Self {
        let nats = Nats::start().await;
        let start = || {
            Gateway::with(&nats)
                .option("--drain-delay", "0s")
                .option("--drain-spread", "100ms")
                .start()
        };
        let gateways = [start().await, start().await];
        let journal = Journal::new();
        let workers = [
            Worker::with(&nats, &journal, "one").start().await,
            Worker::with(&nats, &journal, "other")
                .service("other")
                .start()
                .await,
        ];
        let mut ids = BTreeSet::new();
        let mut clients = [Vec::new(), Vec::new()];
        for (number, gateway) in gateways.iter().enumerate() {
            for n in 0..3 {
                let mut client = Client::connect(gateway).await;
                ids.insert(client.id().await);
                assert_eq!(
                    client.ask(format!("join hall {number}")).await,
                    format!("joined hall {number}")
                );
                if n == 0 {
                    assert_eq!(client.ask("bind ann").await, "bound ann");
                }
                clients[number].push(client);
            }
        }
        Self {
            nats,
            gateways,
            journal,
            _workers: workers,
            clients,
            ids,
        }
    }

    async fn ctl(&self, arguments: &[&str]) -> Ended {
        ctl(&self.nats, arguments).await
    }

    /// A command that must find everything.
    async fn json(&self, arguments: &[&str]) -> Value {
        let ended = self.ctl(&[arguments, &["--json"]].concat()).await;
        assert_eq!((ended.status, ended.err.as_str()), (0, ""), "{ended:?}");
        every_key_is_documented(&ended.json());
        ended.json()
    }
}

fn texts<'a>(list: &'a Value, key: &str) -> BTreeSet<&'a str> {
    let list = list.as_array().expect("a list");
    list.iter().filter_map(|item| item[key].as_str()).collect()
}

/// Programs rely on the page.
fn every_key_is_documented(json: &Value) {
    const PAGE: &str = include_str!("../../../docs/ctl.md");
    match json {
        Value::Object(map) => {
            for (key, value) in map {
                assert!(
                    PAGE.contains(&format!("`{key}`")),
                    "docs/ctl.md lacks `{key}`"
                );
                every_key_is_documented(value);
            }
        }
        Value::Array(list) => list.iter().for_each(every_key_is_documented),
        _ => {}
    }
}

/// The columns of each line, and the line with the totals.
fn columns(text: &str) -> (Vec<Vec<&str>>, &str) {
    let rows = text.lines().map(|line| {
        let cells = line.split("  ").map(str::trim);
        cells.filter(|cell| !cell.is_empty()).collect()
    });
    let last = text.lines().last().expect("a line");
    (rows.collect(), last)
}

/// Proves what is seen of gateways and workers, in both forms.
#[tokio::test]
async fn status_and_workers_show_who_is_there_and_what_they_have() {
    let house = House::start().await;
    let status = house.json(&["status"]).await;
    let total = json!({ "processes": 2, "gateways": 4, "clients": 6, "uids": 2, "groups": status["total"]["groups"] });
    assert_eq!(status["total"], total, "{status}");
    for process in status["processes"].as_array().expect("a list") {
        assert_eq!(process["state"], "ready");
        assert_eq!(process["clients"], 3);
        assert_eq!(process["gateways"].as_array().map(Vec::len), Some(2));
        assert!(process["uptime"].as_u64() < Some(60), "{process}");
        let shards = process["gateways"].as_array().expect("a list");
        let sum: u64 = shards.iter().filter_map(|g| g["clients"].as_u64()).sum();
        assert_eq!(sum, 3);
    }
    let text = house.ctl(&["status"]).await.out;
    let (rows, total) = columns(&text);
    assert_eq!(
        rows[0][..6],
        ["PROCESS", "GATEWAY", "STATE", "CLIENTS", "UIDS", "GROUPS"]
    );
    assert_eq!(rows.len(), 1 + 2 * 3 + 1, "{text}");
    assert!(total.starts_with("2 in all"), "{text}");
    // numbers end below their heads
    let end = text
        .lines()
        .next()
        .and_then(|l| l.find("CLIENTS"))
        .expect("a column")
        + 7;
    for line in text.lines().skip(1) {
        assert!(line.as_bytes()[end - 1].is_ascii_digit(), "{text}");
    }

    let workers = house.json(&["workers"]).await;
    assert_eq!(workers["total"]["workers"], 2);
    assert_eq!(
        texts(&workers["workers"], "service"),
        BTreeSet::from(["other", "test"])
    );
    let handled = workers["total"]["handled"].as_u64().expect("a number");
    assert!(
        handled >= house.journal.of("message").len() as u64,
        "{workers}"
    );
    let text = house.ctl(&["workers"]).await.out;
    let (rows, total) = columns(&text);
    assert_eq!((rows.len(), rows[0][1]), (4, "SERVICE"), "{text}");
    assert!(total.starts_with("2 in all"), "{text}");
}

/// Proves what is seen of clients and groups.
#[tokio::test]
async fn connections_and_groups_show_the_clients_of_all_gateways() {
    let house = House::start().await;
    let all = house.json(&["connections"]).await;
    assert_eq!(all["total"], 6);
    let ids: BTreeSet<&str> = house.ids.iter().map(String::as_str).collect();
    assert_eq!(texts(&all["connections"], "client"), ids);
    for client in all["connections"].as_array().expect("a list") {
        let id = client["client"].as_str().expect("an id");
        assert!(id.starts_with(client["gateway"].as_str().expect("an id")));
        assert!(
            client["remote"]
                .as_str()
                .is_some_and(|a| a.starts_with("127.0.0.1:"))
        );
        assert_eq!(client["groups"].as_array().map(Vec::len), Some(1));
    }
    let ann = house.json(&["connections", "--uid", "ann"]).await;
    assert_eq!(ann["total"], 2, "{ann}");
    assert_eq!(texts(&ann["connections"], "uid"), BTreeSet::from(["ann"]));
    let hall = house.json(&["connections", "--group", "hall 1"]).await;
    assert_eq!(
        (&hall["total"], texts(&hall["connections"], "client").len()),
        (&json!(3), 3)
    );
    let nobody = house.json(&["connections", "--uid", "nobody"]).await;
    assert_eq!(nobody["total"], 0);
    let some = house.json(&["connections", "--limit", "4"]).await;
    assert_eq!(
        (&some["total"], texts(&some["connections"], "client").len()),
        (&json!(6), 4)
    );
    let text = house.ctl(&["connections", "--limit", "4"]).await.out;
    let (rows, last) = columns(&text);
    assert_eq!((rows.len(), rows[0][0]), (6, "CLIENT"), "{text}");
    assert_eq!(last, "6 in all, 2 of them not shown: --limit is 4");

    let groups = house.json(&["groups"]).await;
    let expected = json!([
        { "group": "hall 0", "members": 3 },
        { "group": "hall 1", "members": 3 },
    ]);
    assert_eq!(
        (&groups["groups"], &groups["more"]),
        (&expected, &json!(false))
    );
    let some = house.json(&["groups", "--limit", "1"]).await;
    assert_eq!(
        (&some["groups"][0], &some["more"]),
        (&expected[0], &json!(true))
    );
    let text = house.ctl(&["groups", "--limit", "1"]).await.out;
    let expected = "GROUP   MEMBERS\nhall 0        3\n";
    assert!(
        text.starts_with(expected) && text.contains("there are more"),
        "{text}"
    );
}

/// Proves that a long list is read to its end, page by page.
#[tokio::test]
async fn more_connections_than_a_page_holds_are_all_shown() {
    const CLIENTS: usize = 1100;
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats).option("--shards", "1").start().await;
    let _clients = Client::connect_many(&gateway, CLIENTS).await;
    for (limit, shown) in [("1050", 1050), ("5000", CLIENTS)] {
        let ended = ctl(&nats, &["connections", "--json", "--limit", limit]).await;
        let list = ended.json();
        assert_eq!(list["total"], CLIENTS, "{:?}", ended.err);
        assert_eq!(texts(&list["connections"], "client").len(), shown);
    }
}

/// Proves that clients are let go one by one, by uid and by group, at all gateways, and that whoever
/// named nobody learns it.
#[tokio::test]
async fn kick_closes_a_client_a_uid_or_a_group() {
    let mut house = House::start().await;
    let mut victim = house.clients[0].pop().expect("three");
    let id = victim.id().await;
    let kicked = house
        .json(&["kick", &id, "--code", "4001", "--reason", "go away"])
        .await;
    assert_eq!(kicked, json!({ "kicked": 1, "missing": [] }));
    assert_eq!(victim.end().await, End::Closed(4001, "go away".into()));
    eventually("the client to be gone", || async {
        let again = house.ctl(&["kick", &id]).await;
        (again.status == 1 && again.err.contains("is not there")).then_some(())
    })
    .await;

    let kicked = house.json(&["kick", "--uid", "ann"]).await;
    assert_eq!(kicked["kicked"], 2);
    for clients in &mut house.clients {
        let ann = clients.remove(0);
        assert_eq!(ann.end().await, End::Closed(1000, String::new()));
    }
    let kicked = house.ctl(&["kick", "--group", "hall 1"]).await;
    assert_eq!(kicked.out, "2 kicked (group \"hall 1\")\n");
    for client in house.clients[1].drain(..) {
        client.expect_close(1000).await;
    }
    assert_eq!(house.clients[0][0].ask("still here").await, "still here");
    for nobody in [["--uid", "ann"], ["--group", "nowhere"]] {
        let ended = house.ctl(&[&["kick"], nobody.as_slice()].concat()).await;
        assert_eq!(
            (ended.status, ended.err.contains("has no client")),
            (1, true),
            "{ended:?}"
        );
    }
    let strange = house.ctl(&["kick", "00112233445566778899"]).await;
    assert_eq!(
        (strange.status, strange.err.contains("nor is its gateway")),
        (1, true)
    );
}

/// Proves that a gateway process drains when it is told, by the id of one of its shards, and that no
/// other does, whatever is told to whom.
#[tokio::test]
async fn drain_ends_one_gateway_process_and_no_other() {
    let mut house = House::start().await;
    let id = house.clients[0][0].id().await;
    let gateway = &id[..GatewayId::DIGITS];
    let strange = house.ctl(&["drain", "001122334455"]).await;
    assert_eq!(strange.status, 1);
    let status = house.json(&["status"]).await;
    for process in texts(&status["processes"], "process") {
        assert!(
            strange.err.contains(process),
            "who there is: {}",
            strange.err
        );
    }
    let drained = house.json(&["drain", gateway]).await;
    assert_eq!(
        (&drained["clients"], &drained["missing"]),
        (&json!(3), &json!([]))
    );
    for client in house.clients[0].drain(..) {
        client.expect_close(1012).await;
    }
    house.gateways[0].wait_for_success().await;
    assert_eq!(house.gateways[0].log.count("draining"), 1);
    for client in &mut house.clients[1] {
        assert_eq!(client.ask("here").await, "here");
    }
    let left = house.json(&["status"]).await;
    assert_eq!(left["total"]["processes"], 1);
    assert_ne!(left["processes"][0]["process"], drained["process"]);
    let by_process = left["processes"][0]["process"].as_str().expect("an id");
    house.json(&["drain", by_process]).await;
    house.gateways[1].wait_for_success().await;
}

/// Proves that a gateway which beats and does not answer is named, and that the rest is shown.
#[tokio::test]
async fn a_gateway_that_does_not_answer_is_named() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let _client = Client::connect(&gateway).await;
    gateway
        .wait_metric("gatebus_gateway_connections", "", 1.0)
        .await;
    let pretender = Pretender::start(&nats, None).await;
    let silent = pretender.id;
    let timeout = ["--timeout", "500ms", "--json"];
    for command in [
        ["connections"].as_slice(),
        &["groups"],
        &["kick", "--group", "hall"],
        &["drain", "abababababab"],
    ] {
        let ended = ctl(&nats, &[command, &timeout].concat()).await;
        assert_eq!(ended.status, 1, "{command:?}");
        assert_eq!(ended.json()["missing"], json!([silent]), "{command:?}");
        assert!(ended.err.contains(&silent.to_string()), "{ended:?}");
    }
    let found = ctl(&nats, &["connections", "--json", "--timeout", "500ms"]).await;
    assert_eq!(found.json()["total"], 1);
    let status = ctl(&nats, &["status"]).await;
    assert_eq!(status.status, 0);
    assert!(status.out.contains("elsewhere\\u{1b}[2J"), "{}", status.out);
}

/// Proves that a list which breaks off at a later page is not shown as a whole one.
#[tokio::test]
async fn a_gateway_whose_later_page_fails_is_named() {
    for (later, says) in [
        (None, "does not answer"),
        (Some(Later::Refuse), "does not understand"),
        (Some(Later::Repeat), "the same page again"),
    ] {
        let nats = Nats::start().await;
        let pretender = Pretender::start(&nats, Some(later)).await;
        for command in ["connections", "groups"] {
            let ended = ctl(&nats, &[command, "--json", "--timeout", "500ms"]).await;
            assert_eq!(ended.status, 1, "{command}, {says}");
            assert_eq!(ended.json()["missing"], json!([pretender.id]), "{ended:?}");
            assert_eq!(ended.json()[command].as_array().map(Vec::len), Some(1));
            assert!(ended.err.contains(says), "{ended:?}");
        }
    }
}

/// What a pretender does with the question for its second page.
#[derive(Debug, Clone, Copy)]
enum Later {
    Refuse,
    Repeat,
}

/// A gateway that is none: it beats, and answers lists as it was told, or not at all.
struct Pretender {
    id: GatewayId,
    task: tokio::task::JoinHandle<()>,
}

impl Pretender {
    /// `answers`: what it does when it is asked for a second page, if it answers the first question.
    async fn start(nats: &Nats, answers: Option<Option<Later>>) -> Self {
        let id = GatewayId::from_bytes([0xab; 6]);
        let beat = GatewayBeat {
            process: ProcessId::from_bytes([0xcd; 6]),
            state: NodeState::Ready,
            version: "0".into(),
            host: "elsewhere\x1b[2J".into(),
            started: 0,
            shards: vec![ShardBeat {
                gateway: id,
                clients: 7,
                uids: 0,
                groups: 0,
                away: false,
            }],
        };
        let bus = nats.client().await;
        let subjects = Subjects::new(nats.prefix().parse().expect("a prefix"));
        let mut first = bus.subscribe(subjects.all()).await.expect("subscribed");
        let own = bus.subscribe(subjects.gateway(id)).await;
        let mut own = own.expect("subscribed");
        let task = tokio::spawn(async move {
            let mut beats = tokio::time::interval(Duration::from_millis(200));
            loop {
                let (question, answer) = tokio::select! {
                    _ = beats.tick() => {
                        let (to, beat) = (subjects.gateway_beat(beat.process), wire::encode(&beat));
                        bus.publish(to, beat.into()).await.expect("published");
                        continue;
                    }
                    Some(question) = first.next() => (question, answers.map(|_| page(id))),
                    Some(question) = own.next() => {
                        let answer = answers.flatten().map(|later| match later {
                            Later::Refuse => Answer::error(id, AnswerError::Malformed),
                            Later::Repeat => page(id),
                        });
                        (question, answer)
                    }
                };
                if let (Some(reply), Some(answer)) = (question.reply, answer) {
                    let sent = bus.publish(reply, wire::encode(&answer).into()).await;
                    sent.expect("published");
                }
            }
        });
        Self { id, task }
    }
}

impl Drop for Pretender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A page of clients and of groups, and not the last.
fn page(gateway: GatewayId) -> Answer {
    let client = ClientInfo {
        client: ClientId {
            gateway,
            conn: ConnId(7),
        },
        uid: None,
        session: Session::default(),
        session_left_out: false,
        version: 0,
        groups: Vec::new(),
        more_groups: false,
        remote: None,
    };
    Answer {
        clients: vec![client],
        next: Some(ConnId(7)),
        names: vec![NameCount {
            name: "den".to_owned(),
            count: 1,
        }],
        next_name: Some("den".to_owned()),
        ..Answer::count(gateway, 2)
    }
}

/// Proves that a view can be watched: it follows what happens, one object a line, until Ctrl-C.
#[tokio::test]
async fn a_watched_view_follows_until_ctrl_c() {
    let nats = Nats::start().await;
    let mut watching = watch(&nats, &["status", "--watch", "--json"]);
    let clients = |many: u64| {
        move |line: &str| {
            let json: Value = serde_json::from_str(line).expect("an object a line");
            (json["total"]["clients"] == many).then_some(())
        }
    };
    watching.out.find("no clients", clients(0)).await;
    let gateway = Gateway::start(&nats).await;
    let client = Client::connect(&gateway).await;
    watching.out.find("a client", clients(1)).await;
    drop(client);
    let lines = watching.out.lines().len();
    eventually("the client to be gone", || async {
        let lines = &watching.out.lines()[lines..];
        lines.iter().any(|l| clients(0)(l).is_some()).then_some(())
    })
    .await;
    watching.process.signal(Signal::INT);
    watching.process.wait_for_success().await;
}

/// Proves that what is typed wrong is one line and exit 2, that help is help, and that the gateway's
/// own options are none of `ctl`'s.
#[tokio::test]
async fn a_bad_option_of_ctl_is_one_line_that_names_it_and_exit_2() {
    let nats = Nats::start().await;
    for (arguments, named) in [
        (["kick"].as_slice(), "--uid"),
        (&["kick", "xyz"], "CLIENT"),
        (&["kick", "--uid", "a", "--group", "b"], "--group"),
        (&["kick", "--uid", "a", "--code", "5"], "--code"),
        (&["kick", "--uid", ""], "--uid"),
        (&["connections", "--limit", "0"], "--limit"),
        (&["drain", "xyz"], "ID"),
        (&["status", "--nats", "http://localhost"], "NATS_URL"),
        (&["--nats-ca-file", "/nowhere", "status"], "NATS_CA_FILE"),
        (&["status", "--prefix", "a b"], "GATEBUS_PREFIX"),
        (&["status", "--timeout", "3"], "--timeout"),
        (&["frobnicate"], "frobnicate"),
        (&[], "status, workers"),
        (&["--listen", "x", "status"], "--listen"),
    ] {
        let ended = ctl(&nats, arguments).await;
        assert_eq!(
            (ended.status, ended.out.as_str()),
            (2, ""),
            "{arguments:?} {ended:?}"
        );
        assert_eq!(ended.err.lines().count(), 1, "{arguments:?} {ended:?}");
        assert!(ended.err.contains(named), "{arguments:?} {ended:?}");
    }
    let help = ctl(&nats, &["--help"]).await;
    assert_eq!(help.status, 0);
    for command in [
        "status",
        "workers",
        "connections",
        "groups",
        "kick",
        "drain",
    ] {
        assert!(help.out.contains(command), "{}", help.out);
    }
}

/// Proves that it says so where nobody is, or NATS is not, and that credentials are the gateway's.
#[tokio::test]
async fn nobody_there_is_exit_1_and_says_so() {
    let nats = Nats::start_guarded("authorization { user: ann, password: \"s3cret\" }").await;
    let refused = ctl(&nats, &["status", "--timeout", "500ms"]).await;
    assert_eq!(refused.status, 1);
    assert!(refused.err.contains("no connection to NATS"), "{refused:?}");
    let file = nats.folder().join("password");
    std::fs::write(&file, "s3cret\n").expect("a temporary file");
    let file = file.to_str().expect("UTF-8");
    let me = ["--nats-user", "ann", "--nats-password-file", file];
    for view in ["status", "connections", "groups", "workers"] {
        let alone = ctl(&nats, &[me.as_slice(), &[view]].concat()).await;
        assert_eq!(alone.status, 1, "{view}");
        let says = format!("beats under the prefix {}", nats.prefix());
        assert!(alone.err.contains(&says), "{view}: {alone:?}");
    }
}

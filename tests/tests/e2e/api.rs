//! The HTTP API: every command and query on every target, as any back end could call them.

use gatebus_tests::{Api, Client, Gateway, Journal, Nats, Worker, client::End, eventually};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// A client with a uid and a group of its own, and the four paths that lead to it and nobody else.
struct Somebody {
    client: Client,
    id: String,
    targets: [String; 4],
}

impl Somebody {
    /// Enters over a gateway that has no other client.
    async fn enter(gateway: &Gateway, name: &str) -> Self {
        let mut client = Client::connect(gateway).await;
        let id = client.id().await;
        assert_eq!(
            client.ask(format!("bind {name}")).await,
            format!("bound {name}")
        );
        assert_eq!(
            client.ask(format!("join {name}")).await,
            format!("joined {name}")
        );
        let targets = [
            format!("/v1/client/{id}"),
            format!("/v1/uid/{name}"),
            format!("/v1/group/{name}"),
            "/v1/all".to_owned(),
        ];
        Self {
            client,
            id,
            targets,
        }
    }

    /// The session, as the worker has it.
    async fn session(&mut self) -> Value {
        serde_json::from_str(&self.client.ask("session").await).expect("JSON")
    }
}

/// Proves that all commands go to all four targets.
#[tokio::test]
async fn every_command_works_on_every_target() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    for n in 0..4 {
        let name = format!("name-{n}");
        let mut who = Somebody::enter(&gateway, &name).await;
        let to = who.targets[n].clone();
        let sent = api
            .post(&format!("{to}/send"), json!({"text": "héllo"}))
            .await;
        assert_eq!((sent.status, sent.body), (202, json!({})), "{to}");
        who.client.expect("héllo").await;
        api.done(&format!("{to}/send"), json!({"binary": "AP8="}))
            .await;
        assert_eq!(who.client.binary().await, [0, 255].as_slice());
        let sent = api
            .done(&format!("{to}/send_confirmed"), json!({"text": "sure"}))
            .await;
        assert_eq!(sent, json!({"clients": 1, "missing": []}));
        who.client.expect("sure").await;
        let left_out = json!({"text": "not for you", "except": [who.id]});
        api.done(&format!("{to}/send"), left_out).await;

        api.done(
            &format!("{to}/set_session"),
            json!({"session": {"a": {"b": 1}, "c": 2}}),
        )
        .await;
        api.done(
            &format!("{to}/update_session"),
            json!({"session": {"a": {"d": "x"}}}),
        )
        .await;
        // The worker's messages and the API's commands come by different ways.
        api.done(&format!("{to}/send"), json!({"text": "so far"}))
            .await;
        who.client.expect("so far").await;
        assert_eq!(
            who.session().await,
            json!({"a": {"b": 1, "d": "x"}, "c": 2})
        );

        let joined = api
            .done(&format!("{to}/join"), json!({"group": "other"}))
            .await;
        assert_eq!(joined, json!({"clients": 1}));
        api.done("/v1/group/other/send", json!({"text": "to the other"}))
            .await;
        who.client.expect("to the other").await;
        api.done(&format!("{to}/leave"), json!({"group": "other"}))
            .await;
        api.done("/v1/group/other/send", json!({"text": "nobody hears"}))
            .await;

        let bound = api
            .done(&format!("{to}/bind_uid"), json!({"uid": name}))
            .await;
        assert_eq!(bound, json!({"clients": 1, "kicked": 0}));
        api.done(
            &format!("/v1/uid/{name}/send"),
            json!({"text": "to the uid"}),
        )
        .await;
        who.client.expect("to the uid").await;
        let said_nothing = api.post_nothing(&format!("{to}/unbind_uid")).await;
        assert_eq!(said_nothing.status, 202, "no body is needed");
        let directly = format!("/v1/client/{}/send", who.id);
        api.done(&directly, json!({"text": "so far"})).await;
        who.client.expect("so far").await;
        assert_eq!(who.client.who_am_i().await["uid"], Value::Null);

        // A uid has gone from its target, which is bound once more to have an end.
        api.done(
            &format!("/v1/client/{}/bind_uid", who.id),
            json!({"uid": name}),
        )
        .await;
        let last = json!({"code": 4001, "reason": "R", "message": {"text": "last"}});
        api.done(&format!("{to}/close"), last).await;
        who.client.expect("last").await;
        assert_eq!(who.client.end().await, End::Closed(4001, "R".into()));

        let who = Somebody::enter(&gateway, &name).await;
        api.done(&format!("{}/close", who.targets[n]), json!({}))
            .await;
        assert_eq!(who.client.end().await, End::Closed(1000, String::new()));

        let who = Somebody::enter(&gateway, &name).await;
        api.done(&format!("{}/destroy", who.targets[n]), json!({}))
            .await;
        assert_eq!(who.client.end().await, End::Cut);
    }
}

/// Proves that a name in a path may be anything, percent-encoded.
#[tokio::test]
async fn any_uid_and_group_can_be_named_in_a_path() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    let mut stranger = Client::connect(&gateway).await;
    let id = client.id().await;
    for (name, encoded) in [
        ("a/b", "a%2Fb"),
        ("世界 ☕", "%E4%B8%96%E7%95%8C%20%E2%98%95"),
        ("*", "*"),
        (">", "%3E"),
        ("a.b", "a.b"),
        ("100%?#&+", "100%25%3F%23%26+"),
        ("send", "send"),
        ("\u{1}", "%01"),
    ] {
        for (kind, command, field) in [("uid", "bind_uid", "uid"), ("group", "join", "group")] {
            api.done(&format!("/v1/client/{id}/{command}"), json!({field: name}))
                .await;
            api.done(&format!("/v1/{kind}/{encoded}/send"), json!({"text": name}))
                .await;
            client.expect(name).await;
            let count = api.answer(&format!("/v1/{kind}/{encoded}/count")).await;
            assert_eq!(count, json!({"count": 1, "missing": []}), "{kind} {name}");
        }
    }
    assert_eq!(stranger.ask("fence").await, "fence", "it heard nothing");
    let long = "x".repeat(1024);
    api.done(&format!("/v1/group/{long}/send"), json!({"text": "nobody"}))
        .await;
    let longer = api
        .post(&format!("/v1/group/{long}x/send"), json!({"text": "a"}))
        .await;
    assert_eq!((longer.status, longer.code()), (422, "invalid_name"));
    let not_utf8 = api.post("/v1/group/%FF/send", json!({"text": "a"})).await;
    assert_eq!((not_utf8.status, not_utf8.code()), (400, "bad_query"));
}

/// Proves the queries over two gateways of two shards each, with pages that are whole together.
#[tokio::test]
async fn queries_are_answered_for_all_gateways_and_lists_come_in_pages() {
    let nats = Nats::start().await;
    let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let mut expected = Vec::new();
    let mut clients = Vec::new();
    for (n, gateway) in gateways.iter().cycle().take(10).enumerate() {
        let mut client = Client::connect(gateway).await;
        assert_eq!(client.ask("join lobby").await, "joined lobby");
        client.send(format!("set n {n}")).await;
        let mut uid = Value::Null;
        if n % 2 == 0 {
            assert_eq!(client.ask("bind even").await, "bound even");
            uid = "even".into();
        }
        let id = client.id().await;
        expected.push(json!({"client": id, "uid": uid, "session": {"n": n}, "version": 1}));
        clients.push(client);
    }
    expected.sort_by_key(|client| client["client"].as_str().map(str::to_owned));
    let first = expected[0]["client"].as_str().expect("an id");
    for (target, count) in [
        ("all".to_owned(), 10),
        ("group/lobby".to_owned(), 10),
        ("uid/even".to_owned(), 5),
        (format!("client/{first}"), 1),
        ("uid/nobody".to_owned(), 0),
        ("client/00000000000000000000".to_owned(), 0),
    ] {
        let counted = api.answer(&format!("/v1/{target}/count")).await;
        assert_eq!(counted, json!({"count": count, "missing": []}), "{target}");
        let online = api.answer(&format!("/v1/{target}/is_online")).await;
        assert_eq!(online, json!({"online": count > 0}), "{target}");
        let listed = api.answer(&format!("/v1/{target}/clients")).await;
        let many = listed["clients"].as_array().map(Vec::len);
        assert_eq!(many, Some(count), "{target}");
        assert_eq!(
            (&listed["next"], &listed["missing"]),
            (&Value::Null, &json!([]))
        );
    }

    let (mut listed, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let path = format!("/v1/group/lobby/clients?limit=4&fields=uid,session{cursor}");
        let page = api.answer(&path).await;
        let clients = page["clients"].as_array().expect("a list");
        assert!(clients.len() <= 4);
        listed.extend(clients.iter().cloned());
        pages += 1;
        let Some(next) = page["next"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, expected);
    assert!(pages >= 3, "{pages}");
    let ids = api.answer("/v1/group/lobby/clients?limit=1").await;
    assert_eq!(
        ids["clients"],
        json!([{"client": first}]),
        "only what was asked for"
    );
    assert_eq!(clients.len(), 10);
}

/// Proves that a gateway which does not answer is named.
#[tokio::test]
async fn who_did_not_answer_is_part_of_the_answer() {
    let nats = Nats::start().await;
    let gateways = [
        Gateway::with(&nats).option("--shards", "1").start().await,
        Gateway::with(&nats).option("--shards", "1").start().await,
    ];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::with(&nats)
        .option("--query-timeout", "1s")
        .start()
        .await;
    let mut clients = Vec::new();
    for gateway in &gateways {
        let mut client = Client::connect(gateway).await;
        assert_eq!(client.ask("join lobby").await, "joined lobby");
        clients.push(client);
    }
    let silent = clients[1].id().await;
    let before = api.answer("/v1/all/count").await;
    assert_eq!(before, json!({"count": 2, "missing": []}));
    gateways[1].hold().await;
    let count = api.answer("/v1/group/lobby/count").await;
    assert_eq!(count, json!({"count": 1, "missing": [silent[..12]]}));
    let list = api.answer("/v1/group/lobby/clients").await;
    assert_eq!(list["missing"], json!([silent[..12]]));
    let unsure = api.get("/v1/uid/nobody/is_online").await;
    assert_eq!(unsure.body, json!({"online": false}), "NATS knows");
    let bind = api.post("/v1/all/join", json!({"group": "b"})).await;
    assert_eq!((bind.status, bind.code()), (504, "timeout"));
    gateways[1].go_on();
}

/// Proves what a session looks like on both sides, also what JSON has no word for.
#[tokio::test]
async fn a_session_goes_out_and_comes_back_as_it_was() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    let session = json!({
        "int": i64::MAX, "unsigned": u64::MAX, "float": 0.5, "text": "ü", "no": null,
        "list": [1, [true]], "bytes": {"$binary": "AP8="}, "map": {"": {}},
    });
    let path = format!("/v1/client/{id}");
    api.done(&format!("{path}/set_session"), json!({"session": session}))
        .await;
    let listed = api.answer(&format!("{path}/clients?fields=session")).await;
    assert_eq!(listed["clients"][0]["session"], session);
    let wrong = json!({"session": {"a": {"$binary": "?"}}});
    let refused = api.post(&format!("{path}/set_session"), wrong).await;
    assert_eq!((refused.status, refused.code()), (422, "invalid_session"));
    let large = json!({"session": {"a": "x".repeat(70_000)}});
    let refused = api.post(&format!("{path}/set_session"), large).await;
    assert_eq!((refused.status, refused.code()), (422, "invalid_session"));
}

/// Proves that a batch is done in order with a result each, and not at all if it is wrong.
#[tokio::test]
async fn a_batch_is_done_in_order_with_a_result_each() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    let gone = "00000000000000000000";
    let batch = json!({"calls": [
        {"target": {"client": id}, "command": "bind_uid", "uid": "a/b"},
        {"target": {"uid": "a/b"}, "command": "send", "text": "one"},
        {"target": {"client": gone}, "command": "join", "group": "g"},
        {"target": {"client": id}, "command": "join", "group": "g"},
        {"target": {"group": "g"}, "command": "send", "binary": "AA=="},
        {"target": {"group": "g"}, "query": "count"},
        {"target": {"all": true}, "command": "send", "text": "two", "except": [gone]},
        {"target": {"uid": "nobody"}, "query": "is_online"},
    ]});
    let done = api.done("/v1/batch", batch).await;
    let mut results = done["results"].as_array().expect("a list").clone();
    assert_eq!(results[2]["error"]["code"], "no_client");
    assert_eq!(results[2]["status"], 404);
    results.remove(2);
    let expected = [
        json!({"status": 200, "clients": 1, "kicked": 0}),
        json!({"status": 202}),
        json!({"status": 200, "clients": 1}),
        json!({"status": 202}),
        json!({"status": 200, "count": 1, "missing": []}),
        json!({"status": 202}),
        json!({"status": 200, "online": false}),
    ];
    assert_eq!(results, expected);
    client.expect("one").await;
    assert_eq!(client.next().await, Ok(Message::binary([0].as_slice())));
    client.expect("two").await;

    let wrong = json!({"calls": [
        {"target": {"client": id}, "command": "send", "text": "never"},
        {"target": {"client": id}, "command": "sned", "text": "never"},
    ]});
    let refused = api.post("/v1/batch", wrong).await;
    assert_eq!((refused.status, refused.code()), (422, "invalid_body"));
    assert_eq!(client.ask("fence").await, "fence", "nothing of it was done");
    assert_eq!(
        api.done("/v1/batch", json!({"calls": []})).await,
        json!({"results": []})
    );
}

/// Proves the order of one caller's requests, one after another.
#[tokio::test]
async fn what_is_sent_by_one_caller_arrives_in_order() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let who = Somebody::enter(&gateway, "who").await;
    let mut client = who.client;
    for n in 0..100 {
        let path = format!("{}/send", who.targets[n % 4]);
        api.done(&path, json!({"text": n.to_string()})).await;
    }
    for n in 0..100 {
        client.expect(&n.to_string()).await;
    }
}

/// Proves that every mistake has the one shape, a code and a status.
#[tokio::test]
async fn mistakes_are_told_in_one_shape() {
    let nats = Nats::start().await;
    let _gateway = Gateway::start(&nats).await;
    let api = Api::start(&nats).await;
    let gone = "/v1/client/00000000000000000000";
    for (method, path, body, status, code) in [
        ("POST", "/v1/uid/1/send", "{", 400, "malformed_json"),
        ("POST", "/v1/uid/1/send", "[]", 400, "malformed_json"),
        ("GET", "/v1/uid/1/count?a=1", "", 400, "bad_query"),
        ("POST", "/v1/uid/1/destroy?a=1", "", 400, "bad_query"),
        ("GET", "/v1/uid/1/clients?limit=0", "", 400, "bad_query"),
        (
            "GET",
            "/v1/uid/1/clients?limit=1&limit=2",
            "",
            400,
            "bad_query",
        ),
        ("GET", "/v1/uid/1/clients?cursor=x", "", 400, "bad_query"),
        ("GET", "/v1/uid/1/clients?fields=name", "", 400, "bad_query"),
        ("GET", "/v1/uid/1/clients?bound=1", "", 400, "bad_query"),
        (
            "GET",
            "/v1/uid/1/clients?in_group=",
            "",
            422,
            "invalid_name",
        ),
        ("GET", "/v1/uid/1/session", "", 404, "not_found"),
        ("GET", "/", "", 404, "not_found"),
        ("GET", "/v2/all/count", "", 404, "not_found"),
        ("POST", "/v1/uid/1/dance", "{}", 404, "not_found"),
        ("POST", "/v1/room/1/send", "{}", 404, "not_found"),
        ("POST", "/v1/all/1/send", "{}", 404, "not_found"),
        ("GET", "/v1/uid/1/send", "", 405, "method_not_allowed"),
        ("POST", "/v1/uid/1/count", "", 405, "method_not_allowed"),
        ("DELETE", "/v1/batch", "", 405, "method_not_allowed"),
        ("PUT", "/openapi.json", "", 405, "method_not_allowed"),
        ("POST", "/v1/uid/1/send", "{}", 422, "invalid_body"),
        (
            "POST",
            "/v1/uid/1/send",
            r#"{"txt":"a"}"#,
            422,
            "invalid_body",
        ),
        (
            "POST",
            "/v1/uid/1/send",
            r#"{"binary":"?"}"#,
            422,
            "invalid_body",
        ),
        (
            "POST",
            "/v1/uid/1/bind_uid",
            r#"{"uid":1}"#,
            422,
            "invalid_body",
        ),
        (
            "POST",
            "/v1/uid/1/bind_uid",
            r#"{"uid":""}"#,
            422,
            "invalid_name",
        ),
        ("POST", "/v1/client/1/destroy", "", 422, "invalid_client_id"),
        (
            "POST",
            "/v1/uid/1/close",
            r#"{"code":1001.0}"#,
            422,
            "invalid_close",
        ),
        (
            "POST",
            "/v1/uid/1/set_session",
            r#"{"session":1}"#,
            422,
            "invalid_body",
        ),
        (
            "POST",
            "/v1/uid/1/send",
            r#"{"text":"a","except":["x"]}"#,
            422,
            "invalid_client_id",
        ),
        (
            "POST",
            &format!("{gone}/join"),
            r#"{"group":"g"}"#,
            404,
            "no_client",
        ),
        (
            "POST",
            &format!("{gone}/bind_uid"),
            r#"{"uid":"u"}"#,
            404,
            "no_client",
        ),
    ] {
        let reply = if body.is_empty() {
            api.with_token(method, path).await
        } else {
            api.ask(method, path, body).await
        };
        let told = (reply.status, reply.code());
        assert_eq!(told, (status, code), "{method} {path} {body}: {reply:?}");
        assert!(reply.body["error"]["message"].is_string(), "{reply:?}");
        if status == 405 {
            let allow = if path.contains("count") || path.contains("openapi") {
                "allow: GET"
            } else {
                "allow: POST"
            };
            assert!(
                reply.head.to_lowercase().contains(&allow.to_lowercase()),
                "{}",
                reply.head
            );
        }
    }
    let token = format!("Bearer {}", gatebus_tests::api::TOKEN);
    let form = [
        ("Authorization", token.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let reply = api.exchange("POST", "/v1/all/send", &form, b"text=a").await;
    assert_eq!((reply.status, reply.code()), (415, "content_type"));
}

/// Proves that the document and the code are the same: what it names answers as it says, and the
/// copy in the repository is the one that is served.
#[tokio::test]
async fn the_openapi_document_is_what_the_service_does() {
    let nats = Nats::start().await;
    let _gateway = Gateway::start(&nats).await;
    let api = Api::start(&nats).await;
    let served = api.exchange("GET", "/openapi.json", &[], b"").await;
    assert_eq!(served.status, 200, "without a token");
    let document = served.body;
    assert_eq!(document["openapi"], "3.1.0");
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../api-svc/openapi.json");
    let text = serde_json::to_string_pretty(&document).expect("JSON") + "\n";
    if std::env::var_os("GATEBUS_FREEZE").is_some() {
        std::fs::write(kept, &text).expect("a file of the repository");
    }
    let same = std::fs::read_to_string(kept).is_ok_and(|kept| kept == text);
    assert!(
        same,
        "api-svc/openapi.json is not what is served; set GATEBUS_FREEZE=1 to write it anew"
    );

    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 40, "{}", paths.len());
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().expect("operations") {
            let name = match path.split('/').nth(2) {
                Some("client") => "00000000000000000000",
                _ => "somebody",
            };
            let concrete = path.replace("{name}", name);
            let reply = if method == "get" {
                api.get(&concrete).await
            } else {
                api.post(&concrete, json!({})).await
            };
            let said = reply.status.to_string();
            assert!(
                operation["responses"].get(&said).is_some() && reply.status != 405,
                "{method} {path} answers {said}"
            );
            assert_ne!(reply.code(), "not_found", "{method} {path}");
        }
    }
}

/// Proves that a replica which starts before NATS, or outlives it, says so at once and comes back.
#[tokio::test]
async fn without_nats_calls_fail_at_once_and_afterwards_they_work_again() {
    let mut nats = Nats::start().await;
    nats.stop().await;
    let api = Api::with(&nats).start_unready().await;
    api.wait_ready(false).await;
    assert_eq!(api.admin("/livez").await.status, 200);
    for path in ["/v1/all/count", "/v1/uid/1/is_online"] {
        let reply = api.get(path).await;
        assert_eq!((reply.status, reply.code()), (503, "nats_unavailable"));
        assert!(
            reply.head.to_lowercase().contains("retry-after"),
            "{}",
            reply.head
        );
    }
    nats.start_again().await;
    api.wait_ready(true).await;
    let gateway = Gateway::start(&nats).await;
    eventually("the gateway to be counted", || async {
        let reply = api.get("/v1/all/count").await;
        (reply.body == json!({"count": 0, "missing": []})).then_some(())
    })
    .await;

    nats.stop().await;
    api.wait_ready(false).await;
    let send = api.post("/v1/all/send", json!({"text": "lost"})).await;
    assert_eq!((send.status, send.code()), (503, "nats_unavailable"));
    assert!(
        api.admin("/metrics")
            .await
            .body
            .contains("gatebus_api_nats_up 0")
    );
    nats.start_again().await;
    api.wait_ready(true).await;
    gateway.wait_ready(true).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    api.done(&format!("/v1/client/{id}/send"), json!({"text": "back"}))
        .await;
    client.expect("back").await;
}

/// Proves that what was accepted before a SIGTERM still goes out, that the process ends with 0, and
/// that it counted what it did.
#[tokio::test]
async fn a_stop_answers_what_was_asked_and_sends_what_was_accepted() {
    let nats = Nats::start().await;
    let gateway = Gateway::with(&nats).option("--shards", "1").start().await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let mut api = Api::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    for n in 0..50 {
        let text = json!({"text": n.to_string()});
        api.done(&format!("/v1/client/{id}/send"), text).await;
    }
    let metrics = api.admin("/metrics").await.body;
    let counted = r#"gatebus_api_calls_total{call="send",target="client",code="ok"} 50"#;
    assert!(metrics.contains(counted), "{metrics}");
    // The last request is at work while the signal comes: its gateway stands still.
    gateway.hold().await;
    let path = format!("/v1/client/{id}/join");
    let join = api.post(&path, json!({"group": "g"}));
    let meanwhile = async {
        eventually("the request to be at work", || async {
            let metrics = api.admin("/metrics").await.body;
            metrics
                .contains("gatebus_api_requests_running 1")
                .then_some(())
        })
        .await;
        api.terminate();
        api.log
            .find("draining", |line| line.contains("draining").then_some(()))
            .await;
        gateway.go_on();
    };
    let (joined, ()) = tokio::join!(join, meanwhile);
    assert_eq!(joined.body, json!({"clients": 1}));
    api.wait_for_success().await;
    for n in 0..50 {
        client.expect(&n.to_string()).await;
    }
}

/// Proves a uid that one client has alone: the newest or the first, across gateways.
#[tokio::test]
async fn a_uid_may_be_for_one_client_alone() {
    let nats = Nats::start().await;
    let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let mut first = Client::connect(&gateways[0]).await;
    let mut second = Client::connect(&gateways[1]).await;
    let bind = async |client: &mut Client, policy: &str| {
        let path = format!("/v1/client/{}/bind_uid", client.id().await);
        let body = json!({"uid": "a/b", "policy": policy});
        api.post(&path, body).await
    };
    let bound = json!({"clients": 1, "kicked": 0});
    assert_eq!(bind(&mut first, "reject_new").await.body, bound);
    let rejected = bind(&mut second, "reject_new").await;
    assert_eq!((rejected.status, rejected.code()), (409, "uid_taken"));
    let kicked = bind(&mut second, "kick_old").await;
    assert_eq!(kicked.body, json!({"clients": 1, "kicked": 1}));
    first.expect_close(4009).await;
    let several = json!({"uid": "x", "policy": "kick_old"});
    let refused = api.post("/v1/all/bind_uid", several).await;
    assert_eq!((refused.status, refused.code()), (422, "invalid_target"));
}

/// Proves that of two who change a session at once the slower one learns of it.
#[tokio::test]
async fn a_session_is_changed_only_if_it_is_still_the_one_that_was_read() {
    let nats = Nats::start().await;
    let gateway = Gateway::start(&nats).await;
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let mut client = Client::connect(&gateway).await;
    let id = client.id().await;
    let path = |call: &str| format!("/v1/client/{id}/{call}");
    let first = json!({"version": 0, "session": {"a": 1}});
    let changed = api.done(&path("set_session_if"), first.clone()).await;
    let version = changed["version"].as_u64().expect("a version");
    let late = api.post(&path("set_session_if"), first).await;
    assert_eq!((late.status, late.code()), (409, "conflict"));
    let next = json!({"version": version, "session": {"b": 2}});
    api.done(&path("update_session_if"), next).await;
    let listed = api.answer(&path("clients?fields=session")).await;
    assert_eq!(listed["clients"][0]["session"], json!({"a": 1, "b": 2}));
    let gone = "/v1/client/00000000000000000000/set_session_if";
    let gone = api.post(gone, json!({"version": 0, "session": {}})).await;
    assert_eq!((gone.status, gone.code()), (404, "no_client"));
}

/// Proves that one call of a batch can be for several of a kind.
#[tokio::test]
async fn a_call_of_a_batch_may_be_for_several() {
    let nats = Nats::start().await;
    let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
    let journal = Journal::new();
    let _worker = Worker::start(&nats, &journal).await;
    let api = Api::start(&nats).await;
    let mut clients = Vec::new();
    for (n, gateway) in gateways.iter().cycle().take(4).enumerate() {
        let who = Somebody::enter(gateway, &format!("name-{n}")).await;
        clients.push(who);
    }
    let ids = [&clients[0].id, &clients[3].id];
    let calls = json!({"calls": [
        {"target": {"clients": ids}, "command": "send", "text": "ids"},
        {"target": {"uids": ["name-0", "name-1"]}, "command": "send", "text": "uids"},
        {"target": {"groups": ["name-2", "name-3"]}, "command": "send_confirmed", "text": "groups"},
        {"target": {"clients": []}, "command": "send", "text": "nobody"},
    ]});
    let done = api.done("/v1/batch", calls).await;
    assert_eq!(
        done["results"][2],
        json!({"status": 200, "clients": 2, "missing": []})
    );
    for (who, texts) in clients.iter_mut().zip([
        &["ids", "uids"][..],
        &["uids"],
        &["groups"],
        &["ids", "groups"],
    ]) {
        for text in texts {
            who.client.expect(text).await;
        }
        assert_eq!(who.client.ask("fence").await, "fence");
    }
}

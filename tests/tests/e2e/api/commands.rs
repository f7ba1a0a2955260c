//! Commands: each on every target, in order, for any name.

use gatebus_tests::{Api, Client, Gateway, Journal, Nats, Worker, client::End};
use serde_json::{Value, json};

use super::Somebody;

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

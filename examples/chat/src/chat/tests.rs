//! The chat without a server.

use serde_json::{Value, json};
use worker_sdk::{
    ClientId,
    testing::{Handled, Harness},
};

use super::{Chat, Seat};

type App = Harness<Chat>;

/// Somebody who is logged in, with nothing unread.
async fn guest(app: &mut App, name: &str, room: &str) -> ClientId {
    let id = app.connect().await;
    login(app, id, name, room).await;
    app.received(id);
    id
}

async fn login(app: &mut App, id: ClientId, name: &str, room: &str) {
    let request = json!({"type": "login", "client_name": name, "room_id": room});
    tell(app, id, &request).await;
}

async fn tell(app: &mut App, id: ClientId, request: &Value) {
    app.message(id, request.to_string()).await;
}

/// What the client got since it was last asked, without what differs from run to run.
fn heard(app: &mut App, id: ClientId) -> Vec<Value> {
    let messages = app.received(id);
    messages
        .into_iter()
        .map(|message| {
            let mut json: Value = message.json().expect("the worker speaks JSON");
            let object = json.as_object_mut().expect("one object a message");
            let by = object.remove("by").expect("says who answers");
            assert_eq!(by.as_str().map(str::len), Some(12));
            assert!(object.remove("time").is_some_and(|t| t.is_u64()));
            json
        })
        .collect()
}

#[tokio::test]
async fn who_logs_in_gets_the_list_and_the_others_a_notice() {
    let mut app = Harness::new(Chat::new());
    let ada = guest(&mut app, "Ada", "lobby").await;
    let kay = guest(&mut app, "Kay", "kitchen").await;

    let grace = app.connect().await;
    login(&mut app, grace, "  Grace ", "lobby").await;

    let login = json!({
        "type": "login", "client_id": grace, "client_name": "Grace", "room_id": "lobby",
    });
    let mut answer = login.clone();
    answer["client_list"] = json!({ada.to_string(): "Ada", grace.to_string(): "Grace"});
    answer["total"] = json!(2);
    assert_eq!(heard(&mut app, grace), [answer]);
    assert_eq!(heard(&mut app, ada), [login]);
    assert_eq!(heard(&mut app, kay), [] as [Value; 0]);
}

#[tokio::test]
async fn what_is_said_reaches_the_room_and_nobody_else() {
    let mut app = Harness::new(Chat::new());
    let ada = guest(&mut app, "Ada", "lobby").await;
    let grace = guest(&mut app, "Grace", "lobby").await;
    let kay = guest(&mut app, "Kay", "kitchen").await;
    heard(&mut app, ada);

    let content = "<b>hello</b>\n\"all\"";
    tell(
        &mut app,
        ada,
        &json!({"type": "say", "content": content, "ref": "r1"}),
    )
    .await;

    let said = [json!({
        "type": "say", "from_client_id": ada, "from_client_name": "Ada", "room_id": "lobby",
        "content": content, "ref": "r1",
    })];
    assert_eq!(heard(&mut app, ada), said);
    assert_eq!(heard(&mut app, grace), said);
    assert_eq!(heard(&mut app, kay), [] as [Value; 0]);
}

#[tokio::test]
async fn a_whisper_reaches_the_two_and_nobody_else() {
    let mut app = Harness::new(Chat::new());
    let ada = guest(&mut app, "Ada", "lobby").await;
    let grace = guest(&mut app, "Grace", "lobby").await;
    let max = guest(&mut app, "Max", "lobby").await;
    for id in [ada, grace] {
        heard(&mut app, id);
    }

    let request = json!({"type": "whisper", "to_client_id": grace, "content": "psst"});
    tell(&mut app, ada, &request).await;

    let whisper = [json!({
        "type": "whisper", "from_client_id": ada, "from_client_name": "Ada",
        "to_client_id": grace, "content": "psst",
    })];
    assert_eq!(heard(&mut app, ada), whisper);
    assert_eq!(heard(&mut app, grace), whisper);
    assert_eq!(heard(&mut app, max), [] as [Value; 0]);
}

#[tokio::test]
async fn a_whisper_to_somebody_who_left_comes_back_as_an_error() {
    let mut app = Harness::new(Chat::new());
    let ada = guest(&mut app, "Ada", "lobby").await;
    let grace = guest(&mut app, "Grace", "lobby").await;
    app.disconnect(grace).await;
    heard(&mut app, ada);

    let request = json!({"type": "whisper", "to_client_id": grace, "content": "psst", "ref": "r7"});
    tell(&mut app, ada, &request).await;

    let answers = heard(&mut app, ada);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0]["code"], "not_here");
    assert_eq!(answers[0]["ref"], "r7");
}

#[tokio::test]
async fn who_goes_away_is_missed_in_their_room() {
    let mut app = Harness::new(Chat::new());
    let ada = guest(&mut app, "Ada", "lobby").await;
    let grace = guest(&mut app, "Grace", "lobby").await;
    let stranger = app.connect().await;
    heard(&mut app, ada);

    app.disconnect(grace).await;
    app.disconnect(stranger).await;

    let left = json!({
        "type": "logout", "from_client_id": grace, "from_client_name": "Grace", "room_id": "lobby",
    });
    assert_eq!(heard(&mut app, ada), [left]);
    tell(&mut app, ada, &json!({"type": "users"})).await;
    let list = json!({"type": "users", "client_list": {ada.to_string(): "Ada"}, "total": 1});
    assert_eq!(heard(&mut app, ada), [list]);
}

#[tokio::test]
async fn another_login_moves_to_the_other_room() {
    let mut app = Harness::new(Chat::new());
    let ada = guest(&mut app, "Ada", "lobby").await;
    let grace = guest(&mut app, "Grace", "lobby").await;
    let kay = guest(&mut app, "Kay", "kitchen").await;
    heard(&mut app, ada);

    login(&mut app, grace, "Grace", "kitchen").await;

    assert_eq!(app.groups(grace), ["kitchen"]);
    assert_eq!(
        app.session(grace),
        Seat {
            name: "Grace".into(),
            room: "kitchen".into()
        }
    );
    assert_eq!(heard(&mut app, ada)[0]["type"], "logout");
    assert_eq!(heard(&mut app, kay)[0]["type"], "login");
    let answers = heard(&mut app, grace);
    assert_eq!(
        answers.len(),
        1,
        "no notice of one's own leaving: {answers:?}"
    );
    assert_eq!(answers[0]["total"], 2);
}

#[tokio::test]
async fn the_same_login_again_changes_nothing_but_the_name() {
    let mut app = Harness::new(Chat::new());
    let ada = guest(&mut app, "Ada", "lobby").await;
    let grace = guest(&mut app, "Grace", "lobby").await;
    heard(&mut app, ada);

    login(&mut app, grace, "Amazing Grace", "lobby").await;

    let notices = heard(&mut app, ada);
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(notices[0]["client_name"], "Amazing Grace");
    assert_eq!(app.groups(grace), ["lobby"]);
}

#[tokio::test]
async fn bad_input_gets_an_answer_and_harms_nobody() {
    let mut app = Harness::new(Chat::new());
    let ada = guest(&mut app, "Ada", "lobby").await;
    let rude = app.connect().await;

    let long = "x".repeat(2001);
    for (text, code) in [
        ("", "bad_request"),
        ("{", "bad_request"),
        (r#"{"type":"shutdown"}"#, "bad_request"),
        (r#"{"type":"say","content":"hello"}"#, "login_first"),
        (r#"{"type":"users"}"#, "login_first"),
        (
            r#"{"type":"login","client_name":" ","room_id":"lobby"}"#,
            "bad_name",
        ),
        (
            r#"{"type":"login","client_name":"Rude","room_id":""}"#,
            "bad_room",
        ),
    ] {
        assert_eq!(app.try_message(rude, text).await, Handled::Done, "{text}");
        assert_eq!(heard(&mut app, rude)[0]["code"], code, "{text}");
    }
    app.message(rude, vec![0xff, 0xfe]).await;
    assert_eq!(heard(&mut app, rude)[0]["code"], "bad_request");

    login(&mut app, rude, "Rude", "lobby").await;
    heard(&mut app, rude);
    heard(&mut app, ada);
    tell(
        &mut app,
        rude,
        &json!({"type": "say", "content": long, "ref": "r2"}),
    )
    .await;
    let answers = heard(&mut app, rude);
    assert_eq!(
        (&answers[0]["code"], &answers[0]["ref"]),
        (&json!("bad_content"), &json!("r2"))
    );

    assert_eq!(heard(&mut app, ada), [] as [Value; 0]);
    assert!(app.is_connected(rude));
}

#[tokio::test]
async fn a_ping_is_answered_and_a_pong_is_not() {
    let mut app = Harness::new(Chat::new());
    let id = app.connect().await;
    app.messages(id, [r#"{"type":"pong"}"#, r#"{"type":"ping"}"#])
        .await;
    assert_eq!(heard(&mut app, id), [json!({"type": "pong"})]);
}

#[tokio::test]
async fn members_who_never_logged_in_are_not_listed() {
    let mut app = Harness::new(Chat::new());
    let ada = guest(&mut app, "Ada", "lobby").await;
    let other = app.connect().await;
    app.gateway().client(other).join("lobby").await.unwrap();

    tell(&mut app, ada, &json!({"type": "users"})).await;

    assert_eq!(heard(&mut app, ada)[0]["total"], 1);
}

#[tokio::test]
async fn everybody_hears_of_a_lost_gateway() {
    let mut app = Harness::new(Chat::new());
    let ada = guest(&mut app, "Ada", "lobby").await;

    let gateway = "0a1b2c3d4e5f".parse().unwrap();
    app.lose_gateway(gateway).await;

    assert_eq!(
        heard(&mut app, ada),
        [json!({"type": "gateway_lost", "gateway": gateway})]
    );
}

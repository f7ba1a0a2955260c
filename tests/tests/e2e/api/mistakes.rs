//! Mistakes: one shape, a status and a code.

use gatebus_tests::{Api, Gateway, Nats};

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

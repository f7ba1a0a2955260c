use super::{
    remote::remote,
    request::{MOST_HEAD, Request, has_end, parse, request},
    *,
};

const GOOD: &str = "GET /chat/1?room=a%20b&x= HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nCookie: a=1; b=x=y\r\n\
    X-Forwarded-For: 6.6.6.6, 203.0.113.7, 10.0.0.2\r\n\r\n";

fn parsed(text: &str) -> Result<Request, Refusal> {
    parse(text.as_bytes()).map(|r| r.expect("complete").0)
}

#[test]
fn a_handshake_says_path_query_headers_and_cookies() {
    let request = parsed(GOOD).unwrap();
    let handshake = &request.handshake;
    assert_eq!(handshake.path, "/chat/1");
    assert_eq!(
        handshake.query,
        [("room".into(), "a b".into()), ("x".into(), String::new())]
    );
    assert_eq!(
        handshake.cookies,
        [("a".into(), "1".into()), ("b".into(), "x=y".into())]
    );
    assert!(handshake.headers.contains(&("host".into(), "h".into())));
    assert!(!handshake.headers.iter().any(|(name, _)| name == "cookie"));
    assert!(request.response().contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

#[test]
fn a_forwarded_address_is_believed_only_behind_trusted_proxies() {
    let request = parsed(GOOD).unwrap();
    let peer: SocketAddr = "10.0.0.1:999".parse().unwrap();
    let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
    assert_eq!(
        remote(&request.forwarded, peer, &trusted),
        "203.0.113.7:0".parse().unwrap()
    );
    assert_eq!(remote(&request.forwarded, peer, &[]), peer);
    let stranger: SocketAddr = "192.0.2.1:999".parse().unwrap();
    assert_eq!(remote(&request.forwarded, stranger, &trusted), stranger);
}

#[test]
fn ipv4_in_ipv6_is_ipv4() {
    let request = parsed(GOOD).unwrap();
    let wrapped: SocketAddr = "[::ffff:10.0.0.1]:999".parse().unwrap();
    assert_eq!(
        remote(&request.forwarded, wrapped, &[]).to_string(),
        "10.0.0.1:999"
    );
    let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
    let request = parsed(&GOOD.replace("203.0.113.7", "::ffff:203.0.113.7")).unwrap();
    assert_eq!(
        remote(&request.forwarded, wrapped, &trusted).to_string(),
        "203.0.113.7:0"
    );
    let six: SocketAddr = "[2001:db8::1]:999".parse().unwrap();
    assert_eq!(remote(&request.forwarded, six, &trusted), six);
}

#[test]
fn the_first_subprotocol_that_is_a_token_is_taken() {
    for (offered, taken) in [
        ("chat.v2", Some("chat.v2")),
        ("chat, superchat", Some("chat")),
        ("a b, (c), d", Some("d")),
        (", ,", None),
        ("ünicode", None),
        ("a\u{1}b", None),
    ] {
        let header = format!("Sec-WebSocket-Protocol: {offered}\r\nCookie:");
        match parsed(&GOOD.replace("Cookie:", &header)) {
            Ok(request) => assert_eq!(request.protocol.as_deref(), taken, "{offered:?}"),
            // no header at all, for control characters
            Err(refusal) => assert_eq!((refusal, taken), (Refusal::BadRequest, None)),
        }
    }
}

#[tokio::test]
async fn a_head_may_come_in_pieces_and_with_more_behind_it() {
    for piece in [1, 2, 3, 7, 4096] {
        let (mut gateway, mut client) = tokio::io::duplex(piece);
        let writing = tokio::spawn(async move {
            let sent = format!("{GOOD}beyond");
            client.write_all(sent.as_bytes()).await
        });
        let Ok((request, mut beyond)) = request(&mut gateway).await else {
            panic!("a handshake in pieces of {piece}");
        };
        assert_eq!(request.handshake.path, "/chat/1");
        while gateway.read_buf(&mut beyond).await.expect("no error") > 0 {}
        writing.await.expect("no panic").expect("no error");
        assert_eq!(beyond, "beyond");
    }
}

#[tokio::test]
async fn who_does_not_speak_http_is_told_before_a_line_ends() {
    let refused = async |sent: &[u8]| {
        let mut sent = sent;
        match request(&mut sent).await {
            Err(HandshakeError::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    };
    assert_eq!(
        refused(b"\x16\x03\x01\x02").await,
        Some(Refusal::BadRequest)
    );
    assert_eq!(refused(b"\r\n\r\n\r\n").await, Some(Refusal::BadRequest));
    assert_eq!(
        refused(b"GET / HTTP/1.1\n\n").await,
        Some(Refusal::UpgradeRequired)
    );
    let endless = format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(MOST_HEAD));
    assert_eq!(refused(endless.as_bytes()).await, Some(Refusal::TooLarge));
    assert_eq!(refused(b"GET / HT").await, None);
}

#[test]
fn the_end_of_a_head_is_found_once_wherever_a_read_cuts_it() {
    let (head, rest) = (b"GET / HTTP/1.1\r\nA: b\r\n\r\n", b"rest");
    let bytes = [head.as_slice(), rest].concat();
    for len in 0..=bytes.len() {
        for known in 0..=len {
            let expected = known < head.len() && len >= head.len();
            assert_eq!(has_end(&bytes[..len], known), expected, "{known}..{len}");
        }
    }
    assert!(has_end(b"GET / HTTP/1.1\n\n", 0));
}

#[test]
fn what_is_not_a_handshake_is_told_so() {
    let refused = |text: &str| parsed(text).err();
    assert_eq!(
        refused("GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        Some(Refusal::UpgradeRequired)
    );
    assert_eq!(
        refused(&GOOD.replace("Version: 13", "Version: 8")),
        Some(Refusal::UpgradeRequired)
    );
    assert_eq!(refused(&GOOD.replace("GET", "POST")), Some(Refusal::Method));
    assert_eq!(
        refused(&GOOD.replace("dGhlIHNhbXBsZSBub25jZQ==", "short")),
        Some(Refusal::BadRequest)
    );
    assert_eq!(
        refused("\u{16}\u{3}\u{1}\r\n\r\n"),
        Some(Refusal::BadRequest)
    );
    assert!(parse(&GOOD.as_bytes()[..40]).unwrap().is_none());
}

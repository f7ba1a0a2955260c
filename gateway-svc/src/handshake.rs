//! The WebSocket handshake: read and answered by us, then the socket is a client's.
//!
//! It has its own task, its own time limit and its own buffer, all of which are gone when the
//! connection's long life begins.
//!
//! A subprotocol is nothing to the gateway: of those that a client offers, the first that is a token
//! (RFC 7230) is taken, so that browsers that offer one do not give up, and workers find the offer
//! among the headers. What is no token is passed over; where none is left, none is taken.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use bytes::{Buf, BytesMut};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use url::form_urlencoded;
use wire::Handshake;

/// Longest request head, in bytes.
const MOST_HEAD: usize = 16 * 1024;
/// Most headers.
const MOST_HEADERS: usize = 64;

/// A client that shook hands.
pub(crate) struct Accepted {
    pub(crate) handshake: Handshake,
    /// Where it comes from; behind a trusted proxy what the proxy says.
    pub(crate) remote: SocketAddr,
    /// What it sent beyond the request.
    pub(crate) beyond: BytesMut,
}

/// What a visitor that is not a WebSocket client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("not an HTTP/1.1 request")]
    BadRequest,
    #[error("only GET")]
    Method,
    #[error("not a WebSocket handshake")]
    UpgradeRequired,
    #[error("the request's head is too large")]
    TooLarge,
    #[error("too many connections")]
    Full,
}

impl Refusal {
    /// The whole answer. It closes the connection.
    pub(crate) fn response(self) -> String {
        let (status, extra, body) = match self {
            Self::BadRequest => (
                "400 Bad Request",
                "",
                "This port speaks WebSocket (RFC 6455).",
            ),
            Self::Method => (
                "405 Method Not Allowed",
                "Allow: GET\r\n",
                "This port speaks WebSocket (RFC 6455).",
            ),
            Self::UpgradeRequired => (
                "426 Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                "This port speaks WebSocket (RFC 6455), version 13. Connect with ws:// or wss://.",
            ),
            Self::TooLarge => (
                "431 Request Header Fields Too Large",
                "",
                "At most 16 KiB and 64 headers.",
            ),
            Self::Full => (
                "503 Service Unavailable",
                "Retry-After: 5\r\n",
                "Too many connections, try again later.",
            ),
        };
        let connection = if self == Self::UpgradeRequired {
            "Upgrade, close"
        } else {
            "close"
        };
        format!(
            "HTTP/1.1 {status}\r\n{extra}Connection: {connection}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}\n",
            body.len() + 1
        )
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Refused(#[from] Refusal),
}

/// Shakes hands. A visitor that is refused has been told so.
pub(crate) async fn accept(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    peer: SocketAddr,
    trusted: &[IpNet],
) -> Result<Accepted, HandshakeError> {
    match request(stream).await {
        Ok((request, beyond)) => {
            stream.write_all(request.response().as_bytes()).await?;
            stream.flush().await?;
            let remote = request.remote(peer, trusted);
            Ok(Accepted {
                handshake: request.handshake,
                remote,
                beyond,
            })
        }
        Err(HandshakeError::Refused(refusal)) => {
            refuse(stream, refusal).await;
            Err(refusal.into())
        }
        Err(e) => Err(e),
    }
}

/// Tells a visitor why not, and lets it read that before the connection ends.
pub(crate) async fn refuse(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), refusal: Refusal) {
    let told = async {
        stream.write_all(refusal.response().as_bytes()).await?;
        stream.shutdown().await?;
        // what it still sends must be read, or the kernel resets the connection over our answer
        let mut rest = [0; 1024];
        let mut most = 64;
        while most > 0 && stream.read(&mut rest).await? > 0 {
            most -= 1;
        }
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), told).await;
}

struct Request {
    handshake: Handshake,
    key: String,
    protocol: Option<String>,
    forwarded: Vec<String>,
}

async fn request(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<(Request, BytesMut), HandshakeError> {
    let mut buf = BytesMut::with_capacity(1024);
    loop {
        let known = buf.len();
        if stream.read_buf(&mut buf).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        // Parsed with the first bytes, to tell whoever does not speak HTTP at once, and when all is
        // there; not with each read, or a head that comes byte by byte costs its length squared.
        let ends = has_end(&buf, known);
        if ends || known == 0 {
            match parse(&buf)? {
                Some((request, head)) => {
                    buf.advance(head);
                    return Ok((request, buf));
                }
                // empty lines before the request
                None if ends => return Err(Refusal::BadRequest.into()),
                None => {}
            }
        }
        if buf.len() >= MOST_HEAD {
            return Err(Refusal::TooLarge.into());
        }
    }
}

/// Whether an empty line ends among the bytes from `known` on.
fn has_end(bytes: &[u8], known: usize) -> bool {
    (known..bytes.len()).any(|i| {
        let upto = &bytes[..=i];
        upto.ends_with(b"\n\r\n") || upto.ends_with(b"\n\n")
    })
}

/// Reads a request's head; `None` while it is incomplete. With it comes its length.
fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let len = match head.parse(bytes) {
        Ok(httparse::Status::Complete(len)) if len <= MOST_HEAD => len,
        Ok(httparse::Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::TooLarge);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Refusal::BadRequest),
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Err(Refusal::BadRequest);
    };
    let find = |name: &str| {
        head.headers
            .iter()
            .filter(|h| h.name.eq_ignore_ascii_case(name))
            .map(|h| text(h.value))
            .collect::<Vec<_>>()
    };
    let lists = |name: &str, word: &str| {
        find(name)
            .iter()
            .flat_map(|v| v.split(','))
            .any(|v| v.trim().eq_ignore_ascii_case(word))
    };
    if !lists("upgrade", "websocket") || !lists("connection", "upgrade") {
        return Err(Refusal::UpgradeRequired);
    }
    if method != "GET" {
        return Err(Refusal::Method);
    }
    if version < 1 {
        return Err(Refusal::BadRequest);
    }
    if find("sec-websocket-version") != ["13"] {
        return Err(Refusal::UpgradeRequired);
    }
    let key = match find("sec-websocket-key").as_slice() {
        // 16 bytes in base64
        [key] if key.len() == 24 && key.ends_with("==") => key.clone(),
        _ => return Err(Refusal::BadRequest),
    };
    let protocols = find("sec-websocket-protocol");
    let protocol = protocols
        .iter()
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .find(|p| is_token(p));
    let request = Request {
        key,
        protocol: protocol.map(str::to_owned),
        forwarded: find("x-forwarded-for")
            .iter()
            .flat_map(|v| v.split(','))
            .map(|v| v.trim().to_owned())
            .collect(),
        handshake: handshake(target, head.headers),
    };
    Ok(Some((request, len)))
}

fn handshake(target: &str, headers: &[httparse::Header<'_>]) -> Handshake {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut handshake = Handshake {
        path: path.to_owned(),
        query: form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
        ..Handshake::default()
    };
    for header in headers {
        let (name, value) = (header.name.to_ascii_lowercase(), text(header.value));
        if name == "cookie" {
            let pairs = value.split(';').filter_map(|pair| pair.split_once('='));
            handshake
                .cookies
                .extend(pairs.map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned())));
        } else {
            handshake.headers.push((name, value));
        }
    }
    handshake
}

/// RFC 7230, section 3.2.6.
fn is_token(text: &str) -> bool {
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// A header's value as text; bytes that are not UTF-8 become U+FFFD.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim().to_owned()
}

impl Request {
    fn response(&self) -> String {
        let accept = derive_accept_key(self.key.as_bytes());
        // a browser that offers subprotocols gives up unless one is taken
        let protocol = self
            .protocol
            .as_ref()
            .map(|p| format!("Sec-WebSocket-Protocol: {p}\r\n"))
            .unwrap_or_default();
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
        )
    }

    /// Walks the proxies from the nearest; the first that is not trusted is the client. IPv4 is
    /// IPv4, also where a listener for both wraps it into IPv6.
    fn remote(&self, peer: SocketAddr, trusted: &[IpNet]) -> SocketAddr {
        let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
        let mut remote = unwrapped(peer);
        for hop in self.forwarded.iter().rev() {
            if !is_trusted(remote.ip()) {
                break;
            }
            match address(hop) {
                Some(addr) => remote = unwrapped(addr),
                None => break,
            }
        }
        remote
    }
}

/// `::ffff:1.2.3.4` is 1.2.3.4.
pub(crate) fn unwrapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, addr.port()),
        // as it is, with its scope
        IpAddr::V6(_) => addr,
    }
}

/// `1.2.3.4`, `1.2.3.4:5678`, `2001:db8::1` or `[2001:db8::1]:5678`; the port is 0 where it is unknown.
fn address(hop: &str) -> Option<SocketAddr> {
    let bare = hop
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(hop);
    bare.parse::<IpAddr>()
        .map(|ip| SocketAddr::new(ip, 0))
        .or_else(|_| hop.parse())
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            request.remote(peer, &trusted),
            "203.0.113.7:0".parse().unwrap()
        );
        assert_eq!(request.remote(peer, &[]), peer);
        let stranger: SocketAddr = "192.0.2.1:999".parse().unwrap();
        assert_eq!(request.remote(stranger, &trusted), stranger);
    }

    #[test]
    fn ipv4_in_ipv6_is_ipv4() {
        let request = parsed(GOOD).unwrap();
        let wrapped: SocketAddr = "[::ffff:10.0.0.1]:999".parse().unwrap();
        assert_eq!(request.remote(wrapped, &[]).to_string(), "10.0.0.1:999");
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let request = parsed(&GOOD.replace("203.0.113.7", "::ffff:203.0.113.7")).unwrap();
        assert_eq!(
            request.remote(wrapped, &trusted).to_string(),
            "203.0.113.7:0"
        );
        let six: SocketAddr = "[2001:db8::1]:999".parse().unwrap();
        assert_eq!(request.remote(six, &trusted), six);
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
}

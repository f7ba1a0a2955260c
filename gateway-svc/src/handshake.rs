//! The WebSocket handshake: read and answered by us, then the socket is a client's.
//!
//! It has its own task, its own time limit and its own buffer, all of which are gone when the
//! connection's long life begins.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use bytes::{Buf, BytesMut};
use ipnet::IpNet;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
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
    stream: &mut TcpStream,
    peer: SocketAddr,
    trusted: &[IpNet],
) -> Result<Accepted, HandshakeError> {
    match request(stream).await {
        Ok((request, beyond)) => {
            stream.write_all(request.response().as_bytes()).await?;
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
pub(crate) async fn refuse(stream: &mut TcpStream, refusal: Refusal) {
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

async fn request(stream: &mut TcpStream) -> Result<(Request, BytesMut), HandshakeError> {
    let mut buf = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut buf).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if let Some((request, head)) = parse(&buf)? {
            buf.advance(head);
            return Ok((request, buf));
        }
        if buf.len() >= MOST_HEAD {
            return Err(Refusal::TooLarge.into());
        }
    }
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
        .find(|p| !p.is_empty());
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

    /// Walks the proxies from the nearest; the first that is not trusted is the client.
    fn remote(&self, peer: SocketAddr, trusted: &[IpNet]) -> SocketAddr {
        let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
        let mut remote = peer;
        for hop in self.forwarded.iter().rev() {
            if !is_trusted(remote.ip().to_canonical()) {
                break;
            }
            match address(hop) {
                Some(addr) => remote = addr,
                None => break,
            }
        }
        remote
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

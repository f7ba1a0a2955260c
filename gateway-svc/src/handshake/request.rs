//! The request of a handshake: its head, read within limits, and what it asks for.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use url::form_urlencoded;
use wire::Handshake;

use super::{HandshakeError, Refusal};

/// Longest request head, in bytes.
pub(super) const MOST_HEAD: usize = 16 * 1024;
/// Most headers.
const MOST_HEADERS: usize = 64;

/// What a WebSocket client asked for.
pub(super) struct Request {
    pub(super) handshake: Handshake,
    key: String,
    pub(super) protocol: Option<String>,
    /// Of `X-Forwarded-For`, nearest last.
    pub(super) forwarded: Vec<String>,
}

/// Reads a request; with it comes what was read beyond it.
pub(super) async fn request(
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
pub(super) fn has_end(bytes: &[u8], known: usize) -> bool {
    (known..bytes.len()).any(|i| {
        let upto = &bytes[..=i];
        upto.ends_with(b"\n\r\n") || upto.ends_with(b"\n\n")
    })
}

/// Reads a request's head; `None` while it is incomplete. With it comes its length.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Refusal> {
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
    /// The answer that takes the client in.
    pub(super) fn response(&self) -> String {
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
}

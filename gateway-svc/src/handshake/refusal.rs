//! What a visitor is told that does not become a client.

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

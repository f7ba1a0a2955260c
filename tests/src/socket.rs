//! A client's bare socket: nothing between the test and the bytes.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Gateway, within};

/// A connection after its handshake, at the gateway's first listener.
///
/// # Panics
/// When the gateway does not take it.
pub async fn upgraded(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port()))
        .await
        .expect("it listens");
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it listens");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(
            within("the answer's head", stream.read_u8())
                .await
                .expect("an answer"),
        );
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    stream
}

/// A text frame as a client sends it: masked, with the mask that changes nothing.
///
/// # Panics
/// When the text is longer than the short form of a frame holds: 125 bytes.
#[must_use]
pub fn text_frame(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// A close frame with a code, likewise.
#[must_use]
pub fn close_frame(code: u16) -> Vec<u8> {
    frame(0x88, &code.to_be_bytes())
}

fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short payload");
    assert!(length <= 125, "a short payload");
    [&[head, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

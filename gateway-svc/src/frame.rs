//! WebSocket frames from the server, encoded once for all their receivers.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame,
    frame::{
        Frame,
        coding::{Data, OpCode},
    },
};
use wire::Payload;

/// A data frame: text or binary, as the payload is.
pub(crate) fn data(payload: &Payload) -> Bytes {
    match payload {
        Payload::Text(text) => encode(Frame::message(
            text.as_bytes().clone(),
            OpCode::Data(Data::Text),
            true,
        )),
        Payload::Binary(bytes) => encode(Frame::message(
            bytes.clone(),
            OpCode::Data(Data::Binary),
            true,
        )),
    }
}

/// A ping without data.
pub(crate) fn ping() -> Bytes {
    encode(Frame::ping(Bytes::new()))
}

/// A close frame.
pub(crate) fn close(code: u16, reason: &str) -> Bytes {
    encode(Frame::close(Some(CloseFrame {
        code: code.into(),
        reason: reason.into(),
    })))
}

fn encode(frame: Frame) -> Bytes {
    let mut out = Vec::with_capacity(frame.len());
    frame
        .format(&mut out)
        .expect("writing to memory does not fail");
    out.into()
}

//! WebSocket frames (RFC 6455), after the handshake.

use std::io::{self, Read, Write};

use bytes::Bytes;
use tokio_tungstenite::tungstenite::{
    Error, Message,
    error::CapacityError,
    protocol::{
        CloseFrame, Role, WebSocketConfig, WebSocketContext,
        frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};
use wire::Payload;

use super::{Broken, Codec, Decoder, Received};

/// What a decoder keeps, and takes at a time from what was read from the socket.
const BUFFER: usize = 128;

/// Text and binary frames, pings and close frames.
pub(crate) struct WebSocket;

impl Codec for WebSocket {
    fn decoder(&self, max_message: usize) -> Box<dyn Decoder> {
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        Box::new(WebSocketContext::new(Role::Server, Some(config)))
    }

    fn message(&self, payload: &Payload) -> Bytes {
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

    fn ping(&self) -> Option<Bytes> {
        Some(encode(Frame::ping(Bytes::new())))
    }

    fn close(&self, code: u16, reason: &str) -> Option<Bytes> {
        Some(encode(Frame::close(Some(CloseFrame {
            code: code.into(),
            reason: reason.into(),
        }))))
    }

    fn has_goodbye(&self) -> bool {
        true
    }
}

fn encode(frame: Frame) -> Bytes {
    let mut out = Vec::with_capacity(frame.len());
    frame
        .format(&mut out)
        .expect("writing to memory does not fail");
    out.into()
}

impl Decoder for WebSocketContext {
    fn decode(&mut self, bytes: &mut &[u8]) -> Result<Option<Received>, Broken> {
        let mut feed = Feed {
            bytes,
            answer: Vec::new(),
        };
        loop {
            let received = match self.read(&mut feed) {
                Ok(Message::Text(text)) => Received::text(text.into())?,
                Ok(Message::Binary(bytes)) => Received::binary(bytes),
                Ok(Message::Ping(_)) => {
                    // the answer is on its way as soon as the context is asked to write
                    let _ = self.flush(&mut feed);
                    Received::Ping(feed.answer.into())
                }
                Ok(Message::Close(frame)) => {
                    let _ = self.flush(&mut feed);
                    let (code, reason) = frame.map_or((1005, String::new()), |f| {
                        (f.code.into(), f.reason.as_str().to_owned())
                    });
                    Received::Goodbye {
                        code,
                        reason,
                        answer: Some(feed.answer.into()),
                    }
                }
                Ok(Message::Pong(_) | Message::Frame(_)) => continue,
                Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(Error::Utf8(_)) => return Err(Broken::InvalidText),
                Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => {
                    return Err(Broken::TooBig);
                }
                Err(_) => return Err(Broken::Protocol),
            };
            return Ok(Some(received));
        }
    }
}

/// What the context reads from and answers to: bytes that were read, and an answer that is to go out.
struct Feed<'a, 'b> {
    bytes: &'a mut &'b [u8],
    answer: Vec<u8>,
}

impl Read for Feed<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.bytes.read(out)
    }
}

impl Write for Feed<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.answer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

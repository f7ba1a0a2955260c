//! The client's side of the NATS protocol, as far as a gateway needs it.
//!
//! It is our own because of what may stand in a message. Anyone on the bus may publish headers that
//! are not headers and subjects that are not UTF-8, and the server passes them on; a reader that
//! gives up there lets one message cut every gateway's connection. Here a message is bytes, and only
//! what breaks the framing itself ends a connection. Writing goes straight into one buffer.

use std::{fmt::Write as _, ops::Range};

use bytes::{Buf, Bytes, BytesMut};

/// Longest control line that is taken; a server sends lines of some kilobytes at the most.
const MOST_LINE: usize = 64 * 1024;
/// Largest message that is taken, headers included; a server's own limit is 64 MiB.
const MOST_MESSAGE: usize = 64 * 1024 * 1024;

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServerOp {
    Message(Message),
    Ping,
    Pong,
    /// `-ERR`, without the quotes.
    Error(String),
    /// `INFO` by which a server says that it is about to stop.
    LameDuck,
    /// `+OK` and any other `INFO`, which say nothing that matters here.
    Other,
}

/// A message as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Message {
    /// The number of the subscription that it came by.
    pub(crate) sid: u64,
    /// Not necessarily UTF-8.
    pub(crate) subject: Bytes,
    pub(crate) reply: Option<Bytes>,
    /// The header block, `NATS/1.0` line included; empty where there is none.
    pub(crate) headers: Bytes,
    pub(crate) payload: Bytes,
}

impl Message {
    /// Its bytes.
    pub(crate) fn size(&self) -> usize {
        let reply = self.reply.as_ref().map_or(0, Bytes::len);
        self.subject.len() + reply + self.headers.len() + self.payload.len()
    }

    /// The status of the header line: 503 where nobody is there to take a message.
    pub(crate) fn status(&self) -> Option<u16> {
        let line = self.headers.strip_prefix(b"NATS/1.0")?;
        let digits = line.trim_ascii_start().get(..3)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// The value of a header, trimmed. Names are compared as they stand.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        let mut lines = self.headers.split(|b| *b == b'\n').skip(1);
        lines.find_map(|line| {
            let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
            Some(value.trim_ascii())
        })
    }
}

/// The stream is not NATS, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server does not speak NATS")]
pub(crate) struct Broken;

/// Finds what a server says in the bytes that came.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) buf: BytesMut,
    /// How far the line at the head has been searched for its end.
    searched: usize,
    pending: Option<Pending>,
}

/// A message whose line is read and whose body is still to come.
#[derive(Debug)]
struct Pending {
    sid: u64,
    subject: Bytes,
    reply: Option<Bytes>,
    headers: usize,
    total: usize,
}

impl Reader {
    /// The next thing that is there as a whole.
    pub(crate) fn next(&mut self) -> Result<Option<ServerOp>, Broken> {
        loop {
            if let Some(pending) = &self.pending {
                if self.buf.len() < pending.total + 2 {
                    return Ok(None);
                }
                let Some(pending) = self.pending.take() else {
                    continue;
                };
                let mut body = self.buf.split_to(pending.total).freeze();
                if self.buf.get(..2) != Some(b"\r\n") {
                    return Err(Broken);
                }
                self.buf.advance(2);
                return Ok(Some(ServerOp::Message(Message {
                    sid: pending.sid,
                    subject: pending.subject,
                    reply: pending.reply,
                    headers: body.split_to(pending.headers),
                    payload: body,
                })));
            }
            let Some(end) = self.buf[self.searched..].iter().position(|b| *b == b'\n') else {
                self.searched = self.buf.len();
                return if self.searched > MOST_LINE {
                    Err(Broken)
                } else {
                    Ok(None)
                };
            };
            let line = self.buf.split_to(self.searched + end + 1).freeze();
            self.searched = 0;
            if let Some(op) = self.line(&line)? {
                return Ok(Some(op));
            }
        }
    }

    /// Reads a control line; `None`: a message's, whose body comes next.
    fn line(&mut self, line: &Bytes) -> Result<Option<ServerOp>, Broken> {
        let (verb, rest) = line.split_at(
            line.iter()
                .position(u8::is_ascii_whitespace)
                .ok_or(Broken)?,
        );
        Ok(Some(match verb {
            b"MSG" | b"HMSG" => {
                self.pending = Some(message(line, verb == b"HMSG").ok_or(Broken)?);
                return Ok(None);
            }
            b"PING" => ServerOp::Ping,
            b"PONG" => ServerOp::Pong,
            b"-ERR" => {
                let text = String::from_utf8_lossy(rest.trim_ascii());
                ServerOp::Error(text.trim_matches('\'').to_owned())
            }
            b"INFO" if is_lame_duck(rest) => ServerOp::LameDuck,
            b"+OK" | b"INFO" => ServerOp::Other,
            _ => return Err(Broken),
        }))
    }
}

/// Whether a server's information says that it is about to stop.
fn is_lame_duck(info: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Info {
        #[serde(default)]
        ldm: bool,
    }
    serde_json::from_slice(info).is_ok_and(|info: Info| info.ldm)
}

/// `MSG <subject> <sid> [reply] <bytes>`, or `HMSG <subject> <sid> [reply] <header bytes> <bytes>`.
fn message(line: &Bytes, with_headers: bool) -> Option<Pending> {
    let mut words: [Range<usize>; 6] = [const { 0..0 }; 6];
    let mut count = 0;
    let mut at = 0;
    for word in line.split(u8::is_ascii_whitespace) {
        if !word.is_empty() {
            *words.get_mut(count)? = at..at + word.len();
            count += 1;
        }
        at += word.len() + 1;
    }
    let numbers = if with_headers { 2 } else { 1 };
    let has_reply = match count.checked_sub(3 + numbers)? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let number = |i: usize| number(&line[words[i].clone()]);
    let total = usize::try_from(number(count - 1)?).ok()?;
    let headers = if with_headers {
        usize::try_from(number(count - 2)?).ok()?
    } else {
        0
    };
    if headers > total || total > MOST_MESSAGE {
        return None;
    }
    Some(Pending {
        sid: number(2)?,
        subject: line.slice(words[1].clone()),
        reply: has_reply.then(|| line.slice(words[3].clone())),
        headers,
        total,
    })
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What goes to the server, in order, not yet written.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    buf: BytesMut,
}

impl Writer {
    pub(crate) fn connect(&mut self, json: &[u8]) {
        self.put(&[b"CONNECT ", json, b"\r\n"]);
    }

    pub(crate) fn ping(&mut self) {
        self.put(&[b"PING\r\n"]);
    }

    pub(crate) fn pong(&mut self) {
        self.put(&[b"PONG\r\n"]);
    }

    pub(crate) fn publish(&mut self, subject: &[u8], reply: Option<&[u8]>, payload: &[u8]) {
        self.buf
            .reserve(subject.len() + reply.map_or(0, <[u8]>::len) + payload.len() + 32);
        self.put(&[b"PUB ", subject, b" "]);
        if let Some(reply) = reply {
            self.put(&[reply, b" "]);
        }
        let _ = write!(self.buf, "{}\r\n", payload.len());
        self.put(&[payload, b"\r\n"]);
    }

    pub(crate) fn subscribe(&mut self, sid: u64, subject: &str) {
        let _ = write!(self.buf, "SUB {subject} {sid}\r\n");
    }

    pub(crate) fn unsubscribe(&mut self, sid: u64) {
        let _ = write!(self.buf, "UNSUB {sid}\r\n");
    }

    /// The bytes that wait.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buf
    }

    /// So many of them are written. A buffer that grew large is given back.
    pub(crate) fn advance(&mut self, n: usize) {
        const KEEP: usize = 256 * 1024;
        self.buf.advance(n);
        if self.buf.is_empty() {
            if self.buf.capacity() > KEEP {
                self.buf = BytesMut::new();
            } else {
                self.buf.clear();
            }
        }
    }

    fn put(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.buf.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], step: usize) -> Result<Vec<ServerOp>, Broken> {
        let (mut reader, mut out) = (Reader::default(), vec![]);
        for piece in bytes.chunks(step) {
            reader.buf.extend_from_slice(piece);
            while let Some(op) = reader.next()? {
                out.push(op);
            }
        }
        Ok(out)
    }

    fn message(
        sid: u64,
        subject: &'static [u8],
        reply: Option<&'static [u8]>,
        headers: &'static [u8],
        payload: &'static [u8],
    ) -> ServerOp {
        ServerOp::Message(Message {
            sid,
            subject: Bytes::from_static(subject),
            reply: reply.map(Bytes::from_static),
            headers: Bytes::from_static(headers),
            payload: Bytes::from_static(payload),
        })
    }

    #[test]
    fn it_reads_what_a_server_says_in_any_pieces() {
        let bytes = b"INFO {}\r\nPING\r\nMSG a.b 7 5\r\nhello\r\nMSG a 12 re.ply 0\r\n\r\n+OK\r\n\
            HMSG a 9 16 18\r\nNATS/1.0 503\r\n\r\nhi\r\nPONG\r\n-ERR 'Slow Consumer'\r\n";
        let expected = [
            ServerOp::Other,
            ServerOp::Ping,
            message(7, b"a.b", None, b"", b"hello"),
            message(12, b"a", Some(b"re.ply"), b"", b""),
            ServerOp::Other,
            message(9, b"a", None, b"NATS/1.0 503\r\n\r\n", b"hi"),
            ServerOp::Pong,
            ServerOp::Error("Slow Consumer".into()),
        ];
        for step in 1..bytes.len() {
            assert_eq!(all(bytes, step).unwrap(), expected, "in pieces of {step}");
        }
    }

    #[test]
    fn odd_messages_are_messages_still() {
        let odd: [&[u8]; 4] = [
            b"HMSG a 1 21 22\r\nNATS/1.0\r\nnothing\r\n\r\nx\r\n",
            b"HMSG a 1 14 15\r\nNATS/1.0 abc\r\nx\r\n",
            b"MSG a 1 \xff 1\r\nx\r\n",
            b"MSG \xff 1 1\r\nx\r\n",
        ];
        for bytes in odd {
            let ops = all(&[bytes, b"PING\r\n"].concat(), 5).unwrap();
            assert!(
                matches!(&ops[..], [ServerOp::Message(m), ServerOp::Ping] if m.status().is_none())
            );
        }
    }

    #[test]
    fn headers_and_status_are_found() {
        let m = Message {
            sid: 1,
            subject: Bytes::new(),
            reply: None,
            headers: Bytes::from_static(b"NATS/1.0\r\nOther: x\r\nGatebus-Raw:  text \r\n\r\n"),
            payload: Bytes::new(),
        };
        assert_eq!(m.header("Gatebus-Raw"), Some(&b"text"[..]));
        assert_eq!(m.header("Gatebus"), None);
        assert_eq!(m.status(), None);
        let m = Message {
            headers: Bytes::from_static(b"NATS/1.0 503\r\n\r\n"),
            ..m
        };
        assert_eq!(m.status(), Some(503));
    }

    #[test]
    fn what_is_not_nats_breaks_and_never_panics() {
        for bytes in [
            "HTTP/1.1 400\r\n",
            "\r\n",
            "MSG a 1\r\n",
            "MSG a 1 x\r\n",
            "HMSG a 1 9 8\r\n",
            "MSG a 1 99999999999\r\n",
            "MSG a 1 1\r\nxyz\r\n",
        ] {
            assert_eq!(all(bytes.as_bytes(), 100), Err(Broken), "{bytes:?}");
        }
        let mut endless = Reader::default();
        endless.buf.extend_from_slice(&vec![b'x'; MOST_LINE + 1]);
        assert_eq!(endless.next(), Err(Broken));
    }

    #[test]
    fn it_writes_what_a_server_reads() {
        let mut writer = Writer::default();
        writer.connect(b"{}");
        writer.subscribe(5, "a.*");
        writer.publish(b"a.b", Some(b"r"), b"xy");
        writer.publish(b"a", None, b"");
        writer.unsubscribe(5);
        writer.ping();
        assert_eq!(
            writer.bytes(),
            b"CONNECT {}\r\nSUB a.* 5\r\nPUB a.b r 2\r\nxy\r\nPUB a 0\r\n\r\nUNSUB 5\r\nPING\r\n"
        );
        let all = writer.bytes().len();
        writer.advance(all);
        assert!(writer.bytes().is_empty());
    }
}

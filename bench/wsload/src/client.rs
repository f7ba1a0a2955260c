//! A WebSocket client on a raw socket.
//!
//! RFC 6455 with a mask key of zero, so that masking is free on both sides.

use std::{cell::Cell, net::SocketAddr, ops::Range, rc::Rc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

/// How long a server may take for one step of opening a connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// The server's answer to the key that every handshake here sends.
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Where to connect, and how.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    pub(crate) path: String,
    /// Connections that are being opened at once.
    pub(crate) dialing: usize,
}

/// One open connection.
pub(crate) struct Client {
    io: TcpStream,
    buf: Vec<u8>,
    pos: usize,
}

impl Client {
    pub(crate) async fn dial(target: &Target) -> Result<Self> {
        let io = timeout(PATIENCE, TcpStream::connect(target.addr))
            .await
            .context("connect timed out")??;
        io.set_nodelay(true)?;
        let mut client = Self {
            io,
            buf: Vec::with_capacity(256),
            pos: 0,
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            target.path, target.addr
        );
        client.io.write_all(request.as_bytes()).await?;
        let end = loop {
            if let Some(at) = client.buf.windows(4).position(|part| part == b"\r\n\r\n") {
                break at + 4;
            }
            let read = timeout(PATIENCE, client.io.read_buf(&mut client.buf))
                .await
                .context("handshake timed out")??;
            ensure!(read > 0, "closed in the handshake");
        };
        let head = String::from_utf8_lossy(&client.buf[..end]);
        ensure!(
            head.starts_with("HTTP/1.1 101") && head.contains(ACCEPT),
            "handshake refused: {head}"
        );
        client.pos = end;
        Ok(client)
    }

    /// Sends one text message.
    pub(crate) async fn send(&mut self, text: &str) -> Result<()> {
        let mut out = Vec::with_capacity(text.len() + 14);
        frame(&mut out, 1, text.as_bytes());
        self.write(&out).await
    }

    /// Writes frames that were made before.
    pub(crate) async fn write(&mut self, frames: &[u8]) -> Result<()> {
        Ok(self.io.write_all(frames).await?)
    }

    /// Waits for the next message; answers pings meanwhile.
    pub(crate) async fn next(&mut self) -> Result<&[u8]> {
        loop {
            let (opcode, range) = self.next_frame().await?;
            match opcode {
                1 | 2 => return Ok(&self.buf[range]),
                9 => {
                    let mut out = Vec::new();
                    frame(&mut out, 10, &self.buf[range]);
                    self.io.write_all(&out).await?;
                }
                8 => bail!("the server closed: {}", close_code(&self.buf[range])),
                _ => {}
            }
        }
    }

    /// Waits for the answer `ok`.
    pub(crate) async fn expect_ok(&mut self) -> Result<()> {
        let answer = timeout(PATIENCE, self.next())
            .await
            .context("no answer")??;
        ensure!(
            answer == b"ok",
            "the answer is not ok: {}",
            String::from_utf8_lossy(answer)
        );
        Ok(())
    }

    /// Drops what has arrived, without waiting.
    pub(crate) fn discard_arrived(&mut self) -> Result<()> {
        let mut sink = [0; 4096];
        loop {
            match self.io.try_read(&mut sink) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Answers pings until the server closes.
    pub(crate) async fn stay(mut self) -> anyhow::Error {
        loop {
            if let Err(error) = self.next().await {
                return error;
            }
        }
    }

    /// Closes with the closing handshake; the server ends the connection.
    pub(crate) async fn close(mut self) -> Result<()> {
        let mut out = Vec::new();
        frame(&mut out, 8, &1000_u16.to_be_bytes());
        self.io.write_all(&out).await?;
        let mut sink = [0; 4096];
        while timeout(PATIENCE, self.io.read(&mut sink))
            .await
            .context("the server does not close")??
            > 0
        {}
        Ok(())
    }

    async fn next_frame(&mut self) -> Result<(u8, Range<usize>)> {
        loop {
            if let Some((opcode, body)) = parse(&self.buf[self.pos..]) {
                let range = self.pos + body.start..self.pos + body.end;
                self.pos = range.end;
                return Ok((opcode, range));
            }
            self.buf.drain(..self.pos);
            self.pos = 0;
            ensure!(
                self.io.read_buf(&mut self.buf).await? > 0,
                "the server closed the connection"
            );
        }
    }
}

/// Opens `count` connections, some at a time; those that fail are told on stderr and left out.
pub(crate) async fn dial_all(target: &Target, count: usize) -> Result<Vec<Client>> {
    let left = Rc::new(Cell::new(count));
    let mut dialers = JoinSet::new();
    for _ in 0..target.dialing.min(count) {
        let (target, left) = (target.clone(), left.clone());
        dialers.spawn_local(async move {
            let mut open = Vec::new();
            let mut failed = Vec::new();
            while take_one(&left) {
                match Client::dial(&target).await {
                    Ok(client) => open.push(client),
                    Err(error) => failed.push(error),
                }
            }
            (open, failed)
        });
    }
    let mut open = Vec::with_capacity(count);
    let mut failed = Vec::new();
    while let Some(dialer) = dialers.join_next().await {
        let (some, errors) = dialer?;
        open.extend(some);
        failed.extend(errors);
    }
    if let Some(last) = failed.last() {
        eprintln!(
            "{} of {count} connections failed; the last: {last:#}",
            failed.len()
        );
    }
    ensure!(!open.is_empty(), "no connection to {}", target.addr);
    Ok(open)
}

/// Takes one from what is left to do.
pub(crate) fn take_one(left: &Cell<usize>) -> bool {
    let Some(rest) = left.get().checked_sub(1) else {
        return false;
    };
    left.set(rest);
    true
}

/// Appends one masked frame.
pub(crate) fn frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..65536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// The first whole frame from a server, or nothing yet: its opcode and where its payload lies.
fn parse(bytes: &[u8]) -> Option<(u8, Range<usize>)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (head, len) = match second & 127 {
        126 => (
            4,
            u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        len => (2, u64::from(len)),
    };
    let end = head + usize::try_from(len).ok()?;
    (bytes.len() >= end).then_some((first & 15, head..end))
}

fn close_code(payload: &[u8]) -> String {
    match payload {
        [high, low, reason @ ..] => {
            format!(
                "{} {}",
                u16::from_be_bytes([*high, *low]),
                String::from_utf8_lossy(reason)
            )
        }
        _ => "no code".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_only_when_it_is_whole() {
        let mut bytes = vec![0x81, 126, 0, 200];
        bytes.extend_from_slice(&[b'x'; 200]);
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), None);
        }
        bytes.push(0x81);
        assert_eq!(parse(&bytes), Some((1, 4..204)));
    }

    #[test]
    fn a_sent_frame_carries_its_length_and_a_zero_mask() {
        let mut out = Vec::new();
        frame(&mut out, 1, b"hey");
        assert_eq!(out, [0x81, 0x83, 0, 0, 0, 0, b'h', b'e', b'y']);
        out.clear();
        frame(&mut out, 2, &[7; 300]);
        assert_eq!(out[..8], [0x82, 0xfe, 1, 44, 0, 0, 0, 0]);
    }
}

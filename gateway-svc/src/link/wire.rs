//! The wire: a socket to a NATS server, with what was read and not parsed, and what is to be written.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncReadExt, AsyncWrite};

use super::{
    proto::{Reader, ServerOp, Writer},
    socket::Socket,
};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;
/// Less room than this, and the buffer is made larger before a read.
const LEAST_ROOM: usize = 16 * 1024;

/// A connection, before and after it is established.
pub(crate) struct Wire {
    socket: Socket,
    reader: Reader,
    pub(crate) writer: Writer,
    /// Something was written that TLS may still hold.
    unflushed: bool,
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Self {
        Self {
            socket,
            reader: Reader::default(),
            writer: Writer::default(),
            unflushed: false,
        }
    }

    /// What the server says next.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<ServerOp>> {
        loop {
            if let Some(op) = self.reader.next().map_err(io::Error::other)? {
                return Poll::Ready(Ok(op));
            }
            let buf = &mut self.reader.buf;
            if buf.capacity() - buf.len() < LEAST_ROOM {
                buf.reserve(CHUNK);
            }
            if ready!(pin!(self.socket.read_buf(buf)).poll(cx))? == 0 {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server closed the connection",
                )));
            }
        }
    }

    /// Writes what waits. Ready: all of it.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.writer.bytes().is_empty() {
            let n = ready!(Pin::new(&mut self.socket).poll_write(cx, self.writer.bytes()))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.writer.advance(n);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// See [`Self::poll_next`]. Cancel safe.
    pub(crate) async fn next(&mut self) -> io::Result<ServerOp> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// See [`Self::poll_write`]. Cancel safe.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_write(cx)).await
    }
}

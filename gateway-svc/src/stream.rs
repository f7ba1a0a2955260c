//! A client's stream: its socket, with or without TLS on it.
//!
//! A plain one is the socket and nothing more. What TLS holds back because the socket takes nothing
//! is bounded, and asked for with [`Stream::is_flushed`].

use std::{
    io,
    net::Shutdown,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::ServerConfig;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::tls::Session;

/// How much of TLS is read at once where there is no larger buffer.
const SMALL_READ: usize = 4096;

/// The bytes from and to a client.
pub(crate) struct Stream {
    socket: TcpStream,
    tls: Option<Box<Session>>,
}

impl Stream {
    /// The socket as it is.
    pub(crate) const fn plain(socket: TcpStream) -> Self {
        Self { socket, tls: None }
    }

    /// Whether the socket is all that there is.
    pub(crate) const fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Puts TLS on the socket: ready when client and gateway have shaken hands.
    pub(crate) async fn secure(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let session = Session::new(config).map_err(io::Error::other)?;
        let mut stream = Self {
            socket,
            tls: Some(Box::new(session)),
        };
        std::future::poll_fn(|cx| stream.poll_secured(cx)).await?;
        Ok(stream)
    }

    fn poll_secured(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flushed(cx))?;
            if self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking()) {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx, &mut [0; SMALL_READ], &mut []))?;
        }
    }

    /// Reads what there is; 0 bytes are the end, if the client has said that it ends. Where TLS was
    /// cut off without a goodbye, that is an error.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let Some(tls) = &mut self.tls else {
                let mut read = ReadBuf::new(buf);
                ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
                return Poll::Ready(Ok(read.filled().len()));
            };
            let taken = tls.take(buf);
            if taken > 0 || tls.is_ended() || buf.is_empty() {
                return Poll::Ready(Ok(taken));
            }
            if tls.has_failed() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            // what is read into the one half is decrypted into the other
            let (out, room) = buf.split_at_mut(buf.len() / 2);
            let decrypted = ready!(self.poll_receive(cx, room, out))?;
            if decrypted > 0 {
                return Poll::Ready(Ok(decrypted));
            }
        }
    }

    /// Gives TLS what the socket has, by way of `room`; says how much it has decrypted to `out`.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(tls) = &mut self.tls else {
            return Poll::Ready(Ok(0));
        };
        let kept = tls.kept();
        let mut larger;
        let room = if room.len() < kept + SMALL_READ {
            larger = vec![0; kept + SMALL_READ];
            &mut larger
        } else {
            room
        };
        let mut read = ReadBuf::new(&mut room[kept..]);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
        let new = read.filled().len();
        if new == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let received = tls.receive(&mut room[..kept + new], out);
        // An answer of TLS itself, or the alert that says what was wrong. If the socket does not
        // take it now, it goes before whatever is written next.
        let _ = self.try_flush();
        Poll::Ready(received.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e)))
    }

    /// Ready when the socket may take something again.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_write_ready(cx)
    }

    /// Writes as much as goes; says how much that is. Of what TLS takes, some may wait in it.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.tls.is_none() {
            return self.socket.try_write(bytes);
        }
        let mut taken = 0;
        while self.try_flush()? {
            let Some(tls) = &mut self.tls else { break };
            match tls.encrypt(&bytes[taken..])? {
                0 => return Ok(taken),
                more => taken += more,
            }
        }
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(taken)
    }

    /// Writes what waits in TLS. True: nothing waits any more; false: the socket would block.
    pub(crate) fn try_flush(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else {
            return Ok(true);
        };
        while let Some(waiting) = tls.outgoing() {
            match self.socket.try_write(waiting) {
                Ok(n) => tls.sent(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Whether nothing waits in TLS.
    pub(crate) fn is_flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.outgoing().is_none())
    }

    /// Says that nothing more will be written: TLS's own goodbye, then the socket's. False: the
    /// socket would block, so this is to be called again.
    pub(crate) fn try_shut_down(&mut self) -> io::Result<bool> {
        if let Some(tls) = &mut self.tls {
            tls.say_goodbye();
        }
        let flushed = self.try_flush()?;
        if flushed {
            SockRef::from(&self.socket).shutdown(Shutdown::Write)?;
        }
        Ok(flushed)
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.try_flush()? {
            ready!(self.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Self::poll_read(
            self.get_mut(),
            cx,
            buf.initialize_unfilled()
        ))?;
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        loop {
            match stream.try_write(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    ready!(stream.poll_write_ready(cx))?;
                }
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flushed(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        while !stream.try_shut_down()? {
            ready!(stream.poll_write_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }
}

/// What an idle plain connection pays for TLS: one word.
const _: () = assert!(size_of::<Stream>() == size_of::<TcpStream>() + size_of::<usize>());

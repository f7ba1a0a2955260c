//! A connection: the socket behind a client, and what stands between its bytes and its events.
//!
//! One task reads the socket and answers for its life. Everything that goes out passes the mailbox,
//! pongs too, and the shard writes mailboxes in sweeps; only a socket that would block falls back to
//! the task. So an idle connection is this struct, and no buffer at all.

use std::{
    io::{self, IoSlice, Read, Write},
    net::Shutdown,
    ops::ControlFlow,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::{
    Error as WsError, Message,
    error::CapacityError,
    protocol::{Role, WebSocketConfig, WebSocketContext},
};
use wire::{CloseCode, Payload};

use crate::{
    dispatch::Millis,
    mailbox::{Full, Mailbox},
};

/// How long a closing connection may take: without a byte of progress, and at all.
const CLOSE_STALL_MS: Millis = 5_000;
const CLOSE_TIMEOUT_MS: Millis = 30_000;
/// What the codec keeps per connection, and reads at a time from what we read from the socket.
const CODEC_BUFFER: usize = 128;

/// What comes from a client.
#[derive(Debug)]
pub(crate) enum Input {
    /// Bytes, whatever they are: a sign of life.
    Life,
    /// A message.
    Message(Payload),
    /// It said goodbye, and was answered.
    Goodbye { code: u16, reason: String },
    /// It broke a rule.
    Broken(CloseCode),
    /// It is gone without a word.
    Cut,
    /// It does not read our pongs.
    Slow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The last word is in the mailbox; then we wait for the client to end it.
    Closing {
        /// Starts anew while the client takes what is left.
        since: Millis,
        until: Millis,
        shut: bool,
    },
}

/// The socket and its state.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Made when the client first speaks: many only listen.
    codec: Option<Box<WebSocketContext>>,
    max_message: usize,
    mailbox: Mailbox,
    /// Read from the socket, and not parsed while the client's events wait. Where it is empty, what
    /// the codec holds is still to be parsed.
    unread: Option<Box<Bytes>>,
    waker: Option<Waker>,
    phase: Phase,
    /// Not read at the moment: its events wait.
    pub(crate) paused: bool,
    /// In the shard's list for the next sweep.
    pub(crate) dirty: bool,
    /// The socket takes nothing at the moment.
    blocked: bool,
    /// The client is gone, though what it said may still be unread.
    deaf: bool,
    pub(crate) heard: Millis,
    pub(crate) pinged: u32,
}

impl Connection {
    /// Takes over a socket that shook hands, with what was read beyond that.
    pub(crate) fn new(
        stream: TcpStream,
        beyond: BytesMut,
        max_message: usize,
        now: Millis,
    ) -> Self {
        Self {
            stream,
            codec: None,
            max_message,
            mailbox: Mailbox::default(),
            unread: (!beyond.is_empty()).then(|| Box::new(beyond.freeze())),
            waker: None,
            phase: Phase::Open,
            paused: false,
            dirty: false,
            blocked: false,
            deaf: false,
            heard: now,
            pinged: 0,
        }
    }

    /// Whether messages for it still go out.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether it is closing and has not come to its end in time.
    pub(crate) const fn is_overdue(&self, now: Millis) -> bool {
        match self.phase {
            Phase::Open => false,
            Phase::Closing { since, until, .. } => now >= until || now >= since + CLOSE_STALL_MS,
        }
    }

    /// Puts a frame into the mailbox.
    pub(crate) fn push(&mut self, frame: Bytes, limit: usize) -> Result<(), Full> {
        if self.deaf {
            Ok(())
        } else {
            self.mailbox.push(frame, limit)
        }
    }

    /// Puts a frame into the mailbox, dropping the oldest that wait; says how many.
    pub(crate) fn push_dropping_oldest(&mut self, frame: Bytes, limit: usize) -> usize {
        if self.deaf {
            0
        } else {
            self.mailbox.push_dropping_oldest(frame, limit)
        }
    }

    /// The last words: what is pending goes first, unless the client does not read anyway.
    pub(crate) fn close(
        &mut self,
        last: impl IntoIterator<Item = Bytes>,
        drop_pending: bool,
        now: Millis,
    ) {
        if drop_pending {
            self.mailbox.clear_unbegun();
        }
        if !self.deaf {
            last.into_iter().for_each(|frame| self.mailbox.force(frame));
        }
        self.unread = None;
        self.phase = Phase::Closing {
            since: now,
            until: now + CLOSE_TIMEOUT_MS,
            shut: false,
        };
        self.wake();
    }

    /// Lets its task look at it again.
    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Whether something waits to be written.
    pub(crate) fn has_mail(&self) -> bool {
        !self.mailbox.is_empty()
    }

    /// Gives back what an idle connection need not hold.
    pub(crate) fn release(&mut self) {
        self.mailbox.release();
    }

    /// Writes the mailbox as far as the socket takes it. What is left is for the task.
    ///
    /// Where nobody is there any more, what waits is dropped and nothing more is written. That is not
    /// the end: what the client said before it went is still to be read, and the reading finds the end.
    pub(crate) fn flush(&mut self, now: Millis) {
        if !self.blocked && self.write(now).is_err() {
            self.mailbox = Mailbox::default();
            self.deaf = true;
            self.wake();
        }
    }

    fn write(&mut self, now: Millis) -> io::Result<()> {
        let stream = &self.stream;
        let all = self
            .mailbox
            .write_to(|slices: &[IoSlice<'_>]| match slices {
                [one] => stream.try_write(one),
                many => stream.try_write_vectored(many),
            })?;
        self.blocked = !all;
        if let Phase::Closing { since, shut, .. } = &mut self.phase {
            // it took something, so it is still there
            *since = now;
            if all && !std::mem::replace(shut, true) {
                SockRef::from(&self.stream).shutdown(Shutdown::Write)?;
            }
        }
        if self.blocked {
            self.wake();
        }
        Ok(())
    }

    /// The task's turn: writes if the socket was blocked, reads if it may. `scratch` is the shard's, and
    /// `limit` bounds what may wait to be written.
    ///
    /// Every input is given to `take`, which breaks to stop the reading; what was read and not parsed
    /// is kept. Ready: the socket has come to its end.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        limit: usize,
        now: Millis,
        mut take: impl FnMut(Input) -> ControlFlow<()>,
    ) -> Poll<()> {
        if !self.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        while self.blocked && self.stream.poll_write_ready(cx).is_ready() {
            self.blocked = false;
            self.flush(now);
        }
        if !self.paused
            && let Some(unread) = self.unread.take()
            && self.is_open()
            && let Some(left) = self.parse(&unread, limit, &mut take)
        {
            self.unread = Some(Box::new(unread.slice(left..)));
            return Poll::Pending;
        }
        while !self.paused {
            let mut buf = ReadBuf::new(scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    let _ = take(Input::Life);
                    // a client that we are done with may say what it wants
                    if !self.is_open() {
                        continue;
                    }
                    if let Some(left) = self.parse(buf.filled(), limit, &mut take) {
                        let unread = Bytes::copy_from_slice(&buf.filled()[left..]);
                        self.unread = Some(Box::new(unread));
                        return Poll::Pending;
                    }
                    if self.has_mail() {
                        // our answers should go out before more are made
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Poll::Ready(_) => {
                    let _ = take(Input::Cut);
                    return Poll::Ready(());
                }
            }
        }
        Poll::Pending
    }

    /// Parses bytes until none is left (`None`) or `take` breaks: then says where to go on.
    fn parse(
        &mut self,
        bytes: &[u8],
        limit: usize,
        take: &mut impl FnMut(Input) -> ControlFlow<()>,
    ) -> Option<usize> {
        let codec = self
            .codec
            .get_or_insert_with(|| Box::new(codec(self.max_message)));
        let mut feed = Feed {
            bytes,
            at: 0,
            mailbox: &mut self.mailbox,
            limit,
            full: false,
            last: false,
        };
        loop {
            let input = match codec.read(&mut feed) {
                Ok(Message::Text(text)) => {
                    let text =
                        ByteString::try_from(Bytes::from(text)).expect("the codec has checked it");
                    Input::Message(Payload::Text(text))
                }
                Ok(Message::Binary(bytes)) => Input::Message(Payload::Binary(bytes)),
                Ok(Message::Close(frame)) => {
                    // the codec's answer is on its way as soon as it is asked to write
                    feed.last = true;
                    let _ = codec.flush(&mut feed);
                    let (code, reason) = frame.map_or((1005, String::new()), |f| {
                        (f.code.into(), f.reason.as_str().to_owned())
                    });
                    Input::Goodbye { code, reason }
                }
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Err(WsError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                    if feed.full {
                        let _ = take(Input::Slow);
                        return Some(feed.at);
                    }
                    return None;
                }
                Err(WsError::Utf8(_)) => Input::Broken(CloseCode::InvalidText),
                Err(WsError::Capacity(CapacityError::MessageTooLong { .. })) => {
                    Input::Broken(CloseCode::TooBig)
                }
                Err(_) => Input::Broken(CloseCode::Protocol),
            };
            if take(input).is_break() {
                return Some(feed.at);
            }
        }
    }
}

fn codec(max_message: usize) -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(CODEC_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message));
    WebSocketContext::new(Role::Server, Some(config))
}

/// What the codec reads from and answers to: bytes that were read, and the mailbox.
struct Feed<'a> {
    bytes: &'a [u8],
    at: usize,
    mailbox: &'a mut Mailbox,
    limit: usize,
    /// The client does not read our answers.
    full: bool,
    /// The answer is the last: it goes whatever waits.
    last: bool,
}

impl Read for Feed<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = &self.bytes[self.at..];
        if left.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = left.len().min(out.len());
        out[..n].copy_from_slice(&left[..n]);
        self.at += n;
        Ok(n)
    }
}

impl Write for Feed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let answer = Bytes::copy_from_slice(bytes);
        if self.last {
            self.mailbox.force(answer);
        } else {
            self.full |= self.mailbox.push(answer, self.limit).is_err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

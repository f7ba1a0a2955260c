//! A connection: the socket behind a client, and what stands between its bytes and its events.
//!
//! One task reads the socket and answers for its life. Everything that goes out passes the mailbox,
//! pongs too, and the shard writes mailboxes in sweeps; only a socket that would block falls back to
//! the task. So an idle connection is this struct, and no buffer at all.

use std::{
    future::Future,
    io,
    ops::ControlFlow,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use wire::{CloseCode, Payload};

use crate::{
    codec::{Codec, Received},
    dispatch::Millis,
    intake::Intake,
    mailbox::{Full, Mailbox},
    stream::Stream,
};

/// How long a closing connection may take: without a byte of progress, and at all.
const CLOSE_STALL_MS: Millis = 5_000;
const CLOSE_TIMEOUT_MS: Millis = 30_000;

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
    /// It sends nothing any more, and has not said goodbye.
    End,
    /// It is gone without a word.
    Cut,
    /// It does not read our pongs.
    Slow,
}

/// What a connection is read with.
pub(crate) struct Reading<'a> {
    /// The shard's buffer: what one read brings at the most, and room to join frames in for a write,
    /// when nothing in it is unread.
    pub(crate) scratch: &'a mut [u8],
    pub(crate) codec: &'a dyn Codec,
    pub(crate) max_message: usize,
    /// How much may wait to be written.
    pub(crate) mailbox: usize,
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
    stream: Stream,
    mailbox: Mailbox,
    /// Read from the socket, and not decoded while the client's events wait.
    intake: Intake,
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
    pub(crate) fn new(stream: Stream, beyond: BytesMut, now: Millis) -> Self {
        Self {
            stream,
            mailbox: Mailbox::default(),
            intake: Intake::new(beyond),
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

    /// Whether a frame of so many bytes has room in the mailbox.
    pub(crate) fn has_room(&self, len: usize, limit: usize) -> bool {
        self.deaf || self.mailbox.fits(len, limit)
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
        self.intake.clear();
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
        !self.deaf && (!self.mailbox.is_empty() || !self.stream.is_flushed())
    }

    /// Gives back what an idle connection need not hold.
    pub(crate) fn release(&mut self) {
        self.mailbox.release();
    }

    /// Writes the mailbox as far as the socket takes it, by way of `room`. What is left is for the
    /// task.
    ///
    /// Where nobody is there any more, what waits is dropped and nothing more is written. That is not
    /// the end: what the client said before it went is still to be read, and the reading finds the end.
    pub(crate) fn flush(&mut self, room: &mut [u8], now: Millis) {
        if !self.blocked && self.write(room, now).is_err() {
            self.mailbox = Mailbox::default();
            self.deaf = true;
            self.wake();
        }
    }

    fn write(&mut self, room: &mut [u8], now: Millis) -> io::Result<()> {
        let stream = &mut self.stream;
        let all = stream.try_flush()?
            && self
                .mailbox
                .write_to(room, |bytes| stream.try_write(bytes))?
            && stream.is_flushed();
        self.blocked = !all;
        if let Phase::Closing { since, shut, .. } = &mut self.phase {
            // it took something, so it is still there
            *since = now;
            if all && !*shut {
                *shut = stream.try_shut_down()?;
                self.blocked = !*shut;
            }
        }
        if self.blocked {
            self.wake();
        }
        Ok(())
    }

    /// Writes what is left, after which neither says anything more. True: that is done, and the
    /// socket may be closed as it is. False: some of it waits, or TLS has a goodbye of its own to
    /// exchange.
    pub(crate) fn part(&mut self, room: &mut [u8], now: Millis) -> bool {
        self.flush(room, now);
        self.deaf || (!self.blocked && self.stream.is_plain())
    }

    /// The client says nothing any more, and hears no more after this: what waits is tried once, and
    /// then we end it too.
    pub(crate) fn bow(&mut self, room: &mut [u8], now: Millis) {
        self.flush(room, now);
        if !self.deaf && !self.blocked {
            let _ = self.stream.try_shut_down();
        }
    }

    /// The task's turn: writes if the socket was blocked, reads if it may.
    ///
    /// Every input is given to `take`, which breaks to stop the reading; what was read and not decoded
    /// is kept. Ready: the socket has come to its end.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut reading: Reading<'_>,
        now: Millis,
        mut take: impl FnMut(Input) -> ControlFlow<()>,
    ) -> Poll<()> {
        if !self.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        while self.blocked && self.stream.poll_write_ready(cx).is_ready() {
            self.blocked = false;
            self.flush(reading.scratch, now);
        }
        if !self.paused
            && self.intake.has_rest()
            && self.is_open()
            && self.decode(0, &mut reading, &mut take).is_break()
        {
            return Poll::Pending;
        }
        while !self.paused {
            match self.stream.poll_read(cx, reading.scratch) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(read @ 1..)) => {
                    let _ = take(Input::Life);
                    // a client that we are done with may say what it wants
                    if !self.is_open() {
                        continue;
                    }
                    if self.decode(read, &mut reading, &mut take).is_break() {
                        return Poll::Pending;
                    }
                    if self.has_mail() {
                        // our answers should go out before more are made, and others have a turn
                        self.flush(reading.scratch, now);
                        let _ = pin!(tokio::task::yield_now()).poll(cx);
                        return Poll::Pending;
                    }
                }
                Poll::Ready(read) => {
                    let _ = take(if read.is_ok() { Input::End } else { Input::Cut });
                    return Poll::Ready(());
                }
            }
        }
        Poll::Pending
    }

    /// Decodes what was kept and the first `read` bytes of the buffer, until none is left or `take`
    /// breaks.
    fn decode(
        &mut self,
        read: usize,
        reading: &mut Reading<'_>,
        take: &mut impl FnMut(Input) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mailbox = &mut self.mailbox;
        let Reading {
            scratch,
            codec,
            max_message,
            mailbox: limit,
        } = reading;
        self.intake
            .feed(&scratch[..read], *codec, *max_message, |said| match said {
                Ok(Received::Message(payload)) => take(Input::Message(payload)),
                Ok(Received::Ping(answer)) => match mailbox.push(answer, *limit) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(Full) => {
                        let _ = take(Input::Slow);
                        ControlFlow::Break(())
                    }
                },
                Ok(Received::Goodbye {
                    code,
                    reason,
                    answer,
                }) => {
                    // the last that we say: it goes whatever waits
                    if let Some(answer) = answer {
                        mailbox.force(answer);
                    }
                    let _ = take(Input::Goodbye { code, reason });
                    ControlFlow::Break(())
                }
                Err(broken) => {
                    let _ = take(Input::Broken(broken.into()));
                    ControlFlow::Break(())
                }
            })
    }
}

//! A connection's mailbox: what waits to be written to its socket, bounded in bytes.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
};

use bytes::Bytes;

/// What a frame takes beside its bytes: many small ones are no less of a burden.
const FRAME: usize = size_of::<Bytes>();
/// How many frames share one write.
const MOST_SLICES: usize = 64;

/// Frames in order; the head may be written in part.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    frames: VecDeque<Bytes>,
    /// How much of the head is written.
    written: usize,
    /// What waits, in bytes, with what the queue itself takes.
    bytes: usize,
}

/// A frame that does not fit: the client reads more slowly than it is sent to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Mailbox {
    /// Adds a frame. A frame that would bring it over `limit` is not taken, but an empty mailbox
    /// takes a frame of any size: what is sent to a client may be larger than its mailbox.
    pub(crate) fn push(&mut self, frame: Bytes, limit: usize) -> Result<(), Full> {
        if !self.fits(frame.len(), limit) {
            return Err(Full);
        }
        self.force(frame);
        Ok(())
    }

    /// Whether a frame of so many bytes would be taken.
    pub(crate) const fn fits(&self, len: usize, limit: usize) -> bool {
        self.bytes == 0 || self.bytes + len + FRAME <= limit
    }

    /// Adds a frame whatever the limit: the last word to a client.
    pub(crate) fn force(&mut self, frame: Bytes) {
        self.bytes += frame.len() + FRAME;
        self.frames.push_back(frame);
    }

    /// Drops the oldest frames that are not yet begun until `frame` fits; says how many.
    pub(crate) fn push_dropping_oldest(&mut self, frame: Bytes, limit: usize) -> usize {
        let first = usize::from(self.written > 0);
        let mut dropped = 0;
        while self.bytes + frame.len() + FRAME > limit && self.frames.len() > first {
            if let Some(old) = self.frames.remove(first) {
                self.bytes -= old.len() + FRAME;
                dropped += 1;
            }
        }
        self.force(frame);
        dropped
    }

    /// Drops every frame that is not yet begun.
    pub(crate) fn clear_unbegun(&mut self) {
        self.frames.truncate(usize::from(self.written > 0));
        self.bytes = self
            .frames
            .front()
            .map_or(0, |head| head.len() - self.written + FRAME);
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Gives back the memory of an empty queue.
    pub(crate) fn release(&mut self) {
        if self.frames.is_empty() {
            self.frames = VecDeque::new();
        }
    }

    /// Writes what waits. `Ok(true)`: all of it; `Ok(false)`: the socket would block.
    pub(crate) fn write_to(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        while let Some(head) = self.frames.front() {
            let wanted;
            let done = if self.frames.len() == 1 {
                wanted = head.len() - self.written;
                write(&[IoSlice::new(&head[self.written..])])
            } else {
                let mut slices = [IoSlice::new(&[]); MOST_SLICES];
                let mut sum = 0;
                let mut n = 0;
                for (slot, frame) in slices.iter_mut().zip(&self.frames) {
                    let from = if n == 0 { self.written } else { 0 };
                    *slot = IoSlice::new(&frame[from..]);
                    sum += frame.len() - from;
                    n += 1;
                }
                wanted = sum;
                write(&slices[..n])
            };
            match done {
                Ok(n) => {
                    self.advance(n);
                    if n < wanted {
                        return Ok(false);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    fn advance(&mut self, mut n: usize) {
        self.bytes -= n;
        while let Some(head) = self.frames.front() {
            let left = head.len() - self.written;
            if n < left {
                self.written += n;
                return;
            }
            n -= left;
            self.written = 0;
            self.bytes -= FRAME;
            self.frames.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(n: usize) -> Bytes {
        vec![b'x'; n].into()
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_and_leaves_the_rest() {
        let mut mailbox = Mailbox::default();
        assert_eq!(mailbox.push(frame(60), 100 + 2 * FRAME), Ok(()));
        assert_eq!(mailbox.push(frame(40), 100 + 2 * FRAME), Ok(()));
        assert_eq!(mailbox.push(frame(1), 100 + 2 * FRAME), Err(Full));
        assert_eq!(mailbox.bytes, 100 + 2 * FRAME);
    }

    #[test]
    fn an_empty_mailbox_takes_one_frame_of_any_size() {
        let mut mailbox = Mailbox::default();
        assert_eq!(mailbox.push(frame(500), 100), Ok(()));
        assert_eq!(mailbox.push(frame(1), 100), Err(Full));
    }

    #[test]
    fn what_is_written_in_part_goes_on_where_it_stopped() {
        let mut mailbox = Mailbox::default();
        for text in ["one", "two", "three"] {
            mailbox.force(Bytes::from_static(text.as_bytes()));
        }
        let mut out = vec![];
        let mut room = 4;
        let mut write = |slices: &[IoSlice<'_>]| {
            if room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let mut n = 0;
            for slice in slices {
                let take = slice.len().min(room - n);
                out.extend_from_slice(&slice[..take]);
                n += take;
            }
            room = 0;
            Ok(n)
        };
        assert!(!mailbox.write_to(&mut write).unwrap());
        assert_eq!((mailbox.bytes, mailbox.written), (7 + 2 * FRAME, 1));
        let mut rest = vec![];
        let all = mailbox
            .write_to(|slices| {
                let n = slices.iter().map(|s| s.len()).sum();
                slices.iter().for_each(|s| rest.extend_from_slice(s));
                Ok(n)
            })
            .unwrap();
        assert!(all && mailbox.is_empty() && mailbox.bytes == 0);
        assert_eq!([out, rest].concat(), b"onetwothree");
    }

    #[test]
    fn dropping_the_oldest_never_cuts_a_frame_that_is_begun() {
        let mut mailbox = Mailbox::default();
        mailbox.force(frame(50));
        mailbox.force(frame(50));
        mailbox.advance(10);
        assert_eq!(mailbox.push_dropping_oldest(frame(50), 100 + 2 * FRAME), 1);
        assert_eq!(
            mailbox.frames.iter().map(Bytes::len).collect::<Vec<_>>(),
            [50, 50]
        );
        assert_eq!(mailbox.bytes, 90 + 2 * FRAME);
        mailbox.clear_unbegun();
        assert_eq!((mailbox.bytes, mailbox.frames.len()), (40 + FRAME, 1));
    }
}

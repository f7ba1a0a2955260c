//! A connection's mailbox: what waits to be written to its socket, bounded in bytes.

use std::{collections::VecDeque, io};

use bytes::Bytes;

/// What a frame takes beside its bytes: many small ones are no less of a burden.
const FRAME: usize = size_of::<Bytes>();
/// So many bytes of several frames are joined for one write. To copy so little costs less than to
/// hand the kernel each frame by itself.
const MOST_JOINED: usize = 16 * 1024;

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

    /// Writes what waits, by way of `room` where frames are joined. `Ok(true)`: all of it;
    /// `Ok(false)`: the socket would block.
    pub(crate) fn write_to(
        &mut self,
        room: &mut [u8],
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        let most = room.len().min(MOST_JOINED);
        while let Some(bytes) = self.head(&mut room[..most]) {
            let wanted = bytes.len();
            match write(bytes) {
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

    /// What is to be written next: the head, and whole frames behind it as far as there is room.
    fn head<'a>(&'a self, room: &'a mut [u8]) -> Option<&'a [u8]> {
        let mut frames = self.frames.iter().peekable();
        let head = &frames.next()?[self.written..];
        let fits = |len: usize, frame: &Bytes| len + frame.len() <= room.len();
        if !frames.peek().is_some_and(|next| fits(head.len(), next)) {
            return Some(head);
        }
        let mut len = head.len();
        room[..len].copy_from_slice(head);
        for frame in frames {
            let Some(place) = room.get_mut(len..len + frame.len()) else {
                break;
            };
            place.copy_from_slice(frame);
            len += frame.len();
        }
        Some(&room[..len])
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
        let (mut left, mut room) = (4, [0; 100]);
        let mut write = |bytes: &[u8]| {
            if left == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let n = bytes.len().min(left);
            out.extend_from_slice(&bytes[..n]);
            left = 0;
            Ok(n)
        };
        assert!(!mailbox.write_to(&mut room, &mut write).unwrap());
        assert_eq!((mailbox.bytes, mailbox.written), (7 + 2 * FRAME, 1));
        let mut rest = vec![];
        let all = mailbox
            .write_to(&mut room, |bytes| {
                rest.extend_from_slice(bytes);
                Ok(bytes.len())
            })
            .unwrap();
        assert!(all && mailbox.is_empty() && mailbox.bytes == 0);
        assert_eq!([out, rest].concat(), b"onetwothree");
    }

    #[test]
    fn frames_are_joined_as_far_as_there_is_room() {
        let mut mailbox = Mailbox::default();
        for n in [3, 4, 5, 20, 1, 0, 2] {
            mailbox.force(frame(n));
        }
        let mut writes = vec![];
        let all = mailbox.write_to(&mut [0; 8], |bytes| {
            writes.push(bytes.len());
            Ok(bytes.len())
        });
        assert!(all.unwrap() && mailbox.is_empty() && mailbox.bytes == 0);
        assert_eq!(writes, [7, 5, 20, 3]);
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

//! A pipe from a process, read line by line.
//!
//! Whatever the process has written can be taken at once, without waiting for a thread's turn: when
//! a client has an answer, what the worker wrote before it answered is there to be read.

use std::{
    io::{ErrorKind, PipeReader, Read},
    sync::{Arc, Mutex},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::ioctl_fionbio,
};

/// The reading end.
#[derive(Debug)]
pub struct Pipe {
    reader: PipeReader,
    rest: Mutex<Rest>,
}

/// What came after the last line's end.
#[derive(Debug, Default)]
struct Rest {
    bytes: Vec<u8>,
    ended: bool,
}

impl Pipe {
    /// Takes over a reading end.
    ///
    /// # Panics
    /// When the system does not let it be read without waiting.
    #[must_use]
    pub fn new(reader: PipeReader) -> Arc<Self> {
        ioctl_fionbio(&reader, true).expect("a pipe can be made non-blocking");
        Arc::new(Self {
            reader,
            rest: Mutex::default(),
        })
    }

    /// Hands over every line that was written until now; `false` once the process is gone.
    ///
    /// # Panics
    /// When `take` panicked before.
    pub fn drain(&self, mut take: impl FnMut(&str)) -> bool {
        let mut rest = self.rest.lock().expect("no taker panics");
        let mut buffer = [0; 16 * 1024];
        while !rest.ended {
            match (&self.reader).read(&mut buffer) {
                Ok(0) => rest.ended = true,
                Ok(n) => rest.bytes.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => rest.ended = true,
            }
        }
        let mut from = 0;
        while let Some(length) = rest.bytes[from..].iter().position(|b| *b == b'\n') {
            take(&String::from_utf8_lossy(&rest.bytes[from..from + length]));
            from += length + 1;
        }
        rest.bytes.drain(..from);
        !rest.ended
    }

    /// Calls `ready`, which should drain, whenever there is something to read, on a thread of its
    /// own and until it returns `false`. So the process never waits for the test.
    pub fn watch(self: &Arc<Self>, mut ready: impl FnMut() -> bool + Send + 'static) {
        let pipe = Arc::clone(self);
        std::thread::spawn(move || {
            loop {
                let mut fds = [PollFd::new(&pipe.reader, PollFlags::IN)];
                // An interruption is as good as a reason to look.
                let _ = poll(&mut fds, None);
                if !ready() {
                    return;
                }
            }
        });
    }
}

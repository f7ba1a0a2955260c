//! The board: what is known of each process, written by the threads that read its output and wait for its end.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::{Child, ExitStatus},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use nix::{
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

use crate::process::Member;

/// Lines of output kept for each process; older ones are dropped.
const LINES: usize = 1000;

/// Lines of output shown of a process that ended without being asked.
const LAST_WORDS: usize = 20;

/// What is known of the processes; readers and waiters write it.
#[derive(Default)]
pub(super) struct Board {
    state: Mutex<State>,
    pub(super) changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) posts: Vec<Post>,
    /// How many times Ctrl-C or SIGTERM has come.
    pub(super) asked: usize,
}

pub(super) struct Post {
    pub(super) name: String,
    pub(super) pid: Pid,
    /// The output is shown as it comes, without its name: there is no need to repeat it.
    pub(super) shown: bool,
    pub(super) lines: VecDeque<String>,
    /// The output has been read to its end.
    pub(super) silent: bool,
    pub(super) exit: Option<ExitStatus>,
}

impl Board {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // The state is a record of what happened: a panic elsewhere does not make it wrong.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `look` finds something; nothing if the limit passes first.
    pub(super) fn wait<T>(
        &self,
        limit: Option<Duration>,
        mut look: impl FnMut(&State) -> Option<T>,
    ) -> Option<T> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&state) {
                return Some(found);
            }
            state = match deadline {
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.checked_duration_since(Instant::now())?;
                    self.changed
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }

    /// Reads the output of a process to its end.
    pub(super) fn read(&self, member: Member, output: io::PipeReader, prefix: Option<&str>) {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        while output
            .read_until(b'\n', &mut bytes)
            .is_ok_and(|count| count > 0)
        {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            if let Some(prefix) = prefix {
                eprintln!("{prefix}{line}");
            }
            let lines = &mut self.lock().posts[member.0].lines;
            if lines.len() == LINES {
                lines.pop_front();
            }
            lines.push_back(line);
            self.changed.notify_all();
        }
        self.lock().posts[member.0].silent = true;
        self.changed.notify_all();
    }

    /// Waits for the end of a process and takes note of it.
    pub(super) fn bury(&self, member: Member, mut child: Child) {
        let pid = Pid::from_raw(child.id().cast_signed());
        // Looked at but not reaped, its id is not given to anyone else, so that signals go astray neither
        // here nor in `signal`.
        let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        let mut state = self.lock();
        // What it started itself goes with it.
        let _ = killpg(pid, Signal::SIGKILL);
        // A child of ours that nobody has reaped can be waited for; if not, it is as good as killed.
        state.posts[member.0].exit = Some(
            child
                .wait()
                .unwrap_or_else(|_| ExitStatus::from_raw(Signal::SIGKILL as i32)),
        );
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    pub(super) fn signal(&self, member: Member, signal: Signal) {
        let post = &self.posts[member.0];
        if post.exit.is_none() {
            // It may have ended this very moment; then there is nothing to do.
            let _ = killpg(post.pid, signal);
        }
    }

    pub(super) fn stopped<T>(&self) -> Option<Result<T>> {
        (self.asked > 0).then(|| Err(anyhow!("stopped")))
    }
}

impl Post {
    pub(super) fn new(name: &str, pid: Pid, shown: bool) -> Self {
        Self {
            name: name.to_owned(),
            pid,
            shown,
            lines: VecDeque::new(),
            silent: false,
            exit: None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.exit.is_some() && self.silent
    }

    pub(super) fn lost(&self) -> anyhow::Error {
        match self.exit {
            Some(status) => anyhow!("{} ended ({status}){}", self.name, self.last_words()),
            None => anyhow!("{} is gone{}", self.name, self.last_words()),
        }
    }

    pub(super) fn last_words(&self) -> LastWords<'_> {
        LastWords(self)
    }
}

/// The end of a process's output, as an appendix to a message.
pub(super) struct LastWords<'a>(&'a Post);

impl fmt::Display for LastWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Post { lines, shown, .. } = self.0;
        if *shown {
            return Ok(());
        }
        if lines.is_empty() {
            return write!(f, "; it wrote nothing");
        }
        write!(f, "; its last lines:")?;
        for line in lines.iter().skip(lines.len().saturating_sub(LAST_WORDS)) {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

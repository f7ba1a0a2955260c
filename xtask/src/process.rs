//! The processes that xtask started: their output, their end, and an end for all of them.
//!
//! A [`Crew`] owns every process. Each has its own process group, so that Ctrl-C reaches xtask alone and xtask
//! ends the others in order. None is left behind: what still runs when the crew is dropped is killed, and if
//! xtask itself is killed, the kernel kills its children.

mod board;

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use nix::{
    sys::{
        prctl::set_pdeathsig,
        signal::{SigSet, Signal},
    },
    unistd::{Pid, getppid},
};

use self::board::{Board, Post};

/// How long a process may take to end after SIGTERM, before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// One of the crew's processes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member(usize);

/// What a crew waits for beside its processes' output.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Ctrl-C or SIGTERM.
    Asked,
    /// A process that should have stayed.
    Lost(anyhow::Error),
}

/// All processes of one xtask command.
pub(crate) struct Crew {
    board: Arc<Board>,
    verbose: bool,
}

impl Crew {
    /// Takes over Ctrl-C and SIGTERM for the rest of this process's life.
    ///
    /// Must be called before any other thread is started. With `verbose` all output appears on stderr,
    /// each line behind its process's name.
    pub(crate) fn new(verbose: bool) -> Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block().context("blocking signals")?;
        let board = Arc::new(Board::default());
        let watcher = board.clone();
        thread::spawn(move || {
            while signals.wait().is_ok() {
                watcher.lock().asked += 1;
                watcher.changed.notify_all();
            }
        });
        Ok(Self { board, verbose })
    }

    /// Starts a process; its output goes to the board.
    ///
    /// To be called from the main thread: a child dies with the thread that started it.
    pub(crate) fn start(&self, name: &str, command: Command) -> Result<Member> {
        let prefix = format!("{name:>9} │ ");
        self.spawn(name, command, self.verbose.then_some(prefix))
    }

    /// Starts a process whose output is what this command is about, and so is always shown.
    pub(crate) fn start_shown(&self, name: &str, command: Command) -> Result<Member> {
        self.spawn(name, command, Some(String::new()))
    }

    fn spawn(&self, name: &str, mut command: Command, prefix: Option<String>) -> Result<Member> {
        let program = command.get_program().to_string_lossy().into_owned();
        let (output, input) = io::pipe()?;
        command
            .stdin(Stdio::null())
            .stdout(input.try_clone()?)
            .stderr(input)
            .process_group(0);
        bind_to_parent(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        // The command holds the writing ends: the reader sees the end only once they are closed here.
        drop(command);
        let pid = Pid::from_raw(child.id().cast_signed());
        let mut state = self.board.lock();
        let member = Member(state.posts.len());
        let shown = prefix.as_ref().is_some_and(String::is_empty);
        state.posts.push(Post::new(name, pid, shown));
        drop(state);
        let board = self.board.clone();
        thread::spawn(move || board.read(member, output, prefix.as_deref()));
        let board = self.board.clone();
        thread::spawn(move || board.bury(member, child));
        Ok(member)
    }

    /// The process id, for those who measure it.
    pub(crate) fn pid(&self, member: Member) -> i32 {
        self.board.lock().posts[member.0].pid.as_raw()
    }

    /// Waits until a process has written a line that contains `text`, and returns that line.
    pub(crate) fn wait_for_line(
        &self,
        member: Member,
        text: &str,
        limit: Duration,
    ) -> Result<String> {
        let found = self.board.wait(Some(limit), |state| {
            let post = &state.posts[member.0];
            match post.lines.iter().find(|line| line.contains(text)) {
                Some(line) => Some(Ok(line.clone())),
                None if post.is_over() => Some(Err(post.lost())),
                None => state.stopped(),
            }
        });
        found.unwrap_or_else(|| {
            let state = self.board.lock();
            let post = &state.posts[member.0];
            Err(anyhow!(
                "{} did not say `{text}` within {limit:?}{}",
                post.name,
                post.last_words()
            ))
        })
    }

    /// Waits until a process has ended by itself, and returns its output; failure is an error.
    pub(crate) fn wait_for_end(&self, member: Member, limit: Duration) -> Result<Vec<String>> {
        let ended = self.board.wait(Some(limit), |state| {
            let post = &state.posts[member.0];
            match post.exit {
                Some(status) if post.silent && status.success() => {
                    Some(Ok(post.lines.iter().cloned().collect()))
                }
                Some(_) if post.silent => Some(Err(post.lost())),
                _ => state.stopped(),
            }
        });
        ended.unwrap_or_else(|| {
            let state = self.board.lock();
            let post = &state.posts[member.0];
            Err(anyhow!(
                "{} did not end within {limit:?}{}",
                post.name,
                post.last_words()
            ))
        })
    }

    /// Waits until somebody asks for the end, or one of these processes is gone.
    pub(crate) fn watch(&self, members: &[Member]) -> Ended {
        let ended = self.board.wait(None, |state| {
            if state.asked > 0 {
                return Some(Ended::Asked);
            }
            let lost = members
                .iter()
                .map(|member| &state.posts[member.0])
                .find(|post| post.is_over());
            lost.map(|post| Ended::Lost(post.lost()))
        });
        ended.unwrap_or(Ended::Asked)
    }

    /// Whether Ctrl-C or SIGTERM has come.
    pub(crate) fn was_asked_to_stop(&self) -> bool {
        self.board.lock().asked > 0
    }

    /// Shows the end of everybody's output: something went wrong, and one of them may know why.
    pub(crate) fn tell_last_words(&self) {
        for post in self.board.lock().posts.iter().filter(|post| !post.shown) {
            eprintln!("{}{}", post.name, post.last_words());
        }
    }

    /// Ends one process: SIGTERM, and SIGKILL if it takes too long.
    ///
    /// Returns whether it ended before it had to be killed. Another Ctrl-C meanwhile kills it at once.
    pub(crate) fn stop(&self, member: Member) -> bool {
        self.board.lock().signal(member, Signal::SIGTERM);
        let asked = self.board.lock().asked;
        let ended = self
            .board
            .wait(Some(GRACE), |state| match state.posts[member.0].exit {
                Some(_) => Some(true),
                None => (state.asked > asked).then_some(false),
            });
        if ended == Some(true) {
            return true;
        }
        self.board.lock().signal(member, Signal::SIGKILL);
        self.board.wait(None, |state| state.posts[member.0].exit);
        false
    }

    /// Ends all processes, the last started first.
    pub(crate) fn stop_all(&self) {
        let count = self.board.lock().posts.len();
        for member in (0..count).rev().map(Member) {
            let (name, over) = {
                let state = self.board.lock();
                let post = &state.posts[member.0];
                (post.name.clone(), post.exit.is_some())
            };
            if !over && !self.stop(member) {
                eprintln!("{name} did not stop and was killed");
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let count = self.board.lock().posts.len();
        for member in (0..count).map(Member) {
            self.board.lock().signal(member, Signal::SIGKILL);
            self.board.wait(None, |state| state.posts[member.0].exit);
        }
    }
}

/// Has the kernel kill the process when this one dies, and gives it back the signals that this one blocks.
#[allow(unsafe_code)]
pub(crate) fn bind_to_parent(command: &mut Command) {
    let parent = Pid::this();
    // SAFETY: between fork and exec only system calls are made, on values copied before the fork.
    unsafe {
        command.pre_exec(move || {
            SigSet::empty().thread_set_mask()?;
            set_pdeathsig(Signal::SIGKILL)?;
            if getppid() == parent {
                Ok(())
            } else {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::kill;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_process_that_fails_is_told_with_its_last_words() {
        let crew = Crew::new(false).unwrap();
        let member = crew
            .start("failing", shell("echo one; echo two >&2; exit 3"))
            .unwrap();
        let error = crew
            .wait_for_line(member, "never", SOON)
            .unwrap_err()
            .to_string();
        assert!(error.contains("failing ended (exit status: 3)"), "{error}");
        assert!(error.contains("one") && error.contains("two"), "{error}");
        let Ended::Lost(error) = crew.watch(&[member]) else {
            panic!("nobody asked for the end")
        };
        assert!(error.to_string().contains("failing"), "{error}");
    }

    #[test]
    fn the_whole_output_of_a_process_that_succeeds_is_there() {
        let crew = Crew::new(false).unwrap();
        let member = crew
            .start("counting", shell("for n in 1 2 3; do echo $n; done"))
            .unwrap();
        assert_eq!(crew.wait_for_end(member, SOON).unwrap(), ["1", "2", "3"]);
    }

    #[test]
    fn what_a_process_started_ends_with_it() {
        let crew = Crew::new(false).unwrap();
        let member = crew
            .start("parent", shell("sleep 600 & echo child $!; wait"))
            .unwrap();
        let line = crew.wait_for_line(member, "child ", SOON).unwrap();
        let child = Pid::from_raw(line.trim_start_matches("child ").parse().unwrap());
        assert!(kill(child, None).is_ok());
        assert!(crew.stop(member));
        // Its output ends when the last process that could write to it is gone.
        assert!(
            crew.board
                .wait(Some(SOON), |state| state.posts[member.0]
                    .silent
                    .then_some(()))
                .is_some()
        );
    }
}

//! A process that a test started: its log, its signals, its end.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, ChildStdin, Command};

use crate::{eventually, log::Log, within};

/// A running process. Dropping it kills it by its id.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// What it wrote to stderr.
    pub log: Log,
    pid: Pid,
}

impl Process {
    /// Starts a command, whose stdout is the caller's business; `name` stands before its log.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: impl Into<String>, mut command: Command) -> Self {
        let name = name.into();
        let (log, stderr) = std::io::pipe().expect("a pipe");
        let child = command
            .stdin(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        // The command holds our copy of the pipe's writing end.
        drop(command);
        let pid = child.id().expect("it has just started");
        let pid = Pid::from_raw(pid.cast_signed()).expect("an id is not zero");
        Self {
            name,
            child,
            log: Log::read(log),
            pid,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// The pipe into it; once only.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone already.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap_or_else(|e| panic!("{}: {e}", self.name));
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Kills it and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait().await;
    }

    /// Holds it: it lives, but does nothing until [`go_on`](Self::go_on).
    pub async fn hold(&self) {
        self.signal(Signal::STOP);
        // Its threads stop one after another.
        eventually(format!("{} to stand still", self.name), || async {
            self.is_held().then_some(())
        })
        .await;
    }

    fn is_held(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid()));
        let mut tasks = tasks.expect("the process lives").flatten();
        tasks.all(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The state stands after the name, which is in brackets.
            let state = stat.rsplit(')').next().unwrap_or_default();
            state.trim_start().starts_with('T')
        })
    }

    /// Ends a [`hold`](Self::hold).
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within the deadline.
    pub async fn wait(&mut self) -> ExitStatus {
        let wait = self.child.wait();
        within(format!("{} to end", self.name), wait)
            .await
            .expect("it is our child")
    }

    /// Waits for its end, which must be a success.
    ///
    /// # Panics
    /// When it does not end within the deadline, or with another status than 0.
    pub async fn wait_for_success(&mut self) {
        let status = self.wait().await;
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    /// Its resident memory, in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("the process lives");
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kib = line.and_then(|l| l.trim().strip_suffix(" kB"));
        kib.and_then(|n| n.parse::<u64>().ok())
            .expect("VmRSS in kB")
            * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.log.show(&self.name);
        }
    }
}

/// What a command wrote, and how it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: i32,
    /// What it wrote for whoever asked.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Ended {
    /// Its output as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it does not end within the deadline.
pub async fn run_to_end(name: impl Into<String>, mut command: Command) -> Ended {
    command.stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = within(name, command.output()).await;
    let output = output.expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ended {
        status: output.status.code().expect("it was not killed"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// A program of this workspace, from the folder into which the running test was built.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn built(program: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own file");
    let found = test.ancestors().skip(1).take(2).find_map(|folder| {
        let file = folder.join(program);
        file.is_file().then_some(file)
    });
    found.unwrap_or_else(|| {
        panic!("{program} is not built: run `cargo build --workspace`, or `cargo xtask test`")
    })
}

/// The folder into which this workspace is built.
///
/// # Panics
/// When the test does not run from such a folder.
#[must_use]
pub fn target_folder() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own file");
    let target = test.ancestors().find(|f| f.join("CACHEDIR.TAG").is_file());
    target
        .map(Path::to_path_buf)
        .expect("a cargo target folder")
}

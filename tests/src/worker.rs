//! A process of the test worker, `src/bin/test-worker`; what it does stands in its `verb.rs`.

use std::ops::{Deref, DerefMut};

use tokio::{
    io::AsyncWriteExt,
    process::{ChildStdin, Command},
};

use crate::{
    Admin, Journal, Nats,
    gateway::SERVICE,
    process::{Process, built},
};

/// What a worker is to be started with.
#[derive(Debug)]
pub struct Options {
    command: Command,
    name: String,
    journal: Journal,
}

/// A running test worker. It is the process too: its signals, its log, its end.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    stdin: ChildStdin,
}

impl Worker {
    /// A worker for [`SERVICE`] that reports to the journal.
    pub async fn start(nats: &Nats, journal: &Journal) -> Self {
        Self::with(nats, journal, "worker").start().await
    }

    /// A worker of this name, with options of its own.
    #[must_use]
    pub fn with(nats: &Nats, journal: &Journal, name: &str) -> Options {
        let mut command = Command::new(built("test-worker"));
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            if text.starts_with("GATEBUS_") || text.starts_with("NATS_") {
                command.env_remove(&variable);
            }
        }
        command
            .envs(nats.environment())
            .env("NO_COLOR", "1")
            .env("WORKER_NAME", name)
            .env("WORKER_SERVICE", SERVICE);
        Options {
            command,
            name: name.to_owned(),
            journal: journal.clone(),
        }
    }

    /// Its admin port, if it was started [with one](Options::admin).
    pub async fn admin(&self) -> Admin {
        Admin::of(&self.process.log).await
    }

    /// Lets go all handlers that wait at this gate, now and in future (see `hold`).
    ///
    /// # Panics
    /// When the worker is gone.
    pub async fn open(&mut self, gate: &str) {
        let line = format!("{gate}\n");
        let written = self.stdin.write_all(line.as_bytes()).await;
        written.expect("the worker reads");
    }
}

impl Deref for Worker {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Worker {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Options {
    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Works for another service.
    #[must_use]
    pub fn service(self, service: &str) -> Self {
        self.env("WORKER_SERVICE", service)
    }

    /// Handles at most so many batches at once.
    #[must_use]
    pub fn concurrency(self, many: usize) -> Self {
        self.env("GATEBUS_CONCURRENCY", many.to_string())
    }

    /// With an admin port.
    #[must_use]
    pub fn admin(self) -> Self {
        self.env("GATEBUS_ADMIN", "127.0.0.1:0")
    }

    /// Starts it and waits until it takes events.
    pub async fn start(self) -> Worker {
        let worker = self.start_unready();
        let pick = |line: &str| line.contains("worker is ready").then_some(());
        worker.log.find("worker is ready", pick).await;
        worker
    }

    /// Starts it, whether or not it finds NATS.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_unready(mut self) -> Worker {
        let (reports, out) = std::io::pipe().expect("a pipe");
        self.command.stdout(out);
        self.journal.read(reports);
        let mut process = Process::start(self.name, self.command);
        let stdin = process.stdin().expect("taken once");
        Worker { process, stdin }
    }
}

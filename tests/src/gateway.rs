//! A gateway process.

use std::{
    ops::{Deref, DerefMut},
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::process::Command;

use crate::{
    Admin, Nats, http,
    process::{Process, built},
};

/// The service of a listener if a test does not name another.
pub const SERVICE: &str = "test";

/// What a gateway is to be started with.
#[derive(Debug)]
pub struct Options {
    command: Command,
    listeners: Vec<String>,
}

/// A running gateway. It is the process too: its signals, its log, its memory.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    ports: Vec<u16>,
    admin: Admin,
}

impl Gateway {
    /// A gateway on the bus, with one listener for [`SERVICE`] and two shards.
    pub async fn start(nats: &Nats) -> Self {
        Self::with(nats).start().await
    }

    /// A gateway with options of its own.
    #[must_use]
    pub fn with(nats: &Nats) -> Options {
        Self::program(nats, "gateway-svc")
    }

    /// The same of another program of this workspace, which is a gateway too.
    #[must_use]
    pub fn program(nats: &Nats, program: &str) -> Options {
        Options {
            command: command_of(nats, program),
            listeners: Vec::new(),
        }
    }

    /// The port of the first listener.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// The ports of all listeners, in the order of the options.
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// The admin port.
    #[must_use]
    pub fn admin_port(&self) -> u16 {
        self.admin.port()
    }

    /// Gets a path from the admin port.
    pub async fn admin(&self, path: &str) -> http::Answer {
        self.admin.get(path).await
    }

    /// See [`Admin::is_ready`].
    pub async fn is_ready(&self) -> bool {
        self.admin.is_ready().await
    }

    /// See [`Admin::wait_ready`].
    pub async fn wait_ready(&self, ready: bool) {
        self.admin.wait_ready(ready).await;
    }

    /// See [`Admin::metric`].
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        self.admin.metric(name, labels).await
    }

    /// See [`Admin::wait_metric`].
    pub async fn wait_metric(&self, name: &str, labels: &str, at_least: f64) {
        self.admin.wait_metric(name, labels, at_least).await;
    }
}

impl Deref for Gateway {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Gateway {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The gateway with the environment of the test, and nothing of the machine's that it would read.
#[must_use]
pub fn command(nats: &Nats) -> Command {
    command_of(nats, "gateway-svc")
}

/// The same of another program of this workspace.
#[must_use]
pub fn command_of(nats: &Nats, program: &str) -> Command {
    let mut command = Command::new(built(program));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("GATEBUS_") || text.starts_with("NATS_") {
            command.env_remove(&name);
        }
    }
    command
        .envs(nats.environment())
        .env("NO_COLOR", "1")
        .env("GATEBUS_ADMIN", "127.0.0.1:0")
        .env("GATEBUS_SHARDS", "2")
        .stdout(Stdio::null());
    command
}

impl Options {
    /// Adds an option with its value.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(name).arg(value);
        self
    }

    /// Adds a WebSocket listener for a service.
    #[must_use]
    pub fn service(self, service: &str) -> Self {
        self.listen(format!("websocket://127.0.0.1:0?service={service}"))
    }

    /// Adds a listener.
    #[must_use]
    pub fn listen(mut self, url: impl Into<String>) -> Self {
        self.listeners.push(url.into());
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Gateway {
        let gateway = self.start_unready().await;
        gateway.wait_ready(true).await;
        gateway
    }

    /// Starts it and waits until it listens, whether or not it finds NATS.
    pub async fn start_unready(mut self) -> Gateway {
        if self.listeners.is_empty() {
            self = self.service(SERVICE);
        }
        for listener in &self.listeners {
            self.command.arg("--listen").arg(listener);
        }
        let process = Process::start("gateway", self.command);
        let mut ports = Vec::new();
        for (n, listener) in self.listeners.iter().enumerate() {
            let earlier = AtomicUsize::new(n);
            let pick = |line: &str| {
                let (_, rest) = line.split_once("listening on ")?;
                if earlier.fetch_sub(1, Relaxed) > 0 {
                    return None;
                }
                let address = rest.split_whitespace().next()?;
                address.rsplit_once(':')?.1.parse().ok()
            };
            let what = format!("listening on {listener}");
            ports.push(process.log.find(&what, pick).await);
        }
        let admin = Admin::of(&process.log).await;
        Gateway {
            process,
            ports,
            admin,
        }
    }
}

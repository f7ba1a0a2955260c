//! A process of the HTTP API, and how to call it.

use std::{
    ops::{Deref, DerefMut},
    path::PathBuf,
    process::Stdio,
};

use serde_json::Value;
use tokio::process::Command;

use crate::{
    Nats,
    admin::leading_number,
    eventually, http,
    process::{Process, built},
};

/// The token that a test calls with if it says nothing else.
pub const TOKEN: &str = "0123456789abcdef-of-the-tests";

/// What an API is to be started with.
#[derive(Debug)]
pub struct Options {
    command: Command,
}

/// A running API. It is the process too: its signals, its log, its end.
#[derive(Debug)]
pub struct Api {
    process: Process,
    port: u16,
    admin: u16,
}

/// How a call was answered.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The head as it came.
    pub head: String,
    /// The body, which is always JSON.
    pub body: Value,
}

impl Reply {
    /// The code of an error; empty where there is none.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

impl Api {
    /// An API on the bus that lets [`TOKEN`] in.
    pub async fn start(nats: &Nats) -> Self {
        Self::with(nats).start().await
    }

    /// An API with options of its own.
    ///
    /// # Panics
    /// When the file with its token cannot be written.
    #[must_use]
    pub fn with(nats: &Nats) -> Options {
        std::fs::write(tokens(nats), format!("{TOKEN} the tests\n")).expect("a temporary file");
        let mut command = command(nats);
        command.env("GATEBUS_API_TOKENS_FILE", tokens(nats));
        Options { command }
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, for programs that call it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Posts a body.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.ask("POST", path, &body.to_string()).await
    }

    /// Posts a body, and the call must go well.
    ///
    /// # Panics
    /// When it does not.
    pub async fn done(&self, path: &str, body: Value) -> Value {
        let reply = self.post(path, body).await;
        assert!(reply.status < 300, "POST {path}: {reply:?}");
        reply.body
    }

    /// Posts nothing at all.
    pub async fn post_nothing(&self, path: &str) -> Reply {
        self.with_token("POST", path).await
    }

    /// Asks with a token, and nothing else.
    pub async fn with_token(&self, method: &str, path: &str) -> Reply {
        let token = format!("Bearer {TOKEN}");
        let headers = [("Authorization", token.as_str())];
        self.exchange(method, path, &headers, b"").await
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "").await
    }

    /// Gets a path, and the query must be answered.
    ///
    /// # Panics
    /// When it is not.
    pub async fn answer(&self, path: &str) -> Value {
        let reply = self.get(path).await;
        assert_eq!(reply.status, 200, "GET {path}: {reply:?}");
        reply.body
    }

    /// Asks with a token and a body of JSON.
    pub async fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        let token = format!("Bearer {TOKEN}");
        let headers = [
            ("Authorization", token.as_str()),
            ("Content-Type", "application/json"),
        ];
        self.exchange(method, path, &headers, body.as_bytes()).await
    }

    /// Any request.
    ///
    /// # Panics
    /// When nobody answers, or not in JSON.
    pub async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let answer = http::try_ask(self.port, method, path, headers, body).await;
        let answer = answer.unwrap_or_else(|| panic!("nobody answers {method} {path}"));
        let body = serde_json::from_str(&answer.body);
        Reply {
            status: answer.status,
            head: answer.head,
            body: body.unwrap_or_else(|e| panic!("{:?} is not JSON: {e}", answer.body)),
        }
    }

    /// Gets a path from the admin port.
    pub async fn admin(&self, path: &str) -> http::Answer {
        http::get(self.admin, path).await
    }

    /// Waits until it says that it is ready, or that it is not.
    pub async fn wait_ready(&self, ready: bool) {
        eventually(format!("/readyz to say {ready}"), || async {
            let answer = http::try_get(self.admin, "/readyz").await?;
            ((answer.status == 200) == ready).then_some(())
        })
        .await;
    }
}

impl Deref for Api {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Api {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The file with the tokens of [`Api::with`].
#[must_use]
pub fn tokens(nats: &Nats) -> PathBuf {
    nats.folder().join("tokens")
}

/// The program with the environment of the test, and nothing of the machine's that it would read.
#[must_use]
pub fn command(nats: &Nats) -> Command {
    let mut command = Command::new(built("api-svc"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("GATEBUS_") || text.starts_with("NATS_") {
            command.env_remove(&name);
        }
    }
    command
        .envs(nats.environment())
        .env("NO_COLOR", "1")
        .env("GATEBUS_API_LISTEN", "127.0.0.1:0")
        .env("GATEBUS_API_ADMIN", "127.0.0.1:0")
        .env("GATEBUS_API_DRAIN_DELAY", "0s")
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

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Api {
        let api = self.start_unready().await;
        api.wait_ready(true).await;
        api
    }

    /// Starts it and waits until it listens, whether or not it finds NATS.
    pub async fn start_unready(self) -> Api {
        let process = Process::start("api", self.command);
        let port = async |mark: &str| {
            let mark = format!("{mark} on http://127.0.0.1:");
            let pick = |line: &str| leading_number(line.split_once(&mark)?.1);
            process.log.find(&mark, pick).await
        };
        let (listen, admin) = (port("listening").await, port("admin").await);
        Api {
            port: listen,
            admin,
            process,
        }
    }
}

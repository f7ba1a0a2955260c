//! The programs of `examples/python`, and others, run by a Python that has the packages they pin.

use std::{
    ffi::OsStr,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
};

use tokio::process::Command;

use crate::{
    Nats,
    gateway::SERVICE,
    process::{Process, target_folder},
    within,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/python");
const PINS: &str = concat!(
    include_str!("../../examples/python/requirements.txt"),
    include_str!("../requirements.txt")
);

/// A running worker in Python. It is the process too: its signals, its log, its end.
#[derive(Debug)]
pub struct PythonWorker(Process);

/// The two workers of the example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `worker.py`, a single file.
    Short,
    /// `complete/worker.py`.
    Complete,
}

impl PythonWorker {
    /// A complete worker for [`SERVICE`] that takes events.
    pub async fn start(nats: &Nats) -> Self {
        Self::start_as(nats, Kind::Complete).await
    }

    /// One of the two, for [`SERVICE`], that takes events.
    pub async fn start_as(nats: &Nats, kind: Kind) -> Self {
        let worker = Self::start_unready(nats, kind);
        worker.is_ready().await;
        worker
    }

    /// One of the two, whether or not it finds NATS.
    #[must_use]
    pub fn start_unready(nats: &Nats, kind: Kind) -> Self {
        match kind {
            Kind::Short => Self::run(nats, &alone(nats, "worker.py", short())),
            Kind::Complete => Self::run(nats, &Path::new(FOLDER).join("complete/worker.py")),
        }
    }

    /// A copy of the short one, with these lines in the place of what its `on_event` does.
    ///
    /// # Panics
    /// When `on_event` does not look as this expects.
    pub async fn start_with(nats: &Nats, lines: &str) -> Self {
        let old = "    if kind == \"message\":\n        yield event\n";
        assert!(short().contains(old), "on_event");
        let copy = alone(nats, "own.py", &short().replace(old, lines));
        let worker = Self::run(nats, &copy);
        worker.is_ready().await;
        worker
    }

    fn run(nats: &Nats, program: &Path) -> Self {
        let mut command = command(nats, program);
        command.arg(SERVICE).env("GATEBUS_SERVICE", SERVICE);
        command.stdout(Stdio::null());
        Self(Process::start("python worker", command))
    }

    async fn is_ready(&self) {
        let pick = |line: &str| line.contains("is ready").then_some(());
        self.log.find("worker … is ready", pick).await;
    }
}

/// The text of the short worker.
#[must_use]
pub fn short() -> &'static str {
    include_str!("../../examples/python/worker.py")
}

/// The text of the short pusher.
#[must_use]
pub fn short_pusher() -> &'static str {
    include_str!("../../examples/python/pusher.py")
}

/// A file in a folder where nothing else of the example is.
fn alone(nats: &Nats, name: &str, text: &str) -> PathBuf {
    let path = nats.folder().join(name);
    std::fs::write(&path, text).expect("a temporary file");
    path
}

impl Deref for PythonWorker {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.0
    }
}

impl DerefMut for PythonWorker {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.0
    }
}

/// Runs the short `pusher.py` to its end, which must be a success, and returns what it said.
///
/// # Panics
/// When it fails, or does not end within the deadline.
pub async fn push<A: AsRef<OsStr>>(nats: &Nats, words: impl IntoIterator<Item = A>) -> String {
    run_pusher(nats, &alone(nats, "pusher.py", short_pusher()), words).await
}

/// The same of the complete one.
///
/// # Panics
/// Likewise.
pub async fn push_complete<A: AsRef<OsStr>>(
    nats: &Nats,
    words: impl IntoIterator<Item = A>,
) -> String {
    run_pusher(nats, &Path::new(FOLDER).join("complete/pusher.py"), words).await
}

async fn run_pusher<A: AsRef<OsStr>>(
    nats: &Nats,
    program: &Path,
    words: impl IntoIterator<Item = A>,
) -> String {
    let mut command = command(nats, program);
    command.args(words).stdin(Stdio::null()).kill_on_drop(true);
    let output = within("pusher.py to end", command.output()).await;
    let output = output.unwrap_or_else(|e| panic!("pusher.py does not start: {e}"));
    assert!(
        output.status.success(),
        "pusher.py ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

/// A program with the environment of the test, and nothing of the machine's that it would read.
fn command(nats: &Nats, program: &Path) -> Command {
    let mut command = Command::new(interpreter());
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        if text.starts_with("GATEBUS_") || text.starts_with("NATS_") {
            command.env_remove(&variable);
        }
    }
    command
        .arg(program)
        .envs(nats.environment())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The Python that `GATEBUS_PYTHON` names, or the one that `cargo xtask test` makes in
/// `target/tools`.
///
/// # Panics
/// When there is none with the pinned packages: a test that needs it must not pass without it.
#[must_use]
pub fn interpreter() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let named = std::env::var_os("GATEBUS_PYTHON").map(PathBuf::from);
        let python = named.unwrap_or_else(|| target_folder().join("tools/python/bin/python"));
        if let Err(why) = check(&python) {
            panic!(
                "{} {why}: run `cargo xtask test --only e2e`, which makes a Python with the \
                 packages of examples/python and tests, or name one in GATEBUS_PYTHON",
                python.display()
            );
        }
        python
    })
}

/// What is wrong with a Python, if something is.
fn check(python: &Path) -> Result<(), String> {
    let tell = "import importlib.metadata as m, sys\n\
                for name in sys.argv[1:]: print(f'{name}=={m.version(name)}')";
    let names = PINS.lines().filter_map(|pin| pin.split("==").next());
    let output = std::process::Command::new(python)
        .args(["-c", tell])
        .args(names)
        .output()
        .map_err(|e| format!("does not run ({e})"))?;
    let has = String::from_utf8_lossy(&output.stdout);
    if has.lines().eq(PINS.lines()) {
        return Ok(());
    }
    let needs = PINS.trim_end().replace('\n', " and ");
    Err(format!("has not {needs}"))
}

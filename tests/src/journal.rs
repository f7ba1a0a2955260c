//! What the test workers handled, as they report it.

use std::{
    collections::BTreeMap,
    io::PipeReader,
    sync::{Arc, Mutex},
};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use crate::{pipe::Pipe, within};

/// One thing that a worker reports: an event that it handled, or something of its own life.
///
/// A worker writes it to its stdout in one piece when the handler is through, before the ack leaves.
/// So an entry survives the worker's SIGKILL, and what has no entry was not handled.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// When, in nanoseconds of the system's monotonic clock: comparable between processes.
    pub at: u64,
    /// The worker's name.
    pub worker: String,
    /// `start`, `connect`, `websocket`, `message`, `close`, `lost`, `stop`; or what a handler
    /// reports while it runs: `held`; or a run of its exclusive timer: `turn`, `turned`.
    pub kind: String,
    /// Whose event it was.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// The batch's delivery: above 1 it may have been handled before.
    #[serde(skip_serializing_if = "is_default")]
    pub attempt: u32,
    /// The client's uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The client's address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remote: String,
    /// Of a message: its text; of binary, its hex.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The session, where it is not empty.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub session: Value,
    /// Of a handshake or a close: the rest of it.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

fn is_default(n: &u32) -> bool {
    *n == 0
}

/// The system's monotonic clock, in nanoseconds: the clock of all entries.
#[must_use]
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |n: i64| u64::try_from(n).unwrap_or_default();
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}

/// The entries of any number of workers. Cloning gives another handle to the same journal.
#[derive(Debug, Clone)]
pub struct Journal {
    pipes: Arc<Mutex<Vec<Arc<Pipe>>>>,
    entries: Arc<Mutex<Vec<Entry>>>,
    count: Arc<watch::Sender<usize>>,
}

impl Default for Journal {
    fn default() -> Self {
        Self::new()
    }
}

impl Journal {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            pipes: Arc::default(),
            entries: Arc::default(),
            count: Arc::new(watch::channel(0).0),
        }
    }

    /// Takes in what a worker writes to this pipe.
    ///
    /// # Panics
    /// Never: no thread panics while it holds the pipes.
    pub fn read(&self, reader: PipeReader) {
        let pipe = Pipe::new(reader);
        let (own, read) = (self.clone(), Arc::clone(&pipe));
        pipe.watch(move || own.pull(&read));
        self.pipes.lock().expect("no holder panics").push(pipe);
    }

    fn pull(&self, pipe: &Pipe) -> bool {
        pipe.drain(|line| match serde_json::from_str(line) {
            Ok(entry) => {
                let mut entries = self.entries.lock().expect("no writer panics");
                entries.push(entry);
                self.count.send_replace(entries.len());
            }
            Err(e) => eprintln!("a worker wrote {line:?}: {e}"),
        })
    }

    /// All entries that were written until now, by time.
    ///
    /// # Panics
    /// Never: no thread panics while it holds the entries.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let pipes = self.pipes.lock().expect("no holder panics").clone();
        for pipe in pipes {
            self.pull(&pipe);
        }
        let mut entries = self.entries.lock().expect("no writer panics").clone();
        entries.sort_by_key(|e| e.at);
        entries
    }

    /// The entries of one kind, by time.
    #[must_use]
    pub fn of(&self, kind: &str) -> Vec<Entry> {
        let mut entries = self.entries();
        entries.retain(|e| e.kind == kind);
        entries
    }

    /// The texts of the messages that were handled, by time, repeats included.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.of("message").into_iter().map(|e| e.text).collect()
    }

    /// The messages that were handled, by client and time.
    #[must_use]
    pub fn by_client(&self) -> BTreeMap<String, Vec<Entry>> {
        let mut clients = BTreeMap::<_, Vec<_>>::new();
        for entry in self.of("message") {
            clients.entry(entry.client.clone()).or_default().push(entry);
        }
        clients
    }

    /// Waits until so many entries fit.
    ///
    /// # Panics
    /// When the deadline passes without a new entry that fits.
    pub async fn wait(&self, what: &str, many: usize, fits: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut count = self.count.subscribe();
        let mut found = Vec::new();
        let mut seen = 0;
        loop {
            {
                let entries = self.entries.lock().expect("no writer panics");
                found.extend(entries[seen..].iter().filter(|e| fits(e)).cloned());
                seen = entries.len();
            }
            if found.len() >= many {
                found.sort_by_key(|e: &Entry| e.at);
                return found;
            }
            let have = found.len();
            let step = format!("the journal to have {many} times {what} (it has {have})");
            let more = async { count.wait_for(|n| *n > seen).await.map(|n| *n) };
            let _ = within(step, more).await;
        }
    }

    /// Waits for an entry that fits.
    pub async fn find(&self, what: &str, fits: impl Fn(&Entry) -> bool) -> Entry {
        self.wait(what, 1, fits).await.remove(0)
    }

    /// Waits until so many messages were handled, repeats included.
    pub async fn wait_messages(&self, many: usize) -> Vec<Entry> {
        self.wait("message", many, |e| e.kind == "message").await
    }
}

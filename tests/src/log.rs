//! The lines that a process wrote, as they come.

use std::{
    io::{BufRead, BufReader, Read},
    sync::{Arc, Mutex},
};

use tokio::sync::watch;

use crate::within;

/// How many lines are shown when a test fails.
const SHOWN: usize = 80;

/// Lines in the order in which they were written. Cloning gives another handle to the same lines.
#[derive(Debug, Clone)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
}

impl Log {
    /// Reads from a pipe, on a thread of its own so that the process never waits for the test.
    #[must_use]
    pub fn read(pipe: impl Read + Send + 'static) -> Self {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let (counted, count) = watch::channel(0);
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                let mut kept = kept.lock().expect("no reader panics");
                kept.push(text);
                let _ = counted.send(kept.len());
            }
        });
        Self { lines, count }
    }

    /// All lines so far.
    ///
    /// # Panics
    /// Never: no thread panics while it holds the lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no reader panics").clone()
    }

    /// How many lines so far hold this text.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        self.lines().iter().filter(|l| l.contains(text)).count()
    }

    /// The first line that `pick` takes, now or later.
    ///
    /// # Panics
    /// When there is none within the deadline, or the process ended without it.
    pub async fn find<T>(&self, what: &str, pick: impl Fn(&str) -> Option<T>) -> T {
        let mut count = self.count.clone();
        let mut seen = 0;
        within(format!("the log to say: {what}"), async {
            loop {
                let ended = count.has_changed().is_err();
                let lines = self.lines();
                if let Some(found) = lines[seen..].iter().find_map(|line| pick(line)) {
                    return found;
                }
                seen = lines.len();
                assert!(!ended, "the process ended before its log said: {what}");
                let _ = count.changed().await;
            }
        })
        .await
    }

    /// All lines, once the process has ended.
    ///
    /// # Panics
    /// When it does not end within the deadline.
    pub async fn whole(&self) -> Vec<String> {
        let mut count = self.count.clone();
        within("the end of the log", async {
            while count.changed().await.is_ok() {}
        })
        .await;
        self.lines()
    }

    /// Prints the end of the log, for whoever reads the failure.
    pub fn show(&self, name: &str) {
        let lines = self.lines();
        let from = lines.len().saturating_sub(SHOWN);
        eprintln!("---- {name}: the last {} lines", lines.len() - from);
        for line in &lines[from..] {
            eprintln!("{line}");
        }
    }
}

//! The lines that a process wrote, as they come.

use std::{
    io::PipeReader,
    sync::{Arc, Mutex},
};

use tokio::sync::watch;

use crate::{pipe::Pipe, within};

/// How many lines are shown when a test fails.
const SHOWN: usize = 80;

/// Lines in the order in which they were written. Cloning gives another handle to the same lines.
#[derive(Debug, Clone)]
pub struct Log {
    pipe: Arc<Pipe>,
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
}

impl Log {
    /// Reads from a pipe.
    #[must_use]
    pub fn read(reader: PipeReader) -> Self {
        let pipe = Pipe::new(reader);
        let lines = Arc::default();
        let (counted, count) = watch::channel(0);
        let log = Self { pipe, lines, count };
        let own = log.clone();
        log.pipe.watch(move || {
            let goes_on = own.pull();
            counted.send_replace(own.lines.lock().expect("no reader panics").len());
            goes_on
        });
        log
    }

    fn pull(&self) -> bool {
        self.pipe.drain(|line| {
            let mut lines = self.lines.lock().expect("no reader panics");
            lines.push(line.trim_end().to_owned());
        })
    }

    /// All lines that were written until now.
    ///
    /// # Panics
    /// Never: no thread panics while it holds the lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.pull();
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

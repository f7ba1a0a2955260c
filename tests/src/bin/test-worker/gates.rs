//! Gates: handlers wait at them until the test lets them go, so that no test needs to guess a time.

use std::{collections::HashSet, io::stdin, sync::Arc};

use tokio::sync::watch;

/// The gates that are open. Cloning gives another handle to the same gates.
#[derive(Clone)]
pub(crate) struct Gates(Arc<watch::Sender<HashSet<String>>>);

impl Default for Gates {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::default()))
    }
}

impl Gates {
    /// Opens the gate that each line of stdin names. On a thread of its own: a runtime does not end
    /// while one of its tasks reads from stdin.
    pub(crate) fn listen(self) {
        std::thread::spawn(move || {
            for gate in stdin().lines().map_while(Result::ok) {
                self.0.send_modify(|open| {
                    open.insert(gate);
                });
            }
        });
    }

    /// Waits until a gate is open; one that is open stays so.
    pub(crate) async fn pass(&self, gate: &str) {
        let mut open = self.0.subscribe();
        let passed = open.wait_for(|open| open.contains(gate)).await;
        passed.expect("the gates outlive the handlers");
    }
}

//! The worker's exclusive timer: each run is reported, `turn` when it begins and `turned` when it ends.

use std::time::Duration;

use gatebus_tests::Entry;
use worker_sdk::{Gateway, HandlerResult, timer};

use crate::reports;

/// A name, a period, and how long a run takes, both in milliseconds: `NAME PERIOD TAKES`.
pub(crate) struct Turns {
    name: String,
    period: Duration,
    takes: Duration,
}

impl Turns {
    /// # Panics
    /// When it does not read so.
    pub(crate) fn read(text: &str) -> Self {
        let mut words = text.split(' ');
        let name = words.next().expect("a name").to_owned();
        let mut millis = || words.next().and_then(|n| n.parse().ok()).expect("a time");
        Self {
            name,
            period: Duration::from_millis(millis()),
            takes: Duration::from_millis(millis()),
        }
    }

    pub(crate) async fn begin(&self, worker: &str, gateway: &Gateway) -> HandlerResult {
        let (worker, takes) = (worker.to_owned(), self.takes);
        timer::exclusive(gateway, &self.name, self.period, move |_| {
            let report = {
                let worker = worker.clone();
                move |kind: &str| {
                    reports::write(Entry {
                        worker: worker.clone(),
                        kind: kind.to_owned(),
                        ..Entry::default()
                    });
                }
            };
            async move {
                report("turn");
                tokio::time::sleep(takes).await;
                report("turned");
                Ok(())
            }
        })
        .await?;
        Ok(())
    }
}

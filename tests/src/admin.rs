//! The admin port of a gateway or a worker.

use crate::{
    eventually,
    http::{self, Answer},
    log::Log,
};

/// `/livez`, `/readyz` and `/metrics` of a process of a test.
#[derive(Debug, Clone, Copy)]
pub struct Admin(u16);

impl Admin {
    /// The one that the process says in its log.
    pub async fn of(log: &Log) -> Self {
        let pick = |line: &str| leading_number(line.split_once("admin on http://127.0.0.1:")?.1);
        Self(log.find("admin on …", pick).await)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> Answer {
        http::get(self.0, path).await
    }

    /// Whether it says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let answer = http::try_get(self.0, "/readyz").await;
        answer.is_some_and(|a| a.status == 200)
    }

    /// Waits until it says that it is ready, or that it is not.
    pub async fn wait_ready(&self, ready: bool) {
        eventually(format!("/readyz to say {ready}"), || async {
            (self.is_ready().await == ready).then_some(())
        })
        .await;
    }

    /// The sum of all samples of a metric whose labels hold this text; 0 where there is none.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let body = self.get("/metrics").await.body;
        let samples = body.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
                && line.contains(labels)
        });
        samples
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Waits until a metric is at least so much.
    pub async fn wait_metric(&self, name: &str, labels: &str, at_least: f64) {
        eventually(
            format!("metric {name}{{{labels}}} >= {at_least}"),
            || async { (self.metric(name, labels).await >= at_least).then_some(()) },
        )
        .await;
    }
}

pub(crate) fn leading_number(text: &str) -> Option<u16> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text[..end.unwrap_or(text.len())].parse().ok()
}

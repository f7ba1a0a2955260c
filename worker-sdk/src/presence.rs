//! Presence: how others know of a worker. Beats, answers to `who`, and to `nats micro ls`.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt, StreamExt, stream::SelectAll};
use tokio::{sync::watch, task::JoinHandle, time::MissedTickBehavior};
use wire::{
    EventKind, NodeState, ServiceName, WorkerBeat, beat,
    micro::{self, Verb},
};

use crate::{Error, Gateway, outbox::Letter, tally::Tally};

/// Answers to `who` are spread over this, so that not all speak at once.
const JITTER: Duration = Duration::from_millis(50);

/// A worker that is known to others until it leaves.
pub(crate) struct Presence {
    profile: Arc<Profile>,
    state: watch::Sender<NodeState>,
    task: JoinHandle<()>,
}

/// What a worker says of itself.
pub(crate) struct Profile {
    pub(crate) gateway: Gateway,
    pub(crate) service: ServiceName,
    pub(crate) concurrency: usize,
    pub(crate) tally: Arc<Tally>,
    pub(crate) host: String,
    pub(crate) started: SystemTime,
}

impl Presence {
    /// Beats from now on.
    pub(crate) async fn begin(profile: Profile) -> Result<Self, Error> {
        let link = profile.gateway.link();
        let mut who = link.subscribe(link.subjects.who()).await?;
        let mut questions = SelectAll::new();
        let id = link.id.to_string();
        for verb in Verb::ALL {
            for subject in micro::subjects(verb, micro::WORKER, &id) {
                let asked = link.subscribe(subject).await?;
                questions.push(asked.map(move |message| (verb, message)));
            }
        }
        let (state, mut changes) = watch::channel(NodeState::Ready);
        let profile = Arc::new(profile);
        let speaker = profile.clone();
        let task = tokio::spawn(async move {
            let mut second = tokio::time::interval(Duration::from_millis(beat::INTERVAL_MS));
            second.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = second.tick() => {}
                    changed = changes.changed() => if changed.is_err() { return },
                    Some(_) = who.next() => {
                        tokio::time::sleep(rand::random_range(Duration::ZERO..JITTER)).await;
                        // One beat answers all who asked meanwhile.
                        while who.next().now_or_never().flatten().is_some() {}
                    }
                    Some((verb, question)) = questions.next() => {
                        if let Some(reply) = question.reply {
                            speaker.answer(verb, &reply);
                        }
                        continue;
                    }
                }
                speaker.beat(*changes.borrow());
            }
        });
        Ok(Self {
            profile,
            state,
            task,
        })
    }

    /// Beats at once, saying this.
    pub(crate) fn say(&self, state: NodeState) {
        self.state.send_replace(state);
    }

    /// The last beat.
    pub(crate) async fn leave(mut self) {
        self.task.abort();
        // Cancelled, as asked; after this no beat can follow the last one.
        let _ = (&mut self.task).await;
        self.profile.beat(NodeState::Leaving);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Profile {
    fn beat(&self, state: NodeState) {
        let link = self.gateway.link();
        let beat = WorkerBeat {
            worker: link.id,
            service: self.service.clone(),
            state,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.host.clone(),
            started: self
                .started
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |t| t.as_secs()),
            running: self.tally.running(),
            concurrency: self.concurrency as u64,
            handled: self.tally.handled(),
            failed: self.tally.failed(),
        };
        let subject = link.subjects.worker_beat(link.id);
        if let Err(error) = link.publish(subject, wire::encode(&beat)) {
            tracing::debug!(%error, "a beat is left out");
        }
    }

    fn answer(&self, verb: Verb, reply: &str) {
        let link = self.gateway.link();
        let sent = link.outbox.publish(Letter {
            subject: reply.to_owned(),
            reply: None,
            payload: self.describe(verb),
        });
        if let Err(error) = sent {
            tracing::debug!(%error, "an answer is left out");
        }
    }

    /// The answer to a verb of ADR-32.
    fn describe(&self, verb: Verb) -> Vec<u8> {
        let link = self.gateway.link();
        let stats = verb == Verb::Stats;
        let subject = link.subjects.events_many(&self.service);
        let names = EventKind::ALL.map(EventKind::token).join(", ");
        let description = format!("events of the service {}: {names}", self.service);
        let metadata = BTreeMap::from([
            ("prefix", link.subjects.prefix().to_string()),
            ("service", self.service.to_string()),
            ("host", self.host.clone()),
        ]);
        let started = humantime::format_rfc3339_millis(self.started).to_string();
        let endpoint = micro::Endpoint {
            name: "events",
            subject: &subject,
            queue_group: &self.service,
            num_requests: stats.then(|| self.tally.handled()),
            num_errors: stats.then(|| self.tally.failed()),
            last_error: None,
            processing_time: stats.then_some(0),
            average_processing_time: stats.then_some(0),
        };
        let reply = micro::Reply {
            kind: verb.kind(),
            name: micro::WORKER,
            id: &link.id.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            metadata: &metadata,
            description: (verb == Verb::Info).then_some(&description),
            endpoints: (verb != Verb::Ping).then(|| vec![endpoint]),
            started: stats.then_some(&started),
        };
        serde_json::to_vec(&reply).unwrap_or_default()
    }
}

/// The host's name, as far as it can be known without asking anybody.
pub(crate) fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

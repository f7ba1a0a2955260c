//! The bus: one connection to NATS, who is heard on it, and what they answer.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use serde::Serialize;
use tokio::time::{Instant, sleep_until, timeout_at};
use wire::{Answer, AnswerError, GatewayId, Request, Subjects, beat, subject::last_token};

use super::roster::Roster;
use crate::{
    config::NatsConfig,
    link::{Dialer, Link, LinkEvent, Message, Talk},
};

/// Who is there beats within this, also if our call for it got lost.
const CENSUS: Duration = Duration::from_millis(beat::INTERVAL_MS + 100);
/// The status with which NATS says that nobody is there.
const NO_RESPONDERS: u16 = 503;

/// Numbers of the subscriptions.
const ANSWERS: u64 = 1;
const GATEWAY_BEATS: u64 = 2;
const WORKER_BEATS: u64 = 3;

/// A connection, with the roster of who was heard.
pub(super) struct Bus {
    link: Link,
    pub(super) subjects: Subjects,
    pub(super) roster: Roster,
    timeout: Duration,
    /// Where answers go: this and the number of the question.
    inbox: String,
    asked: u64,
    /// When everybody who is there has been heard.
    census: Instant,
}

/// What a question brought.
#[derive(Debug)]
pub(super) enum Reply {
    Answer(Answer),
    /// Nobody listens on that subject.
    Nobody,
}

/// What all gateways answered.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) answers: BTreeMap<GatewayId, Answer>,
    pub(super) gaps: Gaps,
}

/// Who is missing in what was found out.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// Gateways that beat, and gave no answer that is one.
    pub(super) missing: Vec<GatewayId>,
    /// The same, for people.
    pub(super) trouble: Vec<String>,
}

impl Gaps {
    pub(super) fn silent(&mut self, gateway: GatewayId) {
        self.missing.push(gateway);
        self.trouble
            .push(format!("gateway {gateway} does not answer"));
    }

    pub(super) fn repeats(&mut self, gateway: GatewayId) {
        self.missing.push(gateway);
        self.trouble
            .push(format!("gateway {gateway} gives the same page again"));
    }

    pub(super) fn refused(&mut self, gateway: GatewayId, error: AnswerError) {
        self.missing.push(gateway);
        let why = match error {
            AnswerError::Malformed => "it does not understand this; is it of an older version?",
            _ => "it cannot do this",
        };
        self.trouble.push(format!("gateway {gateway}: {why}"));
    }
}

impl Bus {
    /// Connects; an error if it takes longer than that.
    pub(super) async fn connect(nats: NatsConfig, timeout: Duration) -> Result<Self, String> {
        let servers: Vec<_> = nats.servers.iter().map(ToString::to_string).collect();
        let link = Link::new(Dialer {
            servers: nats.servers,
            credentials: nats.credentials,
            tls: nats.tls,
            name: "gatebus ctl".to_owned(),
            talk: Talk::default(),
        });
        let now = Instant::now();
        let mut bus = Self {
            link,
            subjects: Subjects::new(nats.prefix),
            roster: Roster::default(),
            timeout,
            inbox: format!("_INBOX.{:032x}.", rand::random::<u128>()),
            asked: 0,
            census: now,
        };
        while !bus.link.is_ready() {
            if timeout_at(now + timeout, bus.next()).await.is_err() {
                let servers = servers.join(", ");
                return Err(format!(
                    "no connection to NATS ({servers}) within {timeout:?}"
                ));
            }
        }
        Ok(bus)
    }

    /// Calls for everybody's beat.
    pub(super) async fn call(&mut self) {
        let who = self.subjects.who();
        // Who is not reached beats of itself.
        let _ = self.link.publish(who, None, b"");
        self.census = Instant::now() + CENSUS;
        self.listen_until(sleep_until(self.census)).await;
    }

    /// Hears beats until something else is over.
    pub(super) async fn listen_until<T>(&mut self, over: impl Future<Output = T>) {
        let mut over = pin!(over);
        loop {
            tokio::select! {
                biased;
                message = self.next() => if let Some(message) = message {
                    self.roster.hear(&message, message.sid == WORKER_BEATS);
                },
                _ = &mut over => break,
            }
        }
        self.roster.expire();
    }

    /// Whether there is a connection at this moment.
    pub(super) fn is_connected(&self) -> bool {
        self.link.is_ready()
    }

    /// Puts a question, and returns its number.
    fn ask(&mut self, subject: &str, payload: &impl Serialize) -> u64 {
        self.asked += 1;
        let reply = format!("{}{}", self.inbox, self.asked);
        // Without a connection nobody answers, which is what the caller sees.
        let _ = self
            .link
            .publish(subject, Some(reply.as_bytes()), &wire::encode(payload));
        self.asked
    }

    /// The next reply to a question, until the deadline.
    async fn reply(&mut self, question: u64, deadline: Instant) -> Option<Reply> {
        loop {
            let Some(message) = timeout_at(deadline, self.next()).await.ok()? else {
                continue;
            };
            if message.sid != ANSWERS {
                self.roster.hear(&message, message.sid == WORKER_BEATS);
                continue;
            }
            let subject = std::str::from_utf8(&message.subject).unwrap_or_default();
            if last_token(subject).parse() != Ok(question) {
                continue;
            }
            if message.status() == Some(NO_RESPONDERS) {
                return Some(Reply::Nobody);
            }
            match wire::decode(&message.payload) {
                Ok(answer) => return Some(Reply::Answer(answer)),
                Err(e) => tracing::warn!("an answer does not decode: {e}"),
            }
        }
    }

    /// Asks one; `None` if there is no answer in time.
    pub(super) async fn ask_one(
        &mut self,
        subject: &str,
        payload: &impl Serialize,
    ) -> Option<Reply> {
        let deadline = Instant::now() + self.timeout;
        let question = self.ask(subject, payload);
        self.reply(question, deadline).await
    }

    /// Asks all gateways.
    pub(super) async fn ask_all(&mut self, request: &Request) -> Gathered {
        let wanted = self.roster.gateways();
        self.ask_these(&self.subjects.all(), request, wanted).await
    }

    /// Asks on a subject on which these gateways listen, and waits for them.
    pub(super) async fn ask_these(
        &mut self,
        subject: &str,
        payload: &impl Serialize,
        wanted: Vec<GatewayId>,
    ) -> Gathered {
        let mut gathered = Gathered::default();
        if wanted.is_empty() {
            return gathered;
        }
        let deadline = Instant::now() + self.timeout;
        let question = self.ask(subject, payload);
        let answered = |g: &Gathered| wanted.iter().all(|id| g.answers.contains_key(id));
        while !answered(&gathered) {
            match self.reply(question, deadline).await {
                Some(Reply::Answer(answer)) => {
                    gathered.answers.insert(answer.gateway, answer);
                }
                Some(Reply::Nobody) | None => break,
            }
        }
        for id in wanted {
            match gathered.answers.get(&id).map(|answer| answer.error) {
                Some(None) => {}
                Some(Some(error)) => gathered.gaps.refused(id, error),
                None => gathered.gaps.silent(id),
            }
        }
        gathered.answers.retain(|_, answer| answer.error.is_none());
        gathered
    }

    /// A message, or nothing if something happened to the connection. Cancel safe.
    async fn next(&mut self) -> Option<Message> {
        poll_fn(|cx| {
            loop {
                match self.link.poll_event(cx) {
                    Poll::Ready(LinkEvent::Message(message)) => return Poll::Ready(Some(message)),
                    Poll::Ready(LinkEvent::Up) => {
                        let answers = format!("{}*", self.inbox);
                        self.link.subscribe(ANSWERS, &answers);
                        let beats = self.subjects.gateway_beats();
                        self.link.subscribe(GATEWAY_BEATS, &beats);
                        self.link
                            .subscribe(WORKER_BEATS, &self.subjects.worker_beats());
                        self.link.flush();
                    }
                    Poll::Ready(LinkEvent::Ready | LinkEvent::Down) => {
                        return Poll::Ready(None);
                    }
                    Poll::Pending => match self.link.poll_write(cx) {
                        Some(_) => return Poll::Ready(None),
                        None => return Poll::Pending,
                    },
                }
            }
        })
        .await
    }
}

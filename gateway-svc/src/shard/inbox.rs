//! What comes from NATS: subscriptions by number, and who gets their messages.

use std::sync::atomic::Ordering::Relaxed;

use bytestring::ByteString;
use rand::RngExt;
use tracing::warn;
use wire::{
    AckMessage, Answer, AnswerError, Command, Order, OrderKind, Payload, Request, micro,
    subject::{RAW_HEADER, conn, conns},
};

use super::Shard;
use crate::{
    hub::{Interest, TopicKind},
    link::Message,
    shard::apply::Target,
    topics::TopicId,
};

/// The subscriptions that a shard always has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fixed {
    Acks,
    AckReplies,
    Clients,
    All,
    Gateway,
    Who,
    Process,
    Micro(micro::Verb),
}

impl Fixed {
    /// Numbers from 1; each verb has three subjects.
    fn of(sid: u64) -> Option<Self> {
        Some(match sid {
            1 => Self::Acks,
            2 => Self::AckReplies,
            3 => Self::Clients,
            4 => Self::All,
            5 => Self::Gateway,
            6 => Self::Who,
            7 => Self::Process,
            10..=18 => Self::Micro(micro::Verb::ALL[((sid - 10) / 3) as usize]),
            _ => return None,
        })
    }
}

/// Numbers of topics begin here: generation, place and kind, so that a number is never used for two names.
const TOPICS: u64 = 64;

pub(super) const fn topic_sid(kind: TopicKind, id: TopicId) -> u64 {
    TOPICS
        + ((id.generation as u64) << 33
            | (id.index as u64) << 1
            | matches!(kind, TopicKind::Group) as u64)
}

fn topic(sid: u64) -> Option<(TopicKind, TopicId)> {
    let n = sid.checked_sub(TOPICS)?;
    let kind = if n & 1 == 1 {
        TopicKind::Group
    } else {
        TopicKind::Uid
    };
    let index = u32::try_from(n >> 1 & 0xffff_ffff).ok()?;
    let generation = u32::try_from(n >> 33).ok()?;
    Some((kind, TopicId { index, generation }))
}

/// The status with which NATS says that nobody is there.
const NO_RESPONDERS: u16 = 503;

/// What only the inbox keeps.
#[derive(Debug, Default)]
pub(super) struct Sids {
    /// When malformed messages were last spoken of, and how many came since.
    said: Option<std::time::Instant>,
    unsaid: u64,
}

impl Shard {
    /// Subscribes to everything, on a new link.
    pub(super) fn subscribe_all(&mut self) {
        let (gateway, subjects) = (self.gateway, &self.subjects);
        self.link.subscribe(1, &subjects.acks(gateway));
        self.link.subscribe(2, &subjects.ack_replies(gateway));
        self.link.subscribe(3, &subjects.clients(gateway));
        self.link.subscribe(4, &subjects.all());
        self.link.subscribe(5, &subjects.gateway(gateway));
        self.link.subscribe(6, &subjects.who());
        let process = subjects.process(self.process.id());
        self.link.subscribe(7, &process);
        let id = gateway.to_string();
        for (i, verb) in (0..).zip(micro::Verb::ALL) {
            for (j, subject) in (0..).zip(micro::subjects(verb, micro::GATEWAY, &id)) {
                self.link.subscribe(10 + i * 3 + j, &subject);
            }
        }
        for kind in [TopicKind::Uid, TopicKind::Group] {
            for (id, name) in self.hub.topics(kind).all() {
                let subject = topic_subject(&self.subjects, kind, name);
                self.link.subscribe(topic_sid(kind, id), &subject);
            }
        }
    }

    /// Subscribes to the uid or group that has its first client here.
    pub(super) fn subscribe(&mut self, interest: Interest) {
        let Interest { kind, id } = interest;
        let name = self.hub.topics(kind).name(id.index);
        let subject = topic_subject(&self.subjects, kind, name);
        self.link.subscribe(topic_sid(kind, id), &subject);
    }

    /// A message from NATS.
    pub(super) fn receive(&mut self, message: &Message) {
        // what may stand in a subject that comes here is ASCII; anything else names nobody
        let subject = std::str::from_utf8(&message.subject).unwrap_or_default();
        match Fixed::of(message.sid) {
            Some(Fixed::AckReplies) if message.status() == Some(NO_RESPONDERS) => {
                let many = conns(subject).nth(1).is_some();
                for conn in conns(subject) {
                    if let Some(slot) = self.hub.find(conn) {
                        self.refused(slot, many);
                    }
                }
            }
            Some(Fixed::Acks | Fixed::AckReplies) => self.acks(message),
            Some(Fixed::Clients) => {
                let slot = conn(subject).and_then(|conn| self.open_client(conn));
                self.request(slot.map_or(Target::Nobody, Target::Client), message);
            }
            Some(Fixed::All) => self.request(Target::All, message),
            Some(Fixed::Gateway) => self.request(Target::Gateway, message),
            Some(Fixed::Who) => {
                // everybody answers, but not all at once
                let jitter = rand::rng().random_range(0..50);
                self.ticker.beat_by(self.now() + jitter);
            }
            Some(Fixed::Process) => self.order(message),
            Some(Fixed::Micro(verb)) => self.micro(verb, message),
            None => {
                if let Some((kind, id)) = topic(message.sid)
                    && let Some(topic) = self.hub.topics(kind).current(id)
                {
                    self.request(Target::Topic(kind, topic), message);
                }
            }
        }
    }

    fn acks(&mut self, message: &Message) {
        match wire::decode::<AckMessage>(&message.payload) {
            Ok(acks) => {
                let AckMessage { worker, many, acks } = acks;
                acks.into_iter().for_each(|ack| self.ack(worker, many, ack));
            }
            Err(e) => self.malformed(&message.subject, &e.to_string()),
        }
    }

    /// A command or a query for a target.
    fn request(&mut self, target: Target, message: &Message) {
        let decode = || wire::decode::<Request>(&message.payload).map_err(|e| e.to_string());
        let request = match raw(message) {
            None => decode(),
            // a raw message has no room for the name, so the subscription that it came by stands for it
            Some(Ok(request)) => Ok(match target {
                Target::Topic(kind, topic) => request.to(&**self.hub.topics(kind).name(topic)),
                _ => request,
            }),
            Some(Err(e)) => Err(e),
        };
        let answer = match request {
            Ok(request) => self.answer(target, &request),
            Err(e) => {
                self.malformed(&message.subject, &e);
                Some(Answer::error(self.gateway, AnswerError::Malformed))
            }
        };
        if let (Some(reply), Some(answer)) = (&message.reply, answer) {
            self.reply(reply, &wire::encode(&answer));
        }
    }

    /// An order to the process. Each shard answers for its own clients.
    fn order(&mut self, message: &Message) {
        let answer = match wire::decode::<Order>(&message.payload) {
            Ok(Order {
                what: OrderKind::Drain,
            }) => {
                self.process.order_drain();
                Answer::count(self.gateway, self.open)
            }
            Err(e) => {
                self.malformed(&message.subject, &e.to_string());
                Answer::error(self.gateway, AnswerError::Malformed)
            }
        };
        if let Some(reply) = &message.reply {
            self.reply(reply, &wire::encode(&answer));
        }
    }

    /// Answers a request, if NATS takes the answer. Who asked will run out of time otherwise.
    fn reply(&mut self, reply: &[u8], payload: &[u8]) {
        if let Err(why) = self.link.publish(reply, None, payload) {
            self.metrics.unsent.inc();
            tracing::debug!(?why, "an answer is dropped");
        }
    }

    /// Counts a message that cannot be understood, and says so at most once a second.
    fn malformed(&mut self, subject: &[u8], why: &str) {
        self.metrics.malformed.inc();
        self.sids.unsaid += 1;
        if self.sids.said.is_none_or(|at| at.elapsed().as_secs() >= 1) {
            let subject = String::from_utf8_lossy(subject);
            warn!(
                %subject,
                why,
                dropped = self.sids.unsaid,
                "a malformed message is dropped"
            );
            self.sids.said = Some(std::time::Instant::now());
            self.sids.unsaid = 0;
        }
    }

    /// Says that the process is there, if this shard speaks for it.
    pub(super) fn beat(&mut self) {
        if self.process.speaker() == Some(self.number) {
            let beat = wire::encode(&self.process.beat());
            let subject = self.subjects.gateway_beat(self.process.id());
            // who misses one hears the next
            let _ = self.link.publish(subject, None, &beat);
        }
    }

    /// Answers `nats micro ls` and its kin (ADR-32).
    fn micro(&mut self, verb: micro::Verb, message: &Message) {
        let Some(reply) = &message.reply else {
            return;
        };
        let id = self.gateway.to_string();
        let status = self.process.shard(self.number);
        let metadata = [
            ("prefix", self.subjects.prefix().to_string()),
            ("process", self.process.id().to_string()),
            ("host", self.process.host().to_owned()),
            ("clients", status.clients.load(Relaxed).to_string()),
        ]
        .into();
        let started = humantime::format_rfc3339_seconds(
            std::time::UNIX_EPOCH + std::time::Duration::from_secs(self.process.started()),
        )
        .to_string();
        let stats = verb == micro::Verb::Stats;
        let subject = self.subjects.clients(self.gateway);
        let endpoint = micro::Endpoint {
            name: "client",
            subject: &subject,
            queue_group: "",
            num_requests: stats.then(|| self.metrics.commands.get() + self.metrics.queries.get()),
            num_errors: stats.then(|| self.metrics.malformed.get()),
            last_error: stats.then_some(""),
            processing_time: stats.then_some(0),
            average_processing_time: stats.then_some(0),
        };
        let answer = micro::Reply {
            kind: verb.kind(),
            name: micro::GATEWAY,
            id: &id,
            version: env!("CARGO_PKG_VERSION"),
            metadata: &metadata,
            description: (verb == micro::Verb::Info).then_some("Holds clients' connections"),
            endpoints: (verb != micro::Verb::Ping).then(|| vec![endpoint]),
            started: stats.then_some(started.as_str()),
        };
        let json = serde_json::to_vec(&answer).expect("plain data");
        self.reply(reply, &json);
    }
}

fn topic_subject(subjects: &wire::Subjects, kind: TopicKind, name: &str) -> String {
    match kind {
        TopicKind::Uid => subjects.uid(&wire::Uid::new(name).expect("it was one")),
        TopicKind::Group => subjects.group(&wire::Group::new(name).expect("it was one")),
    }
}

/// A send whose body is the raw payload, if the header says so.
fn raw(message: &Message) -> Option<Result<Request, String>> {
    let header = message.header(RAW_HEADER)?;
    let body = bytes::Bytes::copy_from_slice(&message.payload);
    let payload = match header {
        b"text" => match ByteString::try_from(body) {
            Ok(text) => Payload::Text(text),
            Err(_) => return Some(Err("the body of a raw text message is not UTF-8".into())),
        },
        b"binary" => Payload::Binary(body),
        _ => return Some(Err(format!("{RAW_HEADER} is `text` or `binary`"))),
    };
    Some(Ok(Request::command(Command::Send(payload))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_number_names_its_topic() {
        for kind in [TopicKind::Uid, TopicKind::Group] {
            for (index, generation) in [(0, 1), (1, 1), (u32::MAX, 7), (3, u32::MAX >> 1)] {
                let id = TopicId { index, generation };
                assert_eq!(topic(topic_sid(kind, id)), Some((kind, id)));
                assert_eq!(Fixed::of(topic_sid(kind, id)), None);
            }
        }
    }
}

//! The link: what a process and its bus have between them.
//!
//! Every handle of a process shares one: the way out ([`Outbox`]), the calls that wait for answers
//! ([`Replies`]) and the gateways that are known ([`Roster`]).

use std::{pin::pin, sync::Arc, time::Duration};

use async_nats::{StatusCode, connection::State};
use futures_util::StreamExt;
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout, timeout_at},
};
use wire::{GatewayId, ServiceName, ShardBeat, Subjects, WorkerId};

use crate::{
    Error, ErrorKind,
    bind::Binds,
    connect,
    outbox::{Letter, OVERHEAD, Outbox, Queue},
    replies::{Replies, Reply},
    roster::Roster,
    settings::Settings,
    testing::Hub,
    timer::Timers,
    weather::Weather,
};

/// An echo that took longer may have been lost on the way.
const ECHO_AGAIN: Duration = Duration::from_secs(1);

/// Longer than any process lives; what is above could not be added to a time.
pub(crate) const LONG: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

pub(crate) struct Link {
    pub(crate) id: WorkerId,
    /// Of a worker: what it works for.
    pub(crate) service: Option<ServiceName>,
    pub(crate) subjects: Subjects,
    pub(crate) outbox: Outbox,
    pub(crate) replies: Arc<Replies>,
    pub(crate) roster: Roster,
    pub(crate) timers: Timers,
    pub(crate) binds: Binds,
    pub(crate) query_timeout: Duration,
    pub(crate) weather: Arc<Weather>,
    way: Way,
}

enum Way {
    Nats {
        client: async_nats::Client,
        inbox: AbortHandle,
    },
    Memory,
}

impl Link {
    /// Connects, see [`connect::connect`].
    pub(crate) async fn connect(settings: &Settings) -> Result<Arc<Self>, Error> {
        let weather = Arc::default();
        let client = connect::connect(settings, &weather).await?;
        let id = WorkerId::from_bytes(rand::random());
        let subjects = Subjects::new(settings.prefix.clone());
        let replies = Replies::new(client.new_inbox());
        let queue = Arc::new(Queue::new(settings.outbox_limit));

        let mut answers = client
            .subscribe(replies.subject())
            .await
            .map_err(cannot_subscribe)?;
        let waiting = replies.clone();
        let inbox = tokio::spawn(async move {
            while let Some(message) = answers.next().await {
                let nobody = message.status == Some(StatusCode::NO_RESPONDERS);
                waiting.deliver(&message.subject, nobody, &message.payload);
            }
        })
        .abort_handle();
        tokio::spawn(queue.clone().drain(client.clone(), id, subjects.clone()));

        Ok(Arc::new(Self {
            id,
            service: settings.service.clone(),
            subjects,
            outbox: Outbox::Nats(queue),
            replies,
            roster: Roster::default(),
            timers: Timers::default(),
            binds: Binds::default(),
            query_timeout: settings.query_timeout,
            weather,
            way: Way::Nats { client, inbox },
        }))
    }

    /// A link to the in-memory gateway of the test entrance.
    pub(crate) fn memory(hub: Arc<Hub>) -> Arc<Self> {
        Arc::new(Self {
            id: WorkerId::from_bytes(rand::random()),
            service: None,
            subjects: hub.subjects.clone(),
            replies: hub.replies.clone(),
            roster: Roster::fixed(hub.gateway),
            timers: Timers::default(),
            binds: Binds::default(),
            outbox: Outbox::Memory(hub),
            query_timeout: Duration::from_secs(3),
            weather: Arc::default(),
            way: Way::Memory,
        })
    }

    /// A link whose outbox nobody takes out, so that a test can look into it.
    #[cfg(test)]
    pub(crate) fn stuck(queue: Arc<Queue>) -> Arc<Self> {
        let mut link = Arc::into_inner(Self::memory(Arc::new(Hub::new()))).expect("the only one");
        link.outbox = Outbox::Nats(queue);
        Arc::new(link)
    }

    /// Publishes without waiting for anything.
    pub(crate) fn publish(&self, subject: String, payload: Vec<u8>) -> Result<(), Error> {
        self.check_len(payload.len())?;
        self.outbox.publish(Letter {
            subject,
            reply: None,
            payload,
        })
    }

    /// Publishes several messages without waiting for anything, all of them or none.
    pub(crate) fn publish_all(&self, letters: Vec<Letter>) -> Result<(), Error> {
        for letter in &letters {
            self.check_len(letter.payload.len())?;
        }
        self.outbox.publish_all(letters)
    }

    /// Publishes with a subject for answers.
    pub(crate) fn ask(
        &self,
        subject: String,
        reply: String,
        payload: Vec<u8>,
    ) -> Result<(), Error> {
        self.check_len(payload.len())?;
        self.outbox.publish(Letter {
            subject,
            reply: Some(reply),
            payload,
        })
    }

    /// Whether a message of so many bytes may travel.
    pub(crate) fn check_len(&self, len: usize) -> Result<(), Error> {
        let most = match &self.way {
            Way::Nats { client, .. } => client.max_payload(),
            Way::Memory => 1024 * 1024,
        };
        if len + OVERHEAD > most {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("{len} bytes do not fit a message of at most {most}"),
            ));
        }
        Ok(())
    }

    /// The NATS client; none in the test entrance.
    pub(crate) fn nats(&self) -> Option<&async_nats::Client> {
        match &self.way {
            Way::Nats { client, .. } => Some(client),
            Way::Memory => None,
        }
    }

    /// Whether the bus can be reached at this moment, as far as is known.
    pub(crate) fn is_connected(&self) -> bool {
        self.nats()
            .is_none_or(|nats| nats.connection_state() == State::Connected)
    }

    pub(crate) async fn subscribe(&self, subject: String) -> Result<async_nats::Subscriber, Error> {
        let nats = self.nats().ok_or_else(nothing_to_subscribe_to)?;
        nats.subscribe(subject).await.map_err(cannot_subscribe)
    }

    pub(crate) async fn queue_subscribe(
        &self,
        subject: String,
        group: String,
    ) -> Result<async_nats::Subscriber, Error> {
        let nats = self.nats().ok_or_else(nothing_to_subscribe_to)?;
        nats.queue_subscribe(subject, group)
            .await
            .map_err(cannot_subscribe)
    }

    /// Resolves when the server has processed everything that was published and subscribed before,
    /// and everything it had sent by then has been received.
    pub(crate) async fn round_trip(&self) -> Result<(), Error> {
        if let Outbox::Nats(queue) = &self.outbox {
            queue.flush().await?;
            let mut call = self.replies.open();
            let subject = call.subject();
            let echo = async { while !matches!(call.next().await, Some(Reply::Echo) | None) {} };
            let mut echo = pin!(echo);
            'again: loop {
                self.outbox.publish_promised(Letter {
                    subject: subject.clone(),
                    reply: None,
                    payload: Vec::new(),
                });
                // A reconnect loses what was on the way, the echo too: then ask again.
                while timeout(ECHO_AGAIN, &mut echo).await.is_err() {
                    if self.is_connected() {
                        continue 'again;
                    }
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// The gateways that are there.
    ///
    /// "None" is an answer only if we can hear: [`ErrorKind::Timeout`] while NATS is away.
    pub(crate) async fn gateways(&self) -> Result<Vec<GatewayId>, Error> {
        Box::pin(self.roster.watch(self)).await?;
        let known = self.roster.gateways();
        if !known.is_empty() {
            return Ok(known);
        }
        let round_trip = timeout_at(self.deadline(), Box::pin(self.round_trip()));
        round_trip.await.map_err(|_| {
            let says = "NATS is away, so nobody can be asked";
            Error::new(ErrorKind::Timeout, says)
        })??;
        self.roster.ask_again(self).await?;
        Ok(self.roster.gateways())
    }

    /// What the gateways that are there said that they have.
    pub(crate) fn shards(&self) -> Vec<ShardBeat> {
        match &self.outbox {
            Outbox::Memory(hub) => vec![hub.totals()],
            Outbox::Nats(_) => self.roster.shards(),
        }
    }

    /// When a question that is asked now has waited long enough.
    pub(crate) fn deadline(&self) -> Instant {
        deadline(self.query_timeout)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Way::Nats { inbox, .. } = &self.way {
            inbox.abort();
        }
        if let Outbox::Nats(queue) = &self.outbox {
            queue.close();
        }
    }
}

/// So long from now, or very long where that cannot be said.
pub(crate) fn deadline(time: Duration) -> Instant {
    Instant::now() + time.min(LONG)
}

fn cannot_subscribe(error: async_nats::SubscribeError) -> Error {
    Error::new(ErrorKind::Closed, "cannot subscribe").with(error)
}

fn nothing_to_subscribe_to() -> Error {
    Error::new(ErrorKind::Closed, "the in-memory gateway has no NATS")
}

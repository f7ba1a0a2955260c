//! The desk: handles one batch of events with your hooks, and acks it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
};

use futures_util::FutureExt;
use wire::{Ack, AckStatus, ClientId, EventBatch, EventKind};

use crate::{
    Client, Closed, Error, ErrorKind, Events, Gateway, HandlerResult, Handshake, Message, Retry,
    context::{self, Context},
    error,
    ledger::{Ledger, Verdict, plain},
    session::{Codec, Watch},
    tally::{Outcome, Tally},
};

/// What a worker handles events with.
pub(crate) struct Desk<E: Events> {
    pub(crate) events: E,
    pub(crate) gateway: Gateway,
    codec: Codec<E::Session>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) tally: Arc<Tally>,
}

/// How a batch went; the test entrance tells of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What the events that failed said.
    pub(crate) failures: Vec<String>,
    /// A handler asked for its event again.
    pub(crate) retry: bool,
}

/// One event of a batch.
enum Occasion {
    Connect,
    Websocket(Handshake),
    Message(Message),
    Close(Closed),
}

impl Occasion {
    const fn kind(&self) -> EventKind {
        match self {
            Self::Connect => EventKind::Connect,
            Self::Websocket(_) => EventKind::Websocket,
            Self::Message(_) => EventKind::Message,
            Self::Close(_) => EventKind::Close,
        }
    }
}

/// Why one event is not done.
enum Undone {
    /// It failed, and this is what it said.
    Failed(String),
    Retry,
}

impl<E: Events> Desk<E> {
    pub(crate) fn new(events: E, gateway: Gateway, tally: Arc<Tally>) -> Result<Self, Error> {
        Ok(Self {
            events,
            gateway,
            codec: Codec::new()?,
            ledger: Arc::default(),
            tally,
        })
    }

    /// Handles a batch, unless it is one that runs or ran already, and acks it.
    pub(crate) async fn handle(&self, kind: EventKind, batch: &mut EventBatch) -> Report {
        match self.admit(batch, true) {
            true => self.work(kind, batch).await,
            false => Report::default(),
        }
    }

    /// Whether a batch is to be handled now; if not, it is answered here. Without `room` it goes to
    /// somebody else, unless it is known here.
    pub(crate) fn admit(&self, batch: &EventBatch, room: bool) -> bool {
        self.tally.delivery(batch.attempt);
        match self.ledger.begin(batch, room) {
            Verdict::Run => return true,
            Verdict::Wait(ack) => self.ack(batch.client, Arc::new(ack)),
            Verdict::Again(ack) => self.ack(batch.client, ack),
        }
        false
    }

    /// Handles a batch that was admitted, and acks it, whatever happens.
    pub(crate) async fn work(&self, kind: EventKind, batch: &mut EventBatch) -> Report {
        let client = batch.client;
        let mut lost = plain(batch, AckStatus::Done);
        let events = batch.len();
        // Handlers are guarded one by one; this is for what is left, such as an error whose text
        // panics. Without an ack the client would wait for ever.
        let run = AssertUnwindSafe(self.run(kind, batch)).catch_unwind();
        let (ack, report) = run.await.unwrap_or_else(|panic| {
            self.tally.panic();
            let says = format!("a panic beside the handler: {}", context::said(&*panic));
            let mut report = Report::default();
            for _ in 0..events {
                self.failed(kind, &says, &mut lost, client, &mut report);
            }
            (lost, report)
        });
        self.tally.batch(kind);
        let ack = self.ledger.finish(client, ack);
        self.ack(client, ack);
        report
    }

    pub(crate) fn ack(&self, client: ClientId, ack: Arc<Ack>) {
        self.tally.ack(ack.status);
        self.gateway.link().outbox.ack(client.gateway, ack);
    }

    async fn run(&self, kind: EventKind, batch: &mut EventBatch) -> (Ack, Report) {
        let mut ack = plain(batch, AckStatus::Done);
        let mut report = Report::default();
        let begun = guarded(|| {
            let session = self.codec.decode(&batch.session)?;
            let watch = self.codec.watch(&session)?;
            Ok((session, watch))
        });
        let (session, mut watch) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                for _ in 0..batch.len() {
                    let says = error::chain(&error);
                    self.failed(kind, &says, &mut ack, batch.client, &mut report);
                }
                return (ack, report);
            }
        };
        let context = Context::new(batch.client, self.gateway.clone());
        let mut client = Client {
            session,
            context: context.clone(),
            uid: batch.uid.take(),
            remote: std::mem::take(&mut batch.remote),
            local: std::mem::take(&mut batch.local),
            attempt: batch.attempt,
        };
        let messages = std::mem::take(&mut batch.messages);
        let single = match kind {
            EventKind::Connect => Some(Occasion::Connect),
            EventKind::Websocket => Some(Occasion::Websocket(
                batch.handshake.take().unwrap_or_default().into(),
            )),
            EventKind::Close => batch.close.take().map(|e| Occasion::Close(e.into())),
            EventKind::Message => None,
        };
        let messages = messages.into_iter().map(|m| Occasion::Message(Message(m)));
        // Mapped late: an occasion is large, and this is kept while handlers wait.
        let connect = batch.connect.then_some(()).into_iter();
        let connect = connect.map(|()| Occasion::Connect);
        let occasions = connect.chain(single).chain(messages);
        for (done, occasion) in (0_u32..).zip(occasions) {
            context.begin();
            let kind = occasion.kind();
            match self
                .one(kind, &context, &mut client, &mut watch, occasion)
                .await
            {
                Ok(()) => self.tally.event(kind, Outcome::Done),
                Err(Undone::Failed(says)) => {
                    self.failed(kind, &says, &mut ack, batch.client, &mut report);
                }
                Err(Undone::Retry) => {
                    tracing::debug!(client = %batch.client, attempt = batch.attempt, "a handler asks for its event again");
                    self.tally.event(kind, Outcome::Retry);
                    context.discard();
                    ack.status = AckStatus::Retry;
                    ack.handled = done;
                    report.retry = true;
                    break;
                }
            }
        }
        ack.session = watch.change().unwrap_or_else(|error| {
            tracing::error!(client = %batch.client, error = error::chain(&error), "the session's changes are lost");
            None
        });
        ack.commands = context.take();
        (ack, report)
    }

    async fn one(
        &self,
        kind: EventKind,
        context: &Arc<Context>,
        client: &mut Client<E::Session>,
        watch: &mut Watch<E::Session>,
        occasion: Occasion,
    ) -> Result<(), Undone> {
        let began = self.tally.clock();
        let result = {
            // Pinned where it is made: a future may be large, and moving it is not free.
            let hook = pin!(async {
                match occasion {
                    Occasion::Connect => self.events.on_connect(client).await,
                    Occasion::Websocket(handshake) => {
                        self.events.on_websocket_connect(client, &handshake).await
                    }
                    Occasion::Message(message) => self.events.on_message(client, message).await,
                    Occasion::Close(close) => self.events.on_close(client, &close).await,
                }
            });
            context::run(context, hook).await
        };
        self.tally.took(kind, began);
        let failed = match result {
            Ok(Err(error)) if Retry::is_behind(&error) => return Err(Undone::Retry),
            Ok(result) => match (result, guarded(|| watch.commit(&client.session))) {
                (Ok(()), Ok(())) => return Ok(()),
                (Err(error), Ok(())) => {
                    return Err(Undone::Failed(error::chain(&*error)));
                }
                (_, Err(error)) => error::chain(&error),
            },
            Err(said) => {
                self.tally.panic();
                format!("the handler panicked: {said}")
            }
        };
        match guarded(|| watch.restore()) {
            Ok(session) => {
                client.session = session;
                Err(Undone::Failed(failed))
            }
            Err(error) => {
                let says = format!("{failed}; and then {}", error::chain(&error));
                Err(Undone::Failed(says))
            }
        }
    }

    fn failed(
        &self,
        kind: EventKind,
        says: &str,
        ack: &mut Ack,
        client: ClientId,
        report: &mut Report,
    ) {
        tracing::error!(%client, attempt = ack.attempt, error = says, "an event failed");
        self.tally.event(kind, Outcome::Failed);
        ack.failed += 1;
        report.failures.push(says.to_owned());
    }
}

/// Runs your session type's own code; a panic in it is an error like any other.
fn guarded<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let says = format!("the session type panicked: {}", context::said(&*panic));
        Err(Error::new(ErrorKind::Session, says))
    })
}

/// Runs a hook that belongs to no client; `Err` says what went wrong.
pub(crate) async fn hook(run: impl Future<Output = HandlerResult>) -> Result<(), String> {
    match AssertUnwindSafe(run).catch_unwind().await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error::chain(&*error)),
        Err(panic) => Err(format!("it panicked: {}", context::said(&*panic))),
    }
}

//! Queries: how many there are, and how gateways are asked.
//!
//! One request goes out, and the roster says which gateways must answer it. The answer names those
//! that did not.

use std::{collections::HashSet, time::Duration};

use tokio::time::{Instant, timeout_at};
use wire::{
    Answer, AnswerError, ClientId, GatewayId, Query, Request, RequestKind, session::MAX_SESSION,
};

use crate::{
    Error, ErrorKind, Target, context,
    link::Link,
    replies::{Call, Reply},
    target::Whom,
};

/// The pause before a gateway that has lost NATS is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// It grows to this where many may wait for the same gateway.
const ASK_RARELY: Duration = Duration::from_millis(800);

/// How many clients a target has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// Those of the gateways that answered.
    pub total: u64,
    /// Gateways that did not answer in time; empty if the total is complete.
    pub missing: Vec<GatewayId>,
}

impl Target {
    /// How many clients there are.
    pub async fn count(&self) -> Result<Count, Error> {
        let kind = RequestKind::Query(Query::Count);
        if let Whom::Client(id) = self.whom()? {
            let answer = self.ask_client(*id, kind).await?;
            return Ok(Count {
                total: answer.map_or(0, |a| a.count),
                missing: Vec::new(),
            });
        }
        let (answers, missing) = self.survey(kind).await?;
        Ok(Count {
            total: answers.iter().map(|a| a.count).sum(),
            missing,
        })
    }

    /// Whether there is a client at all.
    ///
    /// If no gateway knows the uid or group, NATS says so: that is one round trip, and no gateway is
    /// asked. [`ErrorKind::Timeout`] if no client was found, but not every gateway answered.
    ///
    /// A gateway that has lost NATS for the moment still has its clients, and NATS does not know it.
    /// While the beats show that there is one, this waits for it, and the error names it. Beats show
    /// it at once if another shard of its process has NATS, and after 1.5 s if none has. One that has
    /// been away for 2 s is waited for no more: then the error comes at once. Beats are heard from the
    /// first question of a process on. Until then such a gateway's uids and groups
    /// are taken for unknown: who must know better asks [`count`](Self::count), which waits for every
    /// gateway that is known.
    pub async fn is_online(&self) -> Result<bool, Error> {
        if let Whom::Uid(_) | Whom::Group(_) = self.whom()? {
            return Box::pin(self.is_anybody_there()).await;
        }
        let count = self.count().await?;
        if count.total == 0 && !count.missing.is_empty() {
            return Err(missing(&count.missing));
        }
        Ok(count.total > 0)
    }

    /// Asks those who listen, and only if that leaves it open, everybody.
    async fn is_anybody_there(&self) -> Result<bool, Error> {
        let link = self.gateway.link();
        let until = link.deadline();
        let count = || RequestKind::Query(Query::Count);
        let (subject, request) = self.request(count())?;
        let payload = wire::encode(&request);
        let mut call = link.replies.open();
        let mut pause = ASK_AGAIN;
        let lasting = loop {
            // Who comes back while we ask was in doubt before, and is not after.
            let mut cleared = link.roster.cleared();
            let before = link.roster.in_doubt(link).await?;
            context::overtaking();
            link.ask(subject.clone(), call.subject(), payload.clone())?;
            let found = first(link, &mut call, until).await?;
            let doubt = link.roster.in_doubt(link).await?;
            match found {
                Some(answer) if answer.count > 0 => return Ok(true),
                Some(_) => break doubt.lasting,
                None => {}
            }
            if before.gateways.is_empty() && doubt.gateways.is_empty() {
                return Ok(false);
            }
            if !doubt.lasting.is_empty() {
                return Err(away(&doubt.lasting));
            }
            if !doubt.gateways.is_empty() {
                if Instant::now() + ASK_AGAIN >= until {
                    return Err(missing(&doubt.gateways));
                }
                let next = (Instant::now() + pause).min(until - ASK_AGAIN);
                pause = ASK_RARELY.min(pause * 2);
                if timeout_at(next, cleared.changed()).await.is_err() {
                    continue;
                }
            }
            // What it listens to is known everywhere a moment after it is back.
            tokio::time::sleep(ASK_AGAIN).await;
        };
        // A gateway listens for a while after its last client left, so that answer decides nothing.
        let mut gateways = link.gateways().await?;
        gateways.retain(|gateway| !lasting.contains(gateway));
        let request = self.request_elsewhere(count())?;
        link.ask(link.subjects.all(), call.subject(), wire::encode(&request))?;
        let found = |answer: &Answer| answer.count > 0;
        let (answers, silent) = gather(link, &mut call, gateways, until, found).await?;
        match answers.iter().any(found) {
            false if !silent.is_empty() => Err(missing(&silent)),
            false if !lasting.is_empty() => Err(away(&lasting)),
            found => Ok(found),
        }
    }

    /// Asks the gateway of a client; `None` if that is gone.
    pub(crate) async fn ask_client(
        &self,
        id: ClientId,
        kind: RequestKind,
    ) -> Result<Option<Answer>, Error> {
        let (subject, request) = self.request(kind)?;
        self.ask_one(id.gateway, subject, &request).await
    }

    /// Asks one gateway about this target; `None` if it is gone.
    pub(crate) async fn ask_gateway(
        &self,
        gateway: GatewayId,
        kind: RequestKind,
    ) -> Result<Option<Answer>, Error> {
        let subject = self.gateway.link().subjects.gateway(gateway);
        let request = self.request_elsewhere(kind)?;
        self.ask_one(gateway, subject, &request).await
    }

    async fn ask_one(
        &self,
        gateway: GatewayId,
        subject: String,
        request: &Request,
    ) -> Result<Option<Answer>, Error> {
        let link = self.gateway.link();
        let ask = async {
            loop {
                if let Some(answer) = one(link, subject.clone(), request).await? {
                    return Ok(Some(answer));
                }
                // Nobody listens. Either the gateway is gone, or it has lost NATS and will be back,
                // with its clients.
                if !link.gateways().await?.contains(&gateway) {
                    return Ok(None);
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        let answer = timeout_at(link.deadline(), Box::pin(ask)).await;
        answer.unwrap_or_else(|_| Err(no_answer(link)))
    }

    /// Asks every gateway; the answers, and who gave none.
    async fn survey(&self, kind: RequestKind) -> Result<(Vec<Answer>, Vec<GatewayId>), Error> {
        let link = self.gateway.link();
        let request = self.request_elsewhere(kind)?;
        context::overtaking();
        let gateways = link.gateways().await?;
        Box::pin(many(link, link.subjects.all(), &request, gateways)).await
    }
}

/// The first answer to a request; `None` if nobody listens.
///
/// Those who wait are boxed, so that a handler which may wait, and does not, stays small.
async fn one(link: &Link, subject: String, request: &Request) -> Result<Option<Answer>, Error> {
    context::overtaking();
    let mut call = link.replies.open();
    link.ask(subject, call.subject(), wire::encode(request))?;
    first(link, &mut call, link.deadline()).await
}

/// The first answer; `None` if nobody listens.
async fn first(link: &Link, call: &mut Call, until: Instant) -> Result<Option<Answer>, Error> {
    loop {
        match timeout_at(until, call.next()).await {
            Ok(Some(Reply::Answer(answer))) => return check(answer).map(Some),
            Ok(Some(Reply::Nobody) | None) => return Ok(None),
            Ok(Some(Reply::Echo)) => {}
            Err(_) => return Err(no_answer(link)),
        }
    }
}

/// The answers of these gateways, and of any others that answer meanwhile; then who gave none.
pub(crate) async fn many(
    link: &Link,
    subject: String,
    request: &Request,
    gateways: Vec<GatewayId>,
) -> Result<(Vec<Answer>, Vec<GatewayId>), Error> {
    context::overtaking();
    let mut call = link.replies.open();
    link.ask(subject, call.subject(), wire::encode(request))?;
    gather(link, &mut call, gateways, link.deadline(), |_| false).await
}

/// Waits until these gateways answered, or until one answer is enough.
pub(crate) async fn gather(
    link: &Link,
    call: &mut Call,
    gateways: Vec<GatewayId>,
    deadline: Instant,
    enough: impl Fn(&Answer) -> bool,
) -> Result<(Vec<Answer>, Vec<GatewayId>), Error> {
    let mut open: HashSet<GatewayId> = gateways.into_iter().collect();
    let mut answers = Vec::new();
    while !open.is_empty() && !answers.last().is_some_and(&enough) {
        match timeout_at(deadline, call.next()).await {
            Ok(Some(Reply::Answer(answer))) => {
                open.remove(&answer.gateway);
                answers.push(check(answer)?);
            }
            Ok(Some(Reply::Echo)) => {}
            Ok(Some(Reply::Nobody) | None) | Err(_) => break,
        }
    }
    // Who left the roster meanwhile has no clients any more.
    let there = link.roster.gateways();
    open.retain(|gateway| there.contains(gateway));
    Ok((answers, open.into_iter().collect()))
}

/// That a client is gone is an answer like any other: it is none.
pub(crate) fn check(answer: Answer) -> Result<Answer, Error> {
    match answer.error {
        None => Ok(answer),
        Some(AnswerError::NoClient) => Ok(Answer::count(answer.gateway, 0)),
        Some(AnswerError::SessionTooLarge) => Err(Error::new(
            ErrorKind::Session,
            format!("the session would grow over its limit of {MAX_SESSION} bytes"),
        )),
        Some(AnswerError::Conflict) => Err(Error::conflict(answer.version)),
        Some(AnswerError::Malformed | AnswerError::Other) => Err(Error::new(
            ErrorKind::Refused,
            "a gateway does not understand the request",
        )),
    }
}

fn no_answer(link: &Link) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("no answer within {:?}", link.query_timeout),
    )
}

pub(crate) fn missing(gateways: &[GatewayId]) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("gateways that did not answer: {gateways:?}"),
    )
}

fn away(gateways: &[GatewayId]) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("gateways that are away from NATS, with their clients: {gateways:?}"),
    )
}

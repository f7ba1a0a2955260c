//! Binding a uid to one client alone, whatever others do at the same time.
//!
//! The steps stand in `subjects.md`, "One client for a uid", and the rule by which gateways decide
//! in `wire::claim`. The test runs them in every order against the in-memory gateway.
//!
//! A claim of which the caller is not told that it holds is taken back until the client's gateway has
//! answered: an answer that was lost may have been that of the settle.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};
use wire::{Answer, ClientId, CloseCode, Command, Policy, Rank, Request, RequestKind, Uid};

use crate::{
    Close, Error, ErrorKind, Gateway, Target,
    link::Link,
    query::{many, missing},
    target::Whom,
};

/// The pause before a claim is contested again that another stands against.
const AGAIN: Duration = Duration::from_millis(25);
/// So many binds of a process may be under way or being taken back; more are refused.
const MOST: usize = 4096;
/// The pause before a claim is taken back once more.
const BACK_AGAIN: Duration = Duration::from_secs(1);
/// A gateway that is silent so often, while NATS is there, is gone, and its clients with it.
const SILENCES: u32 = 30;
/// Tickets of attempts that begin at the same time differ by up to so much.
const SPREAD: u64 = 1 << 32;

/// What becomes of clients that have the uid already; see [`Target::bind_uid_with`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BindPolicy {
    /// They keep it: a uid has as many clients as are bound to it.
    #[default]
    Multi,
    /// They are closed, with code 4009 (`signed_in_elsewhere`): the newest stays.
    KickOld,
    /// They keep it, and the new one does not get it: the first stays.
    RejectNew,
}

/// What became of a [`bind_uid_with`](Target::bind_uid_with).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "it may say that the uid is not bound"]
pub enum Bound {
    /// The client has the uid, and what you send to the uid reaches it.
    Yes {
        /// How many others had to give way.
        kicked: u64,
    },
    /// Another client has the uid, and this one is as it was: [`BindPolicy::RejectNew`].
    Rejected,
    /// A newer one came while this one was bound, and this client is closed with code 4009, as it
    /// would have been a moment later: [`BindPolicy::KickOld`].
    Overtaken,
    /// The client is gone.
    Gone,
}

impl Bound {
    /// Whether the client has the uid.
    #[must_use]
    pub const fn is_bound(self) -> bool {
        matches!(self, Self::Yes { .. })
    }
}

/// Those with whom a bind speaks.
pub(crate) trait Parties {
    /// The answers of every gateway.
    fn everybody(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Vec<Answer>, Error>> + Send;
    /// The client's gateway: how many clients it was, one or none.
    fn own(&self, command: Command) -> impl Future<Output = Result<u64, Error>> + Send;
    /// The client's gateway, without an answer.
    fn tell(&self, command: Command) -> Result<(), Error>;
    /// A ticket above this one, which no other attempt has.
    fn ticket(&self, above: u64) -> u64;
    /// The client's gateway, until it has answered; nobody waits for it.
    fn insist(&self, command: Command);
    /// Lets others go on; an error when it has waited long enough.
    fn pause(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Binds a uid to one client alone.
pub(crate) async fn alone(
    parties: &impl Parties,
    client: ClientId,
    uid: &Uid,
    policy: Policy,
) -> Result<Bound, Error> {
    loop {
        let before = contest(parties, uid, None).await?;
        if policy == Policy::RejectNew && before.holder.is_some_and(|holder| holder != client) {
            return Ok(Bound::Rejected);
        }
        let rank = Rank {
            policy,
            ticket: parties.ticket(before.ticket),
            client,
        };
        let mut doubt = Doubt {
            parties,
            withdraw: Some(withdraw(uid, &rank)),
        };
        let bound = attempt(parties, uid, &rank).await?;
        doubt.withdraw = None;
        match bound {
            Some(bound) => return Ok(bound),
            // Whoever did away with the claim may have been given up since: somebody has to be left.
            None => parties.pause().await?,
        }
    }
}

/// A claim of which nobody knows what became of it. Dropped as long as that is so, also together
/// with the bind, it is taken back.
struct Doubt<'a, P: Parties> {
    parties: &'a P,
    withdraw: Option<Command>,
}

impl<P: Parties> Drop for Doubt<'_, P> {
    fn drop(&mut self) {
        if let Some(withdraw) = self.withdraw.take() {
            self.parties.insist(withdraw);
        }
    }
}

/// One claim, from its beginning to its end; `None` if it is gone and nobody has the uid yet, as far
/// as is known.
async fn attempt(parties: &impl Parties, uid: &Uid, rank: &Rank) -> Result<Option<Bound>, Error> {
    let claim = Command::Claim {
        uid: uid.clone(),
        policy: rank.policy,
        ticket: rank.ticket,
    };
    if parties.own(claim).await? == 0 {
        return Ok(Some(Bound::Gone));
    }
    let mut kicked = 0;
    loop {
        let met = contest(parties, uid, Some(*rank)).await?;
        kicked += met.count;
        match (met.holder, met.rival) {
            (Some(_), _) => return lose(parties, uid, rank).await.map(Some),
            // It may yet lose, or be given up.
            (None, Some(_)) => parties.pause().await?,
            (None, None) => break,
        }
    }
    let settle = Command::Settle {
        uid: uid.clone(),
        ticket: rank.ticket,
    };
    match parties.own(settle).await {
        Ok(0) => Ok(Some(Bound::Gone)),
        Ok(_) => Ok(Some(Bound::Yes { kicked })),
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
        Err(error) => Err(error),
    }
}

/// Somebody else has the uid and keeps it.
async fn lose(parties: &impl Parties, uid: &Uid, rank: &Rank) -> Result<Bound, Error> {
    let withdrawn = parties.own(withdraw(uid, rank)).await?;
    if rank.policy == Policy::RejectNew {
        return Ok(Bound::Rejected);
    }
    // Else it was closed already.
    if withdrawn > 0 {
        let code = CloseCode::SignedInElsewhere;
        parties.tell(Close::new(code.code(), code.reason()).command()?)?;
    }
    Ok(Bound::Overtaken)
}

fn withdraw(uid: &Uid, rank: &Rank) -> Command {
    Command::Withdraw {
        uid: uid.clone(),
        ticket: rank.ticket,
    }
}

/// What every gateway says, taken together.
struct Met {
    ticket: u64,
    holder: Option<ClientId>,
    rival: Option<ClientId>,
    count: u64,
}

async fn contest(parties: &impl Parties, uid: &Uid, by: Option<Rank>) -> Result<Met, Error> {
    let uid = uid.clone();
    let answers = parties.everybody(Command::Contest { uid, by }).await?;
    Ok(Met {
        ticket: answers.iter().map(|a| a.ticket).max().unwrap_or(0),
        holder: answers.iter().find_map(|a| a.holder),
        rival: answers.iter().find_map(|a| a.rival),
        count: answers.iter().map(|a| a.count).sum(),
    })
}

/// A client and the gateways, over the bus.
struct OverBus<'a> {
    target: &'a Target,
    client: ClientId,
    until: Instant,
    seat: Arc<OwnedSemaphorePermit>,
}

impl Parties for OverBus<'_> {
    async fn everybody(&self, command: Command) -> Result<Vec<Answer>, Error> {
        let link = self.target.gateway.link();
        let mut gateways = link.gateways().await?;
        if !gateways.contains(&self.client.gateway) {
            gateways.push(self.client.gateway);
        }
        let request = Request::command(command);
        let asked = many(link, link.subjects.all(), &request, gateways);
        let (answers, silent) = Box::pin(asked).await?;
        match silent.is_empty() {
            true => Ok(answers),
            false => Err(missing(&silent)),
        }
    }

    async fn own(&self, command: Command) -> Result<u64, Error> {
        let kind = RequestKind::Command(command);
        let answer = self.target.ask_client(self.client, kind).await?;
        Ok(answer.map_or(0, |answer| answer.count))
    }

    fn tell(&self, command: Command) -> Result<(), Error> {
        self.target.command(command)
    }

    fn ticket(&self, above: u64) -> u64 {
        above.saturating_add(rand::random_range(1..=SPREAD))
    }

    fn insist(&self, command: Command) {
        let insisting = insist(
            self.target.gateway.downgrade(),
            self.client,
            command,
            self.seat.clone(),
        );
        // Without a runtime the process is at its end.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(insisting);
        }
    }

    async fn pause(&self) -> Result<(), Error> {
        if Instant::now() >= self.until {
            let says = "another bind of the same uid has begun and does not end";
            return Err(Error::new(ErrorKind::Timeout, says));
        }
        sleep(AGAIN).await;
        Ok(())
    }
}

/// Says something to a client's gateway until that has answered, for as long as somebody has a handle.
async fn insist(
    link: Weak<Link>,
    client: ClientId,
    command: Command,
    _seat: Arc<OwnedSemaphorePermit>,
) {
    let mut silences = 0;
    while let Some(link) = link.upgrade() {
        if link.is_connected() {
            let target = Gateway::over(link).client(client);
            let asked = target.ask_client(client, RequestKind::Command(command.clone()));
            match Box::pin(asked).await {
                Ok(Some(_)) => return,
                // Nobody listens yet: gateways come back from an outage one after the other.
                Ok(None) => silences += 1,
                Err(error) if error.kind() == ErrorKind::Closed => return,
                Err(_) => silences += 1,
            }
            if silences == SILENCES {
                tracing::warn!(%client, "a bind of a uid is not taken back: its gateway is gone");
                return;
            }
        } else {
            // It would only pile up; and the last handle may go meanwhile.
            drop(link);
        }
        sleep(BACK_AGAIN).await;
    }
}

/// The binds of a process that are under way, or being taken back.
pub(crate) struct Binds(Arc<Semaphore>);

impl Default for Binds {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Binds {
    fn begin(&self) -> Result<Arc<OwnedSemaphorePermit>, Error> {
        let seat = self.0.clone().try_acquire_owned().map_err(|_| {
            let says = format!("{MOST} binds of uids are under way, or being taken back");
            Error::new(ErrorKind::Full, says)
        })?;
        Ok(Arc::new(seat))
    }

    /// Resolves when there is none.
    pub(crate) async fn until_ended(&self) {
        // It is never closed.
        let _ = self.0.acquire_many(MOST as u32).await;
    }
}

impl Target {
    /// Makes one client a client of this uid, by a policy for those who have it already.
    ///
    /// With [`KickOld`](BindPolicy::KickOld) and [`RejectNew`](BindPolicy::RejectNew) exactly one
    /// client has the uid in the end, on whichever gateways they are, also if several are bound at
    /// the same moment by several workers. No clock decides: a bind that begins after another was
    /// done is the newer one, and among those that run at the same time any may be the newest, or
    /// the first. It holds among all who bind by these two; `bind_uid` and
    /// [`Multi`](BindPolicy::Multi) add a client to the uid without asking anybody.
    ///
    /// Until it is done the client has the uid that it had before, and nothing that is sent to the
    /// new one reaches it. It takes four round trips, two of them with every gateway.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] if a gateway did not answer, which is named, or if another bind of
    /// this uid hangs. [`ErrorKind::Full`] if 4096 binds of this process are under way or being
    /// taken back; then nothing was done.
    ///
    /// **What holds after an error**, and likewise if the future is dropped before it is done: this
    /// call does not give the client the uid. Where the last step may have been done and only its
    /// answer was lost, the client can have it for the moment; then the SDK takes it back, and goes
    /// on until the client's gateway has answered: at once as a rule, within seconds after an outage
    /// of NATS, however long that was. A gateway that has not answered 30 times, with a second
    /// between them, while NATS is there, counts as gone together with its clients. A worker that
    /// stops waits for it, within its stop timeout. The client does not get the uid back that it
    /// had before, if it had one, and those who had to give way stay closed. You may try again at
    /// once: what is taken back is the attempt that failed, and no other.
    ///
    /// Only a process that dies, or lets go of its last handle, in the middle leaves something
    /// behind: an attempt that lapses within 10 s, or, if it had come to its last step, a client
    /// that has the uid without anybody having been told. Others can bind the uid meanwhile with
    /// `KickOld`, while `RejectNew` waits for an attempt that is still to lapse.
    ///
    /// [`ErrorKind::InvalidTarget`] if the target is not one client, except with `Multi`.
    #[doc(alias = "bindUid")]
    pub async fn bind_uid_with(
        &self,
        uid: impl AsRef<str>,
        policy: BindPolicy,
    ) -> Result<Bound, Error> {
        let policy = match policy {
            BindPolicy::Multi => {
                return Ok(match self.bind_uid(uid).await? {
                    0 => Bound::Gone,
                    _ => Bound::Yes { kicked: 0 },
                });
            }
            BindPolicy::KickOld => Policy::KickOld,
            BindPolicy::RejectNew => Policy::RejectNew,
        };
        let uid = Uid::new(uid.as_ref())?;
        let &Whom::Client(client) = self.whom()? else {
            let says = "a uid for one alone can be bound to one client: name it with `client(id)`";
            return Err(Error::new(ErrorKind::InvalidTarget, says));
        };
        let parties = OverBus {
            target: self,
            client,
            until: self.gateway.link().deadline(),
            seat: self.gateway.link().binds.begin()?,
        };
        Box::pin(alone(&parties, client, &uid, policy)).await
    }
}

#[cfg(test)]
mod tests;

//! The worker: what GatewayWorker's `Events.php` is.
//!
//! A room is a group, and who somebody is stands in the session of their client. So a worker keeps
//! nothing: any of them may handle the next message, and there may be any number of them.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use worker_sdk::{
    Client, ClientId, Closed, Error, ErrorKind, Events, Gateway, GatewayId, HandlerResult, Message,
    Retry,
};

use crate::protocol::{Answer, People, Refusal, Request, Words};

/// Who a client is, and where.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seat {
    name: String,
    /// Empty before the login.
    room: String,
}

/// The chat's events.
pub(crate) struct Chat {
    gateway: OnceLock<Gateway>,
}

impl Events for Chat {
    type Session = Seat;

    async fn on_worker_start(&self, gateway: &Gateway) -> HandlerResult {
        self.gateway.get_or_init(|| gateway.clone());
        Ok(())
    }

    async fn on_message(&self, client: &mut Client<Seat>, message: Message) -> HandlerResult {
        match self.handle(client, &message).await {
            Ok(()) => Ok(()),
            Err(Trouble::Refused(refusal)) => Ok(client.send(self.say(&Answer::Error {
                code: refusal.code,
                message: &refusal.message,
                reference: refusal.reference.as_deref(),
            }))?),
            // A gateway did not answer. All that we do bears being done twice, so once more.
            Err(Trouble::Failed(error)) if error.kind() == ErrorKind::Timeout => {
                tracing::warn!(client = %client.id(), %error, "once more");
                Err(Retry.into())
            }
            Err(Trouble::Failed(error)) => Err(error.into()),
        }
    }

    async fn on_close(&self, client: &mut Client<Seat>, _: &Closed) -> HandlerResult {
        Ok(self.tell_left(client)?)
    }

    async fn on_gateway_lost(&self, gateway: GatewayId) -> HandlerResult {
        // Every worker says so; the pages do not mind to hear it again.
        if let Some(everywhere) = self.gateway.get() {
            everywhere
                .all()
                .send(self.say(&Answer::GatewayLost { gateway }))?;
        }
        Ok(())
    }
}

/// Why a request was not done.
enum Trouble {
    /// The person should know.
    Refused(Refusal),
    /// The operator should know.
    Failed(Error),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Chat {
    pub(crate) fn new() -> Self {
        Self {
            gateway: OnceLock::new(),
        }
    }

    async fn handle(&self, client: &mut Client<Seat>, message: &Message) -> Result<(), Trouble> {
        match Request::read(message)? {
            Request::Login { name, room } => self.login(client, Seat { name, room }).await?,
            Request::Ping => client.send(self.say(&Answer::Pong))?,
            Request::Pong => {}
            _ if client.session.room.is_empty() => return Err(Refusal::login_first().into()),
            Request::Users => {
                let people = people(client).await?;
                client.send(self.say(&Answer::Users(people)))?;
            }
            Request::Say(words) => self.say_to_room(client, &words)?,
            Request::Whisper { to, words } => self.whisper(client, to, words).await?,
        }
        Ok(())
    }

    /// Takes somebody in, or to another room.
    async fn login(&self, client: &mut Client<Seat>, seat: Seat) -> Result<(), Error> {
        if !client.session.room.is_empty() && client.session.room != seat.room {
            client.leave(&client.session.room)?;
            self.tell_left(client)?;
        }
        // The session travels back only after this handler. Whoever lists the room meanwhile should
        // find a name with the new member, so it is set before the client is one.
        client.gateway().client(client.id()).set_session(&seat)?;
        client.join(&seat.room).await?;
        client.session = seat;

        // First the notice, then the list: who joins in between is in the one or gets the other.
        let Seat { name, room } = &client.session;
        let answer = |people| Answer::Login {
            client_id: client.id(),
            client_name: name,
            room_id: room,
            people,
        };
        let notice = self.say(&answer(None));
        client
            .gateway()
            .group(room)
            .except([client.id()])
            .send(notice)?;
        let people = people(client).await?;
        client.send(self.say(&answer(Some(people))))
    }

    fn say_to_room(&self, client: &Client<Seat>, words: &Words) -> Result<(), Error> {
        let Seat { name, room } = &client.session;
        client.gateway().group(room).send(self.say(&Answer::Say {
            from_client_id: client.id(),
            from_client_name: name,
            room_id: room,
            content: &words.content,
            reference: words.reference.as_deref(),
        }))
    }

    /// Says something to one person. A client id is told to the people of its room and cannot be
    /// guessed, so whoever has it may write to it.
    async fn whisper(
        &self,
        client: &Client<Seat>,
        to: ClientId,
        words: Words,
    ) -> Result<(), Trouble> {
        let target = client.gateway().client(to);
        if !target.is_online().await? {
            return Err(Refusal::not_here().about(words.reference).into());
        }
        let message = self.say(&Answer::Whisper {
            from_client_id: client.id(),
            from_client_name: &client.session.name,
            to_client_id: to,
            content: &words.content,
            reference: words.reference.as_deref(),
        });
        target.send(&message)?;
        if to != client.id() {
            client.send(message)?;
        }
        Ok(())
    }

    fn tell_left(&self, client: &Client<Seat>) -> Result<(), Error> {
        let Seat { name, room } = &client.session;
        if room.is_empty() {
            return Ok(());
        }
        let notice = self.say(&Answer::Logout {
            from_client_id: client.id(),
            from_client_name: name,
            room_id: room,
        });
        client.gateway().group(room).send(notice)
    }

    fn say(&self, answer: &Answer<'_>) -> Message {
        // How the page tells the workers apart.
        let worker = self
            .gateway
            .get()
            .map(|gateway| gateway.worker_id().to_string());
        answer.by(&worker.unwrap_or_default())
    }
}

/// Who is in the client's room.
async fn people(client: &Client<Seat>) -> Result<People, Error> {
    let room = client.gateway().group(&client.session.room);
    let listing = room.clients_with_sessions::<Seat>().await?;
    // A client may be in a group of this name without having logged in: that is none of our people.
    let people = listing
        .clients
        .into_iter()
        .filter(|c| !c.session.name.is_empty());
    Ok(People::new(people.map(|c| (c.id, c.session.name))))
}

#[cfg(test)]
mod tests;

//! Lists of clients: who is there, one after the other.

mod page;

use std::{collections::VecDeque, fmt, marker::PhantomData};

use serde::{Serialize, de::DeserializeOwned};
use wire::{ClientId, ClientInfo, Fields, GatewayId};

use crate::{
    Error, ErrorKind, Filter, Target,
    pages::{Asked, Pages},
    session::Codec,
    target::Whom,
};

pub use self::page::ListPage;

/// How many clients a page has, if nobody says.
const PAGE: u32 = 1000;

/// Says what a list of clients is to tell of each; made by [`Target::list`].
///
/// ```no_run
/// # use worker_sdk::{Error, Filter, Gateway};
/// # #[derive(Default, serde::Serialize, serde::Deserialize)] struct Player { level: u32 }
/// # async fn f(gateway: Gateway) -> Result<(), Error> {
/// let only = Filter::new().with_uid().session("level", 7);
/// let mut list = gateway.group("lobby").list().session::<Player>().filter(only).stream().await?;
/// while let Some(player) = list.next().await {
///     let player = player?;
///     println!("{} is on level {}", player.id, player.session.level);
/// }
/// assert!(list.missing().is_empty(), "all gateways answered");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a list does nothing until it is read: `stream` or `collect`"]
pub struct List<S = ()> {
    target: Target,
    fields: Fields,
    filter: Filter,
    page: u32,
    session: PhantomData<fn() -> S>,
}

/// Clients, as they are read. Made by [`List::stream`].
///
/// Each client that is there from the first to the last comes exactly once, in no order; one that
/// comes or goes meanwhile may be among them or not. Pages are fetched as they are read: of each
/// gateway at most one waits, beside the one that is being read. Dropped, it asks for no more.
pub struct ClientList<S = ()> {
    pages: Pages,
    page: VecDeque<ClientInfo>,
    codec: Codec<S>,
}

/// The clients of a target, ordered by id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing<S = ()> {
    /// Those of the gateways that answered.
    pub clients: Vec<ClientEntry<S>>,
    /// Clients whose session does not fit the type, or not a message of the NATS server, so that they
    /// are not in the list.
    pub unfit: Vec<ClientId>,
    /// Gateways that did not answer in time; empty if the list is complete.
    pub missing: Vec<GatewayId>,
}

/// One client of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientEntry<S = ()> {
    /// The client.
    pub id: ClientId,
    /// The uid that is bound to it, if it was asked for.
    pub uid: Option<String>,
    /// Its session, as it is at the gateway; `()` where it was not asked for.
    pub session: S,
    /// Counts the changes of its session; 0 where the session was not asked for.
    pub version: u64,
    /// Its groups, in no order, if they were asked for.
    pub groups: Vec<String>,
    /// Its address, `ip:port`, if it was asked for.
    pub remote: Option<String>,
}

impl Target {
    /// Lists the clients: say what you want to know of each, then read them.
    pub fn list(&self) -> List {
        List {
            target: self.clone(),
            fields: Fields::default(),
            filter: Filter::new(),
            page: PAGE,
            session: PhantomData,
        }
    }

    /// Who they are, with their uids. All at once; see [`list`](Self::list) for many.
    pub async fn clients(&self) -> Result<Listing, Error> {
        Box::pin(self.list().uid().collect()).await
    }

    /// Who they are, with their uids and sessions. All at once; see [`list`](Self::list) for many.
    pub async fn clients_with_sessions<S>(&self) -> Result<Listing<S>, Error>
    where
        S: Serialize + DeserializeOwned + Default,
    {
        Box::pin(self.list().uid().session::<S>().collect()).await
    }

    /// The session of one client; `None` if it is not there.
    ///
    /// For a target that is one client; of others see [`list`](Self::list):
    /// [`ErrorKind::Refused`]. [`ErrorKind::TooLarge`] if the session does not fit a message of the
    /// NATS server.
    pub async fn session<S>(&self) -> Result<Option<S>, Error>
    where
        S: Serialize + DeserializeOwned + Default,
    {
        let Whom::Client(_) = self.whom()? else {
            let says = "a session is one client's: read those of many with `list`";
            return Err(Error::new(ErrorKind::Refused, says));
        };
        let mut list = Box::pin(self.list().session::<S>().stream()).await?;
        let entry = list.next().await.transpose()?;
        Ok(entry.map(|entry| entry.session))
    }
}

impl<S> List<S> {
    /// Tells the uids.
    pub fn uid(mut self) -> Self {
        self.fields.uid = true;
        self
    }

    /// Tells the groups.
    pub fn groups(mut self) -> Self {
        self.fields.groups = true;
        self
    }

    /// Tells the addresses.
    pub fn remote(mut self) -> Self {
        self.fields.remote = true;
        self
    }

    /// Tells the sessions, as this type: a map with text keys, a struct, or `()`.
    pub fn session<T>(self) -> List<T> {
        List {
            target: self.target,
            fields: Fields {
                session: true,
                ..self.fields
            },
            filter: self.filter,
            page: self.page,
            session: PhantomData,
        }
    }

    /// Lists only those that the filter lets through.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// How many clients a gateway tells of at once, at the most. Default 1000; gateways go to 4096,
    /// or some 256 KiB.
    pub fn page_size(mut self, clients: u32) -> Self {
        self.page = clients.max(1);
        self
    }

    pub(crate) fn tells_groups(&self) -> bool {
        self.fields.groups
    }

    /// Begins to read.
    ///
    /// [`ErrorKind::Session`] if `S` is no session type or the filter makes no sense.
    pub async fn stream(self) -> Result<ClientList<S>, Error>
    where
        S: Serialize + DeserializeOwned + Default,
    {
        let codec = Codec::new()?;
        let asked = Asked::Clients {
            fields: self.fields,
            filter: self.filter.checked()?,
            limit: self.page,
        };
        Ok(ClientList {
            pages: Box::pin(Pages::begin(self.target, asked)).await?,
            page: VecDeque::new(),
            codec,
        })
    }

    /// Reads all of it.
    pub async fn collect(self) -> Result<Listing<S>, Error>
    where
        S: Serialize + DeserializeOwned + Default,
    {
        let mut list = Box::pin(self.stream()).await?;
        let (mut clients, mut unfit) = (Vec::new(), Vec::new());
        while let Some(found) = list.advance().await {
            match found? {
                (_, Ok(entry)) => clients.push(entry),
                (id, Err(_)) => unfit.push(id),
            }
        }
        clients.sort_by_key(|entry| entry.id);
        unfit.sort_unstable();
        Ok(Listing {
            clients,
            unfit,
            missing: list.missing().to_vec(),
        })
    }
}

impl<S: Serialize + DeserializeOwned + Default> ClientList<S> {
    /// The next client; `None` at the end. Cancel safe.
    ///
    /// An error is about one client or one gateway, and the list goes on after it:
    /// [`ErrorKind::Session`] for a client whose session does not fit the type,
    /// [`ErrorKind::TooLarge`] for one whose session does not fit a message of the NATS server,
    /// [`ErrorKind::Refused`] for a gateway that does not understand the question, which is then
    /// [missing](Self::missing). A gateway that is silent for
    /// [`query_timeout`](crate::GatewayBuilder::query_timeout) is missing too, without an error;
    /// the others' clients come meanwhile.
    pub async fn next(&mut self) -> Option<Result<ClientEntry<S>, Error>> {
        Some(self.advance().await?.and_then(|(_, entry)| entry))
    }

    /// Gateways whose clients are not all in the list, because they did not answer. Complete when
    /// [`next`](Self::next) has returned `None`.
    #[must_use]
    pub fn missing(&self) -> &[GatewayId] {
        self.pages.missing()
    }

    /// The next client, and what can be said of it.
    async fn advance(
        &mut self,
    ) -> Option<Result<(ClientId, Result<ClientEntry<S>, Error>), Error>> {
        while self.page.is_empty() {
            let answer = match self.pages.next().await? {
                Ok(answer) => answer,
                Err(error) => return Some(Err(error)),
            };
            // The next page comes while this one is read.
            let asked = self.pages.go_on(answer.gateway);
            self.page = answer.clients.into();
            if let Err(error) = asked {
                return Some(Err(error));
            }
        }
        // Looked at before it is taken: whoever stops waiting here loses nothing.
        let more = self.page.front().filter(|info| info.more_groups);
        let groups = match more.map(|info| info.client) {
            Some(id) => match Box::pin(page::all_groups(self.pages.target(), id)).await {
                Ok(groups) => Some(groups),
                Err(error) => {
                    self.page.pop_front();
                    return Some(Ok((id, Err(error))));
                }
            },
            None => None,
        };
        let mut info = self.page.pop_front()?;
        if let Some(groups) = groups {
            info.groups = groups;
        }
        Some(Ok((info.client, entry(&self.codec, info))))
    }
}

/// What a gateway says of a client, with its session as a type.
fn entry<S>(codec: &Codec<S>, info: ClientInfo) -> Result<ClientEntry<S>, Error>
where
    S: Serialize + DeserializeOwned + Default,
{
    let id = info.client;
    if info.session_left_out {
        let says = format!(
            "the session of client {id} does not fit a message: the NATS server's max_payload is too small"
        );
        return Err(Error::new(ErrorKind::TooLarge, says));
    }
    let session = codec.decode(&info.session).map_err(|error| {
        let says = format!("the session of client {id} does not fit the type");
        Error::new(ErrorKind::Session, says).with(error)
    })?;
    Ok(ClientEntry {
        id,
        uid: info.uid.map(|uid| uid.to_string()),
        session,
        version: info.version,
        groups: info.groups.iter().map(ToString::to_string).collect(),
        remote: info.remote,
    })
}

impl<S> fmt::Debug for ClientList<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientList")
            .field("target", self.pages.target())
            .field("missing", &self.pages.missing())
            .finish_non_exhaustive()
    }
}

//! One page of a list, for those who keep nothing between two pages.

use futures_util::{StreamExt, stream};
use serde::{Serialize, de::DeserializeOwned};
use wire::{Answer, ClientId, ClientInfo, ConnId, Filter, GatewayId, Query, RequestKind};

use super::{ClientEntry, List};
use crate::{Error, ErrorKind, Target, query, session::Codec, target::Whom};

/// So many gateways are asked at once. Each may answer with a whole page, and what is not needed of
/// them was asked in vain.
const AT_ONCE: usize = 8;

/// A page of clients, ordered by id; made by [`List::page`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListPage<S = ()> {
    /// With the [unfit](Self::unfit) at most as many as were asked for. There may be fewer, and even
    /// none, although more come.
    pub clients: Vec<ClientEntry<S>>,
    /// Clients of this page whose session does not fit the type, or not a message of the NATS server.
    pub unfit: Vec<ClientId>,
    /// What the next page comes after; `None` on the last.
    pub next: Option<ClientId>,
    /// Gateways that did not answer in time. Their clients are on no page, even if they answer again.
    pub missing: Vec<GatewayId>,
}

impl<S> List<S> {
    /// Reads one page: the clients after this id, in the order of their ids, and at most so many.
    ///
    /// It is for those who keep nothing between two pages, such as an HTTP service.
    /// [`stream`](Self::stream) is better for everybody else: it asks all gateways at once. A client
    /// that is there from the first page to the last is on exactly one of them.
    pub async fn page(self, after: Option<ClientId>, clients: u32) -> Result<ListPage<S>, Error>
    where
        S: Serialize + DeserializeOwned + Default,
    {
        Box::pin(self.read_page(after, clients.max(1))).await
    }

    async fn read_page(self, after: Option<ClientId>, most: u32) -> Result<ListPage<S>, Error>
    where
        S: Serialize + DeserializeOwned + Default,
    {
        let codec = Codec::<S>::new()?;
        let filter = self.filter.clone().checked()?;
        let gateways = self.gateways(after).await?;
        let asked = gateways.into_iter().map(|gateway| {
            let conn = after.filter(|id| id.gateway == gateway).map(|id| id.conn);
            let query = self.query(&filter, conn, most);
            let list = &self;
            async move { (gateway, list.ask(gateway, query).await) }
        });
        let mut answers = stream::iter(asked).buffered(AT_ONCE);
        let mut page = ListPage {
            clients: Vec::new(),
            unfit: Vec::new(),
            next: None,
            missing: Vec::new(),
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut last = None;
        while let Some((gateway, answer)) = answers.next().await {
            let answer = match answer {
                Ok(Some(answer)) => answer,
                // Gone, with its clients.
                Ok(None) => continue,
                Err(error) if error.kind() == ErrorKind::Timeout => {
                    page.missing.push(gateway);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let next = answer.next.map(|conn| ClientId { gateway, conn });
            for info in answer.clients {
                // A single client is asked for whatever came before.
                if after.is_some_and(|after| info.client <= after) {
                    continue;
                }
                if page.clients.len() + page.unfit.len() == most {
                    page.next = last;
                    return Ok(page);
                }
                let id = info.client;
                last = Some(id);
                match self.entry(&codec, info).await {
                    Ok(entry) => page.clients.push(entry),
                    Err(error) if is_unfit(&error) => page.unfit.push(id),
                    Err(error) => return Err(error),
                }
            }
            if next.is_some() {
                page.next = next;
                return Ok(page);
            }
        }
        Ok(page)
    }

    /// The gateways that may have clients after this one, in the order of their ids.
    async fn gateways(&self, after: Option<ClientId>) -> Result<Vec<GatewayId>, Error> {
        if let Whom::Client(id) = self.target.whom()? {
            return Ok(vec![id.gateway]);
        }
        let mut gateways = self.target.gateway.link().gateways().await?;
        gateways.retain(|gateway| after.is_none_or(|after| *gateway >= after.gateway));
        gateways.sort_unstable();
        gateways.dedup();
        Ok(gateways)
    }

    fn query(&self, filter: &Filter, after: Option<ConnId>, limit: u32) -> RequestKind {
        RequestKind::Query(Query::List {
            fields: self.fields,
            filter: filter.clone(),
            after,
            limit,
        })
    }

    async fn ask(&self, gateway: GatewayId, query: RequestKind) -> Result<Option<Answer>, Error> {
        match self.target.whom()? {
            Whom::Client(id) => self.target.ask_client(*id, query).await,
            _ => self.target.ask_gateway(gateway, query).await,
        }
    }

    async fn entry(&self, codec: &Codec<S>, mut info: ClientInfo) -> Result<ClientEntry<S>, Error>
    where
        S: Serialize + DeserializeOwned + Default,
    {
        if info.more_groups {
            info.groups = all_groups(&self.target, info.client).await?;
        }
        super::entry(codec, info)
    }
}

/// Whether it is one client's session that is wrong, and nothing else.
fn is_unfit(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Session | ErrorKind::TooLarge)
}

/// The groups of a client that is in more of them than fit a page.
pub(super) async fn all_groups(target: &Target, id: ClientId) -> Result<Vec<wire::Group>, Error> {
    let listing = target.gateway.client(id).groups().await?;
    if !listing.missing.is_empty() {
        return Err(query::missing(&listing.missing));
    }
    let names = listing.names.into_iter();
    let names = names.map(|entry| wire::Group::new(entry.name).map_err(Into::into));
    names.collect()
}

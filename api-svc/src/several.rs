//! Queries about several uids or groups at once, which are answered name by name.
//!
//! They are for batches: a path names one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;
use worker_sdk::{ByName, ClientEntry, Error, Filter, Gateway};

use crate::{
    call::{Answer, Call, Query, To},
    failure::{Code, Failure},
    parameters::Parameters,
    queries::ids,
    target::{Kind, Target},
};

/// All of them.
pub(crate) fn all() -> Vec<Call> {
    vec![
        Call::query::<AreOnline>(),
        Call::query::<Counts>(),
        Call::query::<ClientIds>(),
    ]
}

const KINDS: &[Kind] = &[Kind::Uids, Kind::Groups];

/// The most client ids of one answer.
const MOST_IDS: usize = 10_000;

/// The names that are asked about, by their kind.
enum Names {
    Uids(Vec<String>),
    Groups(Vec<String>),
}

impl Names {
    fn of(whom: Target) -> Result<Self, Failure> {
        match whom {
            Target::Uids(uids) => Ok(Self::Uids(uids)),
            Target::Groups(groups) => Ok(Self::Groups(groups)),
            _ => Err(Code::InvalidTarget.into()),
        }
    }

    fn all(&self) -> &[String] {
        match self {
            Self::Uids(names) | Self::Groups(names) => names,
        }
    }

    async fn counts(&self, gateway: &Gateway) -> Result<ByName<u64>, Error> {
        match self {
            Self::Uids(uids) => gateway.client_counts_by_uids(uids).await,
            Self::Groups(groups) => gateway.client_counts_by_groups(groups).await,
        }
    }
}

struct AreOnline;

/// Whether each has a client.
#[derive(Serialize, ToSchema)]
struct OnlineByName {
    /// By name, whether it has at least one
    online: BTreeMap<String, bool>,
    /// Gateways that did not answer in time, whose clients are not seen; empty if nobody is missing
    missing: Vec<String>,
}

impl Answer for OnlineByName {
    const STATUS: u16 = 200;
    const ABOUT: &'static str = "whether there is a client, by name";
}

impl Query for AreOnline {
    const NAME: &'static str = "is_online";
    const ABOUT: &'static str = "Which of them have a client";
    const KINDS: &'static [Kind] = KINDS;
    type Answer = OnlineByName;

    fn read(_: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(self, to: To) -> Result<OnlineByName, Failure> {
        let counts = Names::of(to.whom)?.counts(&to.gateway).await?;
        let online = counts.names.into_iter().map(|(name, n)| (name, n > 0));
        Ok(OnlineByName {
            online: online.collect(),
            missing: ids(&counts.missing),
        })
    }
}

struct Counts;

/// How many clients each has.
#[derive(Serialize, ToSchema)]
struct CountByName {
    /// By name, those of the gateways that answered
    counts: BTreeMap<String, u64>,
    /// Gateways that did not answer in time; empty if the numbers are complete
    missing: Vec<String>,
}

impl Answer for CountByName {
    const STATUS: u16 = 200;
    const ABOUT: &'static str = "how many clients there are, by name";
}

impl Query for Counts {
    const NAME: &'static str = "count";
    const ABOUT: &'static str = "How many clients each of them has";
    const KINDS: &'static [Kind] = KINDS;
    type Answer = CountByName;

    fn read(_: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(self, to: To) -> Result<CountByName, Failure> {
        let counts = Names::of(to.whom)?.counts(&to.gateway).await?;
        Ok(CountByName {
            counts: counts.names,
            missing: ids(&counts.missing),
        })
    }
}

struct ClientIds;

/// Which clients each has.
#[derive(Serialize, ToSchema)]
struct ClientIdsByName {
    /// By name, the ids of its clients, in order
    clients: BTreeMap<String, BTreeSet<String>>,
    /// Gateways that did not answer in time, whose clients are not in the lists; empty if nobody is missing
    missing: Vec<String>,
}

impl Answer for ClientIdsByName {
    const STATUS: u16 = 200;
    const ABOUT: &'static str = "their clients, by name";
}

impl Query for ClientIds {
    const NAME: &'static str = "client_ids";
    const ABOUT: &'static str = "The ids of the clients of each; of more than 10000 in all it is an error, and each is to be listed by itself";
    const KINDS: &'static [Kind] = KINDS;
    type Answer = ClientIdsByName;

    fn read(_: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(self, to: To) -> Result<ClientIdsByName, Failure> {
        let names = Names::of(to.whom)?;
        let mut found = Found::new(names.all());
        for some in Filter::pieces(names.all()) {
            let list = to.gateway.all().list();
            let list = match names {
                Names::Uids(_) => list.uid().filter(Filter::new().uids(some)),
                Names::Groups(_) => list.groups().filter(Filter::new().groups(some)),
            };
            let mut list = list.stream().await?;
            while let Some(client) = list.next().await {
                // Without this one the answer would not be what it says.
                found.add(client?)?;
            }
            found.missing.extend(ids(list.missing()));
        }
        Ok(found.answer())
    }
}

/// The ids that were found.
struct Found {
    clients: BTreeMap<String, BTreeSet<String>>,
    many: usize,
    missing: BTreeSet<String>,
}

impl Found {
    fn new(names: &[String]) -> Self {
        let nothing = names.iter().map(|name| (name.clone(), BTreeSet::new()));
        Self {
            clients: nothing.collect(),
            many: 0,
            missing: BTreeSet::new(),
        }
    }

    /// Adds a client wherever it was asked for.
    fn add(&mut self, client: ClientEntry) -> Result<(), Failure> {
        for name in client.groups.iter().chain(&client.uid) {
            let Some(ids) = self.clients.get_mut(name) else {
                continue;
            };
            self.many += usize::from(ids.insert(client.id.to_string()));
        }
        if self.many > MOST_IDS {
            let says =
                format!("they have more than {MOST_IDS} clients: list each by itself, in pages");
            return Err(Failure::new(Code::TooLarge, says));
        }
        Ok(())
    }

    fn answer(self) -> ClientIdsByName {
        ClientIdsByName {
            clients: self.clients,
            missing: self.missing.into_iter().collect(),
        }
    }
}

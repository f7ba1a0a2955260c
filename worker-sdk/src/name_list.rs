//! Lists of uids and groups, with the number of clients of each.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
};

use wire::{GatewayId, NameCount, Names};

use crate::{
    Count, Error, Target,
    pages::{Asked, Pages},
};

/// Uids or groups, as they are read. Made by [`Target::list_uids`] and [`Target::list_groups`].
///
/// They come ordered by name, byte by byte, each once, with its clients at all gateways. Pages are
/// fetched as they are read: of each gateway at most one is held. Dropped, it asks for no more.
pub struct NameList {
    pages: Pages,
    /// What was not read yet of each gateway's page.
    heads: HashMap<GatewayId, VecDeque<NameCount>>,
    /// What went wrong after the last name was found.
    failed: Option<Error>,
}

/// A uid or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameEntry {
    /// The uid or the group.
    pub name: String,
    /// How many of the target's clients have it.
    pub clients: u64,
}

/// The uids or groups of a target, ordered by name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameListing {
    /// Those of the gateways that answered.
    pub names: Vec<NameEntry>,
    /// Gateways that did not answer in time; empty if the list is complete.
    pub missing: Vec<GatewayId>,
}

impl Target {
    /// The distinct uids of the clients, with the number of clients of each. All at once; see
    /// [`list_uids`](Self::list_uids) for many.
    pub async fn uids(&self) -> Result<NameListing, Error> {
        Box::pin(async { self.list_uids().await?.collect().await }).await
    }

    /// The distinct groups that the clients are in, with the number of *these* clients in each. Of a
    /// single client: its groups. All at once; see [`list_groups`](Self::list_groups) for many.
    pub async fn groups(&self) -> Result<NameListing, Error> {
        Box::pin(async { self.list_groups().await?.collect().await }).await
    }

    /// The distinct uids of the clients, as they are read.
    pub async fn list_uids(&self) -> Result<NameList, Error> {
        NameList::begin(self, Asked::Uids(Names::default())).await
    }

    /// The same, but only those after this one, byte by byte: for those who read on later.
    pub async fn list_uids_after(&self, uid: impl Into<String>) -> Result<NameList, Error> {
        NameList::begin(self, Asked::Uids(after(uid))).await
    }

    /// The distinct groups that the clients are in, as they are read.
    pub async fn list_groups(&self) -> Result<NameList, Error> {
        NameList::begin(self, Asked::Groups(Names::default())).await
    }

    /// The same, but only those after this one, byte by byte: for those who read on later.
    pub async fn list_groups_after(&self, group: impl Into<String>) -> Result<NameList, Error> {
        NameList::begin(self, Asked::Groups(after(group))).await
    }
}

fn after(name: impl Into<String>) -> Names {
    Names {
        after: Some(name.into()),
        ..Names::default()
    }
}

impl NameList {
    pub(crate) async fn begin(target: &Target, asked: Asked) -> Result<Self, Error> {
        Ok(Self {
            pages: Box::pin(Pages::begin(target.clone(), asked)).await?,
            heads: HashMap::new(),
            failed: None,
        })
    }

    /// The next name; `None` at the end. Cancel safe.
    ///
    /// An error is about one gateway, which is then [missing](Self::missing); the list goes on after
    /// it. A gateway that is silent for
    /// [`query_timeout`](crate::GatewayBuilder::query_timeout) is missing too, without an error.
    pub async fn next(&mut self) -> Option<Result<NameEntry, Error>> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        // A name may be at any gateway, so the first of each has to be known.
        while let Some(page) = self.pages.next().await {
            match page {
                Ok(answer) if answer.names.is_empty() => {
                    if let Err(error) = self.pages.go_on(answer.gateway) {
                        return Some(Err(error));
                    }
                }
                Ok(answer) => drop(self.heads.insert(answer.gateway, answer.names.into())),
                Err(error) => return Some(Err(error)),
            }
        }
        let firsts = self.heads.values().filter_map(|page| page.front());
        let name = firsts.map(|first| &first.name).min()?.clone();
        let (mut clients, mut read) = (0, Vec::new());
        for (gateway, page) in &mut self.heads {
            if page.front().is_some_and(|first| first.name == name) {
                clients += page.pop_front().map_or(0, |first| first.count);
            }
            if page.is_empty() {
                read.push(*gateway);
            }
        }
        for gateway in read {
            self.heads.remove(&gateway);
            if let Err(error) = self.pages.go_on(gateway) {
                self.failed.get_or_insert(error);
            }
        }
        Some(Ok(NameEntry { name, clients }))
    }

    /// Gateways whose names are not all in the list, because they did not answer. Complete when
    /// [`next`](Self::next) has returned `None`.
    #[must_use]
    pub fn missing(&self) -> &[GatewayId] {
        self.pages.missing()
    }

    /// Reads all of it.
    pub async fn collect(mut self) -> Result<NameListing, Error> {
        let mut names = Vec::new();
        while let Some(entry) = self.next().await {
            names.push(entry?);
        }
        Ok(NameListing {
            names,
            missing: self.pages.missing().to_vec(),
        })
    }

    /// Reads all of it, and says how many distinct names there are.
    pub async fn count(mut self) -> Result<Count, Error> {
        let mut total = 0;
        while let Some(entry) = self.next().await {
            entry?;
            total += 1;
        }
        Ok(Count {
            total,
            missing: self.pages.missing().to_vec(),
        })
    }
}

impl fmt::Debug for NameList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameList")
            .field("target", self.pages.target())
            .field("missing", &self.pages.missing())
            .finish_non_exhaustive()
    }
}

//! Lists of uids and groups, with the number of clients of each.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
};

use wire::{Answer, GatewayId, NameCount, Names};

use crate::{
    Count, Error, Target,
    pages::{Asked, Pages},
};

/// Uids or groups, as they are read. Made by [`Target::list_uids`] and [`Target::list_groups`].
///
/// They come ordered by name, byte by byte, each once, with its clients at all gateways. Pages are
/// fetched as they are read: of each gateway at most one is held. Dropped, it asks for no more.
///
/// A gateway that comes in the middle may have names that have been read already. Its clients are
/// not counted there, so it is [missing](Self::missing); its other names are in the list.
pub struct NameList {
    pages: Pages,
    /// What was not read yet of each gateway's page.
    heads: HashMap<GatewayId, Head>,
    /// The name that is next, as far as it is counted.
    open: Option<NameEntry>,
    /// The name that was read last: what comes now is behind it.
    last: Option<String>,
    /// What went wrong after the last name was found.
    failed: Option<Error>,
}

/// A gateway's page.
struct Head {
    names: VecDeque<NameCount>,
    /// The name at its end whose clients are not all counted in it.
    goes_on: Option<String>,
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
            open: None,
            last: None,
            failed: None,
        })
    }

    /// The next name; `None` at the end. Cancel safe.
    ///
    /// An error is about one gateway, which is then [missing](Self::missing); the list goes on after
    /// it. A gateway that is silent for
    /// [`query_timeout`](crate::GatewayBuilder::query_timeout) is missing too, without an error.
    pub async fn next(&mut self) -> Option<Result<NameEntry, Error>> {
        loop {
            if let Some(error) = self.failed.take() {
                return Some(Err(error));
            }
            // A name may be at any gateway, so the first of each has to be known.
            while let Some(page) = self.pages.next().await {
                if let Err(error) = page.and_then(|page| self.take(page)) {
                    return Some(Err(error));
                }
            }
            if !self.gather() {
                return self.open.take().map(|entry| {
                    self.last = Some(entry.name.clone());
                    Ok(entry)
                });
            }
        }
    }

    /// Takes a gateway's page in, but for names that have been read already.
    fn take(&mut self, page: Answer) -> Result<(), Error> {
        let gateway = page.gateway;
        let goes_on = page.next_within.and(page.next_name);
        let mut names: VecDeque<NameCount> = page.names.into();
        let came = names.len();
        names.retain(|entry| match &self.open {
            Some(open) => entry.name >= open.name,
            None => Some(&entry.name) > self.last.as_ref(),
        });
        if names.len() < came {
            self.pages.miss(gateway);
        }
        if names.is_empty() {
            return self.pages.go_on(gateway).map(|_| ());
        }
        self.heads.insert(gateway, Head { names, goes_on });
        Ok(())
    }

    /// Adds what the pages have of the first name to what is known of it. True: a gateway has more of
    /// it, and was asked.
    fn gather(&mut self) -> bool {
        let firsts = self.heads.values().filter_map(|head| head.names.front());
        let Some(name) = firsts.map(|first| &first.name).min() else {
            return false;
        };
        if self.open.as_ref().is_some_and(|open| open.name < *name) {
            return false;
        }
        let name = name.clone();
        let (mut clients, mut read) = (0, Vec::new());
        for (gateway, head) in &mut self.heads {
            if head.names.front().is_some_and(|first| first.name == name) {
                clients += head.names.pop_front().map_or(0, |first| first.count);
            }
            if head.names.is_empty() {
                read.push((*gateway, head.goes_on.as_ref() == Some(&name)));
            }
        }
        let mut goes_on = false;
        for (gateway, more) in read {
            self.heads.remove(&gateway);
            match self.pages.go_on(gateway) {
                Ok(_) => goes_on |= more,
                Err(error) => {
                    self.failed.get_or_insert(error);
                }
            }
        }
        let open = self.open.get_or_insert(NameEntry { name, clients: 0 });
        open.clients += clients;
        goes_on
    }

    /// Gateways whose names, or whose clients, are not all in the list, because they did not answer
    /// in time or came in the middle. Complete when [`next`](Self::next) has returned `None`.
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

//! What asks something of many uids or groups at once, and answers name by name.

use std::collections::{BTreeMap, BTreeSet};

use wire::{ClientId, GatewayId, Names, Uid};

use crate::{
    ClientEntry, Error, Filter, Gateway, List, NameListing, name_list::NameList, pages::Asked,
};

/// Something for each of several uids or groups.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ByName<T> {
    /// What the gateways that answered said, by name.
    pub names: BTreeMap<String, T>,
    /// Gateways that did not answer in time; empty if it is complete.
    pub missing: Vec<GatewayId>,
}

impl Gateway {
    /// Which of these uids have a client.
    #[doc(alias = "isUidsOnline")]
    pub async fn are_uids_online<N: AsRef<str>>(
        &self,
        uids: impl IntoIterator<Item = N>,
    ) -> Result<ByName<bool>, Error> {
        let counts = self.client_counts_by_uids(uids).await?;
        Ok(counts.map(|clients| clients > 0))
    }

    /// How many clients each of these uids has.
    pub async fn client_counts_by_uids<N: AsRef<str>>(
        &self,
        uids: impl IntoIterator<Item = N>,
    ) -> Result<ByName<u64>, Error> {
        Box::pin(self.counts(uids, Asked::Uids)).await
    }

    /// The clients of each of these uids.
    #[doc(alias = "batchGetClientIdByUid")]
    pub async fn client_ids_by_uids<N: AsRef<str>>(
        &self,
        uids: impl IntoIterator<Item = N>,
    ) -> Result<ByName<BTreeSet<ClientId>>, Error> {
        let uids: Vec<String> = uids
            .into_iter()
            .map(|uid| uid.as_ref().to_owned())
            .collect();
        let mut found = ByName::of(&uids);
        for some in Filter::pieces(&uids) {
            let list = self.all().list().uid().filter(Filter::new().uids(some));
            Box::pin(found.fill(list, |ids: &mut BTreeSet<_>, id, _| {
                ids.insert(id);
            }))
            .await?;
        }
        Ok(found)
    }

    /// How many clients each of these groups has.
    #[doc(alias = "batchGetClientIdCountByGroup")]
    pub async fn client_counts_by_groups<N: AsRef<str>>(
        &self,
        groups: impl IntoIterator<Item = N>,
    ) -> Result<ByName<u64>, Error> {
        Box::pin(self.counts(groups, Asked::Groups)).await
    }

    /// The clients of every group. All at once; `all().list().groups()` reads them one by one.
    #[doc(alias = "getAllGroupClientIdList")]
    pub async fn all_group_client_ids(&self) -> Result<ByName<BTreeSet<ClientId>>, Error> {
        let mut found = ByName::of(&[]);
        let list = self.all().list().groups();
        Box::pin(found.fill(list, |ids: &mut BTreeSet<_>, id, _| {
            ids.insert(id);
        }))
        .await?;
        Ok(found)
    }

    /// The uids of every group. All at once; `all().list().uid().groups()` reads them one by one.
    #[doc(alias = "getAllGroupUidList")]
    pub async fn all_group_uids(&self) -> Result<ByName<BTreeSet<String>>, Error> {
        let mut found = ByName::of(&[]);
        let list = self.all().list().uid().groups();
        Box::pin(found.fill(list, |uids: &mut BTreeSet<_>, _, uid| {
            uids.extend(uid.map(str::to_owned));
        }))
        .await?;
        Ok(found)
    }

    /// How many distinct uids every group has; 0 where its clients have none.
    #[doc(alias = "getAllGroupUidCount")]
    pub async fn all_group_uid_counts(&self) -> Result<ByName<u64>, Error> {
        let uids = Box::pin(self.all_group_uids()).await?;
        Ok(uids.map(|uids| uids.len() as u64))
    }

    async fn counts<N: AsRef<str>>(
        &self,
        names: impl IntoIterator<Item = N>,
        asked: impl Fn(Names) -> Asked,
    ) -> Result<ByName<u64>, Error> {
        let names: Vec<String> = names.into_iter().map(|n| n.as_ref().to_owned()).collect();
        for name in &names {
            // what holds for a uid holds for a group
            Uid::new(name.as_str())?;
        }
        let mut counts = ByName::of(&names);
        for some in Filter::pieces(&names) {
            let asked = asked(Names {
                names: some.to_vec(),
                ..Names::default()
            });
            let list = NameList::begin(&self.all(), asked).await?;
            let NameListing { names, missing } = list.collect().await?;
            let found = names.into_iter().map(|entry| (entry.name, entry.clients));
            counts.names.extend(found);
            counts.miss(&missing);
        }
        Ok(counts)
    }
}

impl<T: Default> ByName<T> {
    /// Nothing yet, for each of these.
    fn of(names: &[String]) -> Self {
        Self {
            names: names
                .iter()
                .map(|name| (name.clone(), T::default()))
                .collect(),
            missing: Vec::new(),
        }
    }

    /// Reads a list, and adds each client under its groups if the list tells them, else under its
    /// uid.
    async fn fill(
        &mut self,
        list: List,
        add: impl Fn(&mut T, ClientId, Option<&str>),
    ) -> Result<(), Error> {
        let by_group = list.tells_groups();
        let mut list = list.stream().await?;
        while let Some(entry) = list.next().await {
            let ClientEntry {
                id, uid, groups, ..
            } = entry?;
            let names = if by_group {
                groups
            } else {
                Vec::from_iter(uid.clone())
            };
            for name in names {
                add(self.names.entry(name).or_default(), id, uid.as_deref());
            }
        }
        self.miss(list.missing());
        Ok(())
    }
}

impl<T> ByName<T> {
    fn map<U>(self, with: impl Fn(T) -> U) -> ByName<U> {
        let names = self.names.into_iter();
        ByName {
            names: names.map(|(name, value)| (name, with(value))).collect(),
            missing: self.missing,
        }
    }

    fn miss(&mut self, missing: &[GatewayId]) {
        for gateway in missing {
            if !self.missing.contains(gateway) {
                self.missing.push(*gateway);
            }
        }
    }
}

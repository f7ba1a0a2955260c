//! What asks something of many uids or groups at once, and answers name by name.

use std::collections::{BTreeMap, BTreeSet};

use wire::{ClientId, GatewayId, Names, Uid, filter::MAX_WHERE};

use crate::{
    ClientEntry, Error, Filter, Gateway, List, NameListing, name_list::NameList, pages::Asked,
};

/// Most bytes of names in one question: what any NATS server takes that a gateway can work with.
const MOST_BYTES: usize = 32 * 1024;

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
        for some in pieces(&uids) {
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
        for some in pieces(&names) {
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

/// As many names as one question holds, and so on.
fn pieces(names: &[String]) -> impl Iterator<Item = &[String]> {
    let mut rest = names;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fit = rest.iter().take(MAX_WHERE).take_while(|name| {
            bytes += name.len();
            bytes <= MOST_BYTES
        });
        // what is too long for a name is refused where it is used
        let many = fit.count().max(1).min(rest.len());
        let piece;
        (piece, rest) = rest.split_at(many);
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_as_many_names_as_a_message_holds() {
        let sizes = |names: Vec<String>| pieces(&names).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(Vec::new()), [0; 0]);
        let short = (0..2500).map(|n| n.to_string()).collect();
        assert_eq!(sizes(short), [MAX_WHERE, MAX_WHERE, 2500 - 2 * MAX_WHERE]);
        let long = (0..70).map(|n| format!("{n:0>1024}")).collect();
        assert_eq!(sizes(long), [32, 32, 6]);
        let no_name = ["a".to_owned(), "x".repeat(MOST_BYTES + 1), "b".to_owned()];
        assert_eq!(sizes(no_name.to_vec()), [1, 1, 1]);
    }
}

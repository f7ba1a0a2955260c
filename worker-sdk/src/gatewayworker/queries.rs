//! What asks something.

use std::borrow::Borrow;

use serde::{Serialize, de::DeserializeOwned};

use crate::{ClientId, Count, Error, Gateway, Listing, NameListing};

impl Gateway {
    /// `client(id).is_online()`
    #[doc(alias = "isOnline")]
    pub async fn is_online(&self, id: impl Borrow<ClientId>) -> Result<bool, Error> {
        self.client(id).is_online().await
    }

    /// `uid(uid).is_online()`
    #[doc(alias = "isUidOnline")]
    pub async fn is_uid_online(&self, uid: impl AsRef<str>) -> Result<bool, Error> {
        self.uid(uid).is_online().await
    }

    /// `client(id).session()`: `None` if it is not there, the default if it has none.
    #[doc(alias = "getSession")]
    pub async fn session<S>(&self, id: impl Borrow<ClientId>) -> Result<Option<S>, Error>
    where
        S: Serialize + DeserializeOwned + Default,
    {
        self.client(id).session().await
    }

    /// `client(id).clients()`: its uid; `None` if it has none, or is not there.
    #[doc(alias = "getUidByClientId")]
    pub async fn uid_by_client_id(
        &self,
        id: impl Borrow<ClientId>,
    ) -> Result<Option<String>, Error> {
        let listing = self.client(id).clients().await?;
        Ok(listing.clients.into_iter().find_map(|entry| entry.uid))
    }

    /// `client(id).groups()`: the groups that it is in; none, if it is not there.
    pub async fn groups_by_client_id(
        &self,
        id: impl Borrow<ClientId>,
    ) -> Result<Vec<String>, Error> {
        let listing = self.client(id).groups().await?;
        Ok(listing.names.into_iter().map(|entry| entry.name).collect())
    }

    /// `uid(uid).clients()`
    #[doc(alias = "getClientIdByUid")]
    pub async fn client_ids_by_uid(&self, uid: impl AsRef<str>) -> Result<Listing, Error> {
        self.uid(uid).clients().await
    }

    /// `group(name).clients()`
    #[doc(alias = "getClientIdListByGroup")]
    pub async fn client_ids_by_group(&self, name: impl AsRef<str>) -> Result<Listing, Error> {
        self.group(name).clients().await
    }

    /// `group(name).count()`
    #[doc(alias = "getClientCountByGroup")]
    #[doc(alias = "getClientIdCountByGroup")]
    pub async fn client_count_by_group(&self, name: impl AsRef<str>) -> Result<Count, Error> {
        self.group(name).count().await
    }

    /// `group(name).clients_with_sessions()`
    #[doc(alias = "getClientInfoByGroup")]
    #[doc(alias = "getClientSessionsByGroup")]
    pub async fn client_sessions_by_group<S>(
        &self,
        name: impl AsRef<str>,
    ) -> Result<Listing<S>, Error>
    where
        S: Serialize + DeserializeOwned + Default,
    {
        self.group(name).clients_with_sessions().await
    }

    /// `group(name).uids()`: with the number of its clients that each has there.
    #[doc(alias = "getUidListByGroup")]
    pub async fn uids_by_group(&self, name: impl AsRef<str>) -> Result<NameListing, Error> {
        self.group(name).uids().await
    }

    /// `group(name).list_uids().count()`: how many distinct uids.
    #[doc(alias = "getUidCountByGroup")]
    pub async fn uid_count_by_group(&self, name: impl AsRef<str>) -> Result<Count, Error> {
        Box::pin(async { self.group(name).list_uids().await?.count().await }).await
    }

    /// `all().clients()`; `all().list()` reads them one by one.
    #[doc(alias = "getAllClientIdList")]
    pub async fn all_client_ids(&self) -> Result<Listing, Error> {
        self.all().clients().await
    }

    /// `all().count()`
    #[doc(alias = "getAllClientCount")]
    #[doc(alias = "getAllClientIdCount")]
    pub async fn all_client_count(&self) -> Result<Count, Error> {
        self.all().count().await
    }

    /// `all().clients_with_sessions()`; `all().list()` reads them one by one.
    #[doc(alias = "getAllClientInfo")]
    #[doc(alias = "getAllClientSessions")]
    pub async fn all_client_sessions<S>(&self) -> Result<Listing<S>, Error>
    where
        S: Serialize + DeserializeOwned + Default,
    {
        self.all().clients_with_sessions().await
    }

    /// `all().uids()`; `all().list_uids()` reads them one by one.
    #[doc(alias = "getAllUidList")]
    pub async fn all_uids(&self) -> Result<NameListing, Error> {
        self.all().uids().await
    }

    /// `all().list_uids().count()`: how many distinct uids.
    #[doc(alias = "getAllUidCount")]
    pub async fn all_uid_count(&self) -> Result<Count, Error> {
        Box::pin(async { self.all().list_uids().await?.count().await }).await
    }

    /// `all().groups()`, with the number of clients in each; `all().list_groups()` reads them one by
    /// one.
    #[doc(alias = "getAllGroupIdList")]
    #[doc(alias = "getAllGroupClientIdCount")]
    pub async fn all_groups(&self) -> Result<NameListing, Error> {
        self.all().groups().await
    }
}

//! What asks something.

use std::borrow::Borrow;

use serde::{Serialize, de::DeserializeOwned};

use crate::{ClientId, Count, Error, Gateway, Listing};

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

    /// `all().count()`
    #[doc(alias = "getAllClientCount")]
    #[doc(alias = "getAllClientIdCount")]
    pub async fn all_client_count(&self) -> Result<Count, Error> {
        self.all().count().await
    }

    /// `group(name).count()`
    #[doc(alias = "getClientCountByGroup")]
    #[doc(alias = "getClientIdCountByGroup")]
    pub async fn client_count_by_group(&self, name: impl AsRef<str>) -> Result<Count, Error> {
        self.group(name).count().await
    }

    /// `group(name).clients_with_sessions()`
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
}

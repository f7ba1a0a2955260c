//! GatewayWorker's method names, in Rust spelling.
//!
//! Each is one line of [`Gateway`]'s own words; search the documentation for the PHP name.

use std::borrow::Borrow;

use serde::{Serialize, de::DeserializeOwned};

use crate::{ClientId, Count, Error, Gateway, Listing, Message};

impl Gateway {
    /// `all().send(message)`
    #[doc(alias = "sendToAll")]
    pub fn send_to_all(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.all().send(message)
    }

    /// `client(id).send(message)`
    #[doc(alias = "sendToClient")]
    pub fn send_to_client(
        &self,
        id: impl Borrow<ClientId>,
        message: impl Into<Message>,
    ) -> Result<(), Error> {
        self.client(id).send(message)
    }

    /// `uid(uid).send(message)`
    #[doc(alias = "sendToUid")]
    pub fn send_to_uid(
        &self,
        uid: impl AsRef<str>,
        message: impl Into<Message>,
    ) -> Result<(), Error> {
        self.uid(uid).send(message)
    }

    /// `group(name).send(message)`
    #[doc(alias = "sendToGroup")]
    pub fn send_to_group(
        &self,
        name: impl AsRef<str>,
        message: impl Into<Message>,
    ) -> Result<(), Error> {
        self.group(name).send(message)
    }

    /// `client(id).close()`
    #[doc(alias = "closeClient")]
    pub fn close_client(&self, id: impl Borrow<ClientId>) -> Result<(), Error> {
        self.client(id).close()
    }

    /// `client(id).destroy()`
    #[doc(alias = "destoryClient")]
    pub fn destroy_client(&self, id: impl Borrow<ClientId>) -> Result<(), Error> {
        self.client(id).destroy()
    }

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

    /// `client(id).bind_uid(uid)`; whether the client is there.
    #[doc(alias = "bindUid")]
    pub async fn bind_uid(
        &self,
        id: impl Borrow<ClientId>,
        uid: impl AsRef<str>,
    ) -> Result<bool, Error> {
        Ok(self.client(id).bind_uid(uid).await? > 0)
    }

    /// `client(id).unbind_uid()`
    #[doc(alias = "unbindUid")]
    pub fn unbind_uid(&self, id: impl Borrow<ClientId>) -> Result<(), Error> {
        self.client(id).unbind_uid()
    }

    /// `client(id).join(group)`; whether the client is there.
    #[doc(alias = "joinGroup")]
    pub async fn join_group(
        &self,
        id: impl Borrow<ClientId>,
        group: impl AsRef<str>,
    ) -> Result<bool, Error> {
        Ok(self.client(id).join(group).await? > 0)
    }

    /// `client(id).leave(group)`
    #[doc(alias = "leaveGroup")]
    pub fn leave_group(
        &self,
        id: impl Borrow<ClientId>,
        group: impl AsRef<str>,
    ) -> Result<(), Error> {
        self.client(id).leave(group)
    }

    /// `group(name).leave(name)`: all members leave.
    pub fn ungroup(&self, name: impl AsRef<str>) -> Result<(), Error> {
        self.group(&name).leave(name)
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

    /// `client(id).set_session(session)`
    #[doc(alias = "setSession")]
    pub fn set_session(
        &self,
        id: impl Borrow<ClientId>,
        session: &(impl Serialize + ?Sized),
    ) -> Result<(), Error> {
        self.client(id).set_session(session)
    }

    /// `client(id).update_session(session)`
    #[doc(alias = "updateSession")]
    pub fn update_session(
        &self,
        id: impl Borrow<ClientId>,
        session: &(impl Serialize + ?Sized),
    ) -> Result<(), Error> {
        self.client(id).update_session(session)
    }
}

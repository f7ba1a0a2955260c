//! What does something.

use std::borrow::Borrow;

use serde::Serialize;

use crate::{ClientId, Close, Error, Gateway, Message};

impl Gateway {
    /// `all().send(message)`
    #[doc(alias = "sendToAll")]
    pub fn send_to_all(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.all().send(message)
    }

    /// `all().except(ids).send(message)`
    #[doc(alias = "sendToAll")]
    pub fn send_to_all_except(
        &self,
        message: impl Into<Message>,
        exclude: impl IntoIterator<Item = ClientId>,
    ) -> Result<(), Error> {
        self.all().except(exclude).send(message)
    }

    /// `clients(ids).send(message)`
    #[doc(alias = "sendToAll")]
    #[doc(alias = "sendToClient")]
    pub fn send_to_clients(
        &self,
        ids: impl IntoIterator<Item = impl Borrow<ClientId>>,
        message: impl Into<Message>,
    ) -> Result<(), Error> {
        self.clients(ids).send(message)
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

    /// `uids(uids).send(message)`
    #[doc(alias = "sendToUid")]
    pub fn send_to_uids(
        &self,
        uids: impl IntoIterator<Item = impl AsRef<str>>,
        message: impl Into<Message>,
    ) -> Result<(), Error> {
        self.uids(uids).send(message)
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

    /// `group(name).except(ids).send(message)`
    #[doc(alias = "sendToGroup")]
    pub fn send_to_group_except(
        &self,
        name: impl AsRef<str>,
        message: impl Into<Message>,
        exclude: impl IntoIterator<Item = ClientId>,
    ) -> Result<(), Error> {
        self.group(name).except(exclude).send(message)
    }

    /// `groups(names).send(message)`: who is in two of them gets it twice.
    #[doc(alias = "sendToGroup")]
    pub fn send_to_groups(
        &self,
        names: impl IntoIterator<Item = impl AsRef<str>>,
        message: impl Into<Message>,
    ) -> Result<(), Error> {
        self.groups(names).send(message)
    }

    /// `client(id).close()`
    #[doc(alias = "closeClient")]
    pub fn close_client(&self, id: impl Borrow<ClientId>) -> Result<(), Error> {
        self.client(id).close()
    }

    /// `client(id).close_with(Close::default().message(message))`: a last message, then the end.
    #[doc(alias = "closeClient")]
    pub fn close_client_with(
        &self,
        id: impl Borrow<ClientId>,
        message: impl Into<Message>,
    ) -> Result<(), Error> {
        self.client(id)
            .close_with(Close::default().message(message))
    }

    /// `client(id).destroy()`
    #[doc(alias = "destoryClient")]
    pub fn destroy_client(&self, id: impl Borrow<ClientId>) -> Result<(), Error> {
        self.client(id).destroy()
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

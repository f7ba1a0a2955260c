//! The client whose event is being handled.

use std::sync::Arc;

use wire::{ClientId, Command, Group, Uid};

use crate::{BindPolicy, Bound, Close, Error, Gateway, Message, context::Context};

/// The client whose event is being handled, with its session.
///
/// Commands are fire-and-forget unless they are `async`: `Ok` means that they are on their way, in
/// order, not that the client got them. A client that is gone swallows them.
///
/// Until the handler awaits something, or issues something through a [`Gateway`], they ride in the
/// ack of the event and cost no message of their own.
#[derive(Debug)]
pub struct Client<S> {
    /// What is kept for this client. Change it as you like: what differs when the handler is done
    /// travels back with the ack, key by key, before the client's next event. After a panic it is
    /// as it was before the event.
    pub session: S,
    pub(crate) context: Arc<Context>,
    pub(crate) uid: Option<Uid>,
    pub(crate) remote: String,
    pub(crate) local: String,
    pub(crate) attempt: u32,
}

impl<S> Client<S> {
    /// The client's id: what you store, or hand to a page, to reach the client from elsewhere.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.context.client
    }

    /// The uid that is bound to the client, as of this event.
    #[must_use]
    pub fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }

    /// The client's address, `ip:port`; behind a trusted proxy the one that the proxy reported.
    #[must_use]
    pub fn remote_addr(&self) -> &str {
        &self.remote
    }

    /// The address of the listener that took the client, `ip:port`.
    #[must_use]
    pub fn local_addr(&self) -> &str {
        &self.local
    }

    /// Counts the deliveries of this event, from 1. Above 1 it may have been handled before, whole
    /// or in part, by a worker whose ack did not arrive.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The handle for everybody else.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.context.gateway
    }

    /// Sends a message.
    #[doc(alias = "sendToCurrentClient")]
    pub fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.context.issue(Command::Send(message.into().0))
    }

    /// Closes the connection with code 1000, after everything that is pending.
    #[doc(alias = "closeCurrentClient")]
    pub fn close(&self) -> Result<(), Error> {
        self.close_with(Close::default())
    }

    /// Closes the connection, after everything that is pending and after the last message.
    pub fn close_with(&self, close: Close) -> Result<(), Error> {
        self.context.issue(close.command()?)
    }

    /// Drops the connection at once, with everything that is pending.
    #[doc(alias = "destoryCurrentClient")]
    pub fn destroy(&self) -> Result<(), Error> {
        self.context.issue(Command::Destroy)
    }

    /// Makes it a client of this uid, and of no other.
    ///
    /// When this resolves, what you send to the uid reaches the client. A client that is gone in
    /// the meantime is no error: its `on_close` comes next. [`ErrorKind::Timeout`] if its gateway
    /// did not answer.
    ///
    /// [`ErrorKind::Timeout`]: crate::ErrorKind::Timeout
    #[doc(alias = "bindUid")]
    pub async fn bind_uid(&mut self, uid: impl AsRef<str>) -> Result<(), Error> {
        let uid = Uid::new(uid.as_ref())?;
        let target = self.context.gateway.client(self.context.client);
        target.bind_uid(&uid).await?;
        self.uid = Some(uid);
        Ok(())
    }

    /// Makes it a client of this uid, by a policy for those who have it already; see
    /// [`Target::bind_uid_with`](crate::Target::bind_uid_with).
    ///
    /// Look at what it says: only after [`Bound::Yes`] the client has the uid.
    pub async fn bind_uid_with(
        &mut self,
        uid: impl AsRef<str>,
        policy: BindPolicy,
    ) -> Result<Bound, Error> {
        let uid = Uid::new(uid.as_ref())?;
        let target = self.context.gateway.client(self.context.client);
        let bound = target.bind_uid_with(&uid, policy).await?;
        if bound.is_bound() {
            self.uid = Some(uid);
        }
        Ok(bound)
    }

    /// Makes it a client of no uid.
    #[doc(alias = "unbindUid")]
    pub fn unbind_uid(&mut self) -> Result<(), Error> {
        self.context.issue(Command::UnbindUid)?;
        self.uid = None;
        Ok(())
    }

    /// Puts it into a group.
    ///
    /// When this resolves, what you send to the group reaches the client. A client that is gone in
    /// the meantime is no error: its `on_close` comes next. [`ErrorKind::Timeout`] if its gateway
    /// did not answer.
    ///
    /// [`ErrorKind::Timeout`]: crate::ErrorKind::Timeout
    #[doc(alias = "joinGroup")]
    pub async fn join(&mut self, group: impl AsRef<str>) -> Result<(), Error> {
        let target = self.context.gateway.client(self.context.client);
        target.join(group).await.map(|_| ())
    }

    /// Takes it out of a group.
    #[doc(alias = "leaveGroup")]
    pub fn leave(&self, group: impl AsRef<str>) -> Result<(), Error> {
        self.context
            .issue(Command::Leave(Group::new(group.as_ref())?))
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Context({})", self.client)
    }
}

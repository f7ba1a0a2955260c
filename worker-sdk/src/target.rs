//! Targets: whom a command or a query is for.

use serde::Serialize;
use wire::{ClientId, Command, Group, NameError, Request, RequestKind, TargetKind, Uid};

use crate::{Close, Error, Gateway, Message, context, session};

/// Whom a command or a query is for: one client, all clients of a uid, all members of a group, or
/// everybody. Made by [`Gateway`].
///
/// Every command works on every target: `group("a").join("b")` moves a whole room, and
/// `uid("42").close()` signs a user out everywhere. A name that cannot be one (empty, or longer
/// than 1024 bytes) is an error when the target is used: [`ErrorKind::InvalidName`].
///
/// Commands that are not `async` are fire-and-forget: `Ok` means that they are on their way, in
/// order. Clients that are not there, or not there any more, are no error.
///
/// [`ErrorKind::InvalidName`]: crate::ErrorKind::InvalidName
#[derive(Debug, Clone)]
#[must_use = "a target does nothing by itself"]
pub struct Target {
    pub(crate) gateway: Gateway,
    whom: Result<Whom, NameError>,
    except: Vec<ClientId>,
}

#[derive(Debug, Clone)]
pub(crate) enum Whom {
    Client(ClientId),
    Uid(Uid),
    Group(Group),
    All,
}

impl Target {
    pub(crate) fn new(gateway: Gateway, whom: Result<Whom, NameError>) -> Self {
        Self {
            gateway,
            whom,
            except: Vec::new(),
        }
    }

    /// Leaves these clients out.
    pub fn except(mut self, clients: impl IntoIterator<Item = ClientId>) -> Self {
        self.except.extend(clients);
        self
    }

    /// Sends a message. It is encoded once, however many receive it.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.command(Command::Send(message.into().0))
    }

    /// Closes the connections with code 1000, after everything that is pending.
    pub fn close(&self) -> Result<(), Error> {
        self.close_with(Close::default())
    }

    /// Closes the connections, after everything that is pending and after the last message.
    pub fn close_with(&self, close: Close) -> Result<(), Error> {
        self.command(close.command()?)
    }

    /// Drops the connections at once, with everything that is pending.
    pub fn destroy(&self) -> Result<(), Error> {
        self.command(Command::Destroy)
    }

    /// Makes them clients of no uid.
    pub fn unbind_uid(&self) -> Result<(), Error> {
        self.command(Command::UnbindUid)
    }

    /// Takes them out of a group.
    pub fn leave(&self, group: impl AsRef<str>) -> Result<(), Error> {
        self.command(Command::Leave(Group::new(group.as_ref())?))
    }

    /// Puts this session in the place of theirs: a map with text keys, or a struct.
    pub fn set_session(&self, session: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.command(Command::SetSession(session::to_session(session)?))
    }

    /// Merges this into their sessions, map by map: other keys stay as they are.
    pub fn update_session(&self, session: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.command(Command::UpdateSession(session::to_session(session)?))
    }

    /// Makes them clients of this uid, and of no other; says how many it were.
    ///
    /// When this resolves, what you send to the uid reaches them. It is for those who are there
    /// when it is issued; [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if not all their
    /// gateways answered.
    pub async fn bind_uid(&self, uid: impl AsRef<str>) -> Result<u64, Error> {
        let command = Command::BindUid(Uid::new(uid.as_ref())?);
        Box::pin(self.await_command(command)).await
    }

    /// Puts them into a group; says how many it were.
    ///
    /// When this resolves, what you send to the group reaches them. It is for those who are there
    /// when it is issued; [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if not all their
    /// gateways answered.
    pub async fn join(&self, group: impl AsRef<str>) -> Result<u64, Error> {
        let command = Command::Join(Group::new(group.as_ref())?);
        Box::pin(self.await_command(command)).await
    }

    fn command(&self, command: Command) -> Result<(), Error> {
        let (subject, request) = self.request(RequestKind::Command(command))?;
        context::overtaking();
        self.gateway.link().publish(subject, wire::encode(&request))
    }

    pub(crate) fn whom(&self) -> Result<&Whom, Error> {
        self.whom.as_ref().map_err(|e| e.clone().into())
    }

    /// The target's own subject, and the request to put there.
    pub(crate) fn request(&self, kind: RequestKind) -> Result<(String, Request), Error> {
        let subjects = &self.gateway.link().subjects;
        let (subject, to) = match self.whom()? {
            Whom::Client(id) => (subjects.client(*id), None),
            Whom::Uid(uid) => (subjects.uid(uid), Some(uid.to_string())),
            Whom::Group(group) => (subjects.group(group), Some(group.to_string())),
            Whom::All => (subjects.all(), None),
        };
        let request = Request {
            to,
            target: None,
            except: self.except.clone(),
            kind,
        };
        Ok((subject, request))
    }

    /// The request to put on a subject that does not name the target.
    pub(crate) fn request_elsewhere(&self, kind: RequestKind) -> Result<Request, Error> {
        let target = match self.whom()? {
            Whom::Client(_) => TargetKind::Client,
            Whom::Uid(_) => TargetKind::Uid,
            Whom::Group(_) => TargetKind::Group,
            Whom::All => TargetKind::All,
        };
        let (_, request) = self.request(kind)?;
        Ok(Request {
            target: Some(target),
            ..request
        })
    }
}

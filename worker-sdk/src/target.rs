//! Targets: whom a command or a query is for.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use wire::{
    ClientId, Command, ConnId, GatewayId, Group, NameError, Request, RequestKind, TargetKind, Uid,
};

use crate::{
    Close, Error, ErrorKind, Gateway, Message, Reached, confirm::Inquiry, context, outbox::Letter,
    session,
};

/// How many connection ids one request names at the most: some 40 KB of them.
const MOST_CONNS: usize = 4096;

/// Whom a command or a query is for: one client, all clients of a uid, all members of a group,
/// everybody, or several of a kind. Made by [`Gateway`].
///
/// Every command works on every target: `group("a").join("b")` moves a whole room, and
/// `uid("42").close()` signs a user out everywhere. A name that cannot be one (empty, or longer
/// than 1024 bytes) is an error when the target is used: [`ErrorKind::InvalidName`].
///
/// Commands that are not `async` are fire-and-forget: `Ok` means that they are on their way, in
/// order. Clients that are not there, or not there any more, are no error. With several targets
/// either all of their messages are on their way, or none is.
///
/// Those that are `async` are issued when they are first polled, in the same order, and wait for
/// the gateways' answers.
///
/// [`ErrorKind::InvalidName`]: crate::ErrorKind::InvalidName
#[derive(Debug, Clone)]
#[must_use = "a target does nothing by itself"]
pub struct Target {
    pub(crate) gateway: Gateway,
    whom: Result<Whom, NameError>,
    except: Vec<ClientId>,
    version: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) enum Whom {
    Client(ClientId),
    Uid(Uid),
    Group(Group),
    All,
    Clients(BTreeSet<ClientId>),
    Uids(BTreeSet<Uid>),
    Groups(BTreeSet<Group>),
}

impl Whom {
    const fn is_several(&self) -> bool {
        matches!(self, Self::Clients(_) | Self::Uids(_) | Self::Groups(_))
    }
}

impl Target {
    pub(crate) fn new(gateway: Gateway, whom: Result<Whom, NameError>) -> Self {
        Self {
            gateway,
            whom,
            except: Vec::new(),
            version: None,
        }
    }

    /// Leaves these clients out.
    pub fn except(mut self, clients: impl IntoIterator<Item = ClientId>) -> Self {
        self.except.extend(clients);
        self
    }

    /// Only those whose session has this version.
    pub(crate) fn if_version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// Sends a message. It is encoded once, however many receive it.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.command(Command::Send(message.into().0))
    }

    /// Sends a message, and says into how many clients' mailboxes it was put, and which gateways
    /// did not answer. That a client has read it, only the client can say.
    ///
    /// It keeps its place among what this process issues, before and after. Every gateway gets it,
    /// also those without such clients, so [`send`](Self::send) is cheaper where there are many.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] while NATS is away; it may arrive all the same.
    pub async fn send_confirmed(&self, message: impl Into<Message>) -> Result<Reached, Error> {
        let command = Command::Send(message.into().0);
        Box::pin(self.confirm(command)).await
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
    ///
    /// [`ErrorKind::Session`] if it is neither, or has more than 64 KiB.
    pub fn set_session(&self, session: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.command(Command::SetSession(session::to_session(session)?))
    }

    /// Merges this into their sessions, map by map: other keys stay as they are.
    ///
    /// A session that would grow over 64 KiB stays as it was. Nobody waits for that answer here, so
    /// only the gateway's counter tells of it; [`update_session_if`](Self::update_session_if) says
    /// so.
    pub fn update_session(&self, session: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.command(Command::UpdateSession(session::to_session(session)?))
    }

    /// Puts this session in the place of the client's, if that has still this version; says the
    /// version that it has then, or `None` if the client is gone.
    ///
    /// So of two who read a session and change it, the slower one learns of it:
    /// [`ErrorKind::Conflict`], with the present version in [`Error::session_version`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTarget`] if the target is not one client, [`ErrorKind::Session`] if it is
    /// no session or too large, [`ErrorKind::Timeout`] if the gateway did not answer: then it was
    /// done or not, and the version tells.
    pub async fn set_session_if(
        &self,
        version: u64,
        session: &(impl Serialize + ?Sized),
    ) -> Result<Option<u64>, Error> {
        let command = Command::SetSession(session::to_session(session)?);
        Box::pin(self.swap_session(command, version)).await
    }

    /// Merges this into the client's session, if that has still this version; otherwise like
    /// [`set_session_if`](Self::set_session_if).
    pub async fn update_session_if(
        &self,
        version: u64,
        session: &(impl Serialize + ?Sized),
    ) -> Result<Option<u64>, Error> {
        let command = Command::UpdateSession(session::to_session(session)?);
        Box::pin(self.swap_session(command, version)).await
    }

    /// Makes them clients of this uid, and of no other; says how many it were.
    ///
    /// When this resolves, what you send to the uid reaches them. It is for those who are there
    /// when it is issued; [`ErrorKind::Timeout`] if not all their
    /// gateways answered.
    pub async fn bind_uid(&self, uid: impl AsRef<str>) -> Result<u64, Error> {
        let command = Command::BindUid(Uid::new(uid.as_ref())?);
        Box::pin(self.await_command(command)).await
    }

    /// Puts them into a group; says how many it were.
    ///
    /// When this resolves, what you send to the group reaches them. It is for those who are there
    /// when it is issued; [`ErrorKind::Timeout`] if not all their
    /// gateways answered.
    pub async fn join(&self, group: impl AsRef<str>) -> Result<u64, Error> {
        let command = Command::Join(Group::new(group.as_ref())?);
        Box::pin(self.await_command(command)).await
    }

    pub(crate) fn command(&self, command: Command) -> Result<(), Error> {
        let link = self.gateway.link();
        let kind = RequestKind::Command(command);
        if !self.whom()?.is_several() {
            let (subject, request) = self.request(kind)?;
            context::overtaking();
            return link.publish(subject, wire::encode(&request));
        }
        let (mut letters, mut bytes) = (Vec::new(), 0);
        for (subject, request) in self.several(&kind)? {
            let payload = wire::encode(&request);
            // what does not fit together is not even gathered
            bytes += payload.len();
            link.outbox.check(bytes)?;
            letters.push(Letter {
                subject,
                reply: None,
                payload,
            });
        }
        context::overtaking();
        link.publish_all(letters)
    }

    pub(crate) fn whom(&self) -> Result<&Whom, Error> {
        self.whom.as_ref().map_err(|e| e.clone().into())
    }

    /// The target's own subject, and the request to put there.
    pub(crate) fn request(&self, kind: RequestKind) -> Result<(String, Request), Error> {
        let subjects = &self.gateway.link().subjects;
        let request = self.bare(kind);
        Ok(match self.whom()? {
            Whom::Client(id) => (subjects.client(*id), request),
            Whom::Uid(uid) => (subjects.uid(uid), request.to(&**uid)),
            Whom::Group(group) => (subjects.group(group), request.to(&**group)),
            Whom::All => (subjects.all(), request),
            Whom::Clients(_) | Whom::Uids(_) | Whom::Groups(_) => return Err(one_only()),
        })
    }

    /// The request to put on a subject that does not name the target.
    pub(crate) fn request_elsewhere(&self, kind: RequestKind) -> Result<Request, Error> {
        let request = self.bare(kind);
        let (target, request) = match self.whom()? {
            Whom::Client(_) => (TargetKind::Client, request),
            Whom::Uid(uid) => (TargetKind::Uid, request.to(&**uid)),
            Whom::Group(group) => (TargetKind::Group, request.to(&**group)),
            Whom::All => (TargetKind::All, request),
            Whom::Clients(_) | Whom::Uids(_) | Whom::Groups(_) => return Err(one_only()),
        };
        Ok(Request {
            target: Some(target),
            ..request
        })
    }

    /// What goes out for several targets, and where.
    fn several(&self, kind: &RequestKind) -> Result<Vec<(String, Request)>, Error> {
        let subjects = &self.gateway.link().subjects;
        Ok(match self.whom()? {
            Whom::Clients(ids) => {
                let requests = self.by_gateway(ids, kind).into_iter();
                let place = |(gateway, request)| (subjects.gateway(gateway), request);
                requests.map(place).collect()
            }
            Whom::Uids(uids) => {
                let place = |uid: &Uid| (subjects.uid(uid), self.bare(kind.clone()).to(&**uid));
                uids.iter().map(place).collect()
            }
            Whom::Groups(groups) => {
                let place =
                    |name: &Group| (subjects.group(name), self.bare(kind.clone()).to(&**name));
                groups.iter().map(place).collect()
            }
            _ => vec![self.request(kind.clone())?],
        })
    }

    /// The same where everybody who may have such clients is to answer, also those who have none.
    pub(crate) fn inquiries(&self, kind: &RequestKind) -> Result<Vec<Inquiry>, Error> {
        let subjects = &self.gateway.link().subjects;
        let everywhere = |target, name: &str| Inquiry {
            subject: subjects.all(),
            request: Request {
                target: Some(target),
                ..self.bare(kind.clone()).to(name)
            },
            gateway: None,
        };
        let uid = |uid: &Uid| everywhere(TargetKind::Uid, uid);
        let group = |group: &Group| everywhere(TargetKind::Group, group);
        Ok(match self.whom()? {
            Whom::Client(id) => vec![Inquiry {
                subject: subjects.client(*id),
                request: self.bare(kind.clone()),
                gateway: Some(id.gateway),
            }],
            Whom::Uid(name) => vec![uid(name)],
            Whom::Group(name) => vec![group(name)],
            Whom::All => vec![Inquiry {
                subject: subjects.all(),
                request: self.bare(kind.clone()),
                gateway: None,
            }],
            Whom::Clients(ids) => {
                let requests = self.by_gateway(ids, kind).into_iter();
                let inquiry = |(gateway, request)| Inquiry {
                    subject: subjects.gateway(gateway),
                    request,
                    gateway: Some(gateway),
                };
                requests.map(inquiry).collect()
            }
            Whom::Uids(names) => names.iter().map(uid).collect(),
            Whom::Groups(names) => names.iter().map(group).collect(),
        })
    }

    /// A request for each gateway of these clients, or several where they are many.
    fn by_gateway(
        &self,
        ids: &BTreeSet<ClientId>,
        kind: &RequestKind,
    ) -> Vec<(GatewayId, Request)> {
        let mut gateways: BTreeMap<GatewayId, Vec<ConnId>> = BTreeMap::new();
        for id in ids {
            gateways.entry(id.gateway).or_default().push(id.conn);
        }
        let pieces = gateways.iter().flat_map(|(gateway, conns)| {
            let request = |conns: &[ConnId]| self.bare(kind.clone()).conns(conns.to_vec());
            let piece = move |conns| (*gateway, request(conns));
            conns.chunks(MOST_CONNS).map(piece)
        });
        pieces.collect()
    }

    /// The request, without a word on whom it is for.
    fn bare(&self, kind: RequestKind) -> Request {
        Request {
            to: None,
            target: None,
            conns: Vec::new(),
            except: self.except.clone(),
            version: self.version,
            kind,
        }
    }
}

fn one_only() -> Error {
    let says = "a query is about one client, uid or group, or about all: ask for each by itself";
    Error::new(ErrorKind::InvalidTarget, says)
}

//! The handle for everybody and everything.

use std::{
    borrow::Borrow,
    collections::BTreeSet,
    fmt,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use wire::{ClientId, Group, Uid, WorkerId};

use crate::{
    Error, Target,
    credentials::Credentials,
    link::Link,
    settings::{Settings, process_var},
    target::Whom,
};

/// The handle with which anything is done that is not about a handler's own client: also from
/// outside a worker, from a web back end for example.
///
/// Name whom you mean, then what to do:
///
/// ```no_run
/// # async fn f(gateway: worker_sdk::Gateway) -> Result<(), worker_sdk::Error> {
/// gateway.uid("42").send("hello, on all your devices")?;
/// gateway.group("lobby").send("hello, all of you in the lobby")?;
/// gateway.all().send("hello, everybody")?;
/// let online = gateway.group("lobby").count().await?.total;
/// # Ok(()) }
/// ```
///
/// A clone is cheap, and all clones share one connection and one order: what one process issues
/// reaches a client in the order in which it was issued, whatever the targets.
///
/// Commands that are not `async` go into an outbox and never wait. It is bounded (64 MiB): while
/// NATS is away it fills, and then they fail with [`ErrorKind::Full`](crate::ErrorKind::Full).
#[derive(Clone)]
pub struct Gateway {
    link: Arc<Link>,
}

impl Gateway {
    /// Connects as the environment says: `NATS_URL` (comma-separated; default
    /// `nats://127.0.0.1:4222`), `NATS_USER` with `NATS_PASSWORD_FILE`, `NATS_TOKEN_FILE`,
    /// `NATS_NKEY_FILE`, `NATS_CREDS_FILE`, `NATS_CA_FILE`, `NATS_CERT_FILE` with `NATS_KEY_FILE`,
    /// `GATEBUS_PREFIX`. The files are read at each connect.
    ///
    /// While NATS is not there it tries on, and says so once in the log; wrong credentials are an
    /// error at once. See [`GatewayBuilder::connect_timeout`] for another way.
    pub async fn from_env() -> Result<Self, Error> {
        let settings = Settings::from_vars(&process_var)?;
        GatewayBuilder::new(settings).connect().await
    }

    /// Connects as you say.
    #[must_use]
    pub fn builder() -> GatewayBuilder {
        GatewayBuilder::new(Settings::default())
    }

    /// One client.
    pub fn client(&self, id: impl Borrow<ClientId>) -> Target {
        Target::new(self.clone(), Ok(Whom::Client(*id.borrow())))
    }

    /// All clients of a uid.
    pub fn uid(&self, uid: impl AsRef<str>) -> Target {
        Target::new(self.clone(), Uid::new(uid.as_ref()).map(Whom::Uid))
    }

    /// All members of a group.
    pub fn group(&self, name: impl AsRef<str>) -> Target {
        Target::new(self.clone(), Group::new(name.as_ref()).map(Whom::Group))
    }

    /// Several clients, wherever they are.
    ///
    /// A command goes out as one message for each gateway that has some of them. One that is named
    /// twice is meant once; those that are not there are no error.
    pub fn clients(&self, ids: impl IntoIterator<Item = impl Borrow<ClientId>>) -> Target {
        let ids: BTreeSet<ClientId> = ids.into_iter().map(|id| *id.borrow()).collect();
        Target::new(self.clone(), Ok(Whom::Clients(ids)))
    }

    /// All clients of several uids. A command goes out as one message for each uid.
    pub fn uids(&self, uids: impl IntoIterator<Item = impl AsRef<str>>) -> Target {
        let uids = uids.into_iter().map(|uid| Uid::new(uid.as_ref()));
        Target::new(self.clone(), uids.collect::<Result<_, _>>().map(Whom::Uids))
    }

    /// All members of several groups.
    ///
    /// A command goes out as one message for each group, so a client that is in two of them gets a
    /// message **twice**, as with GatewayWorker; a group that is named twice counts once.
    pub fn groups(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Target {
        let names = names.into_iter().map(|name| Group::new(name.as_ref()));
        Target::new(
            self.clone(),
            names.collect::<Result<_, _>>().map(Whom::Groups),
        )
    }

    /// Everybody.
    pub fn all(&self) -> Target {
        Target::new(self.clone(), Ok(Whom::All))
    }

    /// The worker's id, as logs, beats and `nats micro ls` show it. Outside a worker it names this
    /// handle and its clones.
    pub fn worker_id(&self) -> WorkerId {
        self.link.id
    }

    /// Resolves when everything that was issued before has reached the NATS server.
    ///
    /// Await it before a process ends: what is still in the outbox then is lost.
    pub async fn flush(&self) -> Result<(), Error> {
        self.link.round_trip().await
    }

    /// Whether NATS can be reached at this moment, as far as is known: a server that has gone silent
    /// is noticed after some pings.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.is_connected()
    }

    pub(crate) fn over(link: Arc<Link>) -> Self {
        Self { link }
    }

    pub(crate) fn downgrade(&self) -> Weak<Link> {
        Arc::downgrade(&self.link)
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gateway({})", self.link.subjects.prefix())
    }
}

/// Says how to connect; made by [`Gateway::builder`].
#[derive(Debug)]
pub struct GatewayBuilder {
    settings: Result<Settings, Error>,
}

/// The settings that a gateway handle and a worker have in common.
macro_rules! connection_settings {
    () => {
        /// The servers, comma-separated: `nats://one:4222,tls://two:4222`. User and password, or a
        /// token, may stand before an `@`. Default `nats://127.0.0.1:4222`.
        #[must_use]
        pub fn nats_url(self, urls: impl AsRef<str>) -> Self {
            self.set(|settings| settings.urls(urls.as_ref()))
        }

        /// Connects as this user.
        #[must_use]
        pub fn user(self, name: impl Into<String>, password: impl Into<String>) -> Self {
            let (name, password) = (name.into(), password.into().into());
            self.set(|settings| settings.credentials(Credentials::User { name, password }))
        }

        /// Connects as this user, with the password that stands in the file. It is read at each
        /// connect, as all files of credentials are, so one that was rotated counts from the next
        /// connection on.
        #[must_use]
        pub fn user_file(self, name: impl Into<String>, password: impl Into<PathBuf>) -> Self {
            let (name, password) = (name.into(), password.into().into());
            self.set(|settings| settings.credentials(Credentials::User { name, password }))
        }

        /// Connects with this token.
        #[must_use]
        pub fn token(self, token: impl Into<String>) -> Self {
            self.set(|settings| settings.credentials(Credentials::Token(token.into().into())))
        }

        /// Connects with the token in this file.
        #[must_use]
        pub fn token_file(self, path: impl Into<PathBuf>) -> Self {
            self.set(|settings| settings.credentials(Credentials::Token(path.into().into())))
        }

        /// Connects with the nkey that belongs to this seed.
        #[must_use]
        pub fn nkey(self, seed: impl Into<String>) -> Self {
            self.set(|settings| settings.credentials(Credentials::Nkey(seed.into().into())))
        }

        /// Connects with the nkey whose seed stands in this file.
        #[must_use]
        pub fn nkey_file(self, path: impl Into<PathBuf>) -> Self {
            self.set(|settings| settings.credentials(Credentials::Nkey(path.into().into())))
        }

        /// Connects with the text of a creds file.
        #[must_use]
        pub fn creds(self, creds: impl Into<String>) -> Self {
            self.set(|settings| settings.credentials(Credentials::Creds(creds.into().into())))
        }

        /// Connects with this creds file.
        #[must_use]
        pub fn creds_file(self, path: impl Into<PathBuf>) -> Self {
            self.set(|settings| settings.credentials(Credentials::Creds(path.into().into())))
        }

        /// Shows this certificate to a server that asks for one, from PEM files that are read at each
        /// connect. Implies TLS.
        #[must_use]
        pub fn client_certificate(self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
            self.set(|settings| settings.certificate(cert.into(), key.into()))
        }

        /// Trusts the certificates in this PEM file, for TLS; read at each connect.
        #[must_use]
        pub fn ca_file(self, path: impl Into<PathBuf>) -> Self {
            self.set(|settings| settings.ca_file(path.into()))
        }

        /// The first tokens of every subject; one prefix is one tenant. Default `gatebus`.
        #[must_use]
        pub fn prefix(self, prefix: impl AsRef<str>) -> Self {
            self.set(|settings| settings.prefix(prefix.as_ref()))
        }

        /// The connection's name, as NATS shows it to operators.
        #[must_use]
        pub fn name(self, name: impl Into<String>) -> Self {
            self.set(|settings| {
                settings.name = name.into();
                Ok(())
            })
        }

        /// How many bytes may wait for NATS before commands fail with
        /// [`ErrorKind::Full`](crate::ErrorKind::Full). Default 64 MiB.
        #[must_use]
        pub fn outbox_limit(self, bytes: usize) -> Self {
            self.set(|settings| {
                settings.outbox_limit = bytes;
                Ok(())
            })
        }

        /// How long to wait for gateways that are asked something. Default 3 s, the time after
        /// which a silent gateway counts as gone.
        #[must_use]
        pub fn query_timeout(self, time: Duration) -> Self {
            self.set(|settings| {
                settings.query_timeout = time;
                Ok(())
            })
        }

        /// Gives up when NATS was not there for so long at the start. Default: tries for ever.
        #[must_use]
        pub fn connect_timeout(self, time: Duration) -> Self {
            self.set(|settings| {
                settings.connect_timeout = Some(time);
                Ok(())
            })
        }

        fn set(mut self, apply: impl FnOnce(&mut Settings) -> Result<(), Error>) -> Self {
            if let Ok(settings) = &mut self.settings
                && let Err(error) = apply(settings)
            {
                self.settings = Err(error);
            }
            self
        }
    };
}
pub(crate) use connection_settings;

impl GatewayBuilder {
    fn new(settings: Settings) -> Self {
        Self {
            settings: Ok(settings),
        }
    }

    connection_settings!();

    /// The same, or the first setting that made no sense.
    pub fn check(self) -> Result<Self, Error> {
        Ok(Self::new(self.settings?))
    }

    /// Connects. A setting that made no sense is an error now.
    pub async fn connect(self) -> Result<Gateway, Error> {
        Ok(Gateway::over(Link::connect(&self.settings?).await?))
    }
}

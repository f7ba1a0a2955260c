//! Settings: how to reach NATS, and the limits of a process.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;
use wire::{Prefix, ServiceName};

use crate::{Error, ErrorKind, error};

/// Where NATS is if nobody says.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";
/// How many batches a worker handles at once if nobody says.
pub(crate) const DEFAULT_CONCURRENCY: usize = 1024;

/// Everything that a connection needs, checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) servers: Vec<Server>,
    pub(crate) credentials: Credentials,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) prefix: Prefix,
    /// Of a worker: what it works for.
    pub(crate) service: Option<ServiceName>,
    pub(crate) name: String,
    pub(crate) outbox_limit: usize,
    pub(crate) query_timeout: Duration,
    pub(crate) connect_timeout: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: vec![Server::default()],
            credentials: Credentials::None,
            ca_file: None,
            prefix: Prefix::default(),
            service: None,
            name: "gatebus".to_owned(),
            // What NATS itself keeps for a slow client.
            outbox_limit: 64 * 1024 * 1024,
            query_timeout: Duration::from_secs(3),
            connect_timeout: None,
        }
    }
}

/// The address of a NATS server, without what must not be logged.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Server(pub(crate) ServerAddr);

impl Default for Server {
    fn default() -> Self {
        Self(DEFAULT_URL.parse().expect("the default URL is valid"))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_url_str())
    }
}

/// Who we are to NATS.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) enum Credentials {
    #[default]
    None,
    User {
        name: String,
        password: String,
    },
    Token(String),
    /// The seed.
    Nkey(String),
    /// The text of a creds file.
    Creds(String),
}

/// Says the sort only.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::User { .. } => "user and password",
            Self::Token(_) => "token",
            Self::Nkey(_) => "nkey",
            Self::Creds(_) => "creds",
        })
    }
}

impl Settings {
    /// Reads the variables `NATS_URL`, `NATS_USER`, `NATS_PASSWORD_FILE`, `NATS_TOKEN_FILE`,
    /// `NATS_NKEY_FILE`, `NATS_CREDS_FILE`, `NATS_CA_FILE` and `GATEBUS_PREFIX`, and the files that
    /// they name.
    pub(crate) fn from_vars(vars: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let mut settings = Self::default();
        if let Some(urls) = vars("NATS_URL") {
            settings.urls(&urls).map_err(|e| named("NATS_URL", e))?;
        }
        let secret = |name: &str| {
            vars(name).map(|path| {
                std::fs::read_to_string(&path)
                    .map(|text| text.trim().to_owned())
                    .map_err(|e| Error::new(ErrorKind::Config, format!("{name}: {path}")).with(e))
            })
        };
        let mut given = Vec::new();
        match (vars("NATS_USER"), secret("NATS_PASSWORD_FILE")) {
            (Some(name), Some(password)) => given.push(Credentials::User {
                name,
                password: password?,
            }),
            (None, None) => {}
            _ => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "NATS_USER and NATS_PASSWORD_FILE go together",
                ));
            }
        }
        if let Some(token) = secret("NATS_TOKEN_FILE") {
            given.push(Credentials::Token(token?));
        }
        if let Some(seed) = secret("NATS_NKEY_FILE") {
            given.push(Credentials::Nkey(seed?));
        }
        if let Some(creds) = secret("NATS_CREDS_FILE") {
            given.push(Credentials::Creds(creds?));
        }
        match given.len() {
            // What stands in the URL, if anything does.
            0 => {}
            1 => settings.credentials = given.remove(0),
            _ => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "more than one of NATS_USER, NATS_TOKEN_FILE, NATS_NKEY_FILE, NATS_CREDS_FILE",
                ));
            }
        }
        if let Some(path) = vars("NATS_CA_FILE") {
            settings
                .ca_file(path.into())
                .map_err(|e| named("NATS_CA_FILE", e))?;
        }
        if let Some(prefix) = vars("GATEBUS_PREFIX") {
            settings
                .prefix(&prefix)
                .map_err(|e| named("GATEBUS_PREFIX", e))?;
        }
        Ok(settings)
    }

    /// Takes a comma-separated list of URLs, and credentials out of them.
    ///
    /// async-nats ignores what stands before the `@`, so it is taken here, and out of the URL, so
    /// that no log shows it.
    pub(crate) fn urls(&mut self, urls: &str) -> Result<(), Error> {
        let mut servers = Vec::new();
        let mut found: Option<Credentials> = None;
        for url in urls.split(',').map(str::trim).filter(|u| !u.is_empty()) {
            // The URL itself is not quoted: it may hold a password.
            let bad = |e| Error::new(ErrorKind::Config, "a NATS URL is not valid").with(e);
            let addr: ServerAddr = url.parse().map_err(bad)?;
            let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let inside = match (addr.username(), addr.password()) {
                (None, _) => None,
                (Some(token), None) => Some(Credentials::Token(decode(token))),
                (Some(name), Some(password)) => Some(Credentials::User {
                    name: decode(name),
                    password: decode(password),
                }),
            };
            if inside.is_some() && found.is_some() && inside != found {
                return Err(Error::new(
                    ErrorKind::Config,
                    "the NATS URLs name different users; all servers must take the same",
                ));
            }
            found = found.or(inside);
            let mut plain = addr.into_inner();
            let removed = plain.set_username("").and(plain.set_password(None));
            if removed.is_err() || plain.host_str().is_none_or(str::is_empty) {
                return Err(Error::new(ErrorKind::Config, "a NATS URL has no host"));
            }
            servers.push(Server(ServerAddr::from_url(plain).map_err(bad)?));
        }
        if servers.is_empty() {
            return Err(Error::new(ErrorKind::Config, "no NATS URL was given"));
        }
        self.servers = servers;
        if let Some(credentials) = found {
            self.credentials = credentials;
        }
        Ok(())
    }

    /// Looks at the file now: async-nats takes one that is not there for a server that is not there.
    pub(crate) fn ca_file(&mut self, path: PathBuf) -> Result<(), Error> {
        std::fs::File::open(&path)
            .map_err(|e| Error::new(ErrorKind::Config, path.display().to_string()).with(e))?;
        self.ca_file = Some(path);
        Ok(())
    }

    pub(crate) fn prefix(&mut self, prefix: &str) -> Result<(), Error> {
        self.prefix = Prefix::new(prefix)
            .map_err(|e| Error::new(ErrorKind::Config, "not a prefix").with(e))?;
        Ok(())
    }
}

/// The same error, naming the variable it is about.
pub(crate) fn named(variable: &str, error: Error) -> Error {
    Error::new(
        error.kind(),
        format!("{variable}: {}", error::chain(&error)),
    )
}

/// A variable of the process; an empty one is as good as none.
pub(crate) fn process_var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A time with its unit, as in `30s` or `500ms`; never zero.
pub(crate) fn duration(
    vars: &dyn Fn(&str) -> Option<String>,
    name: &str,
) -> Result<Option<Duration>, Error> {
    let Some(text) = vars(name) else {
        return Ok(None);
    };
    match humantime::parse_duration(&text) {
        Ok(time) if !time.is_zero() => Ok(Some(time)),
        _ => Err(Error::new(
            ErrorKind::Config,
            format!("{name}: {text:?} is not a time with a unit, such as 30s or 500ms"),
        )),
    }
}

/// An address with its port.
pub(crate) fn address(
    vars: &dyn Fn(&str) -> Option<String>,
    name: &str,
) -> Result<Option<SocketAddr>, Error> {
    let Some(text) = vars(name) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        Error::new(
            ErrorKind::Config,
            format!("{name}: {text:?} is not an address with a port, such as 127.0.0.1:7284 or [::]:7284"),
        )
    })
}

/// A whole number above zero.
pub(crate) fn count(
    vars: &dyn Fn(&str) -> Option<String>,
    name: &str,
) -> Result<Option<usize>, Error> {
    let Some(text) = vars(name) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(n) if n > 0 => Ok(Some(n)),
        _ => Err(Error::new(
            ErrorKind::Config,
            format!("{name}: {text:?} is not a number above zero"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(list: &str) -> Result<Settings, Error> {
        let mut settings = Settings::default();
        settings.urls(list).map(|()| settings)
    }

    #[test]
    fn credentials_are_taken_out_of_the_url() {
        let settings = urls("nats://ann:p%40ss@one:4222, two").unwrap();
        assert_eq!(
            settings.credentials,
            Credentials::User {
                name: "ann".into(),
                password: "p@ss".into()
            }
        );
        let shown = format!("{settings:?}");
        assert!(
            shown.contains("one:4222") && shown.contains("two"),
            "{shown}"
        );
        assert!(!shown.contains("ann") && !shown.contains("p@ss"), "{shown}");
        assert_eq!(
            urls("tls://t0ken@one").unwrap().credentials,
            Credentials::Token("t0ken".into())
        );
    }

    #[test]
    fn urls_that_make_no_sense_are_refused_without_quoting_them() {
        for bad in [
            "",
            " , ",
            "http://one",
            "nats://a:secret@one,nats://b:secret@two",
            "nats://",
        ] {
            let error = urls(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn variables_are_checked_and_named_in_the_error() {
        let with = |name: &'static str, value: &'static str| {
            Settings::from_vars(&move |n| (n == name).then(|| value.to_owned()))
        };
        assert_eq!(
            with("GATEBUS_PREFIX", "a.b").unwrap().prefix.as_str(),
            "a.b"
        );
        for (name, value) in [
            ("GATEBUS_PREFIX", "a b"),
            ("NATS_URL", "http://x"),
            ("NATS_TOKEN_FILE", "no/such/file"),
            ("NATS_CA_FILE", "no/such/file"),
            ("NATS_USER", "ann"),
        ] {
            let error = with(name, value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(name), "{error}");
        }
        assert!(Settings::from_vars(&|_| None).is_ok());
    }

    #[test]
    fn times_carry_units_numbers_are_above_zero_and_addresses_have_ports() {
        let time = |text: &'static str| duration(&move |_| Some(text.to_owned()), "T");
        assert_eq!(time("500ms").unwrap(), Some(Duration::from_millis(500)));
        for bad in ["0s", "5", "-1s", "soon"] {
            assert!(time(bad).is_err(), "{bad}");
        }
        let number = |text: &'static str| count(&move |_| Some(text.to_owned()), "N");
        assert_eq!(number("1").unwrap(), Some(1));
        for bad in ["0", "-1", "many"] {
            assert!(number(bad).is_err(), "{bad}");
        }
        let at = |text: &'static str| address(&move |_| Some(text.to_owned()), "A");
        assert_eq!(at("[::1]:80").unwrap(), "[::1]:80".parse().ok());
        for bad in ["80", ":80", "127.0.0.1", "localhost:80"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }
}

//! Settings: how to reach NATS, and the limits of a process.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;
use wire::{Prefix, ServiceName};

use crate::{
    Error, ErrorKind,
    credentials::{ClientCertificate, Credentials, Secret},
    error,
};

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
    pub(crate) certificate: Option<ClientCertificate>,
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
            certificate: None,
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

impl Settings {
    /// Reads the variables `NATS_URL`, `NATS_USER`, `NATS_PASSWORD_FILE`, `NATS_TOKEN_FILE`,
    /// `NATS_NKEY_FILE`, `NATS_CREDS_FILE`, `NATS_CA_FILE`, `NATS_CERT_FILE`, `NATS_KEY_FILE` and
    /// `GATEBUS_PREFIX`, and looks at the files that they name.
    pub(crate) fn from_vars(vars: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let mut settings = Self::default();
        if let Some(urls) = vars("NATS_URL") {
            settings.urls(&urls).map_err(|e| named("NATS_URL", e))?;
        }
        let secret = |name: &str| vars(name).map(|path| Secret::File(path.into()));
        let mut given = Vec::new();
        match (vars("NATS_USER"), secret("NATS_PASSWORD_FILE")) {
            (Some(name), Some(password)) => {
                given.push(("NATS_PASSWORD_FILE", Credentials::User { name, password }));
            }
            (None, None) => {}
            _ => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "NATS_USER and NATS_PASSWORD_FILE go together",
                ));
            }
        }
        for (name, credentials) in [
            (
                "NATS_TOKEN_FILE",
                secret("NATS_TOKEN_FILE").map(Credentials::Token),
            ),
            (
                "NATS_NKEY_FILE",
                secret("NATS_NKEY_FILE").map(Credentials::Nkey),
            ),
            (
                "NATS_CREDS_FILE",
                secret("NATS_CREDS_FILE").map(Credentials::Creds),
            ),
        ] {
            given.extend(credentials.map(|credentials| (name, credentials)));
        }
        match given.len() {
            // What stands in the URL, if anything does.
            0 => {}
            1 => {
                let (name, credentials) = given.remove(0);
                settings
                    .credentials(credentials)
                    .map_err(|e| named(name, e))?;
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "more than one of NATS_USER, NATS_TOKEN_FILE, NATS_NKEY_FILE, NATS_CREDS_FILE",
                ));
            }
        }
        match (vars("NATS_CERT_FILE"), vars("NATS_KEY_FILE")) {
            (Some(cert), Some(key)) => settings
                .certificate(cert.into(), key.into())
                .map_err(|e| named("NATS_CERT_FILE, NATS_KEY_FILE", e))?,
            (None, None) => {}
            _ => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "NATS_CERT_FILE and NATS_KEY_FILE go together",
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
                (Some(token), None) => Some(Credentials::Token(decode(token).into())),
                (Some(name), Some(password)) => Some(Credentials::User {
                    name: decode(name),
                    password: decode(password).into(),
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

    /// Looks at the files now, likewise.
    pub(crate) fn certificate(&mut self, cert: PathBuf, key: PathBuf) -> Result<(), Error> {
        let certificate = ClientCertificate { cert, key };
        certificate.check()?;
        self.certificate = Some(certificate);
        Ok(())
    }

    /// Looks now whether they are what they should be.
    pub(crate) fn credentials(&mut self, credentials: Credentials) -> Result<(), Error> {
        credentials.check()?;
        self.credentials = credentials;
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
                password: "p@ss".to_owned().into()
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
            Credentials::Token("t0ken".to_owned().into())
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
            ("NATS_CERT_FILE", "no/such/file"),
            ("NATS_KEY_FILE", "no/such/file"),
            (
                "NATS_NKEY_FILE",
                concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
            ),
            (
                "NATS_CREDS_FILE",
                concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
            ),
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

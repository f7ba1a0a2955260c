//! Credentials: who we are to NATS, by what we know or by what we show.
//!
//! What stands in a file is read whenever a connection is made, so a Secret that was rotated counts
//! from the next connection on.

use std::{fmt, fs, path::PathBuf, sync::Arc};

use async_nats::{
    Auth,
    rustls::{
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        sign::CertifiedKey,
    },
};
use nkeys::KeyPair;

use crate::{Error, ErrorKind};

/// What we know.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) enum Credentials {
    #[default]
    None,
    User {
        name: String,
        password: Secret,
    },
    Token(Secret),
    /// The seed.
    Nkey(Secret),
    /// What a creds file holds.
    Creds(Secret),
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

/// A secret, or the file that holds it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    Text(String),
    File(PathBuf),
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<PathBuf> for Secret {
    fn from(file: PathBuf) -> Self {
        Self::File(file)
    }
}

impl Secret {
    fn read(&self) -> Result<String, Error> {
        let file = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::File(file) => file,
        };
        let wrong = || Error::new(ErrorKind::Config, file.display().to_string());
        let text = fs::read_to_string(file).map_err(|e| wrong().with(e))?;
        match text.trim() {
            "" => Err(wrong().with("the file is empty")),
            text => Ok(text.to_owned()),
        }
    }

    /// The error, with the file's name if it is one.
    fn wrong(&self, says: &str) -> Error {
        match self {
            Self::Text(_) => Error::new(ErrorKind::Config, says),
            Self::File(file) => {
                Error::new(ErrorKind::Config, format!("{}: {says}", file.display()))
            }
        }
    }

    fn key(&self, seed: &str) -> Result<KeyPair, Error> {
        KeyPair::from_seed(seed).map_err(|e| self.wrong("not an nkey seed").with(e))
    }
}

impl Credentials {
    /// Whether they are what they should be, as far as one can see without a server.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.prove(b"").map(drop)
    }

    /// What is told to a server that sent this nonce.
    pub(crate) fn prove(&self, nonce: &[u8]) -> Result<Auth, Error> {
        let mut auth = Auth::new();
        let sign = |key: &KeyPair| {
            let cannot =
                |e| Error::new(ErrorKind::Config, "cannot sign the server's nonce").with(e);
            key.sign(nonce).map_err(cannot)
        };
        match self {
            Self::None => {}
            Self::User { name, password } => {
                auth.username = Some(name.clone());
                auth.password = Some(password.read()?);
            }
            Self::Token(token) => auth.token = Some(token.read()?),
            Self::Nkey(seed) => {
                let key = seed.key(&seed.read()?)?;
                auth.nkey = Some(key.public_key());
                auth.signature = Some(sign(&key)?);
            }
            Self::Creds(creds) => {
                let text = creds.read()?;
                let (Some(jwt), Some(seed)) = (block(&text, "JWT"), block(&text, "SEED")) else {
                    return Err(creds.wrong("the creds are not what NATS writes"));
                };
                auth.jwt = Some(jwt.to_owned());
                auth.signature = Some(sign(&creds.key(seed)?)?);
            }
        }
        Ok(auth)
    }
}

/// The text between a pair of `-----BEGIN x-----` and `-----END x-----` lines (dashes may vary).
fn block<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|l| l.starts_with("---") && l.contains("BEGIN") && l.contains(name))?;
    lines.find(|l| !l.is_empty())
}

/// What we show: the files of a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl ClientCertificate {
    /// Whether the files hold a certificate and its key: async-nats takes what cannot be read for a
    /// server that is not there.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |file: &PathBuf| Error::new(ErrorKind::Config, file.display().to_string());
        let read = |file: &PathBuf| fs::read(file).map_err(|e| wrong(file).with(e));
        let (cert, key) = (read(&self.cert)?, read(&self.key)?);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&cert).collect();
        let chain = chain.map_err(|e| wrong(&self.cert).with(e))?;
        if chain.is_empty() {
            return Err(wrong(&self.cert).with("no certificate in it"));
        }
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| wrong(&self.key).with(e))?;
        let pair = CertifiedKey::from_der(chain, key, &ring::default_provider());
        let misfit = |e| {
            let (cert, key) = (self.cert.display(), self.key.display());
            Error::new(ErrorKind::Config, format!("{cert} with {key}")).with(e)
        };
        pair.map(drop).map_err(misfit)
    }
}

/// The credentials in the form in which async-nats asks for them at each connection.
pub(crate) fn prover(
    credentials: Credentials,
) -> impl Fn(Vec<u8>) -> std::future::Ready<Result<Auth, async_nats::AuthError>> + Send + Sync {
    let credentials = Arc::new(credentials);
    move |nonce| {
        let proved = credentials.prove(&nonce);
        std::future::ready(proved.map_err(|e| async_nats::AuthError::new(crate::error::chain(&e))))
    }
}

//! Who the gateway is for NATS: server addresses and credentials.
//!
//! Secrets are read once, when the process starts, so that a missing file is found before a port
//! is opened.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use watermelon_proto::{Connect, NonStandardConnect, ServerAddr, Transport};

/// The address of a NATS server: `nats://host:4222` or `tls://host:4222`, with `user:password@` if need be.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(pub(crate) ServerAddr);

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let with_scheme = if text.contains("://") {
            text.to_owned()
        } else {
            format!("nats://{text}")
        };
        let addr: ServerAddr = with_scheme
            .parse()
            .map_err(|_| "an address such as nats://host:4222 is needed".to_owned())?;
        match addr.transport() {
            Transport::TCP => Ok(Self(addr)),
            Transport::Websocket => {
                Err("NATS over WebSocket is not supported; use nats:// or tls://".into())
            }
        }
    }
}

/// Leaves user and password out.
impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match self.0.host() {
            watermelon_proto::Host::Ip(ip) => ip.to_string(),
            watermelon_proto::Host::Dns(name) => name.to_string(),
        };
        write!(f, "{host}:{}", self.0.port())
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How the gateway proves who it is. Never shown.
#[derive(Clone)]
pub enum Credentials {
    /// Not at all, or with what stands in the URL.
    None,
    /// A user and a password.
    Password(String, String),
    /// A token.
    Token(String),
    /// An nkey, which signs the server's nonce.
    Nkey(Arc<KeyPair>),
    /// A user's JWT, and the nkey that signs the server's nonce.
    Jwt(String, Arc<KeyPair>),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password(..) => "Password",
            Self::Token(_) => "Token",
            Self::Nkey(_) => "Nkey",
            Self::Jwt(..) => "Jwt",
        })
    }
}

fn secret(option: &str, file: &Path) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|e| format!("{option} {}: {e}", file.display()))?;
    match text.trim() {
        "" => Err(format!("{option} {}: the file is empty", file.display())),
        text => Ok(text.to_owned()),
    }
}

fn key(option: &str, file: &Path, seed: &str) -> Result<Arc<KeyPair>, String> {
    KeyPair::from_seed(seed)
        .map(Arc::new)
        .map_err(|e| format!("{option} {}: not an nkey seed: {e}", file.display()))
}

/// The text between a pair of `-----BEGIN x-----` and `-----END x-----` lines (dashes may vary).
fn block<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|l| l.starts_with("---") && l.contains("BEGIN") && l.contains(name))?;
    lines.find(|l| !l.is_empty())
}

impl Credentials {
    /// Reads the files of the options that were given; more than one way is an error.
    pub(crate) fn read(
        user: Option<String>,
        password: Option<PathBuf>,
        token: Option<PathBuf>,
        nkey: Option<PathBuf>,
        creds: Option<PathBuf>,
    ) -> Result<Self, String> {
        let ways = [
            user.is_some(),
            token.is_some(),
            nkey.is_some(),
            creds.is_some(),
        ];
        if ways.iter().filter(|given| **given).count() > 1 {
            return Err(
                "--nats-user, --nats-token-file, --nats-nkey-file and --nats-creds-file (NATS_…) exclude each other"
                    .into(),
            );
        }
        if let Some(user) = user {
            let file = password
                .ok_or("--nats-user (NATS_USER) needs --nats-password-file (NATS_PASSWORD_FILE)")?;
            return Ok(Self::Password(
                user,
                secret("--nats-password-file (NATS_PASSWORD_FILE)", &file)?,
            ));
        }
        if let Some(file) = token {
            return Ok(Self::Token(secret(
                "--nats-token-file (NATS_TOKEN_FILE)",
                &file,
            )?));
        }
        if let Some(file) = nkey {
            let option = "--nats-nkey-file (NATS_NKEY_FILE)";
            return Ok(Self::Nkey(key(option, &file, &secret(option, &file)?)?));
        }
        if let Some(file) = creds {
            let option = "--nats-creds-file (NATS_CREDS_FILE)";
            let text = secret(option, &file)?;
            let (Some(jwt), Some(seed)) = (block(&text, "JWT"), block(&text, "SEED")) else {
                return Err(format!(
                    "{option} {}: a JWT block and a SEED block are needed",
                    file.display()
                ));
            };
            return Ok(Self::Jwt(jwt.to_owned(), key(option, &file, seed)?));
        }
        Ok(Self::None)
    }

    /// The CONNECT message for a server that sent this nonce.
    pub(crate) fn connect(
        &self,
        url: &ServerUrl,
        nonce: Option<&str>,
        tls: bool,
        name: &str,
    ) -> Result<Connect, nkeys::error::Error> {
        let mut connect = Connect {
            verbose: false,
            pedantic: false,
            require_tls: tls,
            auth_token: None,
            username: url.0.username().map(str::to_owned),
            password: url.0.password().map(str::to_owned),
            client_name: Some(name.to_owned()),
            client_lang: "rust",
            client_version: env!("CARGO_PKG_VERSION"),
            // no INFO after the first: see `link::dial`
            protocol: 0,
            echo: true,
            signature: None,
            jwt: None,
            supports_no_responders: true,
            supports_headers: true,
            nkey: None,
            non_standard: NonStandardConnect::default(),
        };
        // a URL with a user and no password carries a token
        if connect.username.is_some() && connect.password.is_none() {
            connect.auth_token = connect.username.take();
        }
        let sign = |key: &KeyPair| {
            nonce
                .map(|nonce| {
                    key.sign(nonce.as_bytes())
                        .map(|s| BASE64URL_NOPAD.encode(&s))
                })
                .transpose()
        };
        match self {
            Self::None => {}
            Self::Password(user, password) => {
                connect.username = Some(user.clone());
                connect.password = Some(password.clone());
            }
            Self::Token(token) => connect.auth_token = Some(token.clone()),
            Self::Nkey(key) => {
                connect.nkey = Some(key.public_key());
                connect.signature = sign(key)?;
            }
            Self::Jwt(jwt, key) => {
                connect.jwt = Some(jwt.clone());
                connect.signature = sign(key)?;
            }
        }
        Ok(connect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_neither_user_nor_password() {
        let url: ServerUrl = "nats://me:secret@nats.example:4333".parse().unwrap();
        assert_eq!(url.to_string(), "nats.example:4333");
        assert_eq!(format!("{url:?}"), "nats.example:4333");
        assert_eq!(url.0.password(), Some("secret"));
        assert_eq!(
            "localhost:4222".parse::<ServerUrl>().unwrap().to_string(),
            "localhost:4222"
        );
        assert!("http://x".parse::<ServerUrl>().is_err());
    }

    #[test]
    fn a_creds_file_gives_its_two_blocks() {
        let text = "-----BEGIN NATS USER JWT-----\nabc.def\n------END NATS USER JWT------\n\n\
                    ************ IMPORTANT ************\n\n-----BEGIN USER NKEY SEED-----\nSUAxyz\n------END USER NKEY SEED------\n";
        assert_eq!(block(text, "JWT"), Some("abc.def"));
        assert_eq!(block(text, "SEED"), Some("SUAxyz"));
    }

    #[test]
    fn two_ways_to_prove_oneself_are_one_too_many() {
        let file = Some(PathBuf::from("x"));
        let error = Credentials::read(None, None, file.clone(), file, None).unwrap_err();
        assert!(error.contains("exclude each other"), "{error}");
    }
}

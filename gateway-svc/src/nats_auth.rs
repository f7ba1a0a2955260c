//! Who the gateway is for NATS: server addresses and credentials.
//!
//! Secrets are read when the process starts, so that a missing file is found before a port is
//! opened, and again for every connection, so that one that was rotated counts from then on.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use url::Url;

/// The address of a NATS server: `nats://host:4222` or `tls://host:4222`, with `user:password@` if need be.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    user: Option<String>,
    password: Option<String>,
}

/// The port that nats-server listens on unless it is told otherwise.
const DEFAULT_PORT: u16 = 4222;

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = if text.contains("://") {
            text.to_owned()
        } else {
            format!("nats://{text}")
        };
        let wrong = || "an address such as nats://host:4222 is needed".to_owned();
        let url = Url::parse(&text).map_err(|_| wrong())?;
        let tls = match url.scheme() {
            "nats" => false,
            "tls" => true,
            "ws" | "wss" => {
                return Err("NATS over WebSocket is not supported; use nats:// or tls://".into());
            }
            _ => return Err(wrong()),
        };
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(wrong)?;
        let plain = |text: &str| {
            let decoded = percent_decode_str(text)
                .decode_utf8()
                .map_err(|_| wrong())?;
            Ok::<_, String>((!decoded.is_empty()).then(|| decoded.into_owned()))
        };
        Ok(Self {
            tls,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(DEFAULT_PORT),
            user: plain(url.username())?,
            password: plain(url.password().unwrap_or_default())?,
        })
    }
}

impl ServerUrl {
    /// The whole address, with stars in the place of user and password, or token.
    pub(crate) fn masked(&self) -> String {
        let scheme = if self.tls { "tls" } else { "nats" };
        let who = match (&self.user, &self.password) {
            (None, None) => "",
            _ => "***@",
        };
        format!("{scheme}://{who}{self}")
    }
}

/// Leaves user and password out.
impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How the gateway proves who it is: the files that hold it, which are read for each connection.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Not at all, or with what stands in the URL, or by its certificate.
    None,
    /// A user, and a file with the password.
    Password(String, PathBuf),
    /// A file with a token.
    Token(PathBuf),
    /// A file with the seed of an nkey, which signs the server's nonce.
    Nkey(PathBuf),
    /// A file with a user's JWT, and the nkey that signs the server's nonce.
    Creds(PathBuf),
}

/// Why there is nothing to prove oneself with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unproven {
    /// A file that is named by its option.
    #[error("{0}")]
    File(String),
    #[error("cannot sign the server's nonce: {0}")]
    Sign(#[from] nkeys::error::Error),
}

fn secret(option: &str, file: &Path) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|e| format!("{option} {}: {e}", file.display()))?;
    match text.trim() {
        "" => Err(format!("{option} {}: the file is empty", file.display())),
        text => Ok(text.to_owned()),
    }
}

fn key(option: &str, file: &Path, seed: &str) -> Result<KeyPair, String> {
    KeyPair::from_seed(seed)
        .map_err(|e| format!("{option} {}: not an nkey seed: {e}", file.display()))
}

/// The text between a pair of `-----BEGIN x-----` and `-----END x-----` lines (dashes may vary).
fn block<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|l| l.starts_with("---") && l.contains("BEGIN") && l.contains(name))?;
    lines.find(|l| !l.is_empty())
}

/// What stands in the files.
enum Secret<'a> {
    None,
    Password(&'a str, String),
    Token(String),
    Nkey(KeyPair),
    Jwt(String, KeyPair),
}

impl Credentials {
    /// Those of the options that were given; more than one way is an error.
    pub(crate) fn named(
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
            return Ok(Self::Password(user, file));
        }
        let ways = [
            token.map(Self::Token),
            nkey.map(Self::Nkey),
            creds.map(Self::Creds),
        ];
        Ok(ways.into_iter().flatten().next().unwrap_or(Self::None))
    }

    /// Whether the files hold what they should; an error is one line that names option and file.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.read().map(drop)
    }

    fn read(&self) -> Result<Secret<'_>, String> {
        Ok(match self {
            Self::None => Secret::None,
            Self::Password(user, file) => {
                let option = "--nats-password-file (NATS_PASSWORD_FILE)";
                Secret::Password(user, secret(option, file)?)
            }
            Self::Token(file) => {
                Secret::Token(secret("--nats-token-file (NATS_TOKEN_FILE)", file)?)
            }
            Self::Nkey(file) => {
                let option = "--nats-nkey-file (NATS_NKEY_FILE)";
                Secret::Nkey(key(option, file, &secret(option, file)?)?)
            }
            Self::Creds(file) => {
                let option = "--nats-creds-file (NATS_CREDS_FILE)";
                let text = secret(option, file)?;
                let (Some(jwt), Some(seed)) = (block(&text, "JWT"), block(&text, "SEED")) else {
                    return Err(format!(
                        "{option} {}: a JWT block and a SEED block are needed",
                        file.display()
                    ));
                };
                Secret::Jwt(jwt.to_owned(), key(option, file, seed)?)
            }
        })
    }

    /// The CONNECT message for a server that sent this nonce, as JSON.
    pub(crate) fn connect(
        &self,
        url: &ServerUrl,
        nonce: Option<&str>,
        tls: bool,
        name: &str,
    ) -> Result<Vec<u8>, Unproven> {
        let secret = self.read().map_err(Unproven::File)?;
        let sign = |key: &KeyPair| {
            let sign = |nonce: &str| {
                key.sign(nonce.as_bytes())
                    .map(|s| BASE64URL_NOPAD.encode(&s))
            };
            nonce.map(sign).transpose()
        };
        let mut connect = Connect {
            tls_required: tls,
            name,
            lang: "rust",
            version: env!("CARGO_PKG_VERSION"),
            protocol: 1,
            echo: true,
            no_responders: true,
            headers: true,
            ..Connect::default()
        };
        match &secret {
            // a URL with a user and no password carries a token
            Secret::None if url.password.is_none() => connect.auth_token = url.user.as_deref(),
            Secret::None => {
                connect.user = url.user.as_deref();
                connect.pass = url.password.as_deref();
            }
            Secret::Password(user, password) => {
                connect.user = Some(user);
                connect.pass = Some(password);
            }
            Secret::Token(token) => connect.auth_token = Some(token),
            Secret::Nkey(key) => {
                connect.nkey = Some(key.public_key());
                connect.sig = sign(key)?;
            }
            Secret::Jwt(jwt, key) => {
                connect.jwt = Some(jwt);
                connect.sig = sign(key)?;
            }
        }
        Ok(serde_json::to_vec(&connect).expect("plain data"))
    }
}

/// What a client says first. Absent is not the same as null for every server, so nothing is null.
#[derive(Default, Serialize)]
struct Connect<'a> {
    verbose: bool,
    pedantic: bool,
    tls_required: bool,
    name: &'a str,
    lang: &'a str,
    version: &'a str,
    protocol: u8,
    echo: bool,
    no_responders: bool,
    headers: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nkey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sig: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_neither_user_nor_password() {
        let url: ServerUrl = "nats://me:secret@nats.example:4333".parse().unwrap();
        assert_eq!(url.to_string(), "nats.example:4333");
        assert_eq!(format!("{url:?}"), "nats.example:4333");
        assert_eq!(
            (url.user.as_deref(), url.password.as_deref()),
            (Some("me"), Some("secret"))
        );
        assert_eq!(
            "localhost:4222".parse::<ServerUrl>().unwrap().to_string(),
            "localhost:4222"
        );
        assert!("http://x".parse::<ServerUrl>().is_err());
    }

    #[test]
    fn a_url_may_carry_a_user_or_a_token() {
        let connect = |url: &str| {
            let json = Credentials::None
                .connect(&url.parse().unwrap(), None, false, "n")
                .unwrap();
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            (
                json["user"].clone(),
                json["pass"].clone(),
                json["auth_token"].clone(),
            )
        };
        assert_eq!(
            connect("nats://h"),
            (
                serde_json::Value::Null,
                serde_json::Value::Null,
                serde_json::Value::Null
            )
        );
        assert_eq!(
            connect("nats://a:p%40s@h"),
            ("a".into(), "p@s".into(), serde_json::Value::Null)
        );
        assert_eq!(
            connect("nats://t0k@h"),
            (
                serde_json::Value::Null,
                serde_json::Value::Null,
                "t0k".into()
            )
        );
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
        let error = Credentials::named(None, None, file.clone(), file, None).unwrap_err();
        assert!(error.contains("exclude each other"), "{error}");
    }
}

//! Identities for a guarded NATS server: keys, credentials, certificates.

use std::path::{Path, PathBuf};

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use nkeys::KeyPair;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair as CertificateKey, SerialNumber,
};
use serde_json::{Value, json};

/// Somebody who vouches for servers.
pub struct Authority(CertifiedIssuer<'static, CertificateKey>);

/// A certificate and its key, in PEM.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// The certificate's bytes, as a client sees them.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = CertificateKey::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Its own certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Its own certificate's bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A new certificate for this host.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn certify(&self) -> Certificate {
        let names = ["127.0.0.1".to_owned(), "::1".to_owned()];
        self.sign(CertificateParams::new(names).expect("plain names"))
    }

    /// A new certificate for a client of this name.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn certify_client(&self, name: &str) -> Certificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Certificate {
        params.serial_number = Some(SerialNumber::from_slice(&rand::random::<[u8; 8]>()));
        let key = CertificateKey::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Certificate {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            bytes: certificate.der().to_vec(),
        }
    }
}

/// A server's certificate, and the authority that vouches for it and for clients.
#[derive(Debug)]
pub struct Tls {
    authority: Authority,
    own: Certificate,
    clients: Clients,
}

/// How a server that speaks TLS looks at its clients.
#[derive(Debug, Clone, Default)]
pub enum Clients {
    /// Not at all.
    #[default]
    Any,
    /// They must have a certificate of the authority.
    Verified,
    /// Likewise, and it says which of these users they are, by their common names.
    Mapped(Vec<String>),
}

impl Tls {
    /// A new authority, and a certificate of it for this host.
    #[must_use]
    pub fn new(clients: Clients) -> Self {
        let authority = Authority::new();
        let own = authority.certify();
        Self {
            authority,
            own,
            clients,
        }
    }

    /// Where the authority's certificate stands.
    #[must_use]
    pub fn authority_file(folder: &Path) -> PathBuf {
        folder.join("ca.pem")
    }

    /// A new certificate for a client of this name.
    #[must_use]
    pub fn certify_client(&self, name: &str) -> Certificate {
        self.authority.certify_client(name)
    }

    /// Writes the files, and returns the server's lines that name them.
    ///
    /// # Panics
    /// When a file cannot be written.
    #[must_use]
    pub fn configuration(&self, folder: &Path) -> String {
        let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
        let authority = Self::authority_file(folder);
        for (file, text) in [
            (&authority, &self.authority.pem()),
            (&certificate, &self.own.certificate),
            (&key, &self.own.key),
        ] {
            std::fs::write(file, text).expect("a temporary file");
        }
        let (look, users) = match &self.clients {
            Clients::Any => ("", String::new()),
            Clients::Verified => ("verify: true", String::new()),
            Clients::Mapped(names) => {
                let users = names
                    .iter()
                    .map(|name| format!("{{ user: \"CN={name}\" }}"));
                let users = users.collect::<Vec<_>>().join(", ");
                (
                    "verify_and_map: true",
                    format!("authorization {{ users: [ {users} ] }}"),
                )
            }
        };
        format!(
            "tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {authority:?}, {look} }}\n{users}"
        )
    }
}

/// A user with a key: the public half for the server, the seed for the user.
#[derive(Debug)]
pub struct Nkey {
    /// For the server's list of users.
    pub public: String,
    /// For the user's file.
    pub seed: String,
}

impl Nkey {
    /// A new user.
    ///
    /// # Panics
    /// Never: a new key has its seed.
    #[must_use]
    pub fn user() -> Self {
        let key = KeyPair::new_user();
        Self {
            public: key.public_key(),
            seed: key.seed().expect("a new key has its seed"),
        }
    }
}

/// A server that trusts an operator, and the credentials of a user whom the operator's account
/// vouches for.
#[derive(Debug)]
pub struct Creds {
    /// The server's lines.
    pub configuration: String,
    /// The user's file.
    pub file: String,
}

impl Creds {
    /// A new operator, account and user.
    ///
    /// # Panics
    /// Never: new keys have their seeds.
    #[must_use]
    pub fn new() -> Self {
        let operator = KeyPair::new_operator();
        let account = KeyPair::new_account();
        let user = KeyPair::new_user();
        let own = token(
            &operator,
            &operator,
            json!({"type": "operator", "version": 2}),
        );
        let unlimited = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
            "wildcards": true, "conn": -1, "leaf": -1
        });
        let account_token = token(
            &operator,
            &account,
            json!({"type": "account", "version": 2, "limits": unlimited}),
        );
        let user_token = token(
            &account,
            &user,
            json!({"type": "user", "version": 2, "pub": {}, "sub": {},
                   "subs": -1, "data": -1, "payload": -1}),
        );
        Self {
            configuration: format!(
                "operator: {own:?}\nresolver: MEMORY\nresolver_preload: {{ {}: {account_token:?} }}",
                account.public_key()
            ),
            file: format!(
                "-----BEGIN NATS USER JWT-----\n{user_token}\n------END NATS USER JWT------\n\n\
                 -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
                user.seed().expect("a new key has its seed")
            ),
        }
    }
}

impl Default for Creds {
    fn default() -> Self {
        Self::new()
    }
}

/// A token as NATS reads them: what `issuer` says of `subject`.
fn token(issuer: &KeyPair, subject: &KeyPair, says: Value) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let head = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let claims = json!({
        "jti": BASE32_NOPAD.encode(&rand::random::<[u8; 32]>()),
        "iat": 1,
        "iss": issuer.public_key(),
        "name": "test",
        "sub": subject.public_key(),
        "nats": says,
    });
    let signed = format!("{}.{}", part(&head), part(&claims));
    let signature = issuer.sign(signed.as_bytes()).expect("a new key signs");
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

//! How to reach NATS, and whose tenant one is: the same for the gateway and for `ctl`.

use std::path::PathBuf;

use clap::Args;
use wire::Prefix;

use super::Problems;
use crate::{
    nats_auth::{Credentials, ServerUrl},
    tls::{CertificateFiles, ClientTls},
};

/// What was typed.
#[derive(Debug, Clone, Args)]
pub(crate) struct NatsOptions {
    /// NATS servers, separated by commas; a user and password may stand in the URL; tls:// in one is TLS to all
    #[arg(
        long = "nats",
        env = "NATS_URL",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ',',
        global = true,
        default_value = "nats://127.0.0.1:4222"
    )]
    nats: Vec<ServerUrl>,

    /// User name for NATS
    #[arg(long, env = "NATS_USER", value_name = "NAME", global = true)]
    nats_user: Option<String>,

    /// File with the password for NATS
    #[arg(long, env = "NATS_PASSWORD_FILE", value_name = "FILE", global = true)]
    nats_password_file: Option<PathBuf>,

    /// File with a token for NATS
    #[arg(long, env = "NATS_TOKEN_FILE", value_name = "FILE", global = true)]
    nats_token_file: Option<PathBuf>,

    /// File with an nkey seed for NATS
    #[arg(long, env = "NATS_NKEY_FILE", value_name = "FILE", global = true)]
    nats_nkey_file: Option<PathBuf>,

    /// Credentials file (JWT and seed) for NATS
    #[arg(long, env = "NATS_CREDS_FILE", value_name = "FILE", global = true)]
    nats_creds_file: Option<PathBuf>,

    /// PEM file with the authority that signed the NATS servers' certificates; implies TLS
    #[arg(long, env = "NATS_CA_FILE", value_name = "FILE", global = true)]
    nats_ca_file: Option<PathBuf>,

    /// PEM file with the certificate by which the gateway proves itself to NATS servers that ask for one; implies TLS
    #[arg(long, env = "NATS_CERT_FILE", value_name = "FILE", global = true)]
    nats_cert_file: Option<PathBuf>,

    /// PEM file with that certificate's key
    #[arg(long, env = "NATS_KEY_FILE", value_name = "FILE", global = true)]
    nats_key_file: Option<PathBuf>,

    /// First tokens of every subject; one prefix is one tenant
    #[arg(long, env = "GATEBUS_PREFIX", global = true, default_value = "gatebus")]
    prefix: Prefix,
}

/// What it means.
pub(crate) struct NatsConfig {
    pub(crate) servers: Vec<ServerUrl>,
    pub(crate) credentials: Credentials,
    /// `None` where neither a file nor an address asks for it.
    pub(crate) tls: Option<ClientTls>,
    pub(crate) prefix: Prefix,
}

impl NatsOptions {
    /// Looks at the files that are named.
    pub(crate) fn check(self) -> Result<NatsConfig, Problems> {
        let mut wrong = Problems::default();
        wrong.when(
            self.nats_password_file.is_some() && self.nats_user.is_none(),
            "--nats-password-file (NATS_PASSWORD_FILE) needs --nats-user (NATS_USER)",
        );
        let credentials = wrong.ok(Credentials::named(
            self.nats_user,
            self.nats_password_file,
            self.nats_token_file,
            self.nats_nkey_file,
            self.nats_creds_file,
        ));
        wrong.ok(credentials.as_ref().map_or(Ok(()), Credentials::check));
        let own = wrong.ok(own(self.nats_cert_file, self.nats_key_file));
        let tls = wrong.ok(tls(self.nats_ca_file, own.flatten(), &self.nats));
        match (credentials, tls) {
            (Some(credentials), Some(tls)) if wrong.is_empty() => Ok(NatsConfig {
                servers: self.nats,
                credentials,
                tls,
                prefix: self.prefix,
            }),
            _ => Err(wrong),
        }
    }
}

/// The gateway's own certificate: a file and its key, or neither.
fn own(cert: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<CertificateFiles>, String> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(CertificateFiles { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(
            "--nats-cert-file (NATS_CERT_FILE) needs --nats-key-file (NATS_KEY_FILE), the file with its key".into(),
        ),
        (None, Some(_)) => Err(
            "--nats-key-file (NATS_KEY_FILE) needs --nats-cert-file (NATS_CERT_FILE), the file with its certificate".into(),
        ),
    }
}

/// How both sides are to prove who they are, if a file or an address asks for it.
fn tls(
    ca: Option<PathBuf>,
    own: Option<CertificateFiles>,
    nats: &[ServerUrl],
) -> Result<Option<ClientTls>, Problems> {
    if ca.is_none() && own.is_none() && !nats.iter().any(|url| url.tls) {
        return Ok(None);
    }
    let alone = |ca: Option<PathBuf>, own| ClientTls { ca, own }.config().map(drop);
    let mut wrong = Problems::default();
    wrong.ok(alone(ca.clone(), None).map_err(|e| format!("--nats-ca-file (NATS_CA_FILE): {e}")));
    wrong.ok(alone(None, own.clone()).map_err(|e| {
        format!("--nats-cert-file (NATS_CERT_FILE), --nats-key-file (NATS_KEY_FILE): {e}")
    }));
    match wrong.is_empty() {
        true => Ok(Some(ClientTls { ca, own })),
        false => Err(wrong),
    }
}

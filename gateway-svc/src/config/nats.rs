//! How to reach NATS, and whose tenant one is: the same for the gateway and for `ctl`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use rustls::ClientConfig;
use wire::Prefix;

use crate::{
    link::client_config,
    nats_auth::{Credentials, ServerUrl},
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

    /// First tokens of every subject; one prefix is one tenant
    #[arg(long, env = "GATEBUS_PREFIX", global = true, default_value = "gatebus")]
    prefix: Prefix,
}

/// What it means.
pub(crate) struct NatsConfig {
    pub(crate) servers: Vec<ServerUrl>,
    pub(crate) credentials: Credentials,
    /// How NATS servers prove who they are; `None` where neither a file nor an address asks for it.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) prefix: Prefix,
}

impl NatsOptions {
    /// Reads the files that are named.
    pub(crate) fn check(self) -> Result<NatsConfig, String> {
        if self.nats_password_file.is_some() && self.nats_user.is_none() {
            return Err(
                "--nats-password-file (NATS_PASSWORD_FILE) needs --nats-user (NATS_USER)".into(),
            );
        }
        Ok(NatsConfig {
            credentials: Credentials::read(
                self.nats_user,
                self.nats_password_file,
                self.nats_token_file,
                self.nats_nkey_file,
                self.nats_creds_file,
            )?,
            tls: tls(self.nats_ca_file.as_deref(), &self.nats)?,
            servers: self.nats,
            prefix: self.prefix,
        })
    }
}

/// How NATS servers are to prove who they are, if a file or an address asks for it.
fn tls(ca: Option<&Path>, nats: &[ServerUrl]) -> Result<Option<Arc<ClientConfig>>, String> {
    match ca {
        Some(file) => {
            let config = fs::read(file).and_then(|pem| client_config(Some(&pem)));
            let config = config
                .map_err(|e| format!("--nats-ca-file (NATS_CA_FILE) {}: {e}", file.display()))?;
            Ok(Some(config))
        }
        None if nats.iter().any(|url| url.tls) => {
            let config = client_config(None);
            let config = config.map_err(|e| format!("--nats (NATS_URL): no TLS: {e}"))?;
            Ok(Some(config))
        }
        None => Ok(None),
    }
}

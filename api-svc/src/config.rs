//! Configuration: what was typed, and what it means.
//!
//! Every option is a flag and an environment variable; a variable that is set to nothing is not set.
//! [`Options`] is what clap reads; [`Config`] is checked as a whole before a port is opened.

mod complaint;
#[cfg(test)]
mod tests;

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use clap::{
    Arg, CommandFactory, FromArgMatches, Parser, ValueEnum, builder::Resettable, error::ErrorKind,
};
use worker_sdk::{Gateway, GatewayBuilder};

use self::complaint::complaint;
use crate::{server::Patience, service::Limits, tokens::Tokens};

/// HTTP for back ends that are not Rust: every command and query on every target.
///
/// Sizes carry units (64KiB), times too (30s). Secrets are files.
/// SIGTERM or SIGINT drains it, a second one ends it at once, with exit status 1.
#[derive(Debug, Clone, Parser)]
#[command(name = "api-svc", version)]
pub struct Options {
    /// Where callers connect
    #[arg(
        long,
        env = "GATEBUS_API_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:7281"
    )]
    listen: SocketAddr,

    /// Address of /livez, /readyz and /metrics
    #[arg(
        long,
        env = "GATEBUS_API_ADMIN",
        value_name = "ADDR",
        default_value = "127.0.0.1:7282"
    )]
    admin: SocketAddr,

    /// File with the bearer tokens of callers, one a line; read again when it changes
    #[arg(long, env = "GATEBUS_API_TOKENS_FILE", value_name = "FILE")]
    tokens_file: Option<PathBuf>,

    /// Lets everybody in who reaches the port
    #[arg(long, env = "GATEBUS_API_NO_AUTH", value_parser = clap::builder::FalseyValueParser::new())]
    no_auth: bool,

    /// NATS servers, separated by commas; a user and password may stand in the URL; tls:// in one is TLS to all
    #[arg(
        long = "nats",
        env = "NATS_URL",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ',',
        default_value = "nats://127.0.0.1:4222"
    )]
    nats: Vec<String>,

    /// User name for NATS
    #[arg(long, env = "NATS_USER", value_name = "NAME")]
    nats_user: Option<String>,

    /// File with the password for NATS
    #[arg(long, env = "NATS_PASSWORD_FILE", value_name = "FILE")]
    nats_password_file: Option<PathBuf>,

    /// File with a token for NATS
    #[arg(long, env = "NATS_TOKEN_FILE", value_name = "FILE")]
    nats_token_file: Option<PathBuf>,

    /// File with an nkey seed for NATS
    #[arg(long, env = "NATS_NKEY_FILE", value_name = "FILE")]
    nats_nkey_file: Option<PathBuf>,

    /// Credentials file (JWT and seed) for NATS
    #[arg(long, env = "NATS_CREDS_FILE", value_name = "FILE")]
    nats_creds_file: Option<PathBuf>,

    /// PEM file with the authority that signed the NATS servers' certificates; implies TLS
    #[arg(long, env = "NATS_CA_FILE", value_name = "FILE")]
    nats_ca_file: Option<PathBuf>,

    /// PEM file with the certificate to show to NATS servers that ask for one; implies TLS
    #[arg(long, env = "NATS_CERT_FILE", value_name = "FILE")]
    nats_cert_file: Option<PathBuf>,

    /// PEM file with that certificate's key
    #[arg(long, env = "NATS_KEY_FILE", value_name = "FILE")]
    nats_key_file: Option<PathBuf>,

    /// First tokens of every subject; one prefix is one tenant
    #[arg(long, env = "GATEBUS_PREFIX", default_value = "gatebus")]
    prefix: String,

    /// Largest body of a request
    #[arg(long, env = "GATEBUS_API_MAX_BODY", value_name = "SIZE", default_value = "1MiB", value_parser = size)]
    max_body: usize,

    /// Most calls of a batch
    #[arg(long, env = "GATEBUS_API_MAX_BATCH", value_name = "N", default_value = "100", value_parser = number)]
    max_batch: usize,

    /// Most requests at work at once; more are answered 429
    #[arg(long, env = "GATEBUS_API_CONCURRENCY", value_name = "N", default_value = "256", value_parser = number)]
    concurrency: usize,

    /// Most connections of callers; one more closes the one that waits longest for its caller
    #[arg(long, env = "GATEBUS_API_MAX_CONNECTIONS", value_name = "N", default_value = "1024", value_parser = number)]
    max_connections: usize,

    /// How long a connection may wait for its next request; longer than that of a load balancer in front
    #[arg(long, env = "GATEBUS_API_IDLE_TIMEOUT", value_name = "TIME", default_value = "75s", value_parser = time)]
    idle_timeout: Duration,

    /// How long the head of a request may take to arrive
    #[arg(long, env = "GATEBUS_API_HEAD_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = time)]
    head_timeout: Duration,

    /// How long a caller may take to read an answer
    #[arg(long, env = "GATEBUS_API_ANSWER_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = time)]
    answer_timeout: Duration,

    /// How long a request may take, its body's arrival included
    #[arg(long, env = "GATEBUS_API_REQUEST_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = time)]
    request_timeout: Duration,

    /// How long gateways that are asked may be silent
    #[arg(long, env = "GATEBUS_API_QUERY_TIMEOUT", value_name = "TIME", default_value = "3s", value_parser = time)]
    query_timeout: Duration,

    /// On SIGTERM: how long it still accepts, unready, until load balancers have noticed
    #[arg(long, env = "GATEBUS_API_DRAIN_DELAY", value_name = "TIME", default_value = "5s", value_parser = time_or_zero)]
    drain_delay: Duration,

    /// On SIGTERM: after so long it has ended, whatever is left
    #[arg(long, env = "GATEBUS_API_DRAIN_DEADLINE", value_name = "TIME", default_value = "20s", value_parser = time)]
    drain_deadline: Duration,

    /// What is logged: error, warn, info, debug, trace, or a filter such as `info,api_svc=debug`
    #[arg(long, env = "GATEBUS_LOG", default_value = "info", value_parser = filter)]
    log: String,

    /// How it is logged
    #[arg(long, env = "GATEBUS_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// For machines, one object a line
    Json,
}

/// The checked configuration.
#[derive(Debug)]
#[allow(missing_docs, reason = "each field is the option of its name")]
pub struct Config {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub(crate) tokens: Tokens,
    /// How to connect to NATS.
    pub gateway: GatewayBuilder,
    pub limits: Limits,
    pub max_connections: usize,
    pub patience: Patience,
    pub drain_delay: Duration,
    pub drain_deadline: Duration,
    pub log: String,
    pub log_format: LogFormat,
}

impl Config {
    /// Whether everybody is let in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.tokens, Tokens::Nobody)
    }
}

/// Most of anything that is counted.
const MOST: usize = 1_000_000;
/// Longest time of any option. Deadlines are sums of times, and must not leave the clock's range.
const MOST_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Options {
    /// Reads flags and environment. Help and version are printed; a bad value is one line that
    /// names its option, and exit status 2.
    #[must_use]
    pub fn parse_or_exit() -> Self {
        let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|v| v.is_empty());
        Self::read(std::env::args_os().collect(), is_empty).unwrap_or_else(|e| {
            if !e.use_stderr() {
                e.exit();
            }
            eprintln!("api-svc: {}", complaint(&e));
            std::process::exit(2);
        })
    }

    /// Leaves out the variables that are `unset`: charts set what they do not use to nothing.
    fn read(args: Vec<OsString>, unset: impl Fn(&OsStr) -> bool) -> Result<Self, clap::Error> {
        let leave_out = |arg: Arg| match arg.get_env() {
            Some(name) if unset(name) => arg.env(Resettable::Reset),
            _ => arg,
        };
        match Self::command()
            .mut_args(leave_out)
            .try_get_matches_from(&args)
        {
            Ok(matches) => Self::from_arg_matches(&matches),
            // help names every variable
            Err(e) if e.kind() == ErrorKind::DisplayHelp => Self::try_parse_from(args),
            Err(e) => Err(e),
        }
    }

    /// Checks what clap cannot.
    pub fn check(self) -> Result<Config, String> {
        let tokens = match (&self.tokens_file, self.no_auth) {
            (Some(file), false) => Tokens::read(file).map_err(|e| {
                let file = file.display();
                format!("--tokens-file (GATEBUS_API_TOKENS_FILE) {file}: {e}")
            })?,
            (None, true) => Tokens::Nobody,
            (None, false) => {
                return Err("who may call? name a file with tokens in --tokens-file (GATEBUS_API_TOKENS_FILE), or say --no-auth".into());
            }
            (Some(_), true) => {
                return Err("--tokens-file (GATEBUS_API_TOKENS_FILE) and --no-auth (GATEBUS_API_NO_AUTH) exclude each other".into());
            }
        };
        if self.drain_delay >= self.drain_deadline {
            return Err(
                "--drain-deadline (GATEBUS_API_DRAIN_DEADLINE): must be longer than --drain-delay"
                    .into(),
            );
        }
        Ok(Config {
            listen: self.listen,
            admin: self.admin,
            tokens,
            gateway: self.gateway()?,
            limits: Limits {
                max_body: self.max_body,
                max_batch: self.max_batch,
                concurrency: self.concurrency,
                request_timeout: self.request_timeout,
            },
            max_connections: self.max_connections,
            patience: Patience {
                idle_timeout: self.idle_timeout,
                head_timeout: self.head_timeout,
                answer_timeout: self.answer_timeout,
            },
            drain_delay: self.drain_delay,
            drain_deadline: self.drain_deadline,
            log: self.log,
            log_format: self.log_format,
        })
    }

    /// How to connect to NATS.
    fn gateway(&self) -> Result<GatewayBuilder, String> {
        let checked = |option: &str, builder: GatewayBuilder| {
            builder
                .check()
                .map_err(|e| format!("{option}: {}", told(&e)))
        };
        let mut builder = Gateway::builder()
            .name("gatebus-api")
            .query_timeout(self.query_timeout);
        builder = checked("--nats (NATS_URL)", builder.nats_url(self.nats.join(",")))?;
        builder = checked("--prefix (GATEBUS_PREFIX)", builder.prefix(&self.prefix))?;
        if let Some(file) = &self.nats_ca_file {
            builder = checked("--nats-ca-file (NATS_CA_FILE)", builder.ca_file(file))?;
        }
        let given = [
            self.nats_user.is_some(),
            self.nats_token_file.is_some(),
            self.nats_nkey_file.is_some(),
            self.nats_creds_file.is_some(),
        ];
        if given.iter().filter(|given| **given).count() > 1 {
            return Err("--nats-user, --nats-token-file, --nats-nkey-file and --nats-creds-file (NATS_…) exclude each other".into());
        }
        builder = match (&self.nats_user, &self.nats_password_file) {
            (Some(user), Some(file)) => checked(
                "--nats-password-file (NATS_PASSWORD_FILE)",
                builder.user_file(user, file),
            )?,
            (None, None) => builder,
            _ => {
                return Err("--nats-user (NATS_USER) and --nats-password-file (NATS_PASSWORD_FILE) go together".into());
            }
        };
        if let Some(file) = &self.nats_token_file {
            builder = checked(
                "--nats-token-file (NATS_TOKEN_FILE)",
                builder.token_file(file),
            )?;
        }
        if let Some(file) = &self.nats_nkey_file {
            builder = checked("--nats-nkey-file (NATS_NKEY_FILE)", builder.nkey_file(file))?;
        }
        if let Some(file) = &self.nats_creds_file {
            builder = checked(
                "--nats-creds-file (NATS_CREDS_FILE)",
                builder.creds_file(file),
            )?;
        }
        match (&self.nats_cert_file, &self.nats_key_file) {
            (Some(cert), Some(key)) => checked(
                "--nats-cert-file (NATS_CERT_FILE), --nats-key-file (NATS_KEY_FILE)",
                builder.client_certificate(cert, key),
            ),
            (None, None) => Ok(builder),
            _ => Err(
                "--nats-cert-file (NATS_CERT_FILE) and --nats-key-file (NATS_KEY_FILE) go together"
                    .into(),
            ),
        }
    }
}

/// An error with its cause, on one line.
fn told(error: &worker_sdk::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn size(text: &str) -> Result<usize, String> {
    let size: bytesize::ByteSize = text
        .parse()
        .map_err(|_| "a size such as 64KiB or 1MiB is needed".to_owned())?;
    match usize::try_from(size.as_u64()) {
        Ok(0) => Err("must be more than 0".into()),
        Ok(n) => Ok(n),
        Err(_) => Err("too large".into()),
    }
}

fn number(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=MOST).contains(&n) => Ok(n),
        _ => Err(format!("a number from 1 to {MOST} is needed")),
    }
}

fn time_or_zero(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time > MOST_TIME => Err("must be at most 365 days".into()),
        Ok(time) => Ok(time),
        Err(_) => Err("a time such as 500ms, 10s or 2m is needed".into()),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    match time_or_zero(text)? {
        Duration::ZERO => Err("must be more than 0".into()),
        time => Ok(time),
    }
}

fn filter(text: &str) -> Result<String, String> {
    text.parse::<tracing_subscriber::EnvFilter>()
        .map_err(|e| e.to_string())?;
    Ok(text.to_owned())
}

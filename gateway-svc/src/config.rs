//! Configuration: what was typed, and what it means.
//!
//! Every option is a flag and an environment variable; a variable that is set to nothing is not set.
//! [`Options`] is what clap reads; [`Config`] is what the rest of the program works with, checked as
//! a whole before a port is opened.

mod complaint;
mod effective;
mod nats;
mod problems;
#[cfg(test)]
mod tests;

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use clap::{
    ArgMatches, CommandFactory, FromArgMatches, Parser, ValueEnum, builder::Resettable,
    error::ErrorKind,
};
use ipnet::IpNet;
use wire::{Advice, Prefix};

use self::complaint::complaints;
pub(crate) use self::{
    complaint::complaint_of,
    nats::{NatsConfig, NatsOptions},
};
pub use self::{effective::Effective, problems::Problems};
use crate::{
    Protocols,
    listen::{Listen, ListenUrl},
    nats_auth::{Credentials, ServerUrl},
    tls::ClientTls,
};

/// Holds clients' connections and takes them to workers over NATS.
///
/// Sizes carry units (64KiB), times too (30s). Secrets are files.
/// SIGTERM or SIGINT drains the gateway, a second one ends it at once, with exit status 1.
/// `gateway-svc ctl --help` is about looking at gateways, workers and clients, over NATS;
/// `gateway-svc smoke --help` about trying a gateway as a client, `gateway-svc healthcheck --help` about asking one whether it is ready.
#[derive(Debug, Clone, Parser)]
#[command(name = "gateway-svc", version)]
pub struct Options {
    /// Where clients connect, as URLs; repeatable, or separated by commas; &routing=sticky: a client keeps its worker; &cert=FILE&key=FILE: TLS; &proxy=required: behind a proxy that speaks PROXY v1 or v2
    #[arg(
        long = "listen",
        env = "GATEBUS_LISTEN",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "websocket://0.0.0.0:7272?service=chat"
    )]
    listen: Vec<ListenUrl>,

    #[command(flatten)]
    nats: NatsOptions,

    /// Shards, each with its own thread and NATS connection [default: the number of cores]
    #[arg(long, env = "GATEBUS_SHARDS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    shards: Option<u16>,

    /// Address of /livez, /readyz and /metrics
    #[arg(
        long,
        env = "GATEBUS_ADMIN",
        value_name = "ADDR",
        default_value = "127.0.0.1:7280"
    )]
    admin: SocketAddr,

    /// How long NATS may be away before /readyz says so: a load balancer should bear a restart of NATS, for else it finds no gateway at all
    #[arg(long, env = "GATEBUS_UNREADY_AFTER", value_name = "TIME", default_value = "0s", value_parser = time_or_zero)]
    unready_after: Duration,

    /// Networks whose X-Forwarded-For is believed, separated by commas; with &proxy=required it is the address of the header that counts
    #[arg(
        long,
        env = "GATEBUS_TRUSTED_PROXIES",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    trusted_proxies: Vec<IpNet>,

    /// Largest message from a client; over it the client is closed with 1009
    #[arg(long, env = "GATEBUS_MAX_MESSAGE", value_name = "SIZE", default_value = "256KiB", value_parser = size)]
    max_message: usize,

    /// Most connections of the process [default: what the descriptor limit allows]
    #[arg(long, env = "GATEBUS_MAX_CONNECTIONS", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_connections: Option<u64>,

    /// After about so long, each a fifth earlier or later at the most, a client is closed with 1012, so that connections spread over gateways that were added; or `off`
    #[arg(long, env = "GATEBUS_MAX_CONNECTION_AGE", value_name = "TIME", default_value = "off", value_parser = time_or_off)]
    max_connection_age: TimeOrOff,

    /// How long a client may take for its handshake
    #[arg(long, env = "GATEBUS_HANDSHAKE_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = time)]
    handshake_timeout: Duration,

    /// How long a worker may be silent about a batch before it goes out again
    #[arg(long, env = "GATEBUS_ACK_WAIT", value_name = "TIME", default_value = "10s", value_parser = time)]
    ack_wait: Duration,

    /// How often a batch is delivered before it is given up to the dead letters
    #[arg(long, env = "GATEBUS_MAX_ATTEMPTS", value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: u32,

    /// How long events wait where no worker runs, before the client is closed with 1013
    #[arg(long, env = "GATEBUS_WORKER_WAIT", value_name = "TIME", default_value = "30s", value_parser = time)]
    worker_wait: Duration,

    /// How much may wait to be sent to one client
    #[arg(long, env = "GATEBUS_MAILBOX", value_name = "SIZE", default_value = "1MiB", value_parser = size)]
    mailbox: usize,

    /// What happens to a client that reads too slowly, when its mailbox is full
    #[arg(long, env = "GATEBUS_SLOW_CLIENT", value_enum, default_value_t = SlowClient::Close)]
    slow_client: SlowClient,

    /// A client that is silent for so long is pinged; or `off`
    #[arg(long, env = "GATEBUS_PING_INTERVAL", value_name = "TIME", default_value = "30s", value_parser = time_or_off)]
    ping_interval: TimeOrOff,

    /// After so many pings without a sign of life a client is closed with 4007
    #[arg(long, env = "GATEBUS_PING_MISSES", value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    ping_misses: u32,

    /// Ping with this text message in the place of a WebSocket ping
    #[arg(long, env = "GATEBUS_PING_DATA", value_name = "TEXT")]
    ping_data: Option<String>,

    /// On SIGTERM: how long it still accepts, unready, until load balancers have noticed
    #[arg(long, env = "GATEBUS_DRAIN_DELAY", value_name = "TIME", default_value = "5s", value_parser = time_or_zero)]
    drain_delay: Duration,

    /// On SIGTERM: over how long the clients are closed with 1012, evenly
    #[arg(long, env = "GATEBUS_DRAIN_SPREAD", value_name = "TIME", default_value = "10s", value_parser = time_or_zero)]
    drain_spread: Duration,

    /// On SIGTERM: after so long it has ended, whatever is left; it waits no longer for a NATS that has been away for --worker-wait
    #[arg(long, env = "GATEBUS_DRAIN_DEADLINE", value_name = "TIME", default_value = "60s", value_parser = time)]
    drain_deadline: Duration,

    /// Closed with 1012, a client is told to come back after a random time from this
    #[arg(long, env = "GATEBUS_RECONNECT_MIN", value_name = "TIME", default_value = "500ms", value_parser = time_or_zero)]
    reconnect_min: Duration,

    /// … to this
    #[arg(long, env = "GATEBUS_RECONNECT_MAX", value_name = "TIME", default_value = "8s", value_parser = time_or_zero)]
    reconnect_max: Duration,

    /// What is logged: error, warn, info, debug, trace, or a filter such as `info,gateway_svc::link=debug`
    #[arg(long, env = "GATEBUS_LOG", default_value = "info", value_parser = filter)]
    log: String,

    /// How it is logged
    #[arg(long, env = "GATEBUS_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,

    /// Checks the options and the files that they name, prints what counts, and ends: with 0, or with 2 and a line for each problem. Opens no port, and needs no NATS
    #[arg(long)]
    check_config: bool,

    #[arg(skip)]
    effective: Effective,
}

/// What happens to a client whose mailbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SlowClient {
    /// It is closed with 4008
    Close,
    /// The message that does not fit is dropped
    DropNewest,
    /// The oldest messages that wait are dropped
    DropOldest,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// For machines, one object a line
    Json,
}

type TimeOrOff = Option<Duration>;

/// The checked configuration.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the option of its name")]
pub struct Config {
    pub effective: Effective,
    pub(crate) listen: Vec<Listen>,
    pub protocols: Protocols,
    pub nats: Vec<ServerUrl>,
    pub credentials: Credentials,
    /// How both sides prove themselves to NATS; `None` where neither a file nor an address asks for it.
    pub(crate) tls: Option<ClientTls>,
    pub prefix: Prefix,
    pub shards: u16,
    pub admin: SocketAddr,
    pub unready_after: Duration,
    pub limits: Limits,
    pub heartbeat: Option<Heartbeat>,
    pub drain: Drain,
    pub log: String,
    pub log_format: LogFormat,
}

/// What one client may take.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the option of its name")]
pub struct Limits {
    pub trusted_proxies: Vec<IpNet>,
    pub max_message: usize,
    pub max_connections: u64,
    pub max_connection_age: Option<Duration>,
    pub handshake_timeout: Duration,
    pub ack_wait: Duration,
    pub max_attempts: u32,
    pub worker_wait: Duration,
    pub mailbox: usize,
    pub slow_client: SlowClient,
}

/// How life is looked for.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// Silence before a ping.
    pub interval: Duration,
    /// Pings before the end.
    pub misses: u32,
    /// The application's ping, if it is one.
    pub data: Option<String>,
}

/// How clients are let go.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the option of its name")]
pub struct Drain {
    pub delay: Duration,
    pub spread: Duration,
    pub deadline: Duration,
    /// When clients should come back.
    pub advice: Advice,
}

/// Descriptors that are not clients: listeners, NATS, admin, runtime.
const OTHER_DESCRIPTORS: u64 = 64;
/// Largest value of `--max-message`: an event with it, a full session and the rest of its envelope
/// is the largest that anybody decodes. What NATS carries by default is less; the shard sees to that.
const MOST_MESSAGE: usize = wire::codec::MAX_ENVELOPE - wire::session::MAX_SESSION - 8 * 1024;
/// Longest time of any option. Deadlines are sums of times, and must not leave the clock's range.
const MOST_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Options {
    /// Reads flags and environment. Help and version are printed; each bad value is one line that
    /// names its option, and exit status 2.
    #[must_use]
    pub fn parse_or_exit(protocols: &Protocols) -> Self {
        let args = std::env::args_os().collect();
        Self::read(args, is_empty, protocols).unwrap_or_else(|e| match e {
            Unread::Asked(e) => e.exit(),
            Unread::Wrong(problems) => {
                problems.say(&program_name());
                std::process::exit(2);
            }
        })
    }

    fn read(
        args: Vec<OsString>,
        unset: impl Fn(&OsStr) -> bool,
        protocols: &Protocols,
    ) -> Result<Self, Unread> {
        let command = Self::command().mut_arg("listen", |listen| {
            let help = listen.get_help().cloned().unwrap_or_default();
            listen.help(format!("{help}; protocols: {}", protocols.names()))
        });
        let set = with_what_is_set(command.clone(), unset);
        let read = match matches(&command, &set, &args) {
            Ok(matches) => Self::from_arg_matches(&matches).map(|read| (read, matches)),
            Err(e) => Err(e),
        };
        match read {
            Ok((mut options, matches)) => {
                options.effective = Effective::new(&command, &matches);
                Ok(options)
            }
            Err(e) if !e.use_stderr() => Err(Unread::Asked(e)),
            Err(e) => Err(Unread::Wrong(complaints(set, &args, e))),
        }
    }

    /// Whether the options are only to be checked.
    #[must_use]
    pub const fn is_check(&self) -> bool {
        self.check_config
    }

    /// Checks what clap cannot, for a gateway that speaks these protocols. `descriptors` is the
    /// process's limit.
    pub fn check(mut self, descriptors: u64, protocols: Protocols) -> Result<Config, Problems> {
        let mut wrong = Problems::default();
        let nats = wrong.ok(self.nats.check());
        wrong.when(
            self.listen.is_empty(),
            "--listen (GATEBUS_LISTEN): at least one URL is needed",
        );
        let mut listen = Vec::new();
        for url in self.listen {
            let name = format!("--listen (GATEBUS_LISTEN) {url}");
            let checked = Listen::check(url, &protocols).map_err(|e| format!("{name}: {e}"));
            listen.extend(wrong.ok(checked));
        }
        wrong.when(
            self.max_message > MOST_MESSAGE,
            format!(
                "--max-message (GATEBUS_MAX_MESSAGE): at most {}KiB",
                MOST_MESSAGE / 1024
            ),
        );
        wrong.when(
            self.mailbox < self.max_message && self.max_message <= MOST_MESSAGE,
            "--mailbox (GATEBUS_MAILBOX): must hold at least one message of --max-message",
        );
        wrong.when(
            self.drain_delay + self.drain_spread >= self.drain_deadline,
            "--drain-deadline (GATEBUS_DRAIN_DEADLINE): must be longer than --drain-delay and --drain-spread together",
        );
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let advice = Advice {
            min: millis(self.reconnect_min),
            max: millis(self.reconnect_max),
        };
        wrong.when(
            advice.min > advice.max,
            "--reconnect-max (GATEBUS_RECONNECT_MAX): must not be less than --reconnect-min",
        );
        let nats = match nats {
            Some(nats) if wrong.is_empty() => nats,
            _ => return Err(wrong),
        };
        let shards = self.shards.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            u16::try_from(cores).unwrap_or(u16::MAX)
        });
        let room = descriptors
            .saturating_sub(OTHER_DESCRIPTORS + u64::from(shards) * 8)
            .max(1);
        let effective = &mut self.effective;
        effective.computed("GATEBUS_SHARDS", shards, "the number of cores");
        let limit = "the descriptor limit";
        effective.computed("GATEBUS_MAX_CONNECTIONS", room, limit);
        Ok(Config {
            effective: self.effective,
            listen,
            protocols,
            nats: nats.servers,
            credentials: nats.credentials,
            tls: nats.tls,
            prefix: nats.prefix,
            shards,
            admin: self.admin,
            unready_after: self.unready_after,
            limits: Limits {
                trusted_proxies: self.trusted_proxies,
                max_message: self.max_message,
                max_connections: self.max_connections.unwrap_or(room),
                max_connection_age: self.max_connection_age,
                handshake_timeout: self.handshake_timeout,
                ack_wait: self.ack_wait,
                max_attempts: self.max_attempts,
                worker_wait: self.worker_wait,
                mailbox: self.mailbox,
                slow_client: self.slow_client,
            },
            heartbeat: self.ping_interval.map(|interval| Heartbeat {
                interval,
                misses: self.ping_misses,
                data: self.ping_data.filter(|text| !text.is_empty()),
            }),
            drain: Drain {
                delay: self.drain_delay,
                spread: self.drain_spread,
                deadline: self.drain_deadline,
                advice,
            },
            log: self.log,
            log_format: self.log_format,
        })
    }
}

/// The program's own name, as whoever started it wrote it.
pub(crate) fn program_name() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&path).file_name();
    name.map_or_else(
        || "gateway-svc".into(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// What follows the word that makes the gateway's program another one: `args` are those of the
/// process, less that word. Help and version are printed; a bad value is one line that names its
/// option, and exit status 2.
pub(crate) fn parse_or_exit<T: Parser>(name: &str, args: Vec<OsString>) -> T {
    let command = T::command().bin_name(format!("{} {name}", program_name()));
    read(&command, &args).unwrap_or_else(|e| {
        if !e.use_stderr() {
            e.exit();
        }
        eprintln!("{} {name}: {}", program_name(), complaint_of(command, &e));
        std::process::exit(2);
    })
}

/// Why there are no options.
#[derive(Debug)]
enum Unread {
    /// For help or the version.
    Asked(clap::Error),
    Wrong(Problems),
}

/// Reads arguments and the process's variables; one that is set to nothing is not set.
fn read<T: FromArgMatches>(command: &clap::Command, args: &[OsString]) -> Result<T, clap::Error> {
    let set = with_what_is_set(command.clone(), is_empty);
    T::from_arg_matches(&matches(command, &set, args)?)
}

/// Leaves out the variables that are `unset`: charts set what they do not use to nothing.
fn with_what_is_set(command: clap::Command, unset: impl Fn(&OsStr) -> bool) -> clap::Command {
    command.mut_args(|arg| match arg.get_env() {
        Some(name) if unset(name) => arg.env(Resettable::Reset),
        _ => arg,
    })
}

fn matches(
    command: &clap::Command,
    set: &clap::Command,
    args: &[OsString],
) -> Result<ArgMatches, clap::Error> {
    match set.clone().try_get_matches_from(args) {
        // help names every variable
        Err(e) if e.kind() == ErrorKind::DisplayHelp => command.clone().try_get_matches_from(args),
        outcome => outcome,
    }
}

fn is_empty(variable: &OsStr) -> bool {
    std::env::var_os(variable).is_some_and(|value| value.is_empty())
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

fn time_or_zero(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time > MOST_TIME => Err("must be at most 365 days".into()),
        Ok(time) => Ok(time),
        Err(_) => Err("a time such as 500ms, 10s or 2m is needed".into()),
    }
}

pub(crate) fn time(text: &str) -> Result<Duration, String> {
    match time_or_zero(text)? {
        Duration::ZERO => Err("must be more than 0".into()),
        time => Ok(time),
    }
}

fn time_or_off(text: &str) -> Result<TimeOrOff, String> {
    if text == "off" {
        Ok(None)
    } else {
        time(text).map(Some).map_err(|e| format!("{e}, or `off`"))
    }
}

fn filter(text: &str) -> Result<String, String> {
    text.parse::<tracing_subscriber::EnvFilter>()
        .map_err(|e| e.to_string())?;
    Ok(text.to_owned())
}

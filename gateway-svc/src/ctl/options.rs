//! What can be typed after `ctl`.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use wire::{ClientId, CloseCode, Group, ProcessId, Uid, request::MAX_REASON};

use super::{Report, bus::Bus, census, connections, drain, groups, kick};
use crate::config::{NatsOptions, time};

/// Shows gateways, workers and clients of a prefix, and lets clients or gateways go.
///
/// Exit status: 0; 1 if somebody did not answer, or nothing was there to act on; 2 for a bad option.
/// Who did not answer is named on stderr, and in the JSON. docs/ctl.md describes the JSON.
#[derive(Debug, Parser)]
#[command(
    name = "ctl",
    version,
    arg_required_else_help = false,
    disable_help_subcommand = true
)]
pub(super) struct Ctl {
    #[command(flatten)]
    pub(super) nats: NatsOptions,

    /// Prints JSON; with --watch one object a line
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// How long to wait for NATS and for answers
    #[arg(long, global = true, value_name = "TIME", default_value = "3s", value_parser = time)]
    pub(super) timeout: Duration,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Gateway processes and their shards: state, clients, uids, groups
    Status(View),
    /// Workers: service, state, what they do and did
    Workers(View),
    /// Clients: uid, address, groups, gateway
    Connections(Connections),
    /// Groups and how many members they have
    Groups(Groups),
    /// Closes the connection of a client, or those of a uid or of a group's members
    Kick(Kick),
    /// Lets a gateway process drain, as SIGTERM does: clients go to others, then it ends
    Drain {
        /// The id of the process, or of one of its gateways; all of it
        id: ProcessId,
    },
}

#[derive(Debug, Args)]
pub(super) struct View {
    /// Draws anew every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Args)]
pub(super) struct Connections {
    #[command(flatten)]
    view: View,

    /// Only those of this uid
    #[arg(long, conflicts_with = "group")]
    pub(super) uid: Option<Uid>,

    /// Only members of this group
    #[arg(long)]
    pub(super) group: Option<Group>,

    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: u32,
}

#[derive(Debug, Args)]
pub(super) struct Groups {
    #[command(flatten)]
    view: View,

    /// At most so many, by name
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: u32,
}

/// Whose connections.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Whom {
    /// The client's id
    pub(super) client: Option<ClientId>,

    /// All clients of this uid
    #[arg(long)]
    pub(super) uid: Option<Uid>,

    /// All members of this group
    #[arg(long)]
    pub(super) group: Option<Group>,
}

#[derive(Debug, Args)]
pub(super) struct Kick {
    #[command(flatten)]
    pub(super) whom: Whom,

    /// Close code: 1000, or 3000 to 4999
    #[arg(long, default_value_t = CloseCode::Normal.code(), value_parser = code)]
    pub(super) code: u16,

    /// Close reason, at most 123 bytes
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, value_parser = reason)]
    pub(super) reason: String,
}

impl Command {
    pub(super) const fn is_watch(&self) -> bool {
        match self {
            Self::Status(view) | Self::Workers(view) => view.watch,
            Self::Connections(options) => options.view.watch,
            Self::Groups(options) => options.view.watch,
            Self::Kick(_) | Self::Drain { .. } => false,
        }
    }

    pub(super) async fn run(&self, bus: &mut Bus) -> Report {
        match self {
            Self::Status(_) => census::status(bus),
            Self::Workers(_) => census::workers(bus),
            Self::Connections(options) => connections::connections(bus, options).await,
            Self::Groups(options) => groups::groups(bus, options).await,
            Self::Kick(options) => kick::kick(bus, options).await,
            Self::Drain { id } => drain::drain(bus, *id).await,
        }
    }
}

fn code(text: &str) -> Result<u16, String> {
    let code = text
        .parse()
        .ok()
        .filter(|code| CloseCode::is_allowed(*code));
    code.ok_or_else(|| "1000, or 3000 to 4999, is needed".to_owned())
}

fn reason(text: &str) -> Result<String, String> {
    match text.len() {
        0..=MAX_REASON => Ok(text.to_owned()),
        long => Err(format!("at most {MAX_REASON} bytes, not {long}")),
    }
}

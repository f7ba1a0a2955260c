//! The gateway: holds clients' connections and takes them to workers over NATS.
//!
//! The binary is one line over this library: [`program::run`] with the [`Protocols`] that it speaks,
//! which is options → [`Config`](config::Config) → [`Gateway::bind`] → [`Gateway::run`].
//! A gateway with a protocol of one's own is the same line with a [`codec::Codec`] more;
//! `examples/codec` is one.
//!
//! Read on in this order: `shard` (a core's share: tasks, driver, sweeps), `dispatch` (one client's
//! events), `hub` and `topics` (who belongs to what), `connection`, `intake` and `mailbox` (a socket),
//! `codec` (what is spoken on it), `stream` and `tls` (what carries it), `link` (NATS).

mod admin;
pub mod codec;
pub mod config;
mod conn_ids;
mod connection;
mod ctl;
mod dispatch;
mod gateway;
mod handshake;
mod healthcheck;
mod heartbeat;
mod hub;
mod intake;
mod link;
pub mod listen;
mod mailbox;
mod metrics;
pub mod nats_auth;
mod outgoing;
mod process;
pub mod program;
mod protocols;
mod proxy_header;
mod shard;
mod smoke;
mod stream;
mod tls;
mod topics;

pub use self::{gateway::Gateway, protocols::Protocols};

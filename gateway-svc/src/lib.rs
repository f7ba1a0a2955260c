//! The gateway: holds clients' connections and takes them to workers over NATS.
//!
//! The binary is a few lines over this library: options → [`Config`](config::Config) →
//! [`Gateway::bind`] → [`Gateway::run`].
//!
//! Read on in this order: `shard` (a core's share: tasks, driver, sweeps), `dispatch` (one client's
//! events), `hub` and `topics` (who belongs to what), `connection` and `mailbox` (a socket), `link` (NATS).

mod admin;
pub mod config;
mod conn_ids;
mod connection;
mod dispatch;
mod frame;
mod gateway;
mod handshake;
mod heartbeat;
mod hub;
mod link;
pub mod listen;
mod mailbox;
mod metrics;
pub mod nats_auth;
mod process;
mod shard;
mod topics;

pub use self::gateway::Gateway;

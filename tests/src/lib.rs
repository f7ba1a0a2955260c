//! End-to-end tests: real servers, gateways and workers, and the fixtures that run them.
//!
//! Every fixture is a noun that owns a process or a socket: [`Nats`] and [`NatsCluster`],
//! [`Gateway`], [`Api`], [`Worker`] with its [`Journal`], [`Admin`], [`Client`], [`Bare`], [`Certificates`]. All of them use free ports and temporary
//! folders, every [`Nats`] brings its own prefix, and whatever was started is killed when its owner is
//! dropped. A fixture whose owner panics prints the end of its log.
//!
//! Tests wait for events: every wait goes through [`within`] and has a deadline, and that *nothing*
//! arrives is proved by a fence (a marker that is sent afterwards and seen first).

pub mod admin;
pub mod api;
pub mod bare;
pub mod client;
pub mod ctl;
pub mod deadline;
pub mod gateway;
pub mod http;
pub mod identity;
pub mod journal;
pub mod log;
pub mod nats;
pub mod pipe;
pub mod port;
pub mod process;
pub mod python;
pub mod socket;
pub mod tls;
pub mod worker;

pub use self::{
    admin::Admin,
    api::Api,
    bare::Bare,
    client::Client,
    deadline::{eventually, within, within_secs},
    gateway::Gateway,
    journal::{Entry, Journal},
    nats::{Nats, NatsCluster},
    tls::Certificates,
    worker::Worker,
};

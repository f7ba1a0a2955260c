//! Write a Gatebus worker: business logic for long-lived connections.

mod client;
mod close;
mod connect;
mod context;
mod desk;
mod error;
mod events;
mod gateway;
mod gatewayworker;
mod handshake;
mod ledger;
mod link;
mod message;
mod outbox;
mod presence;
mod query;
mod replies;
mod roster;
mod session;
mod settings;
mod target;
pub mod testing;
mod worker;

pub use wire::{ClientId, ConnId, GatewayId, IdError};

pub use self::{
    client::Client,
    close::{Close, Closed, ClosedBy},
    error::{BoxError, Error, ErrorKind, HandlerResult, Retry},
    events::Events,
    gateway::{Gateway, GatewayBuilder},
    handshake::Handshake,
    message::Message,
    query::{ClientEntry, Count, Listing},
    target::Target,
    worker::{Worker, WorkerBuilder},
};

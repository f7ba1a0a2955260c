//! End-to-end tests: each starts its own NATS server, gateways, workers and clients.
//!
//! One program, so that it is linked once; each module is one promise.

mod absence;
mod api;
mod auth;
mod binding;
mod close;
mod cluster;
mod codec;
mod commands;
mod ctl;
mod delivery;
mod drain;
mod exclusive;
mod failures;
mod frames;
mod gatewayworker;
mod gatewayworker_commands;
mod groups;
mod handshake;
mod heartbeat;
mod input;
mod link;
mod lists;
mod many;
mod operations;
mod options;
mod order;
mod outage;
mod pressure;
mod promise;
mod protocols;
mod proxy;
mod python;
mod queries;
mod raw;
mod roles;
mod rollout;
mod segments;
mod sessions;
mod several;
mod smoke;
mod sticky;
mod tls;
mod town;
mod worker_admin;

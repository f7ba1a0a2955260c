//! HTTP for back ends that are not Rust: every command and query on every target, as JSON.
//!
//! | file | what it is |
//! | --- | --- |
//! | `config.rs` | options, from flags and environment |
//! | `server.rs` | connections, and how long their callers may dawdle |
//! | `service.rs` | what becomes of a request |
//! | `call.rs` | commands and queries, each in one entry; `commands.rs`, `queries.rs`, `lists.rs`, `several.rs` |
//! | `batch.rs` | many calls in one request |
//! | `target.rs`, `message.rs`, `session.rs`, `number.rs`, `parameters.rs` | what callers write |
//! | `failure.rs` | what can go wrong, by stable codes |
//! | `openapi.rs` | the document, made from the calls |
//! | `tokens.rs` | who may call |
//! | `bus.rs` | the way to the gateways |
//! | `admin.rs`, `metrics.rs` | for operators |

mod admin;
mod api;
mod batch;
mod bus;
mod call;
mod commands;
pub mod config;
mod failure;
mod lists;
mod message;
mod metrics;
mod number;
mod openapi;
mod parameters;
mod queries;
mod server;
mod service;
mod session;
mod several;
mod target;
mod tokens;

pub use self::{api::Api, server::Patience, service::Limits};

//! The SDK on a real NATS server, with a gateway that is only a handful of messages.
//!
//! What needs no server is tested beside the code; what needs a real gateway is in the end-to-end
//! tests.

mod binding;
mod connecting;
mod fake;
mod handling;
mod lists;
mod presence;
mod queries;
mod stopping;

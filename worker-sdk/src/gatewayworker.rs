//! GatewayWorker's method names, in Rust spelling.
//!
//! Each is one line of [`Gateway`](crate::Gateway)'s own words; search the documentation for the PHP
//! name.

mod by_name;
mod commands;
mod queries;

pub use self::by_name::ByName;

//! HTTP for back ends that are not Rust: every command and query on every target, as JSON.

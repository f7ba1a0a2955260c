//! Ports for servers that must come back on the same one.

use std::net::TcpListener;

/// Below the range from which systems take ports for outgoing connections and for port 0, so that
/// nothing takes the port while its server is down for a restart.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// A port that nobody listens on at the moment.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free() -> u16 {
    (0..1000)
        .map(|_| rand::random_range(RANGE))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of 1000 ports should be free")
}

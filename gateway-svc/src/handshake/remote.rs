//! Where a client comes from, by its socket and by what trusted proxies say.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Walks the proxies from the nearest; the first that is not trusted is the client. IPv4 is
/// IPv4, also where a listener for both wraps it into IPv6.
pub(super) fn remote(forwarded: &[String], peer: SocketAddr, trusted: &[IpNet]) -> SocketAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
    let mut remote = unwrapped(peer);
    for hop in forwarded.iter().rev() {
        if !is_trusted(remote.ip()) {
            break;
        }
        match address(hop) {
            Some(addr) => remote = unwrapped(addr),
            None => break,
        }
    }
    remote
}

/// `::ffff:1.2.3.4` is 1.2.3.4.
pub(crate) fn unwrapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, addr.port()),
        // as it is, with its scope
        IpAddr::V6(_) => addr,
    }
}

/// `1.2.3.4`, `1.2.3.4:5678`, `2001:db8::1` or `[2001:db8::1]:5678`; the port is 0 where it is unknown.
fn address(hop: &str) -> Option<SocketAddr> {
    let bare = hop
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(hop);
    bare.parse::<IpAddr>()
        .map(|ip| SocketAddr::new(ip, 0))
        .or_else(|_| hop.parse())
        .ok()
}

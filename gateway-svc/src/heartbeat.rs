//! The heartbeat's rule: what a client's silence asks for. Takes the time, does not ask for it.

use crate::dispatch::Millis;

/// What to do about a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// It was heard lately, or was pinged lately.
    Fine,
    /// Ask whether it is there.
    Ping,
    /// It is gone.
    Dead,
}

/// A client that is silent for an `interval` is pinged, again after each further one, and after
/// `misses` pings without a sign of life it is dead. `pinged` counts the pings since it was heard.
pub(crate) const fn pulse(silent: Millis, interval: Millis, misses: u32, pinged: u32) -> Pulse {
    if silent < interval * (pinged as Millis + 1) {
        Pulse::Fine
    } else if pinged >= misses {
        Pulse::Dead
    } else {
        Pulse::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_client_is_pinged_each_interval_and_then_dead() {
        assert_eq!(pulse(29_999, 30_000, 2, 0), Pulse::Fine);
        assert_eq!(pulse(30_000, 30_000, 2, 0), Pulse::Ping);
        assert_eq!(pulse(30_000, 30_000, 2, 1), Pulse::Fine);
        assert_eq!(pulse(60_000, 30_000, 2, 1), Pulse::Ping);
        assert_eq!(pulse(89_999, 30_000, 2, 2), Pulse::Fine);
        assert_eq!(pulse(90_000, 30_000, 2, 2), Pulse::Dead);
    }
}

//! Gathering: how long what goes to NATS waits for company.
//!
//! In a write of many a message costs the server, and the worker behind it, far less than in one of
//! its own. So a shard looks at its sockets once more before it writes, and goes on for as long as
//! that brings something; the first look that brings nothing ends it. A shard that is not busy so
//! holds nothing up for longer than such a look takes.

use std::time::{Duration, Instant};

/// However busy the shard is: after this it looks no more.
const MOST: Duration = Duration::from_millis(2);
/// So many bytes are company enough.
const ENOUGH: usize = 32 * 1024;

/// What waits since when.
#[derive(Debug, Default)]
pub(super) struct Gathering(Option<Waiting>);

#[derive(Debug)]
struct Waiting {
    since: Instant,
    bytes: usize,
}

impl Gathering {
    /// Whether so many bytes wait for another look at the sockets. No: they are to be written.
    pub(super) fn goes_on(&mut self, bytes: usize, now: Instant) -> bool {
        let since = match &self.0 {
            _ if bytes == 0 || bytes >= ENOUGH => None,
            None => Some(now),
            Some(waiting) if bytes == waiting.bytes || now - waiting.since >= MOST => None,
            Some(waiting) => Some(waiting.since),
        };
        self.0 = since.map(|since| Waiting { since, bytes });
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_that_brings_nothing_ends_it() {
        let (mut gathering, now) = (Gathering::default(), Instant::now());
        assert!(!gathering.goes_on(0, now));
        assert!(gathering.goes_on(10, now));
        assert!(gathering.goes_on(20, now));
        assert!(!gathering.goes_on(20, now));
        assert!(gathering.goes_on(5, now), "and begins anew");
    }

    #[test]
    fn neither_much_nor_for_long() {
        let (mut gathering, now) = (Gathering::default(), Instant::now());
        assert!(!gathering.goes_on(ENOUGH, now));
        assert!(gathering.goes_on(1, now));
        assert!(!gathering.goes_on(ENOUGH, now));
        assert!(gathering.goes_on(1, now));
        assert!(gathering.goes_on(2, now + MOST / 2));
        assert!(!gathering.goes_on(3, now + MOST));
    }
}

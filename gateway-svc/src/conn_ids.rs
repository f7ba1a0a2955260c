//! Connection ids: nobody can guess the next, and none comes twice.
//!
//! Random numbers would repeat: among a million of 32 bits some hundred do. So a counter goes
//! through a permutation of all 2^32 numbers that only this gateway knows, a Feistel network whose
//! rounds are SipHash under a random key.

use std::hash::{BuildHasher, RandomState};

use wire::ConnId;

/// With a strong round function four rounds are a pseudo-random permutation (Luby and Rackoff);
/// halves of 16 bits deserve some more.
const ROUNDS: u8 = 8;

/// All 2^32 ids in an order of its own; after the last the first comes again.
#[derive(Debug, Default)]
pub(crate) struct ConnIds {
    key: RandomState,
    next: u32,
}

impl ConnIds {
    /// The next id.
    pub(crate) fn next(&mut self) -> ConnId {
        let id = self.permute(self.next);
        self.next = self.next.wrapping_add(1);
        ConnId(id)
    }

    fn permute(&self, n: u32) -> u32 {
        let (mut left, mut right) = ((n >> 16) as u16, n as u16);
        for round in 0..ROUNDS {
            let mixed = self.key.hash_one((round, right)) as u16;
            (left, right) = (right, left ^ mixed);
        }
        u32::from(left) << 16 | u32::from(right)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_id_comes_twice() {
        let mut ids = ConnIds::default();
        let mut seen = HashSet::new();
        assert!((0..300_000).all(|_| seen.insert(ids.next())));
    }

    #[test]
    fn two_gateways_have_orders_of_their_own_and_neighbours_are_far_apart() {
        let (mut a, mut b) = (ConnIds::default(), ConnIds::default());
        let of = |ids: &mut ConnIds| (0..64).map(|_| ids.next().0).collect::<Vec<_>>();
        let (a, b) = (of(&mut a), of(&mut b));
        assert_ne!(a, b);
        let near = |ids: &[u32]| {
            ids.windows(2)
                .filter(|w| w[0].abs_diff(w[1]) < 1 << 16)
                .count()
        };
        assert!(near(&a) < 8 && near(&b) < 8);
    }
}

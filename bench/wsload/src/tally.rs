//! What the clients of one run have seen together.

use std::{
    cell::{Cell, RefCell},
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::Result;
use hdrhistogram::Histogram;

/// Longer than any wait here: a minute, in nanoseconds.
const LONGEST_NS: u64 = 60_000_000_000;

/// The parts of a run: what happens in the first is not counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    WarmUp,
    Measure,
    Stop,
}

/// Counts and latencies; all clients share it on one thread.
pub(crate) struct Tally {
    began: Instant,
    phase: Cell<Phase>,
    count: Cell<u64>,
    out_of_order: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
}

impl Tally {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            began: Instant::now(),
            phase: Cell::new(Phase::WarmUp),
            count: Cell::new(0),
            out_of_order: Cell::new(0),
            latency: RefCell::new(Histogram::new_with_bounds(1, LONGEST_NS, 3)?),
        })
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.set(phase);
    }

    /// Writes a payload of `size` bytes (34 at least) that carries the time and a number.
    pub(crate) fn stamp(&self, out: &mut String, number: u64, size: usize) {
        let end = out.len() + size;
        let now = self.began.elapsed().as_nanos() as u64;
        // Writing to a String does not fail.
        let _ = write!(out, "~{now:016x}{number:016x}~");
        out.extend(std::iter::repeat_n('x', end.saturating_sub(out.len())));
    }

    /// Takes an arrived payload; answers with its number, or nothing if it has no stamp.
    pub(crate) fn arrived(&self, payload: &[u8], expected: Option<u64>) -> Option<u64> {
        let (sent, number) = read_stamp(payload)?;
        if expected.is_some_and(|expected| expected != number) {
            self.out_of_order.set(self.out_of_order.get() + 1);
        }
        if self.phase.get() != Phase::WarmUp {
            self.count.set(self.count.get() + 1);
            let took = (self.began.elapsed().as_nanos() as u64)
                .saturating_sub(sent)
                .max(1);
            self.latency.borrow_mut().saturating_record(took);
        }
        Some(number)
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.get()
    }

    pub(crate) fn out_of_order(&self) -> u64 {
        self.out_of_order.get()
    }

    pub(crate) fn latency(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latency.borrow().value_at_quantile(quantile))
    }
}

fn read_stamp(payload: &[u8]) -> Option<(u64, u64)> {
    let text = payload.strip_prefix(b"~").and_then(|rest| rest.get(..33))?;
    let text = std::str::from_utf8(text.strip_suffix(b"~")?).ok()?;
    Some((
        u64::from_str_radix(&text[..16], 16).ok()?,
        u64::from_str_radix(&text[16..], 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_and_padded_to_its_size() {
        let tally = Tally::new().unwrap();
        let mut text = String::from("e:");
        tally.stamp(&mut text, 77, 64);
        assert_eq!(text.len(), 66);
        assert_eq!(tally.arrived(&text.as_bytes()[2..], Some(77)), Some(77));
        assert_eq!(tally.arrived(b"ok", None), None);
    }

    #[test]
    fn only_the_measured_part_counts_but_order_always_does() {
        let tally = Tally::new().unwrap();
        let mut text = String::new();
        tally.stamp(&mut text, 5, 34);
        tally.arrived(text.as_bytes(), Some(4));
        assert_eq!((tally.count(), tally.out_of_order()), (0, 1));
        tally.set_phase(Phase::Measure);
        tally.arrived(text.as_bytes(), Some(5));
        assert_eq!((tally.count(), tally.out_of_order()), (1, 1));
    }
}

//! How many deliveries are under way.

use std::{cell::Cell, rc::Rc};

/// Counts the deliveries under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Rc<Cell<usize>>);

/// One of them. It is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Flight(InFlight);

impl InFlight {
    pub(crate) fn count(&self) -> usize {
        self.0.get()
    }

    pub(crate) fn begin(&self) -> Flight {
        self.0.set(self.0.get() + 1);
        Flight(self.clone())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let InFlight(count) = &self.0;
        count.set(count.get() - 1);
    }
}

//! The contract, held from all sides: the page `subjects.md`, the schema `gatebus.cddl`, the frozen
//! bytes in `golden/`, and properties that must hold for any input.
//!
//! One test program with a module a subject, so that it is linked once.

mod codec;
mod diagnostic;
mod document;
mod foreign;
mod golden;
mod limits;
mod memory;
mod names;
mod page;
mod samples;
mod schema;
mod session;
mod strategies;
mod types;

//! The worker that the benchmark measures.

fn main() {}

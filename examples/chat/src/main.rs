//! The chat example: a worker and a web page.

fn main() {}

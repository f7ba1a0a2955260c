//! The gateway's binary: the protocols that every gateway knows.

use std::process::ExitCode;

use gateway_svc::{Protocols, program};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    program::run(Protocols::default())
}

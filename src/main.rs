//! The `rekindle` command.
#![recursion_limit = "256"] // the GPU backends' types nest deeply

mod cli;

use std::process::ExitCode;

/// Keeps the memory that a step's gradients had for those of the next, where glibc may give it back to the system each time.
#[cfg(not(target_family = "wasm"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}

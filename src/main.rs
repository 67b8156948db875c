//! The `rekindle` command.
#![recursion_limit = "256"] // the GPU backends' types nest deeply

#[cfg(not(target_family = "wasm"))]
mod allocator;
mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(not(target_family = "wasm"))]
    allocator::keep_memory();
    cli::main()
}

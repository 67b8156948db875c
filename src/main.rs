//! The `rekindle` command.
#![recursion_limit = "256"] // the GPU backends' types nest deeply

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}

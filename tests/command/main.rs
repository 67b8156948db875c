//! The command from outside: what it prints, what it writes, and its exit status.

mod accumulated;
mod amp;
mod averages;
mod before;
mod by_answer;
mod changes;
mod cli;
mod data;
mod devices;
mod epochs;
#[cfg(feature = "fetch")]
mod fetching;
mod files;
mod folders;
mod frameworks;
mod keeping;
mod layouts;
mod lost;
mod named;
mod names;
mod norms;
mod opening;
mod optimizers;
mod plan;
mod plot;
mod predict;
mod programs;
mod questions;
mod reading;
#[cfg(feature = "fetch")]
mod readme;
mod refusals;
mod resume;
mod roots;
mod runs;
mod several;
mod swa;
mod unexpected;
mod went_on;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The run that PyTorch began.
fn run_pt() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/digits/run.pt")
}

/// The command with these arguments, not started yet.
fn command<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekindle"));
    command.args(arguments).env("NO_COLOR", "1");
    command
}

fn rekindle<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Output {
    command(arguments).output().unwrap()
}

/// The one sentence of a verb that could not do what was asked.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

//! The `rekindle` command: one file a verb. Verbs call the crates and print; what they print on standard output is their
//! answer, everything else goes to standard error.

mod amp;
mod answer;
mod convert;
mod data;
mod devices;
mod diff;
mod dot;
mod fetch;
mod flags;
mod input;
mod inspect;
mod json;
mod kept;
mod loss_dtype;
mod mean_over;
mod named;
mod plan;
mod plot;
mod precision;
mod predict;
mod prepare;
mod program;
mod rescue;
mod resume;
mod scan;
mod schedule;
mod settings;
mod several;
mod smoothing;
mod source;
mod started;
mod task;
mod verify;

use std::panic::catch_unwind;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// PyTorch checkpoints in Rust: look into them, compare, convert, and go on training.
#[derive(Debug, Parser)]
#[command(name = "rekindle", version, after_help = "Exit status: 0 done or yes, 1 no, 2 it could not be done.")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what is in a checkpoint: container, layout, tensors, values
    Inspect(inspect::Inspect),
    /// Say which tensors and values of two checkpoints differ, and by how much
    Diff(diff::Diff),
    /// Say whether checkpoints are whole: checksums, sizes, views; with --finite also NaN and infinity, with --run
    /// whether a program computes
    Verify(verify::Verify),
    /// List what the pickles in files would run in Python
    Scan(scan::Scan),
    /// Write a checkpoint again: another container, other keys, another dtype
    Convert(convert::Convert),
    /// Say what resume would do with a checkpoint, and what it has to be told
    Plan(resume::Resume),
    /// Go on with a training run
    Resume(resume::Resume),
    /// Compute a network's outputs for its inputs: a program of torch.export, or a checkpoint's network
    Predict(predict::Predict),
    /// Bring a checkpoint, or weights by their name, from a server
    Fetch(fetch::Fetch),
    /// Draw the curves of logs, and how far they are apart
    Plot(plot::Plot),
    /// List what can compute here
    Devices(devices::Devices),
}

/// Runs the command with the process's arguments.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    // A device that is out of memory, say, makes its backend panic: that, too, is a sentence and status 2.
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|panic| {
            answer::tell(&format!("rekindle: this should not have happened: {panic}"));
        }));
    }
    let answer = catch_unwind(|| match cli.verb {
        Verb::Inspect(verb) => verb.run(),
        Verb::Diff(verb) => verb.run(),
        Verb::Verify(verb) => verb.run(),
        Verb::Scan(verb) => verb.run(),
        Verb::Convert(verb) => verb.run(),
        Verb::Plan(verb) => verb.plan(),
        Verb::Resume(verb) => verb.run(),
        Verb::Predict(verb) => verb.run(),
        Verb::Fetch(verb) => verb.run(),
        Verb::Plot(verb) => verb.run(),
        Verb::Devices(verb) => verb.run(),
    });
    match answer {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => ExitCode::from(1),
        Ok(Err(error)) => {
            answer::tell(&format!("rekindle: {}", flags::in_flags(&answer::sentence(&*error))));
            ExitCode::from(2)
        }
        Err(_) => ExitCode::from(2),
    }
}

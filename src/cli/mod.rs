//! The `rekindle` command: one file a verb. Verbs call the crates and print; what they print on standard output is their
//! answer, everything else goes to standard error.

mod convert;
mod devices;
mod diff;
mod flags;
mod inspect;
mod json;
mod resume;
mod scan;
mod settings;
mod task;
mod verify;

use std::io::Write as _;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rekindle::recorder::ErrorKind;
use serde_json::Value as Json;

/// What a verb answers: `true` is yes (exit status 0), `false` no (1), an error that it could not be done (2).
type Answer = Result<bool, Box<dyn std::error::Error>>;

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
    /// Say whether checkpoints are whole: checksums, sizes, views; with --finite also NaN and infinity
    Verify(verify::Verify),
    /// List what the pickles in files would run in Python
    Scan(scan::Scan),
    /// Write a checkpoint again: another container, other keys, another dtype
    Convert(convert::Convert),
    /// Go on with a training run
    Resume(resume::Resume),
    /// List what can compute here
    Devices(devices::Devices),
}

/// Runs the command with the process's arguments.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    // A device that is out of memory, say, makes its backend panic: that, too, is a sentence and status 2.
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|panic| eprintln!("rekindle: this should not have happened: {panic}")));
    }
    let answer = catch_unwind(|| match cli.verb {
        Verb::Inspect(verb) => verb.run(),
        Verb::Diff(verb) => verb.run(),
        Verb::Verify(verb) => verb.run(),
        Verb::Scan(verb) => verb.run(),
        Verb::Convert(verb) => verb.run(),
        Verb::Resume(verb) => verb.run(),
        Verb::Devices(verb) => verb.run(),
    });
    match answer {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => ExitCode::from(1),
        Ok(Err(error)) => {
            eprintln!("rekindle: {}", flags::in_flags(&sentence(&*error)));
            ExitCode::from(2)
        }
        Err(_) => ExitCode::from(2),
    }
}

/// An error as one sentence. Only a report of keys is longer by itself.
fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref::<rekindle::recorder::Error>() {
        Some(error) => match (error.kind(), error.file()) {
            (ErrorKind::Mismatch(report), Some(file)) => format!("{}: {}", file.display(), report.summary()),
            (ErrorKind::Mismatch(report), None) => report.summary(),
            _ => error.to_string(),
        },
        None => error.to_string(),
    }
}

/// Writes an answer to standard output. A reader that has gone away (`| head`) is no error.
fn print(text: &str) -> Result<(), std::io::Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// What a verb that takes several files says of one of them.
struct Said {
    document: Json,
    text: String,
    /// What it failed at in the file.
    failures: Vec<String>,
    answer: bool,
}

/// The answer of a verb that takes several files: yes where it is yes for each. It is an error where it failed at one of them; a
/// no outweighs that.
fn each(paths: &[PathBuf], json: bool, say: impl Fn(&Path) -> rekindle::recorder::Result<Said>) -> Answer {
    let (mut documents, mut text, mut failures, mut answer) = (Vec::new(), String::new(), Vec::new(), true);
    for path in paths {
        match say(path) {
            Ok(said) => {
                documents.push(said.document);
                text += &said.text;
                failures.extend(said.failures);
                answer &= said.answer;
            }
            Err(error) => {
                let error = flags::in_flags(&error.to_string());
                documents.push(serde_json::json!({"path": path.display().to_string(), "error": error}));
                failures.push(error);
            }
        }
    }
    print(&if json { format!("{:#}\n", Json::from(documents)) } else { text })?;
    let last = if answer { failures.pop() } else { None };
    for failure in failures {
        eprintln!("rekindle: {failure}");
    }
    last.map_or(Ok(answer), |last| Err(last.into()))
}

/// What a user should know, on standard error.
fn note(note: &str) {
    eprintln!("note: {}", flags::in_flags(note));
}

/// One sentence for a mistake in the arguments that the parser cannot see.
fn usage(sentence: impl Into<String>) -> Box<dyn std::error::Error> {
    sentence.into().into()
}

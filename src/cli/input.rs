//! Checkpoints that the command reads: files, folders, and `-`, standard input.

use std::io::Read as _;
use std::path::Path;

use super::answer::note;
use rekindle::Checkpoint;
use rekindle::recorder::checkpoint::OpenOptions;
use rekindle::recorder::{IoResultExt as _, Result, ResultExt as _};

/// Whether it stands for standard input or output.
pub(super) fn is_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// What `-` stands for, read to its end; `None` for a path.
pub(super) fn standard_input(path: &Path) -> Result<Option<Vec<u8>>> {
    let read = || {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    };
    is_stream(path).then(|| read().doing("cannot read it").in_file("standard input")).transpose()
}

/// How a checkpoint is opened.
#[derive(Debug, clap::Args)]
pub(super) struct Opening {
    /// Read on where a checksum is wrong
    #[arg(long)]
    pub(super) no_verify: bool,
    /// Read what is there of a folder whose files contradict each other, and say what is left out
    #[arg(long)]
    pub(super) lenient: bool,
    /// Join the parts of tensors of this name, which may be a glob, along an axis, or say that each part is the whole, where a
    /// folder of Llama's shards does not tell
    #[arg(long, value_name = "NAME=0|1|same")]
    pub(super) axis: Vec<String>,
    /// Read the Nth of several saves in one file; 1, the first, by default
    #[arg(long, value_name = "N")]
    pub(super) nth: Option<usize>,
}

impl Opening {
    /// The library's options.
    pub(super) fn options(&self) -> OpenOptions {
        OpenOptions::default().verify(!self.no_verify).lenient(self.lenient).axes(self.axis.clone()).nth(self.nth)
    }

    /// Opens a checkpoint, and says on standard error what a user should know of it; `-` is read from standard input to its end.
    pub(super) fn open(&self, path: &Path) -> Result<Checkpoint> {
        let options = self.options();
        let checkpoint = match standard_input(path)? {
            Some(bytes) => Checkpoint::from_bytes_with(bytes, &options).in_file("standard input")?,
            None => Checkpoint::open_with(path, &options)?,
        };
        say_notes(&checkpoint);
        Ok(checkpoint)
    }
}

/// Says on standard error what a user should know of how a checkpoint was read.
pub(super) fn say_notes(checkpoint: &Checkpoint) {
    let file = checkpoint.path().map(|path| path.display().to_string()).unwrap_or_default();
    for said in checkpoint.notes() {
        // Some begin with its name.
        let is_named = file.is_empty() || said.starts_with(&file);
        note(&if is_named { said.clone() } else { format!("{file}: {said}") });
    }
}

//! Checkpoints that the command reads: files, folders, and `-`, standard input.

use std::path::Path;

use rekindle::Checkpoint;
use rekindle::recorder::checkpoint::OpenOptions;
use rekindle::recorder::{Result, ResultExt as _};

/// Whether it stands for standard input or output.
pub(super) fn is_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Opens a checkpoint; `-` is read from standard input to its end.
pub(super) fn open(path: &Path, options: &OpenOptions) -> Result<Checkpoint> {
    if is_stream(path) {
        return Checkpoint::read_from_with(std::io::stdin().lock(), options).in_file("standard input");
    }
    Checkpoint::open_with(path, options)
}

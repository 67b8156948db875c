//! Zip archives: what `torch.save` writes since PyTorch 1.6.
//!
//! - [`Archive`]: records of any zip file, looked up by name, checked and unpacked.
//! - [`detect`], [`write()`]: a checkpoint in one; [`archives::read`](crate::container::archives::read) tells it from other formats that
//!   are zip archives.

mod archive;
mod directory;
mod format;
mod inflate;
pub(super) mod labels;
mod patch;
mod salvage;
mod storages;
mod torch;
mod writer;

use std::path::Path;

pub use archive::{Archive, Record};
pub(super) use patch::patch;
pub(crate) use salvage::{archives, ends_as_archive, salvage};
pub(super) use storages::Storages;
pub(super) use torch::{read, write_records};
pub use writer::ArchiveWriter;

use crate::io::FileBytes;
use crate::options::{SaveOptions, SaveReport};
use crate::{Result, Value};

/// Whether the bytes begin as a zip archive does. PyTorch accepts nothing before the first record.
#[must_use]
pub fn detect(file: &FileBytes) -> bool {
    file.starts_with(b"PK\x03\x04")
}

/// Writes a checkpoint as PyTorch 2.15 writes it, to the byte where the pickle is the same (but for the `serialization_id`):
/// plain `torch.load` opens it, with `mmap=True`, too. The file appears whole or not at all
/// ([`commit`](crate::io::commit::commit)).
///
/// Storages are fetched one after the other and none is kept, so that memory holds one at a time.
///
/// # Errors
/// What plain `torch.load` would refuse (unless [`SaveOptions::allow_objects`] is set), what a storage's bytes cannot be read
/// for, and what the file cannot be written for.
pub fn write(root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    torch::write(root, path, options)
}

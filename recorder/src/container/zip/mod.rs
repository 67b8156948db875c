//! Zip archives: what `torch.save` writes since PyTorch 1.6.
//!
//! - [`Archive`]: records of any zip file, looked up by name, checked and unpacked.
//! - [`detect`], [`read()`], [`write()`]: a checkpoint in one.

mod archive;
mod directory;
mod format;
mod inflate;
mod kinds;
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
pub(super) use torch::write_records;
pub use writer::ArchiveWriter;

use super::{Container, Opened};
use crate::checkpoint::{OpenOptions, SaveOptions, SaveReport};
use crate::source::FileBytes;
use crate::{Limits, Result, Value};

/// Whether the bytes begin as a zip archive does. PyTorch accepts nothing before the first record.
#[must_use]
pub fn detect(file: &FileBytes) -> bool {
    file.starts_with(b"PK\x03\x04")
}

/// The format of a file where it is a zip archive; `None` where it is no archive, or none that is known.
pub(super) fn container_of(file: &FileBytes, limits: &Limits) -> Result<Option<Container>> {
    if !detect(file) {
        return Ok(None);
    }
    Ok(kinds::container(&Archive::open(file.bytes(), limits)?))
}

/// Reads the checkpoint in a zip archive. Only the directory and the pickle are touched; a storage's record is read, and
/// compared with its checksum, when the storage is.
///
/// # Errors
/// When the archive is cut off or damaged, holds no checkpoint, or one of a format that is not supported.
pub fn read(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let archive = Archive::open(file.bytes(), &options.limits)?;
    kinds::read(archive, file, options)
}

/// Writes a checkpoint as PyTorch 2.15 writes it, to the byte where the pickle is the same (but for the `serialization_id`):
/// plain `torch.load` opens it, with `mmap=True`, too. The file appears whole or not at all
/// ([`commit`](crate::integrity::commit)).
///
/// Storages are fetched one after the other and none is kept, so that memory holds one at a time.
///
/// # Errors
/// What plain `torch.load` would refuse (unless [`SaveOptions::allow_objects`] is set), what a storage's bytes cannot be read
/// for, and what the file cannot be written for.
pub fn write(root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    torch::write(root, path, options)
}

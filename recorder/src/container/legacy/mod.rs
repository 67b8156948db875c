//! The stream of pickles that `torch.save` wrote from PyTorch 0.1.10 to 1.5, and still writes with
//! `_use_new_zipfile_serialization=False`.
//!
//! | part | content |
//! |---|---|
//! | a pickle | the magic number |
//! | a pickle | the version of the protocol, 1001 |
//! | a pickle | a dict that describes the machine: byte order, sizes of C types |
//! | a pickle | the object; its persistent ids name storages and, in whole modules, classes |
//! | a pickle | the list of the storages' keys |
//! | for each key | how many elements (64 bits), then the elements; all little-endian, whatever the machine was |
//!
//! Reading takes the pickles; a storage is a slice of the file. What follows the last storage is left alone, as PyTorch does.

mod read;
mod storages;
mod write;

use std::path::Path;

use crate::container::kind::Opened;
use crate::io::FileBytes;
use crate::options::{OpenOptions, SaveOptions, SaveReport};
use crate::{Result, Value};

/// The first pickle's integer.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// The same as protocol 2 and later write it: LONG1, its length, its bytes.
const MAGIC_PICKLED: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
/// The same in protocols 0 and 1.
const MAGIC_AS_TEXT: &[u8] = b"L119547037146038801333356L\n.";
/// How many pickles come before the storages.
pub(crate) const PICKLES: u64 = 5;
/// The only version there has been.
const VERSION: i64 = 1001;

/// Whether the bytes begin with the magic number, in a pickle of any protocol.
#[must_use]
pub fn detect(file: &FileBytes) -> bool {
    detect_bytes(file)
}

fn detect_bytes(bytes: &[u8]) -> bool {
    // Protocols 4 and 5 put a frame of 9 bytes before it.
    let start = bytes.get(..32).unwrap_or(bytes);
    start.starts_with(MAGIC_AS_TEXT)
        || start.first() == Some(&0x80) && start.windows(MAGIC_PICKLED.len()).any(|window| window == MAGIC_PICKLED)
}

/// Reads the checkpoint in a stream. Storages of `torch.UntypedStorage`, which PyTorch 2.15 writes but cannot load, are read.
///
/// The source text that old PyTorch kept beside the class of a whole module is passed over: `torch.load` does no more with it
/// than warn when it has changed.
///
/// # Errors
/// [`Truncated`](crate::ErrorKind::Truncated) when the file ends too early, [`Damaged`](crate::ErrorKind::Damaged) when its parts
/// contradict each other, and as [`pickle::read`](crate::pickle::read::machine).
pub fn read(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    read::read(file.bytes(), &options.limits)
}

/// Writes a checkpoint as PyTorch 2.15 writes it with `_use_new_zipfile_serialization=False`; plain `torch.load` opens it, and so
/// does every PyTorch since 0.4 that knows the element types. The storages' keys are `0`, `1`, ... in the order in which the
/// pickle first names them (PyTorch takes addresses). The file appears whole or not at all
/// ([`commit`](crate::io::commit::commit)).
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported), with its path, for a tensor of a type that only the zip format can hold
/// (float8, uint16, ...), unless [`SaveOptions::allow_objects`] is set; [`Refused`](crate::ErrorKind::Refused) for what plain
/// `torch.load` refuses; and when a storage cannot be read or the file not be written.
pub fn write(root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    write::write(root, path, options)
}

pub(super) use read::storage_in;
pub(super) use storages::Part;

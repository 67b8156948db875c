//! What the pickles in a file name, with a verdict on each name and a reason: what `rekindle scan` prints. It is a gate: what nobody
//! here knows is not known to be safe.
//!
//! A file is looked through as whoever might load it would: every pickle in it, one after the other; every record of an
//! archive and every archive in a record; what follows a break. Extensions count for nothing. A file may be several things at
//! once, and then is scanned as each of them.
//!
//! Nothing is loaded, so the cost follows from the file's size: compressed records are unpacked up to [`UNPACKED`] bytes,
//! and of a pickle only the places of its strings are kept.

mod content;
mod folders;
mod found;
mod items;

use std::path::Path;

use bytes::Bytes;

pub use found::{ScanEntry, ScanProblem, ScanReport, UNPACKED};

use crate::{FileBytes, Limits, Result, ResultExt as _};
use found::Found;

/// Lists every name in every pickle of a file or folder. In a folder, files that hold no pickles are passed over.
///
/// What is wrong with a part of it goes into [`ScanReport::problems`], and the rest is scanned. Memory stays below 512 MiB.
///
/// # Errors
/// [`ErrorKind::Io`](crate::ErrorKind::Io) when it cannot be read, [`ErrorKind::NotACheckpoint`](crate::ErrorKind::NotACheckpoint)
/// when it is a file of no known format.
///
/// ```
/// # use rekindle_recorder::{Limits, scan::scan};
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.pt");
/// std::fs::write(&path, b"cposix\nsystem\n(S'echo pwned'\ntR.")?;
/// let report = scan(&path, &Limits::default())?;
/// assert_eq!(report.entries[0].name.to_string(), "posix.system");
/// assert!(report.is_dangerous());
/// assert_eq!(report.entries[0].reason, "reaches the system, processes or threads");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn scan(path: impl AsRef<Path>, limits: &Limits) -> Result<ScanReport> {
    let path = path.as_ref();
    let mut found = Found::default();
    folders::path(path, limits, &mut found).in_file(path)?;
    Ok(found.report())
}

/// The same of bytes in memory, which are shared.
///
/// # Errors
/// [`ErrorKind::NotACheckpoint`](crate::ErrorKind::NotACheckpoint) when they are of no known format.
pub fn scan_bytes(bytes: impl Into<Bytes>, limits: &Limits) -> Result<ScanReport> {
    let mut found = Found::default();
    folders::bytes(&FileBytes::unnamed(bytes.into()), limits, &mut found)?;
    Ok(found.report())
}

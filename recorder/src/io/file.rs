//! `FileBytes`: a file's bytes as one slice. A large file is mapped, so that opening it reads nothing; a small one is read.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;

use crate::{IoResultExt as _, Result, ResultExt as _};

/// Files below this size are read: that costs less than a mapping, and nobody can change the bytes afterwards.
const MAPPED_FROM: u64 = 64 * 1024;

/// The bytes of a file; clones share them.
///
/// A file of 64 KiB and more is mapped read-only: its pages are fetched when they are touched, and slices of it are no
/// copies. Such a file should not be truncated while a slice of it is alive: on Unix, touching a page that is gone ends the
/// process with `SIGBUS`, as it does with PyTorch's `mmap=True`. Writers that replace files by renaming, as
/// [`commit`](crate::io::commit::commit) does, are harmless: the mapping keeps the old file.
#[derive(Clone)]
pub struct FileBytes {
    path: Option<Arc<Path>>,
    bytes: Bytes,
}

impl FileBytes {
    /// Opens a file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) when it is missing, not readable or no regular file (a folder, a pipe).
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = Self::load(path).doing("cannot open the file").in_file(path)?;
        Ok(FileBytes { path: Some(path.into()), bytes })
    }

    fn load(path: &Path) -> std::io::Result<Bytes> {
        // Asked before opening: opening a pipe would wait for somebody to write into it.
        let kind = std::fs::metadata(path)?.file_type();
        if kind.is_dir() {
            return Err(std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a folder"));
        }
        if !kind.is_file() {
            let reason = "it is a pipe or a device; copy its bytes into a file first";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, reason));
        }
        let mut file = File::open(path)?;
        if file.metadata()?.len() < MAPPED_FROM {
            // A file that grows meanwhile is read no further than the limit.
            let mut bytes = Vec::new();
            file.by_ref().take(MAPPED_FROM).read_to_end(&mut bytes)?;
            return Ok(bytes.into());
        }
        Ok(Bytes::from_owner(map(&file)?))
    }

    /// Bytes in memory under a name for messages.
    #[must_use]
    pub fn from_vec(name: &str, bytes: Vec<u8>) -> Self {
        FileBytes { path: Some(Path::new(name).into()), bytes: bytes.into() }
    }

    /// Bytes in memory without a name.
    #[must_use]
    pub fn unnamed(bytes: Bytes) -> Self {
        FileBytes { path: None, bytes }
    }

    /// Bytes found inside this file, under the same name.
    #[must_use]
    pub fn within(&self, bytes: Bytes) -> Self {
        FileBytes { path: self.path.clone(), bytes }
    }

    /// The file's path, or the name the bytes were given.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// All bytes; no copy.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The bytes of a range, no copy; `None` where it leaves the file.
    #[must_use]
    pub fn slice(&self, range: Range<u64>) -> Option<Bytes> {
        let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
        (start <= end && end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}

/// Maps a whole file, read-only.
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: a map is sound as long as nobody changes the file under it, and no program can keep the others from doing so.
    // What can happen, and why it stays harmless here:
    // - Another process truncates the file: touching a lost page raises SIGBUS, which ends the process. No wrong bytes are
    //   seen and no memory is corrupted. A crash is what PyTorch's own `mmap=True` does.
    // - Another process writes into the file: slices of it may show old or new bytes. Everything read from a map is
    //   untrusted in this crate anyway: lengths, offsets and names are copied out once, checked, and only the checked
    //   copies are used to slice, so that changed bytes give wrong numbers or an error, never an access out of bounds.
    //   The bytes are handed out as `u8` alone, of which every value is valid, and only slice operations of the standard
    //   library, which do not rely on two reads being equal, look at them.
    // - This process changes it: every file this crate writes is a new one that is renamed over the old (`commit.rs`),
    //   which leaves the mapped file as it was. The map is read-only (PROT_READ), so it cannot be written through.
    #[allow(unsafe_code)]
    unsafe {
        Mmap::map(file)
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileBytes({:?}, {} bytes)", self.path, self.bytes.len())
    }
}

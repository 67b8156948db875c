//! `Record`: what the central directory of a zip file says of one of its files.

use crate::container::zip::fields::METHODS;
use crate::{Error, Result};

/// One record as the central directory describes it.
#[derive(Clone, Debug)]
pub struct Record {
    /// The whole name, such as `archive/data/0`.
    pub name: Box<str>,
    /// Bytes of the payload once it is unpacked.
    pub size: u64,
    /// Bytes that it takes in the file.
    pub stored: u64,
    /// The CRC-32 of the unpacked payload.
    pub crc32: u32,
    /// Whether it is packed with deflate.
    pub deflated: bool,
    /// The first byte of its local header.
    pub header: u64,
    pub(super) name_len: u16,
    pub(super) method: u16,
    pub(super) encrypted: bool,
    /// Where the next record or the central directory begins.
    pub(super) end: u64,
    /// Where its entry in the directory begins.
    pub(super) entry: usize,
}

impl Record {
    /// A record that is a file of its own, without a checksum.
    pub(super) fn stored(name: &str, size: u64) -> Self {
        Record {
            name: name.into(),
            size,
            stored: size,
            crc32: 0,
            deflated: false,
            header: 0,
            name_len: 0,
            method: 0,
            encrypted: false,
            end: size,
            entry: 0,
        }
    }

    /// The name inside a folder of the archive; `None` where it lies elsewhere. All lie inside the folder of no name.
    #[must_use]
    pub fn inside(&self, top: &str) -> Option<&str> {
        if top.is_empty() {
            return Some(&self.name);
        }
        self.name.strip_prefix(top)?.strip_prefix('/')
    }

    /// Whether it stands for a folder: such records hold nothing.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.name.ends_with('/')
    }

    /// Whether it is one of PyTorch's storages.
    pub(super) fn is_storage(&self, top: &str) -> bool {
        self.inside(top).is_some_and(|name| name.starts_with("data/"))
    }

    /// For messages, as PyTorch's users know it: without the top folder.
    pub(super) fn place(&self) -> String {
        format!("record {}", self.name.split_once('/').map_or(&*self.name, |(_, name)| name))
    }

    /// Whether its payload can be unpacked here.
    pub(super) fn check_readable(&self) -> Result<()> {
        if self.encrypted {
            let what = format!("an encrypted zip archive ({})", self.place());
            return Err(Error::unsupported(what).advise("unpack it with its password first"));
        }
        if !matches!(self.method, 0 | 8) {
            let name = METHODS.iter().find(|(method, _)| *method == self.method).map_or("unknown", |(_, name)| name);
            let what = format!("zip compression method {} ({name}, {})", self.method, self.place());
            return Err(Error::unsupported(what).advise("save the file again uncompressed"));
        }
        Ok(())
    }
}

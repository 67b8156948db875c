//! `Archive`: a zip file's records, found through its central directory, and their payloads.
//!
//! Nothing in the file is trusted: sizes and places are checked against the file's length and against each other, the local
//! headers against the central directory, payloads against their checksums. Stored payloads are slices of the file; of one that is
//! read part by part, a record is a part.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::container::zip::fields::{
    DESCRIBED, DESCRIPTOR, ENCRYPTED, LOCAL, LOCAL_LEN, MOVED_32, ZIP64_EXTRA, extra_field, u16_at, u32_at, u64_at,
};
use crate::container::zip::record::Record;
use crate::container::zip::{directory, inflate};
use crate::io::Ranges;
use crate::{Error, ErrorKind, Limits, Result};

/// A zip file whose records are looked up by name.
#[derive(Debug)]
pub struct Archive {
    held: Held,
    records: Vec<Record>,
    by_name: HashMap<Box<str>, usize>,
    top: Box<str>,
    checksums: Checksums,
    limits: Limits,
}

/// Where the payloads are.
#[derive(Debug)]
enum Held {
    /// In these bytes, which are the file.
    File(Bytes),
    /// Somebody has unpacked the archive: each record is a file, and there is no directory.
    Files(Vec<Bytes>),
    /// In a file that is read part by part.
    Ranges(Arc<dyn Ranges>),
}

/// A record whose local header was read.
pub(super) struct Located<'a> {
    pub(super) entry: &'a Record,
    /// The file, or the part of it in which the record lies, and where in the file that begins.
    bytes: Bytes,
    base: u64,
    /// Where in these bytes the payload is.
    pub(super) payload: Range<usize>,
    /// Whether a descriptor follows it.
    pub(super) described: bool,
}

impl Located<'_> {
    /// The payload as it is stored, as far as it was read.
    fn stored(&self) -> Bytes {
        let end = self.payload.end.min(self.bytes.len());
        self.bytes.slice(self.payload.start.min(end)..end)
    }
}

/// How long what goes before and behind a payload can be: the header with a name and an extra field, the descriptor.
const LONGEST_FRAME: u64 = LOCAL_LEN as u64 + 2 * u16::MAX as u64 + 24;

/// How much more than is asked for is read of the beginning of a payload: an extra field as long as anybody writes them, and what
/// deflate adds.
const MORE: u64 = 4096;

/// Which records have checksums. PyTorch writes 0 for all of them under `config.save.compute_crc32 = False`, and for all
/// storages under `torch.serialization.skip_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checksums {
    All,
    NotOfStorages,
    None,
}

impl Archive {
    /// Reads the directory of a zip file. The payloads are not touched.
    ///
    /// Up to 64 KiB of other bytes may follow the archive, as in PyTorch.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] when the directory is missing, [`ErrorKind::Damaged`] when it contradicts itself or the file,
    /// when records overlap or share a name; [`ErrorKind::Limit`] when there are too many.
    pub fn open(bytes: Bytes, limits: &Limits) -> Result<Self> {
        let records = directory::read(&bytes, limits)?;
        Archive::of(Held::File(bytes), records, limits)
    }

    /// The same of a file that is read part by part. Nothing may follow the archive.
    pub(crate) fn of_ranges(ranges: &Arc<dyn Ranges>, limits: &Limits) -> Result<Self> {
        let records = directory::read_ranges(&**ranges, limits)?;
        Archive::of(Held::Ranges(Arc::clone(ranges)), records, limits)
    }

    /// An archive that is unpacked: its records' names and payloads.
    pub(super) fn unpacked(files: Vec<(String, Bytes)>, limits: &Limits) -> Result<Self> {
        let (names, payloads): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        let records = names.iter().zip(&payloads).map(|(name, bytes)| Record::stored(name, bytes.len() as u64));
        let records = records.collect();
        Archive::of(Held::Files(payloads), records, limits)
    }

    fn of(held: Held, records: Vec<Record>, limits: &Limits) -> Result<Self> {
        let mut by_name = HashMap::with_capacity(records.len());
        for (i, record) in records.iter().enumerate() {
            if by_name.insert(record.name.clone(), i).is_some() {
                return Err(Error::damaged(record.place(), "two records have this name"));
            }
        }
        let top: Box<str> = match records.first().and_then(|first| first.name.split_once('/')) {
            Some((top, _)) if records.iter().all(|record| record.inside(top).is_some()) => top.into(),
            _ => "".into(),
        };
        let checksums = Checksums::of(&records, &top);
        Ok(Archive { held, records, by_name, top, checksums, limits: limits.clone() })
    }

    /// Whether it is an archive that somebody has unpacked into a folder.
    pub(super) fn is_folder(&self) -> bool {
        matches!(self.held, Held::Files(_))
    }

    /// Whether its payloads are elsewhere, so that it costs more to read one again than to keep it.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self.held, Held::Ranges(_))
    }

    /// The bytes of the file, where they are those of one on this machine.
    pub(super) fn whole(&self) -> Result<&Bytes> {
        match &self.held {
            Held::File(bytes) => Ok(bytes),
            Held::Files(_) | Held::Ranges(_) => Err(Error::unsupported("copying an archive that is no file here")),
        }
    }

    /// All records, in the order of the directory.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The folder that holds all records, such as `archive`; empty where they lie in none or in several.
    #[must_use]
    pub fn top(&self) -> &str {
        &self.top
    }

    /// The number of the record with this name inside the top folder, such as `data/0`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        if self.top.is_empty() {
            return self.by_name.get(name).copied();
        }
        self.by_name.get(&*format!("{}/{name}", self.top)).copied()
    }

    /// How many bytes the whole file has, or all files where it is unpacked.
    pub(crate) fn size(&self) -> u64 {
        match &self.held {
            Held::File(bytes) => bytes.len() as u64,
            Held::Files(files) => files.iter().fold(0_u64, |size, file| size.saturating_add(file.len() as u64)),
            Held::Ranges(ranges) => ranges.len(),
        }
    }

    /// The names inside the top folder.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.records.iter().filter_map(|record| record.inside(&self.top))
    }

    /// Whether the record has a checksum: a file saved without them has zeros.
    #[must_use]
    pub fn has_checksum(&self, record: usize) -> bool {
        match self.checksums {
            Checksums::All => true,
            Checksums::None => false,
            Checksums::NotOfStorages => self.records.get(record).is_some_and(|record| !record.is_storage(&self.top)),
        }
    }

    /// The payload of the record with this name inside the top folder.
    ///
    /// # Errors
    /// As [`Archive::payload`], and [`ErrorKind::Damaged`] when there is no such record.
    pub fn read(&self, name: &str, verify: bool) -> Result<Bytes> {
        match self.find(name) {
            Some(record) => self.payload(record, verify),
            None => Err(Error::damaged(format!("record {name}"), "it is missing")),
        }
    }

    /// The payload of a record by its place in [`Archive::records`]: a slice of the file where it is stored as it is, a
    /// new buffer where it is compressed. `verify` compares it with its checksum, where there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Checksum`] when the payload is not what was written, [`ErrorKind::Damaged`] when the local header
    /// contradicts the directory, [`ErrorKind::Unsupported`] when it is encrypted or compressed by another method
    /// than deflate, [`ErrorKind::Limit`] when it inflates to more than the limits allow.
    pub fn payload(&self, record: usize, verify: bool) -> Result<Bytes> {
        if let Some(file) = self.file(record) {
            return Ok(file.clone());
        }
        let located = self.locate(record)?;
        let entry = located.entry;
        let verify = verify && self.has_checksum(record);
        if verify && located.described {
            located.check_descriptor()?;
        }
        let stored = located.stored();
        let payload = if entry.deflated { inflate::inflate(&stored, entry, &self.limits)? } else { stored };
        if verify && crc32fast::hash(&payload) != entry.crc32 {
            return Err(Error::new(ErrorKind::Checksum).at(entry.place()));
        }
        Ok(payload)
    }

    /// Hands a record's payload on piece by piece, so that a compressed one is never in memory whole; in one piece where it is
    /// stored as it is. `verify` compares it with its checksum at the end, where there is one.
    ///
    /// # Errors
    /// As [`Archive::payload`], and what `sink` gives.
    pub fn stream(&self, record: usize, verify: bool, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if self.records.get(record).is_none_or(|entry| !entry.deflated) || self.file(record).is_some() {
            return sink(&self.payload(record, verify)?);
        }
        let located = self.locate(record)?;
        let entry = located.entry;
        let verify = verify && self.has_checksum(record);
        if verify && located.described {
            located.check_descriptor()?;
        }
        let mut checksum = crc32fast::Hasher::new();
        inflate::stream(&located.stored(), entry, &self.limits, &mut |bytes| {
            checksum.update(bytes);
            sink(bytes)
        })?;
        if verify && checksum.finalize() != entry.crc32 {
            return Err(Error::new(ErrorKind::Checksum).at(entry.place()));
        }
        Ok(())
    }

    /// The first bytes of a record's payload, without a look at the rest or at the checksum; `None` where it has fewer.
    ///
    /// # Errors
    /// As [`Archive::payload`], but for the checksum.
    pub fn prefix(&self, record: usize, len: usize) -> Result<Option<Bytes>> {
        if let Some(file) = self.file(record) {
            return Ok((len <= file.len()).then(|| file.slice(..len)));
        }
        let prefix = |located: &Located<'_>| {
            let stored = located.stored();
            if located.entry.deflated {
                return inflate::prefix(&stored, len);
            }
            (len <= stored.len()).then(|| stored.slice(..len))
        };
        // Where not all of it had to be read, it was enough.
        if self.is_remote()
            && let Ok(located) = self.locate_some(record, len as u64)
            && let Some(prefix) = prefix(&located)
        {
            return Ok(Some(prefix));
        }
        Ok(prefix(&self.locate(record)?))
    }

    /// The file that a record is, where the archive is unpacked.
    fn file(&self, record: usize) -> Option<&Bytes> {
        match &self.held {
            Held::Files(files) => files.get(record),
            Held::File(_) | Held::Ranges(_) => None,
        }
    }

    /// A record with all of its payload.
    pub(super) fn locate(&self, record: usize) -> Result<Located<'_>> {
        self.locate_some(record, u64::MAX)
    }

    /// A record with so many bytes of its payload, or more.
    fn locate_some(&self, record: usize, first: u64) -> Result<Located<'_>> {
        let Some(entry) = self.records.get(record) else {
            return Err(Error::invalid(format!("there is no record {record} in the archive")));
        };
        entry.check_readable()?;
        let (bytes, base) = match &self.held {
            Held::File(bytes) => (bytes.clone(), 0),
            Held::Files(_) => (Bytes::new(), 0),
            Held::Ranges(ranges) => {
                let all = LONGEST_FRAME.saturating_add(entry.stored);
                let some = first.saturating_add(LOCAL_LEN as u64 + u64::from(entry.name_len) + 2 * MORE);
                let end = entry.header.saturating_add(all.min(some)).min(entry.end);
                (ranges.read(entry.header..end)?, entry.header)
            }
        };
        let mut located = Located { entry, bytes, base, payload: 0..0, described: false };
        located.check_local_header()?;
        Ok(located)
    }
}

impl Located<'_> {
    /// Where a place of the file is in the bytes.
    fn at(&self, place: u64) -> Result<usize> {
        let at = place.checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
        at.ok_or_else(|| Error::damaged(self.entry.place(), "it lies beyond what can be addressed"))
    }

    /// Compares the local header with the directory, and finds the payload.
    fn check_local_header(&mut self) -> Result<()> {
        let record = self.entry;
        let damaged = |reason: &str| Error::damaged(record.place(), reason);
        let header = self.at(record.header).ok().and_then(|at| self.bytes.get(at..)).unwrap_or_default();
        let fields = (|| Some((u32_at(header, 0)?, u16_at(header, 26)?, u16_at(header, 28)?)))();
        let Some((LOCAL, name_len, extra_len)) = fields else {
            return Err(damaged("there is no header where the directory says"));
        };
        let name_end = LOCAL_LEN + usize::from(name_len);
        let start = name_end + usize::from(extra_len);
        if (record.header + start as u64).checked_add(record.stored).is_none_or(|end| end > record.end) {
            return Err(damaged("it reaches into what follows it"));
        }
        // The end was just checked, and it lies inside the file.
        let name = header.get(LOCAL_LEN..name_end).unwrap_or_default();
        if directory::text(name) != *record.name {
            return Err(damaged("its header names another record"));
        }
        if u16_at(header, 8) != Some(record.method) {
            return Err(damaged("its header and the directory give different compression methods"));
        }
        let (flags, crc) = (u16_at(header, 6).unwrap_or_default(), u32_at(header, 14).unwrap_or_default());
        if (flags & ENCRYPTED != 0) != record.encrypted {
            return Err(damaged("its header and the directory disagree on encryption"));
        }
        let extra = extra_field(header.get(name_end..start).unwrap_or_default(), ZIP64_EXTRA).unwrap_or_default();
        let mut moved = 0;
        let sizes = [22, 18].map(|at| match u32_at(header, at) {
            Some(MOVED_32) => {
                moved += 8;
                u64_at(extra, moved - 8)
            }
            narrow => narrow.map(u64::from),
        });
        // Where a descriptor holds them, the fields here are zeros as a rule; some writers fill them in as well.
        let described = flags & DESCRIBED != 0;
        if sizes != [Some(record.size), Some(record.stored)] && !(described && sizes == [Some(0), Some(0)]) {
            return Err(damaged("its header and the directory give different sizes"));
        }
        if crc != record.crc32 && !(described && crc == 0) {
            return Err(damaged("its header and the directory give different checksums"));
        }
        // Both ends were checked against the file's length.
        let start = record.header + start as u64;
        self.payload = self.at(start)?..self.at(start + record.stored)?;
        self.described = described;
        Ok(())
    }

    /// Compares the descriptor after the payload with the directory: with or without its signature, with 32- or 64-bit sizes.
    fn check_descriptor(&self) -> Result<()> {
        let record = self.entry;
        // After an empty payload PyTorch writes none.
        if record.stored == 0 {
            return Ok(());
        }
        let end = self.at(record.end).unwrap_or(usize::MAX).min(self.bytes.len());
        let rest = self.bytes.get(self.payload.end..end).unwrap_or_default();
        let rest = if u32_at(rest, 0) == Some(DESCRIPTOR) { rest.get(4..).unwrap_or_default() } else { rest };
        let narrow = |at| u32_at(rest, at).map(u64::from);
        let [size, stored] = [Some(record.size), Some(record.stored)];
        let sizes_agree =
            [narrow(4), narrow(8)] == [stored, size] || [u64_at(rest, 4), u64_at(rest, 12)] == [stored, size];
        if u32_at(rest, 0) == Some(record.crc32) && sizes_agree {
            return Ok(());
        }
        Err(Error::damaged(record.place(), "the descriptor after it contradicts the directory"))
    }
}

impl Checksums {
    fn of(records: &[Record], top: &str) -> Self {
        let filled = || records.iter().filter(|record| record.size > 0);
        let mut storages = filled().filter(|record| record.is_storage(top)).peekable();
        if filled().all(|record| record.crc32 == 0) {
            Checksums::None
        } else if storages.peek().is_some() && storages.all(|record| record.crc32 == 0) {
            Checksums::NotOfStorages
        } else {
            Checksums::All
        }
    }
}

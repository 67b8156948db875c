//! Finding and reading a zip file's central directory.

use std::borrow::Cow;

use crate::container::zip::fields::{
    CENTRAL, CENTRAL_LEN, ENCRYPTED, END, END_LEN, END64, END64_LEN, LOCAL_LEN, LOCATOR64, LOCATOR64_LEN, MOVED_16,
    MOVED_32, ZIP64_EXTRA, extra_field, u16_at, u32_at, u64_at,
};
use crate::container::zip::record::Record;
use crate::io::Ranges;
use crate::{Error, Limits, Result};

/// How far from the file's end the end record is looked for: the longest comment, the record, and the block of 4 KiB in
/// which miniz, PyTorch's zip library, takes its last look.
pub(super) const SEARCHED: usize = u16::MAX as usize + END_LEN + 4096;

/// Where the directory is, as the end records say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    entries: u64,
    offset: u64,
    size: u64,
}

/// All records that the central directory lists, in its order.
pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Vec<Record>> {
    let end = find(Tail { bytes, start: 0 }, limits)?;
    // `find` made sure that the directory lies inside the file.
    entries(slice(bytes, end.offset, end.size).unwrap_or_default(), &end)
}

/// The same of a file that is read part by part: its end, and the directory where that lies before it. An archive that other
/// bytes follow, or another archive, is none here.
pub(super) fn read_ranges(ranges: &dyn Ranges, limits: &Limits) -> Result<Vec<Record>> {
    let start = ranges.len().saturating_sub(SEARCHED as u64);
    let bytes = ranges.read(start..ranges.len())?;
    let tail = Tail { bytes: &bytes, start };
    let end = find(tail, limits)?;
    if !tail.is_closed_by(&end) {
        return Err(Error::damaged("zip end record", "other bytes follow it"));
    }
    if end.size > limits.pickle_bytes {
        return Err(Error::limit(format!("a zip directory of {} bytes", end.size), limits.pickle_bytes));
    }
    match tail.slice(end.offset, end.size) {
        Some(directory) => entries(directory, &end),
        None => entries(&ranges.read(end.offset..end.offset.saturating_add(end.size))?, &end),
    }
}

/// The records of a directory.
fn entries(directory: &[u8], end: &End) -> Result<Vec<Record>> {
    let expected = usize::try_from(end.entries).unwrap_or(usize::MAX);
    let mut records = Vec::with_capacity(expected.min(directory.len() / CENTRAL_LEN));
    let mut at = 0;
    for i in 0..end.entries {
        let Some((record, next)) = entry(directory, at, end.offset) else {
            let place = format!("zip directory, entry {i}");
            return Err(Error::damaged(place, "it is no directory entry, or leaves the directory or the file"));
        };
        let start = usize::try_from(end.offset).unwrap_or(usize::MAX);
        records.push(Record { entry: start.saturating_add(at), ..record });
        at = next;
    }
    if at != directory.len() {
        return Err(Error::damaged("zip directory", "it holds other bytes than its entries"));
    }
    set_ends(&mut records, end.offset)?;
    Ok(records)
}

/// What a file ends with, from byte `start` of the file on.
#[derive(Clone, Copy)]
struct Tail<'a> {
    bytes: &'a [u8],
    start: u64,
}

impl<'a> Tail<'a> {
    /// A part of the file, where the tail has it.
    fn slice(self, start: u64, len: u64) -> Option<&'a [u8]> {
        slice(self.bytes, start.checked_sub(self.start)?, len)
    }

    /// Whether the file ends with the end record of this directory, and its zip64 part lies right before it.
    fn is_closed_by(self, end: &End) -> bool {
        let ends = |at: &usize| u32_at(self.bytes, *at) == Some(END) && end_at(self, *at).as_ref() == Some(end);
        let last = (0..self.bytes.len().saturating_sub(END_LEN - 1)).rev().find(ends);
        last.is_some_and(|at| {
            let comment = u16_at(self.bytes, at + END_LEN - 2).map_or(0, usize::from);
            at + END_LEN + comment == self.bytes.len() && is_adjacent(self, at)
        })
    }
}

/// Finds the end record: the last one whose directory ends where it begins.
fn find(all: Tail<'_>, limits: &Limits) -> Result<End> {
    let from = all.bytes.len().saturating_sub(SEARCHED);
    let tail = all.bytes.get(from..).unwrap_or_default();
    let mut contradicted = false;
    for i in (0..tail.len().saturating_sub(END_LEN - 1)).rev() {
        if u32_at(tail, i) != Some(END) {
            continue;
        }
        if let Some(end) = end_at(all, from + i) {
            if end.entries > limits.records {
                return Err(Error::limit(format!("a zip archive of {} records", end.entries), limits.records));
            }
            return Ok(end);
        }
        // One that closes the file is this archive's own; others may belong to an archive inside a record.
        contradicted |= u16_at(tail, i + END_LEN - 2).is_some_and(|len| i + END_LEN + usize::from(len) == tail.len());
    }
    if contradicted {
        return Err(Error::damaged("zip end record", "there is no zip directory where it says"));
    }
    Err(Error::truncated("its end, where a zip archive keeps its central directory, is missing"))
}

/// Whether an archive ends with the end record at this place, and its zip64 part lies right before: of archives one after
/// the other, the last may fit the directory of the first where both are of one size.
pub(super) fn ends_at(bytes: &[u8], at: usize) -> bool {
    let all = Tail { bytes, start: 0 };
    is_adjacent(all, at) && end_at(all, at).is_some()
}

/// Whether the zip64 part of the end record at this place, where it has one, lies right before it.
fn is_adjacent(tail: Tail<'_>, at: usize) -> bool {
    let locator = at.checked_sub(LOCATOR64_LEN).and_then(|at| tail.bytes.get(at..));
    let Some(locator) = locator.filter(|locator| u32_at(locator, 0) == Some(LOCATOR64)) else { return true };
    let follows = u64_at(locator, 8).and_then(|offset| {
        let record = tail.slice(offset, END64_LEN as u64)?;
        // The size that the record gives leaves out the signature and itself.
        let end = offset.checked_add(12)?.checked_add(u64_at(record, 4)?)?;
        Some(end == tail.start + (at - LOCATOR64_LEN) as u64)
    });
    follows == Some(true)
}

/// The end record at this place of the tail with its zip64 part, where they agree with each other and with the file.
fn end_at(tail: Tail<'_>, at: usize) -> Option<End> {
    let Tail { bytes, start } = tail;
    let record = bytes.get(at..)?;
    let disks = [u16_at(record, 4)?, u16_at(record, 6)?];
    let [here, entries] = [u16_at(record, 8)?, u16_at(record, 10)?];
    let [size, offset] = [u32_at(record, 12)?, u32_at(record, 16)?];
    if here != entries {
        return None;
    }
    let narrow = End { entries: entries.into(), offset: offset.into(), size: size.into() };
    let locator = at.checked_sub(LOCATOR64_LEN).and_then(|at| bytes.get(at..));
    let (end, directory_end) = match locator.filter(|locator| u32_at(locator, 0) == Some(LOCATOR64)) {
        None if disks == [0, 0] => (narrow, start + at as u64),
        None => return None,
        Some(locator) => {
            let wide_at = u64_at(locator, 8)?;
            let wide = wide_end(tail, wide_at)?;
            let agree = (entries == MOVED_16 || narrow.entries == wide.entries)
                && (size == MOVED_32 || narrow.size == wide.size)
                && (offset == MOVED_32 || narrow.offset == wide.offset);
            if !agree || wide_at + END64_LEN as u64 > start + (at - LOCATOR64_LEN) as u64 {
                return None;
            }
            (wide, wide_at)
        }
    };
    (end.offset.checked_add(end.size)? == directory_end).then_some(end)
}

/// The zip64 end record at this offset of the file.
fn wide_end(tail: Tail<'_>, at: u64) -> Option<End> {
    let record = tail.slice(at, END64_LEN as u64)?;
    let [here, entries] = [u64_at(record, 24)?, u64_at(record, 32)?];
    let one_disk = u32_at(record, 16)? == 0 && u32_at(record, 20)? == 0;
    (u32_at(record, 0)? == END64 && one_disk && here == entries).then_some(End {
        entries,
        size: u64_at(record, 40)?,
        offset: u64_at(record, 48)?,
    })
}

/// The directory entry at this place and the place of the next; `None` where it is malformed, or describes a record
/// that could not lie before the directory.
fn entry(directory: &[u8], at: usize, directory_offset: u64) -> Option<(Record, usize)> {
    let entry = directory.get(at..)?;
    if u32_at(entry, 0)? != CENTRAL {
        return None;
    }
    let [name_len, extra_len, comment_len] =
        [u16_at(entry, 28)?, u16_at(entry, 30)?, u16_at(entry, 32)?].map(usize::from);
    let extra_at = CENTRAL_LEN + name_len;
    let len = extra_at + extra_len + comment_len;
    let name = entry.get(CENTRAL_LEN..extra_at)?;
    let wide = extra_field(entry.get(extra_at..extra_at + extra_len)?, ZIP64_EXTRA).unwrap_or_default();
    entry.get(..len)?;
    // The zip64 field holds those of the three, in this order, that did not fit.
    let mut moved = 0;
    let mut field = |at: usize| -> Option<u64> {
        let narrow = u32_at(entry, at)?;
        if narrow != MOVED_32 {
            return Some(narrow.into());
        }
        moved += 8;
        u64_at(wide, moved - 8)
    };
    let [size, stored, header] = [field(24)?, field(20)?, field(42)?];
    let method = u16_at(entry, 10)?;
    let record = Record {
        name: text(name).into(),
        size,
        stored,
        crc32: u32_at(entry, 16)?,
        deflated: method == 8,
        header,
        name_len: u16_at(entry, 28)?,
        method,
        encrypted: u16_at(entry, 8)? & ENCRYPTED != 0,
        end: 0,
        entry: 0,
    };
    let fits = header.checked_add((LOCAL_LEN + name_len) as u64)?.checked_add(stored)? <= directory_offset;
    let sizes = method != 0 || record.encrypted || size == stored;
    let one_disk = u16_at(entry, 34)? == 0;
    (fits && sizes && one_disk).then_some((record, at + len))
}

/// Notes for each record where the next one begins, which it must not reach.
fn set_ends(records: &mut [Record], directory_offset: u64) -> Result<()> {
    let mut order: Vec<usize> = (0..records.len()).collect();
    order.sort_unstable_by_key(|&i| records[i].header);
    let mut end = directory_offset;
    for &i in order.iter().rev() {
        let record = &mut records[i];
        record.end = end;
        if record.header + (LOCAL_LEN + usize::from(record.name_len)) as u64 + record.stored > end {
            return Err(Error::damaged(record.place(), "it overlaps another record"));
        }
        end = record.header;
    }
    Ok(())
}

/// A record's name. One that is not UTF-8 is taken byte for byte: it stays readable, and different names stay different.
pub(super) fn text(name: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(name) {
        Ok(name) => name.into(),
        Err(_) => name.iter().map(|&byte| char::from(byte)).collect(),
    }
}

fn slice(bytes: &[u8], start: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(len).ok()?)?)
}

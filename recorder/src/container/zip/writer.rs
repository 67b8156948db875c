//! `ArchiveWriter`: records streamed into a zip archive, laid out byte for byte as PyTorch's own writer (miniz 3.0.2 inside
//! `caffe2/serialize/inline_container.cc`) lays them out.

use std::fmt;
use std::io::Write;

use bytes::Bytes;

use crate::container::zip::fields::{
    CENTRAL, DESCRIBED, DESCRIPTOR, END, END64, END64_LEN, LOCAL, LOCAL_LEN, LOCATOR64, MOVED_16, MOVED_32,
    PADDING_EXTRA, UTF8, ZIP64_EXTRA,
};
use crate::io::Out;
use crate::{Error, IoResultExt as _, Result};

/// Sizes and places from this value on are written with 64 bits.
const WIDE: u64 = MOVED_32 as u64;
/// Payloads are hashed and written in pieces of this size, so that each is still in the cache when it is written.
const PIECE: usize = 256 * 1024;
/// The same of payloads that the output keeps: nothing else goes through the cache with them.
const KEPT: usize = 2 << 20;
/// The writer's version that PyTorch notes in the zip64 end record: 3.0, on Unix.
const MADE_BY: u16 = 0x031e;
/// The version of zip that zip64 needs: 4.5.
const NEEDED: u16 = 45;

/// Writes a zip archive as PyTorch does: nothing is compressed, each payload begins at a multiple of 64 bytes or as many as are asked for,
/// checksums follow the payloads. The output is never sought, and each payload is passed over once.
pub struct ArchiveWriter<'a> {
    out: Box<dyn Out + 'a>,
    top: String,
    alignment: u64,
    /// How many bytes were written.
    at: u64,
    written: Vec<Written>,
}

/// What the directory says of a record.
#[derive(Debug)]
struct Written {
    name: String,
    header: u64,
    size: u64,
    crc32: u32,
}

impl<'a> ArchiveWriter<'a> {
    /// Payloads begin at multiples of this where nothing else is said, so that mapped tensors are aligned.
    pub const ALIGNMENT: u64 = 64;
    /// The largest alignment there is: what fills the gap up to it is an extra field, whose length has 16 bits.
    pub const MAX_ALIGNMENT: u64 = 1 << 15;

    /// An archive whose records all lie in the folder `top`; in none where that is empty.
    pub fn new(out: &'a mut dyn Write, top: &str) -> Self {
        ArchiveWriter::aligned(out, top, Self::ALIGNMENT)
    }

    /// The same whose payloads begin at multiples of `alignment`, which is at most [`ArchiveWriter::MAX_ALIGNMENT`].
    pub(crate) fn aligned(out: impl Out + 'a, top: &str, alignment: u64) -> Self {
        ArchiveWriter { out: Box::new(out), top: top.to_owned(), alignment, at: 0, written: Vec::new() }
    }

    /// Writes a record under this name inside the top folder.
    ///
    /// # Errors
    /// When the output cannot be written, or the name is longer than a zip archive can hold.
    pub fn record(&mut self, name: &str, payload: &[u8]) -> Result<()> {
        self.record_parts(name, &[payload])
    }

    /// Writes a record whose payload is these parts, one after the other.
    ///
    /// # Errors
    /// As [`ArchiveWriter::record`].
    pub fn record_parts(&mut self, name: &str, payload: &[&[u8]]) -> Result<()> {
        let size = payload.iter().map(|part| part.len() as u64).sum();
        self.record_stream(name, size, &mut |put| payload.iter().try_for_each(|part| put(part)))
    }

    /// Writes a record of this many bytes, which `fill` hands on piece by piece: no more than a piece need be in memory.
    ///
    /// # Errors
    /// As [`ArchiveWriter::record`], what `fill` gives, and when it hands on more or fewer bytes.
    pub fn record_stream(
        &mut self,
        name: &str,
        size: u64,
        fill: &mut dyn FnMut(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        self.described(name, size, &mut |record| fill(&mut |bytes| record.put(bytes)))
    }

    /// Writes a record of these bytes, which the output may keep.
    pub(crate) fn record_kept(&mut self, name: &str, payload: &Bytes) -> Result<()> {
        self.described(name, payload.len() as u64, &mut |record| record.put_kept(payload))
    }

    /// Writes what is before and behind a payload, and between them what `fill` puts there.
    fn described(
        &mut self,
        name: &str,
        size: u64,
        fill: &mut dyn FnMut(&mut Payload<'_, 'a>) -> Result<()>,
    ) -> Result<()> {
        let name = if self.top.is_empty() { name.to_owned() } else { format!("{}/{name}", self.top) };
        let Ok(name_len) = u16::try_from(name.len()) else {
            return Err(Error::unsupported(format!("a record's name of {} bytes", name.len())));
        };
        let header = self.at;
        // An empty record has no descriptor.
        let flags = if size == 0 { UTF8 } else { UTF8 | DESCRIBED };
        let extra = local_extra(header, name_len, size, self.alignment);
        let mut fields = Fields::new(LOCAL);
        // Version, flags, method, time, date; checksum and sizes are told after the payload.
        fields.u16s(&[0, flags, 0, 0, 0]).u32s(&[0, 0, 0]).u16s(&[name_len, len_u16(&extra)]);
        self.put(&[&fields.0[..], name.as_bytes(), &extra])?;
        let begun = self.at;
        let mut payload = Payload { archive: self, hasher: crc32fast::Hasher::new() };
        fill(&mut payload)?;
        let crc32 = payload.hasher.finalize();
        if self.at - begun != size {
            let reason = format!("{size} bytes were expected, {} came", self.at - begun);
            return Err(Error::damaged(format!("record {name}"), reason));
        }
        if size > 0 {
            let mut fields = Fields::new(DESCRIPTOR);
            fields.u32s(&[crc32]);
            if header >= WIDE || size >= WIDE {
                fields.u64s(&[size, size]);
            } else {
                fields.u32s(&[narrow(size), narrow(size)]);
            }
            self.put(&[&fields.0])?;
        }
        self.written.push(Written { name, header, size, crc32 });
        Ok(())
    }

    /// Forty digits made of the names and checksums of the records so far, for the record `.data/serialization_id`: files of
    /// equal content have equal ids. (PyTorch's own digits depend on the C++ library that it was built with.)
    #[must_use]
    pub fn content_id(&self) -> String {
        // FNV-1a, 64 bits.
        let hash = |bytes: &[u8], start: u64| {
            bytes.iter().fold(start, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        };
        let (mut names, mut sums) = (0xcbf2_9ce4_8422_2325, 0xcbf2_9ce4_8422_2325);
        for record in &self.written {
            // The folder is the file's name, not its content.
            names = hash(record.name.strip_prefix(&self.top).unwrap_or(&record.name).as_bytes(), names);
            sums = hash(&record.crc32.to_le_bytes(), sums);
        }
        format!("{names:020}{sums:020}")
    }

    /// Writes the directory and gives the length of the whole archive.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn finish(mut self) -> Result<u64> {
        let directory = self.at;
        let written = std::mem::take(&mut self.written);
        for record in &written {
            self.put(&record.directory_entry())?;
        }
        let end = self.at;
        let (entries, size) = (written.len() as u64, end - directory);
        let mut fields = Fields::new(END64);
        // The length after this field; disks; entries on this disk, and in all.
        fields.u64s(&[END64_LEN as u64 - 12]).u16s(&[MADE_BY, NEEDED]).u32s(&[0, 0]).u64s(&[entries, entries]);
        fields.u64s(&[size, directory]);
        fields.u32s(&[LOCATOR64, 0]).u64s(&[end]).u32s(&[1]);
        let entries = u16::try_from(entries).unwrap_or(MOVED_16);
        fields.u32s(&[END]).u16s(&[0, 0, entries, entries]).u32s(&[narrow(size), narrow(directory)]).u16s(&[0]);
        self.put(&[&fields.0])?;
        Ok(self.at)
    }

    fn put(&mut self, parts: &[impl AsRef<[u8]>]) -> Result<()> {
        for part in parts {
            let part = part.as_ref();
            self.out.write_all(part).doing("cannot write the file")?;
            self.at += part.len() as u64;
        }
        Ok(())
    }
}

/// A payload that is being written.
struct Payload<'p, 'a> {
    archive: &'p mut ArchiveWriter<'a>,
    hasher: crc32fast::Hasher,
}

impl Payload<'_, '_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(PIECE) {
            self.hasher.update(piece);
            self.archive.put(&[piece])?;
        }
        Ok(())
    }

    fn put_kept(&mut self, bytes: &Bytes) -> Result<()> {
        if !self.archive.out.keeps(bytes) {
            return self.put(bytes);
        }
        for start in (0..bytes.len()).step_by(KEPT) {
            let piece = bytes.slice(start..bytes.len().min(start + KEPT));
            self.hasher.update(&piece);
            self.archive.out.write_kept(&piece).doing("cannot write the file")?;
            self.archive.at += piece.len() as u64;
        }
        Ok(())
    }
}

impl fmt::Debug for ArchiveWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArchiveWriter({}, {} records, {} bytes)", self.top, self.written.len(), self.at)
    }
}

impl Written {
    fn directory_entry(&self) -> [Vec<u8>; 3] {
        let mut wide = Vec::new();
        if self.size >= WIDE {
            wide.extend([self.size, self.size]);
        }
        if self.header >= WIDE {
            wide.push(self.header);
        }
        let extra = if wide.is_empty() { Vec::new() } else { zip64_extra(&wide) };
        let flags = if self.size == 0 { UTF8 } else { UTF8 | DESCRIBED };
        let mut fields = Fields::new(CENTRAL);
        // Versions, flags, method, time, date.
        fields.u16s(&[0, 0, flags, 0, 0, 0]).u32s(&[self.crc32, narrow(self.size), narrow(self.size)]);
        // The name's and the extra's lengths, no comment, disk, attributes.
        fields.u16s(&[len_u16(self.name.as_bytes()), len_u16(&extra), 0, 0, 0]).u32s(&[0, narrow(self.header)]);
        [fields.0, self.name.clone().into_bytes(), extra]
    }
}

/// The extra field of a local header: the wide sizes where there are any, then padding up to the alignment.
fn local_extra(header: u64, name_len: u16, size: u64, alignment: u64) -> Vec<u8> {
    let mut wide = Vec::new();
    if size >= WIDE {
        // miniz fills in the packed size later, in the descriptor.
        wide.extend([size, 0]);
    }
    if header >= WIDE {
        wide.push(header);
    }
    let mut extra = if wide.is_empty() { Vec::new() } else { zip64_extra(&wide) };
    let start = header + LOCAL_LEN as u64 + u64::from(name_len) + extra.len() as u64 + 4;
    let padding = start.next_multiple_of(alignment) - start;
    extra.extend(PADDING_EXTRA);
    // Less than the alignment, so it fits.
    let padding = u16::try_from(padding).unwrap_or_default();
    extra.extend(padding.to_le_bytes());
    extra.resize(extra.len() + usize::from(padding), b'Z');
    extra
}

fn zip64_extra(wide: &[u64]) -> Vec<u8> {
    let mut fields = Fields(Vec::new());
    fields.u16s(&[ZIP64_EXTRA, len_u16(wide) * 8]).u64s(wide);
    fields.0
}

/// The 32-bit field of a number that may be too large for it.
fn narrow(x: u64) -> u32 {
    u32::try_from(x).unwrap_or(MOVED_32)
}

/// The length of something whose length is known to fit: names were checked, extra fields are short.
fn len_u16<T>(items: &[T]) -> u16 {
    u16::try_from(items.len()).unwrap_or(u16::MAX)
}

/// Little-endian fields, one after the other.
struct Fields(Vec<u8>);

impl Fields {
    fn new(signature: u32) -> Self {
        Fields(signature.to_le_bytes().to_vec())
    }

    fn u16s(&mut self, fields: &[u16]) -> &mut Self {
        self.0.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        self
    }

    fn u32s(&mut self, fields: &[u32]) -> &mut Self {
        self.0.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        self
    }

    fn u64s(&mut self, fields: &[u64]) -> &mut Self {
        self.0.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PyTorch 2.15 wrote for two storages of 4 GiB and a small one between them (`torch.serialization.skip_data`).
    #[test]
    fn beyond_four_gibibytes_sizes_and_places_are_written_as_pytorch_writes_them() {
        const SIZE: u64 = 1 << 32;
        let le = |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        for (header, size, local, central) in [
            (0x316, 40, &[][..], &[][..]),
            (0x3b8, SIZE, &[SIZE, 0], &[SIZE, SIZE]),
            (0x1_0000_0418, 12, &[0x1_0000_0418], &[0x1_0000_0418]),
            (0x1_0000_04a4, SIZE, &[SIZE, 0, 0x1_0000_04a4], &[SIZE, SIZE, 0x1_0000_04a4]),
        ] {
            let wide = |numbers: &[u64]| match u8::try_from(8 * numbers.len()).unwrap() {
                0 => Vec::new(),
                len => [vec![1, 0, len, 0], le(numbers)].concat(),
            };
            let name = "skip/data/0".to_owned();
            let extra = local_extra(header, len_u16(name.as_bytes()), size, ArchiveWriter::ALIGNMENT);
            let padding = extra.strip_prefix(&*wide(local)).unwrap();
            assert_eq!(
                (padding[..2].as_ref(), usize::from(padding[2]), padding[3]),
                (&b"FB"[..], padding.len() - 4, 0)
            );
            assert_eq!((header + 30 + name.len() as u64 + extra.len() as u64) % 64, 0);
            let [fields, _, extra] = Written { name, header, size, crc32: 7 }.directory_entry();
            assert_eq!(extra, wide(central));
            let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
            assert_eq!((&fields[20..28], &fields[42..]), (&[narrow(size); 2].concat()[..], &narrow(header)[..]));
        }
    }
}

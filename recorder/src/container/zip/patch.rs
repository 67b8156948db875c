//! Writing an archive again with other bytes in some of its records. Every other byte stays as it is: the order of the records,
//! their headers, what is compressed, what follows the archive.

use std::io::Write;

#[cfg(doc)]
use crate::ErrorKind;
use crate::container::zip::archive::Archive;
use crate::container::zip::fields::{DESCRIPTOR, u32_at};
use crate::{Error, IoResultExt as _, Result};

/// Where in a local header, and in a directory entry, the checksum stands.
const LOCAL_CRC: usize = 14;
const ENTRY_CRC: usize = 16;

/// Writes the archive with new payloads for these records; `payload` gives them one after the other, each as long as the old
/// one. Their checksums follow, where the archive has any.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when one of the records is compressed; whatever `payload` returns; when `out` cannot be written.
pub(crate) fn patch(
    archive: &Archive,
    records: &[usize],
    out: &mut dyn Write,
    payload: &mut dyn FnMut(usize) -> Result<Vec<u8>>,
) -> Result<()> {
    let bytes = archive.whole()?;
    let mut order = records.to_vec();
    order.sort_unstable_by_key(|&record| archive.records().get(record).map(|entry| entry.header));
    order.dedup();
    let mut copy = Copy { bytes, at: 0, out };
    let mut sums = Vec::with_capacity(order.len());
    for record in order {
        let located = archive.locate(record)?;
        let (entry, payload_at, described) = (located.entry, located.payload.clone(), located.described);
        if entry.deflated {
            let advice = "pack the archive again without compression";
            let what = format!("replacing a compressed {}", entry.place());
            return Err(Error::unsupported(what).advise(advice));
        }
        let new = payload(record)?;
        if new.len() != payload_at.len() {
            let reason = format!("{} bytes cannot take the place of {}", new.len(), payload_at.len());
            return Err(Error::invalid(format!("{}: {reason}", entry.place())));
        }
        let crc = archive.has_checksum(record).then(|| crc32fast::hash(&new).to_le_bytes());
        // Where a descriptor holds it, the field in the header is zero as a rule.
        let in_header = usize::try_from(entry.header).unwrap_or(usize::MAX).saturating_add(LOCAL_CRC);
        if let Some(crc) = crc.filter(|_| !described || u32_at(bytes, in_header) != Some(0)) {
            copy.put(in_header, &crc)?;
        }
        let end = payload_at.end;
        copy.put(payload_at.start, &new)?;
        if let Some(crc) = crc.filter(|_| described && entry.stored > 0) {
            let signed = u32_at(bytes, end) == Some(DESCRIPTOR);
            copy.put(if signed { end + 4 } else { end }, &crc)?;
        }
        sums.extend(crc.map(|crc| (entry.entry + ENTRY_CRC, crc)));
    }
    sums.sort_unstable_by_key(|(at, _)| *at);
    for (at, crc) in sums {
        copy.put(at, &crc)?;
    }
    copy.rest()
}

/// The archive as far as it is written.
struct Copy<'a> {
    bytes: &'a [u8],
    at: usize,
    out: &'a mut dyn Write,
}

impl Copy<'_> {
    /// Writes what comes before a place, then new bytes over those that are there.
    fn put(&mut self, at: usize, new: &[u8]) -> Result<()> {
        // `Archive::open` made sure that records do not overlap and that the directory comes after them.
        let before = self.bytes.get(self.at..at).ok_or_else(|| Error::damaged("zip directory", "records overlap"))?;
        self.write(before)?;
        self.write(new)?;
        self.at = at + new.len();
        Ok(())
    }

    fn rest(&mut self) -> Result<()> {
        self.write(self.bytes.get(self.at..).unwrap_or_default())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).doing("cannot write the file")
    }
}

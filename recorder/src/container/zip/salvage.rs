//! What can be found in a zip file without its directory: archives one after the other, as `torch.distributed.checkpoint`
//! lays them out, and the records of one that is cut off or contradicts itself.

use std::io::Read as _;

use bytes::Bytes;
use flate2::bufread::DeflateDecoder;

use crate::container::zip::directory;
use crate::container::zip::fields::{END, END_LEN, LOCAL, LOCAL_LEN, MOVED_32, u16_at, u32_at};

/// The archives that the bytes begin with: one, or several one after the other. What follows the last is not among them.
pub(crate) fn archives(bytes: &Bytes) -> Vec<Bytes> {
    let from = bytes.len().saturating_sub(directory::SEARCHED);
    let ends = bytes.get(from..).unwrap_or_default().windows(4).rposition(|window| window == END.to_le_bytes());
    match ends.map(|place| from + place) {
        Some(at) if directory::ends_at(bytes, at) => {
            let comment = u16_at(bytes, at + END_LEN - 2).map_or(0, usize::from);
            vec![bytes.slice(..(at + END_LEN + comment).min(bytes.len()))]
        }
        _ => in_a_row(bytes),
    }
}

/// The archives that lie in the bytes from the front on, without gaps, as far as there are any.
fn in_a_row(bytes: &Bytes) -> Vec<Bytes> {
    let mut found = Vec::new();
    let (mut start, mut from) = (0, 0);
    while let Some(at) = find(bytes, from, END) {
        from = at + 4;
        let comment = u16_at(bytes, at + END_LEN - 2).map_or(0, usize::from);
        let end = at + END_LEN + comment;
        let ends_here = bytes.get(start..).is_some_and(|archive| directory::ends_at(archive, at - start));
        if ends_here && end <= bytes.len() {
            found.push(bytes.slice(start..end));
            (start, from) = (end, end);
        }
    }
    found
}

/// Whether the bytes end as a zip archive does, whatever they begin with.
pub(crate) fn ends_as_archive(bytes: &[u8]) -> bool {
    let from = bytes.len().saturating_sub(directory::SEARCHED);
    find(bytes, from, END).is_some()
}

/// The next record that a local header announces, from byte `from` on.
pub(crate) struct Salvaged {
    /// Its name.
    pub(crate) name: String,
    /// What there is of its payload, and after it what follows, where the header does not give its size. Of a compressed one
    /// as much as could be unpacked, up to the length that was asked for.
    pub(crate) payload: Bytes,
    /// Where to look for the next.
    pub(crate) next: usize,
}

/// Finds a record by its header alone. `longest` bounds what is unpacked.
pub(crate) fn salvage(bytes: &Bytes, from: usize, longest: u64) -> Option<Salvaged> {
    let at = find(bytes, from, LOCAL)?;
    let next = at + 4;
    let header = bytes.get(at..)?;
    let fields = (|| Some((u16_at(header, 8)?, u32_at(header, 18)?, u16_at(header, 26)?, u16_at(header, 28)?)))();
    let Some((method, stored, name_len, extra_len)) = fields else {
        return Some(Salvaged { name: String::new(), payload: Bytes::new(), next });
    };
    let name_end = LOCAL_LEN + usize::from(name_len);
    let name = directory::text(header.get(LOCAL_LEN..name_end).unwrap_or_default()).into_owned();
    let start = (at + name_end + usize::from(extra_len)).min(bytes.len());
    let size = if stored == 0 || stored == MOVED_32 { bytes.len() } else { stored as usize };
    let stored = bytes.slice(start..start.saturating_add(size).min(bytes.len()));
    if method == 0 {
        return Some(Salvaged { name, payload: stored, next });
    }
    let mut payload = Vec::new();
    // An error leaves what came before it, which is what is asked for.
    let _ = DeflateDecoder::new(&*stored).take(longest).read_to_end(&mut payload);
    Some(Salvaged { name, payload: payload.into(), next })
}

/// The next place of a signature.
fn find(bytes: &[u8], from: usize, signature: u32) -> Option<usize> {
    let signature = signature.to_le_bytes();
    bytes.get(from..)?.windows(4).position(|window| window == signature).map(|place| from + place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::container::zip::archive::Archive;
    use crate::container::zip::writer::ArchiveWriter;

    fn archive(name: &str, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = ArchiveWriter::new(&mut out, "archive");
        writer.record(name, payload).unwrap();
        writer.finish().unwrap();
        out
    }

    #[test]
    fn archives_one_after_the_other_are_told_apart() {
        // The first holds an end record of its own.
        let inner = archive("inner", b"a");
        let all = [archive("first", &inner), archive("second", b"b"), archive("third", b"")].concat();
        let found = in_a_row(&all.clone().into());
        assert_eq!(found.concat(), all);
        let names: Vec<String> = found
            .into_iter()
            .map(|bytes| Archive::open(bytes, &Limits::default()).unwrap().records()[0].name.to_string())
            .collect();
        assert_eq!(names, ["archive/first", "archive/second", "archive/third"]);
        assert!(in_a_row(&Bytes::from(vec![b'P'; 100])).is_empty());
    }

    #[test]
    fn records_are_found_without_a_directory() {
        let mut whole = archive("data.pkl", b"N.");
        whole.truncate(whole.len() - 60);
        let bytes = Bytes::from(whole);
        let record = salvage(&bytes, 0, 100).unwrap();
        assert_eq!(record.name, "archive/data.pkl");
        assert!(record.payload.starts_with(b"N."));
        assert!(salvage(&bytes, record.next, 100).is_none());
        assert!(salvage(&Bytes::from_static(b"PK\x03\x04"), 0, 100).unwrap().payload.is_empty());
    }
}

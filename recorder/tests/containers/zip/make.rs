//! Makes archives for the tests: PyTorch's layout through the crate's writer, other writers' layouts by hand; and finds the
//! places in them that tests damage.

use std::io::Write as _;

use rekindle_recorder::container::zip::{Archive, ArchiveWriter};
use rekindle_recorder::{Limits, Result};

/// An archive as PyTorch lays it out.
pub(crate) fn torch_layout(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArchiveWriter::new(&mut bytes, "top");
    for (name, payload) in records {
        writer.record(name, payload).unwrap();
    }
    let len = writer.finish().unwrap();
    assert_eq!(len, bytes.len() as u64);
    bytes
}

pub(crate) fn open(bytes: &[u8]) -> Result<Archive> {
    Archive::open(bytes.to_vec().into(), &Limits::default())
}

/// How a foreign writer tells checksum and sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// In the local header.
    Ahead,
    /// In a descriptor, with its signature or without, with sizes of 4 or 8 bytes.
    Behind { signature: bool, wide: bool },
    /// In a descriptor of 8-byte sizes, the local header's fields moved to a zip64 field of zeros, as Python's `zipfile` streams.
    BehindZip64,
}

/// An archive as other programs lay it out: no alignment, no zip64 end record.
pub(crate) fn plain_layout(records: &[(&str, &[u8])], deflate: bool, told: Told) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, payload) in records {
        let packed = if deflate { deflated(payload) } else { payload.to_vec() };
        let method: u16 = if deflate { 8 } else { 0 };
        let crc = crc32fast::hash(payload).to_le_bytes();
        let [stored, size] = [packed.len(), payload.len()].map(|len| u32::try_from(len).unwrap());
        let flags: u16 = if told == Told::Ahead { 0 } else { 8 };
        let header = u32::try_from(out.len()).unwrap();
        let extra: Vec<u8> =
            if told == Told::BehindZip64 { [&[1, 0, 16, 0][..], &[0; 16]].concat() } else { Vec::new() };
        out.extend(b"PK\x03\x04\x14\0");
        out.extend([flags, method, 0, 0].iter().flat_map(|field| field.to_le_bytes()));
        match told {
            Told::Ahead => out.extend([crc, stored.to_le_bytes(), size.to_le_bytes()].concat()),
            Told::Behind { .. } => out.extend([0; 12]),
            Told::BehindZip64 => out.extend([[0; 4], [255; 4], [255; 4]].concat()),
        }
        let name_len = u16::try_from(name.len()).unwrap().to_le_bytes();
        out.extend(name_len);
        out.extend(u16::try_from(extra.len()).unwrap().to_le_bytes());
        out.extend(name.bytes());
        out.extend(extra);
        out.extend(packed);
        let (signature, wide) = match told {
            Told::Ahead => (false, None),
            Told::Behind { signature, wide } => (signature, Some(wide)),
            Told::BehindZip64 => (true, Some(true)),
        };
        if signature {
            out.extend(b"PK\x07\x08");
        }
        match wide {
            None => {}
            Some(false) => out.extend([crc, stored.to_le_bytes(), size.to_le_bytes()].concat()),
            Some(true) => {
                out.extend(crc);
                out.extend([stored, size].iter().flat_map(|&size| u64::from(size).to_le_bytes()));
            }
        }
        directory.extend(b"PK\x01\x02\x14\0\x14\0");
        directory.extend([flags, method, 0, 0].iter().flat_map(|field| field.to_le_bytes()));
        directory.extend([crc, stored.to_le_bytes(), size.to_le_bytes()].concat());
        directory.extend(name_len);
        directory.extend([0; 12]);
        directory.extend(header.to_le_bytes());
        directory.extend(name.bytes());
    }
    let entries = u16::try_from(records.len()).unwrap().to_le_bytes();
    let [size, offset] = [directory.len(), out.len()].map(|len| u32::try_from(len).unwrap().to_le_bytes());
    out.extend(directory);
    out.extend([&b"PK\x05\x06\0\0\0\0"[..], &entries, &entries, &size, &offset, b"\0\0"].concat());
    out
}

pub(crate) fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(payload).unwrap();
    encoder.finish().unwrap()
}

/// Where the directory entry of a record in the folder `top` begins.
pub(crate) fn directory_entry(bytes: &[u8], name: &str) -> usize {
    header(bytes, name, b"PK\x01\x02", 46)
}

/// Where the local header of a record begins.
pub(crate) fn local_header(bytes: &[u8], name: &str) -> usize {
    header(bytes, name, b"PK\x03\x04", 30)
}

fn header(bytes: &[u8], name: &str, signature: &[u8], name_at: usize) -> usize {
    let name = format!("top/{name}");
    let name_len = u16::try_from(name.len()).unwrap().to_le_bytes();
    let len_at = if signature == b"PK\x01\x02" { 28 } else { 26 };
    let fits = |window: &[u8]| {
        window.starts_with(signature) && window[len_at..].starts_with(&name_len) && window.ends_with(name.as_bytes())
    };
    bytes.windows(name_at + name.len()).rposition(fits).unwrap()
}

/// Where a record's payload begins.
pub(crate) fn payload(bytes: &[u8], name: &str) -> usize {
    let header = local_header(bytes, name);
    let len = |at: usize| usize::from(u16::from_le_bytes([bytes[header + at], bytes[header + at + 1]]));
    header + 30 + len(26) + len(28)
}

/// Overwrites bytes.
pub(crate) fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..at + new.len()].copy_from_slice(new);
}

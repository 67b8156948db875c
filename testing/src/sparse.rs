//! Large zip archives that take no space on the disk: payloads of zeros are holes in the file.

use std::fs::File;
use std::io::{Result, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// Writes a zip64 archive of stored records, each its bytes and then so many zeros.
pub fn write_zip(path: &Path, records: &[(&str, &[u8], u64)]) -> Result<()> {
    let mut file = File::create(path)?;
    let mut directory = Vec::new();
    for (name, bytes, zeros) in records {
        let header = file.stream_position()?;
        let len = bytes.len() as u64 + zeros;
        let crc = checksum(bytes, *zeros);
        file.write_all(&entry(0x0403_4b50, name, len, crc, None))?;
        file.write_all(bytes)?;
        let end = file.stream_position()? + zeros;
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        directory.extend(entry(0x0201_4b50, name, len, crc, Some(header)));
    }
    let start = file.stream_position()?;
    let (count, size) = (records.len() as u64, directory.len() as u64);
    // The end record of zip64: its length, versions, disks, entries, size and place of the directory.
    directory.extend(0x0606_4b50_u32.to_le_bytes());
    directory.extend(44_u64.to_le_bytes());
    directory.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    directory.extend([count, count, size, start].iter().flat_map(|field| field.to_le_bytes()));
    // Its locator, and the old end record that points to it.
    directory.extend(0x0706_4b50_u32.to_le_bytes());
    directory.extend([0; 4]);
    directory.extend((start + size).to_le_bytes());
    directory.extend(1_u32.to_le_bytes());
    directory.extend(0x0605_4b50_u32.to_le_bytes());
    directory.extend([0, 0, 0, 0]);
    directory.extend([0xff; 12]);
    directory.extend([0, 0]);
    file.write_all(&directory)
}

/// A local header, or with the header's place an entry of the directory.
fn entry(signature: u32, name: &str, len: u64, crc: u32, header: Option<u64>) -> Vec<u8> {
    let mut wide: Vec<u8> = [len, len].iter().flat_map(|field| field.to_le_bytes()).collect();
    wide.extend(header.iter().flat_map(|field| field.to_le_bytes()));
    let mut out = signature.to_le_bytes().to_vec();
    let lengths = [name.len(), wide.len() + 4].map(|len| u16::try_from(len).unwrap());
    if header.is_some() {
        out.extend([45, 0]);
    }
    // Version, a UTF-8 name, stored, no time, the checksum, wide sizes.
    out.extend([45, 0, 0, 8, 0, 0, 0, 0, 0, 0]);
    out.extend(crc.to_le_bytes());
    out.extend([0xff; 8]);
    out.extend(lengths.iter().flat_map(|len| len.to_le_bytes()));
    if header.is_some() {
        // No comment, disk, attributes; a wide place.
        out.extend([0; 10]);
        out.extend([0xff; 4]);
    }
    out.extend(name.as_bytes());
    out.extend([1, 0]);
    out.extend(u16::try_from(wide.len()).unwrap().to_le_bytes());
    out.extend(wide);
    out
}

/// The CRC-32 of these bytes and so many zeros, which are put together from runs of one, two, four, ... of them.
fn checksum(bytes: &[u8], zeros: u64) -> u32 {
    let (mut whole, mut run) = (crc32fast::Hasher::new(), crc32fast::Hasher::new());
    whole.update(bytes);
    run.update(&[0]);
    let mut left = zeros;
    while left > 0 {
        if left % 2 == 1 {
            whole.combine(&run);
        }
        let same = run.clone();
        run.combine(&same);
        left /= 2;
    }
    whole.finalize()
}

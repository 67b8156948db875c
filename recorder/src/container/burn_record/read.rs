//! Telling the three encodings apart, and reading them.

use std::path::Path;

use bytes::Bytes;

#[cfg(doc)]
use crate::ErrorKind;
use crate::container::burn_record::{bincode, record, tree};
use crate::container::gzip;
use crate::{Error, FileBytes, Format, OpenOptions, Opened, Result, SaveOptions, SaveReport, Value};

impl Format {
    /// A record of Burn up to 0.21 (`.mpk`, `.json`, `.bin`).
    pub const BURN_RECORD: Format = Format::named("burn-record");
}

/// An encoding, inside or outside of gzip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    MessagePack,
    Json,
    Bincode,
}

/// Whether bytes begin as an encoding does.
type Detect = fn(&[u8]) -> bool;

/// So much of a file tells its encoding: the metadata stands at its beginning.
const HEAD: usize = 4096;

/// Whether it is a record, told by its first bytes; of a packed file, by the first bytes in it.
#[must_use]
pub fn detect(file: &FileBytes) -> bool {
    let head = file.get(..HEAD).unwrap_or(file);
    if gzip::detect(head) { encoding(&gzip::head(file, HEAD)).is_some() } else { encoding(head).is_some() }
}

fn encoding(head: &[u8]) -> Option<Encoding> {
    let table: [(Detect, Encoding); 3] = [
        (tree::is_message_pack, Encoding::MessagePack),
        (tree::is_json, Encoding::Json),
        (bincode::detect, Encoding::Bincode),
    ];
    table.into_iter().find_map(|(detect, encoding)| detect(head).then_some(encoding))
}

/// Reads a record.
///
/// # Errors
/// [`ErrorKind::Truncated`] when it is cut off, [`ErrorKind::Damaged`], [`ErrorKind::InvalidTensor`] and
/// [`ErrorKind::Checksum`] when its bytes are not as they were written, [`ErrorKind::Unsupported`] for quantised tensors and
/// for what Burn 0.13 and earlier wrote.
pub fn read(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let packed = gzip::detect(file);
    let bytes: Bytes = if packed { gzip::inflate(file, options)? } else { file.bytes() };
    let value = match encoding(bytes.get(..HEAD).unwrap_or(&bytes)) {
        Some(Encoding::MessagePack) => record::value(tree::message_pack(&bytes, &options.limits)?, &options.limits)?,
        Some(Encoding::Json) => record::value(tree::json(&bytes, &options.limits)?, &options.limits)?,
        Some(Encoding::Bincode) => bincode::read(&bytes, &options.limits)?,
        None => return Err(crate::Error::not_a_checkpoint("it does not begin as a record of Burn does")),
    };
    Ok(Opened::new(Format::BURN_RECORD, value, Vec::new(), file.len() as u64))
}

/// Records are not written.
///
/// # Errors
/// Always [`ErrorKind::Unsupported`], which names the formats that Burn reads today.
pub fn write(_root: &Value, _path: &Path, _options: &SaveOptions) -> Result<SaveReport> {
    let what = "writing records of Burn 0.21 and earlier".to_owned();
    let advice = "write burnpack (.bpk) or safetensors, which Burn 0.22 reads";
    Err(Error::unsupported(what).advise(advice))
}

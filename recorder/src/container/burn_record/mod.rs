//! Records of Burn 0.14 to 0.21, which later releases cannot read: `.mpk` (`MessagePack`), `.json` and `.bin` (bincode), each
//! also packed with gzip (`.mpk.gz`, ...). They are read, not written: burnpack has taken their place.
//!
//! A record is a tree of structs, sequences and enums. It becomes one flat `OrderedDict`, as a state dict is one: names are
//! joined with dots as Burn joins them today (`layers.0.weight`, `head.Plain.weight`: places of a sequence by number, an
//! enum's variant by name), and what a module has beside parameters (constants, absent options) is left out, as it is `nil` in
//! the file. Optimizer and scheduler records come the same way, their numbers as numbers
//! (`<id>.V1.Rank2.momentum.moment_1`, `<id>.V1.Rank2.momentum.time`). A record that is one bare value stands under `item`.
//!
//! **`.bin` has no names.** Its parameters are found by the ids before them, in the order in which the module declares
//! them, and stand under `0`, `1`, `2`, ...; ids are kept, so that they can be matched with those of another file. Optimizer
//! records in `.bin` hold no parameters: they are an error.
//!
//! The dict's attributes: `__metadata__` holds the record's own five texts (`float`, `int`, `format`, `version`, `settings`),
//! `_burnpack` the `param_ids`, as [`burnpack`](crate::container::burnpack) keeps them; written as `.bpk`, the ids stay.
//!
//! The bytes of tensors stay in an `.mpk` or `.bin` file until they are asked for. JSON and packed files are read whole.

mod bincode;
mod gzip;
mod param_id;
mod record;
mod tree;

use std::path::Path;

use bytes::Bytes;

#[cfg(doc)]
use crate::ErrorKind;
use crate::container::kind::{Container, Opened};
use crate::io::FileBytes;
use crate::options::{OpenOptions, SaveOptions, SaveReport};
use crate::{Error, Result, Value};

/// A format inside or outside of gzip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    MessagePack,
    Json,
    Bincode,
}

/// Whether bytes begin as a format does.
type Detect = fn(&[u8]) -> bool;

/// So much of a file tells its format: the metadata stands at its beginning.
const HEAD: usize = 4096;

/// Whether it is a record, told by its first bytes; of a packed file, by the first bytes in it.
#[must_use]
pub fn detect(file: &FileBytes) -> bool {
    let head = file.get(..HEAD).unwrap_or(file);
    if gzip::detect(head) { format(&gzip::head(file, HEAD)).is_some() } else { format(head).is_some() }
}

fn format(head: &[u8]) -> Option<Format> {
    let table: [(Detect, Format); 3] = [
        (tree::is_message_pack, Format::MessagePack),
        (tree::is_json, Format::Json),
        (bincode::detect, Format::Bincode),
    ];
    table.into_iter().find_map(|(detect, format)| detect(head).then_some(format))
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
    let value = match format(bytes.get(..HEAD).unwrap_or(&bytes)) {
        Some(Format::MessagePack) => record::value(tree::message_pack(&bytes, &options.limits)?, &options.limits)?,
        Some(Format::Json) => record::value(tree::json(&bytes, &options.limits)?, &options.limits)?,
        Some(Format::Bincode) => bincode::read(&bytes, &options.limits)?,
        None => return Err(crate::Error::not_a_checkpoint("it does not begin as a record of Burn does")),
    };
    Ok(Opened { container: Container::BurnRecord, value, globals: Vec::new(), bytes: file.len() as u64 })
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

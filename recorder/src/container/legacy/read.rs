//! Telling a stream by its magic number, and reading: the pickles in turn, then where the storages are.

use std::sync::Arc;

use bytes::Bytes;
use num_bigint::BigInt;

use crate::container::legacy::storages::Storages;
use crate::container::stream::Stream;
use crate::pickle::KeepIds;
use crate::{Error, FileBytes, Format, Limits, OpenOptions, Opened, Result, Value};

impl Format {
    /// The stream of pickles that `torch.save` wrote before 1.6, and still writes with
    /// `_use_new_zipfile_serialization=False`.
    pub const LEGACY: Format = Format::named("legacy");
}

/// The first pickle's integer.
pub(super) const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// The same as protocol 2 and later write it: LONG1, its length, its bytes.
const MAGIC_PICKLED: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
/// The same in protocols 0 and 1.
const MAGIC_AS_TEXT: &[u8] = b"L119547037146038801333356L\n.";
/// How many pickles come before the storages.
pub(crate) const PICKLES: u64 = 5;
/// The only version there has been.
pub(super) const VERSION: i64 = 1001;

/// Whether the bytes begin with the magic number, in a pickle of any protocol.
#[must_use]
pub fn detect(file: &FileBytes) -> bool {
    begins(file)
}

/// The same of bytes.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    // The protocol, two bytes; protocols 4 and 5 put a frame of 9 bytes behind it.
    let magic = |at: usize| bytes.get(at..).is_some_and(|rest| rest.starts_with(MAGIC_PICKLED));
    bytes.starts_with(MAGIC_AS_TEXT) || bytes.first() == Some(&0x80) && (magic(2) || magic(11))
}

/// Reads the checkpoint in a stream. Storages of `torch.UntypedStorage`, which PyTorch 2.15 writes but cannot load, are read.
///
/// The source text that old PyTorch kept beside the class of a whole module is passed over: `torch.load` does no more with it
/// than warn when it has changed.
///
/// # Errors
/// [`Truncated`](crate::ErrorKind::Truncated) when the file ends too early, [`Damaged`](crate::ErrorKind::Damaged) when its parts
/// contradict each other, and as [`pickle::read`](crate::pickle::read).
pub fn read(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    read_bytes(file.bytes(), &options.limits).map(|(opened, end)| Opened { end: Some(end), ..opened })
}

/// Where a stream ends: behind its last storage.
pub(crate) fn end(file: &FileBytes, limits: &Limits) -> Result<usize> {
    read_bytes(file.bytes(), limits).map(|(_, end)| end)
}

/// The checkpoint in a stream, and where it ends.
fn read_bytes(bytes: Bytes, limits: &Limits) -> Result<(Opened, usize)> {
    let len = bytes.len() as u64;
    let mut stream = Stream::new(bytes, limits);
    let magic = stream.pickle("the magic number", &mut KeepIds)?;
    if !matches!(&magic, Value::BigInt(number) if **number == BigInt::from(MAGIC)) {
        return Err(Error::damaged("the magic number", "it is another"));
    }
    match stream.pickle("the version of the protocol", &mut KeepIds)? {
        Value::Int(VERSION) => {}
        other => {
            let what = format!("version {other:?} of the format before PyTorch 1.6");
            return Err(Error::unsupported(what).advise(format!("version {VERSION} is read")));
        }
    }
    // All it says is how the machine was; the format does not depend on it.
    stream.pickle("the description of the machine", &mut KeepIds)?;
    let mut storages = Storages::default();
    let value = stream.pickle("the object", &mut storages)?;
    let keys = stream.pickle("the list of storages", &mut KeepIds)?;
    storages.locate(&keys, &value, &mut stream)?;
    let end = stream.at();
    let globals = stream.globals().into_iter().collect();
    Ok((Opened::new(Format::LEGACY, value, globals, len), end))
}

/// The storage in bytes that hold a stream of nothing else, as PyTorch puts it into a plain pickle; `None` where they are
/// something else.
pub(crate) fn storage_in(bytes: &Arc<[u8]>, limits: &Limits) -> Result<Option<Value>> {
    if !begins(bytes) {
        return Ok(None);
    }
    let (opened, _) = read_bytes(Bytes::from_owner(Arc::clone(bytes)), limits)?;
    Ok(Some(opened.value).filter(|value| matches!(value, Value::Storage(_))))
}

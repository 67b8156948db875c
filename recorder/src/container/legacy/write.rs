//! Writing: the parts in PyTorch's order, one storage in memory at a time.

use std::path::Path;

use num_bigint::BigInt;

use crate::container::legacy::read::{MAGIC, VERSION};
use crate::io::Ready;
use crate::io::commit::Counted;
use crate::pickle::{self, Dialect, PickleOptions, Pickled};
use crate::{DType, Dict, Result, SaveOptions, SaveReport, Value};

/// Writes a checkpoint as PyTorch 2.15 writes it with `_use_new_zipfile_serialization=False`; plain `torch.load` opens it, and so
/// does every PyTorch since 0.4 that knows the element types. The storages' keys are `0`, `1`, ... in the order in which the
/// pickle first names them (PyTorch takes addresses). The file appears whole or not at all
/// ([`commit`](crate::io::commit())).
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported), with its path, for a tensor of a type that only the zip format can hold
/// (float8, uint16, ...), unless [`SaveOptions::allow_objects`] is set; [`Refused`](crate::ErrorKind::Refused) for what plain
/// `torch.load` refuses; and when a storage cannot be read or the file not be written.
pub fn write(root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    ready(root, options)?.commit(path, options.overwrite)
}

pub(crate) fn ready<'a>(root: &'a Value, options: &SaveOptions) -> Result<Ready<'a>> {
    let pickle_options = PickleOptions { dialect: Dialect::Legacy, allow_objects: options.allow_objects };
    let mut pickled = pickle::write(root, &pickle_options)?;
    let notes = std::mem::take(&mut pickled.notes);
    Ok(Ready::new(notes, move |out| {
        let mut out = Counted::new(out);
        write_parts(&pickled, &mut out)?;
        Ok(out.written())
    }))
}

fn write_parts(pickled: &Pickled, out: &mut Counted<'_>) -> Result<()> {
    let sizes = [("short", 2), ("int", 4), ("long", 4)];
    let machine = Dict::from_iter([
        ("protocol_version", Value::Int(VERSION)),
        ("little_endian", Value::Bool(true)),
        ("type_sizes", Dict::from_iter(sizes).into()),
    ]);
    for value in [BigInt::from(MAGIC).into(), Value::Int(VERSION), machine.into()] {
        put_pickle(out, &value)?;
    }
    out.put(&pickled.bytes)?;
    // PyTorch sorts the keys as strings: 0, 1, 10, 11, 2.
    let mut storages: Vec<_> = pickled.storages.iter().zip(&pickled.classes).enumerate().collect();
    storages.sort_by_cached_key(|(number, _)| number.to_string());
    put_pickle(out, &Value::list(storages.iter().map(|(number, _)| number.to_string().into())))?;
    for (_, (storage, class)) in storages {
        let size = class.map_or(1, DType::size) as u64;
        out.put(&(storage.len() / size).to_le_bytes())?;
        storage.stream(&mut |piece| out.put(piece))?;
    }
    Ok(())
}

fn put_pickle(out: &mut Counted<'_>, value: &Value) -> Result<()> {
    out.put(&pickle::write(value, &PickleOptions { dialect: Dialect::Plain, allow_objects: false })?.bytes)
}

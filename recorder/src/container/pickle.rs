//! A pickle by itself, as `pickle.dump` writes it: read in any protocol from 0 to 5, written in protocol 2.
//!
//! PyTorch puts a tensor's storage into such a pickle as a whole file of `torch.save`, in bytes; it is read from there. (Each
//! tensor then has a storage of its own: what they shared is lost when they are pickled.)

use std::path::Path;
use std::sync::Arc;

use crate::container::{content, legacy};
use crate::io::Ready;
use crate::io::commit::Counted;
use crate::pickle::{self, Dialect, PersistentLoad, PickleOptions};
use crate::{Error, ErrorKind, FileBytes, Format, Limits, OpenOptions, Opened, Result, SaveOptions, SaveReport, Value};

impl Format {
    /// A pickle by itself.
    pub const PICKLE: Format = Format::named("pickle");
}

/// Whether it may be a pickle. From protocol 2 on they begin with their number. Protocols 0 and 1 have no signature: any file
/// may be one that begins with an opcode that makes something, and ends with STOP; [`read`] then decides.
#[must_use]
pub fn detect(file: &FileBytes) -> bool {
    content::is_pickle(file)
}

/// Reads a pickle that is the whole file.
///
/// # Errors
/// As [`pickle::read`], and [`Unsupported`](crate::ErrorKind::Unsupported) when other bytes follow it.
pub fn read(file: &FileBytes, options: &OpenOptions) -> Result<Opened> {
    let len = file.len() as u64;
    if len > options.limits.pickle_bytes {
        return Err(Error::limit(format!("a pickle of {len} bytes"), options.limits.pickle_bytes));
    }
    let mut storages = Storages(&options.limits);
    let unpickled = match pickle::read(file, "the pickle", &options.limits, &mut storages) {
        Ok(unpickled) => unpickled,
        // Text that merely ends as an old pickle does.
        Err(error) if !content::is_binary_pickle(file) && !matches!(error.kind(), ErrorKind::Unsupported { .. }) => {
            return Err(content::describe(file));
        }
        Err(error) => return Err(error),
    };
    if unpickled.end < file.trim_ascii_end().len() {
        let rest = file.get(unpickled.end..).unwrap_or_default();
        let another = content::is_binary_pickle(rest) || rest.starts_with(b"PK\x03\x04");
        let advice = if another {
            "say which of them with `OpenOptions::nth`: 1 is the first"
        } else {
            "split it into files of one pickle each"
        };
        let what = format!("a pickle that other bytes follow (it ends at byte {} of {len})", unpickled.end);
        return Err(Error::unsupported(what).advise(advice));
    }
    Ok(Opened::new(Format::PICKLE, unpickled.value, unpickled.globals, len))
}

/// Writes a value that holds no tensors as a pickle of protocol 2. The file appears whole or not at all
/// ([`commit`](crate::io::commit)).
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for a tensor, for which a pickle by itself has no place, and
/// [`Refused`](crate::ErrorKind::Refused) for objects, unless [`SaveOptions::allow_objects`] is set; each with its path.
pub fn write(root: &Value, path: &Path, options: &SaveOptions) -> Result<SaveReport> {
    ready(root, options)?.commit(path, options.overwrite)
}

pub(crate) fn ready<'a>(root: &'a Value, options: &SaveOptions) -> Result<Ready<'a>> {
    let options = PickleOptions { dialect: Dialect::Plain, allow_objects: options.allow_objects };
    let pickled = pickle::write(root, &options)?;
    Ok(Ready::new(pickled.notes, move |out| {
        let mut out = Counted::new(out);
        out.put(&pickled.bytes)?;
        Ok(out.written())
    }))
}

/// Finds the storages that lie in the pickle.
struct Storages<'a>(&'a Limits);

impl PersistentLoad for Storages<'_> {
    fn load(&mut self, id: &Value) -> Result<Option<Value>> {
        match pickle::storage_from_id(id)? {
            Some(_) => Err(Error::unsupported("a pickle whose tensors lie in other files")
                .advise("it belongs to an archive, and they to the folder data/ beside it; open that folder's parent")),
            None => Ok(None),
        }
    }

    fn load_bytes(&mut self, bytes: &Arc<[u8]>) -> Result<Option<Value>> {
        legacy::storage_in(bytes, self.0)
    }
}

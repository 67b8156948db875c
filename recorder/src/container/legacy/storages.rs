//! Puts storages in the place of persistent ids. Where their bytes are is told after the pickle.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use indexmap::IndexMap;

use crate::container::stream::Stream;
use crate::container::zip::labels;
use crate::pickle::{self, PersistentLoad, StorageId};
use crate::{DType, Error, Result, Source, Storage, Value};

/// The storages that the object's pickle names.
#[derive(Default)]
pub(super) struct Storages {
    by_key: IndexMap<String, Entry>,
    /// Parts of them that have keys of their own.
    views: HashMap<String, View>,
    /// By the identity of a part: the whole, and where the part begins.
    wholes: HashMap<usize, (Storage, u64)>,
}

struct Entry {
    storage: Storage,
    /// Elements and their size, as the first id said.
    numel: u64,
    size: u64,
    /// Where the bytes are put when they are found.
    bytes: Arc<OnceLock<Bytes>>,
}

impl Entry {
    /// Takes the count and the elements of what errors call `what`.
    fn find(&self, what: &dyn fmt::Display, stream: &mut Stream<'_>) -> Result<Bytes> {
        let numel = stream.count(what)?;
        if numel != self.numel {
            let reason = format!("it holds {numel} elements, where the object expects {}", self.numel);
            return Err(Error::damaged(what, reason));
        }
        // No overflow: it was checked when the pickle named it.
        stream.take(numel.saturating_mul(self.size), what)
    }
}

/// A storage by its key and the first tensor that has it. Only an error looks for that.
struct Named<'a> {
    key: &'a str,
    storage: &'a Storage,
    object: &'a Value,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&place(self.key))?;
        match labels::collect(self.object, 0).get(&self.storage.id()) {
            Some(label) if !label.path.is_empty() => write!(f, " ({})", label.path),
            _ => Ok(()),
        }
    }
}

struct View {
    storage: Storage,
    key: String,
    start: u64,
}

impl PersistentLoad for Storages {
    fn load(&mut self, id: &Value) -> Result<Option<Value>> {
        if let Value::Tuple(items) = id
            && let [kind, class @ Value::Global(_), ..] = &**items
            && kind.as_str() == Some("module")
        {
            // The class of a module, with its source file and source text.
            return Ok(Some(class.clone()));
        }
        let Some(id) = pickle::storage_from_id(id)? else { return Ok(None) };
        let whole = self.whole(&id)?;
        match &id.view {
            None => Ok(Some(Value::Storage(whole))),
            Some((key, first, count)) => self.part(whole, &id, key, *first, *count).map(|part| Some(part.into())),
        }
    }

    fn whole_of(&self, part: &Storage) -> Option<(Storage, u64)> {
        self.wholes.get(&part.id()).cloned()
    }
}

impl Storages {
    fn whole(&mut self, id: &StorageId) -> Result<Storage> {
        let size = id.dtype.map_or(1, DType::size) as u64;
        let Some(len) = id.numel.checked_mul(size) else {
            return Err(Error::damaged(place(&id.key), format!("{} elements are more than there can be", id.numel)));
        };
        if let Some(entry) = self.by_key.get(&id.key) {
            // Two types may share the data, as PyTorch 1.6 and later could write it.
            if entry.storage.len() == len {
                return Ok(entry.storage.clone());
            }
            let reason = format!("it has {} bytes in one place and {len} in another", entry.storage.len());
            return Err(Error::damaged(place(&id.key), reason));
        }
        let bytes = Arc::new(OnceLock::new());
        let source = Record { key: id.key.clone(), len, bytes: Arc::clone(&bytes) };
        let storage = Storage::from_source(id.dtype, id.location.clone(), source);
        let entry = Entry { storage: storage.clone(), numel: id.numel, size, bytes };
        self.by_key.insert(id.key.clone(), entry);
        Ok(storage)
    }

    /// The part of a storage that has a key of its own.
    fn part(&mut self, whole: Storage, id: &StorageId, key: &str, first: u64, count: u64) -> Result<Storage> {
        let size = id.dtype.map_or(1, DType::size) as u64;
        let (start, len) = (first.checked_mul(size), count.checked_mul(size));
        let (Some(start), Some(len)) = (start, len) else { return Err(outside(key, &id.key)) };
        if start.checked_add(len).is_none_or(|end| end > whole.len()) {
            return Err(outside(key, &id.key));
        }
        if start == 0 && len == whole.len() {
            return Ok(whole);
        }
        if let Some(view) = self.views.get(key) {
            if (&*view.key, view.start, view.storage.len()) == (&*id.key, start, len) {
                return Ok(view.storage.clone());
            }
            return Err(Error::damaged(place(key), "it is two parts of storages under one key"));
        }
        let source = Part { whole: whole.clone(), key: key.to_owned(), start, len };
        let storage = Storage::from_source(id.dtype, id.location.clone(), source);
        let view = View { storage: storage.clone(), key: id.key.clone(), start };
        self.views.insert(key.to_owned(), view);
        self.wholes.insert(storage.id(), (whole, start));
        Ok(storage)
    }

    /// Finds the bytes of the storages in the order of this list. Errors name the tensor in the object that has the storage.
    pub(super) fn locate(&self, keys: &Value, object: &Value, stream: &mut Stream<'_>) -> Result<()> {
        let list = || "the list of storages";
        let Some(keys) = keys.items() else { return Err(Error::damaged(list(), "it is no list")) };
        for key in keys {
            let key = match &key {
                Value::Str(key) => (**key).to_owned(),
                Value::Int(key) => key.to_string(),
                other => return Err(Error::damaged(list(), format!("it holds {}", other.describe()))),
            };
            let Some(entry) = self.by_key.get(&key) else {
                return Err(Error::damaged(list(), format!("nothing refers to the storage {key}")));
            };
            let bytes = entry.find(&Named { key: &key, storage: &entry.storage, object }, stream)?;
            if entry.bytes.set(bytes).is_err() {
                return Err(Error::damaged(list(), format!("the storage {key} stands there twice")));
            }
        }
        match self.by_key.iter().find(|(_, entry)| entry.bytes.get().is_none()) {
            Some((key, _)) => Err(Error::damaged(list(), format!("the storage {key} is missing"))),
            None => Ok(()),
        }
    }
}

fn place(key: &str) -> String {
    format!("storage {key}")
}

fn outside(key: &str, whole: &str) -> Error {
    Error::damaged(place(key), format!("it is a part that leaves the storage {whole}"))
}

/// A storage's bytes in the file.
struct Record {
    key: String,
    len: u64,
    bytes: Arc<OnceLock<Bytes>>,
}

impl Source for Record {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self) -> Result<Bytes> {
        self.bytes.get().cloned().ok_or_else(|| Error::damaged(place(&self.key), "it is missing"))
    }

    fn name(&self) -> Option<&str> {
        Some(&self.key)
    }
}

/// A part of another storage.
pub(crate) struct Part {
    pub(crate) whole: Storage,
    pub(crate) key: String,
    /// Its first byte in the whole.
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl Source for Part {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self) -> Result<Bytes> {
        let bytes = self.whole.bytes()?;
        let range = |end: u64| Some(usize::try_from(self.start).ok()?..usize::try_from(end).ok()?);
        let range = self.start.checked_add(self.len).and_then(range).filter(|range| range.end <= bytes.len());
        range.map(|range| bytes.slice(range)).ok_or_else(|| Error::damaged(place(&self.key), "it leaves its storage"))
    }

    fn name(&self) -> Option<&str> {
        Some(&self.key)
    }
}

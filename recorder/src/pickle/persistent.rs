//! Persistent ids: how a pickle refers to storages that lie outside of it.

use std::sync::Arc;

use crate::pickle::names::dtypes;
use crate::pickle::text_id;
use crate::{DType, Error, Result, Storage, Value};

/// Puts values in the place of persistent ids.
pub trait PersistentLoad {
    /// The value that this id stands for; `None` keeps the id as an object.
    ///
    /// # Errors
    /// When the id is malformed, or what it refers to is not there.
    fn load(&mut self, id: &Value) -> Result<Option<Value>>;

    /// The value for an id that stands itself where its value should, as some writers' files have it. By default none.
    ///
    /// # Errors
    /// As [`PersistentLoad::load`].
    fn load_inline(&mut self, id: &Value) -> Result<Option<Value>> {
        let _ = id;
        Ok(None)
    }

    /// Where a storage that was loaded is a part of another: that one, and the byte in it at which the part begins. Tensors
    /// over the part become views of the whole. By default no storage is.
    fn whole_of(&self, part: &Storage) -> Option<(Storage, u64)> {
        let _ = part;
        None
    }

    /// The storage in bytes that are a file of their own: so PyTorch puts a storage into a pickle that has no other place for it.
    /// `None`, the default, keeps the call as an object.
    ///
    /// # Errors
    /// When the bytes are damaged.
    fn load_bytes(&mut self, bytes: &Arc<[u8]>) -> Result<Option<Value>> {
        let _ = bytes;
        Ok(None)
    }
}

/// Keeps every persistent id as an object.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepIds;

impl PersistentLoad for KeepIds {
    fn load(&mut self, _: &Value) -> Result<Option<Value>> {
        Ok(None)
    }
}

/// How persistent ids of storages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// As in the zip format: `('storage', class, key, location, numel)`.
    Zip,
    /// As in the stream before it: a sixth item for view metadata, which is `None`.
    Legacy,
    /// A pickle by itself: there is no place for a storage.
    Plain,
}

/// A storage's persistent id, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageId {
    /// The element type that the storage class names; `None` for an `UntypedStorage`.
    pub dtype: Option<DType>,
    /// The storage's name in the file.
    pub key: String,
    /// The device tag, such as `cpu` or `cuda:0`.
    pub location: String,
    /// The number of elements, of bytes where it is untyped.
    pub numel: u64,
    /// In old streams, the part of the storage that this id means: its own key, the first element, the number of elements.
    pub view: Option<(String, u64, u64)>,
}

/// Names longer than this are no names.
const LONGEST: usize = 4096;

/// Parses the persistent id of a storage; `None` where it is an id of something else.
///
/// # Errors
/// When it says `storage` and is not of the form that PyTorch writes.
pub fn storage_from_id(id: &Value) -> Result<Option<StorageId>> {
    // Protocol 0 has its ids as text.
    let parsed = id.as_str().filter(|text| text.len() <= LONGEST).and_then(text_id::parse);
    let Value::Tuple(items) = parsed.as_ref().unwrap_or(id) else { return Ok(None) };
    match &**items {
        [Value::Str(kind), ..] if **kind == *"storage" => {}
        _ => return Ok(None),
    }
    let (class, key, location, numel, view) = match &**items {
        [_, class, key, location, numel] => (class, key, location, numel, &Value::None),
        [_, class, key, location, numel, view] => (class, key, location, numel, view),
        _ => return Err(malformed(&format!("it has {} items", items.len()))),
    };
    let Value::Global(class) = class else { return Err(malformed("its class is not named")) };
    let Some(dtype) = dtypes::storage_class(class) else {
        return Err(Error::unsupported(format!("the storage class {class}")));
    };
    let view = match view {
        Value::None => None,
        Value::Tuple(view) => match &**view {
            [key, offset, length] => Some((name(key)?, count(offset)?, count(length)?)),
            _ => return Err(malformed("its view metadata are no triple")),
        },
        _ => return Err(malformed("its view metadata are no tuple")),
    };
    let (key, location) =
        (name(key)?, if matches!(location, Value::None) { "cpu".to_owned() } else { name(location)? });
    Ok(Some(StorageId { dtype, key, location, numel: count(numel)?, view }))
}

fn name(value: &Value) -> Result<String> {
    match value {
        Value::Str(text) if text.len() <= LONGEST => Ok((**text).to_owned()),
        Value::Int(number) => Ok(number.to_string()),
        _ => Err(malformed("a name in it is no short string")),
    }
}

fn count(value: &Value) -> Result<u64> {
    let Value::Int(number) = value else { return Err(malformed("a number in it is no integer")) };
    u64::try_from(*number).map_err(|_| malformed("a number in it is negative"))
}

fn malformed(reason: &str) -> Error {
    Error::damaged("the persistent id of a storage", reason)
}

//! All values of a checkpoint in a container that keeps nothing but named tensors (safetensors, burnpack), or not all: what is no tensor lies in
//! the file's own words as a pickle, and each storage that the pickle refers to is a tensor of the file. One that a single tensor
//! shows as a whole has that tensor's path and shape; another is there as bytes. Other programs see tensors under their names.
//!
//! | words of the file | |
//! |---|---|
//! | `rekindle.pickle` | the pickle, two hexadecimal digits a byte |
//! | `rekindle.storages` | JSON: the CRC-32 of the pickle, and of each storage, in the order of their keys, the name of its tensor and the CRC-32 of its bytes |
//!
//! A distributed checkpoint (DCP) has both as entries of its root, the pickle as bytes, beside what else it has for PyTorch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::container::dcp;
use crate::container::named::METADATA;
use crate::pickle::{self, Dialect, PersistentLoad, PickleOptions};
use crate::value::tensor::{TensorData, TensorParts, contiguous_stride};
use crate::{DType, Dict, Error, ErrorKind, Limits, OpenOptions, Opened, Result, Source, Storage, Tensor, Value, walk};

/// The key under which a run of this program keeps what no layout has a place for. What reads a run passes over it.
pub const BESIDE: &str = "rekindle";
const PICKLE: &str = "rekindle.pickle";
const STORAGES: &str = "rekindle.storages";

/// The types that all such containers have, in which they are read as they were.
const TYPES: [DType; 10] = [
    DType::Float64,
    DType::Float32,
    DType::Float16,
    DType::BFloat16,
    DType::Int64,
    DType::Int32,
    DType::Int16,
    DType::Int8,
    DType::UInt8,
    DType::Bool,
];

/// A value as a dict of nothing but named tensors, with the words as its attribute.
pub(super) fn packed(root: &Value, allow_objects: bool) -> Result<Value> {
    let (all, tensors) = (Dict::ordered(), walk::tensors(root, &Limits::default())?);
    let words = pack(root, allow_objects, tensors, |name, tensor| {
        if name == METADATA || all.insert(&*name, tensor).is_some() {
            let reason = format!("two tensors would be kept under the name '{name}'; write another format");
            return Err(Error::invalid(reason));
        }
        Ok(())
    })?;
    let words = Dict::from_iter([(PICKLE, Value::from(to_hex(&words.pickle))), (STORAGES, words.list.into())]);
    all.write().state = Some(Dict::from_iter([(METADATA, words)]).into());
    Ok(all.into())
}

/// A dict for a distributed checkpoint: its own entries as such a checkpoint has them, which is not quite as they are (keys become
/// strings), and beside them the words, as entries.
pub(super) fn nested(root: &Value, allow_objects: bool) -> Result<Value> {
    let Some(dict) = root.as_dict() else { return Err(Error::wrong_type("the root", "a dict", root.describe())) };
    // What a run keeps beside its layout's parts is in the pickle, and nobody else's.
    let all: Dict = dict.entries().into_iter().filter(|(key, _)| key.as_str() != Some(BESIDE)).collect();
    let own = all.clone().into();
    let leaves = dcp::leaves(&own)?.into_iter();
    let tensors =
        leaves.filter_map(|(name, value)| Some((name.to_string(), value.as_tensor()?.clone()))).collect::<Vec<_>>();
    let there: HashSet<String> = tensors.iter().map(|(name, _)| name.clone()).collect();
    let mut more = Vec::new();
    let words = pack(root, allow_objects, tensors, |name, tensor| {
        if !there.contains(&name) {
            more.push((name, tensor));
        }
        Ok(())
    })?;
    let words = [(PICKLE, Value::Bytes(words.pickle.into())), (STORAGES, words.list.into())];
    let more = more.into_iter().map(|(name, tensor)| (name, Value::from(tensor)));
    for (name, value) in more.chain(words.map(|(name, value)| (name.to_owned(), value))) {
        if all.insert(&*name, value).is_some() {
            let reason = format!("it has an entry '{name}' already; write another format");
            return Err(Error::invalid(reason));
        }
    }
    Ok(all.into())
}

/// What a file says of the values that are no tensors.
struct Words {
    pickle: Vec<u8>,
    list: String,
}

/// Pickles a value, and gives the tensor of each storage under its name.
fn pack(
    root: &Value,
    allow_objects: bool,
    tensors: Vec<(String, Tensor)>,
    mut put: impl FnMut(String, Tensor) -> Result<()>,
) -> Result<Words> {
    let pickled = pickle::write(root, &PickleOptions { dialect: Dialect::Zip, allow_objects })?;
    let mut whole: HashMap<usize, (String, Tensor)> = HashMap::new();
    for (path, tensor) in tensors {
        let Some(storage) = tensor.storage().filter(|_| shows_all(&tensor)) else { continue };
        whole.entry(storage.id()).or_insert_with(|| (path, tensor));
    }
    let mut storages = Vec::with_capacity(pickled.storages.len());
    for (key, storage) in pickled.storages.iter().enumerate() {
        let (name, dtype, shape) = match whole.remove(&storage.id()) {
            Some((path, tensor)) => (path, tensor.dtype(), tensor.shape().to_vec()),
            None => {
                let len = usize::try_from(storage.len()).map_err(|_| Error::invalid("a storage is too large"))?;
                (format!("storage.{key}"), DType::UInt8, vec![len])
            }
        };
        let mut hasher = crc32fast::Hasher::new();
        storage.stream(&mut |bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        storages.push((name.clone(), hasher.finalize()));
        put(name, over(storage, dtype, shape)?)?;
    }
    let list = List { pickle: crc32fast::hash(&pickled.bytes), storages };
    // Texts and numbers always become JSON.
    Ok(Words { pickle: pickled.bytes, list: serde_json::to_string(&list).unwrap_or_default() })
}

/// The checksum of the pickle, and of each storage its tensor's name and its checksum.
#[derive(Serialize, Deserialize)]
struct List {
    pickle: u32,
    storages: Vec<(String, u32)>,
}

/// What was read of a container of nothing but tensors, with the values that its words have in the place of the tensors that they
/// are made of.
pub(super) fn unpacked(opened: Opened, options: &OpenOptions) -> Result<Opened> {
    let words = opened.value.as_dict().and_then(Dict::state);
    let words = words.as_ref().and_then(Value::as_dict).and_then(|attributes| attributes.get(METADATA));
    let word = |name: &str| Some(words.as_ref()?.as_dict()?.get(name)?.as_str()?.to_owned());
    let Some(text) = word(PICKLE) else { return Ok(opened) };
    let tensors = opened.value.as_dict().map(Dict::entries).unwrap_or_default();
    let tensors = tensors.into_iter().filter_map(|(name, tensor)| Some((name.as_str()?.to_owned(), tensor))).collect();
    unpack(of_hex(&text), word(STORAGES), tensors, opened, options)
}

/// The same of a distributed checkpoint.
pub(super) fn unnested(opened: Opened, options: &OpenOptions) -> Result<Opened> {
    let Some(dict) = opened.value.as_dict() else { return Ok(opened) };
    let (Some(Value::Bytes(pickle)), list) = (dict.get(PICKLE), dict.get(STORAGES)) else { return Ok(opened) };
    let tensors = dcp::leaves(&opened.value)?.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    let list = list.as_ref().and_then(Value::as_str).map(ToOwned::to_owned);
    unpack(Some(pickle.to_vec()), list, tensors, opened, options)
}

fn unpack(
    pickle: Option<Vec<u8>>,
    list: Option<String>,
    tensors: HashMap<String, Value>,
    opened: Opened,
    options: &OpenOptions,
) -> Result<Opened> {
    let damaged = |name: &str| Error::damaged(format!("its '{name}'"), "it is not as it was written");
    let list: Option<List> = list.and_then(|list| serde_json::from_str(&list).ok());
    let list = list.ok_or_else(|| damaged(STORAGES))?;
    let bytes = pickle.filter(|bytes| !options.verify || crc32fast::hash(bytes) == list.pickle);
    let bytes = bytes.ok_or_else(|| damaged(PICKLE))?;
    if bytes.len() as u64 > options.limits.pickle_bytes {
        return Err(Error::limit(format!("'{PICKLE}' ({} bytes)", bytes.len()), options.limits.pickle_bytes));
    }
    let mut load = Load { list: list.storages, tensors, verify: options.verify, made: HashMap::new() };
    let unpickled = pickle::read(&bytes, PICKLE, &options.limits, &mut load)?;
    Ok(Opened { value: unpickled.value, globals: unpickled.globals, ..opened })
}

/// Whether a tensor is nothing but all elements of its storage, in order.
fn shows_all(tensor: &Tensor) -> bool {
    let TensorParts { ref data, conj, neg, .. } = *tensor.parts();
    let TensorData::Strided { storage, offset: 0, .. } = data else { return false };
    let bytes = tensor.dtype().bytes_for(tensor.numel()).map(|bytes| bytes as u64);
    tensor.is_contiguous() && !conj && !neg && bytes == Some(storage.len()) && TYPES.contains(&tensor.dtype())
}

/// The tensor of all elements of a storage.
fn over(storage: &Storage, dtype: DType, shape: Vec<usize>) -> Result<Tensor> {
    let stride = contiguous_stride(&shape);
    Tensor::new(TensorParts::strided(dtype, shape, storage.clone(), 0, stride))
}

struct Load {
    list: Vec<(String, u32)>,
    tensors: HashMap<String, Value>,
    verify: bool,
    made: HashMap<usize, Storage>,
}

impl PersistentLoad for Load {
    fn load(&mut self, id: &Value) -> Result<Option<Value>> {
        let Some(id) = pickle::storage_from_id(id)? else { return Ok(None) };
        let place = || format!("storage {} of '{PICKLE}'", id.key);
        let key: Option<usize> = id.key.parse().ok();
        let known = key.and_then(|key| Some((key, self.list.get(key)?)));
        let Some((key, (name, checksum))) = known else { return Err(Error::damaged(place(), "it is missing")) };
        if let Some(storage) = self.made.get(&key) {
            return Ok(Some(Value::Storage(storage.clone())));
        }
        let storage = self.tensors.get(name).and_then(Value::as_tensor).and_then(Tensor::storage);
        let Some(storage) = storage else {
            return Err(Error::damaged(place(), format!("the tensor '{name}' is missing")));
        };
        if id.numel.checked_mul(id.dtype.map_or(1, DType::size) as u64) != Some(storage.len()) {
            let reason = format!("'{name}' has {} bytes, and other ones are expected", storage.len());
            return Err(Error::damaged(place(), reason));
        }
        let checksum = self.verify.then_some(*checksum);
        let source = Checked { name: name.as_str().into(), storage: storage.clone(), checksum };
        let storage = Storage::from_source(id.dtype, id.location, source);
        self.made.insert(key, storage.clone());
        Ok(Some(Value::Storage(storage)))
    }
}

/// A storage whose bytes are compared with their checksum.
struct Checked {
    name: Arc<str>,
    storage: Storage,
    /// `None` where nothing is compared.
    checksum: Option<u32>,
}

impl Source for Checked {
    fn len(&self) -> u64 {
        self.storage.len()
    }

    fn read(&self) -> Result<Bytes> {
        let bytes = self.storage.bytes()?;
        if self.checksum.is_none_or(|checksum| checksum == crc32fast::hash(&bytes)) {
            return Ok(bytes);
        }
        Err(Error::new(ErrorKind::Checksum).of_tensor(&*self.name))
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte)]).collect()
}

fn of_hex(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

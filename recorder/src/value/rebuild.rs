//! Copies of a whole object graph with some of its tensors changed: another dtype, another device tag. What was shared
//! stays shared, views stay views, cycles stay cycles.

use std::collections::HashMap;

use crate::value::tensor::{Quantizer, TensorData, TensorParts};
use crate::value::{Dict, DictData, Key, List, ObjectData, Shared};
use crate::{DType, Element, Error, Result, Storage, Tensor, Value};

/// What to change about every storage of a graph.
type ChangeStorage<'a> = dyn FnMut(&Storage, Option<DType>) -> Result<Option<Changed>> + 'a;

/// A storage that takes another's place.
#[derive(Clone, Debug)]
struct Changed {
    storage: Storage,
    /// The element type that tensors over it have from now on; `None` leaves theirs.
    dtype: Option<DType>,
}

/// Copies a graph and casts its floating-point tensors to `dtype` (one of float64, float32, float16, bfloat16), rounding to
/// nearest. Each storage is cast once, whole, so that views and ties stay. 0-dimensional tensors named `step` in an
/// optimizer's state are floating-point too; convert a state dict, not a whole run, to keep them.
///
/// # Errors
/// When `dtype` is none of these, or a storage cannot be read.
pub fn cast(root: &Value, dtype: DType) -> Result<Value> {
    if !dtype.is_floating_point() {
        return Err(Error::unsupported(format!(
            "casting to {dtype}; float64, float32, float16 and bfloat16 are, this"
        )));
    }
    rebuild(root, &mut |storage, viewed_as| {
        let Some(from) = viewed_as.filter(|from| from.is_floating_point() && *from != dtype) else { return Ok(None) };
        let bytes = cast_bytes(&storage.bytes()?, from, dtype)?;
        let cast = Storage::from_bytes(dtype, bytes);
        let storage = if storage.location() == "cpu" { cast } else { cast.with_location(storage.location()) };
        Ok(Some(Changed { storage, dtype: Some(dtype) }))
    })
}

/// Copies a graph and writes another device tag on every storage, as `map_location` would.
///
/// # Errors
/// When `location` fails.
pub fn relocate(root: &Value, mut location: impl FnMut(&str) -> Result<String>) -> Result<Value> {
    rebuild(root, &mut |storage, _| {
        let to = location(storage.location())?;
        let moved = (to != storage.location()).then(|| storage.with_location(to));
        Ok(moved.map(|storage| Changed { storage, dtype: None }))
    })
}

fn rebuild(root: &Value, change: &mut ChangeStorage<'_>) -> Result<Value> {
    Rebuild { change, values: HashMap::new(), storages: HashMap::new() }.value(root)
}

struct Rebuild<'a, 'b> {
    change: &'a mut ChangeStorage<'b>,
    /// Copies made so far, by the identity of what they are copies of.
    values: HashMap<usize, Value>,
    /// Storages decided so far: one storage can be viewed as several types.
    storages: HashMap<(usize, Option<DType>), Option<Changed>>,
}

impl Rebuild<'_, '_> {
    // Recursion is as deep as the values nest, which the readers bound.
    fn value(&mut self, value: &Value) -> Result<Value> {
        if let Some(done) = value.id().and_then(|id| self.values.get(&id)) {
            return Ok(done.clone());
        }
        // A container that can hold itself is entered into the table before its contents are copied.
        match value {
            Value::List(items) | Value::Set(items) => {
                let copy = List::new(Vec::new());
                let made = if matches!(value, Value::List(_)) { Value::List } else { Value::Set }(copy.clone());
                self.values.insert(items.id(), made.clone());
                let items = self.all(&items.read().clone())?;
                *copy.write() = items;
                Ok(made)
            }
            Value::Dict(dict) => self.dict(dict).map(Value::Dict),
            Value::Object(object) => {
                let copy = Shared::new(ObjectData::call(Value::None, Vec::new()));
                self.values.insert(object.id(), Value::Object(copy.clone()));
                let data = object.read().clone();
                let rebuilt = ObjectData {
                    construction: data.construction,
                    callable: self.value(&data.callable)?,
                    args: self.value(&data.args)?,
                    kwargs: data.kwargs.as_ref().map(|kwargs| self.value(kwargs)).transpose()?,
                    items: self.all(&data.items)?,
                    entries: data
                        .entries
                        .iter()
                        .map(|(key, value)| Ok((self.value(key)?, self.value(value)?)))
                        .collect::<Result<_>>()?,
                    states: self.all(&data.states)?,
                };
                *copy.write() = rebuilt;
                Ok(Value::Object(copy))
            }
            Value::Tuple(items) => self.all(items).map(|items| self.remember(value, Value::Tuple(items.into()))),
            Value::FrozenSet(items) => {
                self.all(items).map(|items| self.remember(value, Value::FrozenSet(items.into())))
            }
            Value::Tensor(tensor) => self.tensor(tensor).map(|copy| self.remember(value, Value::Tensor(copy))),
            Value::Storage(storage) => {
                let changed = self.storage(storage, storage.dtype())?;
                Ok(Value::Storage(changed.map_or_else(|| storage.clone(), |changed| changed.storage)))
            }
            Value::ByteArray(bytes) => {
                let copy = Shared::new(bytes.read().clone());
                Ok(self.remember(value, Value::ByteArray(copy)))
            }
            other => Ok(other.clone()),
        }
    }

    fn remember(&mut self, original: &Value, copy: Value) -> Value {
        match original.id() {
            // A cycle through a tuple has already made one copy of it on the way down; that one counts.
            Some(id) => self.values.entry(id).or_insert(copy).clone(),
            None => copy,
        }
    }

    fn all(&mut self, values: &[Value]) -> Result<Vec<Value>> {
        values.iter().map(|value| self.value(value)).collect()
    }

    fn dict(&mut self, dict: &Dict) -> Result<Dict> {
        let copy = Dict::new();
        self.values.insert(dict.id(), Value::Dict(copy.clone()));
        let data = dict.read().clone();
        let mut rebuilt = DictData { kind: data.kind, ..DictData::default() };
        for (key, value) in &data.entries {
            rebuilt.entries.insert(Key(self.value(&key.0)?), self.value(value)?);
        }
        rebuilt.state = data.state.as_ref().map(|state| self.value(state)).transpose()?;
        *copy.write() = rebuilt;
        Ok(copy)
    }

    fn part(&mut self, tensor: &Tensor) -> Result<Tensor> {
        match self.value(&Value::Tensor(tensor.clone()))? {
            Value::Tensor(copy) => Ok(copy),
            // A tensor's copy is a tensor.
            _ => Ok(tensor.clone()),
        }
    }

    fn tensor(&mut self, tensor: &Tensor) -> Result<Tensor> {
        let mut parts: TensorParts = tensor.parts().clone();
        match &mut parts.data {
            TensorData::Strided { storage, .. } => {
                if let Some(changed) = self.storage(storage, Some(parts.dtype))? {
                    *storage = changed.storage;
                    parts.dtype = changed.dtype.unwrap_or(parts.dtype);
                }
            }
            TensorData::Meta { .. } => {}
            TensorData::Sparse { indices, values, .. } => {
                for part in indices {
                    *part = self.part(part)?;
                }
                *values = self.part(values)?;
                parts.dtype = values.dtype();
            }
            TensorData::Nested { buffer, sizes, strides, offsets } => {
                for part in [&mut *buffer, sizes, strides, offsets] {
                    *part = self.part(part)?;
                }
                parts.dtype = buffer.dtype();
            }
        }
        if let Some(Quantizer::PerChannel { scales, zero_points, .. }) = &mut parts.quantizer {
            *scales = self.part(scales)?;
            *zero_points = self.part(zero_points)?;
        }
        Tensor::new(parts)
    }

    fn storage(&mut self, storage: &Storage, viewed_as: Option<DType>) -> Result<Option<Changed>> {
        let key = (storage.id(), viewed_as);
        if let Some(decided) = self.storages.get(&key) {
            return Ok(decided.clone());
        }
        let changed = (self.change)(storage, viewed_as)?;
        self.storages.insert(key, changed.clone());
        Ok(changed)
    }
}

/// Rounds as PyTorch does: to single first, where the target is a half.
fn cast_bytes(bytes: &[u8], from: DType, to: DType) -> Result<Vec<u8>> {
    fn write<T: Element>(numbers: &[f64], cast: impl Fn(f64) -> T) -> Vec<u8> {
        T::to_le_vec(&numbers.iter().map(|&x| cast(x)).collect::<Vec<_>>())
    }
    let count = bytes.len() / from.size();
    let numbers = Tensor::from_le_bytes(from, &[count], bytes[..count * from.size()].to_vec())?.to_f64_vec()?;
    #[allow(clippy::cast_possible_truncation)] // rounding is what a cast to float32 is
    Ok(match to {
        DType::Float64 => write(&numbers, |x| x),
        DType::Float32 => write(&numbers, |x| x as f32),
        DType::Float16 => write(&numbers, |x| half::f16::from_f32(x as f32)),
        DType::BFloat16 => write(&numbers, |x| half::bf16::from_f32(x as f32)),
        other => return Err(Error::unsupported(format!("casting to {other}"))),
    })
}

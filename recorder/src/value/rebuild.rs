//! Copies of a whole object graph with some of its tensors changed: another dtype, another device tag. What was shared
//! stays shared, views stay views, cycles stay cycles. What hangs on a tensor is changed with it.

use std::collections::HashMap;

use crate::serde::scalar;
use crate::value::shard;
use crate::value::tensor::{MadeBy, TensorData, TensorParts};
use crate::value::{Dict, DictData, Key, List, ObjectData, Shared};
use crate::{DType, Element, Error, Result, Storage, Tensor, Value};

/// What to change about a graph.
enum Change<'a> {
    /// The element type of the floating-point tensors.
    Cast(DType),
    /// The device tags.
    Relocate(&'a mut Location<'a>),
}

/// Gives the new tag for a device tag.
type Location<'a> = dyn FnMut(&str) -> Result<String> + 'a;

/// A storage that takes another's place.
#[derive(Clone, Debug)]
struct Changed {
    storage: Storage,
    /// The element type that tensors over it have from now on; `None` leaves theirs.
    dtype: Option<DType>,
}

/// The storages that were decided, each held so that no identity is given twice. One storage can be viewed as several types,
/// of which one alone may be cast; its tag is one for all of them.
type Storages = HashMap<(usize, Option<DType>), (Storage, Option<Changed>)>;

/// Casts the floating-point tensors of several graphs that have storages in common: those stay common.
pub(crate) struct Cast {
    dtype: DType,
    storages: Storages,
}

impl Cast {
    pub(crate) fn new(dtype: DType) -> Result<Self> {
        if !dtype.is_floating_point() {
            let error = Error::unsupported(format!("casting to {dtype}"));
            return Err(error.advise("float64, float32, float16 and bfloat16 are what tensors are cast to"));
        }
        Ok(Cast { dtype, storages: Storages::new() })
    }

    /// A cast copy of a graph.
    pub(crate) fn apply(&mut self, root: &Value) -> Result<Value> {
        let change = Change::Cast(self.dtype);
        Rebuild { change, values: HashMap::new(), storages: &mut self.storages, named_dtype: None }.value(root)
    }
}

/// A value with Python's numbers in the place of NumPy's scalars, in lists and tuples, too: what programs that compute learning rates with NumPy
/// put into groups and schedulers. What holds none is the same value.
///
/// ```
/// use rekindle_recorder::{Value, rebuild};
///
/// assert_eq!(rebuild::plain_numbers(&Value::from(0.5)).as_f64(), Some(0.5));
/// ```
#[must_use]
pub fn plain_numbers(value: &Value) -> Value {
    match value {
        Value::Object(_) => scalar::of_numpy(value).unwrap_or_else(|| value.clone()),
        Value::List(_) | Value::Tuple(_) => {
            let items = value.items().unwrap_or_default();
            if !items.iter().any(|item| scalar::of_numpy(item).is_some()) {
                return value.clone();
            }
            let items: Vec<Value> = items.iter().map(plain_numbers).collect();
            if matches!(value, Value::List(_)) { items.into() } else { Value::tuple(items) }
        }
        other => other.clone(),
    }
}

/// Copies a graph and casts its floating-point tensors to `dtype` (one of float64, float32, float16, bfloat16), rounding to
/// nearest. Each storage is cast once, whole, so that views and ties stay; tensors in the attributes of tensors are cast with
/// them, and the scales of a quantised tensor by channels. 0-dimensional tensors named `step` in an optimizer's state are
/// floating-point too; convert a state dict, not a whole run, to keep them.
///
/// # Errors
/// When `dtype` is none of these, or a storage cannot be read.
pub fn cast(root: &Value, dtype: DType) -> Result<Value> {
    Cast::new(dtype)?.apply(root)
}

/// Copies a graph and writes another device tag on every storage, as `map_location` would, and on the tensors whose call says
/// on which device they are. A tensor of a device without storages (`xla:0`, `npu`) that goes where its storage does is a
/// plain tensor there.
///
/// # Errors
/// When `location` fails.
pub fn relocate(root: &Value, mut location: impl FnMut(&str) -> Result<String>) -> Result<Value> {
    let change = Change::Relocate(&mut location);
    Rebuild { change, values: HashMap::new(), storages: &mut Storages::new(), named_dtype: None }.value(root)
}

struct Rebuild<'a> {
    change: Change<'a>,
    /// Copies made so far, by the identity of what they are copies of.
    values: HashMap<usize, Value>,
    /// Storages decided so far.
    storages: &'a mut Storages,
    /// Inside what a distributed tensor says of itself: the name of its element type, which is cast with it.
    named_dtype: Option<DType>,
}

impl Rebuild<'_> {
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
            Value::Dtype(named) => Ok(Value::Dtype(match self.change {
                Change::Cast(to) if self.named_dtype == Some(*named) => to,
                _ => *named,
            })),
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

    fn tensor(&mut self, tensor: &Tensor) -> Result<Tensor> {
        let mut parts: TensorParts = tensor.parts().clone();
        if let TensorData::Strided { storage, .. } = &mut parts.data
            && let Some(changed) = self.storage(storage, Some(parts.dtype))?
        {
            *storage = changed.storage;
            parts.dtype = changed.dtype.unwrap_or(parts.dtype);
        }
        let cast = matches!(self.change, Change::Cast(_)) && parts.dtype.is_floating_point();
        let outside = self.named_dtype;
        if cast && shard::is_distributed(&parts) {
            self.named_dtype = Some(parts.dtype);
        }
        let replaced = parts.replace_within(&mut |value| self.value(value));
        self.named_dtype = outside;
        replaced?;
        match (&parts.data, &self.change) {
            (TensorData::Sparse { values, .. } | TensorData::Jagged { values, .. }, _) => parts.dtype = values.dtype(),
            (TensorData::Nested { buffer, .. }, _) => parts.dtype = buffer.dtype(),
            (TensorData::Wrapper { .. } | TensorData::Meta { .. }, Change::Cast(to)) if cast => parts.dtype = *to,
            _ => {}
        }
        self.move_call(&mut parts)?;
        Tensor::new(parts)
    }

    /// The device that a tensor's own call names.
    fn move_call(&mut self, parts: &mut TensorParts) -> Result<()> {
        let Change::Relocate(location) = &mut self.change else { return Ok(()) };
        if let TensorData::Wrapper { device, .. } = &mut parts.data {
            *device = location(device)?.into();
        }
        let Some(from) = parts.made_by.as_ref().and_then(MadeBy::device) else { return Ok(()) };
        let to = location(from)?;
        if to != from {
            let beside = match &parts.data {
                TensorData::Strided { storage, .. } => storage.location() == to,
                data => data.tensors().iter().all(|part| part.device() == to),
            };
            parts.made_by = (!beside).then(|| MadeBy::Device { device: to.into() });
        }
        Ok(())
    }

    fn storage(&mut self, storage: &Storage, viewed_as: Option<DType>) -> Result<Option<Changed>> {
        let key = match &self.change {
            Change::Cast(_) => (storage.id(), viewed_as),
            Change::Relocate(_) => (storage.id(), None),
        };
        if let Some((_, decided)) = self.storages.get(&key) {
            return Ok(decided.clone());
        }
        let changed = match &mut self.change {
            Change::Cast(to) => cast_storage(storage, viewed_as, *to)?,
            Change::Relocate(location) => {
                let to = location(storage.location())?;
                let moved = (to != storage.location()).then(|| storage.with_location(to));
                moved.map(|storage| Changed { storage, dtype: None })
            }
        };
        self.storages.insert(key, (storage.clone(), changed.clone()));
        Ok(changed)
    }
}

fn cast_storage(storage: &Storage, viewed_as: Option<DType>, to: DType) -> Result<Option<Changed>> {
    let Some(from) = viewed_as.filter(|from| from.is_floating_point() && *from != to) else { return Ok(None) };
    let bytes = cast_bytes(&storage.bytes()?, from, to)?;
    let cast = Storage::from_bytes(to, bytes);
    let storage = if storage.location() == "cpu" { cast } else { cast.with_location(storage.location()) };
    Ok(Some(Changed { storage, dtype: Some(to) }))
}

/// Rounds as PyTorch does: to single first, where the target is a half.
pub(crate) fn cast_bytes(bytes: &[u8], from: DType, to: DType) -> Result<Vec<u8>> {
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

//! Which part of which whole a distributed tensor holds: `DTensor`, `ShardedTensor` and its `Shard`s, Megatron's `ShardedTensor`.
//! What they say of themselves is in their attributes; it is read here and never changed.

use crate::value::data::{Dict, Object, Tensor, TensorClass, TensorParts, Value};

/// A part of a tensor that several processes hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// Where it begins in the whole, a place for each dimension; `None` where the file does not tell it.
    pub offsets: Option<Vec<usize>>,
    /// The length of each of its dimensions.
    pub sizes: Vec<usize>,
    /// The shape of the whole; `None` where the file does not tell it.
    pub whole: Option<Vec<usize>>,
    /// Whether its elements are terms of a sum over the processes and not yet the whole's own.
    pub is_partial: bool,
}

impl Part {
    /// Whether it is all there is.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.is_partial && self.whole.as_ref() == Some(&self.sizes)
    }
}

/// The classes, by the beginning of their modules and by their names.
const DTENSOR: (&str, &str) = ("torch.distributed", "DTensor");
const SHARDED: (&str, &str) = ("torch.distributed._shard", "ShardedTensor");
const MEGATRON: (&str, &str) = ("megatron.core", "ShardedTensor");

/// Whether it is one of PyTorch's distributed tensors, which say of what element type they are.
pub(crate) fn is_distributed(parts: &TensorParts) -> bool {
    is_class(parts, DTENSOR) || is_class(parts, SHARDED)
}

fn is_class(parts: &TensorParts, (module, name): (&str, &str)) -> bool {
    matches!(&parts.class, TensorClass::Other { class, .. } if class.module.starts_with(module) && &*class.name == name)
}

impl Tensor {
    /// The tensors that a distributed tensor holds on the process that wrote it, each with its part of the whole. Empty for
    /// other tensors.
    #[must_use]
    pub fn local_parts(&self) -> Vec<(Tensor, Part)> {
        let parts = self.parts();
        let Some(state) = parts.attributes() else { return Vec::new() };
        if is_class(parts, DTENSOR) {
            return dtensor(state, &parts.shape).into_iter().collect();
        }
        if is_class(parts, SHARDED) { shards(state, Some(&parts.shape)) } else { Vec::new() }
    }

    /// The plain tensor that holds all elements of a distributed one, where the process that wrote it held the whole.
    #[must_use]
    pub fn whole_local(&self) -> Option<Tensor> {
        match <[_; 1]>::try_from(self.local_parts()).ok()? {
            [(tensor, part)] if part.is_whole() && tensor.dtype() == self.dtype() => {
                // Nothing that would have to be looked into again.
                tensor.storage().is_some().then_some(tensor)
            }
            _ => None,
        }
    }
}

/// The same of an object: `ShardedTensor` before it became a tensor, Megatron's.
pub(crate) fn of_object(object: &Object) -> Vec<(Tensor, Part)> {
    let (class, state) = {
        let data = object.read();
        let (Some(class), Some(state)) = (data.class().cloned(), data.states.first().cloned()) else {
            return Vec::new();
        };
        (class, state)
    };
    let is = |(module, name): (&str, &str)| class.module.starts_with(module) && &*class.name == name;
    if is(SHARDED) {
        let whole = state.items().and_then(|items| counts(&attribute(items.get(1)?, "size")?));
        return shards(&state, whole.as_deref());
    }
    if is(MEGATRON)
        && let Some(Value::Tensor(data)) = in_state(&state, "data")
    {
        let part = Part {
            offsets: in_state(&state, "global_offset").and_then(|offsets| counts(&offsets)),
            sizes: data.shape().to_vec(),
            whole: in_state(&state, "global_shape").and_then(|shape| counts(&shape)),
            is_partial: false,
        };
        return vec![(data, part)];
    }
    Vec::new()
}

/// `(local shards, metadata, process group, sharding, ...)`.
fn shards(state: &Value, whole: Option<&[usize]>) -> Vec<(Tensor, Part)> {
    let shards = state.items().and_then(|items| items.first()?.items()).unwrap_or_default();
    let read = |shard: &Value| {
        let Value::Tensor(tensor) = attribute(shard, "tensor")? else { return None };
        let metadata = attribute(shard, "metadata")?;
        let offsets = attribute(&metadata, "shard_offsets").and_then(|offsets| counts(&offsets));
        let part =
            Part { offsets, sizes: tensor.shape().to_vec(), whole: whole.map(<[usize]>::to_vec), is_partial: false };
        Some((tensor, part))
    };
    shards.iter().filter_map(read).collect()
}

fn dtensor(state: &Value, whole: &[usize]) -> Option<(Tensor, Part)> {
    let Value::Tensor(local) = in_state(state, "_local_tensor")? else { return None };
    let spec = in_state(state, "_spec");
    let placements = spec.as_ref().and_then(|spec| attribute(spec, "placements")?.items()).unwrap_or_default();
    let placements: Vec<Placement> = placements.iter().map(placement).collect();
    let mesh = spec.as_ref().and_then(|spec| attribute(spec, "mesh"));
    let place = mesh.and_then(|mesh| place(&mesh)).filter(|place| place.len() == placements.len());
    let offsets = place.and_then(|place| offsets(&placements, &place, whole));
    let fits = |found: &(Vec<usize>, Vec<usize>)| found.1 == local.shape();
    // Where nothing is divided, every process has it all.
    let undivided = local.shape() == whole && placements.iter().all(|placement| *placement == Placement::Whole);
    let offsets = offsets.filter(fits).map(|(offsets, _)| offsets).or_else(|| undivided.then(|| vec![0; whole.len()]));
    let is_partial = placements.contains(&Placement::Sum);
    let part = Part { offsets, sizes: local.shape().to_vec(), whole: Some(whole.to_vec()), is_partial };
    Some((local, part))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Placement {
    Whole,
    Divided(usize),
    Sum,
    Unknown,
}

fn placement(value: &Value) -> Placement {
    let Value::Object(object) = value else { return Placement::Unknown };
    let Some(class) = object.read().class().cloned() else { return Placement::Unknown };
    let dim = || attribute(value, "dim").and_then(|dim| usize::try_from(dim.as_i64()?).ok());
    match &*class.name {
        "Replicate" => Placement::Whole,
        "Shard" => dim().map_or(Placement::Unknown, Placement::Divided),
        "Partial" | "_Partial" => Placement::Sum,
        _ => Placement::Unknown,
    }
}

/// Where a process is in its mesh: its place and the number of places, a pair for each dimension of the mesh.
fn place(mesh: &Value) -> Option<Vec<(usize, usize)>> {
    let place = counts(&attribute(mesh, "_coordinate_on_dim")?)?;
    let shape = match attribute(mesh, "mesh") {
        Some(Value::Tensor(mesh)) => mesh.shape().to_vec(),
        _ => {
            let axes = attribute(&attribute(mesh, "_layout")?, "axes")?.items()?;
            axes.iter().map(axis_length).collect::<Option<_>>()?
        }
    };
    (shape.len() == place.len()).then(|| place.into_iter().zip(shape).collect())
}

/// The number of places along an axis of a mesh: the product of a layout's shape, `()` for one.
fn axis_length(axis: &Value) -> Option<usize> {
    let shape = attribute(axis, "shape")?;
    match counts(&shape) {
        Some(lengths) => lengths.into_iter().try_fold(1_usize, usize::checked_mul),
        None => usize::try_from(shape.as_i64()?).ok(),
    }
}

/// The first element and the lengths of what `torch.chunk` gives the process at this place.
fn offsets(placements: &[Placement], place: &[(usize, usize)], whole: &[usize]) -> Option<(Vec<usize>, Vec<usize>)> {
    let (mut offsets, mut sizes) = (vec![0; whole.len()], whole.to_vec());
    for (placement, &(at, count)) in placements.iter().zip(place) {
        match *placement {
            Placement::Whole | Placement::Sum => {}
            Placement::Divided(dim) => {
                let (offset, size) = (offsets.get_mut(dim)?, sizes.get_mut(dim)?);
                let chunk = size.div_ceil(count.max(1));
                let start = chunk.checked_mul(at)?.min(*size);
                *offset += start;
                *size = chunk.min(*size - start);
            }
            Placement::Unknown => return None,
        }
    }
    Some((offsets, sizes))
}

/// An attribute of an object.
fn attribute(value: &Value, name: &str) -> Option<Value> {
    let Value::Object(object) = value else { return None };
    let states = object.read().states.clone();
    states.iter().find_map(|state| in_state(state, name))
}

/// An attribute in a state: a dict, or a pair of the instance's own and its slots.
fn in_state(state: &Value, name: &str) -> Option<Value> {
    let get = |dict: &Dict| dict.get(name);
    match state {
        Value::Dict(dict) => get(dict),
        Value::Tuple(pair) if pair.len() == 2 => pair.iter().filter_map(Value::as_dict).find_map(get),
        _ => None,
    }
}

/// Lengths or places: a list, a tuple, a `torch.Size`.
fn counts(value: &Value) -> Option<Vec<usize>> {
    value.items()?.iter().map(|item| usize::try_from(item.as_i64()?).ok()).collect()
}

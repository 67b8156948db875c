//! The functions of PyTorch that rebuild tensors and their parts, as calls to read (arguments to value).

use std::sync::Arc;

use crate::pickle::calls::making::{Make, Making};
use crate::value::Device;
use crate::value::tensor::{MadeBy, Quantizer, SparseLayout, TensorClass, TensorData, TensorParts};
use crate::{DType, ErrorKind, Result, Storage, Tensor, Value};

/// By module and name.
pub(crate) const CALLS: &[(&str, &str, Make)] = &[
    ("torch._utils", "_rebuild_tensor_v2", tensor_v2),
    ("torch._utils", "_rebuild_parameter", parameter),
    ("torch._utils", "_rebuild_tensor", tensor_v1),
    ("torch._utils", "_rebuild_tensor_v3", tensor_v3),
    ("torch._utils", "_rebuild_parameter_with_state", parameter_with_state),
    ("torch._utils", "_rebuild_sparse_tensor", sparse_tensor),
    ("torch._utils", "_rebuild_sparse_csr_tensor", sparse_tensor),
    ("torch._utils", "_rebuild_qtensor", quantized_tensor),
    ("torch._utils", "_rebuild_nested_tensor", nested_tensor),
    ("torch._utils", "_rebuild_meta_tensor_no_storage", meta_tensor),
    ("torch", "Size", size),
    ("torch", "device", device),
    ("torch.nn.parameter", "Parameter", parameter_class),
    ("torch.storage", "_load_from_bytes", storage_from_bytes),
    ("torch.jit._pickle", "build_intlist", untyped),
    ("torch.jit._pickle", "build_doublelist", untyped),
    ("torch.jit._pickle", "build_boollist", untyped),
    ("torch.jit._pickle", "build_tensorlist", untyped),
    ("torch.jit._pickle", "restore_type_tag", untyped),
];

/// Where a view of a storage lies, in elements.
struct View {
    /// The element type that the storage's own class names.
    dtype: Option<DType>,
    storage: Storage,
    offset: usize,
    shape: Vec<usize>,
    stride: Vec<usize>,
}

/// The first four arguments of every function that makes a view; `None` where they are of another kind.
fn view(args: &[Value], making: &mut Making<'_>) -> Result<Option<View>> {
    let [storage, offset, shape, stride, ..] = args else { return Ok(None) };
    let inline = match storage {
        Value::Tuple(_) => making.ids.load_inline(storage)?,
        _ => None,
    };
    let Value::Storage(storage) = inline.as_ref().unwrap_or(storage) else { return Ok(None) };
    let (Some(offset), Some(shape), Some(stride)) =
        (lengths(std::slice::from_ref(offset), making)?, sizes(shape, making)?, sizes(stride, making)?)
    else {
        return Ok(None);
    };
    let dtype = making.storage_types.get(&storage.id()).copied().unwrap_or(storage.dtype());
    of_whole(View { dtype, storage: storage.clone(), offset: offset[0], shape, stride }, making).map(Some)
}

/// The same view, of the whole storage where it is one of a part.
fn of_whole(view: View, making: &Making<'_>) -> Result<View> {
    let (Some(dtype), Some((storage, start))) = (view.dtype, making.ids.whole_of(&view.storage)) else {
        return Ok(view);
    };
    let size = dtype.size() as u64;
    let start = usize::try_from(start / size).ok().filter(|_| start.is_multiple_of(size));
    let Some(offset) = start.and_then(|start| view.offset.checked_add(start)) else { return Ok(view) };
    // It must not leave the part either.
    let View { shape, stride, .. } = &view;
    Tensor::new(TensorParts::strided(dtype, shape.clone(), view.storage.clone(), view.offset, stride.clone()))?;
    Ok(View { storage, offset, ..view })
}

/// The items of a tuple or `torch.Size`.
pub(crate) fn sizes(value: &Value, making: &mut Making<'_>) -> Result<Option<Vec<usize>>> {
    match value {
        Value::Tuple(items) => lengths(items, making),
        Value::Size(items) => {
            making.budget.copies(items.len())?;
            items.iter().map(|&item| length(item)).collect::<Result<_>>().map(Some)
        }
        _ => Ok(None),
    }
}

/// Integers that count elements; `None` where they are no integers.
pub(crate) fn lengths(items: &[Value], making: &mut Making<'_>) -> Result<Option<Vec<usize>>> {
    making.budget.copies(items.len())?;
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        let Value::Int(item) = item else { return Ok(None) };
        found.push(length(*item)?);
    }
    Ok(Some(found))
}

fn length(item: i64) -> Result<usize> {
    usize::try_from(item).map_err(|_| {
        let reason = format!("{item} cannot be an offset, a length or a stride");
        ErrorKind::InvalidTensor { tensor: "a tensor".to_owned(), reason }.into()
    })
}

/// An empty `OrderedDict` of hooks, as every modern file has it, is not worth keeping.
pub(crate) fn hooks(value: &Value) -> Option<Value> {
    match value {
        Value::None => None,
        Value::Dict(dict) if dict.is_empty() && dict.state().is_none() => None,
        other => Some(other.clone()),
    }
}

/// The conjugate and negative bits of a metadata dict.
fn bits(metadata: Option<&Value>) -> Option<(bool, bool)> {
    let dict = match metadata {
        None | Some(Value::None) => return Some((false, false)),
        Some(Value::Dict(dict)) => dict.read(),
        Some(_) => return None,
    };
    let (mut conj, mut neg) = (false, false);
    for (key, value) in &dict.entries {
        match (key.0.as_str(), value) {
            (Some("conj"), Value::Bool(bit)) => conj = *bit,
            (Some("neg"), Value::Bool(bit)) => neg = *bit,
            _ => return None,
        }
    }
    Some((conj, neg))
}

pub(crate) fn finish(parts: TensorParts) -> Result<Option<Value>> {
    Ok(Some(Value::Tensor(Tensor::new(parts)?)))
}

/// `(storage, offset, size, stride)`.
pub(crate) fn tensor_v1(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    if args.len() != 4 {
        return Ok(None);
    }
    let Some(view) = view(args, making)? else { return Ok(None) };
    view.dtype.map_or(Ok(None), |dtype| finish(strided(dtype, view)))
}

fn strided(dtype: DType, view: View) -> TensorParts {
    TensorParts::strided(dtype, view.shape, view.storage, view.offset, view.stride)
}

/// `(storage, offset, size, stride, requires_grad, backward_hooks[, metadata])`.
pub(crate) fn tensor_v2(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    let ([_, _, _, _, Value::Bool(requires_grad), backward_hooks]
    | [_, _, _, _, Value::Bool(requires_grad), backward_hooks, _]) = args
    else {
        return Ok(None);
    };
    let (Some(view), Some((conj, neg))) = (view(args, making)?, bits(args.get(6))) else { return Ok(None) };
    let Some(dtype) = view.dtype else { return Ok(None) };
    let backward_hooks = hooks(backward_hooks);
    finish(TensorParts { requires_grad: *requires_grad, backward_hooks, conj, neg, ..strided(dtype, view) })
}

/// `(storage, offset, size, stride, requires_grad, backward_hooks, dtype[, metadata])`.
fn tensor_v3(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    let ([_, _, _, _, Value::Bool(requires_grad), backward_hooks, Value::Dtype(dtype)]
    | [_, _, _, _, Value::Bool(requires_grad), backward_hooks, Value::Dtype(dtype), _]) = args
    else {
        return Ok(None);
    };
    let (Some(view), Some((conj, neg))) = (view(args, making)?, bits(args.get(7))) else { return Ok(None) };
    let backward_hooks = hooks(backward_hooks);
    finish(TensorParts { requires_grad: *requires_grad, backward_hooks, conj, neg, ..strided(*dtype, view) })
}

/// `(tensor, requires_grad, backward_hooks)`.
fn parameter(args: &[Value], _: &mut Making<'_>) -> Result<Option<Value>> {
    match args {
        [data, requires_grad, backward_hooks] => as_parameter(data, requires_grad, backward_hooks, None),
        _ => Ok(None),
    }
}

/// `(tensor, requires_grad, backward_hooks, state)`.
fn parameter_with_state(args: &[Value], _: &mut Making<'_>) -> Result<Option<Value>> {
    match args {
        [data, requires_grad, backward_hooks, state] => {
            as_parameter(data, requires_grad, backward_hooks, Some(state.clone()))
        }
        _ => Ok(None),
    }
}

/// `(tensor, requires_grad)`, as PyTorch 0.4 made parameters. (The tensor itself then says the same.)
fn parameter_class(args: &[Value], _: &mut Making<'_>) -> Result<Option<Value>> {
    match args {
        [Value::Tensor(data), requires_grad] => as_parameter(&data.detach().into(), requires_grad, &Value::None, None),
        _ => Ok(None),
    }
}

pub(crate) fn as_parameter(
    data: &Value,
    requires_grad: &Value,
    hooked: &Value,
    state: Option<Value>,
) -> Result<Option<Value>> {
    let (Value::Tensor(data), &Value::Bool(requires_grad)) = (data, requires_grad) else { return Ok(None) };
    let parts = data.parts();
    if matches!(parts.class, TensorClass::Other { .. }) && parts.made_by.is_none() {
        // It keeps its class, and is a parameter beside.
        let made_by = MadeBy::Parameter { inner_requires_grad: parts.requires_grad, hooks: hooks(hooked), state };
        return finish(TensorParts { requires_grad, made_by: Some(made_by), ..parts.clone() });
    }
    // Only a plain tensor's parts are all carried over.
    if parts.requires_grad || parts.backward_hooks.is_some() || !matches!(parts.class, TensorClass::Tensor) {
        return Ok(None);
    }
    let (class, backward_hooks) = (TensorClass::Parameter { state }, hooks(hooked));
    finish(TensorParts { requires_grad, class, backward_hooks, ..parts.clone() })
}

/// The name of the layout that a `torch.serialization._get_layout(name)` stands for.
pub(crate) fn layout(value: &Value) -> Option<Arc<str>> {
    let Value::Object(object) = value else { return None };
    let object = object.read();
    if !object.class().is_some_and(|class| class.is("torch.serialization", "_get_layout")) {
        return None;
    }
    match object.arguments() {
        [Value::Str(name)] => Some(Arc::clone(name)),
        _ => None,
    }
}

/// `(layout, data)`; data is `(indices, values, size[, is_coalesced])` or `(compressed, plain, values, size)`. TorchScript's
/// own pickler writes `(layout, size, requires_grad, indices, ..., values, hooks)`, its layout a number.
fn sparse_tensor(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    if let [Value::Int(layout), size, Value::Bool(requires_grad), parts @ .., Value::Tensor(values), hooked] = args {
        let (layout, indices) = match (layout, parts) {
            (1, [Value::Tensor(indices)]) => (SparseLayout::Coo, vec![indices.clone()]),
            (2, [Value::Tensor(rows), Value::Tensor(columns)]) => {
                (SparseLayout::Csr, vec![rows.clone(), columns.clone()])
            }
            _ => return Ok(None),
        };
        let Some(shape) = sizes(size, making)? else { return Ok(None) };
        let data = TensorData::Sparse { layout, indices, values: values.clone(), coalesced: None };
        let (requires_grad, backward_hooks) = (*requires_grad, hooks(hooked));
        return finish(TensorParts {
            requires_grad,
            backward_hooks,
            ..TensorParts::plain(values.dtype(), shape, data)
        });
    }
    let [kind, Value::Tuple(data)] = args else { return Ok(None) };
    let Some(layout) = layout(kind) else { return Ok(None) };
    let Some(&(layout, _)) = SparseLayout::NAMES.iter().find(|row| *row.1 == *layout) else { return Ok(None) };
    let (indices, values, size, coalesced) = match (layout, &**data) {
        (SparseLayout::Coo, [Value::Tensor(indices), Value::Tensor(values), size]) => {
            (vec![indices.clone()], values, size, None)
        }
        (SparseLayout::Coo, [Value::Tensor(indices), Value::Tensor(values), size, Value::Bool(coalesced)]) => {
            (vec![indices.clone()], values, size, Some(*coalesced))
        }
        (SparseLayout::Coo, _) => return Ok(None),
        (_, [Value::Tensor(compressed), Value::Tensor(plain), Value::Tensor(values), size]) => {
            (vec![compressed.clone(), plain.clone()], values, size, None)
        }
        _ => return Ok(None),
    };
    let Some(shape) = sizes(size, making)? else { return Ok(None) };
    let data = TensorData::Sparse { layout, indices, values: values.clone(), coalesced };
    finish(TensorParts::plain(values.dtype(), shape, data))
}

/// `(storage, offset, size, stride, quantizer parameters, requires_grad, backward_hooks)`.
fn quantized_tensor(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    let [_, _, _, _, Value::Tuple(parameters), Value::Bool(requires_grad), backward_hooks] = args else {
        return Ok(None);
    };
    let quantizer = match &**parameters {
        [Value::Global(scheme), Value::Float(scale), Value::Int(zero_point)]
            if scheme.is("torch", "per_tensor_affine") =>
        {
            Quantizer::PerTensor { scale: *scale, zero_point: *zero_point }
        }
        [Value::Global(scheme), scales, zero_points, Value::Int(axis)] => {
            let floats = scheme.is("torch", "per_channel_affine_float_qparams");
            let (Some(scales), Some(zero_points)) =
                (channels(scales, true, floats, making)?, channels(zero_points, floats, floats, making)?)
            else {
                return Ok(None);
            };
            Quantizer::PerChannel { scheme: scheme.clone(), scales, zero_points, axis: *axis }
        }
        _ => return Ok(None),
    };
    let Some(view) = view(args, making)? else { return Ok(None) };
    let Some(dtype) = view.dtype else { return Ok(None) };
    let (quantizer, backward_hooks) = (Some(quantizer), hooks(backward_hooks));
    finish(TensorParts { quantizer, backward_hooks, requires_grad: *requires_grad, ..strided(dtype, view) })
}

/// A number for each channel: a tensor, or, in PyTorch 1.3, a list of floats (single precision for the float scheme) or integers.
fn channels(value: &Value, floats: bool, single: bool, making: &mut Making<'_>) -> Result<Option<Tensor>> {
    let items = match value {
        Value::Tensor(tensor) => return Ok(Some(tensor.clone())),
        Value::List(items) => items.read().clone(),
        _ => return Ok(None),
    };
    making.budget.copies(items.len())?;
    let numbers: Option<Vec<f64>> = items.iter().map(Value::as_f64).collect();
    let integers: Option<Vec<i64>> = items.iter().map(Value::as_i64).collect();
    let shape = [items.len()];
    #[allow(clippy::cast_possible_truncation)] // PyTorch has them in single precision
    match (numbers, integers) {
        (Some(numbers), _) if floats && single => {
            Tensor::from_vec(&shape, numbers.into_iter().map(|x| x as f32).collect()).map(Some)
        }
        (Some(numbers), _) if floats => Tensor::from_vec(&shape, numbers).map(Some),
        (_, Some(integers)) => Tensor::from_vec(&shape, integers).map(Some),
        _ => Ok(None),
    }
}

/// `(buffer, sizes, strides, offsets)`, all tensors. The shape is that of the outer dimension: how many tensors there are.
fn nested_tensor(args: &[Value], _: &mut Making<'_>) -> Result<Option<Value>> {
    let [Value::Tensor(buffer), Value::Tensor(sizes), Value::Tensor(strides), Value::Tensor(offsets)] = args else {
        return Ok(None);
    };
    let shape = sizes.shape().first().copied().into_iter().collect();
    let (sizes, strides, offsets) = (sizes.clone(), strides.clone(), offsets.clone());
    let data = TensorData::Nested { buffer: buffer.clone(), sizes, strides, offsets };
    finish(TensorParts::plain(buffer.dtype(), shape, data))
}

/// `(dtype, size, stride, requires_grad)`.
fn meta_tensor(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    let [Value::Dtype(dtype), shape, stride, Value::Bool(requires_grad)] = args else { return Ok(None) };
    let (Some(shape), Some(stride)) = (sizes(shape, making)?, sizes(stride, making)?) else { return Ok(None) };
    finish(TensorParts {
        requires_grad: *requires_grad,
        ..TensorParts::plain(*dtype, shape, TensorData::Meta { stride })
    })
}

/// `((int, ...),)`.
fn size(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    let [Value::Tuple(items)] = args else { return Ok(None) };
    making.budget.copies(items.len())?;
    let items: Option<Arc<[i64]>> = items
        .iter()
        .map(|item| match item {
            Value::Int(item) => Some(*item),
            _ => None,
        })
        .collect();
    Ok(items.map(Value::Size))
}

/// `('cuda', 0)`, `('cpu',)`, or both in one string: `('cuda:0',)`.
fn device(args: &[Value], _: &mut Making<'_>) -> Result<Option<Value>> {
    let device = match args {
        [Value::Str(kind), Value::Int(index)] if !kind.contains(':') => {
            Some(Device { kind: Arc::clone(kind), index: Some(*index) })
        }
        [Value::Str(text)] => Device::parse(text),
        _ => None,
    };
    Ok(device.map(Value::Device))
}

/// `(bytes,)`: a storage in a pickle that has no other place for it, as a file of `torch.save`.
fn storage_from_bytes(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    let [Value::Bytes(bytes)] = args else { return Ok(None) };
    making.budget.copies(bytes.len() / 64)?;
    Ok(making.ids.load_bytes(bytes)?.filter(|value| matches!(value, Value::Storage(_))))
}

/// TorchScript's own pickler tells the types of its containers' elements: `(list,)`, or `(container, type)`.
fn untyped(args: &[Value], _: &mut Making<'_>) -> Result<Option<Value>> {
    Ok(match args {
        [Value::List(_)] => args.first().cloned(),
        [container @ (Value::List(_) | Value::Dict(_)), Value::Str(_)] => Some(container.clone()),
        _ => None,
    })
}

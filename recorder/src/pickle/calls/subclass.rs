//! Tensors of other classes than PyTorch's own, and tensors with attributes: a call within a call, by the name of its function.

use crate::pickle::calls::making::Making;
use crate::pickle::calls::{devices, torch};
use crate::value::tensor::{TensorClass, TensorData, TensorParts};
use crate::value::{Device, Global};
use crate::{Result, Value};

/// The function in `torch._tensor` that gives a tensor a class and attributes.
pub(crate) const FROM_TYPE: &str = "_rebuild_from_type_v2";

/// The function that makes nested tensors of the layout `torch.jagged`.
pub(crate) const JAGGED: (&str, &str) = ("torch.nested._internal.nested_tensor", "_rebuild_njt");

/// What it was called before, there, in `torch.tensor` and in fastai.
const FROM_TYPE_OLD: &str = "_rebuild_from_type";

/// Calls that have the class first and the arguments of `_rebuild_tensor_v2` behind it.
const CLASS_FIRST: (&str, &str) = ("fastai.torch_core", "_fa_rebuild_tensor");

/// Whether a function takes the class first and keeps no attributes.
pub(crate) fn is_class_first(function: &Global) -> bool {
    function.is(CLASS_FIRST.0, CLASS_FIRST.1)
}

/// `function(*args)`, where it makes a tensor of another class.
pub(crate) fn call(function: &Global, args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    match (args, &*function.name) {
        _ if devices::is_npu(function) => devices::npu_tensor(function, args, making),
        ([Value::Global(class), plain @ ..], _) if is_class_first(function) => {
            let made = torch::tensor_v2(plain, making)?;
            with_class(made, class, &Value::None, Some(function))
        }
        (_, "_rebuild_wrapper_subclass") if &*function.module == "torch._utils" => wrapper(args, making),
        ([Value::Global(make), Value::Global(class), Value::Tuple(inner), state], FROM_TYPE | FROM_TYPE_OLD) => {
            let made = data(make, inner, making)?;
            let usual = function.is("torch._tensor", FROM_TYPE);
            with_class(made, class, state, (!usual).then_some(function))
        }
        _ => Ok(None),
    }
}

/// A tensor by the functions that make one without a class: one of this file's own could recurse without end.
fn data(function: &Global, args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    if devices::is_npu(function) {
        return devices::npu_tensor(function, args, making);
    }
    if function.is("torch._utils", "_rebuild_wrapper_subclass") {
        return wrapper(args, making);
    }
    if function.is(JAGGED.0, JAGGED.1) {
        return jagged(args);
    }
    let mut rows = torch::CALLS.iter().chain(devices::CALLS);
    match rows.find(|row| row.0 == "torch._utils" && function.is(row.0, row.1)) {
        Some((_, _, make)) => make(args, making),
        None => Ok(None),
    }
}

/// The same tensor with a class and attributes.
fn with_class(made: Option<Value>, class: &Global, state: &Value, by: Option<&Global>) -> Result<Option<Value>> {
    let Some(Value::Tensor(tensor)) = made else { return Ok(None) };
    let is_open = match &tensor.parts().class {
        TensorClass::Tensor => true,
        // A wrapper has its class already, and gets its attributes.
        TensorClass::Other { class: own, state: Value::None } => own == class,
        _ => false,
    };
    if !is_open {
        return Ok(None);
    }
    let class = TensorClass::Other { class: class.clone(), state: state.clone() };
    torch::finish(TensorParts { class, class_by: by.cloned(), ..tensor.parts().clone() })
}

/// `({'values': .., 'offsets': .., 'lengths': .., '_ragged_idx': .., '_metadata_cache': .., 'requires_grad': ..},)`. The shape is that of
/// the outer dimension: how many tensors there are.
fn jagged(args: &[Value]) -> Result<Option<Value>> {
    let [Value::Dict(arguments)] = args else { return Ok(None) };
    let of = |name: &str| arguments.get(name);
    let (
        Some(Value::Tensor(values)),
        Some(Value::Tensor(offsets)),
        Some(Value::Int(ragged_dim)),
        Some(Value::Bool(requires_grad)),
    ) = (of("values"), of("offsets"), of("_ragged_idx"), of("requires_grad"))
    else {
        return Ok(None);
    };
    let lengths = match of("lengths") {
        Some(Value::Tensor(lengths)) => Some(lengths),
        Some(Value::None) => None,
        _ => return Ok(None),
    };
    let (Some(cache @ (Value::Dict(_) | Value::None)), 6, [ends]) =
        (of("_metadata_cache"), arguments.len(), offsets.shape())
    else {
        return Ok(None);
    };
    let (dtype, shape) = (values.dtype(), ends.checked_sub(1).into_iter().collect());
    let data = TensorData::Jagged { values, offsets: offsets.clone(), lengths, ragged_dim, cache };
    torch::finish(TensorParts { requires_grad, ..TensorParts::plain(dtype, shape, data) })
}

/// `(class, dtype, size, stride, storage_offset, layout, device, requires_grad)`.
fn wrapper(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    let [Value::Global(class), Value::Dtype(dtype), shape, stride, offset, layout, device, Value::Bool(requires_grad)] =
        args
    else {
        return Ok(None);
    };
    let (Some(shape), Some(stride)) = (torch::sizes(shape, making)?, torch::sizes(stride, making)?) else {
        return Ok(None);
    };
    let Some(offset) = torch::lengths(std::slice::from_ref(offset), making)?.and_then(|offset| offset.first().copied())
    else {
        return Ok(None);
    };
    let device = match device {
        Value::Device(device) => device.clone(),
        Value::Str(device) => match Device::parse(device) {
            Some(device) => device,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    let Some(layout) = torch::layout(layout) else { return Ok(None) };
    let data = TensorData::Wrapper { stride, offset, layout, device: device.to_string().into() };
    let class = TensorClass::Other { class: class.clone(), state: Value::None };
    torch::finish(TensorParts { requires_grad: *requires_grad, class, ..TensorParts::plain(*dtype, shape, data) })
}

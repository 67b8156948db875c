//! Tensors of devices whose storages no file holds: their elements are written from the CPU, and a call puts the tensor on its
//! device again (XLA, MAIA, MTIA by PyTorch's own; Ascend's NPU by that of `torch_npu`).

use std::sync::Arc;

use crate::pickle::calls::making::{Make, Making};
use crate::pickle::calls::torch;
use crate::value::rebuild::cast_bytes;
use crate::value::tensor::{MadeBy, TensorClass, TensorParts};
use crate::value::{Array, Global};
use crate::{Result, Tensor, Value};

/// By module and name.
pub(crate) const CALLS: &[(&str, &str, Make)] = &[
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor", from_cpu_tensor),
    ("torch._utils", "_rebuild_device_tensor_from_numpy", from_numpy),
    ("torch._utils", "_rebuild_xla_tensor", from_numpy),
    ("torch._utils", "_rebuild_mlc_tensor", from_numpy),
    ("torch._utils", "_rebuild_hpu_tensor", from_numpy),
];

/// `(tensor, dtype, device, requires_grad)`.
fn from_cpu_tensor(args: &[Value], _: &mut Making<'_>) -> Result<Option<Value>> {
    let [Value::Tensor(cpu), Value::Dtype(dtype), device, Value::Bool(requires_grad)] = args else { return Ok(None) };
    let (parts, Some(device)) = (cpu.parts(), name(device)) else { return Ok(None) };
    // Where PyTorch would convert the elements, or set what a copy of a tensor with a gradient cannot be set to, it is
    // another tensor than the one that stands here.
    let is_plain = matches!(parts.class, TensorClass::Tensor) && parts.made_by.is_none() && parts.dtype == *dtype;
    if !is_plain || parts.requires_grad && !requires_grad {
        return Ok(None);
    }
    let made_by = Some(MadeBy::Device { device });
    torch::finish(TensorParts { requires_grad: *requires_grad, made_by, ..parts.clone() })
}

/// `(array, dtype, device, requires_grad)`: how such tensors were written before PyTorch 2.4. NumPy has no bfloat16, so those
/// went by way of float32.
fn from_numpy(args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    let [array, Value::Dtype(dtype), device, Value::Bool(requires_grad)] = args else { return Ok(None) };
    let (Some(array), Some(device)) = (Array::of(array), name(device)) else { return Ok(None) };
    let Ok(read) = array.to_tensor() else { return Ok(None) };
    let tensor = match (read.dtype(), *dtype) {
        (from, to) if from == to => read,
        (from, to) if from.is_floating_point() && to.is_floating_point() => {
            let bytes = read.to_le_bytes()?;
            making.budget.bytes(bytes.len() as u64)?;
            Tensor::from_le_bytes(to, read.shape(), cast_bytes(&bytes, from, to)?)?
        }
        _ => return Ok(None),
    };
    let made_by = Some(MadeBy::Device { device });
    torch::finish(TensorParts { requires_grad: *requires_grad, made_by, ..tensor.parts().clone() })
}

/// A device by its name, or as `torch.device`.
fn name(device: &Value) -> Option<Arc<str>> {
    match device {
        Value::Str(name) => Some(Arc::clone(name)),
        Value::Device(device) => Some(device.to_string().into()),
        _ => None,
    }
}

/// `torch_npu.utils.storage._rebuild_npu_tensor`: the arguments of `_rebuild_tensor_v2`, and the format on the device.
pub(crate) fn npu_tensor(function: &Global, args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    let Some((plain, more)) = args.split_at_checked(6) else { return Ok(None) };
    let Some(Value::Tensor(tensor)) = torch::tensor_v2(plain, making)? else { return Ok(None) };
    let tag = tensor.device();
    let device = if tag.starts_with("npu") { tag } else { "npu" }.into();
    let made_by = Some(MadeBy::Function { function: function.clone(), device, more: more.to_vec() });
    torch::finish(TensorParts { made_by, ..tensor.parts().clone() })
}

/// Whether it is the function of `torch_npu`, which lies in several of its modules.
pub(crate) fn is_npu(function: &Global) -> bool {
    &*function.name == "_rebuild_npu_tensor" && function.module.split('.').next() == Some("torch_npu")
}

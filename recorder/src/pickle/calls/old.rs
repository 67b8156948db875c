//! Tensors as PyTorch before 0.4 pickled them: an object of the class is made first and gets its content as a state
//! afterwards. Once it has it, it is a tensor here.

use crate::pickle::calls::making::Making;
use crate::pickle::calls::torch;
use crate::value::tensor::{SparseLayout, TensorClass, TensorData, TensorParts};
use crate::value::{Construction, Global, ObjectData};
use crate::{DType, Result, Tensor, Value};

/// What an object of an old class is, once it has its state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `Parameter(data)`, then `(requires_grad, volatile, backward_hooks)`; in the first versions `Parameter()` and then
    /// `(data, gradient, backward_hooks, requires_grad, volatile)`.
    Parameter,
    /// `Variable`, which has become one with the tensor: the same.
    Variable,
    /// `Tensor()`, `FloatTensor()` and the like, then `(storage, offset, size, stride)`.
    Tensor,
}

fn kind(class: &Global) -> Option<Kind> {
    match (&*class.module, &*class.name) {
        ("torch.nn.parameter", "Parameter") => Some(Kind::Parameter),
        ("torch.autograd.variable" | "torch.autograd", "Variable") => Some(Kind::Variable),
        ("torch" | "torch.tensor" | "torch._tensor", "Tensor") => Some(Kind::Tensor),
        ("torch" | "torch.cuda", name) => tensor_class(name).map(|_| Kind::Tensor),
        _ => None,
    }
}

/// The element type of an old tensor class such as `FloatTensor`.
fn tensor_class(name: &str) -> Option<DType> {
    name.strip_suffix("Tensor").and_then(|element| DType::from_storage_class(&format!("{element}Storage")))
}

/// `torch.sparse.FloatTensor(indices, values, size)` and the like: how coordinates were made before there was a function for it.
pub(crate) fn call(function: &Global, args: &[Value], making: &mut Making<'_>) -> Result<Option<Value>> {
    let element = match &*function.module {
        "torch.sparse" | "torch.cuda.sparse" => tensor_class(&function.name),
        _ => None,
    };
    let (Some(element), [Value::Tensor(indices), Value::Tensor(values), size]) = (element, args) else {
        return Ok(None);
    };
    let Some(shape) = torch::sizes(size, making)?.filter(|_| values.dtype() == element) else { return Ok(None) };
    let (layout, indices) = (SparseLayout::Coo, vec![indices.clone()]);
    let data = TensorData::Sparse { layout, indices, values: values.clone(), coalesced: None };
    torch::finish(TensorParts::plain(element, shape, data))
}

/// The identity of an object that may become a tensor when it gets its state.
pub(crate) fn unfinished(value: &Value) -> Option<usize> {
    let Value::Object(object) = value else { return None };
    object.read().class().and_then(kind).map(|_| object.id())
}

/// The tensor that an object is with this state; `None` where it is something else.
pub(crate) fn with_state(object: &ObjectData, state: &Value, making: &mut Making<'_>) -> Result<Option<Value>> {
    let Some(kind) = object.class().and_then(kind) else { return Ok(None) };
    let fresh = object.states.is_empty() && object.items.is_empty() && object.entries.is_empty();
    let made = matches!(object.construction, Construction::Call | Construction::New) && object.kwargs.is_none();
    let Value::Tuple(state) = state else { return Ok(None) };
    if !fresh || !made {
        return Ok(None);
    }
    // A volatile variable has no counterpart today, nor does a gradient that was saved with it.
    match (kind, object.arguments(), &**state) {
        (Kind::Tensor, [], state) => torch::tensor_v1(state, making),
        (Kind::Tensor, ..) => Ok(None),
        (kind, [data], [requires_grad, Value::Bool(false), hooks])
        | (kind, [], [data, Value::None, hooks, requires_grad, Value::Bool(false)]) => {
            variable(kind, data, requires_grad, hooks)
        }
        _ => Ok(None),
    }
}

fn variable(kind: Kind, data: &Value, requires_grad: &Value, hooks: &Value) -> Result<Option<Value>> {
    if kind == Kind::Parameter {
        return torch::as_parameter(data, requires_grad, hooks, None);
    }
    let (Value::Tensor(data), Value::Bool(requires_grad)) = (data, requires_grad) else { return Ok(None) };
    if !is_plain(data) {
        return Ok(None);
    }
    let backward_hooks = torch::hooks(hooks);
    torch::finish(TensorParts { requires_grad: *requires_grad, backward_hooks, ..data.parts().clone() })
}

/// Only a plain tensor's parts are all carried over.
fn is_plain(tensor: &Tensor) -> bool {
    let parts = tensor.parts();
    !parts.requires_grad && parts.backward_hooks.is_none() && matches!(parts.class, TensorClass::Tensor)
}

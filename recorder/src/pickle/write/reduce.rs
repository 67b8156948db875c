//! A tensor as the call that rebuilds it, the way PyTorch writes it.

use std::sync::Arc;

pub(super) use crate::pickle::calls::subclass::JAGGED;
use crate::pickle::calls::subclass::{FROM_TYPE, is_class_first};
use crate::pickle::persistent::Dialect;
use crate::pickle::write::output::Output;
use crate::value::Device;
use crate::value::tensor::{MadeBy, Quantizer, TensorClass, TensorData, TensorParts};
use crate::{DType, Global, Storage, Tensor, Value};

/// A call of one of PyTorch's functions.
pub(crate) struct Call {
    pub(crate) function: Global,
    pub(crate) args: Vec<Arg>,
}

/// An argument of such a call.
pub(crate) enum Arg {
    Value(Value),
    Storage(Storage, Option<DType>),
    /// A tuple of lengths or strides.
    Counts(Vec<usize>),
    Size(Vec<usize>),
    /// PyTorch's name of a layout.
    Layout(Arc<str>),
    /// A new `OrderedDict` without hooks.
    NoHooks,
    Tuple(Vec<Arg>),
    Call(Call),
}

impl Call {
    fn new(function: &str, args: Vec<Arg>) -> Self {
        Call { function: Global::new("torch._utils", function), args }
    }
}

/// The call that makes this tensor; else the reason why there is none.
pub(crate) fn call(tensor: &Tensor, output: &Output, dialect: Dialect) -> Result<Call, String> {
    let parts = tensor.parts();
    match &parts.class {
        TensorClass::Tensor => on_device(parts, parts.requires_grad, output, dialect),
        TensorClass::Parameter { state } => {
            let data = on_device(parts, false, output, dialect)?;
            Ok(parameter(data, parts.requires_grad, hooks(parts), state.as_ref()))
        }
        TensorClass::Other { class, state } => {
            let requires_grad = match &parts.made_by {
                Some(MadeBy::Parameter { inner_requires_grad, .. }) => *inner_requires_grad,
                _ => parts.requires_grad,
            };
            let data = on_device(parts, requires_grad, output, dialect)?;
            let class = Arg::Value(class.clone().into());
            let function = parts.class_by.clone().unwrap_or_else(|| Global::new("torch._tensor", FROM_TYPE));
            let args = if is_class_first(&function) {
                [class].into_iter().chain(data.args).collect()
            } else {
                vec![Arg::Value(data.function.into()), class, Arg::Tuple(data.args), Arg::Value(state.clone())]
            };
            Ok(around(parts, Call { function, args }))
        }
    }
}

/// The parameter that is made of a tensor of another class.
fn around(parts: &TensorParts, tensor: Call) -> Call {
    let Some(MadeBy::Parameter { hooks, state, .. }) = &parts.made_by else { return tensor };
    let hooks = hooks.clone().map_or(Arg::NoHooks, Arg::Value);
    parameter(tensor, parts.requires_grad, hooks, state.as_ref())
}

fn parameter(data: Call, requires_grad: bool, hooks: Arg, state: Option<&Value>) -> Call {
    let mut args = vec![Arg::Call(data), bool(requires_grad), hooks];
    args.extend(state.cloned().map(Arg::Value));
    Call::new(if state.is_some() { "_rebuild_parameter_with_state" } else { "_rebuild_parameter" }, args)
}

/// The tensor without its Python class, on its device.
fn on_device(parts: &TensorParts, requires_grad: bool, output: &Output, dialect: Dialect) -> Result<Call, String> {
    match &parts.made_by {
        None | Some(MadeBy::Parameter { .. }) => plain(parts, requires_grad, output, dialect),
        Some(MadeBy::Device { device }) => {
            let cpu = Arg::Call(plain(parts, false, output, dialect)?);
            let (dtype, device) = (Arg::Value(parts.dtype.into()), Arg::Value(Value::Str(Arc::clone(device))));
            Ok(Call::new("_rebuild_device_tensor_from_cpu_tensor", vec![cpu, dtype, device, bool(requires_grad)]))
        }
        Some(MadeBy::Function { function, more, .. }) => {
            let Call { mut args, .. } = plain(parts, requires_grad, output, dialect)?;
            // Of what `_rebuild_tensor_v2` takes; the others say more of the tensor than it can.
            let fits = parts.dtype.storage_class().is_some() && parts.quantizer.is_none() && args.len() == 6;
            if !fits || !matches!(parts.data, TensorData::Strided { .. }) {
                return Err(format!("{function} makes no such tensor; give it another device tag"));
            }
            args.extend(more.iter().cloned().map(Arg::Value));
            Ok(Call { function: function.clone(), args })
        }
    }
}

fn bool(value: bool) -> Arg {
    Arg::Value(Value::Bool(value))
}

fn hooks(parts: &TensorParts) -> Arg {
    parts.backward_hooks.clone().map_or(Arg::NoHooks, Arg::Value)
}

/// The tensor without its Python class.
fn plain(parts: &TensorParts, requires_grad: bool, output: &Output, dialect: Dialect) -> Result<Call, String> {
    // A parameter's hooks stand in its own call.
    let hooks = if matches!(parts.class, TensorClass::Parameter { .. }) { Arg::NoHooks } else { hooks(parts) };
    let shape = || Arg::Counts(parts.shape.clone());
    let counted = |count: usize| Arg::Value(count.into());
    match &parts.data {
        TensorData::Strided { storage, offset, stride } => {
            let stride = Arg::Counts(stride.clone());
            if let Some(quantizer) = &parts.quantizer {
                let class = shared_class(storage, parts.dtype, output)?;
                let storage = Arg::Storage(storage.clone(), Some(class));
                let quantizer = quantizer_parameters(quantizer);
                let args = vec![storage, counted(*offset), shape(), stride, quantizer, bool(requires_grad), hooks];
                return Ok(Call::new("_rebuild_qtensor", args));
            }
            let class = view_class(storage, parts.dtype, output);
            let typed = class.is_some();
            if !typed && dialect == Dialect::Legacy && parts.dtype.storage_class().is_some() {
                return Err(clash(parts.dtype));
            }
            let storage = Arg::Storage(storage.clone(), class);
            let mut args = vec![storage, counted(*offset), shape(), stride, bool(requires_grad), hooks];
            if !typed {
                args.push(Arg::Value(parts.dtype.into()));
            }
            if let Some(bits) = bits(parts) {
                args.push(bits);
            }
            Ok(Call::new(if typed { "_rebuild_tensor_v2" } else { "_rebuild_tensor_v3" }, args))
        }
        TensorData::Meta { stride } => {
            let stride = Arg::Counts(stride.clone());
            let args = vec![Arg::Value(parts.dtype.into()), shape(), stride, bool(requires_grad)];
            Ok(Call::new("_rebuild_meta_tensor_no_storage", args))
        }
        TensorData::Sparse { layout, indices, values, coalesced } => {
            let mut data: Vec<Arg> =
                indices.iter().chain([values]).map(|part| Arg::Value(part.clone().into())).collect();
            data.push(Arg::Size(parts.shape.clone()));
            data.extend(coalesced.map(bool));
            let layout = Arg::Layout(layout.name().into());
            Ok(Call::new("_rebuild_sparse_tensor", vec![layout, Arg::Tuple(data)]))
        }
        TensorData::Nested { buffer, sizes, strides, offsets } => {
            let args = [buffer, sizes, strides, offsets].map(|part| Arg::Value(part.clone().into()));
            Ok(Call::new("_rebuild_nested_tensor", args.into()))
        }
        TensorData::Jagged { values, offsets, lengths, ragged_dim, cache } => {
            let arguments: crate::Dict = [
                ("values", Value::from(values.clone())),
                ("offsets", offsets.clone().into()),
                ("lengths", lengths.clone().into()),
                ("_ragged_idx", Value::Int(*ragged_dim)),
                ("_metadata_cache", cache.clone()),
                ("requires_grad", Value::Bool(requires_grad)),
            ]
            .into_iter()
            .collect();
            Ok(Call { function: Global::new(JAGGED.0, JAGGED.1), args: vec![Arg::Value(arguments.into())] })
        }
        TensorData::Wrapper { stride, offset, layout, device } => {
            let TensorClass::Other { class, .. } = &parts.class else {
                return Err("it has neither elements nor a class that would have them".to_owned());
            };
            let Some(device) = Device::parse(device) else { return Err(format!("'{device}' is no device")) };
            let args = vec![
                Arg::Value(class.clone().into()),
                Arg::Value(parts.dtype.into()),
                shape(),
                Arg::Counts(stride.clone()),
                counted(*offset),
                Arg::Layout(Arc::clone(layout)),
                Arg::Value(Value::Device(device)),
                bool(requires_grad),
            ];
            Ok(Call::new("_rebuild_wrapper_subclass", args))
        }
    }
}

/// The conjugate and negative bits, where one is set.
fn bits(parts: &TensorParts) -> Option<Arg> {
    let set = [("conj", parts.conj), ("neg", parts.neg)];
    let dict: crate::Dict = set.into_iter().filter(|(_, bit)| *bit).collect();
    (!dict.is_empty()).then(|| Arg::Value(dict.into()))
}

fn quantizer_parameters(quantizer: &Quantizer) -> Arg {
    Arg::Tuple(
        match quantizer {
            Quantizer::PerTensor { scale, zero_point } => {
                let scheme = Global::new("torch", "per_tensor_affine");
                vec![scheme.into(), Value::Float(*scale), Value::Int(*zero_point)]
            }
            Quantizer::PerChannel { scheme, scales, zero_points, axis } => {
                vec![scheme.clone().into(), scales.clone().into(), zero_points.clone().into(), Value::Int(*axis)]
            }
        }
        .into_iter()
        .map(Arg::Value)
        .collect(),
    )
}

/// The class under which a storage is given to a view of this type. `None`, an `UntypedStorage`, where PyTorch has no
/// class for it, and where the storage stands in the pickle as another: the view then names its type itself.
fn view_class(storage: &Storage, dtype: DType, output: &Output) -> Option<DType> {
    dtype.storage_class()?;
    shared_class(storage, dtype, output).ok()
}

/// The class of this type, where the storage does not stand in the pickle as another.
pub(crate) fn shared_class(storage: &Storage, dtype: DType, output: &Output) -> Result<DType, String> {
    if !storage.len().is_multiple_of(dtype.size() as u64) {
        return Err(format!("its storage of {} bytes is no whole number of {dtype} elements", storage.len()));
    }
    match output.slot(storage, Some(dtype)) {
        Some(slot) if slot.class.unwrap_or(DType::UInt8) != dtype => Err(clash(dtype)),
        _ => Ok(dtype),
    }
}

fn clash(dtype: DType) -> String {
    format!(
        "it views data as {dtype} that another tensor views as another type, which this format cannot hold; copy one"
    )
}

//! Networks in the precision of their checkpoint: double, or half, where all its weights are.

use std::collections::BTreeSet;

use burn::module::{Module as _, ModuleVisitor, Param};
use burn::tensor::{DType, Device, FloatDType, Tensor as BurnTensor};
use rekindle::bridge::ModuleStateDict as _;
use rekindle::models::Network;
use rekindle::recorder::DType as TorchDType;
use rekindle::recorder::run::{Layout, Question, RunState};
use rekindle::{Checkpoint, StateDict, Tensor, Value};

/// What a checkpoint's networks are computed in: `float64`, if all their weights are and the device has it; `bfloat16` or `float16`
/// likewise, unless the weights were rounded to be saved: where an optimizer's moments are wider, where there is a scaler, which
/// refuses gradients of `float16`, and by `YOLOv5` and ultralytics.
pub(super) fn of(checkpoint: &Checkpoint, network: &Network, device: &Device) -> FloatDType {
    let Ok(state) = RunState::read(checkpoint) else { return FloatDType::F32 };
    let models = std::iter::once(&state.model).chain(state.other_models.iter().map(|(_, model)| model));
    let own: Vec<String> = network.named_parameters().into_iter().flatten().map(|named| named.name).collect();
    let mut dtypes = models.flat_map(|model| dtypes(model, &own));
    let first = dtypes.next();
    let (dtype, burn) = match first {
        Some(dtype @ TorchDType::Float64) => (dtype, DType::F64),
        Some(dtype @ TorchDType::BFloat16) => (dtype, DType::BF16),
        Some(dtype @ TorchDType::Float16) => (dtype, DType::F16),
        _ => return FloatDType::F32,
    };
    let scaled = state.scaler.as_ref().and_then(Value::as_dict).is_some_and(|scaler| !scaler.is_empty());
    let rounded = || {
        let moments = state.optimizers.iter().all(|state| moments_are(state, dtype));
        matches!(state.layout, Layout::Ultralytics | Layout::YoloV5)
            || dtype == TorchDType::Float16 && scaled
            || !moments
    };
    if dtypes.all(|other| other == dtype) && device.supports_dtype(burn) && (dtype == TorchDType::Float64 || !rounded())
    {
        FloatDType::from(burn)
    } else {
        FloatDType::F32
    }
}

/// The question that weights of several types leave open, of which some are half or double: a network is computed in one.
pub(super) fn mixed(checkpoint: &Checkpoint, network: &Network) -> Option<Question> {
    let state = RunState::read(checkpoint).ok()?;
    let own: Vec<String> = network.named_parameters().into_iter().flatten().map(|named| named.name).collect();
    let types: BTreeSet<&str> = dtypes(&state.model, &own).into_iter().map(TorchDType::name).collect();
    let what = (types.len() > 1).then(|| {
        let types = types.into_iter().collect::<Vec<_>>().join(", ");
        format!("the weights are of several types ({types}), and a network is computed in one")
    });
    what.map(|what| Question::new(what).or("Run::dtype(f32)", "to compute in float32 all the same"))
}

/// Whether an optimizer's state tells whether weights of half precision were rounded to be saved: one without moments does not.
pub(super) fn moments_tell(checkpoint: &Checkpoint) -> bool {
    RunState::read(checkpoint).is_ok_and(|state| state.optimizers.iter().any(|state| !moments(state).is_empty()))
}

/// The floating-point types of a model's tensors: of the network's own, where they are there, for what it lacks says nothing.
fn dtypes(model: &StateDict, own: &[String]) -> Vec<TorchDType> {
    let first = own.first().map_or("", String::as_str);
    let whole = |prefix: &&str| own.iter().all(|name| model.get(&format!("{prefix}{name}")).is_some());
    let prefixes = model.keys().filter_map(|name| name.strip_suffix(first)).filter(whole);
    let tensors: Vec<&Tensor> = match prefixes.min_by_key(|prefix| prefix.len()) {
        Some(prefix) => own.iter().filter_map(|name| model.get(&format!("{prefix}{name}"))).collect(),
        None => model.iter().map(|(_, tensor)| tensor).collect(),
    };
    tensors.into_iter().map(Tensor::dtype).filter(|dtype| dtype.is_floating_point()).collect()
}

/// Whether all tensors of an optimizer's state that have a shape are of this type.
fn moments_are(optimizer: &Value, dtype: TorchDType) -> bool {
    moments(optimizer).into_iter().all(|found| found == dtype)
}

/// The floating-point types of the tensors of an optimizer's state that have a shape.
fn moments(optimizer: &Value) -> Vec<TorchDType> {
    let states = optimizer.as_dict().and_then(|dict| Some(dict.get("state")?.as_dict()?.entries())).unwrap_or_default();
    let entries = states.iter().filter_map(|(_, state)| Some(state.as_dict()?.entries())).flatten();
    let values: Vec<Value> = entries.map(|(_, value)| value).collect();
    let moments = values.iter().filter_map(Value::as_tensor).filter(|tensor| !tensor.shape().is_empty());
    moments.map(Tensor::dtype).filter(|dtype| dtype.is_floating_point()).collect()
}

/// The network in this type.
pub(super) fn as_in(network: Network, dtype: FloatDType) -> Network {
    if dtype == FloatDType::F32 { network } else { network.to_dtype(dtype) }
}

/// What a network computes in: the type of its first parameter.
pub(super) fn dtype_of(network: &Network) -> FloatDType {
    struct First(Option<DType>);

    impl ModuleVisitor for First {
        fn visit_float<const D: usize>(&mut self, param: &Param<BurnTensor<D>>) {
            self.0.get_or_insert(param.val().dtype());
        }
    }

    let mut first = First(None);
    network.visit(&mut first);
    first.0.map_or(FloatDType::F32, FloatDType::from)
}

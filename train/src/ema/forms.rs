//! How other packages keep an average: `torch_ema`'s and diffusers' lists of tensors, and `ema_pytorch`'s module.

use burn::module::Module;
use rekindle_burn::{LayerRows, ModuleStateDict as _};
use rekindle_recorder::value::List;
use rekindle_recorder::{DType, Dict, Result, StateDict, Tensor, Value};

use crate::attributes::invalid;

const SHADOW: &str = "shadow_params";
const EMA_MODEL: &str = "ema_model.";
const ONLINE_MODEL: &str = "online_model.";

/// Where `torch_ema` and diffusers count.
const COUNTS: [&str; 2] = ["optimization_step", "num_updates"];

/// Whether it is a list of tensors, with the decay and a count beside it.
pub(super) fn is_list(value: &Value) -> bool {
    value.as_dict().is_some_and(|dict| dict.get(SHADOW).is_some_and(|list| list.items().is_some()))
}

/// Whether it is the state dict of an `ema_pytorch.EMA`.
pub(super) fn is_ema_pytorch(saved: &StateDict) -> bool {
    saved.contains("initted") && saved.contains("step") && saved.keys().any(|key| key.starts_with(EMA_MODEL))
}

/// The average in an `ema_pytorch.EMA`, and its count.
pub(super) fn read_ema_pytorch(saved: &StateDict) -> Result<(StateDict, i64)> {
    let mut module = StateDict::new();
    for (key, value) in saved.values() {
        if let Some(name) = key.strip_prefix(EMA_MODEL) {
            module.insert_value(name, value.clone());
        }
    }
    let step = saved.get("step").map(Tensor::item).transpose()?.unwrap_or_default();
    #[allow(clippy::cast_possible_truncation)]
    Ok((module, step as i64))
}

/// The state dict of an `ema_pytorch.EMA` with another average, count, and weights of the model.
pub(super) fn write_ema_pytorch(kept: &Value, module: &StateDict, count: i64, online: Option<&StateDict>) -> Value {
    let Some(dict) = kept.as_dict() else { return kept.clone() };
    let next = copy(dict);
    for (key, value) in dict.entries() {
        let name = key.as_str().unwrap_or_default();
        let average = name.strip_prefix(EMA_MODEL).and_then(|name| module.get_value(name));
        let weight = name.strip_prefix(ONLINE_MODEL).and_then(|name| online?.get_value(name));
        if let Some(new) = average.or(weight) {
            next.insert(name, new.clone());
        } else if name == "step" {
            let shape = value.as_tensor().map_or(&[][..], Tensor::shape);
            next.insert(name, Tensor::from_vec(shape, vec![count]).map_or(value, Value::from));
        } else if name == "initted" && count > 0 {
            let shape = value.as_tensor().map_or(&[][..], Tensor::shape);
            next.insert(name, Tensor::from_vec(shape, vec![true]).map_or(value, Value::from));
        }
    }
    next.into()
}

/// The average in a list, under the names of the model's parameters, and its count.
pub(super) fn read_list<M: Module>(value: &Value, model: &M, rows: &LayerRows) -> Result<(StateDict, i64)> {
    let dict = value.as_dict().ok_or_else(|| invalid("the average is no dict"))?;
    let tensors = dict.get(SHADOW).and_then(|list| list.items()).unwrap_or_default();
    let mut named = model.named_parameters_with(rows)?;
    if named.len() != tensors.len() {
        named.retain(|named| named.requires_grad);
    }
    if named.len() != tensors.len() {
        let (found, expected) = (tensors.len(), named.len());
        return Err(invalid(format!("the average has {found} tensors, and the model {expected} parameters")));
    }
    let mut module = StateDict::new();
    for (named, tensor) in named.iter().zip(&tensors) {
        let tensor =
            tensor.as_tensor().ok_or_else(|| invalid("the average's list holds something else than tensors"))?;
        module.insert(named.name.as_str(), tensor.clone());
    }
    let count = COUNTS.iter().find_map(|count| dict.get(count)?.as_i64()).unwrap_or_default();
    Ok((module, count))
}

/// A list with another average and count.
pub(super) fn write_list(kept: &Value, module: &StateDict, count: i64, decay: Option<f64>) -> Value {
    let Some(dict) = kept.as_dict() else { return kept.clone() };
    let next = copy(dict);
    next.insert(SHADOW, Value::List(List::new(module.iter().map(|(_, tensor)| tensor.clone().into()).collect())));
    for key in COUNTS {
        if dict.get(key).is_some_and(|before| before.as_i64().is_some()) {
            next.insert(key, count);
        }
    }
    if let (Some(decay), Some(_)) = (decay, dict.get("decay")) {
        next.insert("decay", decay);
    }
    next.into()
}

const DECAY: &str = "decay";
const NUM_UPDATES: &str = "num_updates";

/// What `LitEma` calls a parameter.
pub(crate) fn in_lit(before: &str, name: &str) -> String {
    format!("{before}{name}").replace('.', "")
}

/// Whether it is the state dict of latent diffusion's `LitEma`: all names without dots.
pub(crate) fn is_lit(saved: &StateDict) -> bool {
    let scalar = |name: &str| saved.get(name).is_some_and(|tensor| tensor.shape().is_empty());
    scalar(DECAY) && scalar(NUM_UPDATES) && saved.len() > 2 && saved.keys().all(|key| !key.contains('.'))
}

/// Its rule, and how many updates there were, where it counts them.
pub(crate) fn lit_rule(saved: &StateDict) -> Result<(f64, Option<i64>)> {
    let number = |name: &str| saved.get(name).map(Tensor::item).transpose();
    let (decay, updates) = (number(DECAY)?.unwrap_or_default(), number(NUM_UPDATES)?.unwrap_or(-1.0));
    // As it was said, where it is kept in single precision.
    #[allow(clippy::cast_possible_truncation)]
    let decay = (decay as f32)
        .to_string()
        .parse()
        .ok()
        .filter(|said: &f64| f64::from(*said as f32).to_bits() == decay.to_bits())
        .unwrap_or(decay);
    #[allow(clippy::cast_possible_truncation)] // a count
    Ok((decay, Some(updates as i64).filter(|updates| *updates >= 0)))
}

/// The average in a `LitEma`, under the names of the model's parameters that it has, and its count: of those that were trained when it
/// was made.
pub(super) fn read_lit<M: Module>(
    saved: &StateDict,
    model: &M,
    before: &str,
    rows: &LayerRows,
) -> Result<(StateDict, i64)> {
    let mut module = StateDict::new();
    for named in model.named_parameters_with(rows)? {
        let there = saved.get(&in_lit(before, &named.name));
        match there.filter(|tensor| *tensor.shape() == *named.shape) {
            Some(tensor) => module.insert(named.name.as_str(), tensor.clone()),
            // It was frozen when the average was made.
            None => continue,
        };
    }
    let count = lit_rule(saved)?.1.unwrap_or_default();
    Ok((module, count))
}

/// The state dict of a `LitEma` with another average, count and decay.
pub(super) fn write_lit(kept: &Value, module: &StateDict, before: &str, count: i64, decay: Option<f64>) -> Value {
    let Ok(mut next) = StateDict::from_value(kept) else { return kept.clone() };
    for (name, tensor) in module.iter() {
        next.insert(in_lit(before, name), tensor.clone());
    }
    let (was, counted) = lit_rule(&next).unwrap_or_default();
    if counted.is_some() {
        let narrow = next.get(NUM_UPDATES).is_some_and(|count| count.dtype() == DType::Int32);
        let small = i32::try_from(count).ok().filter(|_| narrow);
        next.insert(NUM_UPDATES, small.map_or_else(|| Tensor::scalar(count), Tensor::scalar));
    }
    #[allow(clippy::cast_possible_truncation)] // it is kept so
    if let Some(decay) = decay.map(|decay| decay as f32).filter(|decay| decay.to_bits() != (was as f32).to_bits()) {
        next.insert(DECAY, Tensor::scalar(decay));
    }
    next.to_value()
}

fn copy(dict: &Dict) -> Dict {
    let copy = Dict::new();
    *copy.write() = dict.read().clone();
    copy
}

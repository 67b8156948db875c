//! Element types: what is written back has those that the checkpoint had, whatever a run computed in.

use std::collections::HashMap;

use crate::state_dict::module::shallow;
use crate::value::List;
use crate::{DType, Dict, Result, StateDict, Tensor, Value, rebuild};

/// A tensor in the element type that another has, where both are of floating point.
fn tensor_like(tensor: &Tensor, dtype: Option<DType>) -> Result<Value> {
    let value = Value::from(tensor.clone());
    match dtype {
        Some(dtype) if dtype != tensor.dtype() && dtype.is_floating_point() && tensor.dtype().is_floating_point() => {
            rebuild::cast(&value, dtype)
        }
        _ => Ok(value),
    }
}

/// A value whose tensors have the element types of another's in the same places; of a list that has grown, those of its last
/// one.
pub(super) fn value_like(value: &Value, before: &Value) -> Result<Value> {
    match (value, before) {
        (Value::Tensor(tensor), Value::Tensor(before)) => tensor_like(tensor, Some(before.dtype())),
        (Value::Dict(dict), Value::Dict(before)) => changed(dict, |key, value| match before.get_key(key) {
            Some(before) => value_like(value, &before),
            None => Ok(value.clone()),
        }),
        (Value::List(_), Value::List(_)) => {
            let (now, before) = (value.items().unwrap_or_default(), before.items().unwrap_or_default());
            let like = |(i, value): (usize, &Value)| match before.get(i).or(before.last()) {
                Some(before) => value_like(value, before),
                None => Ok(value.clone()),
            };
            let typed = now.iter().enumerate().map(like).collect::<Result<Vec<_>>>()?;
            let same = typed.iter().zip(&now).all(|(a, b)| a.id() == b.id());
            Ok(if same { value.clone() } else { Value::List(List::new(typed)) })
        }
        _ => Ok(value.clone()),
    }
}

/// A dict with other values, or itself where they are the same objects.
fn changed(dict: &Dict, mut value: impl FnMut(&Value, &Value) -> Result<Value>) -> Result<Value> {
    let mut copy = None;
    for (key, old) in dict.entries() {
        let new = value(&key, &old)?;
        if new.id().is_some() && new.id() != old.id() {
            copy.get_or_insert_with(|| shallow(dict)).insert(key, new);
        }
    }
    Ok(copy.unwrap_or_else(|| dict.clone()).into())
}

/// An optimizer's state dict in the element types that another has. A parameter that had no state gets it in those of the
/// others', and where none had any, in that of the weights, which it would have in PyTorch.
pub(super) fn optimizer_like(optimizer: &Value, before: &Value, weights: Option<DType>) -> Result<Value> {
    let typed = value_like(optimizer, before)?;
    let states = |value: &Value| value.as_dict()?.get("state")?.as_dict().cloned();
    let (Some(now), Some(before)) = (states(&typed), states(before)) else { return Ok(typed) };
    let mut known: HashMap<String, DType> = HashMap::new();
    for (name, value) in before.entries().iter().filter_map(|(_, state)| state.as_dict()).flat_map(Dict::entries) {
        if let (Some(name), Some(tensor)) = (name.as_str(), value.as_tensor()) {
            known.entry(name.to_owned()).or_insert(tensor.dtype());
        }
    }
    let now = changed(&now, |id, state| match state.as_dict() {
        Some(state) if before.get_key(id).is_none() => changed(state, |name, value| match value.as_tensor() {
            // Counts have a type of their own, and no dimensions.
            Some(tensor) if !tensor.shape().is_empty() => {
                tensor_like(tensor, name.as_str().and_then(|name| known.get(name).copied()).or(weights))
            }
            _ => Ok(value.clone()),
        }),
        _ => Ok(state.clone()),
    })?;
    match typed.as_dict() {
        Some(dict) => {
            changed(dict, |key, value| Ok(if key.as_str() == Some("state") { now.clone() } else { value.clone() }))
        }
        None => Ok(typed),
    }
}

/// The element type of a state dict's weights, where all have one.
pub(super) fn of_weights(model: &StateDict) -> Option<DType> {
    let mut dtypes = model.iter().map(|(_, tensor)| tensor.dtype()).filter(|dtype| dtype.is_floating_point());
    let first = dtypes.next()?;
    dtypes.all(|dtype| dtype == first).then_some(first)
}

impl StateDict {
    /// With the element types of another state dict, whatever a wrapper put before its names there. Tied weights stay one tensor.
    pub(super) fn typed_like(&self, other: &StateDict) -> Result<StateDict> {
        let prefix = self.prefix_in(other).unwrap_or_default();
        let old = |name: &str| other.get(&format!("{prefix}{name}")).map(Tensor::dtype);
        let mut typed = self.clone();
        let mut cast: HashMap<usize, Value> = HashMap::new();
        for (name, tensor) in self.iter() {
            if old(name).is_some_and(|old| old != tensor.dtype()) {
                let value = match cast.get(&tensor.id()) {
                    Some(value) => value.clone(),
                    None => tensor_like(tensor, old(name))?,
                };
                cast.insert(tensor.id(), value.clone());
                typed.insert_value(name, value);
            }
        }
        Ok(typed)
    }
}

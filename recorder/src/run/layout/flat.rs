//! Weights at the root of a checkpoint, beside the parts of the run: `{**model.state_dict(), "optimizer": ..., "epoch": ...}`, as
//! torchtitan saves them. They are looked at as if they were in a dict of their own, and put back where they were. And weights that are
//! NumPy arrays, which are looked at as tensors.

use super::paths::WEIGHTS;
use super::torchtitan;
use super::tutorial;
use crate::run::by_name::is_flat;
use crate::run::generators;
use crate::run::spellings::{Role, SPELLINGS, is_optimizer};
use crate::state_dict::module::shallow;
use crate::value::Array;
use crate::{Dict, Value};

/// Whether an entry of the root is one of the model's.
fn is_weight(key: &Value, value: &Value) -> bool {
    let Some(key) = key.as_str() else { return false };
    let part = || SPELLINGS.iter().any(|spelling| spelling.keys.contains(&key) && (spelling.fits)(value));
    match value {
        Value::Tensor(_) => !generators::is_state(value) && !part(),
        _ => key.rsplit('.').next() == Some("_extra_state"),
    }
}

/// Whether there are weights at the root, beside an optimizer.
fn is_at_root(root: &Dict) -> bool {
    let entries = root.entries();
    let weights = entries.iter().any(|(key, value)| value.as_tensor().is_some() && is_weight(key, value));
    let value = root.clone().into();
    let optimizer =
        || torchtitan::is_ours(&value) || entries.iter().any(|(_, value)| is_optimizer(value) || is_flat(value));
    weights && optimizer() && tutorial::tutorial(&value).is_none()
}

/// The tensors of a dict that holds NumPy arrays of numbers under names, and nothing else.
fn of_arrays(weights: &Value) -> Option<Dict> {
    let entries = weights.as_dict()?.entries();
    let tensor = |(key, value): (Value, Value)| {
        key.as_str()?;
        Some((key, Value::from(Array::of(&value)?.to_tensor().ok()?)))
    };
    let tensors = entries.into_iter().map(tensor).collect::<Option<Dict>>()?;
    Some(tensors).filter(|tensors| !tensors.is_empty())
}

/// A root whose model is kept as NumPy arrays, as detectron2's model zoo has it, with the tensors that `torch.from_numpy` makes of them.
fn with_tensors(root: &Value) -> Option<Value> {
    let dict = root.as_dict()?;
    let models = SPELLINGS.iter().filter(|spelling| spelling.role == Role::Model);
    let (key, tensors) =
        models.flat_map(|spelling| spelling.keys).find_map(|key| Some((*key, of_arrays(&dict.get(key)?)?)))?;
    let copy = shallow(dict);
    copy.insert(key, tensors);
    Some(copy.into())
}

/// A checkpoint as its parts are looked for: with weights of its root in a dict of their own, and with tensors for arrays.
pub(in crate::run) fn view(root: &Value) -> Value {
    if let Some(root) = with_tensors(root) {
        return root;
    }
    let Some(dict) = root.as_dict().filter(|dict| is_at_root(dict)) else { return root.clone() };
    let (rest, weights) = (Dict::new(), Dict::ordered());
    rest.insert(WEIGHTS, weights.clone());
    for (key, value) in dict.entries() {
        let of = if is_weight(&key, &value) { &weights } else { &rest };
        of.insert(key, value);
    }
    // Where PyTorch keeps the versions of the model's layers.
    weights.write().state = dict.state();
    rest.into()
}

/// A root as it was looked at, as it is to be written: the weights where the checkpoint had them.
pub(in crate::run) fn unview(now: &Value, before: &Value) -> Value {
    let parts = now.as_dict().zip(before.as_dict());
    let Some((now, before)) = parts.filter(|(_, before)| before.get(WEIGHTS).is_none() && is_at_root(before)) else {
        return now.clone();
    };
    let weights = now.get(WEIGHTS).and_then(|weights| weights.as_dict().cloned()).unwrap_or_default();
    let back = shallow(before);
    back.write().entries.clear();
    for (key, value) in before.entries() {
        let of = if is_weight(&key, &value) { &weights } else { now };
        if let Some(value) = of.get_key(&key) {
            back.insert(key, value);
        }
    }
    let more = weights.entries().into_iter().chain(now.entries());
    for (key, value) in more.filter(|(key, _)| before.get_key(key).is_none() && key.as_str() != Some(WEIGHTS)) {
        back.insert(key, value);
    }
    back.into()
}

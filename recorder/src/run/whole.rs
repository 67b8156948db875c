//! Optimizers that were pickled whole, as objects: `torch.save(optimizer)`. Their state is kept by the parameters themselves, which
//! are told apart by identity; a run has it as `optimizer.state_dict()` gives it, with numbers for the parameters, and their names
//! where the checkpoint's model has them.

use std::collections::HashMap;

use crate::state_dict::module;
use crate::value::tensor::TensorClass;
use crate::value::{Object, ObjectData, Shared};
use crate::walk::attributes;
use crate::{Dict, Error, Result, StateDict, Tensor, Value, walk};

const STATE: &str = "state";
const GROUPS: &str = "param_groups";
const PARAMS: &str = "params";
const NAMES: &str = "param_names";

/// The attributes of an optimizer that was pickled whole; `None` for every other value.
fn attributes_of(value: &Value) -> Option<(Object, Dict)> {
    let Value::Object(object) = value else { return None };
    let dicts = object.read().states.iter().filter_map(attributes).flatten().collect::<Vec<_>>();
    let has_groups = |dict: &Dict| {
        let groups = dict.get(GROUPS).and_then(|groups| groups.items()).unwrap_or_default();
        let members = groups.iter().filter_map(|group| group.as_dict()?.get(PARAMS)?.items()).flatten();
        let mut members = members.peekable();
        members.peek().is_some() && members.all(|member| member.as_tensor().is_some())
    };
    let dict = dicts.into_iter().find(|dict| dict.get(STATE).is_some() && has_groups(dict))?;
    Some((object.clone(), dict))
}

/// Whether it is an optimizer that was pickled whole, with its parameters.
pub(super) fn is_whole(value: &Value) -> bool {
    attributes_of(value).is_some()
}

/// Whether it is one whose parameters are all of one of these models.
pub(super) fn is_of(value: &Value, models: &[Value]) -> bool {
    attributes_of(value).is_some_and(|(_, attributes)| names(&attributes, models).is_some())
}

/// The names of the first of these models that has all parameters.
fn names(attributes: &Dict, models: &[Value]) -> Option<HashMap<Seen, String>> {
    models.iter().map(names_of).find(|names| {
        let named = |tensor: &Tensor| seen(tensor).is_some_and(|seen| names.contains_key(&seen));
        groups(attributes).iter().flat_map(members).all(|tensor| named(&tensor))
    })
}

/// Its class, such as `torch.optim.adam.Adam`.
pub(super) fn class_of(value: &Value) -> Option<String> {
    let (object, _) = attributes_of(value)?;
    let data = object.read();
    match (data.class(), data.arguments()) {
        // Protocols before 2 make any object so.
        (Some(class), [Value::Global(made), ..]) if &*class.name == "_reconstructor" => Some(made.to_string()),
        (class, _) => class.map(ToString::to_string),
    }
}

fn groups(attributes: &Dict) -> Vec<Dict> {
    let groups = attributes.get(GROUPS).and_then(|groups| groups.items()).unwrap_or_default();
    groups.iter().filter_map(|group| group.as_dict().cloned()).collect()
}

fn members(group: &Dict) -> Vec<Tensor> {
    let members = group.get(PARAMS).and_then(|params| params.items()).unwrap_or_default();
    members.iter().filter_map(|member| member.as_tensor().cloned()).collect()
}

/// What a tensor looks at: parameters and what `state_dict()` made of them are the same to it.
type Seen = (usize, usize, Vec<usize>);

fn seen(tensor: &Tensor) -> Option<Seen> {
    let storage = tensor.storage()?;
    Some((storage.id(), tensor.offset(), tensor.shape().to_vec()))
}

/// The names of parameters by what they look at: of tied ones, the first.
fn names_of(model: &Value) -> HashMap<Seen, String> {
    let mut names = HashMap::new();
    let model = StateDict::read(model, "", true).unwrap_or_default();
    for (name, tensor) in model.iter().filter(|(_, tensor)| tensor.numel() > 0) {
        if let Some(seen) = seen(tensor) {
            names.entry(seen).or_insert_with(|| name.to_owned());
        }
    }
    names
}

/// Its state dict as `torch.optim` has it; itself, where it is none. With `param_names`, where one of these models has all of its
/// parameters.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for state of a parameter that is in none of its groups.
pub(super) fn to_ids(value: &Value, models: &[Value]) -> Result<Value> {
    let Some((_, attributes)) = attributes_of(value) else { return Ok(value.clone()) };
    let mut ids: HashMap<usize, i64> = HashMap::new();
    let names = names(&attributes, models);
    let mut numbered = Vec::new();
    for group in groups(&attributes) {
        let (copy, mut here, mut called) = (module::shallow(&group), Vec::new(), Vec::new());
        for tensor in members(&group) {
            let next = i64::try_from(ids.len()).unwrap_or(i64::MAX);
            here.push(Value::Int(*ids.entry(tensor.id()).or_insert(next)));
            called.extend(names.as_ref().and_then(|names| Some(Value::from(names.get(&seen(&tensor)?)?.as_str()))));
        }
        copy.insert(PARAMS, Value::list(here));
        if names.is_some() && group.get(NAMES).is_none() {
            copy.insert(NAMES, Value::list(called));
        }
        numbered.push(Value::from(copy));
    }
    let state = Dict::new();
    for (key, of) in attributes.get(STATE).and_then(|state| walk::entries(&state)).unwrap_or_default() {
        let key = match key.as_tensor() {
            Some(tensor) => match ids.get(&tensor.id()) {
                Some(id) => Value::Int(*id),
                None => {
                    let what = format!("the state that {} keeps for a tensor in none of its groups", value.describe());
                    return Err(Error::unsupported(what));
                }
            },
            None => key,
        };
        state.insert(key, of);
    }
    let dict = Dict::new();
    dict.insert(STATE, state);
    dict.insert(GROUPS, Value::list(numbered));
    Ok(dict.into())
}

/// The optimizer with another state dict in it. Its parameters are the model's as it is now, the very objects where the model is
/// kept with its parameters; those that it does not have stay.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the state dict is of other parameters.
pub(super) fn from_ids(now: &Value, old: &Value, before: &[Value], after: &[Value]) -> Result<Value> {
    let Some((object, attributes)) = attributes_of(old) else { return Ok(now.clone()) };
    let wrong = || Error::invalid(format!("the state to write into {} is of other parameters", old.describe()));
    let current = Current::of(before, after);
    let mut made: Vec<Value> = Vec::new();
    let mut known: HashMap<usize, usize> = HashMap::new();
    let now = now.as_dict().ok_or_else(wrong)?;
    let new_groups = now.get(GROUPS).and_then(|groups| groups.items()).unwrap_or_default();
    let old_groups = groups(&attributes);
    if new_groups.len() != old_groups.len() {
        return Err(wrong());
    }
    let mut written = Vec::new();
    for (group, old) in new_groups.iter().filter_map(Value::as_dict).zip(&old_groups) {
        let ids = group.get(PARAMS).and_then(|ids| ids.items()).unwrap_or_default();
        let tensors = members(old);
        if ids.len() != tensors.len() {
            return Err(wrong());
        }
        let mut here = Vec::new();
        for tensor in &tensors {
            let place = *known.entry(tensor.id()).or_insert(made.len());
            if place == made.len() {
                made.push(current.parameter(tensor)?.into());
            }
            here.push(made.get(place).cloned().ok_or_else(wrong)?);
        }
        let copy = module::shallow(old);
        for (key, value) in group.entries() {
            match key.as_str() {
                Some(PARAMS) => drop(copy.insert(PARAMS, Value::list(here.clone()))),
                Some(NAMES) if old.get(NAMES).is_none() => {}
                _ => drop(copy.insert(key, value)),
            }
        }
        written.push(Value::from(copy));
    }
    let states = now.get(STATE).and_then(|state| state.as_dict().map(Dict::entries)).unwrap_or_default();
    let states: Option<Vec<(Value, Value)>> = states
        .into_iter()
        .map(|(id, state)| match id.as_i64() {
            Some(id) => Some((made.get(usize::try_from(id).ok()?)?.clone(), state)),
            None => Some((id, state)),
        })
        .collect();
    let copy = module::shallow(&attributes);
    copy.insert(STATE, with_entries(attributes.get(STATE), states.ok_or_else(wrong)?));
    copy.insert(GROUPS, Value::list(written));
    let data = object.read().clone();
    let replace = |state: &Value| match state {
        Value::Dict(dict) if dict.same(&attributes) => Value::Dict(copy.clone()),
        Value::Tuple(pair) => Value::tuple(pair.iter().map(|part| match part {
            Value::Dict(dict) if dict.same(&attributes) => Value::Dict(copy.clone()),
            other => other.clone(),
        })),
        other => other.clone(),
    };
    let states = data.states.iter().map(replace).collect();
    Ok(Value::Object(Shared::new(ObjectData { states, ..data })))
}

/// A `defaultdict` or dict like another with these entries.
fn with_entries(old: Option<Value>, entries: Vec<(Value, Value)>) -> Value {
    match old {
        Some(Value::Object(object)) => Value::Object(Shared::new(ObjectData { entries, ..object.read().clone() })),
        _ => entries.into_iter().collect::<Dict>().into(),
    }
}

/// The models' tensors as they are now, by what they looked at before.
struct Current(HashMap<Seen, Tensor>);

impl Current {
    fn of(before: &[Value], after: &[Value]) -> Current {
        let mut current = HashMap::new();
        for (before, after) in before.iter().zip(after) {
            let after = StateDict::read(after, "", true).unwrap_or_default();
            for (seen, name) in names_of(before) {
                current.extend(after.get(&name).map(|tensor| (seen, tensor.clone())));
            }
        }
        Current(current)
    }

    /// A parameter in the place of another: the model's own where it keeps parameters, else one over its tensor's elements.
    fn parameter(&self, old: &Tensor) -> Result<Tensor> {
        let Some(now) = seen(old).and_then(|seen| self.0.get(&seen)) else { return Ok(old.clone()) };
        if !matches!(now.parts().class, TensorClass::Tensor) {
            return Ok(now.clone());
        }
        let mut parts = now.parts().clone();
        parts.class = old.parts().class.clone();
        parts.class_by.clone_from(&old.parts().class_by);
        parts.requires_grad = old.requires_grad();
        Tensor::new(parts)
    }
}

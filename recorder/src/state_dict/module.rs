//! The state dict of a whole `nn.Module`, as `torch.save(model, path)` keeps one: an object whose attributes hold the
//! registries of parameters, buffers and modules.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::value::tensor::{TensorClass, View};
use crate::value::{Object, ObjectData, Shared};
use crate::walk::{attributes, is_module_state};
use crate::{Dict, Error, ErrorKind, LoadReport, Result, StateDict, Tensor, Value};

/// How many modules a model may have, counted by every path: modules that share others can spell out to any number.
const MODULES: u64 = 1_000_000;

/// How deep modules may nest.
const DEPTH: usize = 100;

const PARAMETERS: &str = "_parameters";
const BUFFERS: &str = "_buffers";
const MODULES_OF: &str = "_modules";
/// The names of the buffers that `state_dict()` leaves out.
const TRANSIENT: &str = "_non_persistent_buffers_set";

/// The attributes of an `nn.Module`; `None` for every other value.
fn registries(value: &Value) -> Option<Dict> {
    let Value::Object(object) = value else { return None };
    let data = object.read();
    data.states.iter().filter_map(attributes).flatten().find(is_module_state)
}

/// Whether it is an `nn.Module`.
pub(crate) fn is_module(value: &Value) -> bool {
    registries(value).is_some()
}

/// The entries of a registry that are not `None`.
fn registered(attributes: &Dict, registry: &str) -> Vec<(Arc<str>, Value)> {
    let entries = attributes.get(registry).and_then(|registry| registry.as_dict().map(Dict::entries));
    let named = |(name, value)| match (name, value) {
        (Value::Str(_), Value::None) => None,
        (Value::Str(name), value) => Some((name, value)),
        _ => None,
    };
    entries.unwrap_or_default().into_iter().filter_map(named).collect()
}

fn is_transient(attributes: &Dict, name: &str) -> bool {
    match attributes.get(TRANSIENT) {
        Some(Value::Set(names)) => names.read().iter().any(|transient| transient.as_str() == Some(name)),
        _ => false,
    }
}

/// The names and tensors of a module itself, without its children, in the order of `state_dict()`.
fn own_tensors(attributes: &Dict) -> Vec<(&'static str, Arc<str>, Tensor)> {
    let tensors = |registry| {
        let tensor = move |(name, value): (Arc<str>, Value)| Some((registry, name, value.as_tensor()?.clone()));
        registered(attributes, registry).into_iter().filter_map(tensor)
    };
    let persistent = tensors(BUFFERS).filter(|(_, name, _)| !is_transient(attributes, name));
    tensors(PARAMETERS).chain(persistent).collect()
}

fn too_deep() -> Error {
    Error::limit("the nesting of modules (one may hold itself)", DEPTH as u64)
}

/// What a module's `state_dict(keep_vars=keep_vars)` gives; `None` for other values.
pub(super) fn state_dict(value: &Value, keep_vars: bool) -> Option<Result<StateDict>> {
    registries(value).map(|root| {
        let mut state_dict = StateDict::new();
        let mut waiting = vec![(String::new(), root, 0)];
        let mut modules = 0;
        while let Some((prefix, attributes, depth)) = waiting.pop() {
            modules += 1;
            if modules > MODULES {
                return Err(Error::limit("the number of modules, counted by every path,", MODULES));
            }
            if depth > DEPTH {
                return Err(too_deep());
            }
            for (_, name, tensor) in own_tensors(&attributes) {
                state_dict.insert(format!("{prefix}{name}"), if keep_vars { tensor } else { tensor.detach() });
            }
            // Children are taken from the end, so the last goes in first.
            for (name, child) in registered(&attributes, MODULES_OF).into_iter().rev() {
                waiting.extend(registries(&child).map(|child| (format!("{prefix}{name}."), child, depth + 1)));
            }
        }
        Ok(state_dict)
    })
}

/// A copy of a module that holds these tensors: as parameters where it has parameters. What is shared in it stays shared, and
/// what does not change is the same objects.
///
/// # Errors
/// [`ErrorKind::Mismatch`] when the names are not those of the module.
pub(crate) fn with_state_dict(module: &Value, state_dict: &StateDict) -> Result<Value> {
    let mut copying = Copying { state_dict, names: IndexMap::new(), modules: HashMap::new(), tensors: HashMap::new() };
    let copy = copying.module(module, "", 0)?;
    let names = copying.names;
    let missing = names.iter().filter(|(_, found)| !**found).map(|(name, _)| name.clone()).collect();
    let unexpected = state_dict.keys().filter(|name| !names.contains_key(*name)).map(ToOwned::to_owned).collect();
    let report = LoadReport { missing, unexpected, ..LoadReport::default() };
    if report.is_exact() { Ok(copy) } else { Err(ErrorKind::Mismatch(Box::new(report)).into()) }
}

struct Copying<'a> {
    state_dict: &'a StateDict,
    /// Every name of the module's own state dict, and whether there was a tensor for it.
    names: IndexMap<String, bool>,
    /// The copies that are made already, by the identity of what they are copies of.
    modules: HashMap<usize, Value>,
    /// Likewise, by what the new tensor looks at and the identity of the one in whose place it goes.
    tensors: HashMap<(View, usize), Tensor>,
}

impl Copying<'_> {
    fn module(&mut self, module: &Value, prefix: &str, depth: usize) -> Result<Value> {
        let (Value::Object(object), Some(attributes)) = (module, registries(module)) else { return Ok(module.clone()) };
        if depth > DEPTH {
            return Err(too_deep());
        }
        if let Some(copy) = self.modules.get(&object.id()) {
            let copy = copy.clone();
            if let Some(names) = state_dict(module, true) {
                let names = names?;
                self.names.extend(names.keys().map(|name| (format!("{prefix}{name}"), true)));
            }
            return Ok(copy);
        }
        let copy = shallow(&attributes);
        let mut changed = false;
        for (registry, name, old) in own_tensors(&attributes) {
            let full = format!("{prefix}{name}");
            let new = self.state_dict.get(&full);
            self.names.insert(full, new.is_some());
            // `state_dict()` gives a parameter as a plain tensor; with `keep_vars` its attributes may be others.
            let is_other = |new: &Tensor| !new.same(&old) && (new.view() != old.view() || !is_plain(new));
            let Some(new) = new.filter(|new| is_other(new)) else { continue };
            if let Some(entries) = own_registry(&copy, &attributes, registry) {
                entries.insert(&*name, self.tensor(new, &old)?);
                changed = true;
            }
        }
        for (name, child) in registered(&attributes, MODULES_OF) {
            let new = self.module(&child, &format!("{prefix}{name}."), depth + 1)?;
            if new.id() == child.id() {
                continue;
            }
            if let Some(entries) = own_registry(&copy, &attributes, MODULES_OF) {
                entries.insert(&*name, new);
                changed = true;
            }
        }
        let copy = if changed { with_attributes(object, &attributes, &copy) } else { module.clone() };
        self.modules.insert(object.id(), copy.clone());
        Ok(copy)
    }

    /// A tensor in the class of another (`Parameter`, with its attributes), and following gradients as that does. One that has
    /// a class itself keeps it.
    fn tensor(&mut self, new: &Tensor, old: &Tensor) -> Result<Tensor> {
        let key = (new.view(), old.id());
        if let Some(made) = self.tensors.get(&key) {
            return Ok(made.clone());
        }
        let mut parts = new.parts().clone();
        if is_plain(new) {
            parts.class = old.parts().class.clone();
            parts.class_by.clone_from(&old.parts().class_by);
        }
        parts.requires_grad = old.requires_grad();
        let made = Tensor::new(parts)?;
        self.tensors.insert(key, made.clone());
        Ok(made)
    }
}

fn is_plain(tensor: &Tensor) -> bool {
    matches!(tensor.parts().class, TensorClass::Tensor)
}

/// A new dict of the same entries, kind and attributes.
pub(crate) fn shallow(dict: &Dict) -> Dict {
    let copy = Dict::new();
    *copy.write() = dict.read().clone();
    copy
}

/// A registry in the copy of a module's attributes: a copy of its own, made when it is first asked for.
fn own_registry(copy: &Dict, original: &Dict, registry: &str) -> Option<Dict> {
    let now = copy.get(registry)?.as_dict()?.clone();
    if !now.same(original.get(registry)?.as_dict()?) {
        return Some(now);
    }
    let own = shallow(&now);
    copy.insert(registry, own.clone());
    Some(own)
}

/// The same object with other attributes in the place of these.
fn with_attributes(object: &Object, old: &Dict, new: &Dict) -> Value {
    let data: ObjectData = object.read().clone();
    let replace = |state: &Value| match state {
        Value::Dict(dict) if dict.same(old) => Value::Dict(new.clone()),
        Value::Tuple(pair) => Value::tuple(pair.iter().map(|part| match part {
            Value::Dict(dict) if dict.same(old) => Value::Dict(new.clone()),
            other => other.clone(),
        })),
        other => other.clone(),
    };
    let states = data.states.iter().map(replace).collect();
    Value::Object(Shared::new(ObjectData { states, ..data }))
}

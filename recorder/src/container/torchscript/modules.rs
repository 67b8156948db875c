//! From the objects of a TorchScript model to its state dict and, beside it, its attributes as plain data.

use std::collections::HashMap;
use std::sync::Arc;

use crate::container::torchscript::classes::{Class, Classes, Role};
use crate::value::{Global, Key, List, Object};
use crate::{Dict, Error, Limits, Result, Tensor, Value};

/// Torch's own classes, whose objects are written in C++ and keep a state instead of attributes.
const NATIVE: &str = "__torch__.torch.classes";

/// A model taken apart. Names are paths of modules, joined by dots.
#[derive(Default)]
pub(super) struct Model {
    /// What `ScriptModule.state_dict()` gives, in its order.
    pub(super) state_dict: Vec<(Arc<str>, Tensor)>,
    /// Every module.
    pub(super) modules: Vec<Arc<str>>,
    /// Every other attribute.
    pub(super) attributes: Vec<(Arc<str>, Value)>,
}

impl Model {
    /// Names what is in a module and those below it. A module that is found by several paths is there under each.
    pub(super) fn of(root: &Object, classes: &mut Classes<'_>, limits: &Limits, plain: &mut Plain) -> Result<Self> {
        let mut model = Model::default();
        let mut budget = Budget::new(limits);
        let mut waiting = vec![(String::new(), root.clone(), 0)];
        while let Some((prefix, module, depth)) = waiting.pop() {
            if depth > limits.depth {
                return Err(Error::limit("the nesting of modules (one may hold itself)", limits.depth as u64));
            }
            budget.take(&prefix)?;
            model.modules.push(prefix.trim_end_matches('.').into());
            let (class, attributes) = read(&module, &prefix)?;
            let Some(attributes) = attributes else {
                // The code of `__setstate__` would make attributes of it.
                let state = module.read().states.first().cloned().unwrap_or(Value::None);
                model.attributes.push((prefix.trim_end_matches('.').into(), plain.value(&state)));
                continue;
            };
            let mut buffers = Vec::new();
            let mut children = Vec::new();
            for (name, value) in attributes {
                let full: Arc<str> = format!("{prefix}{name}").into();
                budget.take(&full)?;
                if let Value::Object(object) = &value
                    && is_module(object, classes)?
                {
                    children.push((format!("{full}."), object.clone(), depth + 1));
                    continue;
                }
                let known = class.as_ref().map(|class| classes.find(class)).transpose()?.flatten();
                match (&value, role(known, &name, &value)) {
                    (Value::Tensor(tensor), Role::Parameter) => model.state_dict.push((full, tensor.detach())),
                    (Value::Tensor(tensor), Role::Buffer) => buffers.push((full, tensor.detach())),
                    _ => model.attributes.push((full, plain.value(&value))),
                }
            }
            model.state_dict.append(&mut buffers);
            if let Some(known) = class.as_ref().map(|class| classes.find(class)).transpose()?.flatten() {
                for (name, value) in &known.constants {
                    let full: Arc<str> = format!("{prefix}{name}").into();
                    budget.take(&full)?;
                    model.attributes.push((full, value.clone()));
                }
            }
            // Children are taken from the end, so the last goes in first.
            waiting.extend(children.into_iter().rev());
        }
        Ok(model)
    }
}

/// What paths may cost: shared modules can spell out to any number.
pub(super) struct Budget<'a> {
    values: u64,
    bytes: u64,
    limits: &'a Limits,
}

impl<'a> Budget<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Budget { values: limits.values, bytes: limits.value_bytes, limits }
    }

    pub(super) fn take(&mut self, name: &str) -> Result<()> {
        let left = (self.values.checked_sub(1), self.bytes.checked_sub(name.len() as u64));
        let (Some(values), Some(bytes)) = left else {
            return Err(Error::limit("the number of attributes, counted by every path,", self.limits.values));
        };
        (self.values, self.bytes) = (values, bytes);
        Ok(())
    }
}

/// Without code, what requires a gradient is taken for a parameter.
fn role(class: Option<&Class>, name: &str, value: &Value) -> Role {
    match (class, value) {
        (Some(class), _) => class.role(name),
        (None, Value::Tensor(tensor)) if tensor.requires_grad() => Role::Parameter,
        (None, _) => Role::Buffer,
    }
}

/// The class and the attributes of an object, in order; no attributes where it has a state of another kind.
type Parts = (Option<Global>, Option<Vec<(Arc<str>, Value)>>);

fn read(object: &Object, place: &str) -> Result<Parts> {
    let data = object.read();
    let attributes = match data.states.first() {
        None => Vec::new(),
        Some(Value::Dict(dict)) => dict.entries(),
        Some(_) => return Ok((data.class().cloned(), None)),
    };
    let named = |(key, value)| match key {
        Value::Str(name) => Ok((name, value)),
        other => {
            let reason = format!("the name of an attribute of '{place}' is {}", other.describe());
            Err(Error::damaged("data.pkl", reason))
        }
    };
    let attributes = attributes.into_iter().map(named).collect::<Result<_>>()?;
    Ok((data.class().cloned(), Some(attributes)))
}

/// Without code, every object with attributes is taken for a module.
fn is_module(object: &Object, classes: &mut Classes<'_>) -> Result<bool> {
    let data = object.read();
    let Some(class) = data.class().filter(|class| class.is_scripted() && !class.module.starts_with(NATIVE)) else {
        return Ok(false);
    };
    match classes.find(class)? {
        Some(class) => Ok(class.module),
        None => Ok(matches!(data.states.first(), Some(Value::Dict(_)))),
    }
}

/// Turns TorchScript's objects into what they hold: an object into a dict of its attributes, one of torch's own classes into its
/// state, an enumeration's member into its value. What is shared stays shared.
#[derive(Default)]
pub(super) struct Plain {
    /// By the identity of what each was made of.
    made: HashMap<usize, Value>,
    /// The table that old archives number their tensors in.
    tensors: Vec<Tensor>,
}

impl Plain {
    pub(super) fn with_tensors(tensors: Vec<Tensor>) -> Self {
        Plain { tensors, ..Plain::default() }
    }

    // Recursion is as deep as the values nest, which the pickle's reader bounds.
    pub(super) fn value(&mut self, value: &Value) -> Value {
        if let Some(made) = value.id().and_then(|id| self.made.get(&id)) {
            return made.clone();
        }
        match value {
            Value::List(list) => {
                let made = List::new(Vec::new());
                self.made.insert(list.id(), Value::List(made.clone()));
                let items: Vec<Value> = list.read().clone();
                let items = self.all(&items);
                *made.write() = items;
                Value::List(made)
            }
            Value::Tuple(items) => {
                let made = Value::Tuple(self.all(items).into());
                self.keep(value, made)
            }
            Value::Dict(dict) => {
                let made = Dict::new();
                made.write().kind = dict.kind();
                self.made.insert(dict.id(), made.clone().into());
                self.fill(&made, dict.entries());
                made.into()
            }
            Value::Object(object) if object.read().class().is_some_and(Global::is_scripted) => self.object(object),
            Value::Object(object) => self.old(object).unwrap_or_else(|| value.clone()),
            other => other.clone(),
        }
    }

    fn all(&mut self, values: &[Value]) -> Vec<Value> {
        values.iter().map(|value| self.value(value)).collect()
    }

    fn keep(&mut self, original: &Value, made: Value) -> Value {
        match original.id() {
            // A circle through a tuple has already made one on the way down; that one counts.
            Some(id) => self.made.entry(id).or_insert(made).clone(),
            None => made,
        }
    }

    fn fill(&mut self, dict: &Dict, entries: Vec<(Value, Value)>) {
        let entries: Vec<(Key, Value)> =
            entries.into_iter().map(|(key, value)| (Key(self.value(&key)), self.value(&value))).collect();
        dict.write().entries.extend(entries);
    }

    fn object(&mut self, object: &Object) -> Value {
        let data = object.read().clone();
        let original = Value::Object(object.clone());
        match (&*data.states, data.arguments()) {
            ([], [member]) => {
                let made = self.value(member);
                self.keep(&original, made)
            }
            ([Value::Dict(attributes)], []) => {
                let made = Dict::new();
                self.made.insert(object.id(), made.clone().into());
                self.fill(&made, attributes.entries());
                made.into()
            }
            ([], []) => self.keep(&original, Dict::new().into()),
            ([state], []) => {
                let made = self.value(state);
                self.keep(&original, made)
            }
            _ => original,
        }
    }

    /// What old archives put in the place of tensors and lists of numbers.
    fn old(&self, object: &Object) -> Option<Value> {
        let data = object.read();
        let class = data.class()?;
        let content = data.states.first().or(data.arguments().first());
        match (&*class.module, &*class.name, content) {
            ("torch.jit._pickle", "build_tensor_from_id", Some(Value::Int(id)))
            | ("__main__", "TensorID", Some(Value::Int(id))) => {
                self.tensors.get(usize::try_from(*id).ok()?).map(|tensor| tensor.clone().into())
            }
            ("__main__", "IntList", Some(list @ Value::List(_))) => Some(list.clone()),
            ("__main__", "IntList", None) => Some(Value::list(data.items.iter().cloned())),
            _ => None,
        }
    }
}

//! What plain `torch.load` takes of a value: a copy without the rest, each thing left out named with its class.
//!
//! A whole module becomes its state dict, a subclass of `dict` a dict; a tensor of a class that is refused becomes a tensor without it. A
//! refused entry of a dict goes; a place in a list or tuple keeps its number, with `None` in it. What is taken as it is stays the same
//! object, shared as before.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::pickle::{self, Dialect, PickleOptions};
use crate::state_dict::module::is_module;
use crate::value::tensor::{TensorClass, TensorParts};
use crate::value::{DictData, Key};
use crate::{Dict, Error, ErrorKind, Result, StateDict, Tensor, Value, walk};

/// As plain `torch.load` has it.
const STRICT: PickleOptions = PickleOptions { dialect: Dialect::Zip, allow_objects: false };

/// How many things of a kind a note names before it counts the rest.
const LISTED: usize = 12;

/// What plain `torch.load` takes of a value, and what is to be said of the rest.
///
/// # Errors
/// [`ErrorKind::Refused`] where nothing of it is left.
pub(crate) fn of(root: &Value) -> Result<(Value, Vec<String>)> {
    let mut strip = Strip::default();
    let kept = match strip.value(root)? {
        Kept::Same => root.clone(),
        Kept::Changed(value) => value,
        Kept::Gone => {
            let error = Error::from(ErrorKind::Refused { what: root.describe() });
            let advice =
                "nothing of it is left without that; pass `SaveOptions::allow_objects(true)` to write it all the same";
            return Err(error.advise(advice));
        }
    };
    Ok((kept, strip.notes()))
}

/// What is left of a value.
#[derive(Clone)]
enum Kept {
    Same,
    Changed(Value),
    Gone,
}

/// A step of the way to a value.
enum Step {
    Entry(Dict, usize),
    Item(usize),
}

#[derive(Default)]
struct Strip {
    way: Vec<Step>,
    /// By the identity of a value: what is left of it. Until that is known, a dict or list inside itself is the copy that is being
    /// made; any other value has no place in itself, since plain `torch.load` does not make it of itself.
    known: HashMap<usize, Kept>,
    left_out: Vec<String>,
    emptied: Vec<String>,
    changed: Vec<String>,
}

impl Strip {
    // Recursion is as deep as the values nest, which the readers bound.
    fn value(&mut self, value: &Value) -> Result<Kept> {
        if let Some(known) = value.id().and_then(|id| self.known.get(&id)) {
            return Ok(known.clone());
        }
        let copy = match value {
            Value::Dict(_) => Some(Value::from(Dict::new())),
            Value::List(_) => Some(Value::list([])),
            _ => None,
        };
        if let Some(id) = value.id() {
            self.known.insert(id, copy.clone().map_or(Kept::Gone, Kept::Changed));
        }
        let kept = match value {
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_) | Value::Size(_) => {
                Kept::Same
            }
            Value::Dict(dict) => self.dict(dict, copy.as_ref().and_then(Value::as_dict))?,
            Value::List(items) => {
                let items = items.read().clone();
                self.items(&items, |items| match copy {
                    Some(Value::List(copy)) => {
                        *copy.write() = items;
                        Value::List(copy)
                    }
                    _ => Value::list(items),
                })?
            }
            Value::Tuple(items) => self.items(items, Value::tuple)?,
            other if !is_refused(other) => Kept::Same,
            Value::Tensor(tensor) => self.tensor(tensor),
            Value::Object(_) => self.object(value)?,
            _ => Kept::Gone,
        };
        if let Some(id) = value.id() {
            self.known.insert(id, kept.clone());
        }
        Ok(kept)
    }

    /// What is left of a dict, in `copy` where there is one.
    fn dict(&mut self, dict: &Dict, copy: Option<&Dict>) -> Result<Kept> {
        let mut changed = false;
        let mut data = DictData { kind: dict.kind(), ..DictData::default() };
        for (index, (key, value)) in dict.entries().into_iter().enumerate() {
            self.way.push(Step::Entry(dict.clone(), index));
            let kept = if key.id().is_some() && is_refused(&key) { Kept::Gone } else { self.value(&value)? };
            match kept {
                Kept::Same => drop(data.entries.insert(Key(key), value)),
                Kept::Changed(value) => {
                    changed = true;
                    data.entries.insert(Key(key), value);
                }
                Kept::Gone => {
                    changed = true;
                    let path = self.path();
                    self.left_out.push(format!("'{path}' ({})", value.describe()));
                }
            }
            self.way.pop();
        }
        if let Some(state) = dict.state() {
            data.state = match self.value(&state)? {
                Kept::Same => Some(state),
                Kept::Changed(state) => {
                    changed = true;
                    Some(state)
                }
                Kept::Gone => {
                    changed = true;
                    let path = self.path();
                    self.left_out.push(format!("the attributes of '{path}' ({})", state.describe()));
                    None
                }
            };
        }
        if !changed {
            return Ok(Kept::Same);
        }
        let copy = copy.cloned().unwrap_or_default();
        *copy.write() = data;
        Ok(Kept::Changed(copy.into()))
    }

    fn items(&mut self, items: &[Value], make: impl FnOnce(Vec<Value>) -> Value) -> Result<Kept> {
        let mut changed = false;
        let mut all = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            self.way.push(Step::Item(index));
            all.push(match self.value(item)? {
                Kept::Same => item.clone(),
                Kept::Changed(item) => {
                    changed = true;
                    item
                }
                Kept::Gone => {
                    changed = true;
                    let path = self.path();
                    self.emptied.push(format!("'{path}' ({})", item.describe()));
                    Value::None
                }
            });
            self.way.pop();
        }
        Ok(if changed { Kept::Changed(make(all)) } else { Kept::Same })
    }

    /// A refused tensor without what is refused of it: its class and its attributes, its hooks.
    fn tensor(&mut self, tensor: &Tensor) -> Kept {
        // A distributed tensor, where the process that wrote it held all of it.
        if let Some(whole) = tensor.whole_local() {
            let path = self.path();
            let class = match &tensor.parts().class {
                TensorClass::Other { class, .. } => format!(" {class}"),
                _ => String::new(),
            };
            self.changed.push(format!("'{path}' as the elements that it holds, without its class{class}"));
            return match self.value(&Value::Tensor(whole.clone())) {
                Ok(Kept::Same) => Kept::Changed(Value::Tensor(whole)),
                Ok(kept) => kept,
                Err(_) => Kept::Gone,
            };
        }
        let class = if tensor.is_parameter() { TensorClass::Parameter { state: None } } else { TensorClass::Tensor };
        let parts =
            TensorParts { class, class_by: None, made_by: None, backward_hooks: None, ..tensor.parts().clone() };
        let Ok(plain) = Tensor::new(parts) else { return Kept::Gone };
        let plain = Value::Tensor(plain);
        // One that has its elements in its attributes is nothing without them.
        if pickle::write(&plain, &STRICT).is_err() {
            return Kept::Gone;
        }
        let path = self.path();
        let class = match &tensor.parts().class {
            TensorClass::Other { class, .. } if !class.is("torch", "Tensor") => format!("its class {class}, "),
            _ => String::new(),
        };
        self.changed.push(format!("'{path}' without {class}attributes and hooks"));
        Kept::Changed(plain)
    }

    fn object(&mut self, value: &Value) -> Result<Kept> {
        let path = self.path();
        if is_module(value) {
            let Ok(state_dict) = StateDict::from_value(value) else { return Ok(Kept::Gone) };
            let state_dict = state_dict.to_value();
            self.changed.push(format!("'{path}' ({}) as its state dict", value.describe()));
            return Ok(match self.value(&state_dict)? {
                Kept::Same => Kept::Changed(state_dict),
                kept => kept,
            });
        }
        let Value::Object(object) = value else { return Ok(Kept::Gone) };
        let entries = object.read().entries.clone();
        if entries.is_empty() {
            return Ok(Kept::Gone);
        }
        let dict = Dict::from_iter(entries);
        self.changed.push(format!("'{path}' ({}) as a dict", value.describe()));
        Ok(match self.dict(&dict, None)? {
            Kept::Same => Kept::Changed(dict.into()),
            kept => kept,
        })
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.way {
            match step {
                Step::Entry(dict, index) => walk::write_entry(dict, *index, &mut path),
                // A `String` takes everything that is written to it.
                Step::Item(index) => drop(write!(path, "[{index}]")),
            }
        }
        if path.is_empty() { "the root".to_owned() } else { path }
    }

    /// One line for each kind of loss.
    fn notes(self) -> Vec<String> {
        let listed = |all: &[String]| {
            let more = all.len().saturating_sub(LISTED);
            let shown = all.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
            if more == 0 { shown } else { format!("{shown} and {more} more") }
        };
        let lines = [
            (&self.left_out, "left out, since plain torch.load refuses it"),
            (&self.emptied, "None in its place, since plain torch.load refuses it"),
            (&self.changed, "written so that plain torch.load takes it"),
        ];
        lines
            .into_iter()
            .filter(|(all, _)| !all.is_empty())
            .map(|(all, what)| format!("{what}: {}", listed(all)))
            .collect()
    }
}

/// Whether plain `torch.load` refuses a value, as the writer has it. Whatever else is wrong with it the writer will say.
fn is_refused(value: &Value) -> bool {
    matches!(pickle::write(value, &STRICT), Err(error) if matches!(error.kind(), ErrorKind::Refused { .. }))
}

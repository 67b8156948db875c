//! What an object or a tensor holds, each with the part of a path that leads to it and where it is kept.

use crate::value::tensor::{MadeBy, Quantizer, SparseLayout, TensorData, TensorParts};
use crate::value::{Array, Construction, Global, List, Object, ObjectData, array, uninitialized};
use crate::walk::label::Label;
use crate::walk::repr::repr;
use crate::{Dict, Error, Result, Tensor, Value};

/// Where in its container a value is kept, so that another can be put there.
pub(super) enum Slot {
    Root,
    Entry(Dict, usize),
    Item(List, usize),
    ObjectEntry(Object, usize),
    ObjectItem(Object, usize),
    /// In a tuple, or among what an object was made of.
    Fixed,
}

impl Slot {
    pub(super) fn put(self, path: &str, value: Value) -> Result<()> {
        // What was there is dropped after the lock is released: it may hold the container itself.
        let old = match self {
            Slot::Entry(dict, index) => {
                dict.write().entries.get_index_mut(index).map(|(_, old)| std::mem::replace(old, value))
            }
            Slot::Item(list, index) => list.write().get_mut(index).map(|old| std::mem::replace(old, value)),
            Slot::ObjectEntry(object, index) => {
                object.write().entries.get_mut(index).map(|(_, old)| std::mem::replace(old, value))
            }
            Slot::ObjectItem(object, index) => {
                object.write().items.get_mut(index).map(|old| std::mem::replace(old, value))
            }
            Slot::Root => return Err(Error::invalid("the root cannot be replaced; make a new one")),
            Slot::Fixed => {
                let reason = format!(
                    "'{path}' is in a tuple or an object's arguments, which cannot be changed; set the whole of it"
                );
                return Err(Error::invalid(reason));
            }
        };
        drop(old);
        Ok(())
    }
}

/// What an object or a tensor holds, each with where it is kept.
pub(super) fn contents(value: &Value) -> Vec<(Label, Value, Slot)> {
    match value {
        Value::Object(object) => match Array::of(value) {
            Some(array) => in_array(&array),
            None if array::describe(value).is_some() && !array::may_hold_objects(value) => Vec::new(),
            None if uninitialized(value).is_some() => Vec::new(),
            None => of_object(object),
        },
        Value::Tensor(tensor) => on_tensor(tensor),
        _ => Vec::new(),
    }
}

/// What is in a NumPy array of objects, each by its place: `[3]`, `[(0, 1)]`; and what a subclass keeps in its state.
fn in_array(array: &Array) -> Vec<(Label, Value, Slot)> {
    let label = |place: Vec<usize>| match place[..] {
        [index] => Label::Index(index),
        _ => Label::Key(Value::tuple(place.into_iter().map(Value::from))),
    };
    let objects = array.objects().into_iter().map(|(place, value)| (label(place), value, Slot::Fixed));
    let more = array.more().iter().enumerate().map(|(nth, value)| (Label::State(nth + 5), value.clone(), Slot::Fixed));
    objects.chain(more).collect()
}

/// What hangs on a tensor: attributes, hooks, a quantiser's parameters; and the tensors that it consists of, where something
/// hangs on them in turn.
pub(super) fn on_tensor(tensor: &Tensor) -> Vec<(Label, Value, Slot)> {
    let parts = tensor.parts();
    let mut all = Vec::new();
    match parts.attributes() {
        None | Some(Value::None) => {}
        Some(state) => match attributes(state) {
            Some(dicts) => dicts.iter().for_each(|dict| attributes_in(dict, &mut all)),
            None => all.push((Label::State(0), state.clone(), Slot::Fixed)),
        },
    }
    if let Some(MadeBy::Parameter { hooks, state, .. }) = &parts.made_by {
        match state.as_ref().map(|state| (attributes(state), state)) {
            None => {}
            Some((Some(dicts), _)) => dicts.iter().for_each(|dict| attributes_in(dict, &mut all)),
            Some((None, state)) => all.push((Label::State(1), state.clone(), Slot::Fixed)),
        }
        all.extend(hooks.clone().map(|hooks| (Label::Attribute("_backward_hooks".into()), hooks, Slot::Fixed)));
    }
    if let Some(hooks) = &parts.backward_hooks {
        all.push((Label::Attribute("_backward_hooks".into()), hooks.clone(), Slot::Fixed));
    }
    let mut named = |name: &str, value: Value| all.push((Label::Keyword(name.to_owned()), value, Slot::Fixed));
    match &parts.quantizer {
        None => {}
        Some(Quantizer::PerTensor { scale, zero_point }) => {
            named("scale", Value::Float(*scale));
            named("zero_point", Value::Int(*zero_point));
        }
        Some(Quantizer::PerChannel { scheme, scales, zero_points, axis }) => {
            named("scheme", scheme.clone().into());
            named("scales", scales.clone().into());
            named("zero_points", zero_points.clone().into());
            named("axis", Value::Int(*axis));
        }
    }
    if let TensorData::Jagged { cache, .. } = &parts.data
        && !is_attribute(parts, "_metadata_cache")
        && !is_empty(cache)
    {
        named("cache", cache.clone());
    }
    let names: &[&str] = match &parts.data {
        TensorData::Sparse { layout: SparseLayout::Coo, .. } => &["indices", "values"],
        TensorData::Sparse { .. } => &["compressed_indices", "plain_indices", "values"],
        TensorData::Nested { .. } => &["buffer", "sizes", "strides", "offsets"],
        // As a rule they are among its attributes.
        TensorData::Jagged { .. } if is_attribute(parts, "_values") => &[],
        TensorData::Jagged { .. } => &["values", "offsets", "lengths"],
        TensorData::Strided { .. } | TensorData::Meta { .. } | TensorData::Wrapper { .. } => &[],
    };
    for (name, part) in names.iter().zip(parts.data.tensors()) {
        if !on_tensor(part).is_empty() {
            named(name, part.clone().into());
        }
    }
    all
}

fn is_attribute(parts: &TensorParts, name: &str) -> bool {
    parts.attributes().and_then(attributes).into_iter().flatten().any(|dict| dict.get(name).is_some())
}

/// What an object holds: its entries and items, its attributes, and what it was made of.
fn of_object(object: &Object) -> Vec<(Label, Value, Slot)> {
    let data = object.read();
    if data.construction == Construction::Persistent {
        return Vec::new();
    }
    let mut all = Vec::new();
    let counts = is_counter(&data);
    if !is_reconstructor(&data) {
        for (i, value) in data.arguments().iter().enumerate() {
            match value {
                Value::Dict(dict) if counts && i == 0 => entries_of(dict, &mut all),
                value => all.push((Label::Argument(i), value.clone(), Slot::Fixed)),
            }
        }
    }
    for (key, value) in data.kwargs.as_ref().and_then(Value::as_dict).map(Dict::entries).unwrap_or_default() {
        let name = key.as_str().map_or_else(|| repr(&key), ToOwned::to_owned);
        all.push((Label::Keyword(name), value, Slot::Fixed));
    }
    for (i, value) in data.items.iter().enumerate() {
        all.push((Label::Index(i), value.clone(), Slot::ObjectItem(object.clone(), i)));
    }
    for (i, (key, value)) in data.entries.iter().enumerate() {
        all.push((Label::Key(key.clone()), value.clone(), Slot::ObjectEntry(object.clone(), i)));
    }
    for (i, state) in data.states.iter().enumerate() {
        match attributes(state) {
            Some(dicts) => dicts.iter().for_each(|dict| attributes_of(dict, &mut all)),
            None => all.push((Label::State(i), state.clone(), Slot::Fixed)),
        }
    }
    all
}

fn entries_of(dict: &Dict, all: &mut Vec<(Label, Value, Slot)>) {
    for (i, (key, value)) in dict.entries().into_iter().enumerate() {
        all.push((Label::Key(key), value, Slot::Entry(dict.clone(), i)));
    }
}

/// The entries of a dict as attributes.
pub(super) fn attributes_in(dict: &Dict, all: &mut Vec<(Label, Value, Slot)>) {
    for (i, (key, value)) in dict.entries().into_iter().enumerate() {
        all.push((Label::Attribute(key), value, Slot::Entry(dict.clone(), i)));
    }
}

/// The registries of an `nn.Module` whose entries are attributes of the module, in the order of `state_dict()`.
const MODULE_REGISTRIES: [&str; 3] = ["_parameters", "_buffers", "_modules"];

/// The attributes in a state; those of an `nn.Module` by the names that Python gives them (`fc.weight`).
fn attributes_of(dict: &Dict, all: &mut Vec<(Label, Value, Slot)>) {
    if !is_module_state(dict) {
        return entries_of(dict, all);
    }
    let registry = |name| dict.get(name).and_then(|registry| registry.as_dict().cloned());
    let registered = |name, all: &mut Vec<_>| {
        let before = all.len();
        if let Some(registry) = registry(name) {
            entries_of(&registry, all);
        }
        // A name registered as None is as good as absent: `state_dict()` leaves it out.
        let kept = all.split_off(before).into_iter().filter(|(_, value, _)| !matches!(value, Value::None));
        all.extend(kept);
    };
    registered(MODULE_REGISTRIES[0], all);
    registered(MODULE_REGISTRIES[1], all);
    for (i, (key, value)) in dict.entries().into_iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        // What PyTorch itself keeps in every module (hooks, mostly) is not shown while it is empty.
        let unused = name.starts_with('_') && (matches!(value, Value::None) || is_empty(&value));
        if !unused && !is_registry(name) {
            all.push((Label::Key(key), value, Slot::Entry(dict.clone(), i)));
        }
    }
    registered(MODULE_REGISTRIES[2], all);
}

pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Dict(dict) => dict.is_empty(),
        Value::List(items) | Value::Set(items) => items.read().is_empty(),
        Value::Tuple(items) => items.is_empty(),
        _ => false,
    }
}

/// Whether a name is that of a module's registry.
pub(super) fn is_registry(name: &str) -> bool {
    MODULE_REGISTRIES.contains(&name)
}

/// Whether these are the attributes of an `nn.Module`.
pub(crate) fn is_module_state(attributes: &Dict) -> bool {
    MODULE_REGISTRIES.iter().all(|name| attributes.get(name).is_some_and(|registry| registry.as_dict().is_some()))
}

/// The dicts of attributes in a state: one, or a pair of the instance's own and its slots. `None` for other states.
pub(crate) fn attributes(state: &Value) -> Option<Vec<Dict>> {
    match state {
        Value::Dict(dict) => Some(vec![dict.clone()]),
        Value::Tuple(pair) => {
            let [own, slots] = &**pair else { return None };
            let dicts = [own, slots].into_iter().filter(|part| !matches!(part, Value::None));
            dicts.map(|part| part.as_dict().cloned()).collect()
        }
        _ => None,
    }
}

/// `collections.Counter`, which is made from a dict of its counts.
fn is_counter(data: &ObjectData) -> bool {
    data.class().is_some_and(|class| class.is("collections", "Counter"))
}

/// `copyreg._reconstructor(class, object, None)`: how protocols before 2 make any object; it says nothing of its content.
fn is_reconstructor(data: &ObjectData) -> bool {
    data.class().is_some_and(|class| matches!(&*class.module, "copyreg" | "copy_reg"))
}

/// The entries of a dict, or of an object that is one to Python (`Counter`, `defaultdict`, a subclass of `dict`), or else the
/// attributes of an object. `None` for everything else.
pub(crate) fn entries(value: &Value) -> Option<Vec<(Value, Value)>> {
    let object = match value {
        Value::Dict(dict) => return Some(dict.entries()),
        Value::Object(object) => object,
        _ => return None,
    };
    let data = object.read();
    let plain_dict = |class: &Global| class.is("collections", "defaultdict") || is_counter(&data);
    let mut entries = data.entries.clone();
    if is_counter(&data)
        && let Some(Value::Dict(counts)) = data.arguments().first()
    {
        entries.splice(0..0, counts.entries());
    }
    if entries.is_empty() && !data.class().is_some_and(plain_dict) {
        let mut all = Vec::new();
        for dict in data.states.iter().filter_map(attributes).flatten() {
            attributes_of(&dict, &mut all);
        }
        if all.is_empty() && !data.states.iter().any(|state| attributes(state).is_some()) {
            return None;
        }
        entries.extend(all.into_iter().filter_map(|(label, value, _)| match label {
            Label::Key(key) => Some((key, value)),
            _ => None,
        }));
    }
    Some(entries)
}

//! The way through all the places inside a [`Value`], each with its path.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use crate::serde::scalar;
use crate::value::tensor::{Quantizer, SparseLayout, TensorData};
use crate::value::{Array, Construction, Global, Items, List, Object, ObjectData, array};
use crate::{Dict, Error, Limits, Result, Tensor, Value};

use crate::walk::path::Slot;
use crate::walk::repr::{quoted, repr};
use crate::walk::spelling::Speller;

/// Calls `visit` with every leaf and its path, in order.
///
/// Leaves are scalars, strings, tensors, NumPy arrays, storages, sets, `torch.Size`, classes, empty containers, and objects without
/// content. What hangs on a tensor comes after it: its attributes by their names (`fc.weight@quant_state.absmax`), a quantiser's
/// parameters in brackets (`fc.weight(scale)`). So do tensors in sets (`seen{0}`), in a dict's keys (`state[..](key)`) and in the
/// attributes of a dict. Of an `nn.Module`, parameters, buffers and other attributes have the names that `state_dict()` gives them. A NumPy
/// scalar is shown as the number it is. Containers are entered by every path that leads to them; one that holds itself is a
/// leaf where it comes again.
///
/// # Errors
/// [`ErrorKind::Limit`](crate::ErrorKind::Limit) when there are more leaves than `limits.values` or containers nest deeper than `limits.depth`,
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when parts are shared so often that there are many times more paths than values,
/// and whatever `visit` returns.
///
/// ```
/// # use rekindle_recorder::{Dict, Limits, Value, walk::walk};
/// let root: Value = Dict::from_iter([("betas", vec![0.9, 0.999])]).into();
/// let mut paths = Vec::new();
/// walk(&root, &Limits::default(), &mut |path, _| Ok(paths.push(path.to_owned())))?;
/// assert_eq!(paths, ["betas[0]", "betas[1]"]);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
pub fn walk(root: &Value, limits: &Limits, visit: &mut dyn FnMut(&str, &Value) -> Result<()>) -> Result<()> {
    each(root, limits, &mut |path, place, value| match place {
        Place::Leaf => visit(path, value),
        Place::Container => Ok(()),
    })
}

/// What [`each`] is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where [`walk`] ends, but for what hangs on it.
    Leaf,
    /// What is gone into next.
    Container,
}

/// As [`walk`], with the containers, each before what is in it.
pub(crate) fn each(
    root: &Value,
    limits: &Limits,
    visit: &mut dyn FnMut(&str, Place, &Value) -> Result<()>,
) -> Result<()> {
    struct Level {
        children: Children,
        speller: Speller,
        /// The container's identity, and how long its path is.
        id: Option<usize>,
        path: usize,
    }

    let mut path = String::new();
    let (mut leaves, mut spelled) = (0, 0);
    let mut above = HashSet::new();
    // What is there, each container counted once: of that follows how many paths an honest value has.
    let (mut entered, mut held) = (HashSet::new(), 0_u64);
    let mut levels: Vec<Level> = Vec::new();
    let mut holders = Holders::of(root);
    let mut next = Some(root.clone());
    loop {
        if let Some(value) = next.take() {
            let id = value.id();
            let children = Children::of(&value, &mut holders).filter(|_| id.is_none_or(|id| !above.contains(&id)));
            if children.is_none() || is_leaf_too(&value) {
                leaves += 1;
                spelled += path.len() as u64;
                if spelled > limits.value_bytes / PATHS_SHARE {
                    return Err(Error::limit("the length of all paths", limits.value_bytes / PATHS_SHARE));
                }
                if leaves > PATHS + PATHS_EACH * held {
                    let what = format!(
                        "a value of which {held} parts are shared so often that there are more than {leaves} paths"
                    );
                    return Err(Error::unsupported(what));
                }
                if leaves > limits.values {
                    return Err(Error::limit("the number of values, counted by every path,", limits.values));
                }
                match scalar::of_numpy(&value) {
                    Some(number) => visit(&path, Place::Leaf, &number)?,
                    None => visit(&path, Place::Leaf, &value)?,
                }
            }
            if let Some(children) = children {
                if levels.len() >= limits.depth {
                    let what = format!("the nesting of containers at '{path}'");
                    return Err(Error::limit(what, limits.depth as u64));
                }
                visit(&path, Place::Container, &value)?;
                if id.is_none_or(|id| entered.insert(id)) {
                    held += children.len() as u64;
                }
                above.extend(id);
                let speller = Speller::new(&value, path.is_empty());
                levels.push(Level { children, speller, id, path: path.len() });
            }
        }
        let Some(level) = levels.last_mut() else { return Ok(()) };
        path.truncate(level.path);
        if let Some((label, value)) = level.children.next() {
            level.speller.write(&label, &value, &mut path);
            next = Some(value);
        } else {
            if let Some(id) = level.id {
                above.remove(&id);
            }
            levels.pop();
        }
    }
}

/// Every tensor with its path, in order.
pub(crate) fn tensors(root: &Value, limits: &Limits) -> Result<Vec<(String, Tensor)>> {
    let mut tensors = Vec::new();
    walk(root, limits, &mut |path, value| {
        tensors.extend(value.as_tensor().map(|tensor| (path.to_owned(), tensor.clone())));
        Ok(())
    })?;
    Ok(tensors)
}

/// Beyond this many leaves, those that are reached by several paths may be this many times as many as there are values. Ten
/// tuples, each of which holds the one before it ten times, would have ten thousand million.
const PATHS: u64 = 1_000_000;
const PATHS_EACH: u64 = 64;
/// Whoever lists the leaves keeps their paths: those may take this part of the memory for values.
const PATHS_SHARE: u64 = 4;

/// The last part of a path.
pub(super) enum Label {
    Key(Value),
    Index(usize),
    Argument(usize),
    Keyword(String),
    /// A state that is no dict of attributes, as a NumPy array has one.
    State(usize),
    /// Something in a set.
    Member(usize),
    /// A dict's key itself.
    KeyItself(Value),
    /// An attribute of a tensor or a dict.
    Attribute(Value),
}

impl Label {
    /// The label as it is spelled where no other is like it; a string key quoted.
    pub(super) fn write(&self, path: &mut String) {
        match self {
            Label::Key(Value::Str(key)) => path.push_str(&quoted(key)),
            Label::Attribute(Value::Str(name)) if is_plain(name) => path.extend(["@", name]),
            Label::Attribute(name) => path.extend(["@[", &repr(name), "]"]),
            Label::Key(key) => {
                path.push('[');
                path.push_str(&repr(key));
                path.push(']');
            }
            // Writing to a string cannot fail.
            Label::Index(index) => drop(write!(path, "[{index}]")),
            Label::Argument(index) => drop(write!(path, "({index})")),
            // Nothing but a name reads like one: `state` is another label's.
            Label::Keyword(name) if is_plain(name) && !matches!(&**name, "state" | "key") => {
                path.extend(["(", name, ")"]);
            }
            Label::Keyword(name) => drop(write!(path, "({})", repr(&name.as_str().into()))),
            Label::Member(index) => drop(write!(path, "{{{index}}}")),
            Label::KeyItself(key) => drop(write!(path, "[{}](key)", repr(key))),
            Label::State(0) => path.push_str("(state)"),
            Label::State(index) => drop(write!(path, "(state {index})")),
        }
    }
}

/// Whether a name is made of letters, digits and underscores alone.
fn is_plain(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_numeric())
        && !name.is_empty()
        && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
}

/// The contents of a container, one by one, without holding its lock in between.
pub(super) enum Children {
    Dict(Dict, usize, std::vec::IntoIter<(Label, Value)>),
    List(List, usize),
    Tuple(Items, usize),
    Listed(std::vec::IntoIter<(Label, Value)>),
}

impl Children {
    /// `None` for leaves on which nothing hangs.
    pub(super) fn of(value: &Value, holders: &mut Holders) -> Option<Self> {
        let listed =
            |contents: Vec<(Label, Value)>| (!contents.is_empty()).then(|| Children::Listed(contents.into_iter()));
        match value {
            Value::Dict(dict) => {
                let beside = beside_entries(dict, holders);
                let empty = dict.is_empty() && beside.is_empty();
                (!empty).then(|| Children::Dict(dict.clone(), 0, beside.into_iter()))
            }
            Value::List(list) if !list.read().is_empty() => Some(Children::List(list.clone(), 0)),
            Value::Tuple(items) if !items.is_empty() => Some(Children::Tuple(items.clone(), 0)),
            Value::Set(items) => listed(members(&items.read().clone(), holders)),
            Value::FrozenSet(items) => listed(members(items, holders)),
            Value::Object(_) if scalar::of_numpy(value).is_some() => None,
            Value::Object(_) | Value::Tensor(_) => {
                listed(contents(value).into_iter().map(|(label, value, _)| (label, value)).collect())
            }
            _ => None,
        }
    }

    /// How many there are.
    fn len(&self) -> usize {
        match self {
            Children::Dict(dict, _, beside) => dict.len() + beside.len(),
            Children::List(list, _) => list.read().len(),
            Children::Tuple(items, _) => items.len(),
            Children::Listed(contents) => contents.len(),
        }
    }
}

impl Iterator for Children {
    type Item = (Label, Value);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Children::Dict(dict, next, beside) => {
                let data = dict.read();
                let Some((key, value)) = data.entries.get_index(*next) else { return beside.next() };
                *next += 1;
                Some((Label::Key(key.0.clone()), value.clone()))
            }
            Children::List(list, next) => {
                let value = list.read().get(*next)?.clone();
                *next += 1;
                Some((Label::Index(*next - 1), value))
            }
            Children::Tuple(items, next) => {
                let value = items.get(*next)?.clone();
                *next += 1;
                Some((Label::Index(*next - 1), value))
            }
            Children::Listed(contents) => contents.next(),
        }
    }
}

/// Whether a value is a leaf, too, where something hangs on it.
fn is_leaf_too(value: &Value) -> bool {
    matches!(value, Value::Tensor(_) | Value::Set(_) | Value::FrozenSet(_)) || Array::of(value).is_some()
}

/// The attribute of a dict that tells the modules' versions.
const VERSIONS: &str = "_metadata";

/// What a dict holds beside its entries: keys and attributes in which there are tensors.
fn beside_entries(dict: &Dict, holders: &mut Holders) -> Vec<(Label, Value)> {
    let (keys, state) = {
        let data = dict.read();
        let keys: Vec<Value> =
            data.entries.keys().filter(|key| key.0.id().is_some()).map(|key| key.0.clone()).collect();
        (keys, data.state.clone())
    };
    let mut beside: Vec<(Label, Value)> = Vec::new();
    for key in keys {
        if holders.hold(&key) {
            beside.push((Label::KeyItself(key.clone()), key));
        }
    }
    for (key, value) in state.iter().filter_map(attributes).flatten().flat_map(|dict| dict.entries()) {
        if key.as_str() != Some(VERSIONS) && holders.hold(&value) {
            beside.push((Label::Attribute(key), value));
        }
    }
    beside
}

/// What is in a set and has tensors in it.
fn members(items: &[Value], holders: &mut Holders) -> Vec<(Label, Value)> {
    let items = items.iter().enumerate().filter(|(_, item)| holders.hold(item));
    items.map(|(i, item)| (Label::Member(i), item.clone())).collect()
}

/// Which values have tensors or storages in them; found once, when it is first asked for.
pub(super) struct Holders {
    root: Value,
    found: Option<HashSet<usize>>,
}

impl Holders {
    pub(super) fn of(root: &Value) -> Self {
        Holders { root: root.clone(), found: None }
    }

    fn hold(&mut self, value: &Value) -> bool {
        match value {
            Value::Tensor(_) | Value::Storage(_) => true,
            value => value.id().is_some_and(|id| {
                let root = &self.root;
                self.found.get_or_insert_with(|| holders(root)).contains(&id)
            }),
        }
    }
}

/// The identities of all values with a tensor or storage in them: what holds one, what holds that, and so on.
fn holders(root: &Value) -> HashSet<usize> {
    let mut held_by: HashMap<usize, Vec<usize>> = HashMap::new();
    let (mut seen, mut found) = (HashSet::new(), Vec::new());
    let mut waiting = vec![root.clone()];
    while let Some(value) = waiting.pop() {
        let Some(id) = value.id().filter(|id| seen.insert(*id)) else { continue };
        if matches!(value, Value::Tensor(_) | Value::Storage(_)) {
            found.push(id);
        }
        for inside in value.within() {
            if let Some(inner) = inside.id() {
                held_by.entry(inner).or_default().push(id);
                waiting.push(inside);
            }
        }
    }
    let mut holders = HashSet::new();
    while let Some(id) = found.pop() {
        if holders.insert(id) {
            found.extend(held_by.remove(&id).unwrap_or_default());
        }
    }
    holders
}

/// What an object or a tensor holds, each with where it is kept.
pub(super) fn contents(value: &Value) -> Vec<(Label, Value, Slot)> {
    match value {
        Value::Object(object) => match Array::of(value) {
            Some(array) => in_array(&array),
            None if array::describe(value).is_some() => Vec::new(),
            None => of_object(object),
        },
        Value::Tensor(tensor) => on_tensor(tensor),
        _ => Vec::new(),
    }
}

/// What is in a NumPy array of objects, each by its place: `[3]`, `[(0, 1)]`.
fn in_array(array: &Array) -> Vec<(Label, Value, Slot)> {
    let label = |place: Vec<usize>| match place[..] {
        [index] => Label::Index(index),
        _ => Label::Key(Value::tuple(place.into_iter().map(Value::from))),
    };
    array.objects().into_iter().map(|(place, value)| (label(place), value, Slot::Fixed)).collect()
}

/// What hangs on a tensor, each with the end of its path behind that of the tensor.
pub(crate) fn hanging(tensor: &Tensor) -> Vec<(String, Value)> {
    let mut speller = Speller::new(&tensor.clone().into(), false);
    let end = |(label, value, _): (Label, Value, Slot)| {
        let mut path = String::new();
        speller.write(&label, &value, &mut path);
        (path, value)
    };
    on_tensor(tensor).into_iter().map(end).collect()
}

/// What hangs on a tensor: attributes, hooks, a quantiser's parameters; and the tensors that it consists of, where something
/// hangs on them in turn.
fn on_tensor(tensor: &Tensor) -> Vec<(Label, Value, Slot)> {
    let parts = tensor.parts();
    let mut all = Vec::new();
    match parts.attributes() {
        None | Some(Value::None) => {}
        Some(state) => match attributes(state) {
            Some(dicts) => dicts.iter().for_each(|dict| attributes_in(dict, &mut all)),
            None => all.push((Label::State(0), state.clone(), Slot::Fixed)),
        },
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
    let names: &[&str] = match &parts.data {
        TensorData::Sparse { layout: SparseLayout::Coo, .. } => &["indices", "values"],
        TensorData::Sparse { .. } => &["compressed_indices", "plain_indices", "values"],
        TensorData::Nested { .. } => &["buffer", "sizes", "strides", "offsets"],
        TensorData::Strided { .. } | TensorData::Meta { .. } | TensorData::Wrapper { .. } => &[],
    };
    for (name, part) in names.iter().zip(parts.data.tensors()) {
        if !on_tensor(part).is_empty() {
            named(name, part.clone().into());
        }
    }
    all
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

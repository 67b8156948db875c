//! The way through all the places inside a [`Value`], each with its path.

use std::collections::{HashMap, HashSet};

use crate::serde::scalar;
use crate::value::{Array, Items, List};
use crate::walk::contents::{Slot, attributes, contents, on_tensor};
use crate::walk::label::Label;
use crate::walk::spelling::Speller;
use crate::{Dict, Error, Limits, Result, Tensor, Value};

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

/// The way to a place.
pub(crate) struct Way<'a> {
    /// How it is spelled.
    pub(crate) path: &'a str,
    /// Its parts, from the root on.
    pub(super) labels: &'a [Label],
    /// Which place it is, counted in order.
    pub(super) nth: u64,
}

/// As [`walk`], with the containers, each before what is in it.
pub(crate) fn each(
    root: &Value,
    limits: &Limits,
    visit: &mut dyn FnMut(&str, Place, &Value) -> Result<()>,
) -> Result<()> {
    ways(root, limits, &mut |way, place, value| visit(way.path, place, value))
}

/// As [`each`], with the whole way to each place.
pub(crate) fn ways(
    root: &Value,
    limits: &Limits,
    visit: &mut dyn FnMut(&Way<'_>, Place, &Value) -> Result<()>,
) -> Result<()> {
    struct Level {
        children: Children,
        speller: Speller,
        /// The container's identity, and how long its path is.
        id: Option<usize>,
        path: usize,
    }

    let (mut path, mut labels) = (String::new(), Vec::new());
    let (mut places, mut leaves, mut spelled) = (0, 0, 0);
    let mut above = HashSet::new();
    // What is there, each container counted once: of that follows how many paths an honest value has.
    let (mut entered, mut held) = (HashSet::new(), 0_u64);
    let mut levels: Vec<Level> = Vec::new();
    let mut holders = Holders::of(root);
    let mut next = Some(root.clone());
    loop {
        if let Some(value) = next.take() {
            places += 1;
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
                let way = Way { path: &path, labels: &labels, nth: places };
                match scalar::of_numpy(&value) {
                    Some(number) => visit(&way, Place::Leaf, &number)?,
                    None => visit(&way, Place::Leaf, &value)?,
                }
            }
            if let Some(children) = children {
                if levels.len() >= limits.depth {
                    let what = format!("the nesting of containers at '{path}'");
                    return Err(Error::limit(what, limits.depth as u64));
                }
                visit(&Way { path: &path, labels: &labels, nth: places }, Place::Container, &value)?;
                if id.is_none_or(|id| entered.insert(id)) {
                    held += children.len() as u64;
                }
                above.extend(id);
                let speller = Speller::new(&value, path.is_empty());
                levels.push(Level { children, speller, id, path: path.len() });
            }
        }
        labels.truncate(levels.len().saturating_sub(1));
        let Some(level) = levels.last_mut() else { return Ok(()) };
        path.truncate(level.path);
        if let Some((label, value)) = level.children.next() {
            level.speller.write(&label, &value, &mut path);
            labels.push(label);
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

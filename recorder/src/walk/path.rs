//! From a path to the value there, and to the place where it is kept.

use std::collections::HashSet;

#[cfg(doc)]
use crate::ErrorKind;
use crate::printable::from_printable;
use crate::state_dict::report::nearest;
use crate::walk::contents::{Slot, attributes, attributes_in, contents, is_empty};
use crate::walk::label::Label;
use crate::walk::places::{Children, Holders};
use crate::walk::repr::{quoted, repr};
use crate::walk::spelling::Speller;
use crate::{Dict, Error, Result, Value};

/// How a path is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// As [`walk`](super::walk) spells it.
    Spelled,
    /// Quoted or not, whatever fits.
    Lenient,
}

/// What a path leads to: the value, the place where it is kept, and the key of each step on the way, where it has one.
struct Found {
    value: Value,
    slot: Slot,
    keys: Vec<Option<Value>>,
}

/// The contents of a container that a path may go on with: how much of it that takes, the key, and what is there.
type Step = (usize, Option<Value>, Value, Slot);

/// What is at a path.
fn find(root: &Value, path: &str) -> Option<Found> {
    // A terminal shows control characters escaped.
    let unescaped = from_printable(path);
    [Reading::Spelled, Reading::Lenient]
        .into_iter()
        .find_map(|reading| find_as(root, path, reading).or_else(|| find_as(root, unescaped.as_deref()?, reading)))
}

fn find_as(root: &Value, path: &str, reading: Reading) -> Option<Found> {
    // The step before each, and its key.
    let mut trail: Vec<(Option<usize>, Option<Value>)> = Vec::new();
    let mut waiting = vec![(root.clone(), Slot::Root, 0, None)];
    let mut seen = HashSet::new();
    while let Some((value, slot, at, mut step)) = waiting.pop() {
        let rest = path.get(at..)?;
        // The empty path is the root; a key that is empty is quoted, or found behind a dot, or where more of the path follows.
        if rest.is_empty() {
            let mut keys = Vec::new();
            while let Some((before, key)) = step.and_then(|step: usize| trail.get(step)) {
                keys.push(key.clone());
                step = *before;
            }
            keys.reverse();
            return Some(Found { value, slot, keys });
        }
        if value.id().is_none_or(|id| seen.insert((id, at))) {
            let mut steps = steps(&value, rest, at == 0, reading);
            // The longest key is tried first, so it goes on top.
            steps.sort_by_key(|(length, ..)| *length);
            waiting.extend(steps.into_iter().map(|(length, key, value, slot)| {
                trail.push((step, key));
                (value, slot, at + length, Some(trail.len() - 1))
            }));
        }
    }
    None
}

/// The keys of dicts and objects and the places in lists that a path leads through, as [`spelled`](super::spelled) takes them; `None`
/// where it leads nowhere, or through something else.
pub(crate) fn keys_to(root: &Value, path: &str) -> Option<Vec<Value>> {
    find(root, path)?.keys.into_iter().collect()
}

/// What tells a step from others in a container: a key, or a place.
fn key_of(label: &Label) -> Option<Value> {
    match label {
        Label::Key(key) => Some(key.clone()),
        Label::Index(index) => i64::try_from(*index).ok().map(Value::Int),
        _ => None,
    }
}

/// The contents whose labels the path may go on with, each with the label's length.
fn steps(value: &Value, rest: &str, first: bool, reading: Reading) -> Vec<Step> {
    let mut speller = Speller::new(value, first);
    let mut length = |label: &Label, inside: &Value| match (reading, label) {
        (Reading::Lenient, Label::Key(key)) => match_key(key, rest, first),
        (Reading::Lenient, Label::Attribute(key)) => {
            let bare = match_key(key, rest, first);
            bare.or_else(|| speller.length(label, inside, rest))
        }
        _ => speller.length(label, inside, rest),
    };
    match value {
        Value::Dict(dict) => {
            // Without the lock: whether a key is quoted may depend on what is in this very dict.
            let matching = fitting(dict, rest, first).into_iter().filter_map(|(index, key, value)| {
                let label = Label::Key(key);
                Some((length(&label, &value)?, key_of(&label), value, Slot::Entry(dict.clone(), index)))
            });
            let mut steps: Vec<_> = matching.collect();
            // A key that tensors are in can be asked for itself.
            let keys: Vec<Value> =
                dict.read().entries.keys().map(|key| key.0.clone()).filter(|key| key.id().is_some()).collect();
            steps.extend(
                keys.into_iter()
                    .filter(|_| rest.starts_with('['))
                    .filter_map(|key| Some((length(&Label::KeyItself(key.clone()), &key)?, None, key, Slot::Fixed))),
            );
            // Attributes of the dict, such as `_metadata`, can be asked for by name; entries go before them.
            let mut beside = Vec::new();
            dict.state().iter().filter_map(attributes).flatten().for_each(|dict| attributes_in(&dict, &mut beside));
            let beside = beside
                .into_iter()
                .filter_map(|(label, value, slot)| Some((length(&label, &value)?, None, value, slot)));
            steps.splice(0..0, beside);
            steps
        }
        Value::List(_) | Value::Tuple(_) | Value::Size(_) => {
            let Some((index, length)) = match_index(rest) else { return Vec::new() };
            let (value, slot) = match value {
                Value::List(list) => (list.read().get(index).cloned(), Slot::Item(list.clone(), index)),
                Value::Tuple(items) => (items.get(index).cloned(), Slot::Fixed),
                Value::Size(items) => (items.get(index).map(|&i| Value::Int(i)), Slot::Fixed),
                _ => (None, Slot::Fixed),
            };
            value.map(|value| (length, key_of(&Label::Index(index)), value, slot)).into_iter().collect()
        }
        Value::Set(items) => member(&items.read(), rest).into_iter().collect(),
        Value::FrozenSet(items) => member(items, rest).into_iter().collect(),
        value => {
            let all = contents(value).into_iter();
            all.filter_map(|(label, value, slot)| Some((length(&label, &value)?, key_of(&label), value, slot)))
                .collect()
        }
    }
}

/// The entries of a dict whose keys the rest of a path may begin with, in order.
fn fitting(dict: &Dict, rest: &str, first: bool) -> Vec<(usize, Value, Value)> {
    let quoted = rest.starts_with('[');
    let data = dict.read();
    let entries = data.entries.iter().enumerate();
    let fits = |key: &Value| match key {
        Value::Str(_) => quoted || match_key(key, rest, first).is_some(),
        Value::Int(_) => quoted && match_key(key, rest, first).is_some(),
        _ => quoted,
    };
    entries
        .filter(|(_, (key, _))| fits(&key.0))
        .map(|(index, (key, value))| (index, key.0.clone(), value.clone()))
        .collect()
}

/// How much of the path this key takes: `.key`, `['key']` or `["key"]` for strings, `[repr]` for others.
fn match_key(key: &Value, rest: &str, first: bool) -> Option<usize> {
    if let Value::Str(name) = key {
        let bare = if first { Some(rest) } else { rest.strip_prefix('.') };
        if let Some(length) = bare.filter(|bare| bare.starts_with(&**name)).map(|_| name.len() + usize::from(!first)) {
            return Some(length);
        }
        let quote = rest.strip_prefix('[')?.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        if let Some(after) = rest.strip_prefix(&*quoted(name)) {
            return Some(rest.len() - after.len());
        }
        let after = rest.get(2..)?.strip_prefix(&**name)?;
        return (after.strip_prefix(quote)?.starts_with(']')).then_some(name.len() + 4);
    }
    let inside = rest.strip_prefix('[')?;
    let text = repr(key);
    inside.strip_prefix(&*text)?.starts_with(']').then_some(text.len() + 2)
}

/// `{place}` at the beginning of a path: something in a set.
fn member(items: &[Value], rest: &str) -> Option<Step> {
    let (digits, _) = rest.strip_prefix('{')?.split_once('}')?;
    let item = items.get(digits.parse::<usize>().ok()?)?;
    Some((digits.len() + 2, None, item.clone(), Slot::Fixed))
}

/// `[place]` at the beginning of a path, with its length.
fn match_index(rest: &str) -> Option<(usize, usize)> {
    let (digits, _) = rest.strip_prefix('[')?.split_once(']')?;
    Some((digits.parse().ok()?, digits.len() + 2))
}

/// The value at a path.
///
/// # Errors
/// [`ErrorKind::MissingKey`] with the nearest name there is.
///
/// ```
/// # use rekindle_recorder::{Dict, Value, walk};
/// let groups = vec![Dict::from_iter([("lr", 0.1)])];
/// let root: Value = Dict::from_iter([("param_groups", groups)]).into();
/// assert_eq!(walk::get(&root, "param_groups[0].lr")?.as_f64(), Some(0.1));
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
pub fn get(root: &Value, path: &str) -> Result<Value> {
    find(root, path).map(|found| found.value).ok_or_else(|| missing(root, path))
}

/// Whether there is a value at a path.
#[must_use]
pub fn contains(root: &Value, path: &str) -> bool {
    find(root, path).is_some()
}

/// Puts a value at a path. Where nothing is there yet, its last part becomes a new key of the dict that the rest leads to,
/// or a new last item of the list. A new key that holds dots is spelled `['conv1.weight']`.
///
/// # Errors
/// [`ErrorKind::MissingKey`] when the rest of the path leads nowhere, [`ErrorKind::Invalid`] when the place cannot be changed
/// (it is the root, in a tuple, or beyond a list's end).
pub fn set(root: &Value, path: &str, value: impl Into<Value>) -> Result<()> {
    let value = value.into();
    if let Some(found) = find(root, path) {
        return found.slot.put(path, value);
    }
    let (parent, key) =
        split_last(path).ok_or_else(|| Error::invalid(format!("'{path}' ends in nothing that could be a new key")))?;
    let container = find(root, parent).ok_or_else(|| missing(root, parent))?.value;
    match (&container, key) {
        (Value::Dict(dict), key) => {
            dict.insert(key, value);
        }
        (Value::List(list), Value::Int(index)) if usize::try_from(index).is_ok_and(|i| i == list.read().len()) => {
            list.write().push(value);
        }
        (Value::List(list), Value::Int(_)) => {
            let reason = format!("'{path}' is beyond the end of a list of {}", list.read().len());
            return Err(Error::invalid(reason));
        }
        (Value::Object(object), key) => {
            let attributes = object.read().states.iter().filter_map(attributes).flatten().next();
            match attributes {
                Some(attributes) => drop(attributes.insert(key, value)),
                None => object.write().entries.push((key, value)),
            }
        }
        (other, _) => {
            let parent = if parent.is_empty() { "the root" } else { parent };
            return Err(Error::wrong_type(parent, "a dict to put a new key in", other.describe()));
        }
    }
    Ok(())
}

/// The path without its last part, and that part as a key.
fn split_last(path: &str) -> Option<(&str, Value)> {
    let Some(inside) = path.strip_suffix(']') else {
        return match path.rsplit_once('.') {
            Some((parent, key)) => Some((parent, key.into())),
            None if path.is_empty() || path.contains(['(', '[']) => None,
            None => Some(("", path.into())),
        };
    };
    for quote in ['\'', '"'] {
        if let Some(quoted) = inside.strip_suffix(quote)
            && let Some((parent, name)) = quoted.rsplit_once(&format!("[{quote}"))
        {
            return Some((parent, name.into()));
        }
    }
    let (parent, index) = inside.rsplit_once('[')?;
    Some((parent, Value::Int(index.parse().ok()?)))
}

/// The error for a path that leads nowhere, with what there is where it leaves the way.
fn missing(root: &Value, path: &str) -> Error {
    let ends = path.char_indices().rev().filter(|(_, c)| matches!(c, '.' | '[' | '(')).map(|(i, _)| i);
    let parent = ends.chain([0]).map(|end| &path[..end]).find(|parent| find(root, parent).is_some()).unwrap_or("");
    let value = find(root, parent).map_or(Value::None, |found| found.value);
    let mut speller = Speller::new(&value, parent.is_empty());
    let names: Vec<String> = Children::of(&value, &mut Holders::of(root)).map_or_else(Vec::new, |children| {
        let full = |(label, value): (Label, Value)| {
            let mut full = parent.to_owned();
            speller.write(&label, &value, &mut full);
            full
        };
        children.map(full).collect()
    });
    let advice = if let Some(near) = nearest(path, names.iter().map(String::as_str)) {
        format!("did you mean '{near}'?")
    } else if names.is_empty() {
        let index = if parent.is_empty() { "the root" } else { parent };
        format!("{index} is {}", if is_empty(&value) { "empty".to_owned() } else { value.describe() })
    } else {
        format!("there are {}", list_names(&names))
    };
    Error::missing_key(path).advise(advice)
}

/// The first few names, and how many more there are.
pub(crate) fn list_names<S: AsRef<str>>(names: &[S]) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("'{}'", name.as_ref())).collect();
    let more = names.len().saturating_sub(SHOWN);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    shown.join(", ") + &more
}

//! Paths in a checkpoint: keys of dicts and indices of lists, from the root on.

use crate::state_dict::module::shallow;
use crate::value::{Key, List, Shared};
use crate::{Error, Result, Value, walk};

/// What the root is called.
const ROOT: &str = "the root";

/// The way to a value, key by key; empty for the root.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyPath(Vec<Value>);

/// What is in a dict or an object under names, or in a list.
pub(super) fn children(value: &Value) -> Vec<(Value, Value)> {
    match value {
        Value::Dict(dict) => dict.entries(),
        Value::Object(_) => walk::entries(value).unwrap_or_default(),
        other => {
            other.items().unwrap_or_default().into_iter().zip(0..).map(|(item, i)| (Value::Int(i), item)).collect()
        }
    }
}

/// Whether a value may hold others.
pub(super) fn is_container(value: &Value) -> bool {
    matches!(value, Value::Dict(_) | Value::List(_) | Value::Tuple(_) | Value::Object(_))
}

impl PartialEq for KeyPath {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&Value, &Value)| match (a.as_str(), b.as_str()) {
            (None, None) => walk::repr(a) == walk::repr(b),
            (a, b) => a == b,
        };
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(same)
    }
}

impl KeyPath {
    pub(super) fn key(key: impl Into<Value>) -> Self {
        KeyPath(vec![key.into()])
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The key, if it is one at the root.
    pub(super) fn only_key(&self) -> Option<String> {
        if let [Value::Str(key)] = &self.0[..] { Some(key.to_string()) } else { None }
    }

    /// All keys on the way.
    pub(super) fn keys(&self) -> &[Value] {
        &self.0
    }

    /// The path that is spelled so, if there is something: as [`walk`] spells it, or quoted where it need not be.
    pub(super) fn find(root: &Value, place: &str) -> Option<KeyPath> {
        if place == ROOT && !walk::contains(root, place) {
            return Some(KeyPath::default());
        }
        walk::keys_to(root, place).map(KeyPath)
    }

    /// As [`walk`] spells it, from the root on, so that it is found again.
    pub(super) fn spelled(&self, root: &Value) -> String {
        if self.is_root() { ROOT.to_owned() } else { walk::spelled(root, &self.0) }
    }

    /// The string keys on the way with dots between them, to look for words in.
    pub(super) fn words(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|key| key.as_str().map_or_else(|| walk::repr(key), Into::into)).collect();
        words.join(".")
    }

    /// The key at its end.
    pub(super) fn last_key(&self) -> Option<String> {
        self.0.last().and_then(Value::as_str).map(ToOwned::to_owned)
    }

    /// Whether it leads through another.
    pub(super) fn is_within(&self, other: &KeyPath) -> bool {
        self.0.len() > other.0.len() && KeyPath(self.0[..other.0.len()].to_vec()) == *other
    }

    /// The path of a key in what is here.
    pub(super) fn then(mut self, key: impl Into<Value>) -> Self {
        self.0.push(key.into());
        self
    }

    pub(super) fn value(&self, root: &Value) -> Option<Value> {
        self.0.iter().try_fold(root.clone(), |value, key| match &value {
            Value::Dict(dict) => dict.get_key(key),
            Value::Object(_) => children(&value)
                .into_iter()
                .find(|(known, _)| walk::repr(known) == walk::repr(key))
                .map(|(_, inside)| inside),
            other => other.items()?.get(usize::try_from(key.as_i64()?).ok()?).cloned(),
        })
    }

    /// A copy of the root without what is here: an entry of a dict goes, another place holds None.
    pub(super) fn removed(&self, root: &Value) -> Result<Value> {
        let (Some(key), parent) = (self.0.last(), KeyPath(self.0[..self.0.len().saturating_sub(1)].to_vec())) else {
            return Ok(Value::None);
        };
        match parent.value(root) {
            Some(Value::Dict(dict)) => {
                let copy = shallow(&dict);
                copy.write().entries.shift_remove(&Key(key.clone()));
                parent.replaced(root, copy.into())
            }
            _ => self.replaced(root, Value::None),
        }
    }

    /// A copy of the root with another value here. Only the containers on the way are copied; a new key goes to the end.
    pub(super) fn replaced(&self, root: &Value, value: Value) -> Result<Value> {
        replaced(root, &self.0, value)
            .ok_or_else(|| Error::wrong_type(self.spelled(root), "a place in a dict", "elsewhere"))
    }
}

fn replaced(container: &Value, way: &[Value], value: Value) -> Option<Value> {
    let [key, rest @ ..] = way else { return Some(value) };
    match container {
        Value::Dict(dict) => {
            let copy = shallow(dict);
            let inner = dict.get_key(key).unwrap_or(Value::None);
            copy.insert(key.clone(), replaced(&inner, rest, value)?);
            Some(copy.into())
        }
        Value::List(_) | Value::Tuple(_) => {
            let mut items = container.items()?;
            let item = items.get_mut(usize::try_from(key.as_i64()?).ok()?)?;
            *item = replaced(item, rest, value)?;
            Some(if matches!(container, Value::List(_)) { Value::List(List::new(items)) } else { Value::tuple(items) })
        }
        Value::Object(object) => {
            let mut data = object.read().clone();
            let is_key = |known: &Value| walk::repr(known) == walk::repr(key);
            if let Some((_, item)) = data.entries.iter_mut().find(|(known, _)| is_key(known)) {
                *item = replaced(item, rest, value)?;
                return Some(Value::Object(Shared::new(data)));
            }
            // An attribute, in the dict that is the object's state, or in one of a pair of them.
            let has = |state: &Value| state.as_dict().is_some_and(|dict| dict.get_key(key).is_some());
            for state in &mut data.states {
                let place = state.items().and_then(|pair| pair.iter().position(has));
                let way: Vec<Value> = match place {
                    Some(place) => {
                        std::iter::once(Value::Int(i64::try_from(place).ok()?)).chain(way.iter().cloned()).collect()
                    }
                    None if has(state) => way.to_vec(),
                    None => continue,
                };
                *state = replaced(state, &way, value)?;
                return Some(Value::Object(Shared::new(data)));
            }
            None
        }
        _ => None,
    }
}

//! `StateDict`: what `module.state_dict()` gives in PyTorch. Names in order, each with a tensor (or, for `_extra_state`,
//! with anything), and the `_metadata` that tells each module's version.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;

#[cfg(doc)]
use crate::ErrorKind;
use crate::state_dict::module;
use crate::value::DictKind;
use crate::{Dict, Error, Result, Tensor, Value};

/// The attribute that holds the modules' versions.
const METADATA: &str = "_metadata";

/// An ordered state dict: name -> tensor, as `module.state_dict()` gives it.
///
/// Tensors are shared handles: a clone of a state dict holds the same tensors, and two names on one storage stay so when
/// the state dict is written. Cloning copies the names and handles only.
///
/// ```
/// # use rekindle_recorder::{StateDict, Tensor};
/// let mut state_dict = StateDict::new();
/// state_dict.insert("fc.weight", Tensor::from_vec(&[2, 3], vec![0.0_f32; 6])?);
/// state_dict.insert("fc.bias", Tensor::from_vec(&[2], vec![0.0_f32; 2])?);
/// assert_eq!(state_dict.keys().collect::<Vec<_>>(), ["fc.weight", "fc.bias"]);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Clone)]
pub struct StateDict {
    kind: DictKind,
    entries: IndexMap<Arc<str>, Value>,
    /// `_metadata`, out of `state`.
    metadata: Option<Value>,
    /// All attributes of the dict.
    state: Option<Value>,
}

impl StateDict {
    /// An empty state dict without `_metadata`; written as a `collections.OrderedDict`.
    #[must_use]
    pub fn new() -> Self {
        StateDict { kind: DictKind::OrderedDict, entries: IndexMap::new(), metadata: None, state: None }
    }

    /// Reads a state dict from a `dict` or `OrderedDict` whose keys are all strings, or from an object that was filled like
    /// one (a subclass of `dict`). Values are kept whatever they are; `_metadata` is taken from the dict's attributes, where
    /// PyTorch puts it. (An entry that is named `_metadata` stays an entry.)
    ///
    /// Of a whole `nn.Module` it is what its `state_dict()` gives, but for `_metadata` and `get_extra_state()`, which only its
    /// class knows.
    ///
    /// # Errors
    /// [`ErrorKind::WrongType`] when it is no dict, or one of its keys is no string.
    pub fn from_value(value: &Value) -> Result<Self> {
        StateDict::read(value, "the state dict", false)
    }

    /// The same with parameters left parameters, as `state_dict(keep_vars=True)` gives them: which of them are trained is told
    /// by [`Tensor::requires_grad`]. It makes a difference for a whole `nn.Module` only.
    ///
    /// # Errors
    /// As [`StateDict::from_value`].
    pub fn from_value_keep_vars(value: &Value) -> Result<Self> {
        StateDict::read(value, "the state dict", true)
    }

    /// The same, with the name of the value for errors.
    pub(crate) fn read(value: &Value, place: &str, keep_vars: bool) -> Result<Self> {
        if let Some(module) = module::state_dict(value, keep_vars) {
            return module;
        }
        let (kind, entries, state) = match value {
            Value::Dict(dict) => {
                let data = dict.read();
                let entries = named(data.entries.iter().map(|(key, value)| (&key.0, value)), place)?;
                (data.kind, entries, data.state.clone())
            }
            Value::Object(object) if !object.read().entries.is_empty() => {
                let data = object.read();
                let entries = named(data.entries.iter().map(|(key, value)| (key, value)), place)?;
                (DictKind::OrderedDict, entries, data.states.first().cloned())
            }
            other => return Err(Error::wrong_type(place, "a dict of names and tensors", other.describe())),
        };
        let metadata = state.as_ref().and_then(Value::as_dict).and_then(|attributes| attributes.get(METADATA));
        Ok(StateDict { kind, entries, metadata, state })
    }

    /// The state dict as PyTorch saves it: a new `OrderedDict` (or `dict`, where it came as one) of the same tensors, with
    /// `_metadata` as an attribute.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut dict = match self.kind {
            DictKind::Dict => Dict::new(),
            DictKind::OrderedDict => Dict::ordered(),
        };
        dict.extend(self.entries.clone());
        dict.write().state.clone_from(&self.state);
        Value::Dict(dict)
    }

    /// The same with every tensor detached, as `state_dict()` gives them without `keep_vars`.
    pub(crate) fn detach(mut self) -> Self {
        for value in self.entries.values_mut() {
            if let Value::Tensor(tensor) = value {
                *tensor = tensor.detach();
            }
        }
        self
    }

    /// The tensor of this name; `None` where there is none, or its value is no tensor.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.entries.get(name)?.as_tensor()
    }

    /// The value of this name, whatever it is.
    #[must_use]
    pub fn get_value(&self, name: &str) -> Option<&Value> {
        self.entries.get(name)
    }

    /// Whether there is a value of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Puts a tensor under a name: in the name's place if it is there, else at the end. Gives the value that was there.
    pub fn insert(&mut self, name: impl Into<Arc<str>>, tensor: Tensor) -> Option<Value> {
        self.insert_value(name, tensor)
    }

    /// Puts any value under a name, as a module's `get_extra_state()` may give it. Gives the value that was there.
    pub fn insert_value(&mut self, name: impl Into<Arc<str>>, value: impl Into<Value>) -> Option<Value> {
        self.entries.insert(name.into(), value.into())
    }

    /// Takes a name out; the others keep their order.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.entries.shift_remove(name)
    }

    /// Keeps the entries for which `keep` answers true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Value) -> bool) {
        self.entries.retain(|name, value| keep(name, value));
    }

    /// Gives an entry another name; it stays in its place.
    ///
    /// # Errors
    /// [`ErrorKind::MissingKey`] when there is no entry `from`, [`ErrorKind::Invalid`] when there is another one named `to`.
    pub fn rename(&mut self, from: &str, to: impl Into<Arc<str>>) -> Result<()> {
        let to = to.into();
        let Some(index) = self.entries.get_index_of(from) else {
            return Err(Error::missing_key(from));
        };
        // The new name must not stand elsewhere; its own place is fine.
        match self.entries.replace_index(index, to) {
            Ok(_) => Ok(()),
            Err((_, to)) => Err(Error::invalid(format!("'{from}' cannot be renamed to '{to}': that name is taken"))),
        }
    }

    /// The names, in order.
    #[must_use]
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        self.entries.keys().map(|name| &**name)
    }

    /// The names with their tensors, in order. Values that are no tensors are left out; [`StateDict::values`] has them.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Tensor)> {
        self.entries.iter().filter_map(|(name, value)| Some((&**name, value.as_tensor()?)))
    }

    /// The names with their values, in order, tensors or not.
    #[must_use]
    pub fn values(&self) -> impl DoubleEndedIterator<Item = (&str, &Value)> + ExactSizeIterator {
        self.entries.iter().map(|(name, value)| (&**name, value))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// `_metadata`, where it came with one: a dict from each module's path (`""` is the root) to a dict with its `version`.
    #[must_use]
    pub fn metadata(&self) -> Option<&Value> {
        self.metadata.as_ref()
    }

    /// Sets `_metadata`. Other attributes of the dict are kept; those of the value it was read from do not change.
    pub fn set_metadata(&mut self, metadata: impl Into<Value>) {
        let attributes: Dict =
            self.state.as_ref().and_then(Value::as_dict).map(Dict::entries).unwrap_or_default().into_iter().collect();
        let metadata = metadata.into();
        attributes.insert(METADATA, metadata.clone());
        self.metadata = Some(metadata);
        self.state = Some(attributes.into());
    }

    /// The version that the module at this path wrote (`""` is the root), such as 2 for a `BatchNorm` that counts its
    /// batches. `None` where the state dict does not say, which PyTorch takes for the oldest.
    #[must_use]
    pub fn version(&self, module: &str) -> Option<i64> {
        self.metadata()?.as_dict()?.get(module)?.as_dict()?.get("version")?.as_i64()
    }

    /// The groups of names whose tensors view one storage, such as tied weights; each group and the names in it in order.
    /// Empty storages tie nothing.
    #[must_use]
    pub fn tied(&self) -> Vec<Vec<&str>> {
        let mut groups: IndexMap<usize, Vec<&str>> = IndexMap::new();
        for (name, tensor) in self.iter() {
            let id = match tensor.storage() {
                Some(storage) if storage.is_empty() => continue,
                Some(storage) => storage.id(),
                None => tensor.id(),
            };
            groups.entry(id).or_default().push(name);
        }
        groups.into_values().filter(|names| names.len() > 1).collect()
    }

    /// The same tensors as another state dict of the model spells them: its kind of dict, its order, the prefix that a wrapper
    /// put before its names, and its `_metadata` where there is none here. One tensor under several names (tied weights) has
    /// those that it has there, more or fewer than here.
    pub(crate) fn spelled_like(&self, other: &StateDict) -> StateDict {
        let prefix = self.prefix_in(other).unwrap_or_default();
        let mut rest: IndexMap<Arc<str>, Value> =
            self.entries.iter().map(|(name, value)| (format!("{prefix}{name}").into(), value.clone())).collect();
        let mut tied = HashMap::new();
        let known = other.iter().filter(|(name, _)| rest.contains_key(*name));
        for (name, tensor) in known {
            tied.entry(tensor.view()).or_insert((name, tensor));
        }
        let mut entries = IndexMap::with_capacity(rest.len());
        let mut written = HashSet::new();
        for (name, before) in &other.entries {
            let value = rest.get(name).cloned().or_else(|| {
                let before = before.as_tensor()?;
                let (with, of) = tied.get(&before.view())?;
                let tensor = rest.get(*with)?.as_tensor()?;
                Some(Value::Tensor(match (tensor.same(of), before.same(of)) {
                    (true, _) => before.clone(),
                    (false, true) => tensor.clone(),
                    (false, false) => tensor.alias(),
                }))
            });
            if let Some(value) = value {
                written.extend(value.as_tensor().map(Tensor::view));
                entries.insert(name.clone(), value);
            }
        }
        let is_written = |value: &Value| value.as_tensor().is_some_and(|tensor| written.contains(&tensor.view()));
        rest.retain(|name, value| !entries.contains_key(name) && !is_written(value));
        entries.extend(rest);
        // A plain dict has no place for it, and what other files say of themselves stays.
        let place = other.metadata.is_some() || other.state.is_none() && other.kind == DictKind::OrderedDict;
        let own = prefix.is_empty() && self.metadata.is_some() && place;
        let StateDict { metadata, state, .. } = if own { self } else { other };
        StateDict { kind: other.kind, entries, metadata: metadata.clone(), state: state.clone() }
    }

    /// What, put before every name here, gives a name there; `None` where some names are the same already.
    pub(crate) fn prefix_in(&self, other: &StateDict) -> Option<String> {
        if self.keys().any(|name| other.contains(name)) {
            return None;
        }
        let first = self.keys().next()?;
        let prefixes = other.keys().filter_map(|name| name.strip_suffix(first)).filter(|prefix| prefix.ends_with('.'));
        let fits = |prefix: &&str| self.keys().all(|name| other.contains(&format!("{prefix}{name}")));
        prefixes.into_iter().find(fits).map(ToOwned::to_owned)
    }

    /// Whether both have the very same attributes.
    pub(crate) fn has_attributes_of(&self, other: &StateDict) -> bool {
        self.state.as_ref().map(Value::id) == other.state.as_ref().map(Value::id)
    }
}

/// The entries by their names.
fn named<'a>(entries: impl Iterator<Item = (&'a Value, &'a Value)>, place: &str) -> Result<IndexMap<Arc<str>, Value>> {
    entries
        .map(|(key, value)| match key {
            Value::Str(name) => Ok((name.clone(), value.clone())),
            other => {
                let key = format!("the key {} of {place}", crate::walk::repr(other));
                Err(Error::wrong_type(key, "a str", other.describe()))
            }
        })
        .collect()
}

impl Default for StateDict {
    fn default() -> Self {
        StateDict::new()
    }
}

impl<K: Into<Arc<str>>, V: Into<Value>> FromIterator<(K, V)> for StateDict {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut state_dict = StateDict::new();
        state_dict.extend(entries);
        state_dict
    }
}

impl<K: Into<Arc<str>>, V: Into<Value>> Extend<(K, V)> for StateDict {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        self.entries.extend(entries.into_iter().map(|(name, value)| (name.into(), value.into())));
    }
}

impl IntoIterator for StateDict {
    type Item = (Arc<str>, Value);
    type IntoIter = indexmap::map::IntoIter<Arc<str>, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

crate::from! { Value:
    StateDict: state_dict => state_dict.to_value();
    &StateDict: state_dict => state_dict.to_value();
}

impl TryFrom<&Value> for StateDict {
    type Error = Error;

    fn try_from(value: &Value) -> Result<Self> {
        StateDict::from_value(value)
    }
}

/// Names with tensors, one a line with `{:#?}`.
impl fmt::Debug for StateDict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.values()).finish()
    }
}

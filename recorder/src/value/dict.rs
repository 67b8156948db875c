//! `Dict`: a Python dict, shared as in Python.

use std::fmt;
use std::sync::{RwLockReadGuard, RwLockWriteGuard};

use crate::value::data::{Dict, DictData, DictKind, Key, Shared, Value};
use crate::value::key::StrKey;

impl Dict {
    /// An empty `dict`.
    #[must_use]
    pub fn new() -> Self {
        Dict(Shared::new(DictData::default()))
    }

    /// An empty `collections.OrderedDict`.
    #[must_use]
    pub fn ordered() -> Self {
        Dict(Shared::new(DictData { kind: DictKind::OrderedDict, ..DictData::default() }))
    }

    /// The data, to read.
    pub fn read(&self) -> RwLockReadGuard<'_, DictData> {
        self.0.read()
    }

    /// The data, to change.
    pub fn write(&self) -> RwLockWriteGuard<'_, DictData> {
        self.0.write()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `dict` or `OrderedDict`.
    #[must_use]
    pub fn kind(&self) -> DictKind {
        self.read().kind
    }

    /// The value under a string key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value> {
        self.read().entries.get(&StrKey(key)).cloned()
    }

    /// The value under any key.
    #[must_use]
    pub fn get_key(&self, key: &Value) -> Option<Value> {
        self.read().entries.get(&Key(key.clone())).cloned()
    }

    /// Puts a value under a key: in the key's place if it is there, else at the end. Gives the value that was there.
    pub fn insert(&self, key: impl Into<Value>, value: impl Into<Value>) -> Option<Value> {
        self.write().entries.insert(Key(key.into()), value.into())
    }

    /// Takes an entry out; the others keep their order.
    pub fn remove(&self, key: &str) -> Option<Value> {
        self.write().entries.shift_remove(&StrKey(key))
    }

    /// The entries as they are now, in order.
    #[must_use]
    pub fn entries(&self) -> Vec<(Value, Value)> {
        self.read().entries.iter().map(|(key, value)| (key.0.clone(), value.clone())).collect()
    }

    /// The attributes of the instance, where it has any (a state dict keeps its `_metadata` there).
    #[must_use]
    pub fn state(&self) -> Option<Value> {
        self.read().state.clone()
    }

    /// A number that tells this dict from every other that is alive.
    #[must_use]
    pub fn id(&self) -> usize {
        self.0.id()
    }

    /// Whether both handles are the same dict.
    #[must_use]
    pub fn same(&self, other: &Dict) -> bool {
        self.0.same(&other.0)
    }
}

impl Default for Dict {
    fn default() -> Self {
        Dict::new()
    }
}

impl<K: Into<Value>, V: Into<Value>> FromIterator<(K, V)> for Dict {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut dict = Dict::new();
        dict.extend(entries);
        dict
    }
}

impl<K: Into<Value>, V: Into<Value>> Extend<(K, V)> for Dict {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        self.write().entries.extend(entries.into_iter().map(|(key, value)| (Key(key.into()), value.into())));
    }
}

impl fmt::Debug for DictData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} entries", self.kind, self.entries.len())
    }
}

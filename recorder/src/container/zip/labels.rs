//! Which tensor a storage belongs to: for messages, and for the element type of untyped storages.

use crate::value::identity::ById;
use crate::value::tensor::TensorData;
use crate::{Key, Storage, Tensor, Value, walk};

/// What the first tensor that views a storage says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// The path of that tensor from the root, such as `model_state_dict.conv1.weight`.
    pub(crate) path: String,
    /// How many bytes are swapped between big and little endian; `None` where tensors disagree.
    pub(crate) swap_unit: Option<usize>,
}

/// Labels for every storage that a tensor inside the value views, by [`Storage::id`].
///
/// Each container is entered once, so that sharing and cycles cost nothing. About so many storages there are.
pub(crate) fn collect(root: &Value, storages: usize) -> ById<Label> {
    let mut walk = Walk { seen: ById::default(), todo: vec![(String::new(), root.clone())], labels: ById::default() };
    walk.seen.reserve(storages);
    walk.labels.reserve(storages);
    while let Some((path, value)) = walk.todo.pop() {
        // What is found inside was put on top in order, so the last is taken first: turn it round.
        let before = walk.todo.len();
        walk.enter(path, &value);
        if let Some(found) = walk.todo.get_mut(before..) {
            found.reverse();
        }
    }
    walk.labels
}

struct Walk {
    seen: ById<()>,
    todo: Vec<(String, Value)>,
    labels: ById<Label>,
}

impl Walk {
    /// Notes what a value holds that can lead to a tensor. Only such values cost a path.
    fn put(&mut self, value: &Value, path: impl FnOnce() -> String) {
        if value.id().is_some_and(|id| !self.seen.contains_key(&id)) {
            self.todo.push((path(), value.clone()));
        }
    }

    fn enter(&mut self, path: String, value: &Value) {
        if value.id().is_some_and(|id| self.seen.insert(id, ()).is_some()) {
            return;
        }
        if let Value::Tensor(tensor) = value {
            return self.tensor(path, tensor);
        }
        let path = &*path;
        match value {
            Value::List(items) | Value::Set(items) => self.items(path, &items.read()),
            Value::Tuple(items) | Value::FrozenSet(items) => self.items(path, items),
            Value::Dict(dict) => {
                let data = dict.read();
                for (Key(key), value) in &data.entries {
                    self.entry(path, key, value);
                }
                if let Some(state) = &data.state {
                    self.put(state, || path.to_owned());
                }
            }
            Value::Object(object) => {
                let data = object.read();
                self.put(&data.args, || path.to_owned());
                if let Some(kwargs) = &data.kwargs {
                    self.put(kwargs, || path.to_owned());
                }
                self.items(path, &data.items);
                for (key, value) in &data.entries {
                    self.entry(path, key, value);
                }
                for state in &data.states {
                    self.put(state, || path.to_owned());
                }
            }
            _ => {}
        }
    }

    fn items(&mut self, path: &str, items: &[Value]) {
        for (i, item) in items.iter().enumerate() {
            self.put(item, || format!("{path}[{i}]"));
        }
    }

    fn entry(&mut self, path: &str, key: &Value, value: &Value) {
        self.put(key, || path.to_owned());
        self.put(value, || match key {
            Value::Str(name) if path.is_empty() => name.as_ref().to_owned(),
            Value::Str(name) => format!("{path}.{name}"),
            Value::Int(i) => format!("{path}[{i}]"),
            other => format!("{path}[{}]", other.describe()),
        });
    }

    fn tensor(&mut self, path: String, tensor: &Tensor) {
        let parts = tensor.parts();
        for inside in walk::hanging(tensor) {
            self.put(&inside.1, || format!("{path}{}", inside.0));
        }
        for part in parts.data.tensors() {
            self.put(&Value::Tensor(part.clone()), || path.clone());
        }
        for value in parts.values() {
            self.put(value, || path.clone());
        }
        if let TensorData::Strided { storage, .. } = &parts.data {
            self.label(path, storage, parts.dtype.swap_unit());
        }
    }

    fn label(&mut self, path: String, storage: &Storage, unit: usize) {
        let label = self.labels.entry(storage.id());
        let label = label.or_insert_with(|| Label { path, swap_unit: Some(unit) });
        if label.swap_unit != Some(unit) {
            label.swap_unit = None;
        }
    }
}

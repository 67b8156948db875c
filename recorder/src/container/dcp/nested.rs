//! State dicts flattened to one dict of dotted names, and put together again, as `torch.distributed.checkpoint`'s
//! `_nested_dict.py` and `_traverse.py` do it.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::container::dcp::metadata::Part;
use crate::value::{DictKind, Key, List};
use crate::{Dict, Error, Limits, Result, Tensor, Value, walk};

/// As many places of lists may stay without a value: an index beyond the end is followed by `None`s.
const MAX_GAPS: usize = 1 << 20;

/// Puts items at their places in nested dicts and lists.
pub(super) struct Nest {
    root: Dict,
    depth: usize,
    gaps: usize,
}

impl Nest {
    pub(super) fn new(limits: &Limits) -> Self {
        Nest { root: Dict::new(), depth: limits.depth, gaps: 0 }
    }

    pub(super) fn into_root(self) -> Value {
        self.root.into()
    }

    /// Puts a value where its path leads, through dicts and lists that are made where they are not there yet.
    pub(super) fn put(&mut self, name: &Arc<str>, path: Option<&[Part]>, value: Value) -> Result<()> {
        let whole = [Part::Key(Arc::clone(name))];
        let path = path.unwrap_or(&whole);
        let damaged = |reason: String| Error::damaged(format!("planner_data, '{name}'"), reason);
        if path.len() > self.depth {
            return Err(Error::limit(format!("the nesting of '{name}'"), self.depth as u64));
        }
        let Some((last, above)) = path.split_last() else { return Err(damaged("its path is empty".to_owned())) };
        let mut container = Value::Dict(self.root.clone());
        let mut parts = above.iter().zip(path.iter().skip(1));
        for (part, next) in &mut parts {
            let made = match next {
                Part::Key(_) => Value::from(Dict::new()),
                Part::Index(_) => Value::list([]),
            };
            container = self.slot(&container, part, name, |slot| match slot {
                Value::None => {
                    *slot = made;
                    slot.clone()
                }
                there => there.clone(),
            })?;
        }
        self.slot(&container, last, name, |slot| std::mem::replace(slot, value)).and_then(|old| match old {
            Value::None => Ok(()),
            other => Err(damaged(format!("{} has that place already", other.describe()))),
        })
    }

    /// Changes a place in a container, where there is `None` if it is new.
    fn slot<T>(
        &mut self,
        container: &Value,
        part: &Part,
        name: &str,
        change: impl FnOnce(&mut Value) -> T,
    ) -> Result<T> {
        match (container, part) {
            (Value::Dict(dict), part) => {
                Ok(change(dict.write().entries.entry(Key(part.value())).or_insert(Value::None)))
            }
            (Value::List(list), Part::Index(index)) => {
                let mut list = list.write();
                let gap = index.saturating_sub(list.len());
                self.gaps = self.gaps.saturating_add(gap);
                if self.gaps > MAX_GAPS {
                    return Err(Error::limit(format!("a list with a gap before '{name}'"), MAX_GAPS as u64));
                }
                if list.len() <= *index {
                    list.resize(index + 1, Value::None);
                }
                match list.get_mut(*index) {
                    Some(slot) => Ok(change(slot)),
                    None => Err(Error::damaged(format!("planner_data, '{name}'"), "it has no place")),
                }
            }
            (other, part) => {
                let what = match part {
                    Part::Key(key) => format!("the key '{key}'"),
                    Part::Index(index) => format!("the place {index}"),
                };
                let reason = format!("{what} on its way is in {}", other.describe());
                Err(Error::damaged(format!("planner_data, '{name}'"), reason))
            }
        }
    }
}

/// A value that is an item of its own, with its flattened name.
pub(super) struct Leaf {
    pub(super) name: Arc<str>,
    pub(super) path: Vec<Part>,
    pub(super) value: Value,
}

/// The items of a state dict, and what is lost when it is flattened.
#[derive(Default)]
pub(super) struct Flat {
    pub(super) leaves: Vec<Leaf>,
    /// Paths of dicts with keys that are no strings.
    pub(super) keys: Vec<String>,
    /// Paths of dicts without entries, which no item stands for.
    pub(super) empty: Vec<String>,
    /// Paths of dicts with attributes.
    pub(super) attributes: Vec<String>,
    /// Classes of dicts other than `dict`, each with the paths of its dicts.
    pub(super) classes: IndexMap<String, Vec<String>>,
    above: Vec<usize>,
    depth: usize,
}

impl Flat {
    /// Takes a state dict apart: dicts wherever they are, and lists that hold dicts or tensors. Everything else is an item.
    pub(super) fn of(root: &Value) -> Result<Self> {
        let mut flat = Flat { depth: Limits::default().depth, ..Flat::default() };
        let Some(entries) = mapping(root) else {
            let what = format!("writing {} as a distributed checkpoint", root.describe());
            let advice = "put it into a dict under a name";
            return Err(Error::unsupported(what).advise(advice));
        };
        flat.dict(root, entries, &[])?;
        Ok(flat)
    }

    fn dict(&mut self, dict: &Value, entries: Vec<(Value, Value)>, path: &[Part]) -> Result<()> {
        self.enter(dict, path)?;
        let here = joined(path);
        let called = || if path.is_empty() { "the root".to_owned() } else { here.clone() };
        if entries.is_empty() && !path.is_empty() {
            self.empty.push(called());
        }
        if entries.iter().any(|(key, _)| key.as_str().is_none()) {
            self.keys.push(called());
        }
        match dict {
            Value::Dict(dict) if dict.kind() == DictKind::Dict && dict.state().is_none() => {}
            Value::Dict(dict) if dict.state().is_some() => self.attributes.push(called()),
            Value::Object(object) => {
                let class = object.read().class().map(ToString::to_string).unwrap_or_default();
                self.classes.entry(class).or_default().push(called());
            }
            _ => {}
        }
        for (key, value) in entries {
            let key = match key {
                Value::Str(key) => key,
                other => walk::repr(&other).into(),
            };
            self.value(&value, [path, &[Part::Key(key)]].concat())?;
        }
        self.above.pop();
        Ok(())
    }

    fn value(&mut self, value: &Value, path: Vec<Part>) -> Result<()> {
        if let Some(entries) = mapping(value) {
            return self.dict(value, entries, &path);
        }
        if let Value::List(list) = value
            && self.is_divided(list, 0)?
        {
            self.enter(value, &path)?;
            let items = list.read().clone();
            for (index, item) in items.iter().enumerate() {
                self.value(item, [&*path, &[Part::Index(index)]].concat())?;
            }
            self.above.pop();
            return Ok(());
        }
        // A distributed tensor that one process held whole is written as PyTorch writes it: as what it holds.
        let whole = value.as_tensor().and_then(Tensor::whole_local);
        let value = whole.map_or_else(|| value.clone(), Value::Tensor);
        self.leaves.push(Leaf { name: joined(&path).into(), path, value });
        Ok(())
    }

    fn enter(&mut self, container: &Value, path: &[Part]) -> Result<()> {
        let id = container.id().unwrap_or_default();
        if self.above.contains(&id) || path.len() > self.depth {
            let reason = format!("'{}' holds itself or nests deeper than {}", joined(path), self.depth);
            return Err(Error::invalid(format!("{reason}, which cannot be flattened")));
        }
        self.above.push(id);
        Ok(())
    }

    /// Whether a list is taken apart: it holds a dict, a tensor, or a list that is.
    fn is_divided(&self, list: &List, depth: usize) -> Result<bool> {
        if depth > self.depth {
            return Err(Error::invalid(format!("a list nests deeper than {}", self.depth)));
        }
        let items = list.read().clone();
        for item in &items {
            let divided = match item {
                Value::Tensor(_) => true,
                Value::List(inner) => self.is_divided(inner, depth + 1)?,
                other => mapping(other).is_some(),
            };
            if divided {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The entries of what is a `Mapping` to Python.
fn mapping(value: &Value) -> Option<Vec<(Value, Value)>> {
    let is_mapping = match value {
        Value::Dict(_) => true,
        Value::Object(object) => {
            let data = object.read();
            let known = |name| data.class().is_some_and(|class| class.is("collections", name));
            !data.entries.is_empty() || known("defaultdict") || known("Counter")
        }
        _ => false,
    };
    if is_mapping { walk::entries(value) } else { None }
}

/// `optimizer.param_groups.0.lr`
fn joined(path: &[Part]) -> String {
    let part = |part: &Part| match part {
        Part::Key(key) => key.to_string(),
        Part::Index(index) => index.to_string(),
    };
    path.iter().map(part).collect::<Vec<_>>().join(".")
}

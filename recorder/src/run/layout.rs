//! `Layout`: which way of training wrote a checkpoint, told by its keys, and where each part of the run is in it.

use std::fmt;

#[cfg(doc)]
use crate::ErrorKind;
use crate::run::generators;
use crate::run::path::{KeyPath, children, is_container};
use crate::run::spellings::{CPU_GENERATOR, Role, SPELLINGS, Spelling, has_tensors, is_kept};
use crate::state_dict::module;
use crate::walk::{list_names, repr};
use crate::{Error, Result, Value};

/// How a training program lays out its checkpoints. `Display` gives the name, such as `tutorial`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// A dict of state dicts and numbers, as PyTorch's tutorials save it: `model_state_dict`, `optimizer_state_dict`, `epoch`,
    /// `loss`, in any of the spellings that are common; also several models (`modelA_state_dict`, ...).
    Tutorial,
    /// A model's state dict by itself.
    Bare,
    /// A whole `nn.Module`.
    WholeModule,
    /// None of these.
    Unknown {
        /// The keys at the root, or what there is instead of a dict.
        found: Vec<String>,
    },
}

/// One layout: its name, and how its parts are found. A new layout is a new row; what is more particular comes first.
struct Row {
    layout: Layout,
    name: &'static str,
    /// Where the parts are, if a checkpoint is of this layout.
    find: fn(&Value) -> Option<Paths>,
    /// Whether a part that has no key yet can get one at the root.
    open: bool,
}

const ROWS: [Row; 3] = [
    Row { layout: Layout::WholeModule, name: "whole-module", find: whole_module, open: false },
    Row { layout: Layout::Tutorial, name: "tutorial", find: tutorial, open: true },
    Row { layout: Layout::Bare, name: "bare", find: bare, open: false },
];

/// Where the parts of a run are, those of one role in order.
#[derive(Default)]
pub(super) struct Paths(Vec<(Role, KeyPath)>);

impl Paths {
    fn model_at(path: KeyPath) -> Self {
        Paths(vec![(Role::Model, path)])
    }

    pub(super) fn of(&self, role: Role) -> Vec<&KeyPath> {
        self.0.iter().filter(|(r, _)| *r == role).map(|(_, path)| path).collect()
    }

    /// What is here.
    pub(super) fn role(&self, path: &KeyPath) -> Option<Role> {
        self.0.iter().find(|(_, known)| known == path).map(|(role, _)| *role)
    }

    /// Whether there is anything of a role.
    pub(super) fn has(&self, role: Option<Role>) -> bool {
        self.0.iter().any(|(known, _)| Some(*known) == role)
    }

    /// Whether something is inside what is here.
    pub(super) fn inside(&self, path: &KeyPath) -> bool {
        self.0.iter().any(|(_, known)| known.is_within(path))
    }

    /// Says which state is the generator's.
    pub(super) fn set_generator(&mut self, path: KeyPath) {
        self.0.retain(|(role, _)| *role != Role::Rng);
        self.0.push((Role::Rng, path));
    }

    pub(super) fn values<'a>(&'a self, root: &'a Value, role: Role) -> impl Iterator<Item = (&'a KeyPath, Value)> {
        self.0.iter().filter(move |(r, _)| *r == role).filter_map(|(_, path)| Some((path, path.value(root)?)))
    }
}

impl Layout {
    /// The layout of a checkpoint, told by its keys.
    ///
    /// ```
    /// # use rekindle_recorder::{Dict, StateDict, Tensor, run::Layout};
    /// let model = StateDict::from_iter([("fc.bias", Tensor::scalar(0.0_f32))]);
    /// assert_eq!(Layout::detect(&model.to_value()), Layout::Bare);
    /// assert_eq!(Layout::detect(&Dict::from_iter([("state_dict", model)]).into()), Layout::Tutorial);
    /// ```
    #[must_use]
    pub fn detect(root: &Value) -> Layout {
        match ROWS.iter().find(|row| (row.find)(root).is_some()) {
            Some(row) => row.layout.clone(),
            None => Layout::Unknown { found: found(root) },
        }
    }

    fn row(&self) -> Option<&'static Row> {
        ROWS.iter().find(|row| row.layout == *self)
    }

    /// The name that the command gives it, such as `whole-module`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.row().map_or("unknown", |row| row.name)
    }

    /// Whether a part that has no key yet can get one.
    pub(super) fn is_open(&self) -> bool {
        self.row().is_some_and(|row| row.open)
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The layout of a checkpoint, and where its parts are.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for an unknown one.
pub(super) fn find(root: &Value) -> Result<(Layout, Paths)> {
    let fitting = ROWS.iter().find_map(|row| Some((row.layout.clone(), (row.find)(root)?)));
    fitting.ok_or_else(|| {
        let advice = match root {
            Value::Dict(dict) if dict.is_empty() => "it is an empty dict".to_owned(),
            Value::Dict(_) => format!(
                "none of its keys is known to hold a model's state dict: {}. Read its parts by path",
                list_names(&found(root))
            ),
            other => format!("it is {}, where a dict is expected", other.describe()),
        };
        Error::unsupported("the layout of this checkpoint").advise(advice)
    })
}

/// The keys at the root, or what there is instead of a dict.
fn found(root: &Value) -> Vec<String> {
    match root.as_dict() {
        Some(dict) => {
            dict.entries().iter().map(|(key, _)| key.as_str().map_or_else(|| repr(key), Into::into)).collect()
        }
        None => vec![root.describe()],
    }
}

fn whole_module(root: &Value) -> Option<Paths> {
    module::is_module(root).then(|| Paths::model_at(KeyPath::default()))
}

/// A dict of names of which most are tensors'. (Quantised modules keep some that are not.)
fn bare(root: &Value) -> Option<Paths> {
    let entries = crate::walk::entries(root)?;
    let tensors = entries.iter().filter(|(_, value)| value.as_tensor().is_some()).count();
    let versioned = root.as_dict().and_then(crate::Dict::state).is_some();
    let bare = has_tensors(root) && (versioned || tensors * 2 >= entries.len());
    bare.then(|| Paths::model_at(KeyPath::default()))
}

fn tutorial(root: &Value) -> Option<Paths> {
    let entries = root.as_dict()?.entries();
    let entries: Vec<(&str, &Value)> = entries.iter().filter_map(|(key, value)| Some((key.as_str()?, value))).collect();
    let mut paths = Paths::default();
    for spelling in &SPELLINGS {
        let exact = spelling.keys.iter().filter_map(|key| entries.iter().find(|(name, _)| name == key));
        let mut keys: Vec<&str> = exact.filter(|(_, value)| (spelling.fits)(value)).map(|(key, _)| *key).collect();
        match spelling.role {
            Role::Model => {
                let first = keys.first().copied();
                let belongs = |(key, value): &&(&str, &Value)| keys.contains(key) || is_one_of(spelling, key, value);
                keys = entries.iter().filter(belongs).map(|(key, _)| *key).collect();
                // The model is the one of the likeliest key.
                if let Some(first) = first {
                    keys.sort_by_key(|key| *key != first);
                }
                paths.0.extend(keys.into_iter().map(|key| (spelling.role, KeyPath::key(key))));
            }
            // These are in the file's order, under any key and in lists.
            Role::Optimizer | Role::Scheduler | Role::Scaler => {
                for (key, value) in &entries {
                    let path = KeyPath::key(*key);
                    if keys.contains(key) {
                        paths.0.push((spelling.role, path));
                    } else if is_container(value) && !is_kept(key) {
                        shaped(spelling, value, &path, 2, &mut paths);
                    }
                }
            }
            Role::Rng => {
                let plain = keys.first().map(|key| KeyPath::key(*key));
                let found = plain.or_else(|| nested_generator(spelling, &entries)).or_else(|| {
                    let parts: Vec<_> =
                        [Role::Model, Role::Optimizer].into_iter().flat_map(|role| paths.of(role)).collect();
                    generators::global(generators::all(root, &parts))
                });
                paths.0.extend(found.map(|path| (spelling.role, path)));
            }
            role => {
                let in_meta = || {
                    let (_, meta) = entries.iter().find(|(name, _)| *name == "meta")?;
                    let fits =
                        |key: &&&str| meta.as_dict().and_then(|meta| meta.get(key)).as_ref().is_some_and(spelling.fits);
                    spelling.keys.iter().find(fits).map(|key| KeyPath::key("meta").then(*key))
                };
                let path = keys.first().map(|key| KeyPath::key(*key)).or_else(in_meta);
                paths.0.extend(path.map(|path| (role, path)));
            }
        }
    }
    (!paths.of(Role::Model).is_empty()).then_some(paths)
}

/// Whether a key that is not in the table is one of several models'.
fn is_one_of(spelling: &Spelling, key: &str, value: &Value) -> bool {
    let taken = SPELLINGS.iter().any(|other| other.keys.contains(&key));
    let named = spelling.stems.iter().any(|stem| key.starts_with(stem)) || key.ends_with("_state_dict");
    !taken && named && !is_kept(key) && (spelling.must)(value)
}

/// What has the shape of a part, and nothing in the names on the way against it.
fn shaped(spelling: &Spelling, value: &Value, path: &KeyPath, depth: usize, paths: &mut Paths) {
    if (spelling.must)(value) {
        paths.0.push((spelling.role, path.clone()));
    } else if depth > 0 && !has_tensors(value) {
        for (key, inside) in children(value) {
            if is_container(&inside) && !key.as_str().is_some_and(is_kept) {
                shaped(spelling, &inside, &path.clone().then(key), depth - 1, paths);
            }
        }
    }
}

/// `rng_state = {"torch": ..., "cuda": ..., "numpy": ...}`.
fn nested_generator(spelling: &Spelling, entries: &[(&str, &Value)]) -> Option<KeyPath> {
    spelling.keys.iter().find_map(|key| {
        let (_, value) = entries.iter().find(|(name, _)| name == key)?;
        let dict = value.as_dict()?;
        let inside = CPU_GENERATOR.iter().find(|inside| dict.get(inside).as_ref().is_some_and(spelling.fits))?;
        Some(KeyPath::key(*key).then(*inside))
    })
}

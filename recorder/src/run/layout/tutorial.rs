//! A dict of state dicts and numbers, as PyTorch's tutorials save it. Frameworks whose dicts are of this kind begin with what is
//! found here.

use super::paths::{Paths, WEIGHTS};
use crate::Value;
use crate::run::averages;
use crate::run::generators;
use crate::run::loaders;
use crate::run::path::{KeyPath, children, is_container};
use crate::run::several;
use crate::run::spellings::{Role, SPELLINGS, Spelling, has_tensors, is_kept};
use crate::run::whole;

/// The parts, where there is a model among them: in the dict, or in the one dict in it that has a model and its optimizer, such as
/// `{"state": {...}, "args": ...}`.
pub(super) fn tutorial(root: &Value) -> Option<Paths> {
    let mut paths = parts(root)?;
    let at_root = paths.of(Role::Model).iter().any(|path| path.keys().len() == 1);
    if !at_root && let Some(inner) = inside(root) {
        return Some(inner.and(paths));
    }
    if !paths.has(Some(Role::Model)) && paths.has(Some(Role::Optimizer)) {
        paths.push(Role::Model, only_weights(root)?);
    }
    Some(paths).filter(|paths| paths.has(Some(Role::Model)))
}

/// The only weights in a checkpoint, however deep, beside an optimizer that was found: `{"trainer": {"state": {"nn": {...}}}}`.
fn only_weights(root: &Value) -> Option<KeyPath> {
    let mut found = Vec::new();
    weights(root, &KeyPath::default(), FAR, &mut found);
    if found.len() == 1 { found.pop() } else { None }
}

fn weights(value: &Value, path: &KeyPath, depth: usize, found: &mut Vec<KeyPath>) {
    for (key, inside) in children(value) {
        let other = key.as_str().is_some_and(|key| is_kept(key) || averages::is_name(key));
        let part = || SPELLINGS.iter().any(|spelling| spelling.role != Role::Model && (spelling.must)(&inside));
        if other || !is_container(&inside) || part() || loaders::is_state(&inside) {
            continue;
        }
        let path = path.clone().then(key);
        if has_tensors(&inside) {
            if !children(&inside).iter().any(|(_, value)| generators::is_state(value)) {
                found.push(path);
            }
        } else if depth > 1 {
            weights(&inside, &path, depth - 1, found);
        }
    }
}

/// The parts of the one dict at the root that has a model and an optimizer by themselves.
fn inside(root: &Value) -> Option<Paths> {
    let mut found = None;
    for (key, value) in root.as_dict()?.entries() {
        let whole = |paths: &Paths| {
            let near = paths.of(Role::Model).iter().any(|path| path.keys().len() == 1);
            near && paths.has(Some(Role::Optimizer))
        };
        if key.as_str().is_none_or(is_kept) {
            continue;
        }
        if let Some(paths) = parts(&value).filter(whole)
            && found.replace(paths.within(&key)).is_some()
        {
            return None;
        }
    }
    found
}

/// The parts of a dict.
pub(super) fn parts(root: &Value) -> Option<Paths> {
    let entries = root.as_dict()?.entries();
    let entries: Vec<(&str, &Value)> = entries.iter().filter_map(|(key, value)| Some((key.as_str()?, value))).collect();
    let mut paths = Paths::default();
    for spelling in &SPELLINGS {
        let exact = spelling.keys.iter().filter_map(|key| entries.iter().find(|(name, _)| name == key));
        let mut keys: Vec<&str> = exact.filter(|(_, value)| (spelling.fits)(value)).map(|(key, _)| *key).collect();
        match spelling.role {
            Role::Model => {
                let first = keys.first().copied();
                let belongs = |(key, value): &&(&str, &Value)| {
                    keys.contains(key) || *key == WEIGHTS || is_one_of(spelling, key, value)
                };
                keys = entries.iter().filter(belongs).map(|(key, _)| *key).collect();
                // The model is the one of the likeliest key.
                if let Some(first) = first {
                    keys.sort_by_key(|key| *key != first);
                }
                keys.into_iter().for_each(|key| paths.push(spelling.role, KeyPath::key(key)));
            }
            // These are in the file's order, under any key and in lists.
            Role::Optimizer | Role::Scheduler | Role::Scaler => {
                for (key, value) in &entries {
                    let path = KeyPath::key(*key);
                    if keys.contains(key) && !holds_only(spelling, value) {
                        paths.push(spelling.role, path);
                    } else if is_container(value) && !is_kept(key) {
                        shaped(spelling, value, &path, NEAR, &mut paths);
                    }
                }
                // Far down only where there is none nearer.
                let far = !paths.has(Some(spelling.role)) && spelling.role != Role::Scaler;
                for (key, value) in entries.iter().filter(|(key, _)| far && !is_kept(key)) {
                    shaped(spelling, value, &KeyPath::key(*key), FAR, &mut paths);
                }
            }
            Role::Rng => {
                let parts: Vec<_> =
                    [Role::Model, Role::Optimizer].into_iter().flat_map(|role| paths.of(role)).collect();
                if let Some(path) = generators::place(root, &parts) {
                    paths.push(spelling.role, path);
                }
            }
            Role::Ema => {
                if let Some(path) = averages::all(root).into_iter().next() {
                    paths.push(spelling.role, path);
                }
            }
            // Without an average it is something else.
            Role::Updates if !paths.has(Some(Role::Ema)) => {}
            role => {
                let in_meta = || {
                    let (_, meta) = entries.iter().find(|(name, _)| *name == "meta")?;
                    let fits =
                        |key: &&&str| meta.as_dict().and_then(|meta| meta.get(key)).as_ref().is_some_and(spelling.fits);
                    spelling.keys.iter().find(fits).map(|key| KeyPath::key("meta").then(*key))
                };
                let path = keys.first().map(|key| KeyPath::key(*key)).or_else(in_meta);
                if let Some(path) = path {
                    paths.push(role, path);
                }
            }
        }
    }
    whole_optimizers(root, &mut paths);
    several::more_models(root, &paths).into_iter().for_each(|path| paths.push(Role::Model, path));
    Some(paths)
}

/// Adds the optimizers that were pickled whole, whose parameters are those of a model that is there.
pub(super) fn whole_optimizers(root: &Value, paths: &mut Paths) {
    let models: Vec<Value> = paths.values(root, Role::Model).map(|(_, model)| model).collect();
    let mut found = Vec::new();
    if !models.is_empty() {
        wholes(root, &KeyPath::default(), NEAR + 1, &models, &mut found);
    }
    found.into_iter().for_each(|path| paths.push(Role::Optimizer, path));
}

fn wholes(value: &Value, path: &KeyPath, depth: usize, models: &[Value], found: &mut Vec<KeyPath>) {
    for (key, inside) in children(value) {
        let kept = key.as_str().is_some_and(is_kept);
        let path = path.clone().then(key);
        if kept || !is_container(&inside) || has_tensors(&inside) {
            continue;
        }
        if whole::is_of(&inside, models) {
            found.push(path);
        } else if depth > 1 && !whole::is_whole(&inside) {
            wholes(&inside, &path, depth - 1, models, found);
        }
    }
}

/// How many containers down a state is looked for: among others, and where there is no other.
pub(super) const NEAR: usize = 2;
const FAR: usize = 6;

/// Whether a dict holds such states under names of their own, and nothing else: `{"main": ...}`.
fn holds_only(spelling: &Spelling, value: &Value) -> bool {
    let inside = if (spelling.must)(value) { Vec::new() } else { children(value) };
    let filled = || inside.iter().filter(|(_, value)| !matches!(value, Value::None));
    filled().next().is_some() && filled().all(|(_, value)| (spelling.must)(value))
}

/// Whether a key that is not in the table is one of several models'.
fn is_one_of(spelling: &Spelling, key: &str, value: &Value) -> bool {
    let taken = SPELLINGS.iter().any(|other| other.keys.contains(&key));
    let named = spelling.stems.iter().any(|stem| key.starts_with(stem)) || key.ends_with("_state_dict");
    !taken && named && !is_kept(key) && (spelling.must)(value) && !loaders::is_state(value)
}

/// What has the shape of a part, and nothing in the names on the way against it.
pub(super) fn shaped(spelling: &Spelling, value: &Value, path: &KeyPath, depth: usize, paths: &mut Paths) {
    if (spelling.must)(value) {
        paths.push(spelling.role, path.clone());
    } else if depth > 0 && !has_tensors(value) {
        for (key, inside) in children(value) {
            if is_container(&inside) && !key.as_str().is_some_and(is_kept) {
                shaped(spelling, &inside, &path.clone().then(key), depth - 1, paths);
            }
        }
    }
}

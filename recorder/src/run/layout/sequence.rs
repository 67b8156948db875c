//! A tuple or list of the parts of a run: `torch.save((model.state_dict(), optimizer.state_dict(), epoch), path)`, or a dict whose keys
//! are no texts. Nothing is named, so each is told by what it looks like.

use super::paths::Paths;
use super::tutorial::{NEAR, shaped, whole_optimizers};
use crate::run::generators;
use crate::run::path::{KeyPath, children, is_container};
use crate::run::spellings::{Role, SPELLINGS, has_tensors, is_average, is_optimizer, whole};
use crate::{Dict, Value};

/// The parts, where there is a model among them.
pub(super) fn sequence(root: &Value) -> Option<Paths> {
    if !is_sequence(root) {
        return None;
    }
    let mut paths = Paths::default();
    let items = children(root);
    for (index, item) in &items {
        let path = KeyPath::key(index.clone());
        if is_average(item) {
            paths.push(Role::Ema, path);
        } else if has_tensors(item) && !is_optimizer(item) {
            paths.push(Role::Model, path);
        }
    }
    if !paths.has(Some(Role::Model)) {
        return None;
    }
    for spelling in &SPELLINGS {
        if matches!(spelling.role, Role::Optimizer | Role::Scheduler | Role::Scaler) {
            for (index, item) in items.iter().filter(|(_, item)| is_container(item)) {
                shaped(spelling, item, &KeyPath::key(index.clone()), NEAR, &mut paths);
            }
        }
    }
    whole_optimizers(root, &mut paths);
    let parts: Vec<&KeyPath> = [Role::Model, Role::Optimizer].into_iter().flat_map(|role| paths.of(role)).collect();
    if let Some(path) = generators::place(root, &parts) {
        paths.push(Role::Rng, path);
    }
    // Of the numbers, the one that the optimizer counts is that of the steps; another is that of the epochs, where they can be as many.
    let steps = paths.values(root, Role::Optimizer).filter_map(|(_, optimizer)| steps(&optimizer)).max();
    let told = [Role::Epoch, Role::Step].map(|role| (role, named(root, role)));
    if told.iter().any(|(_, path)| path.is_some()) {
        told.into_iter().for_each(|(role, path)| path.into_iter().for_each(|path| paths.push(role, path)));
        return Some(paths);
    }
    let numbers = counts(root);
    let step = numbers.iter().find(|(_, number)| steps.is_some_and(|steps| steps == *number && steps > 0)).cloned();
    let others: Vec<_> = numbers.into_iter().filter(|number| Some(number) != step.as_ref()).collect();
    if let (Some(steps), [(path, number)]) = (steps, &others[..])
        && *number < steps
    {
        paths.push(Role::Epoch, path.clone());
    }
    if let Some((path, _)) = step {
        paths.push(Role::Step, path);
    }
    Some(paths)
}

/// Whether the parts in it have no names.
fn is_sequence(root: &Value) -> bool {
    match root {
        Value::List(_) | Value::Tuple(_) => true,
        Value::Dict(dict) => dict.entries().iter().any(|(key, _)| key.as_i64().is_some()),
        _ => false,
    }
}

/// The number under a key that says what it counts.
fn named(root: &Value, role: Role) -> Option<KeyPath> {
    let spelling = SPELLINGS.iter().find(|spelling| spelling.role == role)?;
    let fits = |key: &&&str| root.as_dict().and_then(|dict| dict.get(key)).as_ref().is_some_and(spelling.fits);
    spelling.keys.iter().find(fits).map(|key| KeyPath::key(*key))
}

/// The whole numbers at the root of a sequence, those under texts aside.
fn counts(root: &Value) -> Vec<(KeyPath, i64)> {
    let count = |(index, item): (Value, Value)| {
        index.as_i64()?;
        let number = whole(&item).filter(|&number| number >= 0 && !matches!(item, Value::Float(_)))?;
        Some((KeyPath::key(index), number))
    };
    children(root).into_iter().filter_map(count).collect()
}

/// Whether a place at the root of a sequence has a number of which nothing tells what it counts.
pub(in crate::run) fn is_open_count(root: &Value, path: &KeyPath, paths: &Paths) -> bool {
    let at_root = is_sequence(root) && path.keys().len() == 1;
    at_root && paths.role(path).is_none() && counts(root).iter().any(|(count, _)| count == path)
}

/// How many steps an optimizer counts.
fn steps(optimizer: &Value) -> Option<i64> {
    let states = optimizer.as_dict()?.get("state")?.as_dict().map(Dict::entries)?;
    let counts = states.iter().filter_map(|(_, state)| whole(&state.as_dict()?.get("step")?));
    counts.max()
}

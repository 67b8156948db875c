//! The place in the data, told by its shape: the state dict of torchdata's `StatefulDataLoader`, which Lightning, accelerate and
//! others keep, or of this project's loaders.

use crate::run::path::{KeyPath, children, is_container};
use crate::state_dict::module;
use crate::{Dict, Value};

/// The key of a place that is written anew.
pub(super) const KEY: &str = "dataloader_state_dict";

/// How deep places are looked for, and in how many values.
const DEPTH: usize = 8;
const MOST: usize = 20_000;

/// What a state dict of torchdata's has, without workers and with them.
const STATEFUL: [[&str; 2]; 2] = [["_num_yielded", "_sampler_iter_yielded"], ["_snapshot", "_steps_since_snapshot"]];

/// All that a state dict of this project's `DataLoader` may have, the first in any case.
const OWN: [&str; 7] =
    ["num_yielded", "epoch_generator", "generator", "epoch", "base_seed", "workers_went_on", "workers"];

/// Whether a value is such a state dict.
pub(super) fn is_state(value: &Value) -> bool {
    let Some(dict) = value.as_dict() else { return false };
    let has = |key: &&str| dict.get(key).is_some();
    STATEFUL.iter().any(|keys| keys.iter().all(has)) || is_own(dict)
}

fn is_own(dict: &Dict) -> bool {
    let known = |key: &Value| key.as_str().is_some_and(|key| OWN.contains(&key));
    dict.get(OWN[0]).is_some_and(|taken| taken.as_i64().is_some()) && dict.entries().iter().all(|(key, _)| known(key))
}

/// All places in a checkpoint but inside these parts.
pub(super) fn all(root: &Value, but: &[&KeyPath]) -> Vec<KeyPath> {
    let (mut found, mut seen) = (Vec::new(), 0);
    look(root, KeyPath::default(), (but, DEPTH), &mut seen, &mut found);
    found
}

fn look(value: &Value, path: KeyPath, (but, depth): (&[&KeyPath], usize), seen: &mut usize, found: &mut Vec<KeyPath>) {
    *seen += 1;
    if is_state(value) {
        return found.push(path);
    }
    if depth == 0 || *seen > MOST || module::is_module(value) || but.contains(&&path) {
        return;
    }
    for (key, inside) in children(value).into_iter().filter(|(_, inside)| is_container(inside)) {
        look(&inside, path.clone().then(key), (but, depth - 1), seen, found);
    }
}

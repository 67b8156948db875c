//! The place in the data, told by its shape: the state dict of torchdata's `StatefulDataLoader`, which Lightning, accelerate and
//! others keep, or of this project's loaders. torchtitan keeps a pickle of it for each rank that reads data; that of a run on one rank is
//! read and written.

use crate::pickle::{self, Dialect, KeepIds, PickleOptions};
use crate::run::path::{KeyPath, children, is_container};
use crate::state_dict::module;
use crate::{Dict, Error, FileBytes, Limits, Result, Value};

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

/// Before the number of a rank in torchtitan's keys, and how many there are.
const RANK: &str = "dp_rank_";
const RANKS: &str = "world_size";

/// The key of the only rank, and its pickle.
fn of_one_rank(value: &Value) -> Option<(Value, Value)> {
    let entries = value.as_dict()?.entries();
    let of_rank = |key: &Value| key.as_str().is_some_and(|key| key.starts_with(RANK));
    let known = |(key, _): &(Value, Value)| of_rank(key) || key.as_str() == Some(RANKS);
    let mut ranks = entries.iter().filter(|(key, _)| of_rank(key));
    let (rank, None) = (ranks.next()?, ranks.next()) else { return None };
    entries.iter().all(known).then(|| rank.clone())
}

/// The state dict at a place that has one.
pub(super) fn read(value: Value) -> Value {
    unpickled(&value).unwrap_or(value)
}

fn unpickled(value: &Value) -> Option<Value> {
    let (_, Value::Bytes(bytes)) = of_one_rank(value)? else { return None };
    let file = FileBytes::from_vec("", bytes.to_vec());
    Some(pickle::read(&file, "the loader's state", &Limits::default(), &mut KeepIds).ok()?.value)
}

/// A state dict in the form of the one that was there.
///
/// # Errors
/// When it cannot be pickled.
pub(super) fn written(state: &Value, before: &Value) -> Result<Value> {
    let Some((rank, _)) = of_one_rank(before) else { return Ok(state.clone()) };
    let options = PickleOptions { dialect: Dialect::Zip, allow_objects: false };
    let pickled = pickle::write(state, &options)?;
    if !pickled.storages.is_empty() {
        return Err(Error::unsupported("tensors in the state of a loader that is pickled for a rank".to_owned()));
    }
    let written: Dict = before.as_dict().into_iter().flat_map(Dict::entries).collect();
    written.insert(rank, Value::from(&pickled.bytes[..]));
    Ok(written.into())
}

/// Whether a value is such a state dict.
pub(super) fn is_state(value: &Value) -> bool {
    unpickled(value).is_some_and(|state| is_plain(&state)) || is_plain(value)
}

fn is_plain(value: &Value) -> bool {
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

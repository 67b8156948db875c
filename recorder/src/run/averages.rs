//! Averages of the weights, told by their names and by their shape.

use crate::run::path::{KeyPath, children, is_container};
use crate::run::settings;
use crate::run::spellings::{Role, SPELLINGS, has_tensors, is_average};
use crate::run::told::{ToldBy, ToldDecay};
use crate::state_dict::module;
use crate::walk::repr;
use crate::{Value, walk};

/// Words of which one is in the name of an average.
const WORDS: [&str; 8] = ["ema", "swa", "averaged", "average", "avg", "shadow", "polyak", "ewa"];

/// Whether a name is that of an average.
pub(super) fn is_name(name: &str) -> bool {
    let name = name.to_lowercase();
    name.split(|c: char| !c.is_alphanumeric()).any(|word| WORDS.contains(&word))
}

/// Whether a value can be an average: one by its shape, or weights.
fn is_one(value: &Value) -> bool {
    is_average(value) || has_tensors(value)
}

/// Whether the weights are in a dict of this one, which has no tensor but numbers beside them: `{"params": .., "decay": tensor(0.999)}`.
fn is_around(value: &Value) -> bool {
    let shaped = |value: &Value| value.as_tensor().is_some_and(|tensor| !tensor.shape().is_empty());
    let inside = children(value);
    let weights =
        |value: &Value| matches!(value, Value::Dict(_)) && children(value).iter().any(|(_, value)| shaped(value));
    // A module has its weights in its members.
    matches!(value, Value::Dict(_))
        && !module::is_module(value)
        && !is_average(value)
        && !inside.iter().any(|(_, value)| shaped(value))
        && inside.iter().any(|(_, value)| weights(value))
}

/// All averages of a checkpoint, the likeliest first: under their keys, under other keys that say so or with their shape, and one
/// level into what is kept under such a key; under another one those that have both, the name and the shape.
pub(super) fn all(root: &Value) -> Vec<KeyPath> {
    let entries = walk::entries(root).unwrap_or_default();
    let named = entries.iter().filter_map(|(key, value)| Some((key.as_str()?, value)));
    let mut found: Vec<(usize, KeyPath)> = Vec::new();
    let keys = SPELLINGS.iter().find(|spelling| spelling.role == Role::Ema).map_or(&[][..], |spelling| spelling.keys);
    for (key, value) in named {
        let rank = keys.iter().position(|known| *known == key);
        let says = rank.is_some() || is_name(key);
        let rank = rank.unwrap_or(keys.len());
        if key.contains("best") {
            continue;
        }
        if is_average(value) || says && is_one(value) && !is_around(value) {
            found.push((rank, KeyPath::key(key)));
        } else if is_container(value) && (!has_tensors(value) || is_around(value)) {
            let named = |key: &Value| key.as_str().is_some_and(|key| is_name(key) && !key.contains("best"));
            let is_one = |(key, inside): &(Value, Value)| {
                if says { is_one(inside) } else { is_average(inside) && named(key) }
            };
            let inside = children(value).into_iter().filter(is_one);
            found.extend(inside.map(|(inside, _)| (rank, KeyPath::key(key).then(inside))));
        }
    }
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, path)| path).collect()
}

/// What a decay is called in the dict of its average.
const DECAYS: [&str; 4] = ["decay", "ema_decay", "beta", "ema_rate"];

/// What stands beside an average and may say how it goes on: `decay` in its own dict, `ema_decay` beside it, or in a setting.
pub(super) fn beside(root: &Value, average: &KeyPath) -> Option<ToldDecay> {
    let mut told = ToldDecay::default();
    let mut names: Vec<String> = average.keys().iter().filter_map(|key| key.as_str().map(str::to_owned)).collect();
    names.push("ema".to_owned());
    let called =
        |key: &str| names.iter().any(|of| ["decay", "rate", "beta"].iter().any(|what| key == format!("{of}_{what}")));
    let mut tell = |path: KeyPath, value: &Value, is_decay: bool| {
        let place = path.spelled(root);
        match number(value) {
            Some(number) if is_decay => told.numbers.push(ToldBy { place, number }),
            Some(_) => told.others.push((place, repr(value))),
            None if matches!(value, Value::Bool(true)) => told.others.push((place, repr(value))),
            None => {}
        }
    };
    if let [around @ .., last] = average.keys()
        && let Some(own) = around.last()
    {
        let own = own.as_str().is_some_and(is_name);
        let parent = around.iter().fold(KeyPath::default(), |path, key| path.then(key.clone()));
        for (key, value) in parent.value(root).map(|parent| children(&parent)).unwrap_or_default() {
            let named = key.as_str().is_some_and(|key| called(key) || own && DECAYS.contains(&key));
            if repr(&key) != repr(last) && (own || named) {
                tell(parent.clone().then(key), &value, named);
            }
        }
    }
    let shadow = average.only_key().is_some_and(|key| key.to_lowercase().contains("shadow"));
    for (key, value) in children(root) {
        // At the root there are other things' too, but beside what is called a shadow.
        let own = |key: &str| shadow && DECAYS.contains(&key);
        if key.as_str().is_some_and(|key| called(key) || own(key)) {
            tell(KeyPath::key(key), &value, true);
        }
    }
    let setting = |key: &str, value: &Value| {
        let is_one = ["ema_decay", "model_ema_decay", "ema_rate"].contains(&key);
        let text = value.as_str().and_then(|text| text.parse().ok());
        number(value).or(text).filter(|decay| is_one && (0.0..1.0).contains(decay))
    };
    if told.numbers.is_empty() {
        let found = settings::first(root, setting);
        told.setting = found.map(|(path, number)| ToldBy { place: path.spelled(root), number });
    }
    Some(told).filter(|told| !told.numbers.is_empty() || !told.others.is_empty() || told.setting.is_some())
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(_) | Value::Float(_) => value.as_f64(),
        Value::Tensor(tensor) if tensor.shape().is_empty() => tensor.item().ok(),
        _ => None,
    }
}

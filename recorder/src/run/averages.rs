//! Averages of the weights, told by their names and by their shape.

use crate::run::path::{KeyPath, children, is_container};
use crate::run::spellings::{Role, SPELLINGS, has_tensors, is_average};
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

/// All averages of a checkpoint, the likeliest first: under their keys, under other keys that say so or with their shape, and one
/// level into what is kept under such a key.
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
        if is_average(value) || says && is_one(value) {
            found.push((rank, KeyPath::key(key)));
        } else if says && is_container(value) {
            let inside = children(value).into_iter().filter(|(_, inside)| is_one(inside));
            found.extend(inside.map(|(inside, _)| (rank, KeyPath::key(key).then(inside))));
        }
    }
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, path)| path).collect()
}

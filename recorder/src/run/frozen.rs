//! What a checkpoint says of frozen parameters beside its parts: `freeze_backbone`, `args.freeze`, `frozen_stages`.

use super::beside::plain;
use super::layout;
use super::path::{KeyPath, children, is_container};
use super::spellings::{has_tensors, is_optimizer};
use crate::state_dict::module;
use crate::{Checkpoint, Value};

/// How deep it is looked for, and in how many values.
const DEPTH: usize = 6;
const MOST: usize = 20_000;

/// Where a checkpoint says that something was frozen, such as `args.freeze`, and what it says: the first setting of such a name that
/// is on. It says seldom what: `freeze: 10` are ten layers of somebody's count.
#[must_use]
pub fn frozen_setting(checkpoint: &Checkpoint) -> Option<(String, String)> {
    let root = &layout::view(plain(checkpoint).root());
    let mut seen = 0;
    let path = look(root, &KeyPath::default(), DEPTH, &mut seen)?;
    Some((path.spelled(root), path.value(root)?.describe()))
}

fn look(value: &Value, path: &KeyPath, depth: usize, seen: &mut usize) -> Option<KeyPath> {
    if depth == 0 || !is_container(value) || module::is_module(value) || has_tensors(value) || is_optimizer(value) {
        return None;
    }
    for (key, inside) in children(value) {
        *seen += 1;
        if *seen > MOST {
            return None;
        }
        let path = path.clone().then(key.clone());
        let named = key.as_str().is_some_and(says_frozen);
        if named && is_on(&inside) {
            return Some(path);
        }
        if let Some(found) = look(&inside, &path, depth - 1, seen) {
            return Some(found);
        }
    }
    None
}

fn says_frozen(name: &str) -> bool {
    let name = name.to_lowercase();
    (name.contains("freez") || name.contains("frozen")) && !name.contains("unfreez")
}

/// Whether a setting is not switched off.
fn is_on(value: &Value) -> bool {
    match value {
        Value::None => false,
        Value::Bool(on) => *on,
        Value::Int(number) => *number > 0,
        Value::Float(number) => *number > 0.0,
        Value::Str(text) => !matches!(text.to_lowercase().as_str(), "" | "none" | "false" | "0" | "no"),
        other => !children(other).is_empty(),
    }
}

//! What a checkpoint says of frozen parameters beside its parts: `freeze_backbone`, `args.freeze`, `frozen_stages`.

use super::beside::plain;
use super::layout;
use super::path::children;
use super::settings::first;
use crate::{Checkpoint, Value};

/// Where a checkpoint says that something was frozen, such as `args.freeze`, and what it says: the first setting of such a name that
/// is on. It says seldom what: `freeze: 10` are ten layers of somebody's count.
#[must_use]
pub fn frozen_setting(checkpoint: &Checkpoint) -> Option<(String, String)> {
    let root = &layout::view(plain(checkpoint).root());
    let on = |key: &str, value: &Value| (says_frozen(key) && is_on(value)).then(|| value.describe());
    first(root, on).map(|(path, value)| (path.spelled(root), value))
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

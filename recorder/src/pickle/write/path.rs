//! The path of the value that the writer is at, spelled as everywhere: `optimizer_state_dict.param_groups[0].lr`.

use std::fmt::Write as _;

use crate::Value;
use crate::pickle::write::writer::Step;

/// The path that the open steps lead along, from the root down; empty at the root.
pub(crate) fn of(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        // A `String` takes everything that is written to it.
        let _ = match step {
            Step::Items(_, done) if *done > 0 => write!(path, "[{}]", done - 1),
            Step::Appends(appends) if appends.done() > 0 => write!(path, "[{}]", appends.done() - 1),
            Step::SetItems(entries) => match &entries.key {
                Some(Value::Str(key)) if path.is_empty() => write!(path, "{key}"),
                Some(Value::Str(key)) => write!(path, ".{key}"),
                Some(key) => write!(path, "[{key:?}]"),
                None => Ok(()),
            },
            _ => Ok(()),
        };
    }
    path
}

//! The path of the value that the writer is at, spelled as everywhere: `optimizer_state_dict.param_groups[0].lr`.

use std::fmt::Write as _;

use crate::pickle::write::writer::Step;

/// The path that the open steps lead along, from the root down; empty at the root.
pub(crate) fn of(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Items(_, done) if *done > 0 => place(*done, &mut path),
            Step::Appends(appends) if appends.done() > 0 => place(appends.done(), &mut path),
            Step::SetItems(entries) => entries.spell(&mut path),
            _ => {}
        }
    }
    path
}

/// Adds the place of the last of so many items.
fn place(done: usize, path: &mut String) {
    // A `String` takes everything that is written to it.
    let _ = write!(path, "[{}]", done - 1);
}

//! The parts of a path: what leads from a container to something in it, and how each is spelled by itself.

use std::fmt::Write as _;

use crate::Value;
use crate::walk::repr::{quoted, repr};

/// A part of a path.
pub(super) enum Label {
    Key(Value),
    Index(usize),
    Argument(usize),
    Keyword(String),
    /// A state that is no dict of attributes, as a NumPy array has one.
    State(usize),
    /// Something in a set.
    Member(usize),
    /// A dict's key itself.
    KeyItself(Value),
    /// An attribute of a tensor or a dict.
    Attribute(Value),
}

impl Label {
    /// The label as it is spelled where no other is like it; a string key quoted.
    pub(super) fn write(&self, path: &mut String) {
        match self {
            Label::Key(Value::Str(key)) => path.push_str(&quoted(key)),
            Label::Attribute(Value::Str(name)) if is_plain(name) => path.extend(["@", name]),
            Label::Attribute(name) => path.extend(["@[", &repr(name), "]"]),
            Label::Key(key) => {
                path.push('[');
                path.push_str(&repr(key));
                path.push(']');
            }
            // Writing to a string cannot fail.
            Label::Index(index) => drop(write!(path, "[{index}]")),
            Label::Argument(index) => drop(write!(path, "({index})")),
            // Nothing but a name reads like one: `state` is another label's.
            Label::Keyword(name) if is_plain(name) && !matches!(&**name, "state" | "key") => {
                path.extend(["(", name, ")"]);
            }
            Label::Keyword(name) => drop(write!(path, "({})", repr(&name.as_str().into()))),
            Label::Member(index) => drop(write!(path, "{{{index}}}")),
            Label::KeyItself(key) => drop(write!(path, "[{}](key)", repr(key))),
            Label::State(0) => path.push_str("(state)"),
            Label::State(index) => drop(write!(path, "(state {index})")),
        }
    }
}

/// Whether a name is made of letters, digits and underscores alone.
fn is_plain(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_numeric())
        && !name.is_empty()
        && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
}

//! The account of a checkpoint: what each value in it is taken for.

use std::fmt;

use crate::run::generators;
use crate::run::layout::{self, Paths};
use crate::run::path::{KeyPath, children};
use crate::run::spellings::{
    Role, SPELLINGS, has_tensors, is_average, is_optimizer, looks_like_scaler, looks_like_scheduler,
};
use crate::{Checkpoint, Result, Value};

/// A value of a checkpoint, and what it is taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounted {
    /// Its path.
    pub place: String,
    /// What it is, in a few words.
    pub value: String,
    /// What it is taken for.
    pub taken: Taken,
}

/// How many values are listed one by one, and how long the path of what is opened may be.
const MOST: usize = 10_000;

/// What a value of a checkpoint is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Taken {
    /// A part of the run, such as `optimizer`: it goes on.
    Part(&'static str),
    /// It stays as it is.
    Kept,
    /// It is under a name of this part, and is something else: it stays as it is.
    Odd(&'static str),
    /// It looks like this part, and is not known to be it.
    Open(&'static str),
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Taken::Part(role) => f.write_str(role),
            Taken::Kept => f.write_str("kept as it is"),
            Taken::Odd(role) => write!(f, "not the {role} that its name says; kept as it is"),
            Taken::Open(role) => write!(f, "looks like a {role}, and is not understood"),
        }
    }
}

/// What each value of a checkpoint is taken for: those at the root, and one level into what holds several.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for an unknown layout.
pub fn account(checkpoint: &Checkpoint) -> Result<Vec<Accounted>> {
    let (_, paths) = layout::find(checkpoint.root())?;
    let mut values = Vec::new();
    note(checkpoint.root(), &KeyPath::default(), &paths, 3, &mut values);
    Ok(values)
}

fn note(value: &Value, path: &KeyPath, paths: &Paths, depth: usize, values: &mut Vec<Accounted>) {
    let mut say = |taken| values.push(Accounted { place: path.to_string(), value: value.describe(), taken });
    if let Some(role) = paths.role(path) {
        return say(Taken::Part(role.name()));
    }
    let at_root = path.is_root();
    if let Some(role) = looks(value).filter(|_| !at_root && !paths.inside(path)) {
        let said = kept_by_name(path) || role == Role::Model;
        return say(if said { Taken::Kept } else { Taken::Open(role.name()) });
    }
    let opened = depth > 0 && !holds_weights(value) || at_root || paths.inside(path);
    // What would take pages to list is one value.
    let inside = if opened && values.len() < MOST && path.to_string().len() < MOST { children(value) } else { vec![] };
    let before = values.len();
    for (key, child) in inside {
        note(&child, &path.clone().then(key), paths, depth.saturating_sub(1), values);
    }
    // What holds nothing of note is one value.
    let notable = |value: &Accounted| !matches!(value.taken, Taken::Kept);
    if !at_root && !values.iter().skip(before).any(notable) {
        values.truncate(before);
        let odd = path.only_key().and_then(|key| SPELLINGS.iter().find(|spelling| spelling.keys.contains(&&*key)));
        let odd = odd.filter(|_| !matches!(value, Value::None) && !paths.has(odd.map(|s| s.role)));
        let taken = odd.map_or(Taken::Kept, |spelling| Taken::Odd(spelling.role.name()));
        values.push(Accounted { place: path.to_string(), value: value.describe(), taken });
    }
}

/// The part that a value looks like.
fn looks(value: &Value) -> Option<Role> {
    let tests: [(Role, fn(&Value) -> bool); 6] = [
        (Role::Rng, generators::is_state),
        (Role::Optimizer, is_optimizer),
        (Role::Scheduler, looks_like_scheduler),
        (Role::Scaler, looks_like_scaler),
        (Role::Ema, is_average),
        (Role::Model, |value| holds_weights(value) && children(value).len() > 1),
    ];
    tests.iter().find(|(_, looks)| looks(value)).map(|(role, _)| *role)
}

/// Whether tensors are in it, of which none is a generator's state.
fn holds_weights(value: &Value) -> bool {
    has_tensors(value) && !children(value).iter().any(|(_, inside)| generators::is_state(inside))
}

fn kept_by_name(path: &KeyPath) -> bool {
    super::spellings::is_kept(&path.to_string())
}

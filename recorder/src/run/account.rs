//! The account of a checkpoint: what each value in it is taken for.

use std::collections::HashMap;
use std::fmt;

use crate::run::beside::plain;
use crate::run::generators;
use crate::run::layout::{self, Paths};
use crate::run::part::RunPart;
use crate::run::path::{KeyPath, children};
use crate::run::spellings::{
    Role, SPELLINGS, Spelling, has_tensors, is_average, is_kept, is_optimizer, looks_like_scaler, looks_like_scheduler,
    looks_like_whole,
};
use crate::state_dict::module;
use crate::{Checkpoint, DType, Result, StateDict, Value, walk};

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

impl Accounted {
    /// Whether it is a number of which nothing tells whether it counts epochs or steps.
    #[must_use]
    pub fn is_open_count(&self) -> bool {
        self.taken == Taken::Open(COUNT)
    }
}

/// How many values are listed one by one, and how long the path of what is opened may be.
const MOST: usize = 10_000;

/// What a number is, of which nothing tells whether it counts epochs or steps.
const COUNT: &str = "count of epochs or steps";
/// What a loader's state dict is taken for.
const LOADER: &str = "place in the data";

/// How deep parts are looked for.
const DEPTH: usize = 8;

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
    /// It is this part of another model's: it stays as it is.
    Other(&'static str),
    /// It could be this part, which is told by another value: it stays as it is.
    Second(&'static str),
    /// It is an average of the weights that does not go on, or a copy of them: it stays as it is.
    Copy,
    /// It looks like this part, and is not known to be it.
    Open(&'static str),
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Taken::Part(role) => f.write_str(role),
            Taken::Kept => f.write_str("kept as it is"),
            Taken::Odd(role) => write!(f, "not the {role} that its name says; kept as it is"),
            Taken::Other(role) => write!(f, "the {role} of another part; kept as it is"),
            Taken::Second(role) => write!(f, "may be the {role}, which is told by another value; kept as it is"),
            Taken::Copy => f.write_str("a copy of the weights, or an average; kept as it is"),
            Taken::Open(role) => write!(f, "looks like a {role}, and is not understood"),
        }
    }
}

/// What each value of a checkpoint is taken for: those at the root, and those inside what holds several.
///
/// # Errors
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for an unknown layout.
pub fn account(checkpoint: &Checkpoint) -> Result<Vec<Accounted>> {
    account_of(checkpoint, None)
}

/// As [`account`], for a run of one part of a checkpoint.
///
/// # Errors
/// As [`account`].
pub fn account_of(checkpoint: &Checkpoint, part: Option<&RunPart>) -> Result<Vec<Accounted>> {
    let root = &layout::view(plain(checkpoint).root());
    let (_, all) = layout::find(root)?;
    let (_, mut paths) = layout::find(root)?;
    if let Some(part) = part {
        paths.narrow(root, part)?;
    }
    let models = paths.values(root, Role::Model).filter_map(|(_, model)| Copies::of(&model)).collect();
    let loaders = super::places_in_data(root, &all);
    let mut accountant = Accountant { root, paths: &paths, all: &all, models, loaders, values: Vec::new() };
    accountant.note(root, &KeyPath::default(), "", DEPTH);
    Ok(accountant.values)
}

/// Whoever goes through a checkpoint.
struct Accountant<'a> {
    root: &'a Value,
    paths: &'a Paths,
    /// Those of all parts.
    all: &'a Paths,
    models: Vec<Copies>,
    /// Where loaders have their state dicts.
    loaders: Vec<KeyPath>,
    values: Vec<Accounted>,
}

impl Accountant<'_> {
    /// Notes a value and what is in it; `place` is its path as it is spelled.
    fn note(&mut self, value: &Value, path: &KeyPath, place: &str, depth: usize) {
        let inside_part = path.is_root() || self.paths.inside(path) || self.all.inside(path);
        if let Some(taken) = self.taken(value, path, inside_part) {
            return self.say(value, place, taken);
        }
        let opened = inside_part || depth > 0 && !holds_weights(value) && !module::is_module(value);
        // What would take pages to list is one value, and so is what holds plain values alone.
        let opened = opened && self.values.len() < MOST && place.len() < MOST;
        let inside = if opened { children(value) } else { vec![] };
        let inside = if inside_part || inside.iter().any(is_notable) { inside } else { vec![] };
        let before = self.values.len();
        let parts = if inside.is_empty() { vec![] } else { walk::parts(value, path.is_root()) };
        for ((key, child), part) in inside.into_iter().zip(parts) {
            self.note(&child, &path.clone().then(key), &format!("{place}{part}"), depth.saturating_sub(1));
        }
        // What holds nothing of note is one value.
        let notable = |value: &Accounted| !matches!(value.taken, Taken::Kept);
        if !path.is_root() && !self.values.iter().skip(before).any(notable) {
            self.values.truncate(before);
            self.say(value, place, self.named(value, path));
        }
    }

    fn say(&mut self, value: &Value, place: &str, taken: Taken) {
        // The whole file can be one part.
        let place = if place.is_empty() { KeyPath::default().spelled(value) } else { place.to_owned() };
        self.values.push(Accounted { place, value: value.describe(), taken });
    }

    /// What a value is taken for by where it is, and by its looks.
    fn taken(&self, value: &Value, path: &KeyPath, inside_part: bool) -> Option<Taken> {
        if let Some(role) = self.paths.role(path) {
            let second = role == Role::Scaler && self.paths.of(role).first() != Some(&path);
            return Some(if second { Taken::Second(role.name()) } else { Taken::Part(role.name()) });
        }
        if self.loaders.contains(path) {
            return Some(if self.loaders.len() == 1 { Taken::Part(LOADER) } else { Taken::Open(LOADER) });
        }
        if let Some(role) = self.all.role(path) {
            return Some(Taken::Other(role.name()));
        }
        if inside_part {
            return None;
        }
        if self.models.iter().any(|model| model.is_copied_in(value)) {
            return Some(Taken::Copy);
        }
        match looks(value)? {
            Role::Ema => Some(Taken::Copy),
            Role::Model => Some(Taken::Kept),
            _ if is_kept(&path.words()) => Some(Taken::Kept),
            role => Some(Taken::Open(role.name())),
        }
    }

    /// What a value that is none of note is taken for by its name.
    fn named(&self, value: &Value, path: &KeyPath) -> Taken {
        if matches!(value, Value::None) {
            return Taken::Kept;
        }
        if layout::is_open_count(self.root, path, self.all) {
            return Taken::Open(COUNT);
        }
        let generator = path.last_key().is_some_and(|key| generators::is_unknown(&key, value));
        if generator && !self.paths.has(Some(Role::Rng)) {
            return Taken::Odd(Role::Rng.name());
        }
        let spelling = path.only_key().and_then(|key| SPELLINGS.iter().find(|spelling| spelling.keys.contains(&&*key)));
        match spelling.filter(|spelling| !matches!(spelling.role, Role::Rng | Role::Updates)) {
            // A class of one's own, pickled whole.
            Some(Spelling { role: role @ (Role::Optimizer | Role::Scheduler), .. })
                if !self.paths.has(Some(*role)) && matches!(value, Value::Object(_)) =>
            {
                Taken::Open(role.name())
            }
            Some(spelling) if !self.paths.has(Some(spelling.role)) => Taken::Odd(spelling.role.name()),
            Some(spelling) if spelling.role.is_number() && (spelling.fits)(value) => {
                Taken::Second(spelling.role.name())
            }
            _ => Taken::Kept,
        }
    }
}

/// The names and shapes of a model's tensors, to tell copies of it by.
struct Copies(Vec<(String, Vec<usize>)>);

impl Copies {
    fn of(model: &Value) -> Option<Self> {
        let shapes =
            |model: StateDict| model.iter().map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec())).collect();
        StateDict::read(model, "", false).ok().map(shapes).map(Copies).filter(|model| !model.0.is_empty())
    }

    /// Whether a value has tensors of these names and shapes, or a list of the shapes.
    fn is_copied_in(&self, value: &Value) -> bool {
        match value {
            Value::List(_) | Value::Tuple(_) => self.is_listed_in(value),
            _ if has_tensors(value) => Copies::of(value).is_some_and(|other| self.is_named_in(&other)),
            _ => false,
        }
    }

    /// Whatever wrappers have put before the names.
    fn is_named_in(&self, other: &Copies) -> bool {
        let Some((first, _)) = self.0.first() else { return false };
        let bare = |name: &'_ str| name.rsplit_once("module.").map_or(name, |(_, bare)| bare).to_owned();
        let first = bare(first);
        let prefixes = other.0.iter().filter_map(|(name, _)| name.strip_suffix(&first));
        let shapes: HashMap<&str, &Vec<usize>> = other.0.iter().map(|(name, shape)| (name.as_str(), shape)).collect();
        let has = |prefix: &str, (name, shape): &(String, Vec<usize>)| {
            shapes.get(format!("{prefix}{}", bare(name)).as_str()).is_some_and(|other| *other == shape)
        };
        prefixes.take(4).any(|prefix| self.0.iter().all(|tensor| has(prefix, tensor)))
    }

    /// The model's tensors in order, or its parameters without the buffers between them.
    fn is_listed_in(&self, value: &Value) -> bool {
        let items = value.items().unwrap_or_default();
        let tensors: Option<Vec<_>> =
            items.iter().map(|item| item.as_tensor().map(|tensor| tensor.shape().to_vec())).collect();
        let Some(tensors) =
            tensors.filter(|tensors| tensors.len() > 1 && tensors.iter().any(|shape| !shape.is_empty()))
        else {
            return false;
        };
        let mut own = self.0.iter();
        tensors.iter().all(|shape| own.any(|(_, known)| known == shape))
    }
}

/// Whether there can be something of note in a value under a key.
fn is_notable((key, value): &(Value, Value)) -> bool {
    match value {
        Value::None | Value::Bool(_) | Value::Int(_) => false,
        Value::Str(text) if text.len() > MOST / 2 => true,
        Value::Str(_) | Value::Float(_) => key.as_str().is_some_and(|key| generators::is_unknown(key, value)),
        _ => true,
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
    tests.iter().find(|(_, looks)| looks(value)).map(|(role, _)| *role).or_else(|| looks_like_whole(value))
}

/// Whether tensors are in it, of which none is a generator's state, nor all are bytes.
fn holds_weights(value: &Value) -> bool {
    let inside = if has_tensors(value) { children(value) } else { Vec::new() };
    let is_bytes = |value: &Value| value.as_tensor().is_none_or(|tensor| tensor.dtype() == DType::UInt8);
    let weights = module::is_module(value) || inside.iter().any(|(_, inside)| !is_bytes(inside));
    weights && !inside.iter().any(|(_, inside)| generators::is_state(inside))
}

//! A scheduler with functions that is within another one, as in ignite's wrapper or a `SequentialLR`: whoever names its formula names
//! that one, and what is around it goes on by its own numbers.

use rekindle_recorder::Value;

use super::kind::SchedulerKind;
use super::options::PLACE;
use super::recognition::{Recognition, recognised};
use super::schedule::Schedule;
use super::scheduler::Tail;
use crate::attributes::Attributes;

/// The states of the schedulers that one is made of, where this is a state of one that is made of others.
fn within(state: &Value) -> Option<(SchedulerKind, Vec<Value>)> {
    let attributes = Attributes::from_value(PLACE, state).ok()?;
    let Recognition::Known(kind) = recognised(&attributes) else { return None };
    let list = |key: &str| attributes.get(key).and_then(Value::items);
    let states = match kind.class().tail? {
        Tail::One(key) => vec![attributes.get(key)?.clone()],
        Tail::Schedulers(key) => list(key)?,
        Tail::Named(key) => list(key)?.iter().filter_map(|pair| pair.items()?.get(1).cloned()).collect(),
        Tail::Functions(_) | Tail::Function(_) => return None,
    };
    Some((kind, states))
}

/// Whether it is a state of a scheduler whose functions no file holds.
fn has_functions(state: &Value) -> bool {
    let attributes = Attributes::from_value(PLACE, state).ok();
    matches!(attributes.as_ref().map(recognised), Some(Recognition::Several(kinds)) if kinds.contains(&SchedulerKind::LambdaLR))
}

/// How many schedulers within one another are looked into.
const DEPTH: usize = 16;

/// How many schedulers with functions are within.
fn count(state: &Value, depth: usize) -> usize {
    let own = |state: &Value| if has_functions(state) { 1 } else { count(state, depth.saturating_sub(1)) };
    within(state).filter(|_| depth > 0).map_or(0, |(_, states)| states.iter().map(own).sum())
}

impl Schedule {
    /// Whether it is the formula of the only scheduler with functions that is within this one.
    pub(super) fn is_within(&self, state: &Value) -> bool {
        matches!(self.kind(), SchedulerKind::LambdaLR | SchedulerKind::MultiplicativeLR) && count(state, DEPTH) == 1
    }
}

impl SchedulerKind {
    /// How a schedule is said in words that a state is open about: `NAME(..)`, or with what is around it.
    pub(crate) fn form(state: &Value) -> String {
        form(state, DEPTH)
    }
}

fn form(state: &Value, depth: usize) -> String {
    let inner = |state: &Value| form(state, depth.saturating_sub(1));
    match within(state).filter(|_| depth > 0) {
        Some((kind, states)) if matches!(kind.class().tail, Some(Tail::One(_))) => {
            format!("{kind}({})", states.first().map_or_else(|| "NAME(..)".to_owned(), inner))
        }
        Some((kind, states)) if count(state, depth) > 1 => {
            let forms: Vec<String> = states.iter().map(inner).collect();
            format!("{kind}([{}], ..)", forms.join(", "))
        }
        _ => "NAME(..)".to_owned(),
    }
}

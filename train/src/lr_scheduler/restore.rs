//! A scheduler from the state dict that it wrote.

use rekindle_recorder::{Error, Result, Value};

use super::ignite;
use super::options::PLACE;
use super::recognition::{Recognition, recognised};
use super::schedule::Schedule;
use super::scheduler::{LRScheduler, Tail, check_groups};
use crate::attributes::{Attributes, invalid, wrong_type};
use crate::optim::{Optimizer, ParamGroup};

impl LRScheduler {
    /// The scheduler that wrote a state dict, as it then was. The optimizer's learning rates stay as they are: they are part
    /// of the optimizer's own state dict, and it does not matter which of the two is loaded first.
    ///
    /// # Errors
    /// When the state dict is that of no scheduler that is known, of an optimizer with another number of groups, or of a
    /// scheduler with functions, which no file holds: see [`resume`](LRScheduler::resume). Whether a `CyclicLR` of a plain
    /// mode had a function of its own, its state dict does not tell.
    pub fn from_state_dict(state_dict: &Value, optimizer: &Optimizer) -> Result<Self> {
        restored(None, state_dict, optimizer.param_groups(), false)
    }

    /// The scheduler that wrote a state dict, made with the schedule that it was made with, for functions that the state dict
    /// lacks. Everything else is as the state dict says; the optimizer's learning rates stay as they are.
    ///
    /// # Errors
    /// As [`from_state_dict`](LRScheduler::from_state_dict), and when the state dict is another scheduler's.
    pub fn resume(schedule: impl Into<Schedule>, state_dict: &Value, optimizer: &Optimizer) -> Result<Self> {
        restored(Some(&schedule.into()), state_dict, optimizer.param_groups(), false)
    }
}

/// One that is `done` is never stepped again.
fn restored(schedule: Option<&Schedule>, state_dict: &Value, groups: &[ParamGroup], done: bool) -> Result<LRScheduler> {
    let mut attributes = Attributes::from_value(PLACE, state_dict)?;
    let recognition = recognised(&attributes);
    // What is around the one that it is of goes on by its own numbers.
    let inner = schedule.filter(|schedule| schedule.is_within(state_dict));
    let schedule = schedule.filter(|_| inner.is_none());
    let told_apart = match (&recognition, schedule) {
        (Recognition::Several(kinds), None) if kinds.iter().any(|kind| kind.counts_events()) => {
            ignite::told_apart(&mut attributes, groups, done)
        }
        _ => None,
    };
    let kind = match schedule {
        None => told_apart.map_or_else(|| recognition.kind(), Ok)?,
        Some(schedule) if recognition.allows(schedule.kind(), &attributes) => schedule.kind(),
        Some(schedule) => {
            let (found, expected) = (recognition.describe(), schedule.kind());
            return Err(invalid(format!("the state dict is {found}'s, and the scheduler is {expected}")));
        }
    };
    let class = kind.class();
    let tail = class.tail.and_then(|tail| Some((tail, attributes.remove(tail.key())?)));
    // Releases before 2.8 did not have it; it only ever differs inside a constructor.
    if attributes.contains("_step_count") {
        attributes.set_default("_is_initial", false);
    }
    class.rule.complete(&mut attributes);
    for (name, value) in schedule.map(|schedule| schedule.options.unsaved(groups)).transpose()?.into_iter().flatten() {
        attributes.set_default(name, value);
    }
    let mut functions = match schedule {
        Some(schedule) => schedule.options.functions(groups.len())?,
        None => Vec::new(),
    };
    let mut children = Vec::new();
    match tail {
        Some((Tail::Functions(key), states)) => {
            let states = items(key, &states)?;
            check_groups(states.len(), functions.len())?;
            functions.iter_mut().zip(states).for_each(|(function, state)| function.load(state));
        }
        Some((Tail::Function(key), state)) => match functions.first_mut() {
            Some(function) => function.load(state),
            None if matches!(state, Value::None) => {}
            None => {
                return Err(invalid(format!(
                    "{PLACE}{key} is an object's, which no file holds; go on with `LRScheduler::resume` and a function in its \
                     place"
                )));
            }
        },
        Some((Tail::Schedulers(key) | Tail::Named(key) | Tail::One(key), states)) => {
            let states = match class.tail {
                Some(Tail::One(_)) => vec![one(key, states)?],
                Some(Tail::Named(_)) => {
                    let (names, states) = named(key, &states)?;
                    attributes.set(Tail::NAMES, Value::list(names));
                    states
                }
                _ => items(key, &states)?,
            };
            let turn = attributes.int("_scheduler_index").ok().and_then(|turn| usize::try_from(turn).ok());
            let schedules = schedule.map(|schedule| schedule.options.children());
            if let Some(schedules) = schedules
                && schedules.len() != states.len()
            {
                let (found, expected) = (states.len(), schedules.len());
                return Err(invalid(format!("the state dict is that of {found} schedulers, and here are {expected}")));
            }
            for (index, state) in states.iter().enumerate() {
                let schedule = schedules.and_then(|schedules| schedules.get(index));
                let schedule = schedule.or(inner.filter(|inner| inner.fits(state)));
                let done = done || turn.is_some_and(|turn| index < turn);
                children.push(restored(schedule, state, groups, done)?);
            }
        }
        None => {}
    }
    let scheduler = LRScheduler { class, attributes, functions, children, position: None, way: None };
    scheduler.check(groups.len())?;
    class.rule.check_loaded(&scheduler, groups.len())?;
    Ok(scheduler)
}

fn items(key: &str, value: &Value) -> Result<Vec<Value>> {
    value.items().ok_or_else(|| wrong_type(&format!("{PLACE}{key}"), "a list", value))
}

/// The names of schedulers, and their states.
fn named(key: &str, value: &Value) -> Result<(Vec<Value>, Vec<Value>)> {
    let pair = |pair: &Value| match &pair.items().unwrap_or_default()[..] {
        [name, state] => Some((name.clone(), state.clone())),
        _ => None,
    };
    let pairs: Option<Vec<_>> = items(key, value)?.iter().map(pair).collect();
    let pairs =
        pairs.ok_or_else(|| wrong_type(&format!("{PLACE}{key}"), "a list of names with their states", value))?;
    Ok(pairs.into_iter().unzip())
}

/// The state of the one scheduler, which is a dict where it has one.
fn one(key: &str, value: Value) -> Result<Value> {
    if value.as_dict().is_some() {
        return Ok(value);
    }
    let what = format!("ignite's LRScheduler whose {key} has no state dict, as around CosineAnnealingWarmRestarts,");
    Err(Error::unsupported(what)
        .advise("its state holds a Python object with the optimizer inside; make a new scheduler"))
}

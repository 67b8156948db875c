//! What a scheduler and a schedule that somebody names have not in common: numbers that both were made with.

use rekindle_recorder::Value;

use super::kind::TORCH;
use super::options::PLACE;
use super::recognition::recognised;
use super::schedule::Schedule;
use super::scheduler::{LRScheduler, Tail};
use crate::attributes::Attributes;
use crate::call::shown;
use crate::optim::{Optimizer, ParamGroup};

/// Attributes that steps change.
const MOVING: &[&str] = &[
    "T_i",
    "T_cur",
    "best",
    "cooldown_counter",
    "num_bad_epochs",
    "finished",
    "cycle",
    "step_in_cycle",
    "cur_cycle_steps",
    "max_lr",
    "after_scheduler",
    "event_index",
    "_index",
    "_current_duration",
    "_scheduler_index",
    "start_value",
    "end_value",
    "cycle_size",
    "warmup_duration",
    "total_cycle_size",
];

/// What a schedule puts into the groups that it was made with.
const IN_GROUPS: &[&str] = &["max_lr", "min_lr"];

impl Schedule {
    /// Whether a scheduler with this state goes on by it: it is one of the kind, or one that no state tells from it.
    pub(crate) fn fits(&self, state_dict: &Value) -> bool {
        let attributes = Attributes::from_value(PLACE, state_dict);
        let allowed = attributes.is_ok_and(|attributes| recognised(&attributes).allows(self.kind(), &attributes));
        allowed || self.is_within(state_dict)
    }
}

impl LRScheduler {
    /// The first number that it was made with and the schedule has another one for: its name, the one here and the one there.
    /// `None` for functions, which have none.
    pub(crate) fn differs(&self, schedule: &Schedule, optimizer: &Optimizer) -> Option<(String, String, String)> {
        let groups = optimizer.param_groups();
        let mut fresh = groups.to_vec();
        let made = schedule.construct(&mut fresh, -1).ok()?;
        let differ = |now: Option<&Value>, then: Option<&Value>| match (now, then) {
            (Some(now), Some(then)) => (shown(now) != shown(then)).then(|| (shown(now), shown(then))),
            _ => None,
        };
        let in_groups = |now: &ParamGroup, then: &ParamGroup| {
            let different = |key: &&str| Some(((*key).to_owned(), differ(now.get(key), then.get(key))?));
            IN_GROUPS.iter().find_map(different)
        };
        let found =
            self.unlike(&made).or_else(|| groups.iter().zip(&fresh).find_map(|(now, then)| in_groups(now, then)));
        found.map(|(key, (here, there))| (key, here, there))
    }

    fn unlike(&self, made: &LRScheduler) -> Option<(String, (String, String))> {
        let class = self.class;
        if matches!(class.tail, Some(Tail::Functions(_))) {
            return None;
        }
        let keys = class.tell.iter().chain(class.own).filter(|key| !MOVING.contains(key) && !TORCH.contains(key));
        let mut different = keys.filter_map(|key| {
            let (now, then) = (number_like(self.attributes.get(key)?), number_like(made.attributes.get(key)?));
            (now != then).then(|| ((*key).to_owned(), (now, then)))
        });
        different.next().or_else(|| self.children.iter().zip(&made.children).find_map(|(now, then)| now.unlike(then)))
    }
}

/// A value's text, in which `1` and `1.0` are the same number.
fn number_like(value: &Value) -> String {
    match value {
        Value::Int(_) | Value::Float(_) => value.as_f64().unwrap_or(f64::NAN).to_string(),
        other => shown(other),
    }
}

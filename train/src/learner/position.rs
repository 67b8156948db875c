//! `Position`: where the scheduler of a training is, its groups, and what was drawn: all that a checkpoint has beside the weights and
//! the optimizer's state. It is written into the scheduler's record, which is made between two epochs, before anything is drawn again.

use rekindle_recorder::{Dict, Result, Value};

use super::place::Drawn;
use crate::attributes::{Attributes, invalid, wrong_type};
use crate::lr_scheduler::LRScheduler;
use crate::optim::ParamGroup;

/// Where a scheduler is.
#[derive(Clone, Debug)]
pub(super) struct Position {
    /// How many steps the optimizer has made.
    pub(super) steps: u64,
    /// Those of them that it has made since the scheduler was stepped.
    pub(super) since: u64,
    pub(super) scheduler: Option<LRScheduler>,
    pub(super) groups: Vec<ParamGroup>,
    pub(super) drawn: Drawn,
}

impl Position {
    pub(super) fn to_value(&self) -> Value {
        let dict = Dict::new();
        dict.insert("steps", i64::try_from(self.steps).ok());
        dict.insert("since", i64::try_from(self.since).ok());
        dict.insert("scheduler", self.scheduler.as_ref().map(LRScheduler::whole));
        dict.insert("param_groups", Value::list(self.groups.iter().map(ParamGroup::to_value)));
        dict.insert("rng", self.drawn.rng.clone());
        dict.insert("loader", self.drawn.loader.clone());
        dict.into()
    }

    /// That of a training with the scheduler and the groups of this one.
    ///
    /// # Errors
    /// When it is of another scheduler, or of other groups.
    pub(super) fn read(&self, value: &Value) -> Result<Self> {
        let all = Attributes::from_value("scheduler.", value)?;
        let there = |name: &str| all.get(name).filter(|value| !matches!(value, Value::None));
        let scheduler = match (&self.scheduler, there("scheduler")) {
            (Some(scheduler), Some(whole)) => {
                let mut scheduler = scheduler.clone();
                scheduler.load_whole(whole)?;
                Some(scheduler)
            }
            (None, None) => None,
            (Some(_), None) => return Err(invalid("the record is of a training without a scheduler, and here is one")),
            (None, Some(_)) => return Err(invalid("the record is of a training with a scheduler, and here is none")),
        };
        let found = there("param_groups").and_then(Value::items);
        let found = found.ok_or_else(|| invalid("the record has no 'param_groups': it is none of TorchScheduler's"))?;
        if found.len() != self.groups.len() {
            let (found, here) = (found.len(), self.groups.len());
            return Err(invalid(format!("the record is of an optimizer of {found} groups, and here are {here}")));
        }
        let group = |(place, (value, group)): (usize, (&Value, &ParamGroup))| {
            let mut attributes = Attributes::from_value(format!("param_groups[{place}]."), value)?;
            attributes.remove("params");
            Ok(ParamGroup::new(attributes, group.params()))
        };
        let groups = found.iter().zip(&self.groups).enumerate().map(group).collect::<Result<_>>()?;
        let rng = there("rng")
            .map(|value| value.as_tensor().cloned().ok_or_else(|| wrong_type("scheduler.rng", "a tensor", value)));
        let drawn = Drawn { rng: rng.transpose()?, loader: there("loader").cloned() };
        let count = |name: &str| all.int(name).map(|count| u64::try_from(count).unwrap_or(0));
        Ok(Position { steps: count("steps")?, since: count("since")?, scheduler, groups, drawn })
    }
}

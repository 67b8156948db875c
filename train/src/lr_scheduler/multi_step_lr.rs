//! `torch.optim.lr_scheduler.MultiStepLR`: the learning rate shrinks by a factor at given epochs.

use indexmap::IndexMap;
use rekindle_recorder::value::{Global, Object, ObjectData};

use super::prelude::*;

options! {
    /// `MultiStepLR(optimizer, milestones, gamma)`: times `gamma` at each of the milestones.
    #[derive(PartialEq)]
    pub struct MultiStepLR;

    /// At each of the milestones, times 0.1.
    pub fn new(
        /// Epochs, in any order; one that stands there twice counts twice.
        milestones(impl Into<Vec<i64>>): Vec<i64>,
    );

    /// The factor. Default 0.1.
    gamma: f64 = 0.1,
}

impl Options for MultiStepLR {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        Ok(with(self.entries(), [("milestones", counter(&self.milestones))]))
    }
}

/// `collections.Counter(milestones)`.
pub(super) fn counter(milestones: &[i64]) -> Value {
    let mut counts = IndexMap::new();
    for &milestone in milestones {
        *counts.entry(milestone).or_insert(0_i64) += 1;
    }
    let counts: Dict = counts.into_iter().collect();
    Value::Object(Object::new(ObjectData::call(Global::new("collections", "Counter"), vec![counts.into()])))
}

/// How often an epoch is a milestone. Releases before 1.0 kept a list.
pub(super) fn count(milestones: &Value, epoch: i64) -> Option<i64> {
    let key = Value::Int(epoch);
    match milestones {
        Value::Object(object) => {
            let object = object.read();
            let dict = object.arguments().first()?.as_dict()?;
            dict.get_key(&key).map_or(Some(0), |count| count.as_i64())
        }
        Value::Dict(dict) => dict.get_key(&key).map_or(Some(0), |count| count.as_i64()),
        other => i64::try_from(other.items()?.iter().filter(|item| item.as_i64() == Some(epoch)).count()).ok(),
    }
}

/// With the milestones as the state dict has them.
pub(super) struct MultiStep {
    milestones: Value,
    gamma: f64,
}

impl MultiStep {
    fn times(&self, epoch: i64) -> Result<i64> {
        count(&self.milestones, epoch)
            .ok_or_else(|| wrong_type(&format!("{PLACE}milestones"), "a Counter of ints", &self.milestones))
    }
}

impl Formula for MultiStep {
    fn read(given: &Given) -> Computed<Self> {
        let milestones = given.attributes.get("milestones").cloned().unwrap_or(Value::None);
        let formula = MultiStep { milestones, gamma: given.attributes.float("gamma")? };
        formula.times(0)?;
        Ok(formula)
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        match self.times(now.epoch)? {
            0 => Ok(now.lr),
            times => Ok(now.lr * power(self.gamma, real(times))?),
        }
    }

    /// A list, where all that keep `_last_lr` have a `Counter`: warm-ups that were written after this class keep one.
    fn foreign(attributes: &Attributes) -> Option<&'static str> {
        let list = matches!(attributes.get("milestones"), Some(Value::List(_) | Value::Tuple(_)));
        (list && attributes.contains("_last_lr")).then_some("milestones (a list, no Counter)")
    }

    fn first_lr(&self, now: &Now) -> Computed<Number> {
        Ok(now.base()? * power(self.gamma, real(self.times(0)?))?)
    }
}

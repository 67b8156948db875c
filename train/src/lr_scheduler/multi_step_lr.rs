//! `torch.optim.lr_scheduler.MultiStepLR`: the learning rate shrinks by a factor at given epochs.

use indexmap::IndexMap;
use rekindle_recorder::value::{Global, Object, ObjectData};
use rekindle_recorder::{Dict, Result, Value};

use super::kind::SchedulerKind;
use super::rule::{Formula, Now, power, real};
use super::schedule::{Options, PLACE, Schedule, attributes};
use super::scheduler::LRScheduler;
use crate::attributes::{Attributes, wrong_type};
use crate::optim::ParamGroup;

/// `MultiStepLR(optimizer, milestones, gamma)`: times `gamma` at each of the milestones.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiStepLR {
    /// Epochs, in any order; one that stands there twice counts twice.
    pub milestones: Vec<i64>,
    /// The factor. Default 0.1.
    pub gamma: f64,
}

impl MultiStepLR {
    /// At each of the milestones, times 0.1.
    pub fn new(milestones: impl Into<Vec<i64>>) -> Self {
        MultiStepLR { milestones: milestones.into(), gamma: 0.1 }
    }

    /// Another factor.
    #[must_use]
    pub fn gamma(self, gamma: f64) -> Self {
        MultiStepLR { gamma, ..self }
    }
}

impl From<MultiStepLR> for Schedule {
    fn from(options: MultiStepLR) -> Self {
        Schedule::new(options)
    }
}

impl Options for MultiStepLR {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::MultiStepLR
    }

    fn attributes(&self, _groups: &mut [ParamGroup], _fresh: bool) -> Result<Attributes> {
        Ok(attributes([("milestones", counter(&self.milestones)), ("gamma", self.gamma.into())]))
    }
}

/// `collections.Counter(milestones)`.
fn counter(milestones: &[i64]) -> Value {
    let mut counts = IndexMap::new();
    for &milestone in milestones {
        *counts.entry(milestone).or_insert(0_i64) += 1;
    }
    let counts: Dict = counts.into_iter().collect();
    Value::Object(Object::new(ObjectData::call(Global::new("collections", "Counter"), vec![counts.into()])))
}

/// How often an epoch is a milestone. Releases before 1.0 kept a list.
fn count(milestones: &Value, epoch: i64) -> Option<i64> {
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

#[derive(Debug)]
pub(super) struct MultiStep;

fn milestones(scheduler: &LRScheduler, epoch: i64) -> Result<i64> {
    let milestones = scheduler.attributes.get("milestones").unwrap_or(&Value::None);
    count(milestones, epoch).ok_or_else(|| wrong_type(&format!("{PLACE}milestones"), "a Counter of ints", milestones))
}

impl Formula for MultiStep {
    fn check(&self, scheduler: &LRScheduler, _groups: usize) -> Result<()> {
        scheduler.attributes.float("gamma")?;
        milestones(scheduler, 0).map(drop)
    }

    fn lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        match milestones(scheduler, now.epoch)? {
            0 => Ok(now.lr),
            times => Ok(now.lr * power(scheduler, scheduler.attributes.float("gamma")?, real(times))?),
        }
    }

    fn first_lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        Ok(now.base * power(scheduler, scheduler.attributes.float("gamma")?, real(milestones(scheduler, 0)?))?)
    }
}

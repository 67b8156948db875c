//! `torch.optim.lr_scheduler.StepLR`: the learning rate shrinks by a factor every so many epochs.

use rekindle_recorder::Result;

use super::kind::SchedulerKind;
use super::rule::{Formula, Now};
use super::schedule::{Options, Schedule, attributes};
use super::scheduler::LRScheduler;
use crate::attributes::{Attributes, invalid};
use crate::optim::ParamGroup;

/// `StepLR(optimizer, step_size, gamma)`: times `gamma` every `step_size` epochs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLR {
    /// Epochs from one change to the next.
    pub step_size: i64,
    /// The factor. Default 0.1.
    pub gamma: f64,
}

impl StepLR {
    /// Every `step_size` epochs, times 0.1.
    #[must_use]
    pub fn new(step_size: i64) -> Self {
        StepLR { step_size, gamma: 0.1 }
    }

    /// Another factor.
    #[must_use]
    pub fn gamma(self, gamma: f64) -> Self {
        StepLR { gamma, ..self }
    }
}

impl From<StepLR> for Schedule {
    fn from(options: StepLR) -> Self {
        Schedule::new(options)
    }
}

impl Options for StepLR {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::StepLR
    }

    fn attributes(&self, _groups: &mut [ParamGroup], _fresh: bool) -> Result<Attributes> {
        Ok(attributes([("step_size", self.step_size.into()), ("gamma", self.gamma.into())]))
    }
}

#[derive(Debug)]
pub(super) struct Step;

impl Formula for Step {
    fn check(&self, scheduler: &LRScheduler, _groups: usize) -> Result<()> {
        scheduler.attributes.float("gamma")?;
        if scheduler.attributes.int("step_size")? == 0 {
            return Err(invalid("StepLR's step_size must not be 0"));
        }
        Ok(())
    }

    fn lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        // i64::MIN % -1 overflows; every multiple of -1 is one of 1.
        let waits = now.epoch == 0 || now.epoch.wrapping_rem(scheduler.attributes.int("step_size")?) != 0;
        Ok(if waits { now.lr } else { now.lr * scheduler.attributes.float("gamma")? })
    }

    fn first_lr(&self, _scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        Ok(now.base)
    }
}

//! `torch.optim.lr_scheduler.ExponentialLR`: the learning rate shrinks by a factor every epoch.

use rekindle_recorder::Result;

use super::kind::SchedulerKind;
use super::rule::{Formula, Now};
use super::schedule::{Options, Schedule, attributes};
use super::scheduler::LRScheduler;
use crate::attributes::Attributes;
use crate::optim::ParamGroup;

/// `ExponentialLR(optimizer, gamma)`: times `gamma` every epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExponentialLR {
    /// The factor.
    pub gamma: f64,
}

impl ExponentialLR {
    /// Every epoch times `gamma`.
    #[must_use]
    pub fn new(gamma: f64) -> Self {
        ExponentialLR { gamma }
    }
}

impl From<ExponentialLR> for Schedule {
    fn from(options: ExponentialLR) -> Self {
        Schedule::new(options)
    }
}

impl Options for ExponentialLR {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::ExponentialLR
    }

    fn attributes(&self, _groups: &mut [ParamGroup], _fresh: bool) -> Result<Attributes> {
        Ok(attributes([("gamma", self.gamma.into())]))
    }
}

#[derive(Debug)]
pub(super) struct Exponential;

impl Formula for Exponential {
    fn check(&self, scheduler: &LRScheduler, _groups: usize) -> Result<()> {
        scheduler.attributes.float("gamma").map(drop)
    }

    fn lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        Ok(if now.initial { now.lr } else { now.lr * scheduler.attributes.float("gamma")? })
    }

    fn first_lr(&self, _scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        Ok(now.base)
    }
}

//! `torch.optim.lr_scheduler.ConstantLR`: a part of the learning rate for some epochs, then all of it.

use rekindle_recorder::Result;

use super::kind::SchedulerKind;
use super::rule::{Formula, Now, divide};
use super::schedule::{Options, Schedule, attributes};
use super::scheduler::LRScheduler;
use crate::attributes::{Attributes, invalid};
use crate::optim::ParamGroup;

/// `ConstantLR(optimizer, factor, total_iters)`: times `factor` until epoch `total_iters`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConstantLR {
    /// From 0 to 1. Default 1/3.
    pub factor: f64,
    /// Epochs until the whole learning rate. Default 5.
    pub total_iters: i64,
}

impl Default for ConstantLR {
    fn default() -> Self {
        ConstantLR { factor: 1.0 / 3.0, total_iters: 5 }
    }
}

impl From<ConstantLR> for Schedule {
    fn from(options: ConstantLR) -> Self {
        Schedule::new(options)
    }
}

impl Options for ConstantLR {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::ConstantLR
    }

    fn attributes(&self, _groups: &mut [ParamGroup], _fresh: bool) -> Result<Attributes> {
        let factor = self.factor;
        if !(0.0..=1.0).contains(&factor) {
            return Err(invalid(format!("ConstantLR's factor must be from 0 to 1, and is {factor}")));
        }
        Ok(attributes([("factor", factor.into()), ("total_iters", self.total_iters.into())]))
    }
}

#[derive(Debug)]
pub(super) struct Constant;

impl Formula for Constant {
    fn check(&self, scheduler: &LRScheduler, _groups: usize) -> Result<()> {
        scheduler.attributes.float("factor")?;
        scheduler.attributes.int("total_iters").map(drop)
    }

    fn lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        let factor = scheduler.attributes.float("factor")?;
        if now.epoch == 0 {
            Ok(now.lr * factor)
        } else if now.epoch == scheduler.attributes.int("total_iters")? {
            Ok(now.lr * divide(scheduler, 1.0, factor)?)
        } else {
            Ok(now.lr)
        }
    }

    fn first_lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        let factor = scheduler.attributes.float("factor")?;
        let done = if scheduler.attributes.int("total_iters")? <= 0 { 1.0 } else { 0.0 };
        Ok(now.base * (factor + done * (1.0 - factor)))
    }
}

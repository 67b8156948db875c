//! `torch.optim.lr_scheduler.PolynomialLR`: the learning rate falls to 0 along a power of the epochs that are left.

use rekindle_recorder::Result;

use super::kind::SchedulerKind;
use super::rule::{Formula, Now, divide, power, real};
use super::schedule::{Options, Schedule, attributes};
use super::scheduler::LRScheduler;
use crate::attributes::Attributes;
use crate::optim::ParamGroup;

/// `PolynomialLR(optimizer, total_iters, power)`: to 0 in `total_iters` epochs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolynomialLR {
    /// Epochs to 0. Default 5.
    pub total_iters: i64,
    /// The power. Default 1: a straight line.
    pub power: f64,
}

impl Default for PolynomialLR {
    fn default() -> Self {
        PolynomialLR { total_iters: 5, power: 1.0 }
    }
}

impl From<PolynomialLR> for Schedule {
    fn from(options: PolynomialLR) -> Self {
        Schedule::new(options)
    }
}

impl Options for PolynomialLR {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::PolynomialLR
    }

    fn attributes(&self, _groups: &mut [ParamGroup], _fresh: bool) -> Result<Attributes> {
        Ok(attributes([("total_iters", self.total_iters.into()), ("power", self.power.into())]))
    }
}

#[derive(Debug)]
pub(super) struct Polynomial;

fn options(scheduler: &LRScheduler) -> Result<(i64, f64)> {
    Ok((scheduler.attributes.int("total_iters")?, scheduler.attributes.float("power")?))
}

impl Formula for Polynomial {
    fn check(&self, scheduler: &LRScheduler, _groups: usize) -> Result<()> {
        options(scheduler).map(drop)
    }

    fn lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        let (total, exponent) = options(scheduler)?;
        if now.initial || now.epoch > total {
            return Ok(now.lr);
        }
        let left = |epoch: i64| divide(scheduler, real(epoch), real(total)).map(|done| 1.0 - done);
        let kept = divide(scheduler, left(now.epoch)?, left(now.epoch.saturating_sub(1))?)?;
        Ok(now.lr * power(scheduler, kept, exponent)?)
    }

    fn first_lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        let (total, exponent) = options(scheduler)?;
        let left = 1.0 - divide(scheduler, real(total.min(0)), real(total))?;
        Ok(now.base * power(scheduler, left, exponent)?)
    }
}

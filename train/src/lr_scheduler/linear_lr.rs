//! `torch.optim.lr_scheduler.LinearLR`: the learning rate goes from one part of itself to another in equal steps.

use rekindle_recorder::Result;

use super::kind::SchedulerKind;
use super::rule::{Formula, Now, divide, real};
use super::schedule::{Options, Schedule, attributes};
use super::scheduler::LRScheduler;
use crate::attributes::{Attributes, invalid};
use crate::optim::ParamGroup;

/// `LinearLR(optimizer, start_factor, end_factor, total_iters)`: from `start_factor` to `end_factor` of the learning rate in
/// `total_iters` epochs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearLR {
    /// Above 0, up to 1. Default 1/3.
    pub start_factor: f64,
    /// From 0 to 1. Default 1.
    pub end_factor: f64,
    /// Epochs from the one to the other. Default 5.
    pub total_iters: i64,
}

impl Default for LinearLR {
    fn default() -> Self {
        LinearLR { start_factor: 1.0 / 3.0, end_factor: 1.0, total_iters: 5 }
    }
}

impl From<LinearLR> for Schedule {
    fn from(options: LinearLR) -> Self {
        Schedule::new(options)
    }
}

impl Options for LinearLR {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::LinearLR
    }

    fn attributes(&self, _groups: &mut [ParamGroup], _fresh: bool) -> Result<Attributes> {
        let LinearLR { start_factor, end_factor, total_iters } = *self;
        if !(start_factor > 0.0 && start_factor <= 1.0) {
            return Err(invalid(format!(
                "LinearLR's start_factor must be above 0 and at most 1, and is {start_factor}"
            )));
        }
        if !(0.0..=1.0).contains(&end_factor) {
            return Err(invalid(format!("LinearLR's end_factor must be from 0 to 1, and is {end_factor}")));
        }
        Ok(attributes([
            ("start_factor", start_factor.into()),
            ("end_factor", end_factor.into()),
            ("total_iters", total_iters.into()),
        ]))
    }
}

#[derive(Debug)]
pub(super) struct Linear;

fn options(scheduler: &LRScheduler) -> Result<(f64, f64, i64)> {
    let attributes = &scheduler.attributes;
    Ok((attributes.float("start_factor")?, attributes.float("end_factor")?, attributes.int("total_iters")?))
}

impl Formula for Linear {
    fn check(&self, scheduler: &LRScheduler, _groups: usize) -> Result<()> {
        options(scheduler).map(drop)
    }

    fn lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        let (start, end, total) = options(scheduler)?;
        if now.epoch == 0 {
            return Ok(now.lr * start);
        }
        if now.initial || now.epoch > total {
            return Ok(now.lr);
        }
        let before = real(total) * start + real(now.epoch.saturating_sub(1)) * (end - start);
        Ok(now.lr * (1.0 + divide(scheduler, end - start, before)?))
    }

    fn first_lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        let (start, end, total) = options(scheduler)?;
        Ok(now.base * (start + divide(scheduler, (end - start) * real(total.min(0)), real(total))?))
    }
}

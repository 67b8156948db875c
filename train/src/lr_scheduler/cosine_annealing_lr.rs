//! `torch.optim.lr_scheduler.CosineAnnealingLR`: the learning rate follows half a cosine wave down, and up again if it is
//! stepped on. PyTorch computes each rate from the one before, so this does too: the closed form differs in the last bits.

use std::f64::consts::PI;

use rekindle_recorder::Result;

use super::kind::SchedulerKind;
use super::rule::{Formula, Now, divide, real};
use super::schedule::{Options, Schedule, attributes};
use super::scheduler::LRScheduler;
use crate::attributes::{Attributes, invalid};
use crate::optim::ParamGroup;

/// `CosineAnnealingLR(optimizer, T_max, eta_min)`: down to `eta_min` in `t_max` epochs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CosineAnnealingLR {
    /// Epochs from the highest to the lowest learning rate: `T_max`.
    pub t_max: i64,
    /// The lowest learning rate. Default 0.
    pub eta_min: f64,
}

impl CosineAnnealingLR {
    /// Down to 0 in `t_max` epochs.
    #[must_use]
    pub fn new(t_max: i64) -> Self {
        CosineAnnealingLR { t_max, eta_min: 0.0 }
    }

    /// Down to another learning rate.
    #[must_use]
    pub fn eta_min(self, eta_min: f64) -> Self {
        CosineAnnealingLR { eta_min, ..self }
    }
}

impl From<CosineAnnealingLR> for Schedule {
    fn from(options: CosineAnnealingLR) -> Self {
        Schedule::new(options)
    }
}

impl Options for CosineAnnealingLR {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::CosineAnnealingLR
    }

    fn attributes(&self, _groups: &mut [ParamGroup], _fresh: bool) -> Result<Attributes> {
        Ok(attributes([("T_max", self.t_max.into()), ("eta_min", self.eta_min.into())]))
    }
}

#[derive(Debug)]
pub(super) struct CosineAnnealing;

fn options(scheduler: &LRScheduler) -> Result<(f64, f64)> {
    Ok((scheduler.attributes.float("T_max")?, scheduler.attributes.float("eta_min")?))
}

impl Formula for CosineAnnealing {
    fn check(&self, scheduler: &LRScheduler, _groups: usize) -> Result<()> {
        let (t_max, _) = options(scheduler)?;
        if t_max == 0.0 || !t_max.is_finite() {
            return Err(invalid(format!("CosineAnnealingLR's T_max must not be {t_max}")));
        }
        Ok(())
    }

    fn lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        let (t_max, eta_min) = options(scheduler)?;
        let epoch = real(now.epoch);
        if now.initial {
            return Ok(now.lr);
        }
        if now.step_count == 1 && now.epoch > 0 {
            return Ok(eta_min + (now.base - eta_min) * (1.0 + (epoch * PI / t_max).cos()) / 2.0);
        }
        // A remainder of 0 has no sign that matters, so Python's and Rust's agree on it.
        if (epoch - 1.0 - t_max) % (2.0 * t_max) == 0.0 {
            return Ok(now.lr + (now.base - eta_min) * (1.0 - (PI / t_max).cos()) / 2.0);
        }
        let before = 1.0 + (PI * (epoch - 1.0) / t_max).cos();
        Ok(divide(scheduler, 1.0 + (PI * epoch / t_max).cos(), before)? * (now.lr - eta_min) + eta_min)
    }

    fn first_lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        let (_, eta_min) = options(scheduler)?;
        Ok(eta_min + (now.base - eta_min) * (1.0 + 0.0_f64.cos()) / 2.0)
    }
}

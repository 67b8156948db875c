//! `timm.scheduler.TanhLRScheduler`: along a hyperbolic tangent to `lr_min`, over again with `cycle_limit`.

use rekindle_recorder::Result;

use super::base::{Rates, common, timm_options};
use super::cycles::{Cycles, cycles};
use crate::attributes::{Attributes, invalid};
use crate::lr_scheduler::formula::{Computed, divide};
use crate::lr_scheduler::schedule::{Entries, Options};
use crate::optim::ParamGroup;

timm_options! {
    /// `TanhLRScheduler(optimizer, t_initial, ...)`: along a hyperbolic tangent to `lr_min`, over again with `cycle_limit`.
    #[derive(PartialEq)]
    pub struct TanhLRScheduler;

    /// One cycle of `t_initial` epochs or updates.
    pub fn new(
        /// The length of the first cycle.
        t_initial: i64,
    );

    /// Where on the tangent a cycle begins. Default -7.
    lb: f64 = -7.0,
    /// Where on the tangent a cycle ends. Default 3.
    ub: f64 = 3.0,
    /// The lowest learning rate. Default 0.
    lr_min: f64 = 0.0,
    /// How many times as long each cycle is than the one before. Default 1.
    cycle_mul: f64 = 1.0,
    /// Which part of its height each cycle has of the one before. Default 1.
    cycle_decay: f64 = 1.0,
    /// How many cycles there are; `lr_min` follows. Default 1.
    cycle_limit: i64 = 1,
    /// Epochs or updates until the whole learning rate. Default 0.
    warmup_t: i64 = 0,
    /// The learning rate that it begins with, if there is a warm-up. Default 0.
    warmup_lr_init: f64 = 0.0,
    /// Whether the rest begins to count after the warm-up. Default false.
    warmup_prefix: bool = false,
}

impl Options for TanhLRScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let own = [
            ("warmup_t", self.warmup_t.into()),
            ("warmup_lr_init", self.warmup_lr_init.into()),
            ("warmup_prefix", self.warmup_prefix.into()),
        ];
        let tangent = [("lb", self.lb.into()), ("ub", self.ub.into())];
        Ok(common!(self).into_iter().chain(tangent).chain(cycles!(self)).chain(own).collect())
    }
}

pub(in crate::lr_scheduler) struct Tanh {
    cycles: Cycles,
    prefix: bool,
    lb: f64,
    ub: f64,
}

impl Rates for Tanh {
    fn read(attributes: &Attributes) -> Computed<Self> {
        let (lb, ub) = (attributes.float("lb")?, attributes.float("ub")?);
        if lb >= ub {
            return Err(invalid(format!("TanhLRScheduler's lb must be below ub, and they are {lb} and {ub}")).into());
        }
        Ok(Tanh { cycles: Cycles::read(attributes)?, prefix: attributes.flag("warmup_prefix")?, lb, ub })
    }

    fn rates(&self, t: i64, bases: &[f64]) -> Computed<Vec<f64>> {
        self.cycles.rates(t, bases, |place, above| {
            let part = divide(place.t, place.length)?;
            Ok(0.5 * above * (1.0 - (self.lb * (1.0 - part) + self.ub * part).tanh()))
        })
    }

    fn warmup_to(&self, warmup_t: i64, bases: &[f64]) -> Computed<Vec<f64>> {
        if self.prefix { Ok(bases.to_vec()) } else { self.rates(warmup_t, bases) }
    }
}

//! `timm.scheduler.PolyLRScheduler`: along a power of what is left of the cycle to `lr_min`, over again with `cycle_limit`.

use rekindle_recorder::Result;

use super::base::{Rates, common, timm_options};
use super::cycles::{Cycles, cycles};
use crate::attributes::Attributes;
use crate::lr_scheduler::formula::{Computed, divide, power};
use crate::lr_scheduler::schedule::{Entries, Options};
use crate::optim::ParamGroup;

timm_options! {
    /// `PolyLRScheduler(optimizer, t_initial, ...)`: along a power of what is left of the cycle to `lr_min`, over again with `cycle_limit`.
    #[derive(PartialEq)]
    pub struct PolyLRScheduler;

    /// One cycle of `t_initial` epochs or updates.
    pub fn new(
        /// The length of the first cycle.
        t_initial: i64,
    );

    /// The power. Default 0.5.
    power: f64 = 0.5,
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
    /// The power of the part of the cycle. Default 1.
    k_decay: f64 = 1.0,
}

impl Options for PolyLRScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let own = [
            ("warmup_t", self.warmup_t.into()),
            ("warmup_lr_init", self.warmup_lr_init.into()),
            ("warmup_prefix", self.warmup_prefix.into()),
            ("k_decay", self.k_decay.into()),
        ];
        let [t_initial, cycles @ ..] = cycles!(self);
        let power = ("power", self.power.into());
        Ok(common!(self).into_iter().chain([t_initial, power]).chain(cycles).chain(own).collect())
    }
}

pub(in crate::lr_scheduler) struct Poly {
    cycles: Cycles,
    k: f64,
    power: f64,
}

impl Rates for Poly {
    fn read(attributes: &Attributes) -> Computed<Self> {
        let (k, power) = (attributes.float("k_decay")?, attributes.float("power")?);
        Ok(Poly { cycles: Cycles::read(attributes)?, k, power })
    }

    fn rates(&self, t: i64, bases: &[f64]) -> Computed<Vec<f64>> {
        self.cycles.rates(t, bases, |place, above| {
            let part = divide(power(place.t, self.k)?, power(place.length, self.k)?)?;
            Ok(above * power(1.0 - part, self.power)?)
        })
    }
}

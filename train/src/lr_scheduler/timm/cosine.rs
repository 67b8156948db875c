//! `timm.scheduler.CosineLRScheduler`: along half a cosine wave to `lr_min`, over again with `cycle_limit`.

use std::f64::consts::PI;

use rekindle_recorder::Result;

use super::base::{Rates, common, timm_options};
use super::cycles::{Cycles, cycles};
use crate::attributes::Attributes;
use crate::lr_scheduler::formula::{Computed, divide, power};
use crate::lr_scheduler::schedule::{Entries, Options};
use crate::optim::ParamGroup;

timm_options! {
    /// `CosineLRScheduler(optimizer, t_initial, ...)`: along half a cosine wave to `lr_min`, over again with `cycle_limit`.
    #[derive(PartialEq)]
    pub struct CosineLRScheduler;

    /// One cycle of `t_initial` epochs or updates.
    pub fn new(
        /// The length of the first cycle.
        t_initial: i64,
    );

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

impl Options for CosineLRScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let own = [
            ("warmup_t", self.warmup_t.into()),
            ("warmup_lr_init", self.warmup_lr_init.into()),
            ("warmup_prefix", self.warmup_prefix.into()),
            ("k_decay", self.k_decay.into()),
        ];
        Ok(common!(self).into_iter().chain(cycles!(self)).chain(own).collect())
    }
}

pub(in crate::lr_scheduler) struct Cosine {
    cycles: Cycles,
    k: f64,
}

impl Rates for Cosine {
    fn read(attributes: &Attributes) -> Computed<Self> {
        Ok(Cosine { cycles: Cycles::read(attributes)?, k: attributes.float("k_decay")? })
    }

    fn rates(&self, t: i64, bases: &[f64]) -> Computed<Vec<f64>> {
        self.cycles.rates(t, bases, |place, above| {
            let part = divide(PI * power(place.t, self.k)?, power(place.length, self.k)?)?;
            Ok(0.5 * above * (1.0 + part.cos()))
        })
    }
}

//! `timm.scheduler.CosineLRScheduler`: along half a cosine wave to `lr_min`, over again with `cycle_limit`.

use std::f64::consts::PI;

use rekindle_recorder::Result;

use super::base::{Rates, common, warmup};
use super::cycles::{Cycles, cycle_options, cycles};
use crate::attributes::Attributes;
use crate::lr_scheduler::formula::{Computed, divide, power};
use crate::lr_scheduler::schedule::{Entries, Options};
use crate::optim::ParamGroup;

cycle_options! {
    /// `CosineLRScheduler(optimizer, t_initial, ...)`: along half a cosine wave to `lr_min`, over again with `cycle_limit`.
    #[derive(PartialEq)]
    pub struct CosineLRScheduler;
    []
    [
        /// The power of the part of the cycle. Default 1.
        k_decay: f64 = 1.0,
    ]
}

impl Options for CosineLRScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let k_decay = ("k_decay", self.k_decay.into());
        Ok(common!(self).into_iter().chain(cycles!(self)).chain(warmup!(self)).chain([k_decay]).collect())
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

//! `timm.scheduler.PolyLRScheduler`: along a power of what is left of the cycle to `lr_min`, over again with `cycle_limit`.

use rekindle_recorder::Result;

use super::base::{Rates, common, warmup};
use super::cycles::{Cycles, cycle_options, cycles};
use crate::attributes::Attributes;
use crate::lr_scheduler::formula::{Computed, divide, power};
use crate::lr_scheduler::schedule::{Entries, Options};
use crate::optim::ParamGroup;

cycle_options! {
    /// `PolyLRScheduler(optimizer, t_initial, ...)`: along a power of what is left of the cycle to `lr_min`, over again with `cycle_limit`.
    #[derive(PartialEq)]
    pub struct PolyLRScheduler;
    [
        /// The power. Default 0.5.
        power: f64 = 0.5,
    ]
    [
        /// The power of the part of the cycle. Default 1.
        k_decay: f64 = 1.0,
    ]
}

impl Options for PolyLRScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let k_decay = ("k_decay", self.k_decay.into());
        let [t_initial, cycles @ ..] = cycles!(self);
        let power = ("power", self.power.into());
        Ok(common!(self)
            .into_iter()
            .chain([t_initial, power])
            .chain(cycles)
            .chain(warmup!(self))
            .chain([k_decay])
            .collect())
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

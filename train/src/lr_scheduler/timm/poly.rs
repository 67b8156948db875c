//! `timm.scheduler.PolyLRScheduler`: along a power of what is left of the cycle to `lr_min`, over again with `cycle_limit`.

use super::base::Rates;
use super::cycles::{Cycles, cycle_options};
use crate::lr_scheduler::prelude::*;

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

impl Options for PolyLRScheduler {}

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

//! `timm.scheduler.CosineLRScheduler`: along half a cosine wave to `lr_min`, over again with `cycle_limit`.

use super::base::Rates;
use super::cycles::{Cycles, cycle_options};
use crate::lr_scheduler::prelude::*;

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

impl Options for CosineLRScheduler {}

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

//! `timm.scheduler.TanhLRScheduler`: along a hyperbolic tangent to `lr_min`, over again with `cycle_limit`.

use super::base::Rates;
use super::cycles::{Cycles, cycle_options};
use crate::lr_scheduler::prelude::*;

cycle_options! {
    /// `TanhLRScheduler(optimizer, t_initial, ...)`: along a hyperbolic tangent to `lr_min`, over again with `cycle_limit`.
    #[derive(PartialEq)]
    pub struct TanhLRScheduler;
    [
        /// Where on the tangent a cycle begins. Default -7.
        lb: f64 = -7.0,
        /// Where on the tangent a cycle ends. Default 3.
        ub: f64 = 3.0,
    ]
    []
}

impl Options for TanhLRScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        // The tangent comes before the cycles.
        let tangent: Entries = vec![("lb", self.lb.into()), ("ub", self.ub.into())];
        Ok(with(tangent, self.entries()))
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

//! `timm.scheduler.StepLRScheduler`: times `decay_rate` every `decay_t` epochs or updates.

use super::base::{Rates, timm_options};
use crate::lr_scheduler::arguments::Argument;
use crate::lr_scheduler::prelude::*;

timm_options! {
    /// `StepLRScheduler(optimizer, decay_t, decay_rate, ...)`: times `decay_rate` every `decay_t` epochs or updates.
    #[derive(PartialEq)]
    pub struct StepLRScheduler;

    /// No decay, until `decay_rate` is set.
    pub fn new(
        /// Epochs or updates from one change to the next.
        decay_t: f64,
    );

    /// The factor. Default 1.
    decay_rate: f64 = 1.0,
    /// Epochs or updates until the whole learning rate. Default 0.
    warmup_t: i64 = 0,
    /// The learning rate that it begins with, if there is a warm-up. Default 0.
    warmup_lr_init: f64 = 0.0,
    /// Whether the rest begins to count after the warm-up. Default true.
    warmup_prefix: bool = true,
}

impl Options for StepLRScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        // As Python would have it: a whole number is an `int`.
        let whole = i64::read(&self.decay_t.into());
        Ok(with(self.entries(), whole.map(|whole| ("decay_t", whole.into()))))
    }
}

pub(in crate::lr_scheduler) struct Step {
    decay_t: f64,
    decay_rate: f64,
}

impl Rates for Step {
    fn read(attributes: &Attributes) -> Computed<Self> {
        Ok(Step { decay_t: attributes.float("decay_t")?, decay_rate: attributes.float("decay_rate")? })
    }

    fn foreign(attributes: &Attributes) -> Option<&'static str> {
        let list = attributes.get("decay_t").and_then(Value::items).is_some();
        (list).then_some("decay_t (a list)")
    }

    fn rates(&self, t: i64, bases: &[f64]) -> Computed<Vec<f64>> {
        let times = divide(real(t), self.decay_t)?.floor();
        let factor = power(self.decay_rate, times)?;
        Ok(bases.iter().map(|base| base * factor).collect())
    }
}

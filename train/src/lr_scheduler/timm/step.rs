//! `timm.scheduler.StepLRScheduler`: times `decay_rate` every `decay_t` epochs or updates.

use rekindle_recorder::Result;

use super::base::{Rates, common, timm_options};
use crate::attributes::Attributes;
use crate::lr_scheduler::formula::{Computed, divide, power, real};
use crate::lr_scheduler::schedule::{Entries, Options};
use crate::optim::ParamGroup;

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
        let own = [
            ("decay_t", self.decay_t.clone().into()),
            ("decay_rate", self.decay_rate.into()),
            ("warmup_t", self.warmup_t.into()),
            ("warmup_lr_init", self.warmup_lr_init.into()),
            ("warmup_prefix", self.warmup_prefix.into()),
        ];
        Ok(common!(self).into_iter().chain(own).collect())
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

    fn rates(&self, t: i64, bases: &[f64]) -> Computed<Vec<f64>> {
        let times = divide(real(t), self.decay_t)?.floor();
        let factor = power(self.decay_rate, times)?;
        Ok(bases.iter().map(|base| base * factor).collect())
    }
}

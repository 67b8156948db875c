//! `timm.scheduler.MultiStepLRScheduler`: times `decay_rate` at each of the epochs or updates `decay_t`.

use super::base::{Rates, timm_options};
use crate::lr_scheduler::prelude::*;

timm_options! {
    /// `MultiStepLRScheduler(optimizer, decay_t, decay_rate, ...)`: times `decay_rate` at each of the epochs or updates `decay_t`.
    #[derive(PartialEq)]
    pub struct MultiStepLRScheduler;

    /// No decay, until `decay_rate` is set.
    pub fn new(
        /// Epochs or updates in ascending order; timm changes the rate one before each.
        decay_t(impl Into<Vec<i64>>): Vec<i64>,
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

impl Options for MultiStepLRScheduler {}

pub(in crate::lr_scheduler) struct MultiStepT {
    decay_t: Vec<f64>,
    decay_rate: f64,
}

impl Rates for MultiStepT {
    fn read(attributes: &Attributes) -> Computed<Self> {
        Ok(MultiStepT { decay_t: attributes.floats("decay_t")?, decay_rate: attributes.float("decay_rate")? })
    }

    fn foreign(attributes: &Attributes) -> Option<&'static str> {
        let list = attributes.get("decay_t").and_then(Value::items).is_some();
        (!list).then_some("decay_t (no list)")
    }

    fn rates(&self, t: i64, bases: &[f64]) -> Computed<Vec<f64>> {
        // timm counts one ahead.
        let next = real(t.saturating_add(1));
        let times = real(i64::try_from(self.decay_t.partition_point(|decay| *decay <= next)).unwrap_or(i64::MAX));
        let factor = power(self.decay_rate, times)?;
        Ok(bases.iter().map(|base| base * factor).collect())
    }
}

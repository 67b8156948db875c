//! `timm.scheduler.WSDLRScheduler`: warm-up, stable, decay.

use super::base::{Rates, timm_options};
use crate::lr_scheduler::prelude::*;

timm_options! {
    /// `WSDLRScheduler(optimizer, t_initial, decay_t, ...)`: the warm-up, then as `stable_fn` says, and in the last `decay_t`
    /// of `t_initial` epochs or updates down to `lr_min` as `decay_fn` says.
    #[derive(PartialEq)]
    pub struct WSDLRScheduler;

    /// Constant, then down along one less the square root.
    pub fn new(
        /// Epochs or updates after the warm-up.
        t_initial: i64,
        /// How many of these, the last, go down.
        decay_t: i64,
    );

    /// The lowest learning rate. Default 0.
    lr_min: f64 = 0.0,
    /// `"constant"`, `"rsqrt"` or `"power"`. Default: constant.
    stable_fn(impl Into<String>): String = "constant".to_owned(),
    /// In what the stable part counts. Default `None`: in `warmup_t`.
    stable_timescale(f64 => Some): Option<f64> = None,
    /// The power of the stable part. Default 0.5.
    stable_power: f64 = 0.5,
    /// `"linear"`, `"1-sqrt"`, `"cosine"`, `"power"` or `"exp"`. Default: one less the square root.
    decay_fn(impl Into<String>): String = "1-sqrt".to_owned(),
    /// The power of the decay. Default 0.5.
    decay_power: f64 = 0.5,
    /// The part that an exponential decay goes down to. Default 0.1.
    decay_ratio: f64 = 0.1,
    /// Epochs or updates until the whole learning rate. Default 0.
    warmup_t: i64 = 0,
    /// The learning rate that it begins with, if there is a warm-up. Default 0.
    warmup_lr_init: f64 = 0.0,
}

impl Options for WSDLRScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let counts = self.stable_timescale.is_none() && self.stable_fn != "constant";
        Ok(with(self.entries(), counts.then(|| ("stable_timescale", self.warmup_t.into()))))
    }
}

pub(in crate::lr_scheduler) struct Wsd {
    t_initial: f64,
    decay_t: f64,
    lr_min: f64,
    warmup_t: i64,
    /// The power of the stable part and what it counts in; `None` for a constant one.
    stable: Option<(f64, f64)>,
    decay: Decay,
}

/// `decay_fn`, with what it needs.
enum Decay {
    Linear,
    OneLessRoot,
    Cosine,
    Power(f64),
    Exp(f64),
}

impl Wsd {
    fn left(&self, part: f64) -> Computed<f64> {
        Ok(match self.decay {
            Decay::Linear => 1.0 - part,
            Decay::OneLessRoot => 1.0 - part.sqrt(),
            Decay::Cosine => 0.5 * (1.0 + (PI * part).cos()),
            Decay::Power(exponent) => 1.0 - power(part, exponent)?,
            Decay::Exp(ratio) => divide(power(ratio, part)? - ratio, 1.0 - ratio)?,
        })
    }
}

impl Rates for Wsd {
    const PREFIX: bool = false;

    fn read(attributes: &Attributes) -> Computed<Self> {
        let power = match &*attributes.text("stable_fn")? {
            "constant" => None,
            "rsqrt" => Some(0.5),
            "power" => Some(attributes.float("stable_power")?),
            other => return Err(invalid(format!("WSDLRScheduler has no stable_fn '{other}'")).into()),
        };
        let stable = match power {
            None => None,
            Some(power) => Some((power, attributes.float("stable_timescale")?)),
        };
        let decay = match &*attributes.text("decay_fn")? {
            "linear" => Decay::Linear,
            "1-sqrt" => Decay::OneLessRoot,
            "cosine" => Decay::Cosine,
            "power" => Decay::Power(attributes.float("decay_power")?),
            "exp" => Decay::Exp(attributes.float("decay_ratio")?),
            other => return Err(invalid(format!("WSDLRScheduler has no decay_fn '{other}'")).into()),
        };
        Ok(Wsd {
            t_initial: attributes.float("t_initial")?,
            decay_t: attributes.float("decay_t")?,
            lr_min: attributes.float("lr_min")?,
            warmup_t: attributes.int("warmup_t")?,
            stable,
            decay,
        })
    }

    fn rates(&self, t: i64, bases: &[f64]) -> Computed<Vec<f64>> {
        let since = real(t.saturating_sub(self.warmup_t));
        let stable = match self.stable {
            None => 1.0,
            Some((exponent, timescale)) => power(1.0 + divide(since, timescale)?, -exponent)?,
        };
        let decaying = since - (self.t_initial - self.decay_t);
        let left = if decaying <= 0.0 { None } else { Some(self.left(divide(decaying, self.decay_t)?.min(1.0))?) };
        let rates = bases.iter().map(|base| {
            let rate = base * stable;
            // Python's `max`: the first, unless the second is larger.
            let rate = if self.lr_min > rate { self.lr_min } else { rate };
            left.map_or(rate, |left| self.lr_min + (rate - self.lr_min) * left)
        });
        Ok(rates.collect())
    }
}

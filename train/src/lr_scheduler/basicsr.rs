//! `BasicSR`'s schedulers (`basicsr.models.lr_scheduler`), of the programs that were written after it, too: PyTorch's, and restarts. Its
//! programs step them before each step of the optimizer.

use super::multi_step_lr::{count, counter};
use super::prelude::*;

options! {
    /// `MultiStepRestartLR(optimizer, milestones, gamma, restarts, restart_weights)`: times `gamma` at each of the milestones, and back
    /// to a part of the first learning rate at each restart.
    #[derive(PartialEq)]
    pub struct MultiStepRestartLR;

    /// At each of the milestones, times 0.1.
    pub fn new(
        /// Iterations, in any order; one that stands there twice counts twice.
        milestones(impl Into<Vec<i64>>): Vec<i64>,
    );

    /// The factor. Default 0.1.
    gamma: f64 = 0.1,
    /// Iterations at which it begins anew. Default 0 alone.
    restarts(impl Into<Vec<i64>>): Vec<i64> = vec![0],
    /// Which part of the first learning rate each restart begins with. Default 1 alone.
    restart_weights(impl Into<Vec<f64>>): Vec<f64> = vec![1.0],
}

impl Options for MultiStepRestartLR {
    fn check(&self) -> Result<()> {
        as_many("MultiStepRestartLR", "restarts", self.restarts.len(), self.restart_weights.len())
    }

    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        Ok(with(self.entries(), [("milestones", counter(&self.milestones))]))
    }
}

fn as_many(name: &str, what: &str, found: usize, weights: usize) -> Result<()> {
    if found == weights {
        return Ok(());
    }
    Err(invalid(format!("{name} has {found} {what} and {weights} restart_weights; it needs as many of both")))
}

/// With the milestones as the state dict has them.
pub(super) struct MultiStepRestart {
    milestones: Value,
    gamma: f64,
    restarts: Vec<i64>,
    weights: Vec<f64>,
}

impl Formula for MultiStepRestart {
    fn read(given: &Given) -> Computed<Self> {
        let attributes = given.attributes;
        let milestones = attributes.get("milestones").cloned().unwrap_or(Value::None);
        let (restarts, weights) = (attributes.ints("restarts")?, attributes.floats("restart_weights")?);
        as_many("MultiStepRestartLR", "restarts", restarts.len(), weights.len())?;
        if count(&milestones, 0).is_none() {
            return Err(wrong_type(&format!("{PLACE}milestones"), "a Counter of ints", &milestones).into());
        }
        Ok(MultiStepRestart { milestones, gamma: attributes.float("gamma")?, restarts, weights })
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        let restart = self.restarts.iter().position(|restart| *restart == now.epoch);
        if let Some(weight) = restart.and_then(|place| self.weights.get(place)) {
            return Ok(Number::of(now.group, "initial_lr")? * *weight);
        }
        match count(&self.milestones, now.epoch).unwrap_or(0) {
            0 => Ok(now.lr),
            times => Ok(now.lr * power(self.gamma, real(times))?),
        }
    }
}

options! {
    /// `CosineAnnealingRestartLR(optimizer, periods, restart_weights, eta_min)`: half a cosine wave down in each of the periods. Beyond
    /// the last one `BasicSR` raises an error.
    #[derive(PartialEq)]
    pub struct CosineAnnealingRestartLR;

    /// Each period down to 0.
    pub fn new(
        /// Iterations of each period.
        periods(impl Into<Vec<i64>>): Vec<i64>,
    );

    /// Which part of the first learning rate each period begins with. Default 1 alone.
    restart_weights(impl Into<Vec<f64>>): Vec<f64> = vec![1.0],
    /// The lowest learning rate. Default 0.
    eta_min: f64 = 0.0,
}

impl Options for CosineAnnealingRestartLR {
    fn check(&self) -> Result<()> {
        as_many("CosineAnnealingRestartLR", "periods", self.periods.len(), self.restart_weights.len())
    }

    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let ends = self.periods.iter().scan(0_i64, |end, period| {
            *end = end.saturating_add(*period);
            Some(*end)
        });
        Ok(with(self.entries(), [("cumulative_period", ends.collect::<Vec<_>>().into())]))
    }
}

/// What a period is computed by.
pub(super) struct CosineAnnealingRestart {
    periods: Vec<i64>,
    ends: Vec<i64>,
    weights: Vec<f64>,
    eta_min: f64,
}

impl Formula for CosineAnnealingRestart {
    fn read(given: &Given) -> Computed<Self> {
        let attributes = given.attributes;
        let (periods, ends) = (attributes.ints("periods")?, attributes.ints("cumulative_period")?);
        let weights = attributes.floats("restart_weights")?;
        as_many("CosineAnnealingRestartLR", "periods", periods.len(), weights.len())?;
        as_many("CosineAnnealingRestartLR", "ends of periods", ends.len(), weights.len())?;
        Ok(CosineAnnealingRestart { periods, ends, weights, eta_min: attributes.float("eta_min")? })
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        let place = self.ends.iter().position(|end| now.epoch <= *end);
        let period = place.and_then(|place| Some((place, *self.periods.get(place)?, *self.weights.get(place)?)));
        let Some((place, period, weight)) = period else {
            let end = self.ends.last().copied().unwrap_or(0);
            return Err(Failure::NoNumber(format!("its periods end at {end}")));
        };
        let begun = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let part = divide(real(now.epoch.saturating_sub(begun)), real(period))?;
        Ok((now.base()? - self.eta_min) * (weight * 0.5) * (1.0 + (PI * part).cos()) + self.eta_min)
    }
}

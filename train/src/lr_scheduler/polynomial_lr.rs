//! `torch.optim.lr_scheduler.PolynomialLR`: the learning rate falls to 0 along a power of the epochs that are left.

use super::prelude::*;

options! {
    /// `PolynomialLR(optimizer, total_iters, power)`: to 0 in `total_iters` epochs.
    #[derive(Copy, PartialEq)]
    pub struct PolynomialLR;

    /// Epochs to 0. Default 5.
    total_iters: i64 = 5,
    /// The power. Default 1: a straight line.
    power: f64 = 1.0,
}

impl Options for PolynomialLR {}

impl PolynomialLR {
    /// The part that is left at an epoch.
    fn left(&self, epoch: i64) -> Computed<f64> {
        Ok(1.0 - divide(real(epoch), real(self.total_iters))?)
    }
}

impl Formula for PolynomialLR {
    fn read(given: &Given) -> Computed<Self> {
        let (total_iters, power) = (given.attributes.int("total_iters")?, given.attributes.float("power")?);
        Ok(PolynomialLR { total_iters, power })
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        if now.initial || now.epoch > self.total_iters {
            return Ok(now.lr);
        }
        let kept = divide(self.left(now.epoch)?, self.left(now.epoch.saturating_sub(1))?)?;
        Ok(now.lr * power(kept, self.power)?)
    }

    fn first_lr(&self, now: &Now) -> Computed<Number> {
        Ok(now.base()? * power(self.left(self.total_iters.min(0))?, self.power)?)
    }
}

//! `torch.optim.lr_scheduler.ConstantLR`: a part of the learning rate for some epochs, then all of it.

use super::prelude::*;

options! {
    /// `ConstantLR(optimizer, factor, total_iters)`: times `factor` until epoch `total_iters`.
    #[derive(Copy, PartialEq)]
    pub struct ConstantLR;

    /// From 0 to 1. Default 1/3.
    factor: f64 = 1.0 / 3.0,
    /// Epochs until the whole learning rate. Default 5.
    total_iters: i64 = 5,
}

impl Options for ConstantLR {
    fn check(&self) -> Result<()> {
        from_0_to_1("ConstantLR's factor", self.factor)
    }
}

impl Formula for ConstantLR {
    fn read(given: &Given) -> Computed<Self> {
        let (factor, total_iters) = (given.attributes.float("factor")?, given.attributes.int("total_iters")?);
        Ok(ConstantLR { factor, total_iters })
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        if now.epoch == 0 {
            Ok(now.lr * self.factor)
        } else if now.epoch == self.total_iters {
            Ok(now.lr * divide(1.0, self.factor)?)
        } else {
            Ok(now.lr)
        }
    }

    fn first_lr(&self, now: &Now) -> Computed<Number> {
        let done = if self.total_iters <= 0 { 1.0 } else { 0.0 };
        Ok(now.base()? * (self.factor + done * (1.0 - self.factor)))
    }
}

//! `torch.optim.lr_scheduler.LinearLR`: the learning rate goes from one part of itself to another in equal steps.

use super::prelude::*;

options! {
    /// `LinearLR(optimizer, start_factor, end_factor, total_iters)`: from `start_factor` to `end_factor` of the learning rate
    /// in `total_iters` epochs.
    #[derive(Copy, PartialEq)]
    pub struct LinearLR;

    /// Above 0, up to 1. Default 1/3.
    start_factor: f64 = 1.0 / 3.0,
    /// From 0 to 1. Default 1.
    end_factor: f64 = 1.0,
    /// Epochs from the one to the other. Default 5.
    total_iters: i64 = 5,
}

impl Options for LinearLR {
    fn check(&self) -> Result<()> {
        let start = self.start_factor;
        if !(start > 0.0 && start <= 1.0) {
            return Err(invalid(format!("LinearLR's start_factor must be above 0 and at most 1, and is {start}")));
        }
        from_0_to_1("LinearLR's end_factor", self.end_factor)
    }
}

impl Formula for LinearLR {
    fn read(given: &Given) -> Computed<Self> {
        Ok(LinearLR {
            start_factor: given.attributes.float("start_factor")?,
            end_factor: given.attributes.float("end_factor")?,
            total_iters: given.attributes.int("total_iters")?,
        })
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        let LinearLR { start_factor: start, end_factor: end, total_iters: total } = *self;
        if now.epoch == 0 {
            return Ok(now.lr * start);
        }
        if now.initial || now.epoch > total {
            return Ok(now.lr);
        }
        let before = real(total) * start + real(now.epoch.saturating_sub(1)) * (end - start);
        Ok(now.lr * (1.0 + divide(end - start, before)?))
    }

    fn first_lr(&self, now: &Now) -> Computed<Number> {
        let LinearLR { start_factor: start, end_factor: end, total_iters: total } = *self;
        Ok(now.base()? * (start + divide((end - start) * real(total.min(0)), real(total))?))
    }
}

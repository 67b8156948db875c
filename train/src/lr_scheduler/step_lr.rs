//! `torch.optim.lr_scheduler.StepLR`: the learning rate shrinks by a factor every so many epochs.

use super::prelude::*;

options! {
    /// `StepLR(optimizer, step_size, gamma)`: times `gamma` every `step_size` epochs.
    #[derive(Copy, PartialEq)]
    pub struct StepLR;

    /// Every `step_size` epochs, times 0.1.
    pub fn new(
        /// Epochs from one change to the next.
        step_size: i64,
    );

    /// The factor. Default 0.1.
    gamma: f64 = 0.1,
}

impl Options for StepLR {}

impl Formula for StepLR {
    fn read(given: &Given) -> Computed<Self> {
        let gamma = given.attributes.float("gamma")?;
        match given.attributes.int("step_size")? {
            0 => Err(invalid("StepLR's step_size must not be 0").into()),
            step_size => Ok(StepLR { step_size, gamma }),
        }
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        // i64::MIN % -1 overflows; every multiple of -1 is one of 1.
        let waits = now.epoch == 0 || now.epoch.wrapping_rem(self.step_size) != 0;
        Ok(if waits { now.lr } else { now.lr * self.gamma })
    }

    fn first_lr(&self, now: &Now) -> Computed<Number> {
        Ok(now.base()?)
    }
}

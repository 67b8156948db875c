//! `torch.optim.lr_scheduler.ExponentialLR`: the learning rate shrinks by a factor every epoch.

use super::prelude::*;

options! {
    /// `ExponentialLR(optimizer, gamma)`: times `gamma` every epoch.
    #[derive(Copy, PartialEq)]
    pub struct ExponentialLR;

    /// Every epoch times `gamma`.
    pub fn new(
        /// The factor.
        gamma: f64,
    );
}

impl Options for ExponentialLR {}

impl Formula for ExponentialLR {
    fn read(given: &Given) -> Computed<Self> {
        Ok(ExponentialLR { gamma: given.attributes.float("gamma")? })
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        Ok(if now.initial { now.lr } else { now.lr * self.gamma })
    }

    fn first_lr(&self, now: &Now) -> Computed<Number> {
        Ok(now.base()?)
    }
}

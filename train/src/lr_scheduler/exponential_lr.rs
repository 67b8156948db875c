//! `torch.optim.lr_scheduler.ExponentialLR`: the learning rate shrinks by a factor every epoch.

use rekindle_recorder::Result;

use super::formula::{Computed, Formula, Given, Now};
use super::number::Number;
use super::options::options;
use super::schedule::{Entries, Options};
use crate::optim::ParamGroup;

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

impl Options for ExponentialLR {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        Ok(vec![("gamma", self.gamma.into())])
    }
}

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

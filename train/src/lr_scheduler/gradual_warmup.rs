//! `warmup_scheduler.GradualWarmupScheduler` (pytorch-gradual-warmup-lr), without a scheduler that comes after the warm-up: its
//! state dict holds that as a Python object with the optimizer inside, which cannot be gone on with.

use super::prelude::*;

options! {
    /// `GradualWarmupScheduler(optimizer, multiplier, total_epoch)`: up to `multiplier` of the learning rate in `total_epoch`
    /// epochs: from 0 where that is 1, else from the learning rate.
    #[derive(Copy, PartialEq)]
    pub struct GradualWarmupScheduler;

    /// Up to `multiplier` of the learning rate.
    pub fn new(
        /// At least 1.
        multiplier: f64,
        /// Epochs of the warm-up.
        total_epoch: i64,
    );
}

impl Options for GradualWarmupScheduler {
    fn check(&self) -> Result<()> {
        if self.multiplier < 1.0 {
            return Err(invalid("GradualWarmupScheduler's multiplier must be at least 1"));
        }
        Ok(())
    }

    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        Ok(with(self.entries(), [("after_scheduler", Value::None), ("finished", false.into())]))
    }
}

impl Formula for GradualWarmupScheduler {
    fn read(given: &Given) -> Computed<Self> {
        if !matches!(given.attributes.get("after_scheduler"), None | Some(Value::None)) {
            let what = "GradualWarmupScheduler with an after_scheduler, which its state dict holds as a Python object,";
            let advice = "make a new SequentialLR of a warm-up and that scheduler";
            return Err(Failure::Refused(Error::unsupported(what).advise(advice)));
        }
        let (multiplier, total) = (given.attributes.float("multiplier")?, given.attributes.int("total_epoch")?);
        Ok(GradualWarmupScheduler::new(multiplier, total))
    }

    #[allow(clippy::float_cmp)]
    fn lr(&self, now: &Now) -> Computed<Number> {
        let (epoch, total) = (real(now.epoch), real(self.total_epoch));
        Ok(now.base()?
            * if epoch > total {
                self.multiplier
            } else if self.multiplier == 1.0 {
                divide(epoch, total)?
            } else {
                divide((self.multiplier - 1.0) * epoch, total)? + 1.0
            })
    }
}

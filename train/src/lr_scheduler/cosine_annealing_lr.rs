//! `torch.optim.lr_scheduler.CosineAnnealingLR`: the learning rate follows half a cosine wave down, and up again if it is
//! stepped on. PyTorch computes each rate from the one before, so this does too: the closed form differs in the last bits.

use super::prelude::*;

options! {
    /// `CosineAnnealingLR(optimizer, T_max, eta_min)`: down to `eta_min` in `t_max` epochs.
    #[derive(Copy, PartialEq)]
    pub struct CosineAnnealingLR;

    /// Down to 0 in `t_max` epochs.
    pub fn new(
        /// Epochs from the highest to the lowest learning rate: `T_max`.
        t_max: i64,
    );

    /// The lowest learning rate. Default 0.
    eta_min: f64 = 0.0,
}

impl Options for CosineAnnealingLR {}

/// With a `t_max` that need not be whole in a state dict.
pub(super) struct CosineAnnealing {
    t_max: f64,
    eta_min: f64,
}

impl Formula for CosineAnnealing {
    fn read(given: &Given) -> Computed<Self> {
        let (t_max, eta_min) = (given.attributes.float("T_max")?, given.attributes.float("eta_min")?);
        if t_max == 0.0 || !t_max.is_finite() {
            return Err(invalid(format!("CosineAnnealingLR's T_max must not be {t_max}")).into());
        }
        Ok(CosineAnnealing { t_max, eta_min })
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        let CosineAnnealing { t_max, eta_min } = *self;
        let epoch = real(now.epoch);
        if now.initial {
            return Ok(now.lr);
        }
        if now.step_count == 1 && now.epoch > 0 {
            return Ok(eta_min + (now.base()? - eta_min) * (1.0 + (epoch * PI / t_max).cos()) / 2.0);
        }
        // A remainder of 0 has no sign that matters, so Python's and Rust's agree on it.
        if (epoch - 1.0 - t_max) % (2.0 * t_max) == 0.0 {
            return Ok(now.lr + (now.base()? - eta_min) * (1.0 - (PI / t_max).cos()) / 2.0);
        }
        let before = 1.0 + (PI * (epoch - 1.0) / t_max).cos();
        Ok(divide(1.0 + (PI * epoch / t_max).cos(), before)? * (now.lr - eta_min) + eta_min)
    }

    fn first_lr(&self, now: &Now) -> Computed<Number> {
        Ok(self.eta_min + (now.base()? - self.eta_min) * (1.0 + 0.0_f64.cos()) / 2.0)
    }
}

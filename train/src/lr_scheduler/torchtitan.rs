//! torchtitan's schedule: a [`LambdaLR`] over steps, whose function no checkpoint of it holds.

use std::f64::consts::PI;

use rekindle_recorder::{Dict, Result};

use super::formula::real;
use super::lambda_lr::LambdaLR;
use super::options::Function;
use crate::attributes::invalid;

/// torchtitan's `lr_scheduler` section, with its defaults but for the steps of the run.
#[derive(Clone, Debug)]
pub struct WarmupStableDecay {
    /// In how many steps the rate rises, in a straight line. Default 200.
    pub warmup_steps: i64,
    /// How many steps the run has: `lr_scheduler.total_steps`, or `training.steps`.
    pub total_steps: i64,
    /// Over what part of them it falls; `None`, the default, is all after the warm-up.
    pub decay_ratio: Option<f64>,
    /// Along what: `linear`, the default, `sqrt` or `cosine`.
    pub decay_type: String,
    /// What is left of the rate at the end. Default 0.
    pub min_lr_factor: f64,
}

impl WarmupStableDecay {
    /// Of a run of so many steps, with torchtitan's defaults.
    #[must_use]
    pub fn new(total_steps: i64) -> Self {
        WarmupStableDecay {
            warmup_steps: 200,
            total_steps,
            decay_ratio: None,
            decay_type: "linear".to_owned(),
            min_lr_factor: 0.0,
        }
    }

    /// torchtitan's `linear_warmup_stable_decay`: beyond the end, where torchtitan stops, it goes on along its curve.
    ///
    /// # Errors
    /// When it falls along something else.
    pub fn schedule(&self) -> Result<LambdaLR> {
        let down = match self.decay_type.as_str() {
            "linear" => |progress: f64| 1.0 - progress,
            "sqrt" => |progress: f64| 1.0 - progress.sqrt(),
            "cosine" => |progress: f64| 0.5 * (1.0 + (PI * progress).cos()),
            other => return Err(invalid(format!("decay_type is linear, sqrt or cosine, and not '{other}'"))),
        };
        let (total, min) = (self.total_steps, self.min_lr_factor);
        let warmup = self.warmup_steps.min(total);
        let left = total.saturating_sub(warmup);
        #[allow(clippy::cast_possible_truncation)] // a count of steps, as Python rounds it
        let decay = self.decay_ratio.map_or(left, |ratio| (real(total) * ratio).round_ties_even() as i64).min(left);
        // One step more than there are, so that the last one is not at 0.
        let falls = total.saturating_add(1).saturating_sub(decay);
        let factor = move |step: i64| {
            let next = step.saturating_add(1);
            if step < warmup {
                real(next) / real(warmup)
            } else if step < falls || decay <= 0 {
                1.0
            } else {
                min + (1.0 - min) * down(real(next.saturating_sub(falls)) / real(decay))
            }
        };
        Ok(Function::new(factor).with_state(Dict::new()).into())
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::LinearConfig;
    use burn::tensor::Device;

    use crate::lr_scheduler::{LRScheduler, Schedule};
    use crate::optim::{Optimizer, SgdOptions};

    /// What torchtitan 0.3.0 computed over ten steps, with its own `LRSchedulersContainer`.
    const FACTORS: [(&str, [f64; 11]); 3] = [
        (
            "torchtitan(total_steps=10, warmup_steps=3)",
            [
                0.3333333333333333,
                0.6666666666666666,
                1.0,
                1.0,
                0.8571428571428572,
                0.7142857142857143,
                0.5714285714285714,
                0.4285714285714286,
                0.2857142857142857,
                0.1428571428571429,
                0.0,
            ],
        ),
        (
            "torchtitan(total_steps=10, warmup_steps=2, decay_ratio=0.5, decay_type='cosine', min_lr_factor=0.1)",
            [
                0.5,
                1.0,
                1.0,
                1.0,
                1.0,
                1.0,
                0.9140576474687263,
                0.6890576474687263,
                0.41094235253127376,
                0.18594235253127372,
                0.1,
            ],
        ),
        (
            "torchtitan(total_steps=10, warmup_steps=3, decay_ratio=0.25, decay_type='sqrt', min_lr_factor=0.2)",
            [0.3333333333333333, 0.6666666666666666, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.434314575050762, 0.2],
        ),
    ];

    #[test]
    fn rates_are_torchtitan_s_to_the_last_bit() {
        for (words, factors) in FACTORS {
            let model = LinearConfig::new(2, 2).init(&Device::flex().autodiff());
            let mut optimizer = Optimizer::sgd(&model, SgdOptions::default().lr(1.0)).unwrap();
            let schedule: Schedule = words.parse().unwrap();
            let mut scheduler = LRScheduler::new(schedule, &mut optimizer).unwrap();
            for factor in factors {
                assert_eq!(optimizer.lr().unwrap()[0].to_bits(), factor.to_bits(), "{words}: {factor}");
                scheduler.step(&mut optimizer).unwrap();
            }
        }
        assert!("torchtitan(total_steps=10, decay_type='wave')".parse::<Schedule>().is_err());
    }
}

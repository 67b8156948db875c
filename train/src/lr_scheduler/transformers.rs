//! The schedules of Hugging Face's `transformers.optimization`: each a [`LambdaLR`] over steps, with its function.
//!
//! What they say of their function in a state dict is what transformers' say: nothing for the constant one, and `{}` for the
//! others, which are `functools.partial`s there. So none of the options is in a file: a run that goes on needs them again.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::tensor::Device;
//! use rekindle_train::lr_scheduler::{LRScheduler, transformers};
//! use rekindle_train::optim::{AdamWOptions, Optimizer};
//!
//! let model = LinearConfig::new(3, 2).init(&Device::flex().autodiff());
//! let mut optimizer = Optimizer::adamw(&model, AdamWOptions::default().lr(5e-5))?;
//! let schedule = transformers::linear_schedule_with_warmup(100, 1000);
//! let scheduler = LRScheduler::new(schedule.clone(), &mut optimizer)?;
//! assert_eq!(optimizer.lr()?, [0.0]);
//!
//! let scheduler = LRScheduler::resume(schedule, &scheduler.state_dict(), &optimizer)?;
//! # Ok::<(), rekindle_recorder::Error>(())
//! ```

use std::f64::consts::PI;

use rekindle_recorder::{Dict, Value};

use super::arguments::Argument;
use super::formula::real;
use super::lambda_lr::LambdaLR;
use super::options::Function;

/// Up from 0 in a straight line, then as a function of the step says.
fn warmed_up(num_warmup_steps: i64, then: impl Fn(i64) -> f64 + Send + Sync + 'static) -> LambdaLR {
    partial(move |step| if step < num_warmup_steps { warmup(step, num_warmup_steps) } else { then(step) })
}

fn partial(function: impl Fn(i64) -> f64 + Send + Sync + 'static) -> LambdaLR {
    Function::new(function).with_state(Dict::new()).into()
}

/// The part of the warmup that is done.
fn warmup(step: i64, steps: i64) -> f64 {
    real(step) / real(steps.max(1))
}

/// The part of what follows the warmup that is done.
fn progress(step: i64, num_warmup_steps: i64, num_training_steps: i64) -> f64 {
    real(step.saturating_sub(num_warmup_steps)) / real(num_training_steps.saturating_sub(num_warmup_steps).max(1))
}

/// `num_cycles` cosine waves, from 1.
fn waves(num_cycles: f64, progress: f64) -> f64 {
    0.5 * (1.0 + (PI * num_cycles * 2.0 * progress).cos())
}

/// Python's `max`: the first, unless the second is larger.
fn max(a: f64, b: f64) -> f64 {
    if b > a { b } else { a }
}

/// A factor from 0 to 1 as one from `min` to 1.
fn above(min: f64, factor: f64) -> f64 {
    max(0.0, factor * (1.0 - min) + min)
}

/// `get_constant_schedule`: the learning rate as it is.
#[must_use]
pub fn constant_schedule() -> LambdaLR {
    LambdaLR::new(|_| 1.0)
}

/// `get_constant_schedule_with_warmup`: up from 0 in a straight line, then constant.
#[must_use]
pub fn constant_schedule_with_warmup(num_warmup_steps: i64) -> LambdaLR {
    warmed_up(num_warmup_steps, |_| 1.0)
}

/// `get_linear_schedule_with_warmup`: up from 0 in a straight line, then down to 0 in another.
#[must_use]
pub fn linear_schedule_with_warmup(num_warmup_steps: i64, num_training_steps: i64) -> LambdaLR {
    warmed_up(num_warmup_steps, move |step| {
        max(
            0.0,
            real(num_training_steps.saturating_sub(step))
                / real(num_training_steps.saturating_sub(num_warmup_steps).max(1)),
        )
    })
}

/// `get_cosine_schedule_with_warmup`: up from 0 in a straight line, then along `num_cycles` cosine waves;
/// transformers' default of 0.5 is one way down to 0.
#[must_use]
pub fn cosine_schedule_with_warmup(num_warmup_steps: i64, num_training_steps: i64, num_cycles: f64) -> LambdaLR {
    cosine_with_min_lr_schedule_with_warmup(num_warmup_steps, num_training_steps, num_cycles, 0.0)
}

/// `get_cosine_with_min_lr_schedule_with_warmup`: as [`cosine_schedule_with_warmup`], down to `min_lr_rate` of the learning
/// rate.
#[must_use]
pub fn cosine_with_min_lr_schedule_with_warmup(
    num_warmup_steps: i64,
    num_training_steps: i64,
    num_cycles: f64,
    min_lr_rate: f64,
) -> LambdaLR {
    warmed_up(num_warmup_steps, move |step| {
        above(min_lr_rate, waves(num_cycles, progress(step, num_warmup_steps, num_training_steps)))
    })
}

/// `get_cosine_with_min_lr_schedule_with_warmup_lr_rate`: as [`cosine_with_min_lr_schedule_with_warmup`], one step ahead, and
/// from `warmup_lr_rate` of the learning rate where there is one.
#[must_use]
pub fn cosine_with_min_lr_schedule_with_warmup_lr_rate(
    num_warmup_steps: i64,
    num_training_steps: i64,
    num_cycles: f64,
    min_lr_rate: f64,
    warmup_lr_rate: Option<f64>,
) -> LambdaLR {
    let (warmup, total) = (real(num_warmup_steps), real(num_training_steps));
    partial(move |step| {
        let step = real(step);
        if step < warmup {
            return match warmup_lr_rate {
                None => (step + 1.0) / max(1.0, warmup),
                Some(rate) => rate + (1.0 - rate) * step / max(1.0, warmup - 1.0),
            };
        }
        let progress = (step - warmup + 1.0) / max(1.0, total - warmup);
        above(min_lr_rate, waves(num_cycles, progress))
    })
}

/// `get_cosine_with_hard_restarts_schedule_with_warmup`: up from 0 in a straight line, then `num_cycles` times half a cosine
/// wave down to 0; transformers' default is 1.
#[must_use]
pub fn cosine_with_hard_restarts_schedule_with_warmup(
    num_warmup_steps: i64,
    num_training_steps: i64,
    num_cycles: f64,
) -> LambdaLR {
    warmed_up(num_warmup_steps, move |step| {
        let done = progress(step, num_warmup_steps, num_training_steps);
        if done >= 1.0 {
            return 0.0;
        }
        max(0.0, 0.5 * (1.0 + (PI * ((num_cycles * done) % 1.0)).cos()))
    })
}

/// `get_polynomial_decay_schedule_with_warmup`: up from 0 in a straight line, then down to the learning rate `lr_end` along
/// a power; transformers' defaults are 1e-7 and 1. `lr_init` is the learning rate that the optimizer was made with
/// (`optimizer.defaults["lr"]`), which transformers looks up itself.
#[must_use]
pub fn polynomial_decay_schedule_with_warmup(
    lr_init: f64,
    num_warmup_steps: i64,
    num_training_steps: i64,
    lr_end: f64,
    power: f64,
) -> LambdaLR {
    warmed_up(num_warmup_steps, move |step| {
        if step > num_training_steps {
            return lr_end / lr_init;
        }
        let left = 1.0
            - real(step.saturating_sub(num_warmup_steps)) / real(num_training_steps.saturating_sub(num_warmup_steps));
        ((lr_init - lr_end) * left.powf(power) + lr_end) / lr_init
    })
}

/// `get_inverse_sqrt_schedule`: up from 0 in a straight line, then along one over the square root of the steps;
/// `timescale` is as in transformers, where `None` is as long as the warmup, or 10,000 without one.
#[must_use]
pub fn inverse_sqrt_schedule(num_warmup_steps: i64, timescale: Option<i64>) -> LambdaLR {
    let timescale = timescale.unwrap_or(if num_warmup_steps == 0 { 10_000 } else { num_warmup_steps });
    warmed_up(num_warmup_steps, move |step| {
        1.0 / (real(step.saturating_add(timescale.saturating_sub(num_warmup_steps))) / real(timescale)).sqrt()
    })
}

/// Along what [`wsd_schedule`] goes up and down: transformers' `warmup_type` and `decay_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Along {
    /// `"linear"`: a straight line.
    #[default]
    Linear,
    /// `"cosine"`: up half a cosine wave, down `num_cycles` of them.
    Cosine,
    /// `"1-sqrt"`: steep at the lower end of the warmup's and at the upper one of the decay's way.
    OneMinusSqrt,
}

impl Along {
    /// All there are, by their names in transformers.
    const ALL: [(&'static str, Along); 3] =
        [("linear", Along::Linear), ("cosine", Along::Cosine), ("1-sqrt", Along::OneMinusSqrt)];

    /// From 0 to 1.
    fn up(self, progress: f64) -> f64 {
        match self {
            Along::Linear => progress,
            Along::Cosine => 0.5 * (1.0 - (PI * progress).cos()),
            Along::OneMinusSqrt => 1.0 - (1.0 - progress).sqrt(),
        }
    }

    /// From 1 down.
    fn down(self, progress: f64, num_cycles: f64) -> f64 {
        match self {
            Along::Linear => 1.0 - progress,
            Along::Cosine => waves(num_cycles, progress),
            Along::OneMinusSqrt => 1.0 - progress.sqrt(),
        }
    }
}

impl Argument for Along {
    const EXPECTED: &'static str = "'linear', 'cosine' or '1-sqrt'";

    fn read(value: &Value) -> Option<Self> {
        let word = value.as_str()?;
        Along::ALL.iter().find(|(name, _)| *name == word).map(|(_, along)| *along)
    }
}

/// `get_wsd_schedule`: from `min_lr_ratio` of the learning rate to all of it in `num_warmup_steps`, constant for
/// `num_stable_steps` (transformers' default is what the other two leave of all steps), then to `min_lr_ratio` of it in
/// `num_decay_steps`. Transformers' defaults are a warmup along [`Along::Linear`], a decay along [`Along::Cosine`] with
/// `num_cycles` of 0.5, one way down, and a `min_lr_ratio` of 0.
#[must_use]
pub fn wsd_schedule(
    num_warmup_steps: i64,
    num_stable_steps: i64,
    num_decay_steps: i64,
    warmup_type: Along,
    decay_type: Along,
    min_lr_ratio: f64,
    num_cycles: f64,
) -> LambdaLR {
    let above = move |factor| above(min_lr_ratio, factor);
    partial(move |step| {
        let decay_begins = num_warmup_steps.saturating_add(num_stable_steps);
        if step < num_warmup_steps {
            above(warmup_type.up(warmup(step, num_warmup_steps)))
        } else if step < decay_begins {
            1.0
        } else if step.saturating_sub(decay_begins) < num_decay_steps {
            let progress = real(step.saturating_sub(decay_begins)) / real(num_decay_steps.max(1));
            above(decay_type.down(progress, num_cycles))
        } else {
            min_lr_ratio
        }
    })
}

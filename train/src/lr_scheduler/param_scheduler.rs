//! `ParamScheduler`: the schedulers of `fvcore.common.param_scheduler`, functions of the part of a training that is done; and
//! detectron2's `WarmupParamScheduler`.

use std::f64::consts::PI;

/// One of fvcore's schedulers: a number by the part of the training that is done, from 0 to 1.
///
/// ```
/// use rekindle_train::lr_scheduler::{LRMultiplier, ParamScheduler};
///
/// // detectron2's `WarmupCosineLR`: from 1 to 0, after a warm-up of 1,000 of 90,000 steps.
/// let cosine = ParamScheduler::Cosine { start_value: 1.0, end_value: 0.0 };
/// let multiplier = ParamScheduler::warmup(cosine, 1e-3, 1000.0 / 90_000.0, true, false).unwrap();
/// let schedule = LRMultiplier::new(multiplier, 90_000);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ParamScheduler {
    /// `ConstantParamScheduler(value)`.
    Constant(f64),
    /// `CosineParamScheduler(start_value, end_value)`.
    Cosine {
        /// At the beginning.
        start_value: f64,
        /// At the end.
        end_value: f64,
    },
    /// `ExponentialParamScheduler(start_value, decay)`.
    Exponential {
        /// At the beginning.
        start_value: f64,
        /// What it is multiplied by until the end.
        decay: f64,
    },
    /// `LinearParamScheduler(start_value, end_value)`.
    Linear {
        /// At the beginning.
        start_value: f64,
        /// At the end.
        end_value: f64,
    },
    /// `MultiStepParamScheduler(values, num_updates, milestones)`.
    MultiStep {
        /// The numbers, one more than milestones.
        values: Vec<f64>,
        /// Steps in all.
        num_updates: i64,
        /// The steps at which the next number begins.
        milestones: Vec<i64>,
    },
    /// `PolynomialDecayParamScheduler(base_value, power)`.
    PolynomialDecay {
        /// At the beginning.
        base_value: f64,
        /// The power.
        power: f64,
    },
    /// `StepParamScheduler(num_updates, values)`: each number for as long as the others.
    Step {
        /// The numbers.
        values: Vec<f64>,
    },
    /// `CompositeParamScheduler(schedulers, lengths, interval_scaling)`.
    Composite(Vec<Part>),
}

/// A part of a [`ParamScheduler::Composite`].
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it goes by.
    pub scheduler: ParamScheduler,
    /// Which part of the whole it is; all together are 1.
    pub length: f64,
    /// Whether it sees its own part as from 0 to 1 (`"rescaled"`), or the whole (`"fixed"`).
    pub rescaled: bool,
}

/// To be added before a part is compared or made whole.
const EPSILON: f64 = 1e-6;

impl ParamScheduler {
    /// `WarmupParamScheduler(scheduler, warmup_factor, warmup_length, warmup_method, rescale_interval)`: `linear` or constant
    /// for `warmup_length` of the whole. `None` where the scheduler has no number at the ends of the warm-up.
    #[must_use]
    pub fn warmup(
        scheduler: ParamScheduler,
        warmup_factor: f64,
        warmup_length: f64,
        linear: bool,
        rescale_interval: bool,
    ) -> Option<Self> {
        let end_value = scheduler.at(if rescale_interval { 0.0 } else { warmup_length })?;
        let start_value = warmup_factor * scheduler.at(0.0)?;
        let warmup = if linear {
            ParamScheduler::Linear { start_value, end_value }
        } else {
            ParamScheduler::Constant(start_value)
        };
        Some(ParamScheduler::Composite(vec![
            Part { scheduler: warmup, length: warmup_length, rescaled: true },
            Part { scheduler, length: 1.0 - warmup_length, rescaled: rescale_interval },
        ]))
    }

    /// The number at a part of the whole; `None` where fvcore raises an error: beyond the end.
    #[must_use]
    pub fn at(&self, part: f64) -> Option<f64> {
        match self {
            ParamScheduler::Constant(value) => (part < 1.0).then_some(*value),
            ParamScheduler::Cosine { start_value, end_value } => {
                Some(end_value + 0.5 * (start_value - end_value) * (1.0 + (PI * part).cos()))
            }
            ParamScheduler::Exponential { start_value, decay } => Some(start_value * decay.powf(part)),
            ParamScheduler::Linear { start_value, end_value } => Some(end_value * part + start_value * (1.0 - part)),
            ParamScheduler::MultiStep { values, num_updates, milestones } => {
                if part > 1.0 {
                    return None;
                }
                #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
                let update = ((part + EPSILON) * *num_updates as f64) as i64;
                values.get(milestones.partition_point(|milestone| *milestone <= update)).copied()
            }
            ParamScheduler::PolynomialDecay { base_value, power } => {
                let value = base_value * (1.0 - part).powf(*power);
                value.is_finite().then_some(value)
            }
            ParamScheduler::Step { values } => {
                #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let place = ((part + EPSILON) * values.len() as f64) as usize;
                values.get(place).copied()
            }
            ParamScheduler::Composite(parts) => {
                let (mut parts, mut total) = (parts.iter().peekable(), 0.0);
                loop {
                    let here = parts.next()?;
                    total += here.length;
                    if part + EPSILON > total && parts.peek().is_some() {
                        continue;
                    }
                    let start = total - here.length;
                    let within = if here.rescaled { (part - start) / here.length } else { part };
                    return here.scheduler.at(within);
                }
            }
        }
    }
}

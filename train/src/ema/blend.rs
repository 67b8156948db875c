//! `Averaging`: how an average takes in a new value, element by element, as PyTorch's functions do on the CPU.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rekindle_recorder::{DType, Element, Error, Result, Tensor};

use super::decay::Decay;
use crate::attributes::invalid;
use crate::optim::{Number, Real, with_real};

/// How an average takes in a new value: the `multi_avg_fn` or `avg_fn` of PyTorch's `AveragedModel`.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Averaging {
    /// `get_swa_avg_fn()`, PyTorch's default on the CPU: the mean of all values, `average + (value - average) / (n + 1)`.
    #[default]
    Swa,
    /// `get_swa_multi_avg_fn()`, PyTorch's default on a GPU: the same by `lerp`, which may differ in the last digit.
    SwaMultiAvgFn,
    /// `get_ema_multi_avg_fn(decay)`: `lerp(average, value, 1 - decay)`. Also that of timm's `ModelEmaV3`.
    Ema {
        /// How much of the average stays, from 0 to 1.
        decay: f64,
    },
    /// `get_ema_avg_fn(decay)`: `decay * average + (1 - decay) * value`, which may differ from [`Averaging::Ema`] in the last
    /// digit. Also that of timm's `ModelEmaV2`, and of mmengine with its momentum as `1 - decay`.
    EmaAvgFn {
        /// How much of the average stays, from 0 to 1.
        decay: f64,
    },
    /// A decay that changes with the number of updates.
    Decaying(Decay),
    /// An `avg_fn` of one's own: of an element of the average, the new value, and `n_averaged`. It is computed in double
    /// precision and rounded once.
    AvgFn(Arc<dyn Fn(f64, f64, i64) -> f64 + Send + Sync>),
}

impl fmt::Debug for Averaging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Averaging::Swa => f.write_str("Swa"),
            Averaging::SwaMultiAvgFn => f.write_str("SwaMultiAvgFn"),
            Averaging::Ema { decay } => f.debug_struct("Ema").field("decay", decay).finish(),
            Averaging::EmaAvgFn { decay } => f.debug_struct("EmaAvgFn").field("decay", decay).finish(),
            Averaging::Decaying(decay) => f.debug_tuple("Decaying").field(decay).finish(),
            Averaging::AvgFn(_) => f.write_str("AvgFn(a function)"),
        }
    }
}

impl Averaging {
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Averaging::Ema { decay } | Averaging::EmaAvgFn { decay } => in_range(*decay),
            Averaging::Decaying(decay) => in_range(decay.largest()),
            _ => Ok(()),
        }
    }

    /// Whether the average takes anything in after so many updates.
    pub(super) fn is_due(&self, n_averaged: i64) -> bool {
        !matches!(self, Averaging::Decaying(decay) if decay.after(n_averaged).is_none())
    }

    /// The average of this name with a new value taken in.
    pub(super) fn blend(&self, name: &str, average: &Tensor, value: &Tensor, n_averaged: i64) -> Result<Tensor> {
        let shape = average.shape();
        match average.dtype() {
            dtype if dtype.is_floating_point() => with_real!(dtype, T => {
                Tensor::from_vec(shape, self.floats::<T>(average.to_vec()?, elements(value)?, n_averaged))
            }),
            DType::Int64 => Tensor::from_vec(shape, self.ints(average.to_vec()?, value.to_vec()?, n_averaged)),
            dtype => {
                let what = format!("averaging '{name}', a tensor of {dtype},");
                Err(Error::unsupported(what).advise("keep the model in float32"))
            }
        }
    }

    fn floats<T: Float>(&self, mut average: Vec<T>, value: Vec<T>, n_averaged: i64) -> Vec<T> {
        let each = average.iter_mut().zip(value);
        match self {
            Averaging::Swa => {
                let count = double(n_averaged) + 1.0;
                each.for_each(|(average, value)| *average = average.add(value.add(*average, -1.0).div(count), 1.0));
            }
            // PyTorch divides tensors there, in single precision.
            Averaging::SwaMultiAvgFn => {
                let weight = f64::from(1.0 / (single(n_averaged) + 1.0));
                each.for_each(|(average, value)| *average = average.lerp(value, weight));
            }
            Averaging::Ema { decay } => {
                let weight = 1.0 - decay;
                each.for_each(|(average, value)| *average = average.lerp(value, weight));
            }
            Averaging::EmaAvgFn { decay } => {
                let rest = 1.0 - decay;
                each.for_each(|(average, value)| *average = average.mul(*decay).add(value.mul(rest), 1.0));
            }
            Averaging::Decaying(rule) => {
                let Some(decay) = rule.after(n_averaged) else { return average };
                let rest = 1.0 - decay;
                match rule {
                    Decay::EmaPytorch { .. } | Decay::Timm { .. } | Decay::MmEngine { .. } => {
                        each.for_each(|(average, value)| *average = average.lerp(value, rest));
                    }
                    Decay::Yolo { .. } => {
                        each.for_each(|(average, value)| *average = average.mul(decay).add(value.mul(rest), 1.0));
                    }
                    Decay::Ignite { .. } => {
                        each.for_each(|(average, value)| *average = average.mul(decay).add(value, rest));
                    }
                    Decay::TorchEma { .. } | Decay::LitEma { .. } | Decay::Diffusers { .. } => {
                        // LitEma's decays are tensors of single precision.
                        #[allow(clippy::cast_possible_truncation)]
                        let rest =
                            if matches!(rule, Decay::LitEma { .. }) { f64::from(1.0 - decay as f32) } else { rest };
                        each.for_each(|(average, value)| {
                            *average = average.add(average.add(value, -1.0).mul(rest), -1.0);
                        });
                    }
                }
            }
            Averaging::AvgFn(function) => {
                each.for_each(|(average, value)| {
                    *average = T::of(function(average.double(), value.double(), n_averaged));
                });
            }
        }
        average
    }

    /// Whole numbers, which are cut off: what PyTorch does to counts where buffers are averaged, too.
    #[allow(clippy::cast_possible_truncation)]
    fn ints(&self, mut average: Vec<i64>, value: Vec<i64>, n_averaged: i64) -> Vec<i64> {
        for (average, value) in average.iter_mut().zip(value) {
            let decayed = |decay: f64| single(*average) * decay as f32 + single(value) * (1.0 - decay) as f32;
            *average = match self {
                Averaging::Swa | Averaging::SwaMultiAvgFn => {
                    let difference = single(value.saturating_sub(*average));
                    (single(*average) + difference / (single(n_averaged) + 1.0)) as i64
                }
                Averaging::Ema { decay } | Averaging::EmaAvgFn { decay } => decayed(*decay) as i64,
                Averaging::Decaying(_) => *average,
                Averaging::AvgFn(function) => function(double(*average), double(value), n_averaged) as i64,
            };
        }
        average
    }
}

/// The elements of a tensor in an average's type.
fn elements<T: Float>(value: &Tensor) -> Result<Vec<T>> {
    if value.dtype() == T::DTYPE {
        return value.to_vec();
    }
    Ok(value.to_f64_vec()?.into_iter().map(T::of).collect())
}

fn in_range(decay: f64) -> Result<()> {
    if (0.0..=1.0).contains(&decay) {
        return Ok(());
    }
    Err(invalid(format!("an average's decay must be from 0 to 1, and is {decay}")))
}

/// `swa`, a number from 0 to 1 that stays the same, or one of the rules of [`Decay`]: `ema_pytorch(beta=0.999)`.
impl FromStr for Averaging {
    type Err = Error;

    fn from_str(text: &str) -> Result<Averaging> {
        Ok(match text.trim() {
            "swa" => Averaging::Swa,
            text => match text.parse() {
                Ok(decay) => Averaging::Ema { decay },
                Err(_) => Averaging::Decaying(text.parse()?),
            },
        })
    }
}

/// As `FromStr` reads it.
impl fmt::Display for Averaging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Averaging::Swa | Averaging::SwaMultiAvgFn => f.write_str("swa"),
            Averaging::Ema { decay } | Averaging::EmaAvgFn { decay } => write!(f, "{decay}"),
            Averaging::Decaying(decay) => decay.fmt(f),
            Averaging::AvgFn(_) => f.write_str("a function"),
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn single(number: i64) -> f32 {
    number as f32
}

#[allow(clippy::cast_precision_loss)]
fn double(number: i64) -> f64 {
    number as f64
}

/// An element type that averages have: what optimizers compute with, without the operators of the same names.
trait Float: Number + Element {
    /// A number rounded to this type.
    fn of(number: f64) -> Self;
    /// The number.
    fn double(self) -> f64;
}

impl<T: Real> Float for T {
    fn of(number: f64) -> Self {
        Real::of(number)
    }

    fn double(self) -> f64 {
        Real::double(self)
    }
}

//! `torch.multinomial`: places drawn by weight, which `WeightedRandomSampler` and sampling from a language model walk through.

use crate::error::ParameterError;
use crate::exponential::exponential_;
use crate::generator::Generator;
use crate::real::Real;
use crate::real::sealed::Compute;
use crate::select::largest;

/// More categories `PyTorch` does not take.
const MOST: usize = 1 << 24;

/// `torch.multinomial(weights, num_samples, replacement)` of one row: shape `[num_samples]`, places of `weights`. A matrix is
/// one row after the other.
///
/// Without replacement, and for one sample, each weight is divided by a value of [`exponential_`] of its type, and
/// the places of the largest quotients are taken, largest first: 64 bits a weight. Equal quotients, which are
/// frequent with 16 bits and where weights are 0, come in the order in which the C++ library of `PyTorch`'s build (libstdc++)
/// leaves them. With replacement a `f64` of [`rand`](crate::rand) is sought in the sums of the weights, kept in their type (in
/// `f32` for 16 bits): 64 bits a sample. The formulas: `multinomial_out` of ATen/native/Distributions.cpp and
/// ATen/native/cpu/MultinomialKernel.cpp.
///
/// ```
/// use rekindle_random::{Generator, multinomial};
///
/// let weights = [0.1_f64, 0.9, 0.4, 0.7, 3.0, 0.6];
/// assert_eq!(multinomial(&mut Generator::new(0), &weights, 5, true)?, [5, 4, 4, 5, 4]);
/// assert_eq!(multinomial(&mut Generator::new(0), &weights, 6, false)?, [4, 1, 2, 5, 3, 0]);
/// # Ok::<(), rekindle_random::ParameterError>(())
/// ```
///
/// # Errors
/// If no sample is asked for, or without replacement more than there are weights; if there are none, or more than 2^24; if a
/// weight is negative or not finite, or all are 0. Nothing is drawn then.
pub fn multinomial<T: Real>(
    generator: &mut Generator,
    weights: &[T],
    num_samples: usize,
    replacement: bool,
) -> Result<Vec<i64>, ParameterError> {
    let categories = weights.len();
    if num_samples == 0 || (num_samples > categories && !replacement) || categories == 0 || categories > MOST {
        return Err(ParameterError::Samples { num_samples, categories, replacement });
    }
    let value = |weight: &T| -> f64 { (*weight).into() };
    if let Some(weight) = weights.iter().map(value).find(|weight| !(weight.is_finite() && *weight >= 0.0)) {
        return Err(ParameterError::Weight { weight });
    }
    if weights.iter().all(|weight| *weight == T::ZERO) {
        return Err(ParameterError::NoWeight);
    }
    if replacement && num_samples > 1 {
        Ok(by_sums(generator, weights, num_samples))
    } else {
        by_quotients(generator, weights, num_samples)
    }
}

fn by_quotients<T: Real>(
    generator: &mut Generator,
    weights: &[T],
    num_samples: usize,
) -> Result<Vec<i64>, ParameterError> {
    let mut quotients = vec![T::ZERO; weights.len()];
    exponential_(generator, &mut quotients, 1.0)?;
    for (quotient, weight) in quotients.iter_mut().zip(weights) {
        *quotient = T::from_f64((*weight).into() / (*quotient).into());
    }
    Ok(largest(&quotients, num_samples))
}

fn by_sums<T: Real>(generator: &mut Generator, weights: &[T], num_samples: usize) -> Vec<i64> {
    let mut sum = 0.0;
    let rounded = |value: f64| -> f64 { T::Wide::nearest(value).into() };
    let mut sums: Vec<f64> = Vec::with_capacity(weights.len());
    for weight in weights {
        sum = rounded(sum + (*weight).into());
        sums.push(sum);
    }
    for entry in &mut sums {
        *entry = rounded(*entry / sum);
    }
    // So that every draw finds its place.
    if let Some(last) = sums.last_mut() {
        *last = 1.0;
    }
    let mut draw = || {
        let drawn = f64::draw(generator);
        sums.partition_point(|entry| *entry < drawn)
    };
    (0..num_samples).map(|_| i64::try_from(draw()).unwrap_or_default()).collect()
}

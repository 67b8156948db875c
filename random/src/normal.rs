//! `torch.randn` and `Tensor.normal_`: the transform of Box and Muller, in the two ways in which `PyTorch` computes it.
//!
//! Fewer than 16 elements are computed one by one in `f64`, and the second value of a pair waits in the generator for the
//! next call. 16 and more contiguous elements are filled with uniform values first, which are then transformed in blocks of
//! 16; the cached value is neither used nor touched.

use std::f64::consts::PI;

use crate::error::ParameterError;
use crate::generator::Generator;
use crate::processor::{Fill, vectorised};
use crate::real::Real;
use crate::real::sealed::Compute;

/// Elements that are transformed together.
const BLOCK: usize = 16;

/// `torch.randn(n)`: shape `[n]`, normal with mean 0 and standard deviation 1.
///
/// ```
/// use rekindle_random::{Generator, randn};
///
/// assert_eq!(randn::<f32>(&mut Generator::new(0), 3), [1.5409961, -0.2934289, -2.1787894]);
/// ```
pub fn randn<T: Real>(generator: &mut Generator, n: usize) -> Vec<T> {
    let mut values = vec![T::ZERO; n];
    fill(generator, &mut values, 0.0, 1.0);
    values
}

/// `values.normal_(mean, std)` for a contiguous tensor.
///
/// Fewer than 16 elements take 128 bits a pair. 16 and more take one draw of [`rand`](crate::rand) an element, and if 16 does
/// not divide their number, 16 draws more for the last 16 elements, which are computed twice. With 16 bits, `f32` blocks are
/// rounded, and what 16 does not divide is drawn once. The formulas: `normal_fill` of ATen/native/cpu/DistributionTemplates.h
/// and `normal_distribution` of ATen/core/DistributionsHelper.h.
///
/// # Errors
/// If `std` is negative or not a number. Nothing is drawn then.
pub fn normal_<T: Real>(
    generator: &mut Generator,
    values: &mut [T],
    mean: f64,
    std: f64,
) -> Result<(), ParameterError> {
    check(std)?;
    fill(generator, values, mean, std);
    Ok(())
}

/// `values.normal_(mean, std)` for a tensor that is not contiguous: one by one in memory order, whatever the number of elements.
///
/// # Errors
/// If `std` is negative or not a number. Nothing is drawn then.
pub fn normal_strided_<T: Real>(
    generator: &mut Generator,
    values: &mut [T],
    mean: f64,
    std: f64,
) -> Result<(), ParameterError> {
    check(std)?;
    fill_one_by_one(generator, values, mean, std);
    Ok(())
}

/// `torch.normal(means, std)`: each normal with its own mean. One rounding to `T` after each step: the draws, the sum.
///
/// # Errors
/// If `std` is negative or not a number. Nothing is drawn then.
pub fn normal_with_means<T: Real>(generator: &mut Generator, means: &[T], std: f64) -> Result<Vec<T>, ParameterError> {
    let mut values = vec![T::ZERO; means.len()];
    normal_(generator, &mut values, 0.0, std)?;
    add(&mut values, means.iter().copied());
    Ok(values)
}

/// `torch.normal(mean, stds)`: each normal with its own standard deviation. Rounded to `T` after drawing, multiplying and adding.
///
/// # Errors
/// If a standard deviation is negative or not a number. Nothing is drawn then.
pub fn normal_with_stds<T: Real>(generator: &mut Generator, mean: f64, stds: &[T]) -> Result<Vec<T>, ParameterError> {
    let mut values = scaled(generator, stds)?;
    add(&mut values, std::iter::repeat(T::from_f64(mean)));
    Ok(values)
}

/// `torch.normal(means, stds)` of two tensors of one shape: as [`normal_with_stds`]. The longer one's further elements count
/// for nothing.
///
/// ```
/// use rekindle_random::{Generator, normal_with};
///
/// let drawn = normal_with(&mut Generator::new(0), &[100.0_f32, 0.0], &[1.0, 0.001])?;
/// assert_eq!(drawn, [101.54099, -0.00029342892]);
/// # Ok::<(), rekindle_random::ParameterError>(())
/// ```
///
/// # Errors
/// If a standard deviation is negative or not a number. Nothing is drawn then.
pub fn normal_with<T: Real>(generator: &mut Generator, means: &[T], stds: &[T]) -> Result<Vec<T>, ParameterError> {
    let len = means.len().min(stds.len());
    let mut values = scaled(generator, &stds[..len])?;
    add(&mut values, means.iter().copied());
    Ok(values)
}

/// Normal values around 0, each with its standard deviation.
fn scaled<T: Real>(generator: &mut Generator, stds: &[T]) -> Result<Vec<T>, ParameterError> {
    stds.iter().try_for_each(|std| check((*std).into()))?;
    let mut values = randn::<T>(generator, stds.len());
    for (value, std) in values.iter_mut().zip(stds) {
        *value = T::from_f64((*value).into() * (*std).into());
    }
    Ok(values)
}

/// Adds to each value, rounding once.
fn add<T: Real>(values: &mut [T], means: impl Iterator<Item = T>) {
    for (value, mean) in values.iter_mut().zip(means) {
        *value = T::from_f64((*value).into() + mean.into());
    }
}

fn check(std: f64) -> Result<(), ParameterError> {
    if std >= 0.0 { Ok(()) } else { Err(ParameterError::StandardDeviation { std }) }
}

fn fill<T: Real>(generator: &mut Generator, values: &mut [T], mean: f64, std: f64) {
    if values.len() < BLOCK {
        return fill_one_by_one(generator, values, mean, std);
    }
    vectorised(Normals { generator, values, mean, std });
}

struct Normals<'a, T> {
    generator: &'a mut Generator,
    values: &'a mut [T],
    mean: f64,
    std: f64,
}

impl<T: Real> Fill for Normals<'_, T> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        fill_blocks::<T, FUSED>(self.generator, self.values, self.mean, self.std);
    }
}

/// Fills 16 values and more.
#[inline(always)]
fn fill_blocks<T: Real, const FUSED: bool>(generator: &mut Generator, values: &mut [T], mean: f64, std: f64) {
    let (blocks, rest) = values.as_chunks_mut::<BLOCK>();
    for place in blocks {
        fill_block::<T, FUSED>(generator, place, mean, std);
    }
    if !rest.is_empty() {
        // Types that are computed in are filled first, to the end, and transformed then: these draws are of no use.
        for _ in 0..if T::IS_WIDE { rest.len() } else { 0 } {
            T::Wide::draw(generator);
        }
        if let Some(last) = values.last_chunk_mut::<BLOCK>() {
            fill_block::<T, FUSED>(generator, last, mean, std);
        }
    }
}

#[inline(always)]
fn fill_block<T: Real, const FUSED: bool>(generator: &mut Generator, place: &mut [T; BLOCK], mean: f64, std: f64) {
    let mut block = T::Wide::draw_16(generator);
    T::Wide::normal_16::<FUSED>(&mut block, mean, std);
    for (value, normal) in place.iter_mut().zip(block) {
        *value = T::narrow(normal);
    }
}

fn fill_one_by_one<T: Real>(generator: &mut Generator, values: &mut [T], mean: f64, std: f64) {
    values.fill_with(|| T::from_f64(normal_one_by_one(generator).mul_add(std, mean)));
}

/// One value of mean 0 and standard deviation 1: the one kept from last time, or the first of a new pair.
pub(crate) fn normal_one_by_one(generator: &mut Generator) -> f64 {
    if let Some(cached) = generator.cached_normal.take() {
        return cached;
    }
    let first = f64::draw(generator);
    let second = f64::draw(generator);
    let radius = (-2.0 * (-second).ln_1p()).sqrt();
    let angle = 2.0 * PI * first;
    generator.cached_normal = Some(radius * angle.sin());
    radius * angle.cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BFloat16, Half};

    /// What this processor gives, and what one without fused operations does.
    fn compare<T: Real + std::fmt::Debug>(bits: impl Fn(T) -> u64) {
        for len in (16..100).chain([100_003]) {
            for (mean, std) in [(0.0, 1.0), (2.5, 0.02), (-1e3, 0.0)] {
                let (mut one, mut other) = (Generator::new(len as u64), Generator::new(len as u64));
                let (mut here, mut plain) = (vec![T::ZERO; len], vec![T::ZERO; len]);
                fill(&mut one, &mut here, mean, std);
                fill_blocks::<T, false>(&mut other, &mut plain, mean, std);
                assert!(here.into_iter().map(&bits).eq(plain.into_iter().map(&bits)), "{len} {mean} {std}");
                assert!(one == other);
            }
        }
    }

    #[test]
    fn a_processor_with_fused_operations_gives_the_bits_of_one_without() {
        compare::<f32>(|x| x.to_bits().into());
        compare::<f64>(f64::to_bits);
        compare::<Half>(|x| x.to_bits().into());
        compare::<BFloat16>(|x| x.to_bits().into());
    }
}

//! `torch.randn` and `Tensor.normal_`: the transform of Box and Muller, in the two ways in which `PyTorch` computes it.
//!
//! Fewer than 16 elements are computed one by one in `f64`, and the second value of a pair waits in the generator for the
//! next call. 16 and more contiguous elements are filled with uniform values first, which are then transformed in blocks of
//! 16; the cached value is neither used nor touched.

use std::f64::consts::PI;

use crate::error::ParameterError;
use crate::generator::Generator;
use crate::real::Real;
use crate::real::sealed::Sealed;

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
/// not divide their number, 16 draws more for the last 16 elements, which are computed twice.
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

fn check(std: f64) -> Result<(), ParameterError> {
    if std >= 0.0 { Ok(()) } else { Err(ParameterError::StandardDeviation { std }) }
}

fn fill<T: Real>(generator: &mut Generator, values: &mut [T], mean: f64, std: f64) {
    if values.len() < BLOCK {
        return fill_one_by_one(generator, values, mean, std);
    }
    values.fill_with(|| T::draw(generator));
    let (blocks, rest) = values.as_chunks_mut::<BLOCK>();
    for block in blocks {
        T::normal_16(block, mean, std);
    }
    if !rest.is_empty()
        && let Some(last) = values.last_chunk_mut::<BLOCK>()
    {
        last.fill_with(|| T::draw(generator));
        T::normal_16(last, mean, std);
    }
}

fn fill_one_by_one<T: Real>(generator: &mut Generator, values: &mut [T], mean: f64, std: f64) {
    values.fill_with(|| T::from_f64(draw(generator).mul_add(std, mean)));
}

/// One value of mean 0 and standard deviation 1: the one kept from last time, or the first of a new pair.
fn draw(generator: &mut Generator) -> f64 {
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

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
/// Fewer than 16 elements take 128 bits a pair. 16 and more take one draw of [`rand`](fn@crate::rand) an element, and if 16 does
/// not divide their number, 16 draws more for the last 16 elements, which are computed twice.
///
/// # Errors
/// If `std` is negative or not a number. Nothing is drawn then.
pub fn normal_<T: Real>(generator: &mut Generator, values: &mut [T], mean: f64, std: f64) -> Result<(), ParameterError> {
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

/// The pairs of a block: element j and element j + 8.
fn pairs<T>(block: &mut [T; BLOCK]) -> impl Iterator<Item = (&mut T, &mut T)> {
    let (first, second) = block.split_at_mut(BLOCK / 2);
    first.iter_mut().zip(second)
}

/// Transforms a block with the C library's functions.
pub(crate) fn block_f64(block: &mut [f64; BLOCK], mean: f64, std: f64) {
    for (first, second) in pairs(block) {
        let radius = (-2.0 * (1.0 - *first).ln()).sqrt();
        let angle = 2.0 * PI * *second;
        *first = (radius * angle.cos()).mul_add(std, mean);
        *second = (radius * angle.sin()).mul_add(std, mean);
    }
}

/// Transforms a block as `PyTorch`'s kernel for AVX2 does, which AVX-512 machines run, too.
pub(crate) fn block_f32(block: &mut [f32; BLOCK], mean: f32, std: f32) {
    for (first, second) in pairs(block) {
        let radius = (-2.0 * ln(1.0 - *first)).sqrt();
        let (sin, cos) = sin_cos(std::f32::consts::TAU * *second);
        *first = (radius * cos).mul_add(std, mean);
        *second = (radius * sin).mul_add(std, mean);
    }
}

/// The coefficients of the Cephes library, as its authors print them.
#[expect(clippy::excessive_precision, clippy::unreadable_literal, reason = "kept as published, to be compared with the source")]
mod cephes {
    /// Square root of 1/2, below which a mantissa is doubled.
    pub(super) const SQRT_HALF: f32 = 0.707106781186547524;
    /// Logarithm, the highest power first.
    pub(super) const LOG: [f32; 9] = [
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    ];
    /// Logarithm of 2 in two parts, the small one first.
    pub(super) const LN_2: [f32; 2] = [-2.12194440e-4, 0.693359375];
    /// 4 / pi.
    pub(super) const FOUR_OVER_PI: f32 = 1.27323954473516;
    /// -pi / 4 in three parts, the largest first.
    pub(super) const MINUS_QUARTER_PI: [f32; 3] = [-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8];
    /// Sine and cosine up to pi / 4, the highest power first.
    pub(super) const SIN: [f32; 3] = [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1];
    pub(super) const COS: [f32; 3] = [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2];
}

/// A polynomial by Horner's rule, each step rounded once.
#[inline]
fn horner<const N: usize>(coefficients: [f32; N], x: f32) -> f32 {
    coefficients.into_iter().reduce(|sum, coefficient| sum.mul_add(x, coefficient)).unwrap_or_default()
}

/// Natural logarithm of a positive normal number.
#[inline]
fn ln(value: f32) -> f32 {
    // value = mantissa * 2^exponent with a mantissa in [1/2, 1).
    let bits = value.to_bits();
    let mantissa = f32::from_bits(bits & 0x007f_ffff | 0.5_f32.to_bits());
    let exponent = f32::from(u16::try_from(bits >> 23).unwrap_or_default()) - 126.0;
    // Either way the logarithm of 1 + x is left, with x near 0.
    let (x, exponent) =
        if mantissa < cephes::SQRT_HALF { (mantissa - 1.0 + mantissa, exponent - 1.0) } else { (mantissa - 1.0, exponent) };
    let square = x * x;
    let cubic = horner(cephes::LOG, x) * x;
    let small = cubic.mul_add(square, exponent * cephes::LN_2[0]);
    let small = square.mul_add(-0.5, small);
    exponent.mul_add(cephes::LN_2[1], x + small)
}

/// Sine and cosine of an angle from 0 to 2 pi.
#[inline]
fn sin_cos(angle: f32) -> (f32, f32) {
    // The nearest multiple of pi / 2, counted in quarters of pi: 0, 2, 4, 6 or 8.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 8")]
    let octant = ((angle * cephes::FOUR_OVER_PI) as u8 + 1) & !1;
    let x = cephes::MINUS_QUARTER_PI.iter().fold(angle, |x, part| f32::from(octant).mul_add(*part, x));

    let square = x * x;
    let cos = horner(cephes::COS, square) * square;
    let cos = cos.mul_add(square, -(square * 0.5)) + 1.0;
    let sin = (horner(cephes::SIN, square) * square).mul_add(x, x);

    // Every second multiple swaps the two; the signs follow the quadrant.
    let (sin, cos) = if octant & 2 == 0 { (sin, cos) } else { (cos, sin) };
    let sin = if octant & 4 == 0 { sin } else { -sin };
    let cos = if (octant + 2) & 4 == 0 { cos } else { -cos };
    (sin, cos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_deviation_below_0_is_refused_before_anything_is_drawn() {
        let mut generator = Generator::new(0);
        for std in [-1.0, f64::NAN] {
            assert!(normal_::<f32>(&mut generator, &mut [0.0; 20], 0.0, std).is_err());
            assert!(normal_strided_::<f32>(&mut generator, &mut [], 0.0, std).is_err());
        }
        assert_eq!(generator, Generator::new(0));
    }

    #[test]
    fn fewer_than_16_elements_leave_a_value_for_the_next_call() {
        let mut generator = Generator::new(0);
        let pair = randn::<f64>(&mut generator.clone(), 2);
        assert_eq!([randn::<f64>(&mut generator, 1), randn::<f64>(&mut generator, 1)].concat(), pair);
        assert_eq!(generator.engine.next(), 4);
    }

    #[test]
    fn sixteen_elements_leave_the_cached_value_alone() {
        let mut generator = Generator::new(0);
        randn::<f32>(&mut generator, 1);
        let cached = generator.cached_normal;
        assert!(cached.is_some());
        randn::<f32>(&mut generator, 17);
        assert_eq!(generator.cached_normal, cached);
    }

    #[test]
    fn the_cephes_functions_are_good_to_two_units_in_the_last_place() {
        for step in 1..=1 << 16 {
            #[expect(clippy::cast_precision_loss, reason = "17 bits are exact")]
            let unit = step as f32 / 65_536.0;
            let (sin, cos) = sin_cos(unit * std::f32::consts::TAU);
            let angle = f64::from(unit * std::f32::consts::TAU);
            for (value, exact) in [(ln(unit), f64::from(unit).ln()), (sin, angle.sin()), (cos, angle.cos())] {
                let unit_in_last_place = exact.abs().max(0.5) * f64::from(f32::EPSILON);
                assert!((f64::from(value) - exact).abs() <= 2.0 * unit_in_last_place, "{unit} {value} {exact}");
            }
        }
    }
}

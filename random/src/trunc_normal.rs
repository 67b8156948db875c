//! `torch.nn.init.trunc_normal_`: normal values between two bounds.

use std::f64::consts::{PI, SQRT_2};

use crate::error::ParameterError;
use crate::generator::Generator;
use crate::normal::normal_;
use crate::real::Real;
use crate::real::sealed::Compute;
use crate::uniform::uniform_;

/// `torch.nn.init.trunc_normal_(values, mean, std, a, b)`, whose defaults are 0, 1, -2 and 2: normal values, drawn again until
/// they lie in `a` to `b`.
///
/// By rejection, as `PyTorch` 2.15 does it in torch/nn/init.py; releases that transformed uniform values by the inverse of the
/// error function drew other numbers. Where more than 30 % of the normal distribution lies between the bounds, all
/// elements are drawn by [`normal_`] again as long as one of them is outside; else values of [`uniform_`] are kept with the
/// probability that the density gives them, and all elements are drawn, twice, as long as one was not. That way looks at
/// logarithms in `T`, for which `PyTorch` has a function that is wrong in the last bit of every tenth, and here is the nearest:
/// a value would be kept there and not here once in some 10^8.
///
/// ```
/// use rekindle_random::{Generator, trunc_normal_};
///
/// let mut values = [0.0_f32; 100];
/// trunc_normal_(&mut Generator::new(0), &mut values, 0.0, 0.02, -0.02, 0.02)?;
/// assert!(values.iter().all(|value| value.abs() <= 0.02));
/// # Ok::<(), rekindle_random::ParameterError>(())
/// ```
///
/// # Errors
/// If `std` is not greater than 0, a bound is no number, `a > b`, or a bound is not finite in `T` where uniform values
/// are drawn; or if the bounds lie so far from all of `T`'s normal values that none would ever be kept. Nothing is drawn
/// then.
pub fn trunc_normal_<T: Real>(
    generator: &mut Generator,
    values: &mut [T],
    mean: f64,
    std: f64,
    a: f64,
    b: f64,
) -> Result<(), ParameterError> {
    let error = ParameterError::Bounds { mean, std, a, b };
    let usable = mean.is_finite() && std > 0.0 && std.is_finite() && a <= b;
    if !usable {
        return Err(error);
    }
    let below = |bound: f64| f64::midpoint(1.0, erf((bound - mean) / std / SQRT_2));
    if below(b) - below(a) > 0.3 {
        from_normal(generator, values, [mean, std, a, b])
    } else {
        let finite = -T::LARGEST..=T::LARGEST;
        if !(finite.contains(&a) && finite.contains(&b) && b - a <= T::LARGEST) {
            return Err(error);
        }
        from_uniform(generator, values, [mean, std, a, b])
    }
}

fn from_normal<T: Real>(
    generator: &mut Generator,
    values: &mut [T],
    [mean, std, a, b]: [f64; 4],
) -> Result<(), ParameterError> {
    let (low, high) = (T::from_f64(a), T::from_f64(b));
    let outside = |value: &T| *value < low || *value > high;
    normal_(generator, values, mean, std)?;
    let mut again = values.to_vec();
    while values.iter().any(outside) {
        normal_(generator, &mut again, mean, std)?;
        for (value, new) in values.iter_mut().zip(&again) {
            if outside(value) {
                *value = *new;
            }
        }
    }
    Ok(())
}

fn from_uniform<T: Real>(
    generator: &mut Generator,
    values: &mut [T],
    [mean, std, a, b]: [f64; 4],
) -> Result<(), ParameterError> {
    let rounded = |value: f64| -> f64 { T::Wide::nearest(value).into() };
    let stored = |value: f64| -> f64 { T::from_f64(value).into() };
    let peak = (a.max(mean.min(b)) - mean) / std;
    let ln_peak = rounded(-0.5 * (peak * peak));
    let (mean, std) = (rounded(mean), rounded(std));
    // Each operation rounds to the tensor's type: the difference, the quotient, the square, the half, the logarithm.
    let ln_density = |value: T| {
        let distance = stored(stored(value.into() - mean) / std);
        stored(stored(-0.5 * stored(distance * distance)) - ln_peak)
    };
    let mut accepts = vec![T::ZERO; values.len()];
    let mut candidates = accepts.clone();
    let mut pending = vec![true; values.len()];
    while pending.contains(&true) {
        uniform_(generator, &mut candidates, a, b)?;
        uniform_(generator, &mut accepts, 0.0, 1.0)?;
        for (((value, candidate), accept), pending) in
            values.iter_mut().zip(&candidates).zip(&accepts).zip(&mut pending)
        {
            if *pending {
                *value = *candidate;
                *pending = stored(f64::ln((*accept).into())) > ln_density(*candidate);
            }
        }
    }
    Ok(())
}

/// The error function, to 15 digits: only a share of 30 % is told by it.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    // 2 / sqrt(pi) * e^(-x^2) * sum of 2^n x^(2n + 1) / (1 * 3 * ... * (2n + 1)), whose terms have one sign.
    let mut term = x;
    let mut sum = x;
    let mut odd = 1.0;
    while term.abs() > sum.abs() * f64::EPSILON / 4.0 {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_is_good_to_15_digits() {
        let known = [
            (0.0, 0.0),
            (0.1, 0.112_462_916_018_284_89),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (3.5, 0.999_999_256_901_627_7),
            (5.9, 1.0),
            (f64::INFINITY, 1.0),
        ];
        for (x, value) in known {
            assert!((erf(x) - value).abs() < 2e-15 && (erf(-x) + value).abs() < 2e-15, "{x}: {}", erf(x));
        }
    }
}

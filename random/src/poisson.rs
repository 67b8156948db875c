//! `torch.poisson`: how many events happen where a rate of them is expected.

use crate::error::ParameterError;
use crate::generator::Generator;
use crate::real::Real;
use crate::real::sealed::Compute;

/// `torch.poisson(rates)`: each a whole number of the Poisson distribution with its own rate.
///
/// Below a rate of 10, `f64` values of [`rand`](crate::rand) are multiplied until their product is e^-rate or less; from there
/// on Hörmann's transformed rejection (1993) takes pairs of them. Computed in `f64`; the formula: `sample_poisson` of
/// ATen/native/Distributions.cpp. The logarithm of a factorial, which decides some of the rejections, is the C library's there
/// and a series here; the two are equal to 15 digits.
///
/// ```
/// use rekindle_random::{Generator, poisson};
///
/// assert_eq!(poisson(&mut Generator::new(0), &[2.0_f32; 3])?, [6.0, 2.0, 1.0]);
/// # Ok::<(), rekindle_random::ParameterError>(())
/// ```
///
/// # Errors
/// If a rate is negative or not a number. Nothing is drawn then.
pub fn poisson<T: Real>(generator: &mut Generator, rates: &[T]) -> Result<Vec<T>, ParameterError> {
    for rate in rates {
        let rate: f64 = (*rate).into();
        if rate.is_nan() || rate < 0.0 {
            return Err(ParameterError::EventRate { rate });
        }
    }
    Ok(rates.iter().map(|rate| T::from_f64(sample(generator, (*rate).into()))).collect())
}

fn sample(generator: &mut Generator, rate: f64) -> f64 {
    if rate == 0.0 {
        0.0
    } else if rate < 10.0 {
        by_products(generator, rate)
    } else {
        by_rejection(generator, rate)
    }
}

fn by_products(generator: &mut Generator, rate: f64) -> f64 {
    let end = (-rate).exp();
    let (mut events, mut product) = (0.0, 1.0);
    loop {
        product *= f64::draw(generator);
        if product <= end {
            return events;
        }
        events += 1.0;
    }
}

#[expect(clippy::many_single_char_names, reason = "PyTorch's names")]
fn by_rejection(generator: &mut Generator, rate: f64) -> f64 {
    let root = rate.sqrt();
    let ln_rate = rate.ln();
    let b = 0.931 + 2.53 * root;
    let a = -0.059 + 0.02483 * b;
    let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    let v_r = 0.9277 - 3.6224 / (b - 2.0);
    loop {
        let u = f64::draw(generator) - 0.5;
        let v = f64::draw(generator);
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + rate + 0.43).floor();
        if us >= 0.07 && v <= v_r {
            return k;
        }
        if k < 0.0 || (us < 0.013 && v > us) {
            continue;
        }
        if v.ln() + inverse_alpha.ln() - (a / (us * us) + b).ln() <= -rate + k * ln_rate - ln_factorial(k) {
            return k;
        }
    }
}

/// Logarithm of the factorial of a whole number: exact factorials up to 22, then Stirling's series.
fn ln_factorial(k: f64) -> f64 {
    const HALF_LN_TAU: f64 = 0.918_938_533_204_672_8;
    if k <= 22.0 {
        let mut factorial = 1.0;
        let mut factor = 2.0;
        while factor <= k {
            factorial *= factor;
            factor += 1.0;
        }
        return f64::ln(factorial);
    }
    let x = k + 1.0;
    let square = x * x;
    let tail = (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / (1680.0 * square)) / square) / square) / x;
    (x - 0.5) * x.ln() - x + HALF_LN_TAU + tail
}

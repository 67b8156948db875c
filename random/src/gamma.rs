//! `torch._standard_gamma`, which `torch.distributions.Gamma`, `Beta`, `Chi2` and `StudentT` draw from.

use crate::error::ParameterError;
use crate::generator::Generator;
use crate::normal::normal_one_by_one;
use crate::real::Wide;
use crate::real::sealed::Compute;

/// `torch._standard_gamma(concentrations)`: each of the Gamma distribution with its own concentration and rate 1.
///
/// By the rejection of Marsaglia and Tsang (2000): pairs of normal values as [`normal_`](crate::normal_) draws them for fewer
/// than 16 elements, and `f64` values of [`rand`](crate::rand). The formula: `sample_gamma` of ATen/native/Distributions.h,
/// whose constants are `float`; `PyTorch` has it for `f32` and `f64`, as here.
///
/// ```
/// use rekindle_random::{Generator, standard_gamma};
///
/// assert_eq!(standard_gamma(&mut Generator::new(0), &[2.0_f32; 3])?, [4.5526228, 1.3158269, 0.62202173]);
/// # Ok::<(), rekindle_random::ParameterError>(())
/// ```
///
/// # Errors
/// If a concentration is negative or not a number, with which `PyTorch` would draw for ever. Nothing is drawn then.
pub fn standard_gamma<T: Wide>(generator: &mut Generator, concentrations: &[T]) -> Result<Vec<T>, ParameterError> {
    for concentration in concentrations {
        let concentration: f64 = (*concentration).into();
        if concentration.is_nan() || concentration < 0.0 {
            return Err(ParameterError::Concentration { concentration });
        }
    }
    let mut draw = |concentration: &T| T::nearest(sample(generator, *concentration).max(T::LEAST));
    Ok(concentrations.iter().map(&mut draw).collect())
}

#[expect(clippy::many_single_char_names, reason = "PyTorch's names")]
fn sample<T: Wide>(generator: &mut Generator, concentration: T) -> f64 {
    let rounded = |value: f64| -> f64 { T::nearest(value).into() };
    let mut alpha: f64 = concentration.into();
    let mut scale = 1.0;
    if alpha < 1.0 {
        // More is accepted with one more.
        if alpha == 0.0 {
            return 0.0;
        }
        scale = (1.0 - f64::draw(generator)).powf(rounded(1.0 / alpha));
        alpha = rounded(alpha + 1.0);
    }
    let d = rounded(alpha - f64::from(1.0_f32 / 3.0));
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let (x, y) = loop {
            let x = normal_one_by_one(generator);
            let y = 1.0 + c * x;
            if y > 0.0 {
                break (x, y);
            }
        };
        let v = y * y * y;
        let u = 1.0 - f64::draw(generator);
        let xx = x * x;
        if u < 1.0 - f64::from(0.0331_f32) * xx * xx || u.ln() < 0.5 * xx + d * (1.0 - v + v.ln()) {
            return scale * d * v;
        }
    }
}

//! `Tensor.cauchy_`.

use std::f64::consts::PI;

use crate::error::ParameterError;
use crate::generator::Generator;
use crate::real::Real;
use crate::real::sealed::Compute;

/// `values.cauchy_(median, sigma)`: fills with numbers of the Cauchy distribution, half of which lie within `sigma` of `median`.
///
/// Each is median + sigma * tan(pi * (u - 1/2)), computed in `f64` for an `f64` u of [`rand`](crate::rand), the last
/// multiplication fused with the addition, and then rounded to `T`: 64 bits an element. The formula: `cauchy` of
/// ATen/core/TransformationHelper.h.
///
/// # Errors
/// If `sigma` is not greater than 0. Nothing is drawn then.
pub fn cauchy_<T: Real>(
    generator: &mut Generator,
    values: &mut [T],
    median: f64,
    sigma: f64,
) -> Result<(), ParameterError> {
    if sigma.is_nan() || sigma <= 0.0 {
        return Err(ParameterError::Sigma { sigma });
    }
    values.fill_with(|| T::from_f64((PI * (f64::draw(generator) - 0.5)).tan().mul_add(sigma, median)));
    Ok(())
}

//! `Tensor.exponential_`, which `torch.multinomial` draws without replacement with, too.

use crate::error::ParameterError;
use crate::generator::Generator;
use crate::real::Real;
use crate::real::sealed::Compute;

/// `values.exponential_(lambda)`: fills with numbers whose density is lambda * e^(-lambda x).
///
/// Each is -1 / lambda * log1p(-u), computed in `f64` for an `f64` u of [`rand`](crate::rand) and then rounded to `T`:
/// 64 bits an element.
///
/// # Errors
/// If `lambda` is not greater than 0. Nothing is drawn then.
pub fn exponential_<T: Real>(generator: &mut Generator, values: &mut [T], lambda: f64) -> Result<(), ParameterError> {
    if lambda.is_nan() || lambda <= 0.0 {
        return Err(ParameterError::Rate { lambda });
    }
    let scale = -1.0 / lambda;
    values.fill_with(|| T::from_f64(scale * (-f64::draw(generator)).ln_1p()));
    Ok(())
}

//! `Tensor.log_normal_`: numbers whose logarithm is normal.

use crate::error::ParameterError;
use crate::generator::Generator;
use crate::normal::normal_one_by_one;
use crate::real::Real;

/// `values.log_normal_(mean, std)`: fills with e^x, where x is normal with this mean and standard deviation.
///
/// Whatever the number of elements, x is drawn as [`normal_`](crate::normal_) draws fewer than 16: 128 bits a pair, whose second
/// value may wait in the generator for the next call. Computed in `f64` and then rounded to `T`. The formula: `log_normal` of
/// ATen/core/TransformationHelper.h.
///
/// # Errors
/// If `std` is not greater than 0. Nothing is drawn then.
pub fn log_normal_<T: Real>(
    generator: &mut Generator,
    values: &mut [T],
    mean: f64,
    std: f64,
) -> Result<(), ParameterError> {
    if std.is_nan() || std <= 0.0 {
        return Err(ParameterError::LogNormal { std });
    }
    values.fill_with(|| T::from_f64(normal_one_by_one(generator).mul_add(std, mean).exp()));
    Ok(())
}

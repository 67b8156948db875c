//! `Tensor.geometric_`: how many trials it takes until one succeeds.

use crate::error::ParameterError;
use crate::generator::Generator;
use crate::number::Number;
use crate::real::sealed::Compute;

/// `values.geometric_(p)`: fills with the number of the first trial that succeeds, from 1 on, where each does with
/// probability `p`.
///
/// Each is ceil(log(u) / log1p(-p)), computed in `f64` for an `f64` u of [`rand`](crate::rand): 64 bits an element. It is cast
/// as x86-64 casts: what an integer type cannot hold becomes the remainder of its 32 bits, or of none. The formula:
/// `geometric` of ATen/core/TransformationHelper.h.
///
/// ```
/// use rekindle_random::{Generator, geometric_};
///
/// let mut values = [0_i64; 4];
/// geometric_(&mut Generator::new(0), &mut values, 0.001)?;
/// assert_eq!(values, [31, 346, 778, 83]);
/// # Ok::<(), rekindle_random::ParameterError>(())
/// ```
///
/// # Errors
/// If `p` is not between 0 and 1, both left out, or for `bool`, `u16`, `u32` and `u64`, which `PyTorch` does not fill so.
/// Nothing is drawn then.
pub fn geometric_<T: Number>(generator: &mut Generator, values: &mut [T], p: f64) -> Result<(), ParameterError> {
    if !(p > 0.0 && p < 1.0) {
        return Err(ParameterError::OpenProbability { p });
    }
    let failure = (-p).ln_1p();
    let type_error = ParameterError::Type { operation: "geometric_", dtype: T::DTYPE };
    T::from_real(0.0).ok_or(type_error)?;
    for value in values {
        let trials = (f64::draw(generator).ln() / failure).ceil();
        *value = T::from_real(trials).ok_or(type_error)?;
    }
    Ok(())
}

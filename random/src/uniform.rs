//! `torch.rand` and `Tensor.uniform_`.

use crate::error::ParameterError;
use crate::generator::Generator;
use crate::real::Real;

/// `torch.rand(n)`: shape `[n]`, uniform in [0, 1).
///
/// An `f32` is 24 of 32 drawn bits times 2^-24, an `f64` is 53 of 64 drawn bits times 2^-53.
///
/// ```
/// use rekindle_random::{Generator, rand};
///
/// assert_eq!(rand::<f32>(&mut Generator::new(0), 3), [0.49625659, 0.7682218, 0.08847743]);
/// ```
pub fn rand<T: Real>(generator: &mut Generator, n: usize) -> Vec<T> {
    (0..n).map(|_| T::draw(generator)).collect()
}

/// `values.uniform_(from, to)`: fills with numbers uniform in [`from`, `to`).
///
/// Each is x * (to - from) + from for a x of [`rand`], the difference rounded to `T` and the multiplication and addition
/// rounded once, as `PyTorch`'s kernels for AVX2 and AVX-512 do; its kernels for older processors round twice and differ
/// in the last bit of about every other value. A result that rounding lifted to `to` becomes `from`.
///
/// # Errors
/// If `from > to`, if a bound is not finite in `T`, or if `to - from` is not. Nothing is drawn then.
pub fn uniform_<T: Real>(
    generator: &mut Generator,
    values: &mut [T],
    from: f64,
    to: f64,
) -> Result<(), ParameterError> {
    let finite = -T::LARGEST..=T::LARGEST;
    if !(finite.contains(&from) && finite.contains(&to) && from <= to && to - from <= T::LARGEST) {
        return Err(ParameterError::Uniform { from, to });
    }
    let (from, to) = (T::from_f64(from), T::from_f64(to));
    for value in values {
        let drawn = T::scale(T::draw(generator), from, to);
        *value = if drawn == to { from } else { drawn };
    }
    Ok(())
}

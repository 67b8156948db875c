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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_bounds_are_refused_before_anything_is_drawn() {
        let bounds = [
            (2.0, 1.0),
            (f64::NAN, 1.0),
            (0.0, f64::NAN),
            (f64::NEG_INFINITY, 1.0),
            (0.0, f64::INFINITY),
            (-1e308, 1e308),
        ];
        let f32_bounds = [(-3e38, 3e38), (0.0, 1e39)];
        let mut generator = Generator::new(0);
        for (from, to) in bounds {
            assert!(uniform_::<f64>(&mut generator, &mut [0.0], from, to).is_err(), "{from} {to}");
        }
        for (from, to) in bounds.into_iter().chain(f32_bounds) {
            assert!(uniform_::<f32>(&mut generator, &mut [0.0], from, to).is_err(), "{from} {to}");
        }
        assert_eq!(generator, Generator::new(0));
    }

    #[test]
    fn the_upper_bound_is_never_reached() -> Result<(), ParameterError> {
        let (from, to) = (1.0, 1.0 + f64::from(f32::EPSILON)); // neighbours in f32: half the draws round up
        let mut values = [0.0_f32; 1000];
        uniform_(&mut Generator::new(0), &mut values, from, to)?;
        assert_eq!(values.map(f32::to_bits), [1.0_f32.to_bits(); 1000]);
        Ok(())
    }
}

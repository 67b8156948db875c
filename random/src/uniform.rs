//! `torch.rand` and `Tensor.uniform_`.

use crate::error::ParameterError;
use crate::generator::Generator;
use crate::processor::{Fill, vectorised};
use crate::real::Real;
use crate::real::sealed::Compute;

/// `torch.rand(n)`: shape `[n]`, uniform in [0, 1).
///
/// An `f32` is 24 of 32 drawn bits times 2^-24, an `f64` is 53 of 64 drawn bits times 2^-53. Types of 16 bits are an `f32`
/// rounded, or 0 where that would be 1.
///
/// ```
/// use rekindle_random::{Generator, rand};
///
/// assert_eq!(rand::<f32>(&mut Generator::new(0), 3), [0.49625659, 0.7682218, 0.08847743]);
/// ```
pub fn rand<T: Real>(generator: &mut Generator, n: usize) -> Vec<T> {
    let mut values = vec![T::ZERO; n];
    let one = if T::IS_WIDE { None } else { Some(T::ONE) };
    vectorised(Uniforms { generator, values: &mut values, one, becomes: T::ZERO, of: |drawn| drawn });
    values
}

/// What `of` makes of uniform draws, and `becomes` where that is `one`.
struct Uniforms<'a, T: Real, F> {
    generator: &'a mut Generator,
    values: &'a mut [T],
    of: F,
    one: Option<T>,
    becomes: T,
}

impl<T: Real, F: Fn(T::Wide) -> T::Wide> Fill for Uniforms<'_, T, F> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Uniforms { generator, values, of, one, becomes } = self;
        let of = |drawn| {
            let value = T::narrow(of(drawn));
            if one == Some(value) { becomes } else { value }
        };
        let (blocks, rest) = values.as_chunks_mut::<16>();
        for block in blocks {
            for (value, drawn) in block.iter_mut().zip(T::Wide::draw_16(generator)) {
                *value = of(drawn);
            }
        }
        rest.fill_with(|| of(T::Wide::draw(generator)));
    }
}

/// `values.uniform_(from, to)`: fills with numbers uniform in [`from`, `to`).
///
/// Each is x * (to - from) + from for a x of [`rand`], the difference rounded to `T` and the multiplication and addition
/// rounded once, as `PyTorch`'s kernels for AVX2 and AVX-512 do; its kernels for older processors round twice and differ
/// in the last bit of about every other value. Types of 16 bits are computed in `f32`. A result that rounding lifted to `to`
/// becomes `from`. The formula: `uniform_kernel` of ATen/native/cpu/DistributionTemplates.h.
///
/// # Errors
/// If `from > to`, if a bound is not finite in `T`, or if `to - from` is not. Nothing is drawn then.
pub fn uniform_<T: Real>(
    generator: &mut Generator,
    values: &mut [T],
    from: f64,
    to: f64,
) -> Result<(), ParameterError> {
    check::<T>(from, to)?;
    let (low, high) = (T::Wide::nearest(from), T::Wide::nearest(to));
    let (from, to) = (T::narrow(low), T::narrow(high));
    let of = |drawn| T::Wide::scale(drawn, low, high);
    vectorised(Uniforms { generator, values, of, one: Some(to), becomes: from });
    Ok(())
}

/// Whether these can be the bounds of a uniform distribution over the numbers of a type.
pub(crate) fn check<T: Real>(from: f64, to: f64) -> Result<(), ParameterError> {
    let finite = -T::LARGEST..=T::LARGEST;
    if finite.contains(&from) && finite.contains(&to) && from <= to && to - from <= T::LARGEST {
        Ok(())
    } else {
        Err(ParameterError::Uniform { from, to })
    }
}

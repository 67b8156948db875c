//! `Tensor.bernoulli_` and `torch.bernoulli`: ones and zeros, and with them the masks of dropout.

use crate::error::ParameterError;
use crate::generator::Generator;
use crate::processor::{Fill, vectorised};
use crate::real::Real;
use crate::real::sealed::Compute;

/// `values.bernoulli_(p)`: fills with ones of probability `p` and zeros.
///
/// Each compares an `f64` of [`rand`](crate::rand) with `p`, whatever the type filled: 64 bits an element. A dropout's mask
/// is `bernoulli_(1 - p)`.
///
/// ```
/// use rekindle_random::{Generator, bernoulli_};
///
/// let mut mask = [0.0_f32; 8];
/// bernoulli_(&mut Generator::new(0), &mut mask, 0.9)?;
/// assert_eq!(mask, [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
/// # Ok::<(), rekindle_random::ParameterError>(())
/// ```
///
/// # Errors
/// If `p` is not in 0 to 1. Nothing is drawn then.
pub fn bernoulli_<T: From<bool>>(generator: &mut Generator, values: &mut [T], p: f64) -> Result<(), ParameterError> {
    check(p)?;
    vectorised(Compared { generator, values, p });
    Ok(())
}

struct Compared<'a, T> {
    generator: &'a mut Generator,
    values: &'a mut [T],
    p: f64,
}

impl<T: From<bool>> Fill for Compared<'_, T> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Compared { generator, values, p } = self;
        let (blocks, rest) = values.as_chunks_mut::<16>();
        for block in blocks {
            for (value, drawn) in block.iter_mut().zip(f64::draw_16(generator)) {
                *value = T::from(drawn < p);
            }
        }
        rest.fill_with(|| T::from(f64::draw(generator) < p));
    }
}

/// `torch.bernoulli(probabilities)`: each a one with its own probability, or else a zero. `Tensor.bernoulli_(probabilities)`,
/// too, whose tensor may have any type: ones and zeros are of the type asked for, and the draws do not depend on it.
///
/// Each compares a value of [`rand`](crate::rand) with its probability: 32 bits an element, 64 where the probabilities are
/// `f64`.
///
/// # Errors
/// If a probability is not in 0 to 1. Nothing is drawn then.
pub fn bernoulli<T: Real, U: From<bool>>(
    generator: &mut Generator,
    probabilities: &[T],
) -> Result<Vec<U>, ParameterError> {
    probabilities.iter().try_for_each(|p| check((*p).into()))?;
    Ok(probabilities.iter().map(|p| U::from(T::Wide::draw(generator) < p.widen())).collect())
}

fn check(p: f64) -> Result<(), ParameterError> {
    if (0.0..=1.0).contains(&p) { Ok(()) } else { Err(ParameterError::Probability { p }) }
}

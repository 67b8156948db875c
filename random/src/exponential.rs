//! `Tensor.exponential_`, which `torch.multinomial` draws without replacement with, too.

use crate::error::ParameterError;
use crate::generator::Generator;
use crate::real::Real;
use crate::real::sealed::Sealed;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_is_not_positive_is_refused_before_anything_is_drawn() {
        let mut generator = Generator::new(0);
        for lambda in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            assert!(exponential_::<f32>(&mut generator, &mut [0.0], lambda).is_err(), "{lambda}");
        }
        assert_eq!(generator, Generator::new(0));
    }
}

//! The two floating-point types that are drawn, and what each does in its own way.

use std::f64::consts::PI;

use crate::cephes;
use crate::generator::Generator;

/// A floating-point type that the distributions fill: `f32` (`torch.float32`) or `f64` (`torch.float64`).
///
/// Implemented here and nowhere else.
pub trait Real: Copy + PartialEq + PartialOrd + Into<f64> + sealed::Sealed {}

impl Real for f32 {}
impl Real for f64 {}

pub(crate) mod sealed {
    use super::Generator;

    /// What the distributions need of a type. The trait cannot be named outside this crate, so nobody can implement `Real`.
    pub trait Sealed: Sized {
        /// The largest finite value.
        const LARGEST: f64;
        const ZERO: Self;
        const ONE: Self;

        /// Nearest value of this type.
        fn from_f64(value: f64) -> Self;

        /// Uniform in [0, 1): as many of the generator's lowest bits as the type's precision, as a fraction.
        fn draw(generator: &mut Generator) -> Self;

        /// `value * (to - from) + from`, rounded as the AVX2 build of `PyTorch` rounds it.
        fn scale(value: Self, from: Self, to: Self) -> Self;

        /// Turns 16 uniform values into 16 normal ones, in place.
        fn normal_16(block: &mut [Self; 16], mean: f64, std: f64);
    }
}

impl sealed::Sealed for f32 {
    const LARGEST: f64 = f32::MAX as f64;
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
    fn from_f64(value: f64) -> Self {
        value as Self
    }

    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "24 bits are exact in f32")]
    fn draw(generator: &mut Generator) -> Self {
        const STEP: f32 = 1.0 / (1 << 24) as f32;
        (generator.next_u32() & 0x00ff_ffff) as Self * STEP
    }

    #[inline]
    fn scale(value: Self, from: Self, to: Self) -> Self {
        value.mul_add(to - from, from)
    }

    fn normal_16(block: &mut [Self; 16], mean: f64, std: f64) {
        cephes::normal_16(block, Self::from_f64(mean), Self::from_f64(std));
    }
}

impl sealed::Sealed for f64 {
    const LARGEST: f64 = f64::MAX;
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    fn from_f64(value: f64) -> Self {
        value
    }

    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in f64")]
    fn draw(generator: &mut Generator) -> Self {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        (generator.next_u64() & ((1 << 53) - 1)) as Self * STEP
    }

    #[inline]
    fn scale(value: Self, from: Self, to: Self) -> Self {
        value.mul_add(to - from, from)
    }

    /// With the C library's functions: elements j and j + 8 are a pair.
    fn normal_16(block: &mut [Self; 16], mean: f64, std: f64) {
        let (first, second) = block.split_at_mut(8);
        for (first, second) in first.iter_mut().zip(second) {
            let radius = (-2.0 * (1.0 - *first).ln()).sqrt();
            let angle = 2.0 * PI * *second;
            *first = (radius * angle.cos()).mul_add(std, mean);
            *second = (radius * angle.sin()).mul_add(std, mean);
        }
    }
}

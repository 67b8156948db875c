//! The floating-point types that are drawn, and what each does in its own way.

use std::convert::identity;
use std::f64::consts::PI;

use crate::cephes;
use crate::generator::Generator;
use crate::half::{BFloat16, Half};

/// A floating-point type that the distributions fill: `f32`, `f64`, [`Half`] (`torch.float16`) or [`BFloat16`].
///
/// Implemented here and nowhere else.
pub trait Real: Copy + PartialEq + PartialOrd + Into<f64> + sealed::Sealed {}

impl Real for f32 {}
impl Real for f64 {}
impl Real for Half {}
impl Real for BFloat16 {}

pub(crate) mod sealed {
    use super::{Generator, Real};

    /// What the distributions need of a type. The trait cannot be named outside this crate, so nobody can implement `Real`.
    pub trait Sealed: Sized {
        /// What is computed in: `PyTorch`'s `opmath_type`.
        type Wide: Compute;
        /// The largest finite value.
        const LARGEST: f64;
        /// Bits of precision: integers up to 2 to this power have values of their own.
        const DIGITS: u32;
        /// Whether it is a type that is computed in.
        const IS_WIDE: bool = size_of::<Self>() == size_of::<Self::Wide>();
        const ZERO: Self;
        const ONE: Self;

        /// Nearest value of this type, by way of the type that is computed in.
        #[inline]
        fn from_f64(value: f64) -> Self {
            Self::narrow(Self::Wide::nearest(value))
        }

        /// Nearest value of this type.
        fn narrow(value: Self::Wide) -> Self;

        /// The same value.
        fn widen(self) -> Self::Wide;
    }

    /// What is done in a type that is computed in.
    pub trait Compute: Real + Sealed<Wide = Self> {
        /// The least positive normal value.
        const LEAST: f64;

        /// Nearest value of this type.
        fn nearest(value: f64) -> Self;

        /// Uniform in [0, 1): as many of the generator's lowest bits as the type's precision, as a fraction.
        fn draw(generator: &mut Generator) -> Self;

        /// [`draw`](Self::draw) sixteen times.
        fn draw_16(generator: &mut Generator) -> [Self; 16];

        /// `value * (to - from) + from`, rounded as the AVX2 build of `PyTorch` rounds it.
        fn scale(value: Self, from: Self, to: Self) -> Self;

        /// `value * factor + summand`, rounded once.
        fn multiply_add(value: Self, factor: Self, summand: Self) -> Self;

        /// The C library's `log1p` for this type.
        fn log1p(value: Self) -> Self;

        /// Turns 16 uniform values into 16 normal ones, in place: `FUSED` where the caller is compiled for a processor that fuses
        /// multiplication and addition. The results do not depend on it.
        fn normal_16<const FUSED: bool>(block: &mut [Self; 16], mean: f64, std: f64);
    }
}

/// A type that is computed in: `f32` or `f64`. Implemented here and nowhere else.
pub trait Wide: Real + sealed::Compute {}

impl Wide for f32 {}
impl Wide for f64 {}

/// What a type is computed in, its largest value, its bits of precision, 0 and 1, and how it is rounded to and made wide again.
macro_rules! reals {
    ($($name:ident in $wide:ident: $largest:expr, $digits:expr, $zero:expr, $one:expr, $narrow:expr, $widen:expr;)+) => { $(
        impl sealed::Sealed for $name {
            type Wide = $wide;
            const LARGEST: f64 = $largest;
            const DIGITS: u32 = $digits;
            const ZERO: Self = $zero;
            const ONE: Self = $one;

            #[inline]
            fn narrow(value: $wide) -> Self {
                $narrow(value)
            }

            #[inline]
            fn widen(self) -> $wide {
                $widen(self)
            }
        }
    )+ };
}

reals! {
    f32 in f32: f32::MAX as f64, f32::MANTISSA_DIGITS, 0.0, 1.0, identity, identity;
    f64 in f64: f64::MAX, f64::MANTISSA_DIGITS, 0.0, 1.0, identity, identity;
    Half in f32: 65504.0, 11, Self::from_bits(0), Self::from_bits(0x3c00), Self::from_f32, Self::to_f32;
    BFloat16 in f32: f32::from_bits(0x7f7f_0000) as f64, 8, Self::from_bits(0), Self::from_bits(0x3f80), Self::from_f32, Self::to_f32;
}

impl sealed::Compute for f32 {
    const LEAST: f64 = f32::MIN_POSITIVE as f64;

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
    fn nearest(value: f64) -> Self {
        value as Self
    }

    #[inline]
    fn draw(generator: &mut Generator) -> Self {
        fraction(generator.next_u32())
    }

    #[inline(always)]
    fn draw_16(generator: &mut Generator) -> [Self; 16] {
        let mut values = [0.0; 16];
        for (value, bits) in values.iter_mut().zip(generator.engine.next_16()) {
            *value = fraction(bits);
        }
        values
    }

    #[inline]
    fn scale(value: Self, from: Self, to: Self) -> Self {
        value.mul_add(to - from, from)
    }

    fn multiply_add(value: Self, factor: Self, summand: Self) -> Self {
        value.mul_add(factor, summand)
    }

    fn log1p(value: Self) -> Self {
        value.ln_1p()
    }

    #[inline(always)]
    fn normal_16<const FUSED: bool>(block: &mut [Self; 16], mean: f64, std: f64) {
        cephes::normal_16::<FUSED>(block, Self::nearest(mean), Self::nearest(std));
    }
}

/// The lowest 24 bits as a fraction.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "24 bits are exact in f32")]
fn fraction(bits: u32) -> f32 {
    const STEP: f32 = 1.0 / (1 << 24) as f32;
    (bits & 0x00ff_ffff) as f32 * STEP
}

/// The lowest 53 bits as a fraction.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact in f64")]
fn long_fraction(bits: u64) -> f64 {
    const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
    (bits & ((1 << 53) - 1)) as f64 * STEP
}

impl sealed::Compute for f64 {
    const LEAST: f64 = f64::MIN_POSITIVE;

    #[inline]
    fn nearest(value: f64) -> Self {
        value
    }

    #[inline]
    fn draw(generator: &mut Generator) -> Self {
        long_fraction(generator.next_u64())
    }

    #[inline(always)]
    fn draw_16(generator: &mut Generator) -> [Self; 16] {
        let words = [generator.engine.next_16(), generator.engine.next_16()];
        let (pairs, _) = words.as_flattened().as_chunks::<2>();
        let mut values = [0.0; 16];
        for (value, [upper, lower]) in values.iter_mut().zip(pairs) {
            *value = long_fraction((u64::from(*upper) << 32) | u64::from(*lower));
        }
        values
    }

    #[inline]
    fn scale(value: Self, from: Self, to: Self) -> Self {
        value.mul_add(to - from, from)
    }

    fn multiply_add(value: Self, factor: Self, summand: Self) -> Self {
        value.mul_add(factor, summand)
    }

    fn log1p(value: Self) -> Self {
        value.ln_1p()
    }

    /// With the C library's functions: elements j and j + 8 are a pair.
    #[inline(always)]
    fn normal_16<const FUSED: bool>(block: &mut [Self; 16], mean: f64, std: f64) {
        let (first, second) = block.split_at_mut(8);
        for (first, second) in first.iter_mut().zip(second) {
            let radius = (-2.0 * (1.0 - *first).ln()).sqrt();
            let angle = 2.0 * PI * *second;
            *first = (radius * angle.cos()).mul_add(std, mean);
            *second = (radius * angle.sin()).mul_add(std, mean);
        }
    }
}

//! The types that integers are drawn in, and how `PyTorch` casts to each.

use crate::half::{BFloat16, Half};
use crate::real::Real;
use crate::real::sealed::Sealed as Float;

/// A type of `PyTorch`'s that holds integers: `bool`, all signed and unsigned ones, and the floating-point types.
///
/// Implemented here and nowhere else.
pub trait Number: Copy + sealed::Sealed {}

pub(crate) mod sealed {
    /// What the distributions need of a type. The trait cannot be named outside this crate, so nobody can implement `Number`.
    pub trait Sealed: Sized {
        /// `PyTorch`'s name of it.
        const DTYPE: &'static str;
        /// Whether `random_()` draws 64 bits.
        const IS_64_BIT: bool;
        /// Whether it takes all 64 bits of an integer.
        const TAKES_64_BITS: bool;
        const IS_FLOAT: bool;
        /// How many integers from 0 on `random_()` chooses from; `None` where `PyTorch` has no such thing.
        const COUNT: Option<u64>;
        /// The last integer of `random_(from, None)`.
        const LAST: i64;

        /// `static_cast` of an integer.
        fn from_i64(value: i64) -> Self;

        /// `static_cast` of a floating-point number, as x86-64's instructions do it; `None` where `PyTorch` has no such thing.
        fn from_real(value: f64) -> Option<Self>;

        /// Whether an integer is in the type's range.
        fn holds(value: i64) -> bool;

        /// The first integer from this one on that survives rounding.
        fn inner_low(low: i64) -> i64 {
            low
        }

        /// The integer up to this one below which all survive rounding.
        fn inner_high(high: i64) -> i64 {
            high
        }
    }
}

/// An integer type: its name, whether it has 64 bits, how many values `random_()` knows, its last, what a `static_cast` makes
/// of a floating-point number.
macro_rules! integers {
    ($($name:ident $dtype:literal $wide:literal $count:expr, $last:expr, $real:expr;)*) => {$(
        impl Number for $name {}

        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_lossless, reason = "static_cast")]
        impl sealed::Sealed for $name {
            const DTYPE: &'static str = $dtype;
            const IS_64_BIT: bool = $wide;
            const TAKES_64_BITS: bool = $wide;
            const IS_FLOAT: bool = false;
            const COUNT: Option<u64> = $count;
            const LAST: i64 = $last;

            #[inline]
            fn from_i64(value: i64) -> Self {
                value as $name
            }

            #[inline]
            fn from_real(value: f64) -> Option<Self> {
                let cast: fn(f64) -> Option<Self> = $real;
                cast(value)
            }

            fn holds(value: i64) -> bool {
                $name::try_from(value).is_ok()
            }
        }
    )*};
}

integers! {
    u8 "torch.uint8" false Some(1 << 8), 0xff, |value| Some(to_i32(value) as u8);
    i8 "torch.int8" false Some(1 << 7), 0x7f, |value| Some(to_i32(value) as i8);
    i16 "torch.int16" false Some(1 << 15), 0x7fff, |value| Some(to_i32(value) as i16);
    i32 "torch.int32" false Some(1 << 31), 0x7fff_ffff, |value| Some(to_i32(value));
    i64 "torch.int64" true Some(1 << 63), i64::MAX, |value| Some(to_i64(value));
    u16 "torch.uint16" false None, 0xffff, |_| None;
    u32 "torch.uint32" false None, 0xffff_ffff, |_| None;
    // PyTorch takes the largest for a signed number, and so for -1.
    u64 "torch.uint64" false None, -1, |_| None;
}

impl Number for bool {}

impl sealed::Sealed for bool {
    const DTYPE: &'static str = "torch.bool";
    const IS_64_BIT: bool = false;
    const TAKES_64_BITS: bool = false;
    const IS_FLOAT: bool = false;
    const COUNT: Option<u64> = Some(2);
    const LAST: i64 = 1;

    #[inline]
    fn from_i64(value: i64) -> Self {
        value != 0
    }

    fn from_real(_: f64) -> Option<Self> {
        None
    }

    fn holds(value: i64) -> bool {
        value == 0 || value == 1
    }
}

/// A floating-point type: its name, whether `random_()` draws 64 bits, whether it takes all bits of an integer.
macro_rules! floats {
    ($($name:ident $dtype:literal $wide:literal $all:literal;)*) => {$(
        impl Number for $name {}

        impl sealed::Sealed for $name {
            const DTYPE: &'static str = $dtype;
            const IS_64_BIT: bool = $wide;
            const TAKES_64_BITS: bool = $all;
            const IS_FLOAT: bool = true;
            const COUNT: Option<u64> = Some((1 << <$name as Float>::DIGITS) + 1);
            const LAST: i64 = 1 << <$name as Float>::DIGITS;

            #[inline]
            fn from_i64(value: i64) -> Self {
                cast::<$name>(value)
            }

            #[inline]
            fn from_real(value: f64) -> Option<Self> {
                Some(<$name as Float>::from_f64(value))
            }

            #[expect(clippy::cast_precision_loss, reason = "as PyTorch compares")]
            fn holds(value: i64) -> bool {
                (-<$name as Float>::LARGEST..=<$name as Float>::LARGEST).contains(&(value as f64))
            }

            /// `update_from` of ATen/native/DistributionTemplates.h.
            fn inner_low(low: i64) -> i64 {
                let after = to_i64(cast::<$name>(low.wrapping_add(1)).into());
                if after < low { after.wrapping_add(spacing::<$name>(low.wrapping_add(1))) } else { low }
            }

            /// `update_to` of ATen/native/DistributionTemplates.h.
            fn inner_high(high: i64) -> i64 {
                let before = to_i64(cast::<$name>(high.wrapping_sub(1)).into());
                if before >= high { before.wrapping_sub(spacing::<$name>(high.wrapping_sub(1))) } else { high }
            }
        }
    )*};
}

floats! {
    Half "torch.float16" false false;
    BFloat16 "torch.bfloat16" false true;
    f32 "torch.float32" false true;
    f64 "torch.float64" true true;
}

/// `static_cast` to the type that is computed in, then to the type.
#[expect(clippy::cast_precision_loss, reason = "rounding is the purpose")]
fn cast<T: Real>(value: i64) -> T {
    // What has 24 bits of precision at most goes by way of f32, at once; a detour over f64 would round twice.
    if T::DIGITS <= f32::MANTISSA_DIGITS { T::from_f64((value as f32).into()) } else { T::from_f64(value as f64) }
}

/// How far values of the type lie apart where this integer is.
fn spacing<T: Real>(value: i64) -> i64 {
    let power = value.unsigned_abs().checked_ilog2().unwrap_or(0);
    1_i64.wrapping_shl((power + 1).wrapping_sub(T::DIGITS))
}

/// A processor's conversion: towards zero, and to the least number where the result has no place.
#[expect(clippy::cast_possible_truncation, reason = "towards zero")]
fn to_i64(value: f64) -> i64 {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if (-END..END).contains(&value) { value as i64 } else { i64::MIN }
}

/// As [`to_i64`], with 32 bits.
fn to_i32(value: f64) -> i32 {
    i32::try_from(to_i64(value)).unwrap_or(i32::MIN)
}

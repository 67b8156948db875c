//! The two floating-point types of 16 bits: `torch.float16` and `torch.bfloat16`. Here they are only stored and rounded to;
//! what is computed is computed in `f32`, as in `PyTorch`.

use std::cmp::Ordering;
use std::fmt;

/// What both types can do.
macro_rules! sixteen_bits {
    ($(#[$meta:meta])* $name:ident, $round:ident, $widen:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Default)]
        pub struct $name(u16);

        impl $name {
            /// The value with these bits.
            #[must_use]
            pub const fn from_bits(bits: u16) -> Self {
                Self(bits)
            }

            /// Its bits, as they lie in a tensor.
            #[must_use]
            pub const fn to_bits(self) -> u16 {
                self.0
            }

            /// The nearest value; halfway, the one whose last bit is 0.
            #[must_use]
            #[inline]
            pub fn from_f32(value: f32) -> Self {
                Self($round(value))
            }

            /// The same value with more bits.
            #[must_use]
            #[inline]
            pub fn to_f32(self) -> f32 {
                $widen(self.0)
            }
        }

        impl From<$name> for f32 {
            fn from(value: $name) -> f32 {
                value.to_f32()
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.to_f32().into()
            }
        }

        impl From<bool> for $name {
            fn from(value: bool) -> Self {
                Self::from_f32(f32::from(u8::from(value)))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.to_f32() == other.to_f32()
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                self.to_f32().partial_cmp(&other.to_f32())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.to_f32(), formatter)
            }
        }
    };
}

sixteen_bits! {
    /// `torch.float16`: 5 bits of exponent, 11 of precision. Its bits are those of any other such type, as the crate `half`'s.
    ///
    /// ```
    /// use rekindle_random::Half;
    ///
    /// assert_eq!(Half::from_f32(1.0).to_bits(), 0x3c00);
    /// assert_eq!(Half::from_f32(0.1).to_f32(), 0.099975586);
    /// ```
    Half, round_to_half, widen_half
}

sixteen_bits! {
    /// `torch.bfloat16`: the upper half of an `f32`.
    ///
    /// ```
    /// use rekindle_random::BFloat16;
    ///
    /// assert_eq!(BFloat16::from_f32(1.0).to_bits(), 0x3f80);
    /// assert_eq!(BFloat16::from_f32(0.1).to_f32(), 0.100097656);
    /// ```
    BFloat16, round_to_bfloat16, widen_bfloat16
}

/// 2^112: what the exponent's bias of an `f32` exceeds that of a `float16` by.
const BIAS: f32 = f32::from_bits((127 + 112) << 23);

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "16 bits are what is left")]
fn round_to_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    let rounded = if magnitude > 0x7f80_0000 {
        0x7e00 // not a number
    } else if magnitude >= 0x4780_0000 {
        0x7c00 // 65536 and more
    } else if magnitude < 0x3880_0000 {
        // Below 2^-14 values are multiples of 2^-24: added to 0.5, an `f32` has room for just these.
        (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5_f32.to_bits()
    } else {
        // A carry out of the mantissa counts the exponent up, to infinity at the end.
        let odd = (magnitude >> 13) & 1;
        (magnitude - (112 << 23) + 0x0fff + odd) >> 13
    };
    (sign | rounded) as u16
}

#[inline]
fn widen_half(bits: u16) -> f32 {
    let (sign, magnitude) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff) << 13);
    let widened =
        if magnitude >= 0x7c00 << 13 { magnitude | 0x7f80_0000 } else { (f32::from_bits(magnitude) * BIAS).to_bits() };
    f32::from_bits(sign | widened)
}

#[inline]
fn round_to_bfloat16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() { 0x7fc0 } else { ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16 }
}

#[inline]
fn widen_bfloat16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_survives_the_way_there_and_back() {
        for bits in 0..=u16::MAX {
            let (half, bfloat) = (Half::from_bits(bits), BFloat16::from_bits(bits));
            assert!(half.to_f32().is_nan() || Half::from_f32(half.to_f32()).to_bits() == bits, "{bits:x}");
            assert!(bfloat.to_f32().is_nan() || BFloat16::from_f32(bfloat.to_f32()).to_bits() == bits, "{bits:x}");
        }
    }

    #[test]
    fn what_lies_between_two_values_goes_to_the_nearer_and_halfway_to_the_even_one() {
        for bits in 0..0x7bff_u16 {
            let (low, high) = (Half::from_bits(bits).to_f32(), Half::from_bits(bits + 1).to_f32());
            let middle = f32::midpoint(low, high);
            let rounded = |value: f32| Half::from_f32(value).to_bits();
            assert_eq!(rounded(middle), bits + (bits & 1), "{bits:x}");
            assert_eq!((rounded(middle.next_down()), rounded(middle.next_up())), (bits, bits + 1), "{bits:x}");
        }
        assert_eq!(Half::from_f32(65519.996).to_bits(), 0x7bff);
        assert_eq!(Half::from_f32(65520.0).to_bits(), 0x7c00);
        assert_eq!(Half::from_f32(f32::NAN).to_bits(), 0x7e00);
        assert_eq!(BFloat16::from_f32(f32::MAX).to_f32(), f32::INFINITY);
    }
}

//! The transform of Box and Muller on 16 `f32` as `PyTorch`'s kernel for AVX2 computes it, which AVX-512 machines run, too:
//! logarithm, sine and cosine of the Cephes library (S. Moshier) on eight lanes, in the order of J. Pommier's `avx_mathfun.h`,
//! each multiplication that feeds an addition fused with it.
//!
//! All is inlined into the loop that fills ([`normal.rs`](super::normal)), which is compiled for processors with fused operations, too, and
//! has to be compiled for them as a whole.
//!
//! Nothing here comes from the C library but [`f32::mul_add`], which is exact everywhere, so the result is the same on every
//! target. Where a product is exact in `f32`, a separate addition rounds like the fused one, and is written instead.

use std::array;

/// One value for each of the eight pairs of a block.
type Lanes = [f32; 8];

/// Square root of 1/2, below which a mantissa is doubled.
const SQRT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// Logarithm, the highest power first.
#[expect(clippy::excessive_precision, clippy::unreadable_literal, reason = "as Cephes prints them")]
const LOG: [f32; 9] = [
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
];
/// Logarithm of 2 as the sum of a small part and one of 10 bits.
#[expect(clippy::excessive_precision, reason = "as Cephes prints them")]
const LN_2: [f32; 2] = [-2.121_944_4e-4, 0.693_359_375];
/// Pi / 4 as the sum of two parts of few bits and a small one.
#[expect(clippy::excessive_precision, clippy::unreadable_literal, reason = "as Cephes prints them")]
const QUARTER_PI: [f32; 3] = [0.78515625, 2.4187564849853515625e-4, 3.77489497744594108e-8];
/// Sine and cosine up to pi / 4, the highest power first.
#[expect(clippy::excessive_precision, clippy::unreadable_literal, reason = "as Cephes prints them")]
const SIN: [f32; 3] = [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1];
#[expect(clippy::excessive_precision, clippy::unreadable_literal, reason = "as Cephes prints them")]
const COS: [f32; 3] = [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2];

/// Turns 16 values of [0, 1) into normal ones: elements j and j + 8 are a pair. `FUSED` where the caller is compiled for a processor
/// with fused operations; the results are the same.
#[inline(always)]
pub(crate) fn normal_16<const FUSED: bool>(block: &mut [f32; 16], mean: f32, std: f32) {
    let (mut radii, mut angles) = ([0.0; 8], [0.0; 8]);
    for lane in 0..8 {
        radii[lane] = 1.0 - block[lane];
        angles[lane] = std::f32::consts::TAU * block[lane + 8];
    }
    let (sin, cos) = if FUSED {
        box_muller(&mut Fused, radii, angles)
    } else {
        // A call into the C library for each fused operation would take most of the time.
        let mut widened = Widened::default();
        let normal = box_muller(&mut widened, radii, angles);
        if widened.is_doubtful() { box_muller(&mut Fused, radii, angles) } else { normal }
    };
    for lane in 0..8 {
        block[lane] = cos[lane].mul_add(std, mean);
        block[lane + 8] = sin[lane].mul_add(std, mean);
    }
}

/// Multiplication and addition, rounded once.
trait MultiplyAdd {
    /// `factor * other + summand`, lane by lane.
    fn multiply_add(&mut self, factor: Lanes, other: Lanes, summand: Lanes) -> Lanes;
}

/// The processor's or the C library's operation.
struct Fused;

impl MultiplyAdd for Fused {
    #[inline(always)]
    fn multiply_add(&mut self, factor: Lanes, other: Lanes, summand: Lanes) -> Lanes {
        let mut result = summand;
        for lane in 0..8 {
            result[lane] = factor[lane].mul_add(other[lane], summand[lane]);
        }
        result
    }
}

/// The same in `f64`, where the product is exact, followed by a rounding to `f32`.
///
/// Rounding twice goes wrong only if the first result lies exactly between two neighbours in `f32`: every other one is on the
/// same side of all such midpoints as the exact sum, for midpoints are `f64` values and rounding keeps the order. Midpoints are
/// noted; they are one in 2^28. This holds for normal results, and the functions below have no others but 0.
#[derive(Default)]
struct Widened {
    /// For each lane, whether a midpoint was met. As wide as the values, so that the compiler keeps lanes together.
    midpoint: [u32; 8],
}

impl Widened {
    fn is_doubtful(&self) -> bool {
        self.midpoint != [0; 8]
    }
}

impl MultiplyAdd for Widened {
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding to f32, and looking at the lower bits, are the purpose"
    )]
    fn multiply_add(&mut self, factor: Lanes, other: Lanes, summand: Lanes) -> Lanes {
        let mut result = [0.0; 8];
        for lane in 0..8 {
            let sum = f64::from(factor[lane]) * f64::from(other[lane]) + f64::from(summand[lane]);
            // f64 has 29 bits more than f32; at a midpoint only the first of them is set.
            self.midpoint[lane] |= u32::from((sum.to_bits() as u32) << 3 == 1 << 31);
            result[lane] = sum as f32;
        }
        result
    }
}

/// A pair of independent normal values for each pair of uniform ones.
#[inline(always)]
fn box_muller(arithmetic: &mut impl MultiplyAdd, radii: Lanes, angles: Lanes) -> (Lanes, Lanes) {
    let radii = ln(arithmetic, radii).map(|ln| (-2.0 * ln).sqrt());
    let (sin, cos) = sin_cos(arithmetic, angles);
    (times(radii, sin), times(radii, cos))
}

/// Natural logarithm of positive normal numbers.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "exponents are below 256")]
fn ln(arithmetic: &mut impl MultiplyAdd, values: Lanes) -> Lanes {
    // A value is mantissa * 2^exponent with a mantissa from sqrt(1/2) to sqrt(2); the logarithm of 1 + x is left, with x near 0.
    let mut x = [0.0; 8];
    let mut exponent = [0.0; 8];
    for lane in 0..8 {
        let bits = values[lane].to_bits();
        let mantissa = f32::from_bits(bits & 0x007f_ffff | 0.5_f32.to_bits());
        let power = (bits >> 23).cast_signed() - 126;
        let is_doubled = mantissa < SQRT_HALF;
        x[lane] = mantissa - 1.0 + if is_doubled { mantissa } else { 0.0 };
        exponent[lane] = (power - i32::from(is_doubled)) as f32;
    }
    let square = times(x, x);
    let cubic = times(horner(arithmetic, LOG, x), x);
    let small = arithmetic.multiply_add(cubic, square, exponent.map(|exponent| exponent * LN_2[0]));
    array::from_fn(|lane| x[lane] + (small[lane] - square[lane] * 0.5) + exponent[lane] * LN_2[1])
}

/// Sine and cosine of angles from 0 to 2 pi.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "between 0 and 8")]
fn sin_cos(arithmetic: &mut impl MultiplyAdd, angles: Lanes) -> (Lanes, Lanes) {
    // The nearest multiple of pi / 2, counted in quarters of pi: 0, 2, 4, 6 or 8.
    let octants = angles.map(|angle| ((angle * (4.0 / std::f32::consts::PI)) as i32 + 1) & !1);
    let count = octants.map(|octant| octant as f32);
    let x = array::from_fn(|lane| angles[lane] - count[lane] * QUARTER_PI[0] - count[lane] * QUARTER_PI[1]);
    let x = arithmetic.multiply_add(count, [-QUARTER_PI[2]; 8], x);

    let square = times(x, x);
    let cos = times(horner(arithmetic, COS, square), square);
    let cos = arithmetic.multiply_add(cos, square, square.map(|square| square * -0.5)).map(|cos| cos + 1.0);
    let sin = times(horner(arithmetic, SIN, square), square);
    let sin = arithmetic.multiply_add(sin, x, x);

    // Every second multiple of pi / 2 swaps the two; the signs follow the quadrant. As bits, because a branch would be
    // mispredicted half the time.
    let mut rotated = ([0.0; 8], [0.0; 8]);
    for lane in 0..8 {
        let octant = octants[lane].cast_unsigned();
        let swaps = ((octant >> 1) & 1).wrapping_neg();
        let exchanged = (sin[lane].to_bits() ^ cos[lane].to_bits()) & swaps;
        rotated.0[lane] = f32::from_bits(sin[lane].to_bits() ^ exchanged ^ ((octant & 4) << 29));
        rotated.1[lane] = f32::from_bits(cos[lane].to_bits() ^ exchanged ^ (((octant + 2) & 4) << 29));
    }
    rotated
}

/// A polynomial by Horner's rule.
#[inline(always)]
fn horner<const N: usize>(arithmetic: &mut impl MultiplyAdd, coefficients: [f32; N], x: Lanes) -> Lanes {
    let lanes = coefficients.into_iter().map(|coefficient| [coefficient; 8]);
    lanes.reduce(|sum, coefficient| arithmetic.multiply_add(sum, x, coefficient)).unwrap_or_default()
}

#[inline(always)]
fn times(factor: Lanes, other: Lanes) -> Lanes {
    array::from_fn(|lane| factor[lane] * other[lane])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Generator;
    use crate::real::sealed::Compute;

    /// 24-bit fractions of (0, 1]: the smallest, the largest, those beside powers of two, and random ones.
    fn arguments() -> Vec<Lanes> {
        let step = 1.0 / 16_777_216.0;
        let mut generator = Generator::new(0);
        #[expect(clippy::cast_precision_loss, reason = "24 bits are exact in f32")]
        let mut arguments: Vec<f32> = (0..80_000).map(|_| (generator.next_u32() & 0x00ff_ffff) as f32 * step).collect();
        arguments.extend((0..=24).flat_map(|power| {
            let fraction = 0.5_f32.powi(power);
            [fraction, (fraction + step).min(1.0), fraction - step]
        }));
        let arguments: Vec<f32> = arguments.into_iter().map(|argument| argument.max(step)).collect();
        arguments.as_chunks().0.to_vec()
    }

    #[test]
    fn the_functions_are_good_to_two_units_in_the_last_place() {
        for argument in arguments() {
            let angles = argument.map(|unit| unit * std::f32::consts::TAU);
            let (sin, cos) = sin_cos(&mut Fused, angles);
            let ln = ln(&mut Fused, argument);
            for lane in 0..8 {
                let (argument, angle) = (f64::from(argument[lane]), f64::from(angles[lane]));
                for (value, exact) in [(ln[lane], argument.ln()), (sin[lane], angle.sin()), (cos[lane], angle.cos())] {
                    let unit_in_last_place = exact.abs().max(0.5) * f64::from(f32::EPSILON);
                    assert!((f64::from(value) - exact).abs() <= 2.0 * unit_in_last_place, "{argument} {value} {exact}");
                }
            }
        }
    }

    #[test]
    fn both_arithmetics_agree_wherever_the_wide_one_has_no_doubt() {
        let arguments = arguments();
        let mut doubtful = 0;
        for (radii, angles) in arguments.iter().zip(arguments.iter().rev()) {
            let angles = angles.map(|unit| (1.0 - unit) * std::f32::consts::TAU);
            let mut widened = Widened::default();
            let (sin, cos) = box_muller(&mut widened, *radii, angles);
            if widened.is_doubtful() {
                doubtful += 1;
            } else {
                let exact = box_muller(&mut Fused, *radii, angles);
                let bits = |lanes: Lanes| lanes.map(f32::to_bits);
                assert_eq!((bits(sin), bits(cos)), (bits(exact.0), bits(exact.1)), "{radii:?} {angles:?}");
            }
        }
        assert!(doubtful < 20, "{doubtful} of {}", arguments.len());
    }

    #[test]
    fn blocks_are_the_same_with_fused_operations_and_without() {
        let mut generator = Generator::new(1);
        for round in 0..100_000 {
            let mut block: [f32; 16] = <f32 as Compute>::draw_16(&mut generator);
            let (mut other, (mean, std)) = (block, [(0.0, 1.0), (-3.5, 0.02), (1e30, 1e-30), (0.0, 0.0)][round % 4]);
            normal_16::<true>(&mut block, mean, std);
            normal_16::<false>(&mut other, mean, std);
            assert_eq!(block.map(f32::to_bits), other.map(f32::to_bits), "block {round}");
        }
    }

    #[test]
    fn a_sum_halfway_between_two_neighbours_is_doubted() {
        // 1 + 2^-23 + 2^-24 - 2^-70: rounding to f64 loses the last part, and the midpoint then goes up instead of down.
        let lanes = |value: f32| array::from_fn(|lane| if lane == 5 { value } else { 0.0 });
        let (factor, other) = (1.0 + 2.0_f32.powi(-23), (1.0 - 2.0_f32.powi(-23)) * 2.0_f32.powi(-24));
        let exact = Fused.multiply_add(lanes(factor), lanes(other), lanes(factor));
        let mut widened = Widened::default();
        let rounded_twice = widened.multiply_add(lanes(factor), lanes(other), lanes(factor));
        assert_ne!(exact.map(f32::to_bits), rounded_twice.map(f32::to_bits));
        assert!(widened.is_doubtful());
    }
}

//! Functions of one 32-bit number without branches, which the compiler turns into vectors. Errors are against 64-bit results.

use super::simd::fma;

/// `exp(x)` within 1.0 ulp: `2^n * p(r)` with `x = n ln 2 + r`, the polynomial of Cephes' `expf`. The two halves of `2^n` make
/// results below the normal numbers right, too.
#[inline(always)]
#[allow(clippy::many_single_char_names)] // those of the formula
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    const LARGEST: f32 = 88.722_84;
    const SMALLEST: f32 = -103.972_084;
    /// 1.5 * 2^23: what is added to it is rounded to a whole number.
    const WHOLE: f32 = 12_582_912.0;
    let within = if x > LARGEST { LARGEST } else { x };
    let within = if within < SMALLEST { SMALLEST } else { within };
    let shifted = fma::<FMA>(within, std::f32::consts::LOG2_E, WHOLE);
    let n = shifted - WHOLE;
    let r = fma::<FMA>(n, -0.693_145_75, within);
    let r = fma::<FMA>(n, -1.428_606_8e-6, r);
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = fma::<FMA>(p, r, c);
    }
    let p = fma::<FMA>(p, r * r, r) + 1.0;
    let n = shifted.to_bits().wrapping_sub(WHOLE.to_bits()).cast_signed();
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127)).cast_unsigned() << 23);
    let y = p * power(half) * power(n.wrapping_sub(half));
    let y = if x > LARGEST { f32::INFINITY } else { y };
    let y = if x < SMALLEST { 0.0 } else { y };
    if x.is_nan() { x } else { y }
}

/// `erf(x)` within 1.0 ulp, after N. Juffa's `my_erff`: a polynomial near 0, `1 - exp(p(|x|))` farther out.
#[inline(always)]
pub(super) fn erf<const FMA: bool>(x: f32) -> f32 {
    let size = x.abs();
    let square = x * x;
    let mut p = fma::<FMA>(-1.728_534_7e-5, size, 3.831_971_3e-4);
    let q = fma::<FMA>(-3.883_964_4e-3, size, 2.425_462_2e-2);
    p = fma::<FMA>(p, square, q);
    for c in [-1.067_778_8e-1, -6.348_467e-1, -1.287_175_1e-1] {
        p = fma::<FMA>(p, size, c);
    }
    let far = (1.0 - exp::<FMA>(fma::<FMA>(p, size, -size))).copysign(x);
    let mut near = -5.967_617e-4;
    for c in [4.991_194_2e-3, -2.676_813_5e-2, 0.112_819_925, -3.761_253_4e-1, 1.283_791_7e-1] {
        near = fma::<FMA>(near, square, c);
    }
    if size > 0.927_734_4 { far } else { fma::<FMA>(near, x, x) }
}

/// `tanh(x)` within 1.5 ulp: Cephes' `tanhf`, a polynomial near 0, `1 - 2 / (exp(2x) + 1)` farther out.
#[inline(always)]
pub(super) fn tanh<const FMA: bool>(x: f32) -> f32 {
    let size = x.abs();
    let square = x * x;
    let mut near = -5.704_988_7e-3;
    for c in [2.063_908_8e-2, -5.373_971_6e-2, 1.333_144_2e-1, -0.333_332_8] {
        near = fma::<FMA>(near, square, c);
    }
    let far = (1.0 - 2.0 / (exp::<FMA>(2.0 * size) + 1.0)).copysign(x);
    let y = if size < 0.625 { fma::<FMA>(near * square, x, x) } else { far };
    if x.is_nan() { x } else { y }
}

/// `1 / (1 + exp(-x))`, as PyTorch computes it.
#[inline(always)]
pub(super) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

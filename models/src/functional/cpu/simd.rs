//! The vectors that the processor has, found at run time.

use std::sync::LazyLock;

use pulp::{Scalar, Simd, WithSimd};

/// Runs the code with the processor's vectors.
#[inline]
pub(super) fn dispatched<W: WithSimd>(code: W) -> W::Output {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return Simd::vectorize(simd, code);
    }
    #[cfg(target_arch = "aarch64")]
    if let Some(simd) = pulp::aarch64::Neon::try_new() {
        return Simd::vectorize(simd, code);
    }
    code.with_simd(Scalar)
}

/// Code that the compiler turns into vectors, for each kind of processor: plain loops that are inlined into it.
pub(super) trait Kernel {
    /// What it gives.
    type Output;

    /// Runs it; with `FMA` the processor multiplies and adds in one.
    fn run<const FMA: bool>(self) -> Self::Output;
}

struct Plain<K>(K);

impl<K: Kernel> WithSimd for Plain<K> {
    type Output = K::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> K::Output {
        if S::F32_LANES > 1 { self.0.run::<true>() } else { self.0.run::<false>() }
    }
}

/// Runs the kernel.
#[inline]
pub(super) fn vectorised<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if wide() {
        // SAFETY: the processor has AVX-512 and what came before it.
        #[allow(unsafe_code)]
        return unsafe { at_full_width(kernel) };
    }
    dispatched(Plain(kernel))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,fma")]
fn at_full_width<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<true>()
}

/// `a * b + c`.
#[inline(always)]
pub(super) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Whether there are vectors of sixteen 32-bit numbers: AVX-512, as all processors have it that came after the first two kinds.
#[inline]
pub(super) fn wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static WIDE: LazyLock<bool> = LazyLock::new(|| {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("fma")
        });
        *WIDE
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// How many 32-bit numbers a vector holds; 0 where there are none.
pub(super) fn lanes() -> usize {
    static LANES: LazyLock<usize> = LazyLock::new(|| if wide() { 16 } else { dispatched(Lanes) });
    if *LANES > 1 { *LANES } else { 0 }
}

/// Sixteen sums in one, in pairs: the same on every processor.
#[inline(always)]
pub(super) fn folded(sums: [f32; 16]) -> f32 {
    let pair = |at: usize| (sums[at] + sums[at + 8]) + (sums[at + 4] + sums[at + 12]);
    (pair(0) + pair(2)) + (pair(1) + pair(3))
}

/// The sum of `term` over sixteen interleaved parts of two slices of one length, folded at the end.
#[inline(always)]
pub(super) fn summed(a: &[f32], b: &[f32], mut term: impl FnMut(f32, f32, f32) -> f32) -> f32 {
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    let mut sums = [0.0; 16];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            sums[lane] = term(sums[lane], a[lane], b[lane]);
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] = term(sums[lane], *a, *b);
    }
    folded(sums)
}

/// The largest; what is not a number does not count, and nothing is -inf.
#[inline(always)]
pub(super) fn largest(x: &[f32]) -> f32 {
    let (whole, rest) = x.as_chunks::<16>();
    let mut most = [f32::NEG_INFINITY; 16];
    for x in whole {
        for lane in 0..16 {
            most[lane] = if x[lane] > most[lane] { x[lane] } else { most[lane] };
        }
    }
    most.iter().chain(rest).fold(f32::NEG_INFINITY, |most, x| if *x > most { *x } else { most })
}

//! `torch.binomial`: how many of a number of trials succeed.

use crate::error::ParameterError;
use crate::generator::Generator;
use crate::real::Wide;
use crate::real::sealed::Compute;

/// `torch.binomial(counts, probabilities)` of two tensors of one shape: each the number of successes among so many trials. The
/// longer one's further elements count for nothing.
///
/// Where fewer than 10 are expected (of the rarer of success and failure), by waiting times, else by Hörmann's transformed
/// rejection (1993), with `f64` values of [`rand`](crate::rand). The formula: `sample_binomial` of ATen/native/Distributions.h;
/// `PyTorch` has it for `f32` and `f64`, as here, and computes part of it in that type.
///
/// ```
/// use rekindle_random::{Generator, binomial};
///
/// assert_eq!(binomial(&mut Generator::new(0), &[2.0_f32; 3], &[0.25; 3])?, [1.0, 0.0, 1.0]);
/// # Ok::<(), rekindle_random::ParameterError>(())
/// ```
///
/// # Errors
/// If a count or a probability is not a number. Nothing is drawn then; `PyTorch` gives such an element back.
pub fn binomial<T: Wide>(
    generator: &mut Generator,
    counts: &[T],
    probabilities: &[T],
) -> Result<Vec<T>, ParameterError> {
    let pairs = || counts.iter().zip(probabilities).map(|(count, p)| ((*count).into(), (*p).into()));
    for (count, p) in pairs() {
        let (count, p): (f64, f64) = (count, p);
        if count.is_nan() || p.is_nan() {
            return Err(ParameterError::Binomial { count, p });
        }
    }
    Ok(pairs().map(|(count, p)| T::nearest(sample::<T>(generator, count, p))).collect())
}

fn sample<T: Wide>(generator: &mut Generator, count: f64, p: f64) -> f64 {
    if count <= 0.0 || p <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return count;
    }
    if p <= 0.5 {
        return rarer::<T>(generator, count, p);
    }
    count - rarer::<T>(generator, count, round::<T>(1.0 - p))
}

/// With a probability of at most 1/2.
fn rarer<T: Wide>(generator: &mut Generator, count: f64, p: f64) -> f64 {
    if round::<T>(count * p) >= 10.0 {
        by_rejection::<T>(generator, count, p)
    } else {
        by_waiting_times::<T>(generator, count, p)
    }
}

fn round<T: Wide>(value: f64) -> f64 {
    T::nearest(value).into()
}

fn by_waiting_times<T: Wide>(generator: &mut Generator, count: f64, p: f64) -> f64 {
    let ln_failure: f64 = T::log1p(T::nearest(-p)).into();
    let (mut trials, mut successes) = (0.0, 0.0);
    loop {
        trials += (f64::draw(generator).ln() / ln_failure).ceil();
        if trials > count {
            return successes;
        }
        successes += 1.0;
    }
}

/// The sums of the upper bound's logarithms, in `f64` where a factor is, else rounded to `T` on the way.
#[expect(clippy::many_single_char_names, reason = "operation by operation, with their names")]
fn by_rejection<T: Wide>(generator: &mut Generator, count: f64, p: f64) -> f64 {
    let variance = round::<T>(round::<T>(count * p) * round::<T>(1.0 - p));
    let deviation = round::<T>(variance.sqrt());
    let b = 1.15 + 2.53 * deviation;
    let a = -0.0873 + 0.0248 * b + 0.01 * p;
    let c = round::<T>(count * p) + 0.5;
    let v_r = 0.92 - 4.2 / b;
    let r = round::<T>(p / round::<T>(1.0 - p));
    let alpha = (2.83 + 5.1 / b) * deviation;
    let m = round::<T>(round::<T>(count + 1.0) * p).floor();
    loop {
        let u = f64::draw(generator) - 0.5;
        let v = f64::draw(generator);
        let us = 0.5 - u.abs();
        let k = round::<T>(((2.0 * a / us + b) * u + c).floor());
        if k < 0.0 || k > count {
            continue;
        }
        if us >= 0.07 && v <= v_r {
            return k;
        }
        let left = round::<T>(round::<T>(count - k) + 1.0);
        let bound = (m + 0.5) * ((m + 1.0) / (r * (count - m + 1.0))).ln()
            + round::<T>(count + 1.0) * ((count - m + 1.0) / left).ln()
            + (k + 0.5) * (r * left / round::<T>(k + 1.0)).ln()
            + stirling_tail(m)
            + stirling_tail(count - m)
            - stirling_tail(k)
            - stirling_tail(round::<T>(count - k));
        if (v * alpha / (a / (us * us) + b)).ln() <= bound {
            return k;
        }
    }
}

/// What Stirling's formula for the logarithm of a factorial leaves over.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 10 and not negative")]
fn stirling_tail(k: f64) -> f64 {
    const TAILS: [f64; 10] = [
        0.0810614667953272,
        0.0413406959554092,
        0.0276779256849983,
        0.02079067210376509,
        0.0166446911898211,
        0.0138761288230707,
        0.0118967099458917,
        0.0104112652619720,
        0.00925546218271273,
        0.00833056343336287,
    ];
    if let Some(tail) = TAILS.get(k as usize) {
        return *tail;
    }
    let square = (k + 1.0) * (k + 1.0);
    (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / 1260.0 / square) / square) / (k + 1.0)
}

//! `ctc_loss`: the loss of scores over time by the targets that they may be read as.
//!
//! Alpha and beta are those of Graves et al., "Connectionist Temporal Classification" (2006), computed on the CPU in the type of the
//! scores and in PyTorch's order. Equations 6 to 16 are theirs.

use burn::tensor::{DType, Device};

use super::array::{Array, Kind, refused};
use super::autocast::single;
use super::index::signed;
use super::loss::Reduction;
use crate::Result;

/// What [`Array::ctc_loss`] is told beside the scores and the targets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ctc {
    /// The class that stands for nothing. Default 0.
    pub blank: usize,
    /// Default: the mean, of losses over the lengths of their targets.
    pub reduction: Reduction,
    /// Whether a loss that is infinite, where a target is too long for its input, counts 0. Default false.
    pub zero_infinity: bool,
}

/// The targets of one sample: every second state is one, the others are blank.
struct Path<'a> {
    targets: &'a [usize],
    blank: usize,
}

impl Path<'_> {
    fn at(&self, state: usize) -> usize {
        if state.is_multiple_of(2) { self.blank } else { self.targets[state / 2] }
    }

    fn states(&self) -> usize {
        2 * self.targets.len() + 1
    }

    /// Whether one may come from two states before: not over a blank between equal ones.
    fn leaps(&self, one: usize, other: usize) -> bool {
        self.at(one) != self.at(other)
    }
}

/// Both recursions in one type of numbers.
macro_rules! recursions {
    ($name:ident, $real:ty) => {
        mod $name {
            use super::Path;

            const NONE: $real = <$real>::NEG_INFINITY;

            /// `log(exp(a) + exp(b) + exp(c))`.
            fn log_sum(a: $real, b: $real, c: $real) -> $real {
                let mut largest = a;
                for other in [b, c] {
                    if other > largest {
                        largest = other;
                    }
                }
                if largest == NONE {
                    largest = 0.0;
                }
                ((a - largest).exp() + (b - largest).exp() + (c - largest).exp()).ln() + largest
            }

            /// `log(exp(a) + exp(b))`.
            fn log_sum_of_two(a: $real, b: $real) -> $real {
                let largest = a.max(b);
                let largest = if largest == NONE { 0.0 } else { largest };
                ((a - largest).exp() + (b - largest).exp()).ln() + largest
            }

            /// The loss of one sample, whose scores are `[time, classes]`, and the slope of it by each score.
            pub(super) fn sample(scores: &[$real], classes: usize, path: &Path<'_>) -> ($real, Vec<$real>) {
                let (times, states) = (scores.len() / classes, path.states());
                if times == 0 {
                    return (if path.targets.is_empty() { 0.0 } else { <$real>::INFINITY }, Vec::new());
                }
                let score = |time: usize, state: usize| scores[time * classes + path.at(state)];
                let mut alpha = vec![NONE; times * states];
                alpha[0] = score(0, 0);
                if states > 1 {
                    alpha[1] = score(0, 1);
                }
                for time in 1..times {
                    for state in 0..states {
                        let before = |back: usize| alpha[(time - 1) * states + state - back];
                        let two = if state > 0 { before(1) } else { NONE };
                        let three = if state > 1 && path.leaps(state, state - 2) { before(2) } else { NONE };
                        alpha[time * states + state] = log_sum(before(0), two, three) + score(time, state);
                    }
                }
                let last = &alpha[(times - 1) * states..];
                let likelihood = if states == 1 { last[0] } else { log_sum_of_two(last[states - 1], last[states - 2]) };
                let loss = -likelihood;

                // Alpha times beta, summed over the states of each class.
                let mut sums = vec![NONE; scores.len()];
                let mut beta = vec![NONE; states];
                for time in (0..times).rev() {
                    let after = beta.clone();
                    for state in (0..states).rev() {
                        beta[state] = if time + 1 == times {
                            if state + 2 < states { NONE } else { score(time, state) }
                        } else {
                            let ahead = |forward: usize| after.get(state + forward).copied().unwrap_or(NONE);
                            let three =
                                if state + 2 < states && path.leaps(state, state + 2) { ahead(2) } else { NONE };
                            log_sum(ahead(0), ahead(1), three) + score(time, state)
                        };
                        let both = alpha[time * states + state] + beta[state];
                        let sum = &mut sums[time * classes + path.at(state)];
                        *sum = if *sum == NONE { both } else { log_sum_of_two(*sum, both) };
                    }
                }
                let slope = |(sum, score): (&$real, &$real)| score.exp() - (sum + loss - score).exp();
                (loss, sums.iter().zip(scores).map(slope).collect())
            }
        }
    };
}

recursions!(of_single, f32);
recursions!(of_double, f64);

impl Array {
    /// `ctc_loss(self, targets, input_lengths, target_lengths, blank, reduction, zero_infinity)`: this is `[time, batch, classes]` or
    /// `[time, classes]`, logarithms of probabilities; targets are `[batch, length]`, or one after the other. The gradient is
    /// PyTorch's: that of scores before a `log_softmax`. Where the loss is infinite no gradient goes through, and PyTorch's is none.
    ///
    /// # Errors
    /// When shapes and lengths do not go together, a target is blank or no class, or the scores have 16 bits.
    pub fn ctc_loss(
        &self,
        targets: &Array,
        input_lengths: &[usize],
        target_lengths: &[usize],
        how: &Ctc,
    ) -> Result<Self> {
        let [scores] = &single([self])?;
        scores.aligned(targets, input_lengths, target_lengths, how)
    }

    fn aligned(&self, targets: &Array, input_lengths: &[usize], target_lengths: &[usize], how: &Ctc) -> Result<Self> {
        let wrong = |reason: String| refused("ctc_loss", reason);
        if self.rank() == 2 {
            let loss = self.unsqueeze(1)?.aligned(&targets.lifted(1)?, input_lengths, target_lengths, how)?;
            return if loss.rank() == 1 { loss.squeeze(Some(&[0])) } else { Ok(loss) };
        }
        let &[times, batch, classes] = self.shape() else {
            return Err(wrong(format!("scores are [time, batch, classes], not {:?}", self.shape())));
        };
        if self.numel() == 0 {
            return Err(wrong(format!("there must be scores, and {:?} has none", self.shape())));
        }
        if !matches!(self.dtype(), DType::F32 | DType::F64) || targets.kind() != Kind::Int {
            let (own, other) = (self.dtype_name(), targets.dtype_name());
            return Err(wrong(format!(
                "it is not implemented for {own} and {other}, as in PyTorch on the CPU: scores are float32 or float64, targets whole numbers"
            )));
        }
        if input_lengths.len() != batch || target_lengths.len() != batch || how.blank >= classes {
            let lengths = [input_lengths.len(), target_lengths.len()];
            return Err(wrong(format!(
                "{lengths:?} lengths and blank {} do not fit {batch} samples of {classes} classes",
                how.blank
            )));
        }
        if let Some(length) = input_lengths.iter().find(|&&length| length > times) {
            return Err(wrong(format!("an input of {length} is longer than the {times} there are")));
        }
        let rows = rows(targets, target_lengths)?;
        for &class in rows.iter().flatten() {
            if class >= classes || class == how.blank {
                return Err(wrong(format!(
                    "{class} is no target: there are {classes} classes, and {} is blank",
                    how.blank
                )));
            }
        }
        let scores = self.detach().floats()?;
        let (mut losses, mut slopes) = (Vec::with_capacity(batch), vec![0.0; scores.len()]);
        for (sample, (targets, &length)) in rows.iter().zip(input_lengths).enumerate() {
            let path = Path { targets, blank: how.blank };
            let own = |time: usize| (time * batch + sample) * classes;
            let part: Vec<f64> = (0..length).flat_map(|time| scores[own(time)..own(time) + classes].to_vec()).collect();
            let (loss, slope) = self.one(&part, classes, &path);
            let counted = !(how.zero_infinity && loss == f64::INFINITY);
            losses.push(if counted { loss } else { 0.0 });
            if counted {
                for (time, slope) in slope.chunks_exact(classes).enumerate() {
                    slopes[own(time)..own(time) + classes].copy_from_slice(slope);
                }
            }
        }
        let device = self.device();
        let value = Array::from_floats(&losses, &[batch], self.dtype(), &device)?;
        let slopes = Array::from_floats(&slopes, self.shape(), self.dtype(), &device)?;
        let losses = self.first_order(&value, |change| change.mul(&slopes)?.sum(&[0, 2], false))?;
        match how.reduction {
            Reduction::None => Ok(losses),
            Reduction::Sum => losses.sum(&[], false),
            Reduction::Mean => losses.div(&lengths(target_lengths, self.dtype(), &device)?)?.mean(&[], false),
        }
    }

    /// One sample in the type of these scores.
    #[allow(clippy::cast_possible_truncation)] // they are of that type
    fn one(&self, scores: &[f64], classes: usize, path: &Path<'_>) -> (f64, Vec<f64>) {
        if self.dtype() == DType::F64 {
            return of_double::sample(scores, classes, path);
        }
        let scores: Vec<f32> = scores.iter().map(|&score| score as f32).collect();
        let (loss, slopes) = of_single::sample(&scores, classes, path);
        (f64::from(loss), slopes.into_iter().map(f64::from).collect())
    }
}

/// What losses are divided by: the lengths of the targets, at least 1.
fn lengths(targets: &[usize], dtype: DType, device: &Device) -> Result<Array> {
    let lengths: Vec<i64> = targets.iter().map(|&length| signed(length.max(1))).collect();
    Array::from_ints(&lengths, &[lengths.len()], device)?.cast(dtype)
}

/// The targets of each sample.
fn rows(targets: &Array, lengths: &[usize]) -> Result<Vec<Vec<usize>>> {
    let wrong = || refused("ctc_loss", format!("targets of {:?} have not the lengths {lengths:?}", targets.shape()));
    let numbers =
        targets.ints()?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>().map_err(|_| wrong())?;
    let (mut start, mut rows) = (0, Vec::with_capacity(lengths.len()));
    for &length in lengths {
        let width = if let &[_, width] = targets.shape() { width } else { length };
        let row = if length > width { None } else { numbers.get(start..start + length) };
        rows.push(row.ok_or_else(wrong)?.to_vec());
        start += width;
    }
    if targets.rank() != 2 && start != numbers.len() { Err(wrong()) } else { Ok(rows) }
}

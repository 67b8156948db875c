//! Losses of `float16` and `bfloat16`, rounded where PyTorch's kernels round: a log-softmax has its sum and the sum's logarithm in
//! the type of its input, a mean of log-probabilities adds them up in theirs. What is rounded has the gradient of what was not.

use burn::tensor::{Bool, DType, FloatDType, Tensor, activation, bf16, f16};

use crate::optim::Real;
use crate::parameters::in_host_memory;

/// Whether it is a type of 16 bits.
pub(super) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// In single precision.
pub(super) fn wide<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.cast(FloatDType::F32)
}

/// A tensor of single precision with a number of another's in its place: its gradient stays.
fn standing_for<const D: usize>(number: Tensor<D>, tensor: Tensor<D>) -> Tensor<D> {
    tensor.clone() + (number - tensor.detach())
}

/// `log_softmax(logits, 1)`.
pub(super) fn log_softmax<const D: usize>(logits: Tensor<D>) -> Tensor<D> {
    if !is_half(logits.dtype()) {
        return activation::log_softmax(logits, 1);
    }
    let dtype = FloatDType::from(logits.dtype());
    let rounded = |tensor: Tensor<D>| wide(tensor.cast(dtype));
    let logits = wide(logits);
    let values = logits.clone().detach();
    let shifted = values.clone() - values.max_dim(1);
    let sum = shifted.clone().exp().sum_dim(1);
    // Along another dimension than the last PyTorch rounds the result only.
    let log = if D == 2 { rounded(rounded(sum).log()) } else { sum.log() };
    let result = rounded(shifted - log);
    // Its backward pass goes by the result: `grad - exp(result) * sum(grad)`.
    let graph = logits.clone() - (result.clone().exp() * logits).sum_dim(1);
    standing_for(result, graph).cast(dtype)
}

/// `values.mean()`.
pub(super) fn mean<const D: usize>(values: Tensor<D>) -> Tensor<1> {
    let dtype = values.dtype();
    if is_half(dtype) { wide(values).mean().cast(FloatDType::from(dtype)) } else { values.mean() }
}

/// `F.binary_cross_entropy_with_logits`, whose gradient is `(sigmoid(logits) - targets) / count`.
pub(super) fn bce_with_logits<const D: usize>(logits: Tensor<D>, targets: Tensor<D>) -> Tensor<1> {
    let dtype = FloatDType::from(logits.dtype());
    let rounded = |tensor: Tensor<D>| tensor.cast(dtype);
    let values = logits.clone().detach();
    let of_ones = rounded(activation::log_sigmoid(wide(values.clone())));
    let loss = mean((-targets.clone() + 1.0) * values.clone() - of_ones);
    let slope = rounded(activation::sigmoid(wide(values))) - targets;
    let graph = (wide(logits) * wide(slope)).mean();
    standing_for(wide(loss), graph).cast(dtype)
}

/// The mean loss of targets of which each has this log-probability, or 0 where it does not count. In host memory it is added up as
/// PyTorch's kernel for the CPU does it, elsewhere in single precision, as that for GPUs.
pub(super) fn nll<const D: usize>(of_targets: Tensor<D>, counts: Tensor<D, Bool>) -> Tensor<1> {
    let dtype = of_targets.dtype();
    let of_targets = wide(of_targets);
    let counted = wide(wide(counts.clone().float()).sum().cast(FloatDType::from(dtype)));
    let mean = -of_targets.clone().sum() / counted.clone();
    let here = in_host_memory(&of_targets.device().without_autodiff());
    let values =
        here.then(|| Some((of_targets.without_autodiff().try_into_data().ok()?, counts.try_into_data().ok()?)));
    let mean = match values.flatten() {
        Some((values, counts)) => {
            let sum = match dtype {
                DType::F16 => cascade::<f16>(&values.iter().collect::<Vec<_>>(), counts.iter()),
                _ => cascade::<bf16>(&values.iter().collect::<Vec<_>>(), counts.iter()),
            };
            standing_for(counted.full_like(sum) / counted, mean)
        }
        None => mean,
    };
    mean.cast(FloatDType::from(dtype))
}

/// What `nll_loss` adds up of the losses of targets: sums of sums, each in the type of the elements.
fn cascade<T: Real>(values: &[f64], counts: impl Iterator<Item = bool>) -> f64 {
    const LEVELS: usize = 8;
    let bits = usize::BITS - values.len().saturating_sub(1).leading_zeros();
    let power = 4.max(bits as usize / LEVELS);
    let mask = (1_usize << power) - 1;
    let mut sums = [T::of(0.0); LEVELS];
    for (place, (&value, counts)) in values.iter().zip(counts).enumerate() {
        if !counts {
            continue;
        }
        sums[0] = sums[0] - T::of(value);
        for level in 0..LEVELS - 1 {
            if place & mask.checked_shl(u32::try_from(level * power).unwrap_or(u32::MAX)).unwrap_or(0) != 0 {
                break;
            }
            sums[level + 1] = sums[level + 1] + sums[level];
            sums[level] = T::of(0.0);
        }
    }
    sums.into_iter().fold(T::of(0.0), |sum, part| sum + part).double()
}

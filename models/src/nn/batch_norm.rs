//! `BatchNorm`: `torch.nn.BatchNorm1d`, `BatchNorm2d` and `BatchNorm3d` with PyTorch's running statistics.
//!
//! Differs from burn-nn's in three points: the running variance is updated from the unbiased variance of the batch, the
//! batches are counted, and an update is there at once.

use burn::module::{Flag, Module, Param};
use burn::tensor::{Device, FloatDType, Int, Tensor, module};

use super::buffer::Buffer;
use super::half::is_half;
use crate::error::{ModelError, Result};

/// How a [`BatchNorm`] is made.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BatchNormConfig {
    /// The number of channels.
    pub num_features: usize,
    /// What is added to the variance. Default 1e-5.
    pub eps: f64,
    /// The weight of a new batch in the running statistics; `None` makes them the mean over all batches. Default 0.1.
    pub momentum: Option<f64>,
}

impl BatchNormConfig {
    /// For this many channels, otherwise PyTorch's defaults.
    #[must_use]
    pub fn new(num_features: usize) -> Self {
        BatchNormConfig { num_features, eps: 1e-5, momentum: Some(0.1) }
    }

    /// With another `eps`.
    #[must_use]
    pub fn with_eps(self, eps: f64) -> Self {
        BatchNormConfig { eps, ..self }
    }

    /// With another momentum; `None` makes the running statistics the mean over all batches.
    #[must_use]
    pub fn with_momentum(self, momentum: Option<f64>) -> Self {
        BatchNormConfig { momentum, ..self }
    }

    /// The layer on the device, as PyTorch begins it: `weight` 1, `bias` 0, mean 0, variance 1, no batch counted.
    #[must_use]
    pub fn init(&self, device: &Device) -> BatchNorm {
        let shape = [self.num_features];
        BatchNorm {
            weight: Param::from_tensor(Tensor::ones(shape, device)),
            bias: Param::from_tensor(Tensor::zeros(shape, device)),
            running_mean: Buffer::new(Tensor::zeros(shape, device)),
            running_var: Buffer::new(Tensor::ones(shape, device)),
            num_batches_tracked: Buffer::new(Tensor::zeros([1], device)),
            training: Param::from_bool(true),
            momentum: self.momentum,
            eps: self.eps,
        }
    }
}

/// Normalises each channel over the batch in training, and by the running statistics in evaluation.
///
/// It trains where Burn's layers do: on an autodiff device while its flag is enabled (`freeze()` clears it). `valid()` is
/// PyTorch's `eval()`.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// The factor of each channel, `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// What is added to each channel, `[channels]`.
    pub bias: Param<Tensor<1>>,
    /// The running mean, `[channels]`.
    pub running_mean: Buffer<Tensor<1>>,
    /// The running variance, unbiased, `[channels]`.
    pub running_var: Buffer<Tensor<1>>,
    /// How many batches it was trained on, `[1]`; in PyTorch a scalar.
    pub num_batches_tracked: Buffer<Tensor<1, Int>>,
    /// Whether it trains on an autodiff device.
    pub training: Param<Flag>,
    /// The weight of a new batch; `None` for the mean over all batches.
    pub momentum: Option<f64>,
    /// What is added to the variance.
    pub eps: f64,
}

impl BatchNorm {
    /// Normalises `[batch, channels, ...]`; the output has the same shape.
    ///
    /// # Errors
    /// When the second dimension is not the number of channels; and in training on a single value per channel, which
    /// PyTorch refuses, too: it has no variance.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Result<Tensor<D>> {
        let (device, dims) = (input.device(), input.dims());
        let channels = self.weight.val().shape().num_elements();
        let refused = |what: &str| ModelError::Layer {
            layer: "BatchNorm",
            reason: format!("it needs {what}, which a batch of {dims:?} does not have"),
        };
        if dims.get(1) != Some(&channels) {
            return Err(refused(&format!("{channels} channels in the second dimension")));
        }
        if !(device.is_autodiff() && self.training.is_enabled()) {
            let (mean, var) = (self.running_mean.value(), self.running_var.value());
            let (mean, var) = (mean.to_device(&device), var.to_device(&device));
            if is_half(input.dtype()) {
                let dtype = FloatDType::from(input.dtype());
                let [weight, bias, mean, var] =
                    [self.weight.val(), self.bias.val(), mean, var].map(|tensor| tensor.cast(FloatDType::F32));
                return Ok(
                    module::batch_norm(input.cast(FloatDType::F32), weight, bias, mean, var, self.eps).cast(dtype)
                );
            }
            return Ok(module::batch_norm(input, self.weight.val(), self.bias.val(), mean, var, self.eps));
        }
        let count = dims.iter().product::<usize>() / channels.max(1);
        if count <= 1 {
            return Err(refused("more than one value per channel in training"));
        }
        if is_half(input.dtype()) {
            return Ok(self.forward_half(input, count));
        }
        let batch = module::batch_norm_train(input, self.weight.val(), self.bias.val(), self.eps);
        self.track(&batch.mean.detach(), &batch.variance.detach(), count);
        Ok(batch.output)
    }

    /// As PyTorch trains on a batch of `float16` or `bfloat16`: mean, sum of squares and inverse deviation are of that type, and
    /// what is made with them is computed in `float32` and rounded once.
    fn forward_half<const D: usize>(&self, input: Tensor<D>, count: usize) -> Tensor<D> {
        let dtype = FloatDType::from(input.dtype());
        let rounded = |number: Tensor<1>| number.cast(dtype).cast(FloatDType::F32);
        let x = input.cast(FloatDType::F32);
        let mut shape = [1; D];
        shape[1] = x.dims()[1];
        let each = |number: Tensor<1>| number.reshape(shape);
        #[allow(clippy::cast_precision_loss)] // a count of values
        let count_of = count as f64;
        let sum = |x: Tensor<D>| x.swap_dims(0, 1).flatten::<2>(1, D - 1).sum_dim(1).flatten::<1>(0, 1);
        // What is rounded has the gradient of what was not.
        let with_gradient = |exact: Tensor<1>| exact.clone() + (rounded(exact.clone()) - exact).detach();
        let mean = with_gradient(sum(x.clone()) / count_of);
        let squares = with_gradient(sum((x.clone() - each(mean.clone())).square()));
        let inverse = with_gradient((squares.clone() / count_of + self.eps).sqrt().recip());
        let scale = inverse * self.weight.val().cast(FloatDType::F32);
        let shift = self.bias.val().cast(FloatDType::F32) - mean.clone() * scale.clone();
        let output = x * each(scale) + each(shift);
        self.track(&mean.detach().cast(dtype), &(squares.detach() / count_of).cast(dtype), count);
        output.cast(dtype)
    }

    /// Counts the batch and takes its statistics in: `momentum * batch + (1 - momentum) * running`.
    fn track(&self, mean: &Tensor<1>, biased_var: &Tensor<1>, count: usize) {
        let batches = self.num_batches_tracked.value().add_scalar(1);
        self.num_batches_tracked.set(batches.clone());
        #[allow(clippy::cast_precision_loss)] // beyond 2^53 values the factor is 1 in any case
        let unbiased = biased_var.clone().mul_scalar(count as f64 / (count as f64 - 1.0));
        let take = |running: &Buffer<Tensor<1>>, batch: Tensor<1>| {
            let old = running.value().to_device(&batch.device());
            let new = if let Some(momentum) = self.momentum {
                batch.mul_scalar(momentum).add(old.mul_scalar(1.0 - momentum))
            } else {
                // The mean over all batches: the n-th counts 1/n.
                let share = batches.clone().float().recip().to_device(&batch.device());
                batch.mul(share.clone()).add(old.mul(share.neg().add_scalar(1.0)))
            };
            running.set(new.detach());
        };
        take(&self.running_mean, mean.clone());
        take(&self.running_var, unbiased);
    }
}

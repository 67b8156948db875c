//! `BatchNorm`: `torch.nn.BatchNorm1d`, `BatchNorm2d` and `BatchNorm3d` with PyTorch's running statistics.
//!
//! Differs from burn-nn's in three points: the running variance is updated from the unbiased variance of the batch, the
//! batches are counted, and an update is there at once.

use burn::module::{Flag, Param};
use burn::tensor::{DType, Device, FloatDType, Int, Tensor, module};

use super::buffer::Buffer;
use super::module::{Forward, module, options, refused};
use super::norm::filled;
use crate::Result;
use crate::functional::{Array, Running, is_narrow};
use crate::init::Init;

options! {
    /// `torch.nn.BatchNorm1d(num_features, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True, bias=True)`, and 2d, 3d.
    BatchNormConfig(
        /// The number of channels.
        num_features: usize,
    ) {
        /// What is added to the variance. Default 1e-5.
        eps / with_eps: f64 = 1e-5,
        /// The weight of a new batch in the running statistics; `None` makes them the mean over all batches. Default 0.1.
        momentum / with_momentum: impl Into<Option<f64>> => Option<f64> = Some(0.1),
        /// Whether each channel has a factor, and something that is added. Default true.
        affine / with_affine: bool = true,
        /// Whether running statistics are kept; without, it normalises by the batch in evaluation, too. Default true.
        track_running_stats / with_track_running_stats: bool = true,
        /// Whether something is added to each channel that has a factor. Default true.
        bias / with_bias: bool = true,
    }
}

impl BatchNormConfig {
    /// The layer as PyTorch begins it: `weight` 1, `bias` 0, mean 0, variance 1, no batch counted.
    ///
    /// # Errors
    /// None in truth.
    pub fn init(&self, init: &mut Init<'_>) -> Result<BatchNorm> {
        let shape = [self.num_features];
        let weight = filled(init, self.affine, shape, 1.0)?;
        let bias = filled(init, self.affine && self.bias, shape, 0.0)?;
        let (device, kept) = (init.device(), self.track_running_stats);
        Ok(BatchNorm {
            weight,
            bias,
            running_mean: kept.then(|| Buffer::new(Tensor::zeros(shape, device))),
            running_var: kept.then(|| Buffer::new(Tensor::ones(shape, device))),
            num_batches_tracked: kept.then(|| Buffer::new(Tensor::zeros([1], device))),
            training: Param::from_bool(true),
            momentum: self.momentum,
            eps: self.eps,
            channels: self.num_features,
        })
    }
}

/// Normalises each channel over the batch in training, and by the running statistics in evaluation.
///
/// It trains where Burn's layers do: on an autodiff device while its flag is enabled (`freeze()` clears it). `valid()` is
/// PyTorch's `eval()`.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// The factor of each channel, `[channels]`.
    pub weight: Option<Param<Tensor<1>>>,
    /// What is added to each channel, `[channels]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// The running mean, `[channels]`.
    pub running_mean: Option<Buffer<Tensor<1>>>,
    /// The running variance, unbiased, `[channels]`.
    pub running_var: Option<Buffer<Tensor<1>>>,
    /// How many batches it was trained on, `[1]`; in PyTorch a scalar.
    pub num_batches_tracked: Option<Buffer<Tensor<1, Int>>>,
    /// Whether it trains on an autodiff device.
    pub training: Param<Flag>,
    /// The weight of a new batch; `None` for the mean over all batches.
    pub momentum: Option<f64>,
    /// What is added to the variance.
    pub eps: f64,
    channels: usize,
}

module!(BatchNorm {
    weight, bias, running_mean, running_var, num_batches_tracked, training; momentum, eps, channels
});

/// `torch.nn.BatchNorm1d`: `[batch, channels]` or `[batch, channels, length]`.
pub type BatchNorm1d = BatchNorm;
/// `torch.nn.BatchNorm2d`: `[batch, channels, height, width]`.
pub type BatchNorm2d = BatchNorm;
/// `torch.nn.BatchNorm3d`: `[batch, channels, depth, height, width]`.
pub type BatchNorm3d = BatchNorm;
/// `torch.nn.SyncBatchNorm`: in one process it is a `BatchNorm`, of any number of dimensions, with the same keys. So there is nothing to
/// convert (`convert_sync_batchnorm`); statistics over several processes are not there.
pub type SyncBatchNorm = BatchNorm;

impl BatchNorm {
    /// The factors and what is added; 1 and 0 where there are none.
    fn affine(&self, device: &Device, dtype: DType) -> [Tensor<1>; 2] {
        let shape = [self.channels];
        [
            self.weight.as_ref().map_or_else(|| Tensor::ones(shape, (device, dtype)), Param::val),
            self.bias.as_ref().map_or_else(|| Tensor::zeros(shape, (device, dtype)), Param::val),
        ]
    }

    /// Normalises `[batch, channels, ...]`; the output has the same shape.
    ///
    /// # Errors
    /// When the second dimension is not the number of channels; and in training on a single value per channel, which
    /// PyTorch refuses, too: it has no variance.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Result<Tensor<D>> {
        let (device, dims) = (input.device(), input.dims());
        let channels = self.channels;
        let refused = |what: &str| {
            super::module::refused("BatchNorm", format!("it needs {what}, which a batch of {dims:?} does not have"))
        };
        if dims.get(1) != Some(&channels) {
            return Err(refused(&format!("{channels} channels in the second dimension")));
        }
        if dims.contains(&0) {
            return self.nothing(input);
        }
        if is_narrow(input.dtype()) && self.is_single() {
            // Within autocast: statistics are of the parameters' type.
            let dtype = FloatDType::from(input.dtype());
            return Ok(self.forward(input.cast(FloatDType::F32))?.cast(dtype));
        }
        let [weight, bias] = self.affine(&device, input.dtype());
        let trains = device.is_autodiff() && self.training.is_enabled();
        if let (false, Some(mean), Some(var)) = (trains, &self.running_mean, &self.running_var) {
            let (mean, var) = (mean.value().to_device(&device), var.value().to_device(&device));
            if is_narrow(input.dtype()) {
                let dtype = FloatDType::from(input.dtype());
                let [weight, bias, mean, var] = [weight, bias, mean, var].map(|tensor| tensor.cast(FloatDType::F32));
                return Ok(
                    module::batch_norm(input.cast(FloatDType::F32), weight, bias, mean, var, self.eps).cast(dtype)
                );
            }
            let of = |tensor: &Tensor<1>| Array::from_float(tensor.clone());
            let running = Running { mean: of(&mean), var: of(&var) };
            let own = Array::from_float(input.clone()).batch_norm_by(&running, &of(&weight), &of(&bias), self.eps);
            if let Some(normal) = own {
                return normal.into_float();
            }
            return Ok(module::batch_norm(input, weight, bias, mean, var, self.eps));
        }
        let count = dims.iter().product::<usize>() / channels.max(1);
        if count <= 1 && trains {
            return Err(refused("more than one value per channel in training"));
        }
        if is_narrow(input.dtype()) {
            return Ok(self.forward_half(input, [weight, bias], count, trains));
        }
        let [weight, bias] = [weight, bias].map(Array::from_float);
        let [output, mean, variance] = Array::from_float(input).batch_norm_of_batch(&weight, &bias, self.eps)?;
        if trains {
            self.track(&mean.into_float()?, &variance.into_float()?, count);
        }
        output.into_float()
    }

    /// Of a batch of none, as in PyTorch: it is counted, and statistics stay as they are.
    fn nothing<const D: usize>(&self, input: Tensor<D>) -> Result<Tensor<D>> {
        if input.device().is_autodiff()
            && self.training.is_enabled()
            && let Some(counter) = &self.num_batches_tracked
        {
            counter.set(counter.value().add_scalar(1));
        }
        let (x, dtype) = (Array::from_float(input), |x: Array| x.cast(DType::F32));
        let mut shape = vec![1; D];
        shape[1] = self.channels;
        let one = |param: &Param<Tensor<1>>| dtype(Array::from_float(param.val()))?.reshaped(&shape);
        let scaled = self.weight.as_ref().map_or(Ok(x.clone()), |weight| x.mul(&one(weight)?))?;
        let shifted = self.bias.as_ref().map_or(Ok(scaled.clone()), |bias| scaled.add(&one(bias)?))?;
        shifted.cast(x.dtype())?.into_float()
    }

    /// Whether its parameters, or else its statistics, are of `float32`.
    fn is_single(&self) -> bool {
        let weight = self.weight.as_ref().map(|weight| weight.val().dtype());
        let dtype = weight.or_else(|| self.running_mean.as_ref().map(|mean| mean.value().dtype()));
        dtype == Some(DType::F32)
    }

    /// As PyTorch trains on a batch of `float16` or `bfloat16`: mean, sum of squares and inverse deviation are of that type, and
    /// what is made with them is computed in `float32` and rounded once.
    fn forward_half<const D: usize>(
        &self,
        input: Tensor<D>,
        [weight, bias]: [Tensor<1>; 2],
        count: usize,
        trains: bool,
    ) -> Tensor<D> {
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
        let scale = inverse * weight.cast(FloatDType::F32);
        let shift = bias.cast(FloatDType::F32) - mean.clone() * scale.clone();
        let output = x * each(scale) + each(shift);
        if trains {
            self.track(&mean.detach().cast(dtype), &(squares.detach() / count_of).cast(dtype), count);
        }
        output.cast(dtype)
    }

    /// Counts the batch and takes its statistics in: `momentum * batch + (1 - momentum) * running`.
    fn track(&self, mean: &Tensor<1>, biased_var: &Tensor<1>, count: usize) {
        let (Some(counter), Some(running_mean), Some(running_var)) =
            (&self.num_batches_tracked, &self.running_mean, &self.running_var)
        else {
            return;
        };
        let batches = counter.value().add_scalar(1);
        counter.set(batches.clone());
        #[allow(clippy::cast_precision_loss)] // beyond 2^53 values the factor is 1 in any case
        let unbiased = biased_var.clone().mul_scalar(count as f64 / (count as f64 - 1.0));
        let take = |running: &Buffer<Tensor<1>>, batch: Tensor<1>| {
            let old = running.value().to_device(&batch.device());
            let new = if let Some(momentum) = self.momentum {
                batch.mul_scalar(momentum).add(old.mul_scalar(1.0 - momentum))
            } else {
                // The mean over all batches: the n-th counts 1/n.
                let dtype = FloatDType::from(batch.dtype());
                let share = batches.clone().float().cast(dtype).recip().to_device(&batch.device());
                batch.mul(share.clone()).add(old.mul(share.neg().add_scalar(1.0)))
            };
            running.set(new.detach());
        };
        take(running_mean, mean.clone());
        take(running_var, unbiased);
    }
}

impl Forward for BatchNorm {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        macro_rules! of_rank {
            ($($rank:literal),+) => {
                match input.rank() {
                    $($rank => Ok(Array::from_float(self.forward(input.clone().into_float::<$rank>()?)?)),)+
                    _ => Err(refused("BatchNorm", format!("an input of {:?} has not two to five dimensions", input.shape()))),
                }
            };
        }
        of_rank!(2, 3, 4, 5)
    }
}

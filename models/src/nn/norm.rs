//! `LayerNorm`, `RMSNorm`, `GroupNorm`, `InstanceNorm`, `LocalResponseNorm`. `BatchNorm` has a file of its own.

use burn::module::{Flag, Param};
use burn::tensor::{Int, Tensor};

use super::buffer::Buffer;
use super::module::{Forward, keeps_rank, maybe, module, options, refused, rounded, stateless};
use crate::Result;
use crate::functional::{Array, Number, Padding, Running, Windows, signed};
use crate::init::{Init, Rule};

options! {
    /// `torch.nn.LayerNorm(normalized_shape, eps=1e-05, elementwise_affine=True, bias=True)`.
    LayerNormConfig<const D: usize>(
        /// The lengths of the last dimensions, which are normalised together: `[512]`.
        normalized_shape: [usize; D],
    ) {
        /// What is added to the variance. Default 1e-5.
        eps / with_eps: f64 = 1e-5,
        /// Whether each element has a factor. Default true.
        elementwise_affine / with_elementwise_affine: bool = true,
        /// Whether something is added to each element that has a factor. Default true.
        bias / with_bias: bool = true,
    }

    /// `torch.nn.RMSNorm(normalized_shape, eps=None, elementwise_affine=True)`.
    RMSNormConfig<const D: usize>(
        /// The lengths of the last dimensions, which are normalised together: `[512]`.
        normalized_shape: [usize; D],
    ) {
        /// What is added to the mean square. Default `None`: the element type's own, 1.2e-7 for `float32`.
        eps / with_eps: Option<f64> = None,
        /// Whether each element has a factor. Default true.
        elementwise_affine / with_elementwise_affine: bool = true,
    }

    /// `torch.nn.GroupNorm(num_groups, num_channels, eps=1e-05, affine=True, bias=True)`.
    GroupNormConfig(
        /// How many groups the channels make.
        num_groups: usize,
        /// How many channels there are.
        num_channels: usize,
    ) {
        /// What is added to the variance. Default 1e-5.
        eps / with_eps: f64 = 1e-5,
        /// Whether each channel has a factor, and something that is added. Default true.
        affine / with_affine: bool = true,
        /// Whether something is added to each channel that has a factor. Default true.
        bias / with_bias: bool = true,
    }

    /// `torch.nn.InstanceNorm1d(num_features, eps=1e-05, momentum=0.1, affine=False, track_running_stats=False, bias=True)`, and
    /// `InstanceNorm2d`, `InstanceNorm3d`. `N` is two more than there are dimensions.
    InstanceNormConfig<const N: usize>(
        /// How many channels there are.
        num_features: usize,
    ) {
        /// What is added to the variance. Default 1e-5.
        eps / with_eps: f64 = 1e-5,
        /// The weight of a new batch in the running statistics; `None` is 0, as in PyTorch: they stay. Default 0.1.
        momentum / with_momentum: impl Into<Option<f64>> => Option<f64> = Some(0.1),
        /// Whether each channel has a factor, and something that is added. Default false.
        affine / with_affine: bool = false,
        /// Whether running statistics are kept, by which it normalises in evaluation. Default false.
        track_running_stats / with_track_running_stats: bool = false,
        /// Whether something is added to each channel that has a factor. Default true.
        bias / with_bias: bool = true,
    }
}

/// `torch.nn.LayerNorm`: the last `D` dimensions less their mean, over their deviation.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use rekindle_models::init::Init;
/// use rekindle_models::nn::LayerNormConfig;
///
/// let device = Device::flex();
/// let layer = LayerNormConfig::new([8]).init(&mut Init::seeded(&device, 0))?;
/// assert_eq!(layer.forward(Tensor::<3>::ones([2, 5, 8], &device))?.dims(), [2, 5, 8]);
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct LayerNorm<const D: usize = 1> {
    /// The factors, in the normalised shape.
    pub weight: Option<Param<Tensor<D>>>,
    /// What is added, in the normalised shape.
    pub bias: Option<Param<Tensor<D>>>,
    shape: [usize; D],
    eps: f64,
}

/// `torch.nn.RMSNorm`: the last `D` dimensions over the root of their mean square.
#[derive(Clone, Debug)]
pub struct RMSNorm<const D: usize = 1> {
    /// The factors, in the normalised shape.
    pub weight: Option<Param<Tensor<D>>>,
    shape: [usize; D],
    eps: Option<f64>,
}

/// `torch.nn.GroupNorm`: groups of channels less their mean, over their deviation.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    /// `[channels]`.
    pub weight: Option<Param<Tensor<1>>>,
    /// `[channels]`.
    pub bias: Option<Param<Tensor<1>>>,
    groups: usize,
    channels: usize,
    eps: f64,
}

/// Options of an [`InstanceNorm1d`].
pub type InstanceNorm1dConfig = InstanceNormConfig<3>;
/// Options of an [`InstanceNorm2d`].
pub type InstanceNorm2dConfig = InstanceNormConfig<4>;
/// Options of an [`InstanceNorm3d`].
pub type InstanceNorm3dConfig = InstanceNormConfig<5>;

/// `torch.nn.InstanceNorm1d`: `[batch, channels, length]`, or without a batch.
pub type InstanceNorm1d = InstanceNorm<3>;
/// `torch.nn.InstanceNorm2d`: `[batch, channels, height, width]`, or without a batch.
pub type InstanceNorm2d = InstanceNorm<4>;
/// `torch.nn.InstanceNorm3d`: `[batch, channels, depth, height, width]`, or without a batch.
pub type InstanceNorm3d = InstanceNorm<5>;

/// `torch.nn.InstanceNorm1d`, `InstanceNorm2d`, `InstanceNorm3d`: each channel of each example less its mean, over its deviation. `N` is
/// two more than there are dimensions.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use rekindle_models::init::Init;
/// use rekindle_models::nn::InstanceNorm2dConfig;
///
/// let device = Device::flex();
/// let layer = InstanceNorm2dConfig::new(3).with_affine(true).init(&mut Init::seeded(&device, 0))?;
/// assert_eq!(layer.forward(Tensor::<4>::ones([2, 3, 8, 8], &device))?.dims(), [2, 3, 8, 8]);
/// assert_eq!(layer.forward(Tensor::<3>::ones([3, 8, 8], &device))?.dims(), [3, 8, 8]);
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct InstanceNorm<const N: usize> {
    /// `[channels]`.
    pub weight: Option<Param<Tensor<1>>>,
    /// `[channels]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// `[channels]`.
    pub running_mean: Option<Buffer<Tensor<1>>>,
    /// `[channels]`.
    pub running_var: Option<Buffer<Tensor<1>>>,
    /// Stays 0, as in PyTorch; `[1]`, a scalar there.
    pub num_batches_tracked: Option<Buffer<Tensor<1, Int>>>,
    /// Whether it trains on an autodiff device.
    pub training: Param<Flag>,
    channels: usize,
    momentum: Option<f64>,
    eps: f64,
}

module!(LayerNorm<const D: usize> { weight, bias; shape, eps });
module!(RMSNorm<const D: usize> { weight; shape, eps });
module!(GroupNorm { weight, bias; groups, channels, eps });
module!(InstanceNorm<const N: usize> {
    weight, bias, running_mean, running_var, num_batches_tracked, training; channels, momentum, eps
});

keeps_rank!(
    LayerNorm<const K: usize>: "The same shape, which ends in the normalised one.",
    RMSNorm<const K: usize>: "The same shape, which ends in the normalised one.",
    GroupNorm: "`[batch, channels, ...]`, the same shape.",
    InstanceNorm<const N: usize>: "`[batch, channels, ...]`, or `[channels, ...]` without a batch, the same shape.",
    LocalResponseNorm: "`[batch, channels, ...]`, the same shape.",
);

impl<const D: usize> LayerNormConfig<D> {
    /// The layer, factors 1 and additions 0.
    ///
    /// # Errors
    /// None in truth.
    pub fn init(&self, init: &mut Init<'_>) -> Result<LayerNorm<D>> {
        let affine = self.elementwise_affine;
        Ok(LayerNorm {
            weight: filled(init, affine, self.normalized_shape, 1.0)?,
            bias: filled(init, affine && self.bias, self.normalized_shape, 0.0)?,
            shape: self.normalized_shape,
            eps: self.eps,
        })
    }
}

impl<const D: usize> RMSNormConfig<D> {
    /// The layer, factors 1.
    ///
    /// # Errors
    /// None in truth.
    pub fn init(&self, init: &mut Init<'_>) -> Result<RMSNorm<D>> {
        let weight = filled(init, self.elementwise_affine, self.normalized_shape, 1.0)?;
        Ok(RMSNorm { weight, shape: self.normalized_shape, eps: self.eps })
    }
}

impl GroupNormConfig {
    /// The layer, factors 1 and additions 0.
    ///
    /// # Errors
    /// When the channels cannot be divided into so many groups.
    pub fn init(&self, init: &mut Init<'_>) -> Result<GroupNorm> {
        let (groups, channels) = (self.num_groups, self.num_channels);
        if channels.checked_rem(groups) != Some(0) {
            return Err(refused("GroupNorm", format!("{channels} channels make no {groups} groups")));
        }
        let weight = filled(init, self.affine, [channels], 1.0)?;
        let bias = filled(init, self.affine && self.bias, [channels], 0.0)?;
        Ok(GroupNorm { weight, bias, groups, channels, eps: self.eps })
    }
}

impl<const N: usize> InstanceNormConfig<N> {
    /// The layer, as PyTorch begins it.
    ///
    /// # Errors
    /// None in truth.
    pub fn init(&self, init: &mut Init<'_>) -> Result<InstanceNorm<N>> {
        let shape = [self.num_features];
        let kept = |tensor: fn([usize; 1], &burn::tensor::Device) -> Tensor<1>| {
            self.track_running_stats.then(|| Buffer::new(tensor(shape, init.device())))
        };
        let (running_mean, running_var) =
            (kept(|shape, at| Tensor::zeros(shape, at)), kept(|shape, at| Tensor::ones(shape, at)));
        let count = self.track_running_stats.then(|| Buffer::new(Tensor::zeros([1], init.device())));
        Ok(InstanceNorm {
            weight: filled(init, self.affine, shape, 1.0)?,
            bias: filled(init, self.affine && self.bias, shape, 0.0)?,
            running_mean,
            running_var,
            num_batches_tracked: count,
            training: Param::from_bool(true),
            channels: self.num_features,
            momentum: self.momentum,
            eps: self.eps,
        })
    }
}

/// A parameter of one number, where there is to be one.
pub(crate) fn filled<const D: usize>(
    init: &mut Init<'_>,
    wanted: bool,
    shape: [usize; D],
    value: f64,
) -> Result<Option<Param<Tensor<D>>>> {
    if wanted { init.param(shape, Rule::Constant(value)).map(Some) } else { Ok(None) }
}

fn ends_in(layer: &'static str, input: &Array, shape: &[usize]) -> Result<()> {
    if input.shape().ends_with(shape) {
        return Ok(());
    }
    Err(refused(layer, format!("an input of {:?} does not end in {shape:?}", input.shape())))
}

fn has_channels(layer: &'static str, input: &Array, channels: usize) -> Result<()> {
    if input.shape().get(1) == Some(&channels) {
        return Ok(());
    }
    Err(refused(layer, format!("an input of {:?} has not {channels} channels", input.shape())))
}

impl<const D: usize> Forward for LayerNorm<D> {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        ends_in("LayerNorm", input, &self.shape)?;
        let (weight, bias) = (maybe(self.weight.as_ref()), maybe(self.bias.as_ref()));
        input.layer_norm(D, weight.as_ref(), bias.as_ref(), self.eps)
    }
}

impl<const D: usize> Forward for RMSNorm<D> {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        ends_in("RMSNorm", input, &self.shape)?;
        input.rms_norm(D, maybe(self.weight.as_ref()).as_ref(), self.eps)
    }
}

impl Forward for GroupNorm {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        has_channels("GroupNorm", input, self.channels)?;
        if input.numel() == self.groups {
            let reason = format!("it needs more than one value a group, which {:?} has not", input.shape());
            return Err(refused("GroupNorm", reason));
        }
        let (weight, bias) = (maybe(self.weight.as_ref()), maybe(self.bias.as_ref()));
        input.group_norm(self.groups, weight.as_ref(), bias.as_ref(), self.eps)
    }
}

impl<const N: usize> Forward for InstanceNorm<N> {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        if input.rank() == N - 1 {
            return self.forward_array(&input.unsqueeze(0)?)?.squeeze(Some(&[0]));
        }
        if input.rank() != N {
            let reason =
                format!("an input of {:?} has not {N} dimensions, or {} without a batch", input.shape(), N - 1);
            return Err(refused("InstanceNorm", reason));
        }
        has_channels("InstanceNorm", input, self.channels)?;
        if input.shape().iter().skip(2).product::<usize>() == 1 {
            let reason = format!("it needs more than one element a channel, which {:?} has not", input.shape());
            return Err(refused("InstanceNorm", reason));
        }
        let (weight, bias) = (maybe(self.weight.as_ref()), maybe(self.bias.as_ref()));
        let (Some(mean), Some(var)) = (&self.running_mean, &self.running_var) else {
            return input.instance_norm(weight.as_ref(), bias.as_ref(), self.eps);
        };
        let device = input.device();
        let running = |buffer: &Buffer<Tensor<1>>| Array::from_float(buffer.value().to_device(&device));
        if !(device.is_autodiff() && self.training.is_enabled()) {
            let by = Running { mean: running(mean), var: running(var) };
            return rounded(input, [weight, bias], |x, [weight, bias]| x.batch_norm(&by, weight, bias, self.eps));
        }
        if input.numel() == 0 {
            return Err(refused("InstanceNorm", format!("a batch of {:?} has no statistics to keep", input.shape())));
        }
        let batch = input.instance_statistics()?;
        for (buffer, new) in [(mean, &batch.mean), (var, &batch.var)] {
            let momentum = self.momentum.unwrap_or(0.0);
            let blend = new.mul(momentum)?.add(&running(buffer).detach().mul(1.0 - momentum)?)?;
            buffer.set(blend.detach().into_float()?);
        }
        input.instance_norm(weight.as_ref(), bias.as_ref(), self.eps)
    }
}

options! {
    /// `torch.nn.LocalResponseNorm(size, alpha=0.0001, beta=0.75, k=1.0)`: each channel over the squares of those beside it. It has no
    /// parameters, and is its own options.
    LocalResponseNorm(
        /// How many channels count.
        size: usize,
    ) {
        /// The factor of the squares. Default 1e-4.
        alpha / with_alpha: f64 = 1e-4,
        /// The exponent. Default 0.75.
        beta / with_beta: f64 = 0.75,
        /// What is added. Default 1.
        k / with_k: f64 = 1.0,
    }
}

stateless!(LocalResponseNorm);

impl Forward for LocalResponseNorm {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        let &[batch, channels, ..] = input.shape() else {
            return Err(refused("LocalResponseNorm", "it needs a batch and channels"));
        };
        if input.rank() < 3 {
            return Err(refused(
                "LocalResponseNorm",
                format!("an input of {:?} has not three dimensions", input.shape()),
            ));
        }
        if self.size == 0 {
            return Err(refused("LocalResponseNorm", "its size is at least 1"));
        }
        let rest = input.numel() / (batch * channels).max(1);
        let squares = input.mul(input)?.reshaped(&[batch, channels, rest])?;
        // Half of them before, half behind: the mean of windows along the channels.
        let pad = [0, 0, signed(self.size / 2), signed((self.size - 1) / 2)];
        let padded = squares.pad(&pad, Padding::Constant(Number::Int(0)))?.transpose(1, 2)?;
        let means = padded.avg_pool(1, &Windows { stride: vec![1], ..Windows::new([self.size]) })?.transpose(1, 2)?;
        let scale = means.reshaped(input.shape())?.mul(self.alpha)?.add(self.k)?.pow(self.beta)?;
        input.div(&scale)
    }
}

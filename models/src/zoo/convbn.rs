//! The stem of a `ResNet` and a classifier: the smallest network with batch normalisation.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig};
use burn::nn::{Linear, PaddingConfig2d, Relu};
use burn::tensor::Tensor;

use crate::Result;
use crate::init::Init;
use crate::nn::{BatchNorm, Stateless, rounded_once};

/// A convolution, batch normalisation, and a classifier of the mean: `[batch, 3, height, width]` to `[batch, 10]`.
#[derive(Module, Debug)]
pub struct ConvBn {
    /// 3 to 16 channels, kernel 7, stride 2, padding 3, no bias.
    pub conv1: Conv2d,
    /// 16 channels.
    pub bn1: BatchNorm,
    /// `max(x, 0)`.
    pub relu: Stateless<Relu>,
    /// The mean of each channel.
    pub avgpool: Stateless<AdaptiveAvgPool2d>,
    /// 16 to 10.
    pub fc: Linear,
}

impl ConvBn {
    /// A new network.
    ///
    /// # Errors
    /// None in truth: the layers have inputs.
    pub fn new(init: &mut Init<'_>) -> Result<Self> {
        let conv1 = Conv2dConfig::new([3, 16], [7, 7])
            .with_stride([2, 2])
            .with_padding(PaddingConfig2d::Explicit(3, 3, 3, 3))
            .with_bias(false);
        Ok(ConvBn {
            conv1: init.conv2d(&conv1)?,
            bn1: init.batch_norm(16),
            relu: Relu::new().into(),
            avgpool: AdaptiveAvgPool2dConfig::new([1, 1]).init().into(),
            fc: init.linear(16, 10)?,
        })
    }

    /// `[batch, 3, height, width]` to the scores of ten classes, `[batch, 10]`.
    ///
    /// # Errors
    /// In training on one image that the convolution makes a single pixel.
    pub fn forward(&self, input: Tensor<4>) -> Result<Tensor<2>> {
        let x = rounded_once(&self.conv1, input, Conv2d::forward);
        let x = self.relu.forward(self.bn1.forward(x)?);
        let x: Tensor<4> = rounded_once(&self.avgpool, x, |pool, x| pool.forward(x));
        Ok(rounded_once(&self.fc, x.flatten::<2>(1, 3), Linear::forward))
    }
}

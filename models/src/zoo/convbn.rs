//! The stem of a `ResNet` and a classifier: the smallest network with batch normalisation.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::Result;
use crate::init::Init;
use crate::nn::{AdaptiveAvgPool2d, BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, Linear, LinearConfig, ReLU};
use crate::registry::by_hand::{ByHand, Given, IMAGES, Length, Named, Outputs, image, scores};

/// A convolution, batch normalisation, and a classifier of the mean: `[batch, 3, height, width]` to `[batch, 10]`.
#[derive(Module, Debug)]
pub struct ConvBn {
    /// 3 to 16 channels, kernel 7, stride 2, padding 3, no bias.
    pub conv1: Conv2d,
    /// 16 channels.
    pub bn1: BatchNorm2d,
    /// `max(x, 0)`.
    pub relu: ReLU,
    /// The mean of each channel.
    pub avgpool: AdaptiveAvgPool2d,
    /// 16 to 10.
    pub fc: Linear,
}

impl ConvBn {
    /// A new network.
    ///
    /// # Errors
    /// None in truth: the layers have inputs.
    pub fn new(init: &mut Init<'_>) -> Result<Self> {
        Ok(ConvBn {
            conv1: Conv2dConfig::new(3, 16, 7).with_stride(2).with_padding(3).with_bias(false).init(init)?,
            bn1: BatchNormConfig::new(16).init(init)?,
            relu: ReLU::new(),
            avgpool: AdaptiveAvgPool2d::new(1),
            fc: LinearConfig::new(16, 10).init(init)?,
        })
    }

    /// `[batch, 3, height, width]` to the scores of ten classes, `[batch, 10]`.
    ///
    /// # Errors
    /// In training on one image that the convolution makes a single pixel.
    pub fn forward(&self, input: Tensor<4>) -> Result<Tensor<2>> {
        let x = self.relu.forward(self.bn1.forward(self.conv1.forward(input)?)?)?;
        let x = self.avgpool.forward(x)?;
        self.fc.forward(x.flatten(1, 3))
    }
}

impl ByHand for ConvBn {
    const NAMES: &'static [Named<Self>] = &[Named::new("convbn", &[], IMAGES, |_, init| ConvBn::new(init))];

    fn lengths(&self) -> Vec<Length> {
        image(3, Length::AtLeast(1))
    }

    fn run(&self, given: &Given<'_>) -> Result<Outputs> {
        Ok(scores(self.forward(given.image()?)?))
    }
}

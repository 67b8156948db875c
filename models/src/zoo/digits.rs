//! The network of the example `digits`: handwritten digits of 8 by 8 pixels.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, PaddingConfig2d};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use crate::Result;
use crate::init::Init;
use crate::nn::{Stateless, rounded_once};

/// Two convolutions and three linear layers: `[batch, 1, 8, 8]` to `[batch, 10]`.
#[derive(Module, Debug)]
pub struct Digits {
    /// 1 to 6 channels, kernel 3, padding 1.
    pub conv1: Conv2d,
    /// 6 to 16 channels, kernel 3, padding 1.
    pub conv2: Conv2d,
    /// Kernel and stride 2, used twice.
    pub pool: Stateless<MaxPool2d>,
    /// 64 to 120.
    pub fc1: Linear,
    /// 120 to 84.
    pub fc2: Linear,
    /// 84 to 10.
    pub fc3: Linear,
}

impl Digits {
    /// A new network.
    ///
    /// # Errors
    /// None in truth: the layers have inputs.
    pub fn new(init: &mut Init<'_>) -> Result<Self> {
        let conv = |channels| Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
        Ok(Digits {
            conv1: init.conv2d(&conv([1, 6]))?,
            conv2: init.conv2d(&conv([6, 16]))?,
            pool: MaxPool2dConfig::new([2, 2]).init().into(),
            fc1: init.linear(64, 120)?,
            fc2: init.linear(120, 84)?,
            fc3: init.linear(84, 10)?,
        })
    }

    /// `[batch, 1, 8, 8]` to the scores of ten classes, `[batch, 10]`.
    #[must_use]
    pub fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(rounded_once(&self.conv1, input, Conv2d::forward)));
        let x = self.pool.forward(relu(rounded_once(&self.conv2, x, Conv2d::forward)));
        let x = relu(rounded_once(&self.fc1, x.flatten(1, 3), Linear::forward));
        let x = relu(rounded_once(&self.fc2, x, Linear::forward));
        rounded_once(&self.fc3, x, Linear::forward)
    }
}

//! The network of PyTorch's CIFAR-10 tutorial.

use burn::module::Module;
use burn::nn::Linear;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use crate::Result;
use crate::init::Init;
use crate::nn::{Stateless, rounded_once};

/// Two convolutions and three linear layers: `[batch, 3, 32, 32]` to `[batch, 10]`.
#[derive(Module, Debug)]
pub struct LeNet {
    /// 3 to 6 channels, kernel 5.
    pub conv1: Conv2d,
    /// Kernel and stride 2, used twice.
    pub pool: Stateless<MaxPool2d>,
    /// 6 to 16 channels, kernel 5.
    pub conv2: Conv2d,
    /// 400 to 120.
    pub fc1: Linear,
    /// 120 to 84.
    pub fc2: Linear,
    /// 84 to 10.
    pub fc3: Linear,
}

impl LeNet {
    /// A new network.
    ///
    /// # Errors
    /// None in truth: the layers have inputs.
    pub fn new(init: &mut Init<'_>) -> Result<Self> {
        Ok(LeNet {
            conv1: init.conv2d(&Conv2dConfig::new([3, 6], [5, 5]))?,
            pool: MaxPool2dConfig::new([2, 2]).init().into(),
            conv2: init.conv2d(&Conv2dConfig::new([6, 16], [5, 5]))?,
            fc1: init.linear(400, 120)?,
            fc2: init.linear(120, 84)?,
            fc3: init.linear(84, 10)?,
        })
    }

    /// `[batch, 3, 32, 32]` to the scores of ten classes, `[batch, 10]`.
    #[must_use]
    pub fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(rounded_once(&self.conv1, input, Conv2d::forward)));
        let x = self.pool.forward(relu(rounded_once(&self.conv2, x, Conv2d::forward)));
        let x = relu(rounded_once(&self.fc1, x.flatten(1, 3), Linear::forward));
        let x = relu(rounded_once(&self.fc2, x, Linear::forward));
        rounded_once(&self.fc3, x, Linear::forward)
    }
}

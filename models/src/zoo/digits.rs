//! The network of the example `digits`: handwritten digits of 8 by 8 pixels.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::Result;
use crate::init::Init;
use crate::nn::functional::relu;
use crate::nn::{Conv2d, Conv2dConfig, Linear, LinearConfig, MaxPool2d};
use crate::registry::by_hand::{ByHand, Given, IMAGES, Length, Named, Outputs, image, scores};

/// Two convolutions and three linear layers: `[batch, 1, 8, 8]` to `[batch, 10]`.
#[derive(Module, Debug)]
pub struct Digits {
    /// 1 to 6 channels, kernel 3, padding 1.
    pub conv1: Conv2d,
    /// 6 to 16 channels, kernel 3, padding 1.
    pub conv2: Conv2d,
    /// Kernel and stride 2, used twice.
    pub pool: MaxPool2d,
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
        Ok(Digits {
            conv1: Conv2dConfig::new(1, 6, 3).with_padding(1).init(init)?,
            conv2: Conv2dConfig::new(6, 16, 3).with_padding(1).init(init)?,
            pool: MaxPool2d::new(2),
            fc1: LinearConfig::new(64, 120).init(init)?,
            fc2: LinearConfig::new(120, 84).init(init)?,
            fc3: LinearConfig::new(84, 10).init(init)?,
        })
    }

    /// `[batch, 1, 8, 8]` to the scores of ten classes, `[batch, 10]`.
    ///
    /// # Errors
    /// When the input has another shape.
    pub fn forward(&self, input: Tensor<4>) -> Result<Tensor<2>> {
        let x = self.pool.forward(relu(self.conv1.forward(input)?)?)?;
        let x = self.pool.forward(relu(self.conv2.forward(x)?)?)?;
        let x = relu(self.fc1.forward(x.flatten(1, 3))?)?;
        let x = relu(self.fc2.forward(x)?)?;
        self.fc3.forward(x)
    }
}

impl ByHand for Digits {
    const NAMES: &'static [Named<Self>] = &[Named::new("digits", &[], IMAGES, |_, init| Digits::new(init))];

    fn lengths(&self) -> Vec<Length> {
        image(1, Length::Exactly(8))
    }

    fn run(&self, given: &Given<'_>) -> Result<Outputs> {
        Ok(scores(self.forward(given.image()?)?))
    }
}

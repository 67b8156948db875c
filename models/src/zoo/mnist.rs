//! The network of pytorch/examples' `mnist`: handwritten digits of 28 by 28 pixels. CONTRIBUTING.md shows how it came here.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::Result;
use crate::init::{Init, SharedGenerator};
use crate::nn::functional::{log_softmax, relu};
use crate::nn::{Conv2d, Conv2dConfig, Dropout, Linear, LinearConfig, MaxPool2d};
use crate::registry::by_hand::{ByHand, Given, IMAGES, Length, Named, Outputs, image, scores};
use crate::registry::settings::{Setting, Settings};

/// Its settings, with the example's values.
const SETTINGS: &[Setting] = &[Setting::plain("dropout1", "0.25"), Setting::plain("dropout2", "0.5")];

/// The network of its settings.
fn build(settings: &Settings<'_>, init: &mut Init<'_>) -> Result<Mnist> {
    Mnist::new([settings.dropout("dropout1")?, settings.dropout("dropout2")?], init)
}

/// Two convolutions and two linear maps: `[batch, 1, 28, 28]` to the logarithms of the probabilities of ten classes, `[batch, 10]`.
#[derive(Module, Debug)]
#[allow(missing_docs)] // the names are the example's
pub struct Mnist {
    pub conv1: Conv2d,
    pub conv2: Conv2d,
    pub dropout1: Dropout,
    pub dropout2: Dropout,
    pub fc1: Linear,
    pub fc2: Linear,
}

impl Mnist {
    /// A new network, which drops these parts in training; the example's are 0.25 and 0.5.
    ///
    /// # Errors
    /// None in truth.
    pub fn new(dropout: [f64; 2], init: &mut Init<'_>) -> Result<Self> {
        Ok(Mnist {
            conv1: Conv2dConfig::new(1, 32, 3).init(init)?,
            conv2: Conv2dConfig::new(32, 64, 3).init(init)?,
            dropout1: Dropout::new(dropout[0], init),
            dropout2: Dropout::new(dropout[1], init),
            fc1: LinearConfig::new(9216, 128).init(init)?,
            fc2: LinearConfig::new(128, 10).init(init)?,
        })
    }

    /// `[batch, 1, 28, 28]` to logarithms of probabilities, `[batch, 10]`, whose loss is `nll`.
    ///
    /// # Errors
    /// When the input has another shape.
    pub fn forward(&self, x: Tensor<4>) -> Result<Tensor<2>> {
        let x = relu(self.conv1.forward(x)?)?;
        let x = relu(self.conv2.forward(x)?)?;
        let x = self.dropout1.forward(MaxPool2d::new(2).forward(x)?)?;
        let x = relu(self.fc1.forward(x.flatten::<2>(1, 3))?)?;
        log_softmax(self.fc2.forward(self.dropout2.forward(x)?)?, 1)
    }
}

impl ByHand for Mnist {
    const NAMES: &'static [Named<Self>] = &[Named::new("mnist", SETTINGS, IMAGES, build)];

    fn lengths(&self) -> Vec<Length> {
        image(1, Length::Exactly(28))
    }

    fn run(&self, given: &Given<'_>) -> Result<Outputs> {
        Ok(scores(self.forward(given.image()?)?))
    }

    fn draws(&self) -> Option<&SharedGenerator> {
        Some(self.dropout1.generator())
    }
}

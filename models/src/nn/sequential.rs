//! `Sequential`: layers one after the other, with PyTorch's numbers in the keys.

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::pool::{AdaptiveAvgPool2d, AvgPool2d, MaxPool2d};
use burn::nn::{Linear, Relu};
use burn::tensor::Tensor;

use super::BatchNorm;
use super::half::rounded_once;
use crate::batch::{each_rank, wrong_rank};
use crate::{Batch, Result};

/// `torch.nn.Sequential`: the keys are `0.weight`, `2.weight`; layers without parameters count.
#[derive(Module, Debug)]
pub struct Sequential {
    /// The layers in order.
    pub layers: Vec<Layer>,
}

impl Sequential {
    /// These layers, one after the other.
    #[must_use]
    pub fn new(layers: Vec<Layer>) -> Self {
        Sequential { layers }
    }

    /// Runs the layers one after the other.
    ///
    /// # Errors
    /// When a batch comes to a layer with another number of dimensions than it takes.
    pub fn forward(&self, inputs: Batch) -> Result<Batch> {
        self.layers.iter().try_fold(inputs, |batch, layer| layer.forward(batch))
    }
}

/// A layer of a [`Sequential`].
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // a network has few of them, and each holds tensors that dwarf it
pub enum Layer {
    /// A convolution over `[batch, channels, height, width]`.
    Conv2d(Conv2d),
    /// Batch normalisation over `[batch, channels, ...]`.
    BatchNorm(BatchNorm),
    /// A linear map of the last dimension.
    Linear(Linear),
    /// `max(x, 0)`.
    Relu(Relu),
    /// The largest in each window of `[batch, channels, height, width]`.
    MaxPool2d(MaxPool2d),
    /// The mean over each window of `[batch, channels, height, width]`.
    AvgPool2d(AvgPool2d),
    /// The mean over windows that give a wanted size.
    AdaptiveAvgPool2d(AdaptiveAvgPool2d),
    /// One row an example.
    Flatten(Flatten),
}

/// `torch.nn.Flatten()`: all dimensions but the first become one.
#[derive(Module, Debug, Default)]
pub struct Flatten {}

impl Layer {
    /// Runs the layer.
    ///
    /// # Errors
    /// When the batch has another number of dimensions than the layer takes.
    pub fn forward(&self, inputs: Batch) -> Result<Batch> {
        match self {
            Layer::Conv2d(layer) => images("Conv2d", inputs, |x| rounded_once(layer, x, Conv2d::forward)),
            Layer::BatchNorm(layer) => Ok(each_rank!(inputs, x => layer.forward(x)?)),
            Layer::Linear(layer) => Ok(each_rank!(inputs, x => rounded_once(layer, x, Linear::forward))),
            Layer::Relu(layer) => Ok(each_rank!(inputs, x => layer.forward(x))),
            Layer::MaxPool2d(layer) => images("MaxPool2d", inputs, |x| layer.forward(x)),
            Layer::AvgPool2d(layer) => images("AvgPool2d", inputs, |x| rounded_once(layer, x, AvgPool2d::forward)),
            Layer::AdaptiveAvgPool2d(layer) => {
                images("AdaptiveAvgPool2d", inputs, |x| rounded_once(layer, x, AdaptiveAvgPool2d::forward))
            }
            Layer::Flatten(_) => Ok(Batch::D2(inputs.flatten())),
        }
    }
}

fn images(layer: &str, inputs: Batch, forward: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Result<Batch> {
    match inputs {
        Batch::D4(x) => Ok(Batch::D4(forward(x))),
        other => Err(wrong_rank(&format!("the input of {layer}"), "4", &other.shape())),
    }
}

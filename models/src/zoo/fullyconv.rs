//! The backbone of a Siamese tracker: convolutions in groups, and keys with numbers in them.

use burn::module::Module;
use burn::nn::Relu;
use burn::nn::conv::Conv2dConfig;
use burn::nn::pool::MaxPool2dConfig;
use burn::tensor::Tensor;

use crate::init::Init;
use crate::nn::{Layer, Sequential};
use crate::{Batch, Result};

/// Five convolutions without padding: `[batch, 3, height, width]`, of at least 63 by 63 pixels, to `[batch, 32, ...]`.
#[derive(Module, Debug)]
pub struct FullyConv {
    /// The layers.
    pub fully_conv: Sequential,
}

impl FullyConv {
    /// A new network.
    ///
    /// # Errors
    /// None in truth: the layers have inputs.
    pub fn new(init: &mut Init<'_>) -> Result<Self> {
        /// Channels in and out, kernel, stride, groups; kernel and stride of the pooling behind, if any.
        type Stage = ([usize; 2], usize, usize, usize, Option<[usize; 2]>);
        const STAGES: [Stage; 4] = [
            ([3, 96], 11, 2, 1, Some([3, 2])),
            ([96, 256], 5, 1, 2, Some([3, 1])),
            ([256, 384], 3, 1, 1, None),
            ([384, 384], 3, 1, 2, None),
        ];
        let mut layers = Vec::new();
        for (channels, kernel, stride, groups, pool) in STAGES {
            let conv = Conv2dConfig::new(channels, [kernel; 2]).with_stride([stride; 2]).with_groups(groups);
            layers.push(Layer::Conv2d(init.conv2d(&conv)?));
            layers.push(Layer::BatchNorm(init.batch_norm(channels[1])));
            layers.push(Layer::Relu(Relu::new()));
            if let Some([kernel, stride]) = pool {
                layers.push(Layer::MaxPool2d(MaxPool2dConfig::new([kernel; 2]).with_strides([stride; 2]).init()));
            }
        }
        layers.push(Layer::Conv2d(init.conv2d(&Conv2dConfig::new([384, 32], [3, 3]).with_groups(2))?));
        Ok(FullyConv { fully_conv: Sequential::new(layers) })
    }

    /// `[batch, 3, height, width]` to `[batch, 32, ...]`: 255 pixels give 49 places, 127 give 17.
    ///
    /// # Errors
    /// None in truth: every layer takes four dimensions.
    pub fn forward(&self, input: Tensor<4>) -> Result<Tensor<4>> {
        self.fully_conv.forward(Batch::D4(input))?.into_4d()
    }
}

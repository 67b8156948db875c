//! The backbone of a Siamese tracker: convolutions in groups, and keys with numbers in them.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::Result;
use crate::init::Init;
use crate::nn::{BatchNormConfig, Conv2dConfig, Forward, MaxPool2d, ReLU, Sequential};
use crate::registry::by_hand::{ByHand, Given, IMAGES, Length, Named, Outputs, image, output};

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
            let conv = Conv2dConfig::new(channels[0], channels[1], kernel).with_stride(stride).with_groups(groups);
            layers.push(conv.init(init)?.into());
            layers.push(BatchNormConfig::new(channels[1]).init(init)?.into());
            layers.push(ReLU::new().into());
            if let Some([kernel, stride]) = pool {
                layers.push(MaxPool2d::new(kernel).with_stride(stride).into());
            }
        }
        layers.push(Conv2dConfig::new(384, 32, 3).with_groups(2).init(init)?.into());
        Ok(FullyConv { fully_conv: Sequential::new(layers) })
    }

    /// `[batch, 3, height, width]` to `[batch, 32, ...]`: 255 pixels give 49 places, 127 give 17.
    ///
    /// # Errors
    /// None in truth: every layer takes four dimensions.
    pub fn forward(&self, input: Tensor<4>) -> Result<Tensor<4>> {
        self.fully_conv.forward(input)
    }
}

impl ByHand for FullyConv {
    const NAMES: &'static [Named<Self>] = &[Named::new("fullyconv", &[], IMAGES, |_, init| FullyConv::new(init))];

    fn lengths(&self) -> Vec<Length> {
        // A smaller image is used up before the last convolution.
        image(3, Length::AtLeast(63))
    }

    fn run(&self, given: &Given<'_>) -> Result<Outputs> {
        Ok(output(self.fully_conv.forward_array(given.first()?)?))
    }
}

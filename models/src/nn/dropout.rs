//! `Dropout`, `Dropout1d` to `Dropout3d`, `AlphaDropout`, `FeatureAlphaDropout`.

use std::sync::PoisonError;

use burn::module::{Flag, Param};
use burn::tensor::Device;
use rekindle_random::Generator;

use super::module::{Forward, keeps_rank, module, refused};
use crate::Result;
use crate::functional::Array;
use crate::init::{Init, SharedGenerator};

/// What is dropped together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Elements,
    Channels,
    /// Channels of this many dimensions, of an input with a batch or without.
    ChannelsOf(usize),
    Alpha,
    AlphaChannels,
}

/// `torch.nn.Dropout(p=0.5)` and its kin: in training each element, or each channel, becomes 0 with probability `p`, and the rest is
/// divided by `1 - p`.
///
/// It trains where Burn's layers do: on an autodiff device while its flag is enabled. What is dropped is drawn from a generator that the
/// layers of a network share: the one of [`Init::generator`] when they were made, and PyTorch's CPU drops the same units after the
/// same seed. A run that goes on sets it: `*layer.generator().lock()? = generator`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use rekindle_models::init::Init;
/// use rekindle_models::nn::Dropout;
///
/// let device = Device::flex();
/// let layer = Dropout::new(0.5, &Init::seeded(&device, 0));
/// let training = Tensor::<1>::ones([4], &device.clone().autodiff());
/// // torch.manual_seed(0); torch.nn.Dropout(0.5)(torch.ones(4))
/// assert_eq!(layer.forward(training)?.into_data().to_vec::<f32>().unwrap(), [0.0, 0.0, 2.0, 0.0]);
/// assert_eq!(layer.forward(Tensor::<1>::ones([1], &device))?.into_scalar::<f32>(), 1.0);
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dropout {
    /// Whether it drops on an autodiff device.
    pub training: Param<Flag>,
    /// The probability to be dropped.
    pub p: f64,
    what: What,
    generator: SharedGenerator,
}

module!(Dropout { training; p, what, generator });
keeps_rank!(Dropout: "The same shape.");

impl Dropout {
    fn of(p: f64, what: What, init: &Init<'_>) -> Self {
        Dropout { training: Param::from_bool(true), p, what, generator: init.generator().clone() }
    }

    /// `torch.nn.Dropout(p)`: single elements.
    #[must_use]
    pub fn new(p: f64, init: &Init<'_>) -> Self {
        Dropout::of(p, What::Elements, init)
    }

    /// `torch.nn.Dropout2d(p)`: whole channels of `[batch, channels, ...]`. Of three dimensions, too, the first is the batch, as in
    /// PyTorch, which says that it will change that.
    #[must_use]
    pub fn channels(p: f64, init: &Init<'_>) -> Self {
        Dropout::of(p, What::Channels, init)
    }

    /// `torch.nn.Dropout1d(p)`: whole channels of `[batch, channels, length]` or, without a batch, `[channels, length]`.
    #[must_use]
    pub fn channels_1d(p: f64, init: &Init<'_>) -> Self {
        Dropout::of(p, What::ChannelsOf(1), init)
    }

    /// `torch.nn.Dropout3d(p)`: whole channels of `[batch, channels, depth, height, width]` or, without a batch, of four dimensions.
    #[must_use]
    pub fn channels_3d(p: f64, init: &Init<'_>) -> Self {
        Dropout::of(p, What::ChannelsOf(3), init)
    }

    /// `torch.nn.AlphaDropout(p)`: single elements, keeping mean and variance of what SELU gives.
    #[must_use]
    pub fn alpha(p: f64, init: &Init<'_>) -> Self {
        Dropout::of(p, What::Alpha, init)
    }

    /// `torch.nn.FeatureAlphaDropout(p)`: whole channels, as [`alpha`](Self::alpha).
    #[must_use]
    pub fn feature_alpha(p: f64, init: &Init<'_>) -> Self {
        Dropout::of(p, What::AlphaChannels, init)
    }

    /// What it draws from, shared with the other layers of its network.
    #[must_use]
    pub fn generator(&self) -> &SharedGenerator {
        &self.generator
    }

    /// Whether it drops on this device.
    #[must_use]
    pub fn drops(&self, device: &Device) -> bool {
        device.is_autodiff() && self.training.is_enabled()
    }

    /// Whether it keeps everything as it is on this device.
    pub(crate) fn keeps_all(&self, device: &Device) -> bool {
        self.p == 0.0 || !self.drops(device)
    }

    /// Of a tensor that lies in PyTorch's memory in this order of its dimensions.
    pub(crate) fn forward_laid(&self, input: &Array, order: &[usize]) -> Result<Array> {
        if self.drops(&input.device()) {
            return self.draw(|generator| input.dropout_as_laid(self.p, order, generator));
        }
        Ok(input.clone())
    }

    /// Does this with the generator.
    pub(super) fn draw<T>(&self, act: impl FnOnce(&mut Generator) -> T) -> T {
        act(&mut self.generator.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Forward for Dropout {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        if !self.drops(&input.device()) {
            return Ok(input.clone());
        }
        self.draw(|generator| match self.what {
            What::Elements => input.dropout(self.p, generator),
            What::Channels => input.feature_dropout(self.p, generator),
            What::ChannelsOf(spatial) if input.rank() == spatial + 2 => input.feature_dropout(self.p, generator),
            What::ChannelsOf(spatial) if input.rank() == spatial + 1 => {
                input.unsqueeze(0)?.feature_dropout(self.p, generator)?.squeeze(Some(&[0]))
            }
            What::ChannelsOf(spatial) => {
                let (shape, more) = (input.shape(), spatial + 2);
                let reason =
                    format!("an input of {shape:?} has not {more} dimensions, or {} without a batch", more - 1);
                Err(refused("Dropout", reason))
            }
            What::Alpha => input.alpha_dropout(self.p, false, generator),
            What::AlphaChannels => input.alpha_dropout(self.p, true, generator),
        })
    }
}

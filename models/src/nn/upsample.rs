//! `Upsample`, `PixelShuffle`, `PixelUnshuffle`, `ChannelShuffle`.

use super::module::{Forward, Sizes, keeps_rank, options, refused, rounded, stateless};
use crate::Result;
use crate::functional::{Array, Interpolation, Resized, signed};

/// How large an upsampled tensor is.
#[derive(Clone, Debug, PartialEq)]
enum To {
    Size(Sizes),
    Factors(Vec<f64>),
}

/// `torch.nn.Upsample(size=None, scale_factor=None, mode='nearest', align_corners=None, recompute_scale_factor=None)`;
/// `UpsamplingNearest2d` is `Upsample::by([2.0], Interpolation::Nearest)`, `UpsamplingBilinear2d` is `Interpolation::Linear` with
/// `align_corners`. As in PyTorch there is always a batch.
///
/// `Interpolation::Linear` is PyTorch's `linear`, `bilinear` or `trilinear`, by the number of dimensions; `Cubic` its `bicubic`, `Area` its
/// `area`.
#[derive(Clone, Debug)]
pub struct Upsample {
    to: To,
    /// How values between pixels are found.
    pub mode: Interpolation,
    /// Whether the corners stay where they are. Default false.
    pub align_corners: bool,
    /// Whether factors only say the size, and distances follow from that. Default false.
    pub recompute_scale_factor: bool,
}

impl Upsample {
    /// To this size: a number, or one for each dimension of pixels.
    #[must_use]
    pub fn to(size: impl Into<Sizes>, mode: Interpolation) -> Self {
        Upsample { to: To::Size(size.into()), mode, align_corners: false, recompute_scale_factor: false }
    }

    /// By these factors: one, or one for each dimension of pixels.
    #[must_use]
    pub fn by(scale_factor: impl Into<Vec<f64>>, mode: Interpolation) -> Self {
        Upsample { to: To::Factors(scale_factor.into()), mode, align_corners: false, recompute_scale_factor: false }
    }

    /// Whether the corners stay where they are.
    #[must_use]
    pub fn with_align_corners(self, align_corners: bool) -> Self {
        Upsample { align_corners, ..self }
    }

    /// Whether factors only say the size, and distances between outputs follow from that.
    #[must_use]
    pub fn with_recompute_scale_factor(self, recompute_scale_factor: bool) -> Self {
        Upsample { recompute_scale_factor, ..self }
    }
}

impl Forward for Upsample {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        let pixels = input.shape().get(2..).unwrap_or_default();
        if !(1..=3).contains(&pixels.len()) {
            let reason =
                format!("an input of {:?} is no [batch, channels, ...] of one to three dimensions", input.shape());
            return Err(refused("Upsample", reason));
        }
        let to: Vec<Resized> = match &self.to {
            To::Size(sizes) => {
                sizes.each("Upsample", pixels.len())?.into_iter().map(|size| Resized { size, scale: None }).collect()
            }
            To::Factors(factors) => {
                let factors = if let [one] = factors[..] { vec![one; pixels.len()] } else { factors.clone() };
                if factors.len() != pixels.len() || factors.iter().any(|factor| !factor.is_finite() || *factor <= 0.0) {
                    return Err(refused("Upsample", format!("{factors:?} are no factors for {:?}", input.shape())));
                }
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
                // numbers of pixels
                let size = |length: usize, factor: f64| (length as f64 * factor).floor() as usize;
                let resized = |(&length, factor): (&usize, f64)| Resized {
                    size: size(length, factor),
                    scale: Some(factor).filter(|_| !self.recompute_scale_factor),
                };
                pixels.iter().zip(factors).map(resized).collect()
            }
        };
        rounded(input, [], |x, []| x.interpolate(&to, self.mode, self.align_corners))
    }
}

options! {
    /// `torch.nn.PixelShuffle(upscale_factor)`: `[.., c r r, h, w]` to `[.., c, h r, w r]`.
    PixelShuffle(
        /// `r`.
        upscale_factor: usize,
    ) {}

    /// `torch.nn.PixelUnshuffle(downscale_factor)`: `[.., c, h r, w r]` to `[.., c r r, h, w]`.
    PixelUnshuffle(
        /// `r`.
        downscale_factor: usize,
    ) {}

    /// `torch.nn.ChannelShuffle(groups)`: the first channel of each group, then the second of each, and so on.
    ChannelShuffle(
        /// How many groups the channels make.
        groups: usize,
    ) {}
}

impl Forward for PixelShuffle {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        input.pixel_shuffle(self.upscale_factor)
    }
}

impl Forward for PixelUnshuffle {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        input.pixel_unshuffle(self.downscale_factor)
    }
}

impl Forward for ChannelShuffle {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        let channels = input.shape().get(1).copied().unwrap_or(0);
        if input.rank() < 3 {
            return Err(refused("ChannelShuffle", format!("an input of {:?} has not three dimensions", input.shape())));
        }
        if channels.checked_rem(self.groups) != Some(0) || channels == 0 {
            return Err(refused("ChannelShuffle", format!("{channels} channels make no {} groups", self.groups)));
        }
        let of_group = signed(channels / self.groups);
        let split = input.unflatten(1, &[signed(self.groups), of_group])?;
        split.transpose(1, 2)?.reshaped(input.shape())
    }
}

stateless!(Upsample, PixelShuffle, PixelUnshuffle, ChannelShuffle);
keeps_rank!(
    Upsample: "`[batch, channels, ...]` with other lengths.",
    PixelShuffle: "`[..., c r r, h, w]` to `[..., c, h r, w r]`.",
    PixelUnshuffle: "`[..., c, h r, w r]` to `[..., c r r, h, w]`.",
    ChannelShuffle: "`[batch, channels, ...]`, the same shape.",
);

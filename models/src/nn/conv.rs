//! `Conv1d` to `Conv3d` and `ConvTranspose1d` to `ConvTranspose3d`: one struct each, by the number of dimensions of the weight.

use burn::module::Param;
use burn::tensor::Tensor;

use super::module::{Forward, Sizes, maybe, module, options, refused, value};
use super::padding::PaddingMode;
use crate::Result;
use crate::functional::{Array, Convolution};
use crate::init::{Init, layer_bias, layer_weight};

/// What a convolution adds around its input: a number a dimension, or `"same"` or `"valid"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConvPadding {
    /// So many on both sides.
    Sizes(Sizes),
    /// As many as make the output as long as the input; the odd one on the right. Stride 1 only.
    Same,
    /// None.
    Valid,
}

impl<T: Into<Sizes>> From<T> for ConvPadding {
    fn from(sizes: T) -> Self {
        ConvPadding::Sizes(sizes.into())
    }
}

options! {
    /// `torch.nn.Conv1d(in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
    /// padding_mode='zeros')`, and `Conv2d`, `Conv3d`. `N` is two more than there are dimensions.
    ConvConfig<const N: usize>(
        /// Channels of the input.
        in_channels: usize,
        /// Channels of the output.
        out_channels: usize,
        /// The size of the kernel: a number, or one for each dimension.
        kernel_size: impl Into<Sizes> => Sizes,
    ) {
        /// How far the kernel moves. Default 1.
        stride / with_stride: impl Into<Sizes> => Sizes = 1.into(),
        /// What is added on both sides: numbers, [`ConvPadding::Same`] or [`ConvPadding::Valid`]. Default 0.
        padding / with_padding: impl Into<ConvPadding> => ConvPadding = ConvPadding::from(0),
        /// How far apart the elements of the kernel are. Default 1.
        dilation / with_dilation: impl Into<Sizes> => Sizes = 1.into(),
        /// How many parts the channels are divided into. Default 1.
        groups / with_groups: usize = 1,
        /// Whether something is added to each channel. Default true.
        bias / with_bias: bool = true,
        /// What is added: zeros, or elements of the input. Default zeros.
        padding_mode / with_padding_mode: PaddingMode = PaddingMode::Zeros,
    }

    /// `torch.nn.ConvTranspose1d(in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1,
    /// bias=True, dilation=1)`, and `ConvTranspose2d`, `ConvTranspose3d`. `N` is two more than there are dimensions.
    ConvTransposeConfig<const N: usize>(
        /// Channels of the input.
        in_channels: usize,
        /// Channels of the output.
        out_channels: usize,
        /// The size of the kernel: a number, or one for each dimension.
        kernel_size: impl Into<Sizes> => Sizes,
    ) {
        /// How far apart the input's elements fall. Default 1.
        stride / with_stride: impl Into<Sizes> => Sizes = 1.into(),
        /// What is cut off on both sides. Default 0.
        padding / with_padding: impl Into<Sizes> => Sizes = 0.into(),
        /// What is added on one side. Default 0.
        output_padding / with_output_padding: impl Into<Sizes> => Sizes = 0.into(),
        /// How many parts the channels are divided into. Default 1.
        groups / with_groups: usize = 1,
        /// Whether something is added to each channel. Default true.
        bias / with_bias: bool = true,
        /// How far apart the elements of the kernel are. Default 1.
        dilation / with_dilation: impl Into<Sizes> => Sizes = 1.into(),
    }
}

/// Options of a [`Conv1d`].
pub type Conv1dConfig = ConvConfig<3>;
/// Options of a [`Conv2d`].
pub type Conv2dConfig = ConvConfig<4>;
/// Options of a [`Conv3d`].
pub type Conv3dConfig = ConvConfig<5>;
/// Options of a [`ConvTranspose1d`].
pub type ConvTranspose1dConfig = ConvTransposeConfig<3>;
/// Options of a [`ConvTranspose2d`].
pub type ConvTranspose2dConfig = ConvTransposeConfig<4>;
/// Options of a [`ConvTranspose3d`].
pub type ConvTranspose3dConfig = ConvTransposeConfig<5>;

/// A convolution over one to three dimensions; `N` is two more.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use rekindle_models::init::Init;
/// use rekindle_models::nn::Conv2dConfig;
///
/// let device = Device::flex();
/// let layer = Conv2dConfig::new(3, 6, 5).with_stride(2).with_padding([2, 1]).init(&mut Init::seeded(&device, 0))?;
/// assert_eq!(layer.forward(Tensor::<4>::ones([1, 3, 32, 32], &device))?.dims(), [1, 6, 16, 15]);
/// # Ok::<(), rekindle_models::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conv<const N: usize> {
    /// `[out, in / groups, kernel...]`.
    pub weight: Param<Tensor<N>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    how: Convolution,
    padding: ConvPadding,
    mode: PaddingMode,
}

/// A transposed convolution over one to three dimensions; `N` is two more.
#[derive(Clone, Debug)]
pub struct ConvTranspose<const N: usize> {
    /// `[in, out / groups, kernel...]`.
    pub weight: Param<Tensor<N>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    how: Convolution,
}

/// `torch.nn.Conv1d`: `[batch, channels, length]`.
pub type Conv1d = Conv<3>;
/// `torch.nn.Conv2d`: `[batch, channels, height, width]`.
pub type Conv2d = Conv<4>;
/// `torch.nn.Conv3d`: `[batch, channels, depth, height, width]`.
pub type Conv3d = Conv<5>;
/// `torch.nn.ConvTranspose1d`: `[batch, channels, length]`.
pub type ConvTranspose1d = ConvTranspose<3>;
/// `torch.nn.ConvTranspose2d`: `[batch, channels, height, width]`.
pub type ConvTranspose2d = ConvTranspose<4>;
/// `torch.nn.ConvTranspose3d`: `[batch, channels, depth, height, width]`.
pub type ConvTranspose3d = ConvTranspose<5>;

module!(Conv<const N: usize> { weight, bias; how, padding, mode });
module!(ConvTranspose<const N: usize> { weight, bias; how });

/// The weight's shape, of which channels are in front.
fn shape_of<const N: usize>(
    layer: &'static str,
    channels: [usize; 2],
    groups: usize,
    kernel: &Sizes,
) -> Result<[usize; N]> {
    if channels.iter().any(|channels| channels.checked_rem(groups) != Some(0)) {
        return Err(refused(layer, format!("channels {channels:?} cannot be divided among {groups} groups")));
    }
    let mut shape = [1; N];
    shape[..2].copy_from_slice(&[channels[0], channels[1] / groups]);
    shape[2..].copy_from_slice(&kernel.each(layer, N - 2)?);
    Ok(shape)
}

impl<const N: usize> ConvConfig<N> {
    /// The layer, with weights as PyTorch draws them.
    ///
    /// # Errors
    /// When the channels cannot be divided among the groups, or there are not as many numbers as dimensions.
    pub fn init(&self, init: &mut Init<'_>) -> Result<Conv<N>> {
        let shape = shape_of("a convolution", [self.out_channels, self.in_channels], self.groups, &self.kernel_size)?;
        let stride = self.stride.each("a convolution", N - 2)?;
        let padding = match &self.padding {
            ConvPadding::Sizes(sizes) => sizes.each("a convolution", N - 2)?,
            ConvPadding::Same if stride.iter().any(|&stride| stride != 1) => {
                return Err(refused("a convolution", "padding 'same' is for a stride of 1"));
            }
            _ => vec![0],
        };
        Ok(Conv {
            weight: init.param(shape, layer_weight(&shape)?)?,
            bias: if self.bias { Some(init.param([self.out_channels], layer_bias(&shape)?)?) } else { None },
            how: Convolution {
                stride,
                padding,
                dilation: self.dilation.each("a convolution", N - 2)?,
                groups: self.groups,
                ..Convolution::default()
            },
            padding: self.padding.clone(),
            mode: self.padding_mode,
        })
    }
}

impl<const N: usize> Conv<N> {
    /// `[batch, in, ...]` to `[batch, out, ...]`, or both without a batch.
    ///
    /// # Errors
    /// When the channels are others, or the kernel is larger than the padded input.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Result<Tensor<D>> {
        self.forward_array(&Array::from_float(input))?.into_float()
    }
}

impl<const N: usize> Forward for Conv<N> {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        let (weight, bias) = (value(&self.weight), maybe(self.bias.as_ref()));
        let same = self.padding == ConvPadding::Same;
        if self.mode == PaddingMode::Zeros {
            let convolve = if same { Array::conv_same } else { Array::conv };
            return convolve(input, &weight, bias.as_ref(), &self.how);
        }
        // A pair a dimension, the last one first.
        let mut pad = Vec::new();
        for at in (0..N - 2).rev() {
            let total = self.how.dilation[at] * weight.shape()[at + 2].saturating_sub(1);
            let padding = self.how.padding.get(at).copied().unwrap_or(0);
            let (before, after) = if same { (total / 2, total - total / 2) } else { (padding, padding) };
            pad.extend([before, after].map(crate::functional::signed));
        }
        let how = Convolution { padding: vec![0], ..self.how.clone() };
        input.pad(&pad, self.mode.padding())?.conv(&weight, bias.as_ref(), &how)
    }
}

impl<const N: usize> ConvTransposeConfig<N> {
    /// The layer, with weights as PyTorch draws them.
    ///
    /// # Errors
    /// When the channels cannot be divided among the groups, or there are not as many numbers as dimensions.
    pub fn init(&self, init: &mut Init<'_>) -> Result<ConvTranspose<N>> {
        const NAME: &str = "a transposed convolution";
        let shape = shape_of(NAME, [self.in_channels, self.out_channels], self.groups, &self.kernel_size)?;
        Ok(ConvTranspose {
            weight: init.param(shape, layer_weight(&shape)?)?,
            bias: if self.bias { Some(init.param([self.out_channels], layer_bias(&shape)?)?) } else { None },
            how: Convolution {
                stride: self.stride.each(NAME, N - 2)?,
                padding: self.padding.each(NAME, N - 2)?,
                dilation: self.dilation.each(NAME, N - 2)?,
                groups: self.groups,
                output_padding: self.output_padding.each(NAME, N - 2)?,
            },
        })
    }
}

impl<const N: usize> ConvTranspose<N> {
    /// `[batch, in, ...]` to `[batch, out, ...]`, or both without a batch.
    ///
    /// # Errors
    /// When the channels are others.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Result<Tensor<D>> {
        self.forward_array(&Array::from_float(input))?.into_float()
    }
}

impl<const N: usize> Forward for ConvTranspose<N> {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        input.conv_transpose(&value(&self.weight), maybe(self.bias.as_ref()).as_ref(), &self.how)
    }
}

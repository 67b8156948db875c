//! `Unfold` and `Fold`: windows of images as columns, and back.

use burn::tensor::Tensor;

use super::module::{Forward, Sizes, options, refused, stateless};
use crate::Result;
use crate::functional::{Array, Blocks};

options! {
    /// `torch.nn.Unfold(kernel_size, dilation=1, padding=0, stride=1)`: `[batch, channels, height, width]` to
    /// `[batch, channels * kernel, windows]`. It has no parameters, and is its own options.
    Unfold(
        /// The size of a window: a number, or one for height and width.
        kernel_size: impl Into<Sizes> => Sizes,
    ) {
        /// How far apart a window's elements are. Default 1.
        dilation / with_dilation: impl Into<Sizes> => Sizes = 1.into(),
        /// What is added on both sides. Default 0.
        padding / with_padding: impl Into<Sizes> => Sizes = 0.into(),
        /// How far apart windows are. Default 1.
        stride / with_stride: impl Into<Sizes> => Sizes = 1.into(),
    }

    /// `torch.nn.Fold(output_size, kernel_size, dilation=1, padding=0, stride=1)`: `[batch, channels * kernel, windows]` to
    /// `[batch, channels, height, width]`, where windows that overlap are added. It has no parameters, and is its own options.
    Fold(
        /// The size of the image: a number, or height and width.
        output_size: impl Into<Sizes> => Sizes,
        /// The size of a window: a number, or one for height and width.
        kernel_size: impl Into<Sizes> => Sizes,
    ) {
        /// How far apart a window's elements are. Default 1.
        dilation / with_dilation: impl Into<Sizes> => Sizes = 1.into(),
        /// What is added on both sides. Default 0.
        padding / with_padding: impl Into<Sizes> => Sizes = 0.into(),
        /// How far apart windows are. Default 1.
        stride / with_stride: impl Into<Sizes> => Sizes = 1.into(),
    }
}

stateless!(Unfold, Fold);

fn pair(sizes: &Sizes, layer: &'static str) -> Result<[usize; 2]> {
    sizes.each(layer, 2)?.try_into().map_err(|_| refused(layer, "height and width are two numbers"))
}

impl Forward for Unfold {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        let of = |sizes: &Sizes| pair(sizes, "Unfold");
        let (kernel, dilation) = (of(&self.kernel_size)?, of(&self.dilation)?);
        input.im2col(&Blocks { kernel, dilation, padding: of(&self.padding)?, stride: of(&self.stride)? })
    }
}

impl Forward for Fold {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        let of = |sizes: &Sizes| pair(sizes, "Fold");
        let (kernel, dilation) = (of(&self.kernel_size)?, of(&self.dilation)?);
        let blocks = Blocks { kernel, dilation, padding: of(&self.padding)?, stride: of(&self.stride)? };
        input.col2im(of(&self.output_size)?, &blocks)
    }
}

impl Unfold {
    /// `[batch, channels, height, width]` to `[batch, channels * kernel, windows]`.
    ///
    /// # Errors
    /// When there is no window.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use rekindle_models::nn::{Fold, Unfold};
    ///
    /// let image = Tensor::<4>::ones([2, 3, 4, 5], &Device::flex());
    /// let columns = Unfold::new([2, 3]).forward(image)?;
    /// assert_eq!(columns.dims(), [2, 18, 9]);
    /// assert_eq!(Fold::new([4, 5], [2, 3]).forward(columns)?.dims(), [2, 3, 4, 5]);
    /// # Ok::<(), rekindle_models::ModelError>(())
    /// ```
    pub fn forward(&self, input: Tensor<4>) -> Result<Tensor<3>> {
        self.forward_array(&Array::from_float(input))?.into_float()
    }
}

impl Fold {
    /// `[batch, channels * kernel, windows]` to `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// When the windows do not make up such images.
    pub fn forward(&self, input: Tensor<3>) -> Result<Tensor<4>> {
        self.forward_array(&Array::from_float(input))?.into_float()
    }
}

//! Pooling: `MaxPool`, `AvgPool`, `AdaptiveAvgPool`, `AdaptiveMaxPool`, `LPPool`, over one to three dimensions.

use burn::tensor::Tensor;

use super::module::{Forward, Sizes, options, refused, rounded, stateless};
use crate::Result;
use crate::functional::{Array, Unary, Windows, region};

options! {
    /// `torch.nn.MaxPool1d(kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False)`, and 2d, 3d: the largest of each window.
    /// `N` is two more than there are dimensions. It has no parameters, and is its own options.
    MaxPool<const N: usize>(
        /// The size of a window: a number, or one for each dimension.
        kernel_size: impl Into<Sizes> => Sizes,
    ) {
        /// How far apart windows are. Default `None`: as far as they are long.
        stride / with_stride: impl Into<Stride> => Stride = Stride(None),
        /// What is added on both sides. Default 0.
        padding / with_padding: impl Into<Sizes> => Sizes = 0.into(),
        /// How far apart a window's elements are. Default 1.
        dilation / with_dilation: impl Into<Sizes> => Sizes = 1.into(),
        /// Whether a window may reach beyond the end. Default false.
        ceil_mode / with_ceil_mode: bool = false,
    }

    /// `torch.nn.AvgPool1d(kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None)`, and
    /// 2d, 3d: the mean of each window. `N` is two more than there are dimensions.
    AvgPool<const N: usize>(
        /// The size of a window: a number, or one for each dimension.
        kernel_size: impl Into<Sizes> => Sizes,
    ) {
        /// How far apart windows are. Default `None`: as far as they are long.
        stride / with_stride: impl Into<Stride> => Stride = Stride(None),
        /// What is added on both sides. Default 0.
        padding / with_padding: impl Into<Sizes> => Sizes = 0.into(),
        /// Whether a window may reach beyond the end. Default false.
        ceil_mode / with_ceil_mode: bool = false,
        /// Whether what was added counts. Default true.
        count_include_pad / with_count_include_pad: bool = true,
        /// What sums are divided by. Default `None`: the size of the window.
        divisor_override / with_divisor_override: Option<i64> = None,
    }

    /// `torch.nn.LPPool1d(norm_type, kernel_size, stride=None, ceil_mode=False)`, and 2d, 3d: `(sum x^p)^(1/p)` of each window. `N` is two
    /// more than there are dimensions.
    LPPool<const N: usize>(
        /// The exponent.
        norm_type: f64,
        /// The size of a window: a number, or one for each dimension.
        kernel_size: impl Into<Sizes> => Sizes,
    ) {
        /// How far apart windows are. Default `None`: as far as they are long.
        stride / with_stride: impl Into<Stride> => Stride = Stride(None),
        /// Whether a window may reach beyond the end. Default false.
        ceil_mode / with_ceil_mode: bool = false,
    }

    /// `torch.nn.AdaptiveAvgPool1d(output_size)`, and 2d, 3d: means of as many windows as are wanted. `N` is two more than there are
    /// dimensions.
    AdaptiveAvgPool<const N: usize>(
        /// How many: a number, or one for each dimension, `None` for as many as the input is long (`[None, Some(7)]`).
        output_size: impl Into<OutputSize> => OutputSize,
    ) {}

    /// `torch.nn.AdaptiveMaxPool1d(output_size)`, and 2d, 3d: the largest of as many windows as are wanted. `N` is two more than there
    /// are dimensions.
    AdaptiveMaxPool<const N: usize>(
        /// How many: a number, or one for each dimension, `None` for as many as the input is long (`[None, Some(7)]`).
        output_size: impl Into<OutputSize> => OutputSize,
    ) {}
}

/// How many windows an adaptive pool has: a number, or one for each dimension, where `None` is as many as the input is long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSize(Vec<Option<usize>>);

impl<T: Into<Sizes>> From<T> for OutputSize {
    fn from(sizes: T) -> Self {
        OutputSize(sizes.into().0.into_iter().map(Some).collect())
    }
}

impl<const N: usize> From<[Option<usize>; N]> for OutputSize {
    fn from(sizes: [Option<usize>; N]) -> Self {
        OutputSize(sizes.to_vec())
    }
}

impl OutputSize {
    /// One for each of the last dimensions of such an input.
    fn each(&self, layer: &'static str, dimensions: usize, input: &Array) -> Result<Vec<usize>> {
        let wanted = match self.0[..] {
            [one] => vec![one; dimensions],
            _ => self.0.clone(),
        };
        let Some(front) = input.rank().checked_sub(dimensions).filter(|_| wanted.len() == dimensions) else {
            let reason = format!("sizes {:?} and an input of {:?} do not go together", self.0, input.shape());
            return Err(refused(layer, reason));
        };
        Ok(wanted.iter().zip(&input.shape()[front..]).map(|(wanted, &length)| wanted.unwrap_or(length)).collect())
    }
}

/// How far apart windows are; `None`: as far as they are long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stride(Option<Sizes>);

impl<T: Into<Sizes>> From<T> for Stride {
    fn from(sizes: T) -> Self {
        Stride(Some(sizes.into()))
    }
}

impl Stride {
    /// One for each dimension of such a window.
    pub(super) fn each(&self, layer: &'static str, kernel: &[usize]) -> Result<Vec<usize>> {
        self.0.as_ref().map_or(Ok(kernel.to_vec()), |sizes| sizes.each(layer, kernel.len()))
    }

    fn list(&self) -> Vec<usize> {
        self.0.as_ref().map(|sizes| sizes.0.clone()).unwrap_or_default()
    }
}

stateless!(
    MaxPool<const N: usize>,
    AvgPool<const N: usize>,
    LPPool<const N: usize>,
    AdaptiveAvgPool<const N: usize>,
    AdaptiveMaxPool<const N: usize>,
);

impl<const N: usize> Forward for MaxPool<N> {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        input.max_pool(N - 2, &self.windows())
    }
}

impl<const N: usize> MaxPool<N> {
    fn windows(&self) -> Windows {
        Windows {
            stride: self.stride.list(),
            padding: self.padding.0.clone(),
            dilation: self.dilation.0.clone(),
            ceil: self.ceil_mode,
            ..Windows::new(self.kernel_size.0.clone())
        }
    }

    /// The largest and their places.
    fn chosen(&self, input: &Array) -> Result<(Array, Array)> {
        input.max_pool_with_indices(N - 2, &self.windows())
    }
}

impl<const N: usize> AdaptiveMaxPool<N> {
    /// The largest and their places.
    fn chosen(&self, input: &Array) -> Result<(Array, Array)> {
        input.adaptive_max_pool(&self.output_size.each("AdaptiveMaxPool", N - 2, input)?)
    }
}

/// What gives the places of what it chose, too.
macro_rules! gives_indices {
    ($($name:ident),+) => { $(
        impl<const N: usize> $name<N> {
            /// As [`forward`](Self::forward), with the places of the largest in the plane (or the room) of their channel:
            /// `return_indices=True`.
            ///
            /// # Errors
            /// When there is no window, or windows do not fit.
            pub fn forward_with_indices<const D: usize>(
                &self,
                input: burn::tensor::Tensor<D>,
            ) -> Result<(burn::tensor::Tensor<D>, burn::tensor::Tensor<D, burn::tensor::Int>)> {
                let (values, indices) = self.chosen(&Array::from_float(input))?;
                Ok((values.into_float()?, indices.into_int()?))
            }
        }
    )+ };
}
pub(super) use gives_indices;

gives_indices!(MaxPool, AdaptiveMaxPool);

/// The mean of windows: of 16 bits rounded once, but for three dimensions within autocast, which come out in `float32`.
fn pooled<const N: usize>(input: &Array, pool: impl FnOnce(&Array) -> Result<Array>) -> Result<Array> {
    if N == 5 && region().is_some() { pool(input) } else { rounded(input, [], |x, []| pool(x)) }
}

impl<const N: usize> Forward for AvgPool<N> {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        let how = Windows {
            stride: self.stride.list(),
            padding: self.padding.0.clone(),
            ceil: self.ceil_mode,
            count_padding: self.count_include_pad,
            divisor: self.divisor_override,
            ..Windows::new(self.kernel_size.0.clone())
        };
        pooled::<N>(input, |x| x.avg_pool(N - 2, &how))
    }
}

impl<const N: usize> Forward for LPPool<N> {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        let kernel = self.kernel_size.each("LPPool", N - 2)?;
        let size: usize = kernel.iter().product();
        let how = Windows { stride: self.stride.list(), ceil: self.ceil_mode, ..Windows::new(kernel) };
        rounded(input, [], |x, []| {
            let mean = x.pow(self.norm_type)?.avg_pool(N - 2, &how)?;
            // As torch.nn.functional.lp_pool2d: a sum below 0 counts as 0.
            #[allow(clippy::cast_precision_loss)] // the size of a window
            let sum = mean.unary(Unary::Sign)?.mul(&mean.unary(Unary::Abs)?.relu()?)?.mul(size as f64)?;
            sum.pow(1.0 / self.norm_type)
        })
    }
}

impl<const N: usize> Forward for AdaptiveAvgPool<N> {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        let sizes = self.output_size.each("AdaptiveAvgPool", N - 2, input)?;
        pooled::<N>(input, |x| x.adaptive_avg_pool(&sizes))
    }
}

impl<const N: usize> Forward for AdaptiveMaxPool<N> {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        Ok(self.chosen(input)?.0)
    }
}

macro_rules! pools {
    ($($name:ident: $one:ident $two:ident $three:ident;)+) => { $(
        #[doc = concat!("`torch.nn.", stringify!($one), "`: `[batch, channels, length]`.")]
        pub type $one = $name<3>;
        #[doc = concat!("`torch.nn.", stringify!($two), "`: `[batch, channels, height, width]`.")]
        pub type $two = $name<4>;
        #[doc = concat!("`torch.nn.", stringify!($three), "`: `[batch, channels, depth, height, width]`.")]
        pub type $three = $name<5>;

        impl<const N: usize> $name<N> {
            /// `[batch, channels, ...]` to the same with other lengths, or both without a batch.
            ///
            /// # Errors
            /// When there is no window.
            pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Result<Tensor<D>> {
                self.forward_array(&Array::from_float(input))?.into_float()
            }
        }
    )+ };
}

pools! {
    MaxPool: MaxPool1d MaxPool2d MaxPool3d;
    AvgPool: AvgPool1d AvgPool2d AvgPool3d;
    LPPool: LPPool1d LPPool2d LPPool3d;
    AdaptiveAvgPool: AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d;
    AdaptiveMaxPool: AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d;
}

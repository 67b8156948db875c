//! `MaxUnpool1d` to `3d`, and `FractionalMaxPool2d`, `3d`.

use std::sync::PoisonError;

use burn::tensor::{Int, Tensor};

use super::module::{Forward, Sizes, options, refused, stateless};
use super::pool::{Stride, gives_indices};
use crate::Result;
use crate::functional::Array;
use crate::init::{Init, SharedGenerator};

options! {
    /// `torch.nn.MaxUnpool1d(kernel_size, stride=None, padding=0)`, and 2d, 3d: what [`MaxPool`](super::MaxPool) chose, back at its
    /// place, and zeros between. `N` is two more than there are dimensions. It has no parameters, and is its own options.
    MaxUnpool<const N: usize>(
        /// The size of a window: a number, or one for each dimension.
        kernel_size: impl Into<Sizes> => Sizes,
    ) {
        /// How far apart windows are. Default `None`: as far as they are long.
        stride / with_stride: impl Into<Stride> => Stride = Stride::default(),
        /// What was added on both sides. Default 0.
        padding / with_padding: impl Into<Sizes> => Sizes = 0.into(),
    }
}

/// `torch.nn.FractionalMaxPool2d(kernel_size, output_size=None, output_ratio=None)`, and 3d: the largest of windows that lie at random,
/// so that there may be any number of them. `N` is two more than there are dimensions.
///
/// In training and in evaluation it draws from the generator that the layers of a network share, as PyTorch does.
#[derive(Clone, Debug)]
pub struct FractionalMaxPool<const N: usize> {
    kernel_size: Sizes,
    output: Output,
    generator: SharedGenerator,
}

/// How many windows there are.
#[derive(Clone, Debug)]
enum Output {
    Sizes(Sizes),
    Ratio(Vec<f64>),
}

stateless!(MaxUnpool<const N: usize>, FractionalMaxPool<const N: usize>);

impl<const N: usize> MaxUnpool<N> {
    /// How long each of these dimensions is without an `output_size`.
    fn lengths(&self, input: &[usize]) -> Result<(Vec<usize>, Vec<usize>)> {
        let kernel = self.kernel_size.each("MaxUnpool", N - 2)?;
        let stride = self.stride.each("MaxUnpool", &kernel)?;
        let padding = self.padding.each("MaxUnpool", N - 2)?;
        let length = |at: usize| {
            let full = input[at].saturating_sub(1) * stride[at] + kernel[at];
            full.checked_sub(2 * padding[at]).filter(|&length| length > 0)
        };
        let lengths = (0..N - 2).map(length).collect::<Option<Vec<_>>>();
        Ok((lengths.ok_or_else(|| refused("MaxUnpool", "padding is larger than what there is"))?, stride))
    }

    /// `[batch, channels, ...]` (or without a batch) and the indices of
    /// [`forward_with_indices`](super::MaxPool::forward_with_indices), to what was pooled. Of several inputs to it that make equal outputs
    /// `output_size` says which; default: the smallest.
    ///
    /// # Errors
    /// When the indices do not fit, or the pool gives no such output of an input of `output_size`.
    pub fn forward<const D: usize>(
        &self,
        input: Tensor<D>,
        indices: Tensor<D, Int>,
        output_size: Option<[usize; D]>,
    ) -> Result<Tensor<D>> {
        if D != N && D + 1 != N {
            let reason = format!("an input of {:?} has not {N} dimensions, or {} without a batch", input.dims(), N - 1);
            return Err(refused("MaxUnpool", reason));
        }
        let front = D + 2 - N;
        let (default, stride) = self.lengths(&input.dims()[front..])?;
        let lengths = match output_size {
            None => default,
            Some(given) => {
                let lengths = given[front..].to_vec();
                let near = |at: usize| lengths[at] + stride[at] > default[at] && lengths[at] < default[at] + stride[at];
                if !(0..N - 2).all(near) {
                    let reason = format!("an output of {lengths:?} is too far from {default:?}");
                    return Err(refused("MaxUnpool", reason));
                }
                lengths
            }
        };
        Array::from_float(input).max_unpool(&Array::from_int(indices), &lengths)?.into_float()
    }
}

impl<const N: usize> FractionalMaxPool<N> {
    /// With so many windows: a number, or one for each dimension.
    #[must_use]
    pub fn new(kernel_size: impl Into<Sizes>, output_size: impl Into<Sizes>, init: &Init<'_>) -> Self {
        let (kernel_size, output) = (kernel_size.into(), Output::Sizes(output_size.into()));
        FractionalMaxPool { kernel_size, output, generator: init.generator().clone() }
    }

    /// With this part of the input's length of windows, between 0 and 1: PyTorch's `output_ratio`, one for each dimension or for all.
    ///
    /// # Errors
    /// When one is not between 0 and 1, or there are not as many as dimensions.
    pub fn with_ratio(kernel_size: impl Into<Sizes>, output_ratio: &[f64], init: &Init<'_>) -> Result<Self> {
        let ratio = if let &[one] = output_ratio { vec![one; N - 2] } else { output_ratio.to_vec() };
        if ratio.len() != N - 2 || !ratio.iter().all(|part| 0.0 < *part && *part < 1.0) {
            return Err(refused("FractionalMaxPool", format!("{output_ratio:?} are no parts between 0 and 1")));
        }
        let (kernel_size, output) = (kernel_size.into(), Output::Ratio(ratio));
        Ok(FractionalMaxPool { kernel_size, output, generator: init.generator().clone() })
    }

    /// What it draws from.
    #[must_use]
    pub fn generator(&self) -> &SharedGenerator {
        &self.generator
    }

    fn chosen(&self, input: &Array) -> Result<(Array, Array)> {
        let front = input.rank().checked_sub(N - 2).filter(|front| *front == 1 || *front == 2);
        let front = front.ok_or_else(|| refused("FractionalMaxPool", format!("{:?} is no input", input.shape())))?;
        let lengths = &input.shape()[front..];
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
        // as Python's `int`
        let sizes = match &self.output {
            Output::Sizes(sizes) => sizes.each("FractionalMaxPool", N - 2)?,
            Output::Ratio(ratio) => {
                lengths.iter().zip(ratio).map(|(&length, ratio)| (length as f64 * ratio) as usize).collect()
            }
        };
        let planes: usize = input.shape()[..front].iter().product();
        let mut generator = self.generator.lock().unwrap_or_else(PoisonError::into_inner);
        let samples = Array::rand(&[planes, N - 2], input.dtype(), &input.device(), &mut generator)?;
        input.fractional_max_pool(&self.kernel_size.each("FractionalMaxPool", N - 2)?, &sizes, &samples)
    }

    /// `[batch, channels, ...]` to the same with as many windows, or both without a batch.
    ///
    /// # Errors
    /// When windows do not fit.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Result<Tensor<D>> {
        self.forward_array(&Array::from_float(input))?.into_float()
    }
}

gives_indices!(FractionalMaxPool);

impl<const N: usize> Forward for FractionalMaxPool<N> {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        Ok(self.chosen(input)?.0)
    }
}

/// `torch.nn.MaxUnpool1d`: `[batch, channels, length]`.
pub type MaxUnpool1d = MaxUnpool<3>;
/// `torch.nn.MaxUnpool2d`: `[batch, channels, height, width]`.
pub type MaxUnpool2d = MaxUnpool<4>;
/// `torch.nn.MaxUnpool3d`: `[batch, channels, depth, height, width]`.
pub type MaxUnpool3d = MaxUnpool<5>;
/// `torch.nn.FractionalMaxPool2d`: `[batch, channels, height, width]`.
pub type FractionalMaxPool2d = FractionalMaxPool<4>;
/// `torch.nn.FractionalMaxPool3d`: `[batch, channels, depth, height, width]`.
pub type FractionalMaxPool3d = FractionalMaxPool<5>;

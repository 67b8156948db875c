//! Convolutions over one, two or three dimensions, and transposed ones.

use burn::backend::Dispatch;
use burn::backend::ops::{ConvOptions, ConvTransposeOptions, ModuleOps};

use super::array::{Array, refused};
use super::autocast::lower;
use super::cpu::{Conv2d, computed, pays, serves};
use super::number::Number;
use super::shape::Padding;
use crate::Result;

/// How a convolution goes over its input. Each list has one number for each dimension, or one for all.
#[derive(Clone, Debug)]
pub struct Convolution {
    /// How far the kernel moves. Default 1.
    pub stride: Vec<usize>,
    /// Zeros on both sides. Default 0.
    pub padding: Vec<usize>,
    /// How far apart the elements of the kernel are. Default 1.
    pub dilation: Vec<usize>,
    /// How many parts the channels are divided into. Default 1.
    pub groups: usize,
    /// Of a transposed convolution: what is added to one side of the output. Default 0.
    pub output_padding: Vec<usize>,
}

impl Default for Convolution {
    fn default() -> Self {
        let one = vec![1];
        Convolution { stride: one.clone(), padding: vec![0], dilation: one, groups: 1, output_padding: vec![0] }
    }
}

/// A number for each dimension.
pub(super) fn each<const N: usize>(name: &str, numbers: &[usize]) -> Result<[usize; N]> {
    match *numbers {
        [one] => Ok([one; N]),
        _ => numbers
            .try_into()
            .map_err(|_| refused("a convolution", format!("{name} needs {N} numbers, not {numbers:?}"))),
    }
}

impl Array {
    /// `conv1d`, `conv2d` or `conv3d`, by the weight's dimensions. An input without a batch is one of one.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn conv(&self, weight: &Array, bias: Option<&Array>, how: &Convolution) -> Result<Self> {
        self.convolution(weight, bias, how, false)
    }

    /// `conv_transpose1d`, `conv_transpose2d` or `conv_transpose3d`, by the weight's dimensions.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn conv_transpose(&self, weight: &Array, bias: Option<&Array>, how: &Convolution) -> Result<Self> {
        self.convolution(weight, bias, how, true)
    }

    /// Of 16-bit numbers computed in float32 on the CPU, and rounded once.
    fn convolution(&self, weight: &Array, bias: Option<&Array>, how: &Convolution, transposed: bool) -> Result<Self> {
        lower([self, weight], bias, |[x, weight], bias| x.convolved(weight, bias, how, transposed))
    }

    /// `conv` with `padding="same"`: as many outputs as inputs, the odd zero on the right.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn conv_same(&self, weight: &Array, bias: Option<&Array>, how: &Convolution) -> Result<Self> {
        let mut pad = Vec::new();
        for (at, &kernel) in weight.shape().iter().skip(2).enumerate().rev() {
            let dilation = how.dilation.get(at).or(how.dilation.first()).copied().unwrap_or(1);
            let total = dilation * kernel.saturating_sub(1);
            pad.extend([super::index::signed(total / 2), super::index::signed(total - total / 2)]);
        }
        let padded = self.pad(&pad, Padding::Constant(Number::Int(0)))?;
        padded.conv(weight, bias, &Convolution { padding: vec![0], ..how.clone() })
    }

    fn convolved(&self, weight: &Array, bias: Option<&Array>, how: &Convolution, transposed: bool) -> Result<Self> {
        let spatial = weight.rank().saturating_sub(2);
        if self.rank() == spatial + 1 && spatial > 0 {
            return self.unsqueeze(0)?.convolved(weight, bias, how, transposed)?.squeeze(Some(&[0]));
        }
        let channels = self.shape().get(1).copied().unwrap_or(0);
        let taken = weight.shape().get(usize::from(!transposed)).copied().unwrap_or(0);
        let fits = if transposed { channels == taken } else { channels == taken * how.groups };
        if self.rank() != weight.rank() || !fits || how.groups == 0 || self.dtype() != weight.dtype() {
            let (x, w) = (self.shape(), weight.shape());
            let reason = format!(
                "an input of {x:?} {} and a weight of {w:?} {} with {} groups do not go together",
                self.dtype_name(),
                weight.dtype_name(),
                how.groups
            );
            return Err(refused("a convolution", reason));
        }
        if self.kind() != super::Kind::Float {
            let reason = format!("it is for floating-point numbers, not {}", self.dtype_name());
            return Err(refused("a convolution", reason));
        }
        if self.shape()[2..].contains(&0) {
            let reason = format!(
                "only a batch may be empty, and an input of {:?} has dimensions without elements",
                self.shape()
            );
            return Err(refused("a convolution", reason));
        }
        let inputs: Vec<&Array> = [Some(self), Some(weight), bias].into_iter().flatten().collect();
        let work = self.numel() / channels.max(1) * weight.numel() / how.stride.iter().product::<usize>().max(1);
        let own = !transposed
            && pays(work, Conv2d::LEAST)
            && bias.is_none_or(|bias| bias.rank() == 1 && bias.shape().first() == weight.shape().first())
            && serves(&inputs);
        let leftover = how.stride.iter().any(|&stride| stride > 1);
        if spatial == 1 && !transposed && (own || how.groups > 1 && leftover) {
            // An operator of our own is for two dimensions; and Burn 0.22's gradient of the weight is wrong where the stride
            // leaves something over, but that of two dimensions is right.
            let plane = |numbers: &[usize], first: usize| [&[first], numbers].concat();
            let how = Convolution {
                stride: plane(&how.stride, 1),
                padding: plane(&how.padding, 0),
                dilation: plane(&how.dilation, 1),
                ..how.clone()
            };
            return self.unsqueeze(2)?.convolved(&weight.unsqueeze(2)?, bias, &how, false)?.squeeze(Some(&[2]));
        }
        if own && spatial == 2 && weight.shape()[0].is_multiple_of(how.groups) {
            let [stride, padding, dilation] =
                [("stride", &how.stride), ("padding", &how.padding), ("dilation", &how.dilation)]
                    .map(|(name, numbers)| each::<2>(name, numbers));
            let (stride, padding, dilation) = (stride?, padding?, dilation?);
            if stride.contains(&0) || dilation.contains(&0) {
                return Err(refused("a convolution", "stride and dilation are at least 1"));
            }
            self.reaches(weight, &padding, &dilation)?;
            if let Some(y) = computed(Conv2d { stride, padding, dilation, groups: how.groups }, &inputs) {
                return Ok(Array::of(y));
            }
        }
        let (x, w, b) = (self.prim(), weight.prim(), bias.map(Array::prim));
        macro_rules! run {
            ($n:literal, $conv:ident, $transpose:ident) => {{
                let stride = each::<$n>("stride", &how.stride)?;
                let padding = each::<$n>("padding", &how.padding)?;
                let dilation = each::<$n>("dilation", &how.dilation)?;
                if stride.contains(&0) || dilation.contains(&0) {
                    return Err(refused("a convolution", "stride and dilation are at least 1"));
                }
                if transposed {
                    let output = each::<$n>("output_padding", &how.output_padding)?;
                    Dispatch::$transpose(
                        x,
                        w,
                        b,
                        ConvTransposeOptions::new(stride, padding, output, dilation, how.groups),
                    )
                } else {
                    self.reaches(weight, &padding, &dilation)?;
                    Dispatch::$conv(x, w, b, ConvOptions::new(stride, padding, dilation, how.groups))
                }
            }};
        }
        Ok(Array::of(match spatial {
            1 => run!(1, conv1d, conv_transpose1d),
            2 => run!(2, conv2d, conv_transpose2d),
            3 => run!(3, conv3d, conv_transpose3d),
            _ => return Err(refused("a convolution", format!("its weight has {} dimensions", weight.rank()))),
        }))
    }

    /// That the kernel is not larger than the padded input.
    fn reaches(&self, weight: &Array, padding: &[usize], dilation: &[usize]) -> Result<()> {
        for (at, (&length, &kernel)) in self.shape().iter().zip(weight.shape()).skip(2).enumerate() {
            let (reach, there) = (dilation[at] * kernel.saturating_sub(1) + 1, length + 2 * padding[at]);
            if reach > there {
                let reason = format!("a kernel of {reach} is larger than the padded input of {there}");
                return Err(refused("a convolution", reason));
            }
        }
        Ok(())
    }
}

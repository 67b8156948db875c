//! `ZeroPad1d` to `ZeroPad3d`, `ConstantPad`, `ReflectionPad`, `ReplicationPad`, `CircularPad`: one layer, by its mode.

use super::module::{Forward, keeps_rank, stateless};
use crate::Result;
use crate::functional::{Array, Number, Padding};

/// What is added around a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PaddingMode {
    /// Zeros.
    Zeros,
    /// This number.
    Constant(f64),
    /// The elements before the border, mirrored; the border is not repeated.
    Reflect,
    /// The element at the border.
    Replicate,
    /// The elements of the other side.
    Circular,
}

impl PaddingMode {
    pub(super) fn padding(self) -> Padding {
        match self {
            PaddingMode::Zeros => Padding::Constant(Number::Int(0)),
            PaddingMode::Constant(value) => Padding::Constant(Number::Float(value)),
            PaddingMode::Reflect => Padding::Reflect,
            PaddingMode::Replicate => Padding::Replicate,
            PaddingMode::Circular => Padding::Circular,
        }
    }
}

/// `torch.nn.ZeroPad2d((left, right, top, bottom))` and its kin: a pair a dimension, the last dimension first. A negative number cuts
/// off.
///
/// | `torch.nn` | here |
/// |---|---|
/// | `ZeroPad1d`, `2d`, `3d` | `Pad::new([1, 1], PaddingMode::Zeros)`, with two, four or six numbers |
/// | `ConstantPad1d`, `2d`, `3d` | `PaddingMode::Constant(3.5)` |
/// | `ReflectionPad1d`, `2d`, `3d` | `PaddingMode::Reflect` |
/// | `ReplicationPad1d`, `2d`, `3d` | `PaddingMode::Replicate` |
/// | `CircularPad1d`, `2d`, `3d` | `PaddingMode::Circular` |
#[derive(Clone, Debug)]
pub struct Pad {
    /// How many, in pairs.
    pub padding: Vec<i64>,
    /// Of what.
    pub mode: PaddingMode,
}

impl Pad {
    /// So many of these.
    #[must_use]
    pub fn new(padding: impl Into<Vec<i64>>, mode: PaddingMode) -> Self {
        Pad { padding: padding.into(), mode }
    }
}

impl Forward for Pad {
    fn forward_array(&self, input: &Array) -> Result<Array> {
        input.pad(&self.padding, self.mode.padding())
    }
}

stateless!(Pad);
keeps_rank!(Pad: "The padded tensor.");

//! What the networks of transformers have in common: activations by their names (`ACT2FN`), and the second draw of first weights.

use crate::Result;
use crate::functional::Array;
use crate::init::Init;
use crate::nn::Linear;

/// An activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// GELU, exact: `gelu`.
    Gelu,
    /// Its form with tanh: `gelu_new`, `gelu_pytorch_tanh`.
    GeluTanh,
    /// `relu`.
    Relu,
    /// `silu`, `swish`.
    Silu,
}

/// By their names.
pub(super) const ACTIVATIONS: &[(&str, Activation)] = &[
    ("gelu", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
];

/// A linear map drawn once more: normal, its bias zeros.
pub(super) fn draw(linear: &mut Linear, std: f64, init: &mut Init<'_>) -> Result<()> {
    init.normal_(&mut linear.weight, 0.0, std)?;
    linear.bias.as_mut().map_or(Ok(()), |bias| init.zeros_(bias))
}

impl Activation {
    /// Of each element.
    ///
    /// # Errors
    /// When they are no floating-point numbers.
    pub fn of(self, x: &Array) -> Result<Array> {
        match self {
            Activation::Gelu => x.gelu(false),
            Activation::GeluTanh => x.gelu(true),
            Activation::Relu => x.relu(),
            Activation::Silu => x.silu(),
        }
    }
}

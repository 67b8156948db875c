//! What the networks of transformers have in common: activations by their names (`ACT2FN`), and the second draw of first weights.

use crate::Result;
use crate::functional::{Array, Number, Unary};
use crate::init::Init;
use crate::nn::Linear;

/// An activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// GELU, exact: `gelu`, `gelu_python`.
    Gelu,
    /// Its form with tanh: `gelu_new`, `gelu_pytorch_tanh`, `gelu_python_tanh`, `gelu_fast`, `gelu_accurate`.
    GeluTanh,
    /// The exact one between -10 and 10: `gelu_10`.
    GeluClipped,
    /// `x sigmoid(1.702 x)`: `quick_gelu`.
    QuickGelu,
    /// `relu`.
    Relu,
    /// Between 0 and 6: `relu6`.
    Relu6,
    /// Its square: `relu2`.
    ReluSquared,
    /// With a slope of 0.01 below 0: `leaky_relu`.
    LeakyRelu,
    /// `silu`, `swish`.
    Silu,
    /// `hardswish`.
    Hardswish,
    /// `mish`.
    Mish,
    /// `sigmoid`.
    Sigmoid,
    /// `tanh`.
    Tanh,
    /// `(1 + erf((x - 0.707107) / (0.282095 sqrt(2)))) / 2`: `laplace`.
    Laplace,
    /// The root of softplus: `sqrtsoftplus`.
    SqrtSoftplus,
    /// Nothing: `linear`.
    Linear,
}

/// By their names. `prelu` and `xielu` have parameters, and are not there.
pub(super) const ACTIVATIONS: &[(&str, Activation)] = &[
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_accurate", Activation::GeluTanh),
    ("gelu_10", Activation::GeluClipped),
    ("quick_gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
    ("relu6", Activation::Relu6),
    ("relu2", Activation::ReluSquared),
    ("leaky_relu", Activation::LeakyRelu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("hardswish", Activation::Hardswish),
    ("mish", Activation::Mish),
    ("sigmoid", Activation::Sigmoid),
    ("tanh", Activation::Tanh),
    ("laplace", Activation::Laplace),
    ("sqrtsoftplus", Activation::SqrtSoftplus),
    ("linear", Activation::Linear),
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
            Activation::GeluClipped => x.gelu(false)?.clamp(Some(Number::Float(-10.0)), Some(Number::Float(10.0))),
            Activation::QuickGelu => x.mul(&x.mul(1.702)?.sigmoid()?),
            Activation::Relu => x.relu(),
            Activation::Relu6 => x.hardtanh(0.0, 6.0),
            Activation::ReluSquared => x.relu()?.unary(Unary::Square),
            Activation::LeakyRelu => x.leaky_relu(0.01),
            Activation::Silu => x.silu(),
            Activation::Hardswish => x.hardswish(),
            Activation::Mish => x.mish(),
            Activation::Sigmoid => x.sigmoid(),
            Activation::Tanh => x.unary(Unary::Tanh),
            #[allow(clippy::approx_constant)] // as transformers writes it
            Activation::Laplace => {
                let x = x.sub(0.707_107)?.div(0.282_095 * std::f64::consts::SQRT_2)?;
                x.unary(Unary::Erf)?.add(1.0)?.mul(0.5)
            }
            Activation::SqrtSoftplus => x.softplus(1.0, 20.0)?.unary(Unary::Sqrt),
            Activation::Linear => Ok(x.clone()),
        }
    }
}

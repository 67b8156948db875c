//! Functions of one element, with their slopes. The formulas and their order are those of PyTorch's kernels for the CPU
//! (`aten/src/ATen/native/cpu/Activation.cpp`, `UnaryOpsKernel.cpp`, `BinaryOpsKernel.cpp`).

use burn::backend::flex::FlexTensor;

use super::backend::Operator;
use super::math::{erf, exp, sigmoid, tanh};
use super::memory::{Each, contiguous, elements, lengths, mapped, tensor};

/// A function of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pointwise {
    /// `e^x`; slope `y`.
    Exp,
    /// `2 / sqrt(pi) * integral of exp(-t^2)`; slope `2 / sqrt(pi) * exp(-x^2)`.
    Erf,
    /// `x/2 (1 + erf(x / sqrt 2))`; slope `cdf(x) + x pdf(x)`.
    Gelu,
    /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `max(x, 0)`; slope 1 above 0, else 0.
    Relu,
    /// `1 / (1 + exp(-x))`; slope `y (1 - y)`.
    Sigmoid,
    /// `x sigmoid(x)`; slope `s (1 + x (1 - s))`.
    Silu,
    /// `tanh(x)`; slope `1 - y^2`.
    Tanh,
}

/// `2 / sqrt(pi)`.
const TWO_OVER_ROOT_PI: f32 = std::f32::consts::FRAC_2_SQRT_PI;
/// `1 / sqrt(2 pi)`.
const PDF: f32 = 0.398_942_3;
/// `sqrt(2 / pi)`.
const BETA: f32 = 0.797_884_6;
const KAPPA: f32 = 0.044_715;

/// The value at `x`.
struct Value<const F: u8>;
/// The gradient by what was kept and the output's gradient.
struct Slope<const F: u8>;

const EXP: u8 = Pointwise::Exp as u8;
const ERF: u8 = Pointwise::Erf as u8;
const GELU: u8 = Pointwise::Gelu as u8;
const GELU_TANH: u8 = Pointwise::GeluTanh as u8;
const RELU: u8 = Pointwise::Relu as u8;
const SIGMOID: u8 = Pointwise::Sigmoid as u8;
const SILU: u8 = Pointwise::Silu as u8;
const TANH: u8 = Pointwise::Tanh as u8;

impl<const F: u8> Each for Value<F> {
    #[inline(always)]
    fn of<const FMA: bool>(&self, x: f32, _: f32) -> f32 {
        match F {
            EXP => exp::<FMA>(x),
            ERF => erf::<FMA>(x),
            GELU => x * 0.5 * (1.0 + erf::<FMA>(x * std::f32::consts::FRAC_1_SQRT_2)),
            GELU_TANH => 0.5 * x * (1.0 + tanh::<FMA>(BETA * (x + KAPPA * (x * x * x)))),
            // What is not a number stays so.
            RELU => {
                if x <= 0.0 {
                    0.0
                } else {
                    x
                }
            }
            SIGMOID => sigmoid::<FMA>(x),
            SILU => x / (1.0 + exp::<FMA>(-x)),
            _ => tanh::<FMA>(x),
        }
    }
}

impl<const F: u8> Each for Slope<F> {
    #[inline(always)]
    fn of<const FMA: bool>(&self, kept: f32, g: f32) -> f32 {
        let (x, y) = (kept, kept);
        match F {
            EXP => g * y,
            ERF => TWO_OVER_ROOT_PI * exp::<FMA>(-(x * x)) * g,
            GELU => {
                let cdf = 0.5 * (1.0 + erf::<FMA>(x * std::f32::consts::FRAC_1_SQRT_2));
                let pdf = PDF * exp::<FMA>(-0.5 * x * x);
                g * (cdf + x * pdf)
            }
            GELU_TANH => {
                let t = tanh::<FMA>(BETA * (x + KAPPA * (x * x * x)));
                let inner = BETA * (1.0 + 3.0 * KAPPA * (x * x));
                g * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)
            }
            RELU => {
                if y <= 0.0 {
                    0.0
                } else {
                    g
                }
            }
            SIGMOID => g * (1.0 - y) * y,
            SILU => {
                let s = sigmoid::<FMA>(x);
                g * s * (1.0 + x * (1.0 - s))
            }
            _ => g * (1.0 - y * y),
        }
    }
}

impl Pointwise {
    /// Whether the slope is computed of the output, not of the input.
    fn by_output(self) -> bool {
        matches!(self, Pointwise::Exp | Pointwise::Relu | Pointwise::Sigmoid | Pointwise::Tanh)
    }
}

/// Calls `mapped` with the function's own kernel.
macro_rules! of_function {
    ($function:expr, $kind:ident, $x:expr, $other:expr) => {
        match $function {
            Pointwise::Exp => mapped(&$kind::<EXP>, $x, $other),
            Pointwise::Erf => mapped(&$kind::<ERF>, $x, $other),
            Pointwise::Gelu => mapped(&$kind::<GELU>, $x, $other),
            Pointwise::GeluTanh => mapped(&$kind::<GELU_TANH>, $x, $other),
            Pointwise::Relu => mapped(&$kind::<RELU>, $x, $other),
            Pointwise::Sigmoid => mapped(&$kind::<SIGMOID>, $x, $other),
            Pointwise::Silu => mapped(&$kind::<SILU>, $x, $other),
            Pointwise::Tanh => mapped(&$kind::<TANH>, $x, $other),
        }
    };
}

impl Operator for Pointwise {
    fn forward(&self, inputs: &[FlexTensor]) -> (FlexTensor, Vec<FlexTensor>) {
        let x = contiguous(&inputs[0]);
        let values = elements(&x);
        let y = tensor(of_function!(*self, Value, values, values), &lengths(&x));
        (y.clone(), vec![if self.by_output() { y } else { x }])
    }

    fn backward(&self, kept: &[FlexTensor], gradient: FlexTensor, _: &[bool]) -> Vec<Option<FlexTensor>> {
        let (kept, gradient) = (&kept[0], contiguous(&gradient));
        let slopes = of_function!(*self, Slope, elements(kept), elements(&gradient));
        vec![Some(tensor(slopes, &lengths(kept)))]
    }
}

/// The sum of two tensors of one shape; both have the gradient of the sum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Add;

impl Add {
    /// Below so many elements a second thread does not pay, and Burn's is as fast.
    pub(crate) const LEAST: usize = 1 << 15;
}

struct Sum;

impl Each for Sum {
    #[inline(always)]
    fn of<const FMA: bool>(&self, x: f32, other: f32) -> f32 {
        x + other
    }
}

impl Operator for Add {
    fn forward(&self, inputs: &[FlexTensor]) -> (FlexTensor, Vec<FlexTensor>) {
        let (a, b) = (contiguous(&inputs[0]), contiguous(&inputs[1]));
        (tensor(mapped(&Sum, elements(&a), elements(&b)), &lengths(&a)), Vec::new())
    }

    fn backward(&self, _: &[FlexTensor], gradient: FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        wanted.iter().map(|wanted| wanted.then(|| gradient.clone())).collect()
    }
}

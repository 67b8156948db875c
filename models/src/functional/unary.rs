//! Functions of one variable.

use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::backend::{Dispatch, Scalar};
use burn::tensor::DType;

use super::array::{Array, Kind, refused};
use super::broadcast::select;
use super::cpu::{Pointwise, computed};
use super::device::{check_functions, is_on_cpu};
use super::special::Special;
use crate::Result;

/// Functions of one variable, as `torch` names them.
#[allow(missing_docs)] // their names are torch's
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    Neg,
    Abs,
    Sign,
    Exp,
    Expm1,
    Exp2,
    Log,
    Log2,
    Log10,
    Log1p,
    Sqrt,
    Rsqrt,
    Reciprocal,
    Square,
    Sin,
    Cos,
    Tan,
    Sinh,
    Cosh,
    Tanh,
    Asin,
    Acos,
    Atan,
    Asinh,
    Acosh,
    Atanh,
    Erf,
    Erfc,
    Floor,
    Ceil,
    Round,
    Trunc,
    Frac,
}

impl Unary {
    /// Whether it is constant between its steps.
    fn is_step(self) -> bool {
        matches!(self, Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc)
    }

    /// Whether it takes no more than arithmetic and a root.
    fn is_simple(self) -> bool {
        use Unary::{Frac, Reciprocal, Rsqrt, Sqrt};
        self.keeps_whole() || matches!(self, Frac | Reciprocal | Rsqrt | Sqrt)
    }

    /// Its operator of our own.
    fn own(self) -> Option<Pointwise> {
        match self {
            Unary::Exp => Some(Pointwise::Exp),
            Unary::Erf => Some(Pointwise::Erf),
            Unary::Tanh => Some(Pointwise::Tanh),
            _ => None,
        }
    }

    /// Whether whole numbers stay whole.
    fn keeps_whole(self) -> bool {
        use Unary::{Abs, Ceil, Floor, Neg, Round, Sign, Square, Trunc};
        matches!(self, Neg | Abs | Sign | Square | Floor | Ceil | Round | Trunc)
    }
}

impl Array {
    /// A function of one variable. Of whole numbers it is computed in float32, unless it gives whole numbers back.
    ///
    /// # Errors
    /// When it is not for such elements.
    pub fn unary(&self, function: Unary) -> Result<Self> {
        if self.numel() == 0 {
            return match self.kind() {
                Kind::Float => Ok(self.clone()),
                _ if function.keeps_whole() => self.whole(function),
                _ => self.cast(DType::F32),
            };
        }
        if self.kind() != Kind::Float {
            if function.keeps_whole() {
                return self.whole(function);
            }
            return self.cast(DType::F32)?.unary(function);
        }
        if let Some(inner) = function.own().and_then(|own| computed(own, &[self])) {
            return Ok(Array::new(inner, self.shape()));
        }
        if !is_on_cpu(self) {
            if !function.is_simple() {
                check_functions(&format!("{function:?}").to_lowercase(), self, self.dtype())?;
            }
            match function {
                Unary::Asin => return self.arc_sine(),
                Unary::Acos => return self.arc_cosine(),
                Unary::Atan => return self.arc_tangent(),
                _ => {}
            }
        }
        // A step has no gradient.
        let x = if function.is_step() { self.detach().prim() } else { self.prim() };
        let inner = match function {
            Unary::Neg => Dispatch::float_neg(x),
            Unary::Abs => Dispatch::float_abs(x),
            Unary::Sign => Dispatch::float_sign(x),
            Unary::Exp => Dispatch::float_exp(x),
            Unary::Expm1 => return self.expm1(),
            Unary::Exp2 => Dispatch::float_exp(Dispatch::float_mul_scalar(x, Scalar::Float(std::f64::consts::LN_2))),
            Unary::Log => Dispatch::float_log(x),
            Unary::Log2 => return self.unary(Unary::Log)?.div(std::f64::consts::LN_2),
            Unary::Log10 => return self.unary(Unary::Log)?.div(std::f64::consts::LN_10),
            Unary::Log1p => Dispatch::float_log1p(x),
            Unary::Sqrt => Dispatch::float_sqrt(x),
            Unary::Rsqrt => Dispatch::float_recip(Dispatch::float_sqrt(x)),
            Unary::Reciprocal => Dispatch::float_recip(x),
            Unary::Square => return self.mul(self),
            Unary::Sin => Dispatch::float_sin(x),
            Unary::Cos => Dispatch::float_cos(x),
            Unary::Tan => Dispatch::float_tan(x),
            Unary::Sinh => Dispatch::float_sinh(x),
            Unary::Cosh => Dispatch::float_cosh(x),
            Unary::Tanh => Dispatch::float_tanh(x),
            Unary::Asin => Dispatch::float_asin(x),
            Unary::Acos => Dispatch::float_acos(x),
            Unary::Atan => Dispatch::float_atan(x),
            Unary::Asinh => Dispatch::float_asinh(x),
            Unary::Acosh => Dispatch::float_acosh(x),
            Unary::Atanh => Dispatch::float_atanh(x),
            Unary::Erf => Dispatch::float_erf(x),
            Unary::Erfc => return self.special(Special::Erfc),
            Unary::Floor => Dispatch::float_floor(x),
            Unary::Ceil => Dispatch::float_ceil(x),
            Unary::Round => Dispatch::float_round(x),
            Unary::Trunc => Dispatch::float_trunc(x),
            Unary::Frac => return self.sub(&self.unary(Unary::Trunc)?),
        };
        Ok(Array::new(inner, self.shape()))
    }

    /// A function that gives whole numbers for whole numbers.
    fn whole(&self, function: Unary) -> Result<Self> {
        if self.kind() == Kind::Bool {
            return match function {
                Unary::Neg => Err(refused("neg", "it is not for truth values; use logical_not")),
                Unary::Square => self.cast(DType::I64),
                _ => Ok(self.clone()),
            };
        }
        let x = self.prim();
        let inner = match function {
            Unary::Neg => Dispatch::int_neg(x),
            Unary::Abs => Dispatch::int_abs(x),
            Unary::Sign => Dispatch::int_sign(x),
            Unary::Square => return self.mul(self),
            _ => x,
        };
        Ok(Array::new(inner, self.shape()))
    }

    /// `exp(x) - 1`, exact near 0: `tanh(x/2) (exp(x) + 1)`.
    fn expm1(&self) -> Result<Self> {
        let half = self.mul(0.5)?.unary(Unary::Tanh)?;
        let near = half.mul(&self.unary(Unary::Exp)?.add(1.0)?)?;
        let far = self.unary(Unary::Exp)?.sub(1.0)?;
        select(&self.unary(Unary::Abs)?.lt(0.5)?, &near, &far)
    }
}

//! Activation functions, with PyTorch's gradients at the kinks.

use burn::backend::Dispatch;
use burn::backend::ops::ActivationOps;

use super::array::{Array, Kind, refused};
use super::autocast::lower;
use super::broadcast::select;
use super::cpu::{Pointwise, Softmax, computed};
use super::device::check_functions;
use super::number::Number;
use super::unary::Unary;
use crate::Result;

impl Array {
    /// By an operator of our own, where it serves.
    fn pointwise(&self, function: Pointwise) -> Option<Self> {
        computed(function, &[self]).map(|inner| Array::new(inner, self.shape()))
    }

    fn for_floats(&self, op: &'static str) -> Result<&Self> {
        match self.kind() {
            Kind::Float => Ok(self),
            _ => Err(refused(op, format!("it is for floating-point numbers, not {}", self.dtype_name()))),
        }
    }

    /// `relu(x)`: `max(x, 0)`, with gradient 0 at 0.
    ///
    /// # Errors
    /// For truth values.
    pub fn relu(&self) -> Result<Self> {
        match self.kind() {
            Kind::Float => match self.pointwise(Pointwise::Relu) {
                Some(y) => Ok(y),
                None => Ok(Array::new(Dispatch::relu(self.prim()), self.shape())),
            },
            Kind::Int => self.clamp(Some(Number::Int(0)), None),
            Kind::Bool => Err(refused("relu", "it is not for truth values")),
        }
    }

    /// `threshold(x, threshold, value)`: `x` above the threshold, else the value.
    ///
    /// # Errors
    /// None at present.
    pub fn threshold(&self, threshold: f64, value: f64) -> Result<Self> {
        self.fill_where(&self.le(threshold)?, Number::Float(value))
    }

    /// `hardtanh(x, min, max)`: its gradient is 0 at the bounds.
    ///
    /// # Errors
    /// None at present.
    pub fn hardtanh(&self, min: f64, max: f64) -> Result<Self> {
        if self.kind() == Kind::Int {
            let whole = |bound: f64| Some(Number::Int(Number::Float(bound).int()));
            return self.clamp(whole(min), whole(max));
        }
        self.clamp(Some(Number::Float(min)), Some(Number::Float(max)))
    }

    /// `hardsigmoid(x)`: `relu6(x + 3) / 6`.
    ///
    /// # Errors
    /// For whole numbers.
    pub fn hardsigmoid(&self) -> Result<Self> {
        self.for_floats("hardsigmoid")?.add(3.0)?.hardtanh(0.0, 6.0)?.div(6.0)
    }

    /// `hardswish(x)`: `x relu6(x + 3) / 6`; its gradient is 0 at -3 and 1 at 3.
    ///
    /// # Errors
    /// For whole numbers.
    pub fn hardswish(&self) -> Result<Self> {
        let x = self.for_floats("hardswish")?;
        let between = x.mul(&x.add(3.0)?)?.div(6.0)?;
        let low = x.le(-3.0)?;
        select(&x.ge(3.0)?, x, &between.fill_where(&low, Number::Float(0.0))?)
    }

    /// `leaky_relu(x, slope)`: its gradient at 0 is the slope.
    ///
    /// # Errors
    /// None at present.
    pub fn leaky_relu(&self, slope: f64) -> Result<Self> {
        select(&self.gt(0.0)?, self, &self.mul(slope)?)
    }

    /// `prelu(x, weight)`: one slope, or one a channel (the second dimension).
    ///
    /// # Errors
    /// When there are as many slopes as nothing of `x`.
    pub fn prelu(&self, weight: &Array) -> Result<Self> {
        lower([self, weight], None, |[x, weight], _| x.sloped(weight))
    }

    fn sloped(&self, weight: &Array) -> Result<Self> {
        let weight = if weight.numel() == 1 || self.rank() < 2 {
            weight.reshaped(if weight.numel() == 1 { &[] } else { weight.shape() })?
        } else {
            let mut shape = vec![1; self.rank()];
            shape[1] = weight.numel();
            weight.reshaped(&shape)?
        };
        select(&self.gt(0.0)?, self, &self.mul(&weight)?)
    }

    /// `elu(x, alpha, scale, input_scale)`: `scale * x` above 0, else `scale * alpha * (exp(input_scale * x) - 1)`.
    ///
    /// # Errors
    /// For whole numbers.
    pub fn elu(&self, alpha: f64, scale: f64, input_scale: f64) -> Result<Self> {
        let x = self.for_floats("elu")?;
        // Where x is above 0 the exponential is not looked at: it must not overflow into the gradient.
        let positive = x.gt(0.0)?;
        let low = x.fill_where(&positive, Number::Float(0.0))?.mul(input_scale)?.unary(Unary::Expm1)?;
        select(&positive, &x.mul(scale)?, &low.mul(alpha * scale)?)
    }

    /// `celu(x, alpha)`.
    ///
    /// # Errors
    /// For whole numbers.
    pub fn celu(&self, alpha: f64) -> Result<Self> {
        self.elu(alpha, 1.0, 1.0 / alpha)
    }

    /// `selu(x)`.
    ///
    /// # Errors
    /// For whole numbers.
    pub fn selu(&self) -> Result<Self> {
        self.elu(1.673_263_242_354_377_2, 1.050_700_987_355_480_5, 1.0)
    }

    /// `sigmoid(x)`.
    ///
    /// # Errors
    /// None at present.
    pub fn sigmoid(&self) -> Result<Self> {
        if self.kind() != Kind::Float {
            return self.cast(burn::tensor::DType::F32)?.sigmoid();
        }
        if let Some(y) = self.pointwise(Pointwise::Sigmoid) {
            return Ok(y);
        }
        check_functions("sigmoid", self, self.dtype())?;
        Ok(Array::new(Dispatch::sigmoid(self.prim()), self.shape()))
    }

    /// `logsigmoid(x)`: `min(x, 0) - log1p(exp(-|x|))`.
    ///
    /// # Errors
    /// For whole numbers.
    pub fn log_sigmoid(&self) -> Result<Self> {
        let x = self.for_floats("logsigmoid")?;
        x.neg_part()?.sub(&x.unary(Unary::Abs)?.unary(Unary::Neg)?.unary(Unary::Exp)?.unary(Unary::Log1p)?)
    }

    /// `min(x, 0)`, whose gradient at 0 is one half: with `|x|`, whose gradient there is 0, that of a smooth function.
    fn neg_part(&self) -> Result<Self> {
        self.sub(&self.unary(Unary::Abs)?)?.mul(0.5)
    }

    /// `silu(x)`: `x sigmoid(x)`.
    ///
    /// # Errors
    /// For whole numbers.
    pub fn silu(&self) -> Result<Self> {
        let x = self.for_floats("silu")?;
        if let Some(y) = x.pointwise(Pointwise::Silu) {
            return Ok(y);
        }
        x.mul(&x.sigmoid()?)
    }

    /// `mish(x)`: `x tanh(softplus(x))`.
    ///
    /// # Errors
    /// For whole numbers.
    pub fn mish(&self) -> Result<Self> {
        let x = self.for_floats("mish")?;
        x.mul(&x.softplus(1.0, 20.0)?.unary(Unary::Tanh)?)
    }

    /// `softplus(x, beta, threshold)`: `log(1 + exp(beta x)) / beta`, and `x` itself where `beta x` is above the threshold.
    ///
    /// # Errors
    /// For whole numbers.
    pub fn softplus(&self, beta: f64, threshold: f64) -> Result<Self> {
        let x = self.for_floats("softplus")?;
        let scaled = x.mul(beta)?;
        let above = scaled.gt(threshold)?;
        let low = scaled.fill_where(&above, Number::Float(0.0))?;
        select(&above, x, &low.unary(Unary::Exp)?.unary(Unary::Log1p)?.div(beta)?)
    }

    /// `softsign(x)`: `x / (1 + |x|)`.
    ///
    /// # Errors
    /// None at present.
    pub fn softsign(&self) -> Result<Self> {
        self.div(&self.unary(Unary::Abs)?.add(1.0)?)
    }

    /// `hardshrink(x, lambda)`.
    ///
    /// # Errors
    /// None at present.
    pub fn hardshrink(&self, lambda: f64) -> Result<Self> {
        self.fill_where(&self.unary(Unary::Abs)?.le(lambda)?, Number::Float(0.0))
    }

    /// `softshrink(x, lambda)`.
    ///
    /// # Errors
    /// None at present.
    pub fn softshrink(&self, lambda: f64) -> Result<Self> {
        let low = select(&self.lt(-lambda)?, &self.add(lambda)?, &self.zeros_like())?;
        select(&self.gt(lambda)?, &self.sub(lambda)?, &low)
    }

    /// `gelu(x)`: `x/2 (1 + erf(x / sqrt 2))`, or the form with tanh.
    ///
    /// # Errors
    /// For whole numbers.
    pub fn gelu(&self, tanh: bool) -> Result<Self> {
        let x = self.for_floats("gelu")?;
        if let Some(y) = x.pointwise(if tanh { Pointwise::GeluTanh } else { Pointwise::Gelu }) {
            return Ok(y);
        }
        let bent = if tanh {
            let beta = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
            let cube = x.mul(x)?.mul(x)?;
            x.add(&cube.mul(0.044_715)?)?.mul(beta)?.unary(Unary::Tanh)?
        } else {
            x.mul(std::f64::consts::FRAC_1_SQRT_2)?.unary(Unary::Erf)?
        };
        x.mul(0.5)?.mul(&bent.add(1.0)?)
    }

    /// `glu(x, dim)`: one half times the sigmoid of the other.
    ///
    /// # Errors
    /// When the dimension is not even.
    pub fn glu(&self, dim: i64) -> Result<Self> {
        let at = self.dim(dim)?;
        let length = self.shape().get(at).copied().unwrap_or(1);
        if !length.is_multiple_of(2) {
            return Err(refused("glu", format!("it halves a dimension, which {length} cannot be")));
        }
        self.sliced(at, 0, length / 2, 1).mul(&self.sliced(at, length / 2, length, 1).sigmoid()?)
    }

    /// `softmax(x, dim)`: NaN where all are -inf.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn softmax(&self, dim: i64) -> Result<Self> {
        self.softmax_or_log("softmax", dim, false)
    }

    /// `log_softmax(x, dim)`.
    ///
    /// # Errors
    /// When there is no such dimension.
    pub fn log_softmax(&self, dim: i64) -> Result<Self> {
        self.softmax_or_log("log_softmax", dim, true)
    }

    fn softmax_or_log(&self, op: &'static str, dim: i64, log: bool) -> Result<Self> {
        let x = self.for_floats(op)?;
        let at = x.dim(dim)?;
        if x.rank() == 0 {
            return Ok(Array::full(&[], Number::Int(i64::from(!log)), x.dtype(), &x.device()));
        }
        if x.numel() == 0 {
            return Ok(x.clone());
        }
        if at + 1 == x.rank()
            && let Some(y) = computed(Softmax { log }, &[x])
        {
            return Ok(Array::new(y, x.shape()));
        }
        check_functions(op, x, x.dtype())?;
        let run = if log { Dispatch::log_softmax } else { Dispatch::softmax };
        Ok(Array::new(run(x.prim(), at), x.shape()))
    }
}

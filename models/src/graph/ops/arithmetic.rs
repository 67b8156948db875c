//! Element by element: arithmetic, comparisons, logic, functions of one variable, activations.

use super::row::{Call, Out, ops};
use crate::Result;
use crate::functional::{Array, Bits, Number, Operand, Unary, dtype_name, refused, select};
use crate::graph::item::Given;

/// `other`, times `alpha` where that is not 1.
fn scaled<'a>(g: &Given<'a>, name: &str) -> Result<Scaled<'a>> {
    let other = g.operand(name)?;
    match (g.maybe_number("alpha")?.filter(|alpha| alpha.float() != 1.0), other) {
        (None, other) => Ok(Scaled::Plain(other)),
        (Some(alpha), Operand::Array(array)) => Ok(Scaled::Product(array.mul(Operand::Number(alpha))?)),
        (Some(alpha), Operand::Number(number)) => Ok(Scaled::Plain(Operand::Number(times(number, alpha)))),
    }
}

enum Scaled<'a> {
    Plain(Operand<'a>),
    Product(Array),
}

impl Scaled<'_> {
    fn operand(&self) -> Operand<'_> {
        match self {
            Scaled::Plain(operand) => *operand,
            Scaled::Product(array) => Operand::Array(array),
        }
    }
}

fn times(one: Number, other: Number) -> Number {
    match (one, other) {
        (Number::Int(one), Number::Int(other)) => Number::Int(one.wrapping_mul(other)),
        (one, other) => Number::Float(one.float() * other.float()),
    }
}

fn sum_of(g: &Given<'_>) -> Result<Array> {
    let other = scaled(g, "other")?;
    match (g.operand("self")?, other.operand()) {
        (Operand::Array(x), other) => x.add(other),
        (number, Operand::Array(other)) => other.add(number),
        _ => Err(refused("add", "one of the two must be a tensor")),
    }
}

fn difference_of(g: &Given<'_>) -> Result<Array> {
    let other = scaled(g, "other")?;
    match (g.operand("self")?, other.operand()) {
        (Operand::Array(x), other) => x.sub(other),
        (number, Operand::Array(other)) => other.rsub(number),
        _ => Err(refused("sub", "one of the two must be a tensor")),
    }
}

/// `other - alpha * self`.
fn reversed_difference(g: &Given<'_>) -> Result<Array> {
    let Scaled::Product(x) = scaled(g, "self")? else { return g.tensor("self")?.rsub(g.operand("other")?) };
    x.rsub(g.operand("other")?)
}

/// `self + weight * (end - self)`.
fn between(g: &Given<'_>) -> Result<Array> {
    let x = g.tensor("self")?;
    x.add(&g.tensor("end")?.sub(x)?.mul(g.operand("weight")?)?)
}

fn divided(g: &Given<'_>) -> Result<Array> {
    let other = g.operand("other")?;
    if let (Operand::Number(number), Operand::Array(other), None) = (g.operand("self")?, other, g.text("rounding_mode"))
    {
        return other.divides(number);
    }
    let x = g.tensor("self")?;
    match g.text("rounding_mode") {
        None => x.div(other),
        Some("floor") => x.floor_divide(other),
        Some("trunc") => x.trunc_divide(other),
        Some(mode) => Err(refused("div", format!("there is no rounding mode '{mode}'"))),
    }
}

/// A comparison or sum whose first argument may be a number (`_operator` on what was computed from shapes).
fn numbers(c: &Call<'_>, op: fn(i64, i64) -> Option<i64>, floats: fn(f64, f64) -> f64) -> Result<Number> {
    let (a, b) = (c.given.number("a")?, c.given.number("b")?);
    match (a, b) {
        (Number::Float(_), _) | (_, Number::Float(_)) => Ok(Number::Float(floats(a.float(), b.float()))),
        _ => op(a.int(), b.int())
            .map(Number::Int)
            .ok_or_else(|| refused("a computation with lengths", format!("{a:?} and {b:?} give no number"))),
    }
}

fn compared(c: &Call<'_>, holds: fn(f64, f64) -> bool) -> Result<Number> {
    let (a, b) = (c.given.number("a")?, c.given.number("b")?);
    Ok(Number::Bool(holds(a.float(), b.float())))
}

fn clamped(g: &Given<'_>) -> Result<Array> {
    g.tensor("self")?.clamp(g.maybe_number("min")?, g.maybe_number("max")?)
}

fn clamped_by_tensors(g: &Given<'_>) -> Result<Array> {
    let mut x = g.tensor("self")?.clone();
    if let Some(min) = g.maybe_tensor("min")? {
        x = x.maximum(min)?;
    }
    if let Some(max) = g.maybe_tensor("max")? {
        x = x.minimum(max)?;
    }
    Ok(x)
}

/// `self + value * one * other` or `one / other`.
fn added(g: &Given<'_>, combine: fn(&Array, &Array) -> Result<Array>) -> Result<Array> {
    let part = combine(g.tensor("tensor1")?, g.tensor("tensor2")?)?;
    let value = g.maybe_number("value")?.unwrap_or(Number::Int(1));
    g.tensor("self")?.add(&if value.float() == 1.0 { part } else { part.mul(Operand::Number(value))? })
}

macro_rules! unary {
    ($c:ident, $function:ident) => {
        $c.given.tensor("self")?.unary(Unary::$function)?
    };
}

ops! {
    "aten.add.Tensor" (self, other, alpha) |c| sum_of(&c.given)?;
    "aten.add.Scalar" (self, other, alpha) |c| sum_of(&c.given)?;
    "aten.sub.Tensor" (self, other, alpha) |c| difference_of(&c.given)?;
    "aten.sub.Scalar" (self, other, alpha) |c| difference_of(&c.given)?;
    "aten.rsub.Scalar" (self, other, alpha) |c| reversed_difference(&c.given)?;
    "aten.rsub.Tensor" (self, other, alpha) |c| reversed_difference(&c.given)?;
    "aten.mul.Tensor" (self, other) |c| match (c.given.operand("self")?, c.given.operand("other")?) {
        (Operand::Array(x), other) => x.mul(other)?,
        (number, Operand::Array(other)) => other.mul(number)?,
        _ => return Err(refused("mul", "one of the two must be a tensor")),
    };
    "aten.mul.Scalar" (self, other) |c| c.given.tensor("self")?.mul(c.given.operand("other")?)?;
    "aten.div.Tensor" (self, other) |c| divided(&c.given)?;
    "aten.div.Scalar" (self, other) |c| divided(&c.given)?;
    "aten.div.Tensor_mode" (self, other, rounding_mode) |c| divided(&c.given)?;
    "aten.div.Scalar_mode" (self, other, rounding_mode) |c| divided(&c.given)?;
    "aten.floor_divide.default" (self, other) |c| c.given.tensor("self")?.floor_divide(c.given.operand("other")?)?;
    "aten.floor_divide.Scalar" (self, other) |c| c.given.tensor("self")?.floor_divide(c.given.operand("other")?)?;
    "aten.remainder.Tensor" (self, other) |c| c.given.tensor("self")?.remainder(c.given.operand("other")?)?;
    "aten.remainder.Scalar" (self, other) |c| c.given.tensor("self")?.remainder(c.given.operand("other")?)?;
    "aten.fmod.Tensor" (self, other) |c| c.given.tensor("self")?.fmod(c.given.operand("other")?)?;
    "aten.fmod.Scalar" (self, other) |c| c.given.tensor("self")?.fmod(c.given.operand("other")?)?;
    "aten.pow.Tensor_Scalar" (self, exponent) |c| c.given.tensor("self")?.pow(c.given.operand("exponent")?)?;
    "aten.pow.Tensor_Tensor" (self, exponent) |c| c.given.tensor("self")?.pow(c.given.operand("exponent")?)?;
    "aten.pow.Scalar" (self, exponent) |c| c.given.tensor("exponent")?.power_of(c.given.number("self")?)?;
    "aten.square.default" (self) |c| unary!(c, Square);
    "aten.addcmul.default" (self, tensor1, tensor2, value) |c| added(&c.given, |a, b| a.mul(b))?;
    "aten.addcdiv.default" (self, tensor1, tensor2, value) |c| added(&c.given, |a, b| a.div(b))?;
    "aten.fmax.default" (self, other) |c| without_nan(c.given.tensor("self")?, c.given.tensor("other")?, true)?;
    "aten.fmin.default" (self, other) |c| without_nan(c.given.tensor("self")?, c.given.tensor("other")?, false)?;
    "aten.nan_to_num.default" (self, nan, posinf, neginf) |c| {
        let x = c.given.tensor("self")?;
        if x.kind() != crate::functional::Kind::Float {
            return Ok(x.clone().into());
        }
        let info = x.dtype().finfo();
        let (max, min) = (info.map_or(f64::MAX, |info| info.max), info.map_or(f64::MIN, |info| info.min));
        let number = |name: &str, default: f64| Ok::<_, crate::ModelError>(Number::Float(c.given.float(name, default)?));
        let (high, low) = (x.eq(f64::INFINITY)?, x.eq(f64::NEG_INFINITY)?);
        x.fill_where(&x.isnan()?, number("nan", 0.0)?)?
            .fill_where(&high, number("posinf", max)?)?
            .fill_where(&low, number("neginf", min)?)?
    };
    "aten.logit.default" (self, eps) |c| {
        let x = c.given.tensor("self")?;
        let x = if x.kind() == crate::functional::Kind::Float { x.clone() } else { x.cast(burn::tensor::DType::F32)? };
        let x = match c.given.maybe_float("eps")? {
            Some(eps) => {
                let (low, high) = (x.lt(eps)?, x.gt(1.0 - eps)?);
                x.fill_where(&high, Number::Float(1.0 - eps))?.fill_where(&low, Number::Float(eps))?
            }
            None => x.clone(),
        };
        x.div(&x.rsub(1.0)?)?.unary(Unary::Log)?
    };
    "aten.deg2rad.default" (self) |c| c.given.tensor("self")?.mul(std::f64::consts::PI / 180.0)?;
    "aten.rad2deg.default" (self) |c| c.given.tensor("self")?.mul(180.0 / std::f64::consts::PI)?;
    "aten.hypot.default" (self, other) |c| {
        let (a, b) = (c.given.tensor("self")?, c.given.tensor("other")?);
        a.mul(a)?.add(&b.mul(b)?)?.unary(Unary::Sqrt)?
    };
    "aten.float_power.Tensor_Scalar" (self, exponent) |c| c.given.tensor("self")?.cast(burn::tensor::DType::F64)?.pow(c.given.operand("exponent")?)?;
    "aten.lerp.Scalar" (self, end, weight) |c| between(&c.given)?;
    "aten.lerp.Tensor" (self, end, weight) |c| between(&c.given)?;
    "aten.maximum.default" (self, other) |c| c.given.tensor("self")?.maximum(c.given.operand("other")?)?;
    "aten.minimum.default" (self, other) |c| c.given.tensor("self")?.minimum(c.given.operand("other")?)?;
    "aten.max.other" (self, other) |c| c.given.tensor("self")?.maximum(c.given.operand("other")?)?;
    "aten.min.other" (self, other) |c| c.given.tensor("self")?.minimum(c.given.operand("other")?)?;
    "aten.clamp.default" (self, min, max) |c| clamped(&c.given)?;
    "aten.clamp_min.default" (self, min) |c| clamped(&c.given)?;
    "aten.clamp_max.default" (self, max) |c| clamped(&c.given)?;
    "aten.clamp.Tensor" (self, min, max) |c| clamped_by_tensors(&c.given)?;
    "aten.clamp_min.Tensor" (self, min) |c| clamped_by_tensors(&c.given)?;
    "aten.clamp_max.Tensor" (self, max) |c| clamped_by_tensors(&c.given)?;
    "aten.eq.Tensor" (self, other) |c| c.given.tensor("self")?.eq(c.given.operand("other")?)?;
    "aten.eq.Scalar" (self, other) |c| c.given.tensor("self")?.eq(c.given.operand("other")?)?;
    "aten.ne.Tensor" (self, other) |c| c.given.tensor("self")?.ne(c.given.operand("other")?)?;
    "aten.ne.Scalar" (self, other) |c| c.given.tensor("self")?.ne(c.given.operand("other")?)?;
    "aten.lt.Tensor" (self, other) |c| c.given.tensor("self")?.lt(c.given.operand("other")?)?;
    "aten.lt.Scalar" (self, other) |c| c.given.tensor("self")?.lt(c.given.operand("other")?)?;
    "aten.le.Tensor" (self, other) |c| c.given.tensor("self")?.le(c.given.operand("other")?)?;
    "aten.le.Scalar" (self, other) |c| c.given.tensor("self")?.le(c.given.operand("other")?)?;
    "aten.gt.Tensor" (self, other) |c| c.given.tensor("self")?.gt(c.given.operand("other")?)?;
    "aten.gt.Scalar" (self, other) |c| c.given.tensor("self")?.gt(c.given.operand("other")?)?;
    "aten.ge.Tensor" (self, other) |c| c.given.tensor("self")?.ge(c.given.operand("other")?)?;
    "aten.ge.Scalar" (self, other) |c| c.given.tensor("self")?.ge(c.given.operand("other")?)?;
    "aten.logical_and.default" (self, other) |c| c.given.tensor("self")?.logical_and(c.given.tensor("other")?)?;
    "aten.logical_or.default" (self, other) |c| c.given.tensor("self")?.logical_or(c.given.tensor("other")?)?;
    "aten.logical_xor.default" (self, other) |c| c.given.tensor("self")?.logical_xor(c.given.tensor("other")?)?;
    "aten.logical_not.default" (self) |c| c.given.tensor("self")?.logical_not()?;
    "aten.bitwise_not.default" (self) |c| c.given.tensor("self")?.bitwise_not()?;
    "aten.bitwise_and.Tensor" (self, other) |c| c.given.tensor("self")?.bitwise(Bits::And, c.given.operand("other")?)?;
    "aten.bitwise_and.Scalar" (self, other) |c| c.given.tensor("self")?.bitwise(Bits::And, c.given.operand("other")?)?;
    "aten.bitwise_or.Tensor" (self, other) |c| c.given.tensor("self")?.bitwise(Bits::Or, c.given.operand("other")?)?;
    "aten.bitwise_or.Scalar" (self, other) |c| c.given.tensor("self")?.bitwise(Bits::Or, c.given.operand("other")?)?;
    "aten.bitwise_xor.Tensor" (self, other) |c| c.given.tensor("self")?.bitwise(Bits::Xor, c.given.operand("other")?)?;
    "aten.bitwise_xor.Scalar" (self, other) |c| c.given.tensor("self")?.bitwise(Bits::Xor, c.given.operand("other")?)?;
    "aten.bitwise_left_shift.Tensor" (self, other) |c| c.given.tensor("self")?.bitwise(Bits::Left, c.given.operand("other")?)?;
    "aten.bitwise_left_shift.Tensor_Scalar" (self, other) |c| c.given.tensor("self")?.bitwise(Bits::Left, c.given.operand("other")?)?;
    "aten.bitwise_right_shift.Tensor" (self, other) |c| c.given.tensor("self")?.bitwise(Bits::Right, c.given.operand("other")?)?;
    "aten.bitwise_right_shift.Tensor_Scalar" (self, other) |c| c.given.tensor("self")?.bitwise(Bits::Right, c.given.operand("other")?)?;
    "aten.where.self" (condition, self, other) |c| select(c.given.tensor("condition")?, c.given.operand("self")?, c.given.operand("other")?)?;
    "aten.where.ScalarOther" (condition, self, other) |c| select(c.given.tensor("condition")?, c.given.operand("self")?, c.given.operand("other")?)?;
    "aten.where.ScalarSelf" (condition, self, other) |c| select(c.given.tensor("condition")?, c.given.operand("self")?, c.given.operand("other")?)?;
    "aten.where.Scalar" (condition, self, other) |c| select(c.given.tensor("condition")?, c.given.operand("self")?, c.given.operand("other")?)?;
    "aten.masked_fill.Scalar" (self, mask, value) |c| c.given.tensor("self")?.fill_where(c.given.tensor("mask")?, c.given.number("value")?)?;
    "aten.masked_fill.Tensor" (self, mask, value) |c| {
        let x = c.given.tensor("self")?;
        select(c.given.tensor("mask")?, &c.given.tensor("value")?.cast(x.dtype())?, x)?
    };
    "aten.isnan.default" (self) |c| c.given.tensor("self")?.isnan()?;
    "aten.isinf.default" (self) |c| c.given.tensor("self")?.isinf()?;
    "aten.isfinite.default" (self) |c| {
        let x = c.given.tensor("self")?;
        x.isinf()?.logical_or(&x.isnan()?)?.logical_not()?
    };
    "aten.neg.default" (self) |c| unary!(c, Neg);
    "aten.abs.default" (self) |c| unary!(c, Abs);
    "aten.sign.default" (self) |c| unary!(c, Sign);
    "aten.sgn.default" (self) |c| unary!(c, Sign);
    "aten.exp.default" (self) |c| unary!(c, Exp);
    "aten.exp2.default" (self) |c| unary!(c, Exp2);
    "aten.expm1.default" (self) |c| unary!(c, Expm1);
    "aten.log.default" (self) |c| unary!(c, Log);
    "aten.log2.default" (self) |c| unary!(c, Log2);
    "aten.log10.default" (self) |c| unary!(c, Log10);
    "aten.log1p.default" (self) |c| unary!(c, Log1p);
    "aten.sqrt.default" (self) |c| unary!(c, Sqrt);
    "aten.rsqrt.default" (self) |c| unary!(c, Rsqrt);
    "aten.reciprocal.default" (self) |c| unary!(c, Reciprocal);
    "aten.sin.default" (self) |c| unary!(c, Sin);
    "aten.cos.default" (self) |c| unary!(c, Cos);
    "aten.tan.default" (self) |c| unary!(c, Tan);
    "aten.sinh.default" (self) |c| unary!(c, Sinh);
    "aten.cosh.default" (self) |c| unary!(c, Cosh);
    "aten.tanh.default" (self) |c| unary!(c, Tanh);
    "aten.asin.default" (self) |c| unary!(c, Asin);
    "aten.acos.default" (self) |c| unary!(c, Acos);
    "aten.atan.default" (self) |c| unary!(c, Atan);
    "aten.asinh.default" (self) |c| unary!(c, Asinh);
    "aten.acosh.default" (self) |c| unary!(c, Acosh);
    "aten.atanh.default" (self) |c| unary!(c, Atanh);
    "aten.erf.default" (self) |c| unary!(c, Erf);
    "aten.erfc.default" (self) |c| unary!(c, Erfc);
    "aten.floor.default" (self) |c| unary!(c, Floor);
    "aten.ceil.default" (self) |c| unary!(c, Ceil);
    "aten.round.default" (self) |c| unary!(c, Round);
    "aten.trunc.default" (self) |c| unary!(c, Trunc);
    "aten.frac.default" (self) |c| unary!(c, Frac);
    "aten.relu.default" (self) |c| c.given.tensor("self")?.relu()?;
    "aten.relu6.default" (self) |c| c.given.tensor("self")?.hardtanh(0.0, 6.0)?;
    "aten.threshold.default" (self, threshold, value) |c| c.given.tensor("self")?.threshold(c.given.float("threshold", 0.0)?, c.given.float("value", 0.0)?)?;
    "aten.hardtanh.default" (self, min_val, max_val) |c| c.given.tensor("self")?.hardtanh(c.given.float("min_val", -1.0)?, c.given.float("max_val", 1.0)?)?;
    "aten.hardsigmoid.default" (self) |c| c.given.tensor("self")?.hardsigmoid()?;
    "aten.hardswish.default" (self) |c| c.given.tensor("self")?.hardswish()?;
    "aten.leaky_relu.default" (self, negative_slope) |c| c.given.tensor("self")?.leaky_relu(c.given.float("negative_slope", 0.01)?)?;
    "aten.prelu.default" (self, weight) |c| c.given.tensor("self")?.prelu(c.given.tensor("weight")?)?;
    "aten.elu.default" (self, alpha, scale, input_scale) |c| c.given.tensor("self")?.elu(c.given.float("alpha", 1.0)?, c.given.float("scale", 1.0)?, c.given.float("input_scale", 1.0)?)?;
    "aten.celu.default" (self, alpha) |c| c.given.tensor("self")?.celu(c.given.float("alpha", 1.0)?)?;
    "aten.selu.default" (self) |c| c.given.tensor("self")?.selu()?;
    "aten.sigmoid.default" (self) |c| c.given.tensor("self")?.sigmoid()?;
    "aten.log_sigmoid.default" (self) |c| c.given.tensor("self")?.log_sigmoid()?;
    "aten.silu.default" (self) |c| c.given.tensor("self")?.silu()?;
    "aten.mish.default" (self) |c| c.given.tensor("self")?.mish()?;
    "aten.softplus.default" (self, beta, threshold) |c| c.given.tensor("self")?.softplus(c.given.float("beta", 1.0)?, c.given.float("threshold", 20.0)?)?;
    "aten.hardshrink.default" (self, lambd) |c| c.given.tensor("self")?.hardshrink(c.given.float("lambd", 0.5)?)?;
    "aten.softshrink.default" (self, lambd) |c| c.given.tensor("self")?.softshrink(c.given.float("lambd", 0.5)?)?;
    "aten.gelu.default" (self, approximate) |c| c.given.tensor("self")?.gelu(c.given.text("approximate") == Some("tanh"))?;
    "aten.glu.default" (self, dim) |c| c.given.tensor("self")?.glu(c.given.int("dim", -1)?)?;
    "aten.softmax.int" (self, dim, dtype) |c| typed(&c.given)?.softmax(c.given.int("dim", -1)?)?;
    "aten.log_softmax.int" (self, dim, dtype) |c| typed(&c.given)?.log_softmax(c.given.int("dim", -1)?)?;
    "aten.rrelu.default" (self, lower, upper, training, generator) |c| {
        let (lower, upper) = (c.given.float("lower", 0.125)?, c.given.float("upper", 1.0 / 3.0)?);
        let x = c.given.tensor("self")?;
        if c.train { x.rrelu(lower, upper, c.generator)? } else { x.leaky_relu(f64::midpoint(lower, upper))? }
    };
    // Numbers that come of shapes.
    "_operator.add" (a, b) |c| numbers(c, i64::checked_add, |a, b| a + b)?;
    "_operator.sub" (a, b) |c| numbers(c, i64::checked_sub, |a, b| a - b)?;
    "_operator.mul" (a, b) |c| numbers(c, i64::checked_mul, |a, b| a * b)?;
    "_operator.floordiv" (a, b) |c| numbers(c, floor_div, |a, b| (a / b).floor())?;
    "_operator.mod" (a, b) |c| numbers(c, |a, b| floor_div(a, b).map(|q| a - q * b), |a, b| a - (a / b).floor() * b)?;
    "_operator.truediv" (a, b) |c| Number::Float(c.given.number("a")?.float() / c.given.number("b")?.float());
    "_operator.pow" (a, b) |c| numbers(c, |a, b| u32::try_from(b).ok().and_then(|b| a.checked_pow(b)), f64::powf)?;
    "_operator.neg" (a) |c| negated(c.given.number("a")?);
    "_operator.eq" (a, b) |c| compared(c, |a, b| a == b)?;
    "_operator.ne" (a, b) |c| compared(c, |a, b| a != b)?;
    "_operator.lt" (a, b) |c| compared(c, |a, b| a < b)?;
    "_operator.le" (a, b) |c| compared(c, |a, b| a <= b)?;
    "_operator.gt" (a, b) |c| compared(c, |a, b| a > b)?;
    "_operator.ge" (a, b) |c| compared(c, |a, b| a >= b)?;
    "_operator.and_" (a, b) |c| Number::Bool(c.given.number("a")?.is_true() && c.given.number("b")?.is_true());
    "_operator.or_" (a, b) |c| Number::Bool(c.given.number("a")?.is_true() || c.given.number("b")?.is_true());
    "torch.sym_max" (a, b) |c| numbers(c, |a, b| Some(a.max(b)), f64::max)?;
    "torch.sym_min" (a, b) |c| numbers(c, |a, b| Some(a.min(b)), f64::min)?;
    "torch.sym_not" (a) |c| Number::Bool(!c.given.number("a")?.is_true());
    "torch.sym_int" (a) |c| Number::Int(c.given.number("a")?.int());
    "torch.sym_float" (a) |c| Number::Float(c.given.number("a")?.float());
    "torch.sym_sqrt" (a) |c| Number::Float(c.given.number("a")?.float().sqrt());
    "torch.sym_ite" (b, t, f) |c| if c.given.number("b")?.is_true() { c.given.number("t")? } else { c.given.number("f")? };
    "math.trunc" (a) |c| Number::Int(c.given.number("a")?.int());
    "math.floor" (a) |c| floor_of(c.given.number("a")?);
    "math.ceil" (a) |c| negated(floor_of(Number::Float(-c.given.number("a")?.float())));
    "aten.sym_size.int" (self, dim) |c| {
        let x = c.given.tensor("self")?;
        let dim = x.dim(c.given.int("dim", 0)?)?;
        Number::Int(i64::try_from(x.shape()[dim]).unwrap_or(i64::MAX))
    };
    "aten.sym_numel.default" (self) |c| Number::Int(i64::try_from(c.given.tensor("self")?.numel()).unwrap_or(i64::MAX));
    "aten.item.default" (self) |c| c.given.tensor("self")?.item()?;
    "aten._local_scalar_dense.default" (self) |c| c.given.tensor("self")?.item()?;
    "aten.is_nonzero.default" (self) |c| Number::Bool(c.given.tensor("self")?.item()?.is_true());
    "aten._assert_tensor_metadata.default" (a, size, stride, dtype, device, layout) |c| {
        // Strides and devices are those of the export; lengths are looked at where the inputs come in.
        let (found, wanted) = (c.given.tensor("a")?.dtype(), c.given.dtype("dtype"));
        if let Some(wanted) = wanted.filter(|&wanted| wanted != found) {
            let (found, wanted) = (dtype_name(found), dtype_name(wanted));
            let reason = format!("the tensor is {found}, and the program was exported for {wanted} here");
            return Err(refused("an assertion of the program", reason));
        }
        Out::Nothing
    };
    "aten._assert_scalar.default" (self, assert_msg) |c| {
        if !c.given.number("self")?.is_true() {
            let message = c.given.text("assert_msg").unwrap_or("a condition of the program does not hold");
            return Err(refused("an assertion of the program", message));
        }
        Out::Nothing
    };
    "aten._assert_async.msg" (self, assert_msg) |_c| Out::Nothing;
    "aten._assert_async.default" (self) |_c| Out::Nothing;
    "aten.sym_constrain_range.default" (size, min, max) |_c| Out::Nothing;
    "aten.sym_constrain_range_for_size.default" (size, min, max) |_c| Out::Nothing;
}

/// The larger or the smaller, and the other where one is not a number.
fn without_nan(a: &Array, b: &Array, largest: bool) -> Result<Array> {
    let one = if largest { a.maximum(b)? } else { a.minimum(b)? };
    select(&b.isnan()?, a, &select(&a.isnan()?, b, &one)?)
}

fn floor_div(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    Some(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient })
}

fn floor_of(number: Number) -> Number {
    match number {
        Number::Float(x) => Number::Int(Number::Float(x.floor()).int()),
        whole => Number::Int(whole.int()),
    }
}

fn negated(number: Number) -> Number {
    match number {
        Number::Float(x) => Number::Float(-x),
        whole => Number::Int(-whole.int()),
    }
}

/// The argument `self` in the type that `dtype` says.
pub(super) fn typed(g: &Given<'_>) -> Result<Array> {
    let x = g.tensor("self")?;
    g.dtype("dtype").map_or_else(|| Ok(x.clone()), |dtype| x.cast(dtype))
}

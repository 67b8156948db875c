//! Special functions, and arithmetic that few networks have.

use super::row::{Call, ops};
use crate::Result;
use crate::functional::{Array, Number, Operand, Special, Unary, refused, select, xlogy};
use crate::graph::item::Given;

fn special(c: &Call<'_>, function: Special) -> Result<Array> {
    c.given.tensor("self")?.special(function)
}

fn whole(g: &Given<'_>, name: &str) -> Result<u32> {
    u32::try_from(g.size(name, 1)?).map_err(|_| refused(name, "the number is too large"))
}

/// An argument as a tensor: a number is one without dimensions, of the type that a product with the other has.
fn as_array(g: &Given<'_>, name: &str, other: &str) -> Result<Array> {
    match (g.operand(name)?, g.operand(other)?) {
        (Operand::Array(array), _) => Ok(array.clone()),
        (Operand::Number(number), Operand::Array(array)) => {
            let dtype = crate::functional::result_type(&[Operand::Number(number), array.into()]);
            Ok(Array::scalar(number, dtype, &array.device()))
        }
        _ => Err(refused(name, "one of the two must be a tensor")),
    }
}

/// `self log(other)`, or `self log(1 + other)`.
fn times_log(g: &Given<'_>, plus_one: bool) -> Result<Array> {
    let (x, y) = (as_array(g, "self", "other")?, as_array(g, "other", "self")?);
    if !plus_one {
        return xlogy(&x, &y);
    }
    let zero = x.eq(0.0)?.logical_and(&y.isnan()?.logical_not()?)?;
    x.mul(&select(&zero, &y.zeros_like(), &y)?.unary(Unary::Log1p)?)
}

/// The integral by trapezes, or the integrals up to each place.
fn trapezes(g: &Given<'_>, cumulative: bool) -> Result<Array> {
    let (y, dim) = (g.tensor("y")?, g.int("dim", -1)?);
    let ends = |x: &Array, dim: i64| {
        Ok::<_, crate::ModelError>((x.slice(dim, Some(1), None, 1)?, x.slice(dim, None, Some(-1), 1)?))
    };
    let (later, sooner) = ends(y, dim)?;
    let sides = later.add(&sooner)?;
    let areas = match g.maybe_tensor("x")? {
        Some(x) => {
            let along = if x.rank() == 1 { 0 } else { dim };
            let (to, from) = ends(x, along)?;
            let mut steps = to.sub(&from)?;
            if x.rank() == 1 && y.rank() > 1 {
                let mut shape = vec![1; y.rank()];
                shape[y.dim(dim)?] = steps.numel();
                steps = steps.reshaped(&shape)?;
            }
            sides.mul(&steps)?
        }
        None => sides.mul(Operand::Number(g.maybe_number("dx")?.unwrap_or(Number::Int(1))))?,
    };
    if cumulative { areas.cumsum(dim)?.div(2.0) } else { areas.sum(&[dim], false)?.div(2.0) }
}

/// `torch.round(self, decimals)`.
fn rounded(g: &Given<'_>) -> Result<Array> {
    let (x, decimals) = (g.tensor("self")?, g.int("decimals", 0)?);
    let factor = 10f64.powi(i32::try_from(decimals.abs()).unwrap_or(i32::MAX));
    match decimals {
        0 => x.unary(Unary::Round),
        1.. => x.mul(factor)?.unary(Unary::Round)?.div(factor),
        _ => x.div(factor)?.unary(Unary::Round)?.mul(factor),
    }
}

ops! {
    "aten.lgamma.default" (self) |c| special(c, Special::Gammaln)?;
    "aten.digamma.default" (self) |c| special(c, Special::Digamma)?;
    "aten.polygamma.default" (n, self) |c| match whole(&c.given, "n")? {
        0 => special(c, Special::Digamma)?,
        order => special(c, Special::Polygamma(order))?,
    };
    "aten.mvlgamma.default" (self, p) |c| c.given.tensor("self")?.mvlgamma(whole(&c.given, "p")?)?;
    "aten.erfinv.default" (self) |c| special(c, Special::Erfinv)?;
    "aten.special_erfcx.default" (self) |c| special(c, Special::Erfcx)?;
    "aten.special_ndtr.default" (self) |c| special(c, Special::Ndtr)?;
    "aten.special_log_ndtr.default" (self) |c| special(c, Special::LogNdtr)?;
    "aten.i0.default" (self) |c| special(c, Special::I0)?;
    "aten.special_i0e.default" (self) |c| special(c, Special::I0e)?;
    "aten.special_i1.default" (self) |c| special(c, Special::I1)?;
    "aten.special_i1e.default" (self) |c| special(c, Special::I1e)?;
    "aten.special_entr.default" (self) |c| c.given.tensor("self")?.entr()?;
    "aten.special_xlog1py.default" (self, other) |c| times_log(&c.given, true)?;
    "aten.special_xlog1py.other_scalar" (self, other) |c| times_log(&c.given, true)?;
    "aten.special_xlog1py.self_scalar" (self, other) |c| times_log(&c.given, true)?;
    "aten.xlogy.Tensor" (self, other) |c| times_log(&c.given, false)?;
    "aten.xlogy.Scalar_Other" (self, other) |c| times_log(&c.given, false)?;
    "aten.xlogy.Scalar_Self" (self, other) |c| times_log(&c.given, false)?;
    "aten.sinc.default" (self) |c| c.given.tensor("self")?.sinc()?;
    "aten.atan2.default" (self, other) |c| c.given.tensor("self")?.atan2(c.given.tensor("other")?)?;
    "aten.logaddexp.default" (self, other) |c| c.given.tensor("self")?.log_add_exp(c.given.tensor("other")?, std::f64::consts::E)?;
    "aten.logaddexp2.default" (self, other) |c| c.given.tensor("self")?.log_add_exp(c.given.tensor("other")?, 2.0)?;
    "aten.copysign.Tensor" (self, other) |c| c.given.tensor("self")?.copysign(c.given.tensor("other")?)?;
    "aten.copysign.Scalar" (self, other) |c| c.given.tensor("self")?.copysign(c.given.operand("other")?)?;
    "aten.signbit.default" (self) |c| c.given.tensor("self")?.signbit()?;
    "aten.heaviside.default" (self, values) |c| {
        let (x, values) = (c.given.tensor("self")?.detach(), c.given.tensor("values")?.detach());
        let step = x.gt(0)?.cast(x.dtype())?;
        let out = select(&x.eq(0)?, &values, &step)?;
        select(&x.isnan()?, &x, &out)?
    };
    "aten.ldexp.Tensor" (self, other) |c| c.given.tensor("self")?.mul(&c.given.tensor("other")?.power_of(Number::Float(2.0))?)?;
    "aten.float_power.Tensor_Tensor" (self, exponent) |c| {
        let wide = |name: &str| c.given.tensor(name)?.cast(burn::tensor::DType::F64);
        wide("self")?.pow(&wide("exponent")?)?
    };
    "aten.float_power.Scalar" (self, exponent) |c| c.given.tensor("exponent")?.cast(burn::tensor::DType::F64)?.power_of(c.given.number("self")?)?;
    "aten.isclose.default" (self, other, rtol, atol, equal_nan) |c| c.given.tensor("self")?.isclose(c.given.tensor("other")?, c.given.float("rtol", 1e-5)?, c.given.float("atol", 1e-8)?, c.given.flag("equal_nan", false)?)?;
    "aten.isposinf.default" (self) |c| c.given.tensor("self")?.eq(f64::INFINITY)?;
    "aten.isneginf.default" (self) |c| c.given.tensor("self")?.eq(f64::NEG_INFINITY)?;
    "aten.gcd.default" (self, other) |c| c.given.tensor("self")?.gcd(c.given.tensor("other")?, false)?;
    "aten.lcm.default" (self, other) |c| c.given.tensor("self")?.gcd(c.given.tensor("other")?, true)?;
    "aten.round.decimals" (self, decimals) |c| rounded(&c.given)?;
    "aten.trapezoid.x" (y, x, dim) |c| trapezes(&c.given, false)?;
    "aten.trapezoid.dx" (y, dx, dim) |c| trapezes(&c.given, false)?;
    "aten.cumulative_trapezoid.x" (y, x, dim) |c| trapezes(&c.given, true)?;
    "aten.cumulative_trapezoid.dx" (y, dx, dim) |c| trapezes(&c.given, true)?;
}

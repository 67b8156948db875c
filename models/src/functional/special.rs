//! Special functions: of the gamma function, the normal distribution, Bessel's.
//!
//! No device has these: they are computed on the CPU in float64, from the elements that the device gives, with their derivatives
//! beside them.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

use burn::backend::Dispatch;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::DType;

use super::array::{Array, Kind, refused};
use super::broadcast::select;
use super::number::Number;
use super::unary::Unary;
use crate::Result;

/// Special functions, as `torch.special` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// `lgamma`: the logarithm of the gamma function's size.
    Gammaln,
    /// `digamma`: its derivative.
    Digamma,
    /// The derivative of `digamma` of this order, which is 1 or more.
    Polygamma(u32),
    /// The inverse of `erf`.
    Erfinv,
    /// `1 - erf(x)`, exact where that is small.
    Erfc,
    /// `exp(x^2) erfc(x)`.
    Erfcx,
    /// The normal distribution.
    Ndtr,
    /// Its logarithm.
    LogNdtr,
    /// Bessel's modified function of order 0.
    I0,
    /// The same, times `exp(-|x|)`.
    I0e,
    /// Bessel's modified function of order 1.
    I1,
    /// The same, times `exp(-|x|)`.
    I1e,
}

impl Special {
    fn at(self, x: f64) -> f64 {
        match self {
            Special::Gammaln => libm::lgamma(x),
            Special::Digamma => digamma(x),
            Special::Polygamma(order) => polygamma(order, x),
            Special::Erfinv => erfinv(x),
            Special::Erfc => libm::erfc(x),
            Special::Erfcx => erfcx(x),
            Special::Ndtr => 0.5 * libm::erfc(-x * FRAC_1_SQRT_2),
            Special::LogNdtr if x < -1.0 => (erfcx(-x * FRAC_1_SQRT_2) / 2.0).ln() - x * x / 2.0,
            Special::LogNdtr => (-libm::erfc(x * FRAC_1_SQRT_2) / 2.0).ln_1p(),
            Special::I0 => bessel(0, x) * x.abs().exp(),
            Special::I0e => bessel(0, x),
            Special::I1 => bessel(1, x) * x.abs().exp(),
            Special::I1e => bessel(1, x),
        }
    }

    fn derivative(self, x: f64) -> f64 {
        match self {
            Special::Gammaln => digamma(x),
            Special::Digamma => polygamma(1, x),
            Special::Polygamma(order) => polygamma(order + 1, x),
            Special::Erfinv => erfinv(x).powi(2).exp() / FRAC_2_SQRT_PI,
            Special::Erfc => -FRAC_2_SQRT_PI * (-x * x).exp(),
            Special::Erfcx => 2.0 * x * erfcx(x) - FRAC_2_SQRT_PI,
            Special::Ndtr => (-x * x / 2.0).exp() / (2.0 * PI).sqrt(),
            Special::LogNdtr => (2.0 / PI).sqrt() / erfcx(-x * FRAC_1_SQRT_2),
            Special::I0 => Special::I1.at(x),
            Special::I0e => bessel(1, x) - x.signum() * bessel(0, x),
            Special::I1 | Special::I1e if x == 0.0 => 0.5,
            Special::I1 => Special::I0.at(x) - Special::I1.at(x) / x,
            Special::I1e => bessel(0, x) - bessel(1, x) * (x.signum() + 1.0 / x),
        }
    }
}

impl Array {
    /// A special function; of whole numbers in float32.
    ///
    /// # Errors
    /// When the device does not give its elements.
    pub fn special(&self, function: Special) -> Result<Self> {
        let x = self.floating()?;
        let elements = x.floats()?;
        let mapped = |f: fn(Special, f64) -> f64| {
            let values: Vec<f64> = elements.iter().map(|&x| f(function, x)).collect();
            Array::from_floats(&values, x.shape(), x.dtype(), &x.device())
        };
        let slope = mapped(Special::derivative)?;
        x.first_order(&mapped(Special::at)?, |change| change.mul(&slope))
    }

    /// This, and whole numbers as float32.
    pub(super) fn floating(&self) -> Result<Self> {
        if self.kind() == Kind::Float { Ok(self.clone()) } else { self.cast(DType::F32) }
    }

    /// A value that was computed of this tensor without its tape, with the gradient that `change` says: what the value changes
    /// by when this tensor changes by its argument, to first order.
    pub(super) fn first_order(&self, value: &Array, change: impl Fn(&Array) -> Result<Array>) -> Result<Self> {
        // Where it is no number (a pole) nothing goes through it.
        let zero = change(&self.no_change()?)?;
        let pole = zero.detach().ne(0.0)?;
        value.detach().add(&zero.fill_where(&pole, Number::Float(0.0))?)
    }

    /// A 0 for each element, through which the gradient goes.
    pub(super) fn no_change(&self) -> Result<Self> {
        let change = self.sub(&self.detach())?;
        // The difference of infinities is none.
        let odd = change.detach().isnan()?;
        change.fill_where(&odd, Number::Float(0.0))
    }

    /// `torch.mvlgamma(self, p)`.
    ///
    /// # Errors
    /// As [`special`](Self::special).
    pub fn mvlgamma(&self, p: u32) -> Result<Self> {
        let x = self.floating()?;
        let start = f64::from(p) * (f64::from(p) - 1.0) / 4.0 * PI.ln();
        let mut sum = Array::full(x.shape(), Number::Float(start), x.dtype(), &x.device());
        for index in 0..p {
            sum = sum.add(&x.sub(f64::from(index) / 2.0)?.special(Special::Gammaln)?)?;
        }
        Ok(sum)
    }

    /// `torch.sinc(self)`: `sin(pi x) / (pi x)`, 1 at 0.
    ///
    /// # Errors
    /// None at present.
    pub fn sinc(&self) -> Result<Self> {
        let x = self.floating()?.mul(PI)?;
        let zero = x.eq(0.0)?;
        let safe = x.fill_where(&zero, Number::Float(1.0))?;
        safe.unary(Unary::Sin)?.div(&safe)?.fill_where(&zero, Number::Float(1.0))
    }

    /// `torch.special.entr(self)`: `-x log(x)`, 0 at 0, -inf below.
    ///
    /// # Errors
    /// None at present.
    pub fn entr(&self) -> Result<Self> {
        let x = self.floating()?;
        let below = x.lt(0.0)?;
        xlogy(&x, &x)?.negated()?.fill_where(&below, Number::Float(f64::NEG_INFINITY))
    }

    /// `torch.atan2(self, other)`: the angle of `(other, self)`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn atan2(&self, other: &Array) -> Result<Self> {
        let dtype = super::number::result_type(&[self.into(), other.into()]);
        let dtype = if super::kind_of(dtype) == Kind::Float { dtype } else { DType::F32 };
        let shape = super::broadcast_shape(self.shape(), other.shape())?;
        let (y, x) = (self.cast(dtype)?.expanded(&shape)?, other.cast(dtype)?.expanded(&shape)?);
        if y.numel() == 0 {
            return y.add(&x);
        }
        let value = Array::new(Dispatch::float_atan2(y.detach().prim(), x.detach().prim()), &shape);
        let square = x.detach().mul(&x.detach())?.add(&y.detach().mul(&y.detach())?)?;
        let by_y = y.first_order(&value, |change| change.mul(&x.detach().div(&square)?))?;
        let by_x = x.first_order(&value, |change| change.mul(&y.detach().div(&square)?)?.negated())?;
        by_y.add(&by_x.sub(&value)?.fill_where(&value.isnan()?, Number::Float(0.0))?)
    }

    /// `torch.logaddexp(self, other)`, or with powers of 2: the logarithm of the sum of both exponentials.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn log_add_exp(&self, other: &Array, base: f64) -> Result<Self> {
        let (a, b) = (self.floating()?, other.floating()?);
        let largest = a.detach().maximum(&b.detach())?;
        // Infinities that are equal have no difference.
        let safe = select(&largest.isinf()?, 0.0, &largest)?.cast(largest.dtype())?;
        let factor = base.ln();
        let power = |x: &Array| x.sub(&safe)?.mul(factor)?.unary(Unary::Exp);
        power(&a)?.add(&power(&b)?)?.unary(Unary::Log)?.div(factor)?.add(&safe)
    }

    /// `torch.copysign(self, other)`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn copysign<'a>(&'a self, other: impl Into<super::Operand<'a>>) -> Result<Self> {
        let x = self.floating()?;
        let negative = match other.into() {
            super::Operand::Array(other) => other.signbit()?,
            super::Operand::Number(number) => {
                Array::full(&[], Number::Bool(number.float().is_sign_negative()), super::BOOL, &x.device())
            }
        };
        // The type is that of both.
        let flipped = x.signbit()?.logical_xor(&negative)?;
        let sign = select(&flipped, -1.0, 1.0)?.cast(x.dtype())?;
        // At 0 there is no gradient.
        let zero = x.eq(0.0)?.expanded(&super::broadcast_shape(x.shape(), sign.shape())?)?;
        let out = x.mul(&sign)?;
        select(&zero, &out.detach(), &out)
    }

    /// `torch.signbit(self)`: whether it is below 0, or -0.
    ///
    /// # Errors
    /// None at present.
    pub fn signbit(&self) -> Result<Self> {
        let below = self.lt(0)?;
        if self.kind() != Kind::Float {
            return Ok(below);
        }
        let x = self.detach();
        below.logical_or(&x.eq(0.0)?.logical_and(&x.unary(Unary::Reciprocal)?.lt(0.0)?)?)
    }

    /// `torch.isclose(self, other, rtol, atol, equal_nan)`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn isclose(&self, other: &Array, rtol: f64, atol: f64, equal_nan: bool) -> Result<Self> {
        if self.kind() == Kind::Bool {
            return self.cast(DType::I64)?.isclose(&other.cast(DType::I64)?, rtol, atol, equal_nan);
        }
        let same = self.eq(other)?;
        let allowed = other.unary(Unary::Abs)?.mul(rtol)?.add(atol)?;
        let distance = self.sub(other)?.unary(Unary::Abs)?;
        let infinite = distance.isinf()?.logical_or(&distance.isnan()?)?;
        let close = same.logical_or(&distance.le(&allowed)?.logical_and(&infinite.logical_not()?)?)?;
        if equal_nan { close.logical_or(&self.isnan()?.logical_and(&other.isnan()?)?) } else { Ok(close) }
    }

    /// `torch.gcd(self, other)`, or `torch.lcm`.
    ///
    /// # Errors
    /// When the shapes do not go together, or these are no whole numbers.
    pub fn gcd(&self, other: &Array, lcm: bool) -> Result<Self> {
        let dtype = super::number::result_type(&[self.into(), other.into()]);
        if super::kind_of(dtype) != Kind::Int {
            return Err(refused(if lcm { "lcm" } else { "gcd" }, "it is for whole numbers"));
        }
        let shape = super::broadcast_shape(self.shape(), other.shape())?;
        let (a, b) = (self.expanded(&shape)?.ints()?, other.expanded(&shape)?.ints()?);
        let found = |(a, b): (i64, i64)| {
            let (mut x, mut y) = (a, b);
            while y != 0 {
                (x, y) = (y, x.wrapping_rem(y));
            }
            match (lcm, x) {
                (false, _) => x.wrapping_abs(),
                (true, 0) => 0,
                (true, _) => a.wrapping_div(x).wrapping_mul(b).wrapping_abs(),
            }
        };
        Array::from_ints(&a.into_iter().zip(b).map(found).collect::<Vec<_>>(), &shape, &self.device())?.cast(dtype)
    }
}

fn digamma(x: f64) -> f64 {
    if x == 0.0 {
        return f64::INFINITY.copysign(-x);
    }
    if x < 0.0 {
        return if x.fract() == 0.0 { f64::NAN } else { digamma(1.0 - x) - PI / (PI * x.fract()).tan() };
    }
    let (mut x, mut sum) = (x, 0.0);
    while x < 10.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    // Bernoulli's numbers over their index.
    let tail = [1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32760.0, 1.0 / 12.0];
    let tail = tail.iter().rev().fold(0.0, |rest, number| (rest + number) * square);
    sum + x.ln() - 0.5 / x - tail
}

/// `(-1)^(n+1) n! zeta(n+1, x)`.
fn polygamma(order: u32, x: f64) -> f64 {
    if order == 0 {
        return digamma(x);
    }
    let factorial = (1..=order).map(f64::from).product::<f64>();
    let sign = if order.is_multiple_of(2) { -1.0 } else { 1.0 };
    sign * factorial * zeta(f64::from(order + 1), x)
}

/// Hurwitz' zeta function, by Euler and Maclaurin.
fn zeta(s: f64, q: f64) -> f64 {
    if q <= 0.0 && q.fract() == 0.0 {
        return f64::INFINITY;
    }
    let (mut sum, mut q) = (0.0, q);
    while q < 12.0 {
        sum += q.powf(-s);
        q += 1.0;
    }
    sum += q.powf(1.0 - s) / (s - 1.0) + 0.5 * q.powf(-s);
    // Bernoulli's numbers over factorials.
    let terms = [1.0 / 12.0, -1.0 / 720.0, 1.0 / 30240.0, -1.0 / 1_209_600.0, 1.0 / 47_900_160.0];
    let mut factor = s * q.powf(-s - 1.0);
    let mut at = s;
    for term in terms {
        sum += term * factor;
        factor *= (at + 1.0) * (at + 2.0) / (q * q);
        at += 2.0;
    }
    sum
}

fn erfinv(x: f64) -> f64 {
    let size = x.abs();
    if size >= 1.0 {
        return if size == 1.0 { f64::INFINITY.copysign(x) } else { f64::NAN };
    }
    // Winitzki's approximation, then Newton's steps; near 1 over what is left to it.
    let log = (-size * size).ln_1p();
    let half = 2.0 / (PI * 0.147) + log / 2.0;
    let mut y = ((half * half - log / 0.147).sqrt() - half).max(0.0).sqrt();
    for _ in 0..4 {
        let miss = if size > 0.5 { (1.0 - size) - libm::erfc(y) } else { libm::erf(y) - size };
        y -= miss / (FRAC_2_SQRT_PI * (-y * y).exp());
    }
    y.copysign(x)
}

fn erfcx(x: f64) -> f64 {
    if x < 25.0 {
        return (x * x).exp() * libm::erfc(x);
    }
    let square = 1.0 / (2.0 * x * x);
    let series = 1.0 - square * (1.0 - 3.0 * square * (1.0 - 5.0 * square * (1.0 - 7.0 * square)));
    series * FRAC_2_SQRT_PI / (2.0 * x)
}

/// Bessel's modified function of order 0 or 1, times `exp(-|x|)`.
fn bessel(order: u32, x: f64) -> f64 {
    let size = x.abs();
    let sign = if order == 1 { x.signum() } else { 1.0 };
    if size < 30.0 {
        let quarter = size * size / 4.0;
        let mut term = if order == 0 { 1.0 } else { size / 2.0 };
        let (mut sum, mut index) = (term, 1.0);
        while term > sum * 1e-17 {
            term *= quarter / (index * (index + f64::from(order)));
            sum += term;
            index += 1.0;
        }
        return sign * sum * (-size).exp();
    }
    let squared = f64::from(4 * order * order);
    let (mut term, mut sum) = (1.0, 1.0);
    for index in 1..30u32 {
        let odd = f64::from(2 * index - 1);
        term *= -(squared - odd * odd) / (f64::from(index) * 8.0 * size);
        sum += term;
    }
    sign * sum / (2.0 * PI * size).sqrt()
}

/// `torch.xlogy(x, y)`: `x log(y)`, and 0 where `x` is.
///
/// # Errors
/// When the shapes do not go together.
pub fn xlogy(x: &Array, y: &Array) -> Result<Array> {
    let zero = x.eq(0.0)?;
    let safe = select(&zero, 1.0, y)?;
    x.mul(&safe.unary(Unary::Log)?)
}

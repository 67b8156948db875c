//! Element by element: arithmetic, comparisons, logic and functions of one variable, with PyTorch's broadcasting, types and
//! gradients at the kinks.

use burn::backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn::backend::{Dispatch, DispatchTensor, Scalar};
use burn::tensor::DType;

use super::array::{Array, BOOL, Kind, kind_of, of_kind, refused};
use super::broadcast::{broadcast_shape, select};
use super::cpu::{Add, computed, pays};
use super::device::{check_functions, is_on_cpu, stored_as};
use super::fold::bound_of;
use super::number::{Number, Operand, result_type};
use super::unary::Unary;
use crate::Result;

/// What is done with two tensors of one type and number of dimensions, by the kind of their elements.
struct Binary {
    float: fn(DispatchTensor, DispatchTensor) -> DispatchTensor,
    int: fn(DispatchTensor, DispatchTensor) -> DispatchTensor,
    /// `None` where PyTorch refuses it.
    bool: Option<fn(DispatchTensor, DispatchTensor) -> DispatchTensor>,
}

macro_rules! binary {
    ($float:ident, $int:ident, $bool:expr) => {
        Binary { float: Dispatch::$float, int: Dispatch::$int, bool: $bool }
    };
}

macro_rules! comparison {
    ($float:ident, $int:ident, |$a:ident, $b:ident| $bool:expr) => {
        Binary {
            float: |a, b| {
                let out = stored_as(&a);
                Dispatch::$float(a, b, out)
            },
            int: |a, b| {
                let out = stored_as(&a);
                Dispatch::$int(a, b, out)
            },
            bool: Some(|$a, $b| $bool),
        }
    };
}

const ADD: Binary = binary!(float_add, int_add, Some(Dispatch::bool_or));
const SUB: Binary = binary!(float_sub, int_sub, None);
const MUL: Binary = binary!(float_mul, int_mul, Some(Dispatch::bool_and));
const DIV: Binary = binary!(float_div, int_div, None);
const REMAINDER: Binary = binary!(float_remainder, int_remainder, None);
const POW: Binary = binary!(float_powf, int_powi, None);
const EQ: Binary = comparison!(float_equal, int_equal, |a, b| Dispatch::bool_equal(a, b));
const NE: Binary = comparison!(float_not_equal, int_not_equal, |a, b| Dispatch::bool_not_equal(a, b));
const LT: Binary = comparison!(float_lower, int_lower, |a, b| Dispatch::bool_and(Dispatch::bool_not(a), b));
const LE: Binary = comparison!(float_lower_equal, int_lower_equal, |a, b| Dispatch::bool_or(Dispatch::bool_not(a), b));

/// Brings both to one type and as many dimensions, and does it.
fn apply(op: &'static str, binary: &Binary, a: Operand<'_>, b: Operand<'_>, dtype: DType) -> Result<Array> {
    let device = match (a, b) {
        (Operand::Array(array), _) | (_, Operand::Array(array)) => array.device(),
        _ => return Err(refused(op, "one of the two must be a tensor")),
    };
    let array = |operand: Operand<'_>| match operand {
        Operand::Array(array) => array.cast(dtype),
        Operand::Number(number) => Ok(Array::scalar(number, dtype, &device)),
    };
    let (a, b) = (array(a)?, array(b)?);
    let shape = broadcast_shape(a.shape(), b.shape())?;
    if shape.contains(&0) {
        return Ok(Array::nothing(&shape, dtype, &[&a, &b]));
    }
    let (a, b) = (a.lifted(shape.len())?, b.lifted(shape.len())?);
    let run = match kind_of(dtype) {
        Kind::Float => binary.float,
        Kind::Int => binary.int,
        Kind::Bool => binary.bool.ok_or_else(|| refused(op, "it is not for truth values"))?,
    };
    Ok(Array::new(run(a.prim(), b.prim()), &shape))
}

/// As [`apply`], in the type that both have together.
fn promoting(op: &'static str, binary: &Binary, a: Operand<'_>, b: Operand<'_>) -> Result<Array> {
    apply(op, binary, a, b, result_type(&[a, b]))
}

/// A comparison: its result is a truth value whatever is compared.
fn compared(op: &'static str, binary: &Binary, a: Operand<'_>, b: Operand<'_>) -> Result<Array> {
    let out = promoting(op, binary, a, b)?;
    // An empty result has the type of the operands.
    out.cast(BOOL)
}

macro_rules! comparisons {
    ($($name:ident($self:ident, $other:ident) = $binary:ident($a:ident, $b:ident);)+) => {
        impl Array { $(
            #[doc = concat!("`torch.", stringify!($name), "(self, other)`.")]
            ///
            /// # Errors
            /// When the shapes do not go together.
            pub fn $name<'a>(&'a $self, $other: impl Into<Operand<'a>>) -> Result<Self> {
                compared(stringify!($name), &$binary, $a.into(), $b.into())
            }
        )+ }
    };
}

comparisons! {
    eq(self, other) = EQ(self, other);
    ne(self, other) = NE(self, other);
    lt(self, other) = LT(self, other);
    le(self, other) = LE(self, other);
    gt(self, other) = LT(other, self);
    ge(self, other) = LE(other, self);
}

impl Array {
    /// With as many dimensions, those of length 1 in front.
    pub(super) fn lifted(&self, rank: usize) -> Result<Self> {
        let mut shape = vec![1; rank.saturating_sub(self.rank())];
        shape.extend(self.shape());
        self.reshaped(&shape)
    }

    /// `torch.add(self, other)`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn add<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Self> {
        match (self.kind(), other.into()) {
            (Kind::Float, Operand::Number(n)) => {
                Ok(Array::new(Dispatch::float_add_scalar(self.prim(), n.scalar()), self.shape()))
            }
            (Kind::Float, Operand::Array(array)) if self.shape() == array.shape() && pays(self.numel(), Add::LEAST) => {
                match computed(Add, &[self, array]) {
                    Some(sum) => Ok(Array::new(sum, self.shape())),
                    None => promoting("add", &ADD, self.into(), array.into()),
                }
            }
            (_, other) => promoting("add", &ADD, self.into(), other),
        }
    }

    /// `torch.sub(self, other)`.
    ///
    /// # Errors
    /// When the shapes do not go together, or both are truth values.
    pub fn sub<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Self> {
        match (self.kind(), other.into()) {
            (Kind::Float, Operand::Number(n)) => {
                Ok(Array::new(Dispatch::float_sub_scalar(self.prim(), n.scalar()), self.shape()))
            }
            (_, other) => promoting("sub", &SUB, self.into(), other),
        }
    }

    /// `torch.rsub(self, other)`: the other less this one.
    ///
    /// # Errors
    /// As [`sub`](Self::sub).
    pub fn rsub<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Self> {
        promoting("rsub", &SUB, other.into(), self.into())
    }

    /// `torch.mul(self, other)`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn mul<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Self> {
        match (self.kind(), other.into()) {
            (Kind::Float, Operand::Number(n)) => {
                Ok(Array::new(Dispatch::float_mul_scalar(self.prim(), n.scalar()), self.shape()))
            }
            (_, other) => promoting("mul", &MUL, self.into(), other),
        }
    }

    /// `torch.div(self, other)`: of whole numbers, too, a floating-point number.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn div<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Self> {
        let other = other.into();
        match other {
            // Burn 0.22's gradient of a division by a number has the precision of float32.
            Operand::Number(n) if self.kind() == Kind::Float && self.dtype() != DType::F64 => {
                Ok(Array::new(Dispatch::float_div_scalar(self.prim(), n.scalar()), self.shape()))
            }
            _ => apply("div", &DIV, self.into(), other, float_type(&[self.into(), other])),
        }
    }

    /// `number / self`.
    ///
    /// # Errors
    /// None at present.
    pub fn divides(&self, number: impl Into<Number>) -> Result<Self> {
        let number = Operand::Number(number.into());
        apply("div", &DIV, number, self.into(), float_type(&[self.into(), number]))
    }

    /// `torch.div(self, other, rounding_mode="floor")`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn floor_divide<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Self> {
        let other = other.into();
        let dtype = result_type(&[self.into(), other]);
        if kind_of(dtype) == Kind::Float {
            return self.floor_divided(other, dtype);
        }
        let dtype = if kind_of(dtype) == Kind::Bool { DType::I64 } else { dtype };
        // Whole numbers: what is left after the remainder, which has the divisor's sign, divides without rest.
        let rest = apply("floor_divide", &REMAINDER, self.into(), other, dtype)?;
        let whole = apply("floor_divide", &SUB, self.into(), (&rest).into(), dtype)?;
        apply("floor_divide", &DIV, (&whole).into(), other, dtype)
    }

    /// As Python's `//` of floats: by what is left over, so that a quotient which was rounded up to a whole number is not taken
    /// for it.
    fn floor_divided(&self, other: Operand<'_>, dtype: DType) -> Result<Self> {
        let a = self.detach().cast(dtype)?;
        let b = match other {
            Operand::Array(array) => array.detach().cast(dtype)?,
            Operand::Number(number) => Array::scalar(number, dtype, &self.device()),
        };
        let rest = a.fmod(&b)?;
        let quotient = a.sub(&rest)?.div(&b)?;
        let below = rest.ne(0.0)?.logical_and(&b.lt(0.0)?.logical_xor(&rest.lt(0.0)?)?)?;
        let quotient = select(&below, &quotient.sub(1.0)?, &quotient)?;
        let floor = quotient.unary(Unary::Floor)?;
        let floor = select(&quotient.sub(&floor)?.gt(0.5)?, &floor.add(1.0)?, &floor)?;
        select(&b.eq(0.0)?, &a.div(&b)?, &floor)
    }

    /// `torch.div(self, other, rounding_mode="trunc")`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn trunc_divide<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Self> {
        let other = other.into();
        let dtype = result_type(&[self.into(), other]);
        let quotient = apply("div", &DIV, self.into(), other, dtype)?;
        if kind_of(dtype) == Kind::Float { quotient.unary(Unary::Trunc) } else { Ok(quotient) }
    }

    /// `torch.remainder(self, other)`: it has the sign of the divisor.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn remainder<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Self> {
        promoting("remainder", &REMAINDER, self.into(), other.into())
    }

    /// `torch.fmod(self, other)`: it has the sign of the dividend.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn fmod<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Self> {
        let other = other.into();
        let dtype = result_type(&[self.into(), other]);
        if kind_of(dtype) != Kind::Float {
            let quotient = self.trunc_divide(other)?;
            let product = promoting("fmod", &MUL, (&quotient).into(), other)?;
            return self.sub(&product);
        }
        let b = match other {
            Operand::Array(array) => array.cast(dtype)?,
            Operand::Number(number) => Array::scalar(number, dtype, &self.device()),
        };
        // The remainder of the sizes, which is exact, with the sign of the dividend.
        let sign = |x: &Array| -> Result<Array> { select(&x.lt(0.0)?, -1.0, 1.0)?.cast(dtype) };
        let a = self.cast(dtype)?;
        let (of_a, of_b) = (sign(&a)?, sign(&b)?);
        a.mul(&of_a)?.remainder(&b.mul(&of_b)?)?.mul(&of_a)
    }

    /// `torch.pow(self, exponent)`.
    ///
    /// # Errors
    /// When the shapes do not go together, or a whole number is raised to a negative one.
    pub fn pow<'a>(&'a self, exponent: impl Into<Operand<'a>>) -> Result<Self> {
        let exponent = exponent.into();
        let dtype = result_type(&[self.into(), exponent]);
        let Operand::Number(number) = exponent else {
            if let (Operand::Array(exponent), true) = (exponent, kind_of(dtype) != Kind::Float) {
                return self.cast(dtype)?.whole_pow(&exponent.cast(dtype)?);
            }
            check_functions("pow", self, dtype)?;
            return apply("pow", &POW, self.into(), exponent, dtype);
        };
        let x = self.cast(dtype)?;
        if kind_of(dtype) != Kind::Float {
            let Some(power) = u32::try_from(number.int()).ok() else {
                return Err(refused("pow", "whole numbers cannot be raised to negative whole numbers"));
            };
            let scalar = Scalar::Int(i64::from(power));
            return match power {
                0 => Ok(Array::full(self.shape(), Number::Int(1), dtype, &self.device())),
                _ => Ok(Array::new(Dispatch::int_powi_scalar(x.prim(), scalar), self.shape())),
            };
        }
        match number.float() {
            // x^0 is 1 even of NaN, and its gradient is 0.
            0.0 => Ok(Array::full(self.shape(), Number::Int(1), dtype, &self.device())),
            1.0 => Ok(x),
            2.0 => x.mul(&x),
            3.0 => x.mul(&x)?.mul(&x),
            0.5 => x.unary(Unary::Sqrt),
            -0.5 => x.unary(Unary::Rsqrt),
            -1.0 => x.unary(Unary::Reciprocal),
            -2.0 => x.mul(&x)?.unary(Unary::Reciprocal),
            power => {
                check_functions("pow", &x, x.dtype())?;
                Ok(Array::new(Dispatch::float_powf_scalar(x.prim(), Scalar::Float(power)), self.shape()))
            }
        }
    }

    /// A power of whole numbers: with a negative exponent it is 0, but of 1 and -1.
    fn whole_pow(&self, exponent: &Array) -> Result<Self> {
        let dtype = self.dtype();
        let negative = exponent.lt(0)?;
        let power = apply("pow", &POW, self.into(), (&exponent.fill_where(&negative, Number::Int(0))?).into(), dtype)?;
        let odd = exponent.bitwise(Bits::And, 1)?.ne(0)?;
        let sign = select(&odd.logical_and(&self.eq(-1)?)?, -1, 1)?;
        let inverse = select(&self.unary(Unary::Abs)?.eq(1)?, &sign, 0)?.cast(dtype)?;
        select(&negative, &inverse, &power)
    }

    /// `number ** self`.
    ///
    /// # Errors
    /// As [`pow`](Self::pow).
    pub fn power_of(&self, base: Number) -> Result<Self> {
        let base = Operand::Number(base);
        let dtype = result_type(&[self.into(), base]);
        if let (Operand::Number(base), true) = (base, kind_of(dtype) != Kind::Float) {
            return Array::scalar(base, dtype, &self.device()).whole_pow(&self.cast(dtype)?);
        }
        check_functions("pow", self, dtype)?;
        apply("pow", &POW, base, self.into(), dtype)
    }

    /// `torch.logical_and(self, other)`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn logical_and(&self, other: &Array) -> Result<Self> {
        self.cast(BOOL)?.mul(&other.cast(BOOL)?)
    }

    /// `torch.logical_or(self, other)`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn logical_or(&self, other: &Array) -> Result<Self> {
        self.cast(BOOL)?.add(&other.cast(BOOL)?)
    }

    /// `torch.logical_xor(self, other)`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn logical_xor(&self, other: &Array) -> Result<Self> {
        self.cast(BOOL)?.ne(&other.cast(BOOL)?)
    }

    /// `torch.logical_not(self)`.
    ///
    /// # Errors
    /// None at present.
    pub fn logical_not(&self) -> Result<Self> {
        let x = self.cast(BOOL)?;
        Ok(Array::new(Dispatch::bool_not(x.prim()), self.shape()))
    }

    /// `self & other`, `self | other`, `self ^ other`: of truth values or of bits.
    ///
    /// # Errors
    /// When the shapes do not go together, or one is a floating-point number.
    pub fn bitwise<'a>(&'a self, bits: Bits, other: impl Into<Operand<'a>>) -> Result<Self> {
        let other = other.into();
        if kind_of(result_type(&[self.into(), other])) == Kind::Float {
            return Err(refused("bitwise", "it is not for floating-point numbers"));
        }
        let float: fn(DispatchTensor, DispatchTensor) -> DispatchTensor = Dispatch::float_add; // never reached
        let binary = match bits {
            Bits::And => Binary { float, int: Dispatch::bitwise_and, bool: Some(Dispatch::bool_and) },
            Bits::Or => Binary { float, int: Dispatch::bitwise_or, bool: Some(Dispatch::bool_or) },
            Bits::Xor => Binary { float, int: Dispatch::bitwise_xor, bool: Some(Dispatch::bool_not_equal) },
            Bits::Left => Binary { float, int: Dispatch::bitwise_left_shift, bool: None },
            Bits::Right => Binary { float, int: Dispatch::bitwise_right_shift, bool: None },
        };
        let out = promoting("bitwise", &binary, self.into(), other)?;
        if !matches!(bits, Bits::Left | Bits::Right) {
            return Ok(out);
        }
        // Beyond its bits nothing is left of a number but its sign.
        let by = match other {
            Operand::Array(array) => array.cast(DType::I64)?,
            Operand::Number(number) => Array::scalar(Number::Int(number.int()), DType::I64, &self.device()),
        };
        let width = i64::try_from(8 * out.dtype().size()).unwrap_or(64);
        let beyond = by.lt(0)?.logical_or(&by.ge(width)?)?;
        let signed = bits == Bits::Right && !out.dtype().is_uint();
        let rest = if signed { select(&self.lt(0)?, -1, 0)? } else { out.zeros_like() };
        select(&beyond, &rest.cast(out.dtype())?, &out)
    }

    /// `~self`.
    ///
    /// # Errors
    /// When it has floating-point numbers.
    pub fn bitwise_not(&self) -> Result<Self> {
        match self.kind() {
            Kind::Bool => self.logical_not(),
            Kind::Int => Ok(Array::new(Dispatch::bitwise_not(self.prim()), self.shape())),
            Kind::Float => Err(refused("bitwise_not", "it is not for floating-point numbers")),
        }
    }

    /// `torch.maximum(self, other)`: where both are equal, the gradient is shared.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn maximum<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Self> {
        self.extreme(other.into(), true)
    }

    /// `torch.minimum(self, other)`: where both are equal, the gradient is shared.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn minimum<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Self> {
        self.extreme(other.into(), false)
    }

    fn extreme(&self, other: Operand<'_>, largest: bool) -> Result<Self> {
        let dtype = result_type(&[self.into(), other]);
        let a = self.cast(dtype)?;
        let b = match other {
            Operand::Array(array) => array.cast(dtype)?,
            Operand::Number(number) => Array::scalar(number, dtype, &self.device()),
        };
        if a.kind() == Kind::Bool {
            return if largest { a.add(&b) } else { a.mul(&b) };
        }
        let (first, second) = if largest { (a.gt(&b)?, a.lt(&b)?) } else { (a.lt(&b)?, a.gt(&b)?) };
        let tie = if a.kind() == Kind::Float { a.mul(0.5)?.add(&b.mul(0.5)?)? } else { a.clone() };
        select(&first, &a, &select(&second, &b, &tie)?)
    }

    /// `torch.clamp(self, min, max)` with numbers: the gradient is 0 at a bound, too.
    ///
    /// # Errors
    /// When neither bound is given.
    pub fn clamp(&self, min: Option<Number>, max: Option<Number>) -> Result<Self> {
        let bounds = [min, max].into_iter().flatten();
        let operands: Vec<Operand<'_>> = std::iter::once(self.into()).chain(bounds.map(Operand::Number)).collect();
        if operands.len() == 1 {
            return Err(refused("clamp", "it needs a bound"));
        }
        let mut x = self.cast(result_type(&operands))?;
        // A bound that no such number reaches is none.
        let beyond = |bound: &Number, highest: bool| {
            x.kind() == Kind::Int
                && if highest {
                    bound.int() > bound_of(x.dtype(), true).int()
                } else {
                    bound.int() < bound_of(x.dtype(), false).int()
                }
        };
        let (min, max) = (min.filter(|bound| !beyond(bound, false)), max.filter(|bound| !beyond(bound, true)));
        if let Some(min) = min {
            x = x.le(Operand::Number(min)).and_then(|low| x.fill_where(&low, min))?;
        }
        if let Some(max) = max {
            x = x.ge(Operand::Number(max)).and_then(|high| x.fill_where(&high, max))?;
        }
        Ok(x)
    }

    /// With this number where the mask is true: `masked_fill`.
    ///
    /// # Errors
    /// When the shapes do not go together.
    pub fn fill_where(&self, mask: &Array, value: Number) -> Result<Self> {
        let shape = broadcast_shape(self.shape(), mask.shape())?;
        let (x, mask) = (self.expanded(&shape)?, mask.cast(BOOL)?.expanded(&shape)?);
        if x.numel() == 0 {
            return Ok(x);
        }
        let value = match x.kind() {
            Kind::Float => Scalar::Float(value.float()),
            Kind::Int => Scalar::Int(value.wrapped(x.dtype())),
            Kind::Bool => Scalar::Bool(value.is_true()),
        };
        let inner = of_kind!(x, float_mask_fill, int_mask_fill, bool_mask_fill, (x.prim(), mask.prim(), value));
        Ok(Array::new(inner, &shape))
    }

    /// Where it is not a number.
    ///
    /// # Errors
    /// When the shapes do not go together, which they do.
    pub fn isnan(&self) -> Result<Self> {
        if self.kind() == Kind::Float && !is_on_cpu(self) && self.numel() > 0 {
            // Compilers of shaders take it that nothing differs from itself.
            let x = self.detach().prim();
            let out = stored_as(&x);
            return Ok(Array::new(Dispatch::float_is_nan(x, out), self.shape()));
        }
        self.ne(self)
    }

    /// Where it is infinite.
    ///
    /// # Errors
    /// None at present.
    pub fn isinf(&self) -> Result<Self> {
        match self.kind() {
            Kind::Float if !is_on_cpu(self) && self.numel() > 0 => {
                let x = self.detach().prim();
                let out = stored_as(&x);
                Ok(Array::new(Dispatch::float_is_inf(x, out), self.shape()))
            }
            Kind::Float => self.unary(Unary::Abs)?.eq(f64::INFINITY),
            _ => Ok(Array::full(self.shape(), Number::Bool(false), BOOL, &self.device())),
        }
    }
}

/// Operations on bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// `&`.
    And,
    /// `|`.
    Or,
    /// `^`.
    Xor,
    /// `<<`.
    Left,
    /// `>>`.
    Right,
}

/// The type of a division: floating-point, float32 for whole numbers.
fn float_type(operands: &[Operand<'_>]) -> DType {
    let dtype = result_type(operands);
    if kind_of(dtype) == Kind::Float { dtype } else { DType::F32 }
}

//! `Number`: a Python number beside tensors, and the type that two operands give together.

use burn::backend::Scalar;
use burn::tensor::DType;

use super::array::{Array, BOOL, Kind, kind_of};

/// A Python number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// `True` or `False`.
    Bool(bool),
    /// An `int`.
    Int(i64),
    /// A `float`.
    Float(f64),
}

impl Number {
    /// As a float.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // as Python's `float(n)`
    pub fn float(self) -> f64 {
        match self {
            Number::Bool(value) => f64::from(u8::from(value)),
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }

    /// As a whole number: what is behind the point is left off.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // as `int(x)`, saturating where Python's goes on
    pub fn int(self) -> i64 {
        match self {
            Number::Bool(value) => i64::from(value),
            Number::Int(value) => value,
            Number::Float(value) => value as i64,
        }
    }

    /// As a whole number of this type: one that it cannot hold goes round, as PyTorch's do.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // that is what it does
    pub(super) fn wrapped(self, dtype: DType) -> i64 {
        let number = self.int();
        match dtype {
            DType::I8 => i64::from(number as i8),
            DType::I16 => i64::from(number as i16),
            DType::I32 => i64::from(number as i32),
            DType::U8 => i64::from(number as u8),
            DType::U16 => i64::from(number as u16),
            DType::U32 => i64::from(number as u32),
            _ => number,
        }
    }

    /// Whether it is not 0.
    #[must_use]
    pub fn is_true(self) -> bool {
        match self {
            Number::Bool(value) => value,
            Number::Int(value) => value != 0,
            Number::Float(value) => value != 0.0,
        }
    }

    /// What kind of number it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Number::Bool(_) => Kind::Bool,
            Number::Int(_) => Kind::Int,
            Number::Float(_) => Kind::Float,
        }
    }

    pub(super) fn scalar(self) -> Scalar {
        match self {
            Number::Bool(value) => Scalar::Int(i64::from(value)),
            Number::Int(value) => Scalar::Int(value),
            Number::Float(value) => Scalar::Float(value),
        }
    }

    /// The type of a tensor that is made of it: `torch.tensor(number)`, `torch.full((), number)`.
    #[must_use]
    pub fn dtype(self) -> DType {
        match self {
            Number::Bool(_) => BOOL,
            Number::Int(_) => DType::I64,
            Number::Float(_) => DType::F32,
        }
    }
}

rekindle_recorder::from! { Number:
    f64: value => Number::Float(value);
    i64: value => Number::Int(value);
    bool: value => Number::Bool(value);
}

/// One side of an operation: a tensor or a number.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// A tensor.
    Array(&'a Array),
    /// A Python number.
    Number(Number),
}

impl<'a> From<&'a Array> for Operand<'a> {
    fn from(array: &'a Array) -> Self {
        Operand::Array(array)
    }
}

impl<T: Into<Number>> From<T> for Operand<'_> {
    fn from(number: T) -> Self {
        Operand::Number(number.into())
    }
}

/// `torch.result_type` of all operands: the highest kind decides, bool < int < float; within it tensors with dimensions come
/// before those without, and those before Python numbers.
#[must_use]
pub fn result_type(operands: &[Operand<'_>]) -> DType {
    let ranked = |operand: &Operand<'_>| match operand {
        Operand::Array(array) => (array.kind(), u8::from(array.rank() > 0) + 1, Some(array.dtype())),
        Operand::Number(number) => (number.kind(), 0, None),
    };
    let kind = operands.iter().map(|operand| ranked(operand).0).max().unwrap_or(Kind::Bool);
    // Of that kind, the types of the highest rank; a lower rank counts only where no higher one has the kind.
    let rank = operands.iter().map(ranked).filter(|row| row.0 == kind).map(|row| row.1).max().unwrap_or(0);
    let types = operands.iter().map(ranked).filter(|row| row.0 == kind && row.1 == rank).filter_map(|row| row.2);
    types.reduce(promoted).unwrap_or(match kind {
        Kind::Bool => BOOL,
        Kind::Int => DType::I64,
        Kind::Float => DType::F32,
    })
}

/// The type that can hold both.
#[must_use]
pub fn promoted(one: DType, other: DType) -> DType {
    if one == other {
        return one;
    }
    match kind_of(one).cmp(&kind_of(other)) {
        std::cmp::Ordering::Less => return other,
        std::cmp::Ordering::Greater => return one,
        std::cmp::Ordering::Equal => {}
    }
    match kind_of(one) {
        Kind::Bool => BOOL,
        // f16 and bf16 meet in f32.
        Kind::Float if one.size() == other.size() => DType::F32,
        Kind::Float if one.size() > other.size() => one,
        Kind::Float => other,
        Kind::Int => whole(one, other),
    }
}

/// Signed and unsigned numbers meet in the next wider signed type.
fn whole(one: DType, other: DType) -> DType {
    let wider = if one.size() >= other.size() { one } else { other };
    if one.is_uint() == other.is_uint() {
        return wider;
    }
    let (signed, unsigned) = if one.is_uint() { (other, one) } else { (one, other) };
    if signed.size() > unsigned.size() {
        return signed;
    }
    match unsigned.size() {
        1 => DType::I16,
        2 => DType::I32,
        _ => DType::I64,
    }
}

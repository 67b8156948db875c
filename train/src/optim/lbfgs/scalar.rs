//! `Scalar`: a number as PyTorch's LBFGS has one, which is Python's `int` or `float` in one place and a tensor of no
//! dimensions in the next. It matters: Python computes with doubles, a tensor in its own type, and the state says which it was.

use rekindle_recorder::{Tensor, Value};

use crate::optim::array::Real;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<T> {
    Int(i64),
    Float(f64),
    Tensor(T),
}

use Scalar::{Float, Int};

impl<T: Real> Scalar<T> {
    /// What a state dict or a group holds; a tensor is cast to the parameters' type.
    pub(super) fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Int(number) => Some(Int(*number)),
            Value::Float(number) => Some(Float(*number)),
            Value::Bool(flag) => Some(Int(i64::from(*flag))),
            Value::Tensor(tensor) => match tensor.to_f64_vec().ok()?[..] {
                [number] => Some(Scalar::Tensor(T::of(number))),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn to_value(self) -> Value {
        match self {
            Int(number) => number.into(),
            Float(number) => number.into(),
            Scalar::Tensor(number) => Tensor::scalar(number).into(),
        }
    }

    /// `float(self)`.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn double(self) -> f64 {
        match self {
            Int(number) => number as f64,
            Float(number) => number,
            Scalar::Tensor(number) => number.double(),
        }
    }

    /// As an operand of a tensor.
    pub(super) fn element(self) -> T {
        match self {
            Scalar::Tensor(number) => number,
            other => T::of(other.double()),
        }
    }

    pub(super) fn add(self, other: Self) -> Self {
        self.combine(other, i64::wrapping_add, |a, b| a + b, |a, b| a + b)
    }

    pub(super) fn sub(self, other: Self) -> Self {
        self.combine(other, i64::wrapping_sub, |a, b| a - b, |a, b| a - b)
    }

    pub(super) fn mul(self, other: Self) -> Self {
        self.combine(other, i64::wrapping_mul, |a, b| a * b, |a, b| a * b)
    }

    pub(super) fn div(self, other: Self) -> Self {
        match (self, other) {
            (Scalar::Tensor(a), b) => Scalar::Tensor(a / b.element()),
            // `Tensor.__rtruediv__` is a reciprocal and a product.
            (a, Scalar::Tensor(b)) => Scalar::Tensor(T::of(1.0) / b * a.element()),
            (a, b) => Float(a.double() / b.double()),
        }
    }

    pub(super) fn abs(self) -> Self {
        match self {
            Int(number) => Int(number.wrapping_abs()),
            Float(number) => Float(number.abs()),
            Scalar::Tensor(number) => Scalar::Tensor(number.magnitude()),
        }
    }

    pub(super) fn sqrt(self) -> Self {
        match self {
            Scalar::Tensor(number) => Scalar::Tensor(number.root()),
            other => Float(other.double().sqrt()),
        }
    }

    /// Python's `min`: the first unless the second is less.
    pub(super) fn min(self, other: Self) -> Self {
        if other < self { other } else { self }
    }

    /// Python's `max`: the first unless the second is more.
    pub(super) fn max(self, other: Self) -> Self {
        if other > self { other } else { self }
    }

    fn combine(
        self,
        other: Self,
        ints: fn(i64, i64) -> i64,
        floats: fn(f64, f64) -> f64,
        tensors: fn(T, T) -> T,
    ) -> Self {
        match (self, other) {
            (Int(a), Int(b)) => Int(ints(a, b)),
            (Int(_) | Float(_), Int(_) | Float(_)) => Float(floats(self.double(), other.double())),
            _ => Scalar::Tensor(tensors(self.element(), other.element())),
        }
    }
}

impl<T: Real> PartialOrd for Scalar<T> {
    /// A number that meets a tensor is of the tensor's type.
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Int(_) | Float(_), Int(_) | Float(_)) => self.double().partial_cmp(&other.double()),
            _ => self.element().partial_cmp(&other.element()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Scalar<f32> = Scalar::Tensor(0.1);

    #[test]
    fn python_s_numbers_stay_so_until_they_meet_a_tensor() {
        assert_eq!(Int::<f32>(3).mul(Int(4)), Int(12));
        assert_eq!(Int::<f32>(3).div(Int(2)), Float(1.5));
        assert_eq!(Float::<f32>(0.1).add(Int(1)), Float(1.1));
        assert_eq!(Float(0.2).add(TENTH), Scalar::Tensor(0.2_f32 + 0.1_f32));
        assert_eq!(Int(3).div(TENTH), Scalar::Tensor(1.0 / 0.1_f32 * 3.0));
    }

    #[test]
    fn a_tensor_of_a_tenth_is_python_s_tenth() {
        assert!(TENTH <= Float(0.1) && TENTH >= Float(0.1));
        assert_eq!(Float(0.1).min(TENTH), Float(0.1));
        assert_eq!(Float(0.1).max(TENTH), Float(0.1));
    }
}

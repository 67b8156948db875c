//! `Number`: a `float`, or the number in a tensor of no dimensions, with the arithmetic that Python does on either.
//!
//! PyTorch's schedulers and optimizers compute with whatever lies in the group. Where that is a tensor of float32, each operation gives the
//! nearest float32: a `float` that takes part is rounded to one first. Two tensors give the wider of their types.

use std::ops::{Add, Div, Mul, Neg, Sub};

use rekindle_recorder::{DType, Result, Value};

use crate::attributes::{Attributes, float_like, number};

/// A number as PyTorch computes with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Number {
    value: f64,
    precision: Precision,
}

/// What a number is, from the one that gives way to the one that prevails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    /// Python's `float`.
    Float,
    /// A tensor of float32.
    Single,
    /// A tensor of float64.
    Double,
}

impl Precision {
    fn of(value: &Value) -> Self {
        match value.as_tensor().map(rekindle_recorder::Tensor::dtype) {
            Some(DType::Float32) => Precision::Single,
            Some(DType::Float64) => Precision::Double,
            _ => Precision::Float,
        }
    }

    /// The nearest number of this precision.
    fn round(self, value: f64) -> f64 {
        match self {
            #[allow(clippy::cast_possible_truncation)]
            Precision::Single => f64::from(value as f32),
            Precision::Float | Precision::Double => value,
        }
    }
}

impl Number {
    /// The number of this name.
    pub(crate) fn of(attributes: &Attributes, name: &str) -> Result<Self> {
        let value = attributes.float(name)?;
        let precision = attributes.get(name).map_or(Precision::Float, Precision::of);
        Ok(Number { value, precision })
    }

    /// The numbers of the list of this name.
    pub(crate) fn list(attributes: &Attributes, name: &str) -> Result<Vec<Self>> {
        let values = attributes.floats(name)?;
        let items = attributes.get(name).and_then(Value::items).unwrap_or_default();
        Ok(values
            .into_iter()
            .zip(&items)
            .map(|(value, item)| Number { value, precision: Precision::of(item) })
            .collect())
    }

    /// The two numbers of this name, such as `betas`.
    pub(crate) fn pair(attributes: &Attributes, name: &str) -> Result<(Self, Self)> {
        attributes.pair(name)?;
        match Number::list(attributes, name)?[..] {
            [a, b] => Ok((a, b)),
            _ => Err(crate::attributes::invalid(format!("{name} are not two numbers"))),
        }
    }

    /// `self.to(dtype)` of a tensor, for `float64` or `float32`; a `float` stays one.
    pub(crate) fn to(self, double: bool) -> Self {
        let precision = match self.precision {
            Precision::Float => Precision::Float,
            _ if double => Precision::Double,
            _ => Precision::Single,
        };
        Number { value: precision.round(self.value), precision }
    }

    /// `self ** exponent`: of a tensor, by the products that PyTorch makes of small powers.
    pub(crate) fn pow(self, exponent: f64) -> Self {
        #[allow(clippy::cast_possible_truncation, clippy::float_cmp)]
        let value = match self.precision {
            Precision::Float => self.value.powf(exponent),
            _ if exponent == 0.5 => self.value.sqrt(),
            Precision::Double => match exponent {
                2.0 => self.value * self.value,
                3.0 => self.value * self.value * self.value,
                _ => self.value.powf(exponent),
            },
            Precision::Single => {
                let value = self.value as f32;
                f64::from(match exponent {
                    2.0 => value * value,
                    3.0 => value * value * value,
                    _ => value.powf(exponent as f32),
                })
            }
        };
        Number { value: self.precision.round(value), ..self }
    }

    /// The number itself.
    pub(crate) fn value(self) -> f64 {
        self.value
    }

    /// `_update_param_group_val()`: fills the tensor that lies there, or takes the place of anything else.
    pub(crate) fn put(self, attributes: &mut Attributes, name: &str) {
        match attributes.get(name) {
            Some(Value::Tensor(_)) => attributes.set_float(name, self.value),
            _ => attributes.set(name, self),
        }
    }

    /// Both numbers in what the result is, by an operation whose result is rounded to that.
    fn with(self, other: Number, operation: impl Fn(f64, f64) -> f64) -> Number {
        // In float64, one operation on two numbers of float32 is exact, or nothing that a second rounding could turn.
        let precision = self.precision.max(other.precision);
        let value = operation(precision.round(self.value), precision.round(other.value));
        Number { value: precision.round(value), precision }
    }
}

impl TryFrom<&Value> for Number {
    type Error = ();

    fn try_from(value: &Value) -> std::result::Result<Self, ()> {
        let precision = Precision::of(value);
        number(value).map(|value| Number { value, precision }).ok_or(())
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Number { value, precision: Precision::Float }
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Self {
        let dtype = match number.precision {
            Precision::Float => None,
            Precision::Single => Some(DType::Float32),
            Precision::Double => Some(DType::Float64),
        };
        float_like(dtype, number.value)
    }
}

macro_rules! operations {
    ($($trait:ident $method:ident)*) => { $(
        impl $trait for Number {
            type Output = Number;

            fn $method(self, other: Number) -> Number {
                self.with(other, f64::$method)
            }
        }

        impl $trait<f64> for Number {
            type Output = Number;

            fn $method(self, other: f64) -> Number {
                self.with(other.into(), f64::$method)
            }
        }
    )* };
    (floats $($trait:ident $method:ident)*) => { $(
        impl $trait<Number> for f64 {
            type Output = Number;

            fn $method(self, other: Number) -> Number {
                Number::from(self).with(other, f64::$method)
            }
        }
    )* };
}

impl Div for Number {
    type Output = Number;

    /// PyTorch's `float / tensor` is a reciprocal and a product.
    fn div(self, other: Number) -> Number {
        if self.precision == Precision::Float && other.precision != Precision::Float {
            return Number::from(1.0).with(other, f64::div) * self;
        }
        self.with(other, f64::div)
    }
}

impl Div<f64> for Number {
    type Output = Number;

    fn div(self, other: f64) -> Number {
        self.with(other.into(), f64::div)
    }
}

impl Neg for Number {
    type Output = Number;

    fn neg(self) -> Number {
        Number { value: -self.value, ..self }
    }
}

operations! { Add add Sub sub Mul mul }
operations! { floats Add add Sub sub Mul mul }

#[cfg(test)]
mod tests {
    use rekindle_recorder::Tensor;

    use super::*;

    #[test]
    fn a_float_gives_way_to_a_tensor_and_a_narrow_tensor_to_a_wide_one() {
        let mut attributes = Attributes::default();
        attributes.set("single", Tensor::scalar(0.1_f32));
        attributes.set("double", Tensor::scalar(0.1_f64));
        let [single, double] = ["single", "double"].map(|name| Number::of(&attributes, name).unwrap());
        let product = single * 0.3;
        assert_eq!(product.value(), f64::from(0.1_f32 * 0.3_f32));
        assert_eq!((product + double).value(), f64::from(0.1_f32 * 0.3_f32) + 0.1);
        assert_eq!((0.5 - double).value(), 0.4);
        product.put(&mut attributes, "double");
        assert_eq!(attributes.get("double").and_then(Value::as_tensor).map(Tensor::dtype), Some(DType::Float64));
        product.put(&mut attributes, "new");
        assert_eq!(attributes.get("new").and_then(Value::as_tensor).map(Tensor::dtype), Some(DType::Float32));
    }
}

//! How far numbers are from those that are expected: in units in the last place, in the 2-norm, and as whole values.

use std::collections::HashMap;

use rekindle_recorder::{DType, Tensor, Value};

use crate::tagged::spell;

/// How many representable numbers lie between two.
pub fn ulps(a: f32, b: f32) -> u32 {
    let ordered = |x: f32| {
        let bits = x.to_bits().cast_signed();
        if bits < 0 { i32::MIN - bits } else { bits }
    };
    ordered(a).abs_diff(ordered(b))
}

/// The distance of `a` and `b` in units in the last place of `scale`: of the largest value that an element had on its way.
/// What is nearly cancelled keeps the rounding of what it was, and may be many of its own units away.
pub fn units(a: f32, b: f32, scale: f32) -> f32 {
    let scale = scale.abs().max(f32::MIN_POSITIVE);
    (a - b).abs() / (scale.next_up() - scale)
}

/// As [`ulps`], of doubles.
pub fn ulps64(a: f64, b: f64) -> u64 {
    let ordered = |x: f64| {
        let bits = x.to_bits().cast_signed();
        if bits < 0 { i64::MIN - bits } else { bits }
    };
    ordered(a).abs_diff(ordered(b))
}

/// The largest magnitude that each element of each tensor had on its way.
#[derive(Debug, Default)]
pub struct Largest(HashMap<String, Vec<f64>>);

impl Largest {
    /// Takes the magnitudes of these tensors into account.
    pub fn see(&mut self, tensors: &[(String, Tensor)]) {
        for (name, tensor) in tensors {
            let values = tensor.to_f64_vec().unwrap();
            let largest = self.0.entry(name.clone()).or_insert_with(|| vec![0.0; values.len()]);
            largest.iter_mut().zip(values).for_each(|(largest, value)| *largest = largest.max(value.abs()));
        }
    }

    /// Counts a parameter's elements and those of its state as so many times larger than they were.
    pub fn grow(&mut self, parameter: &str, times: &[f64]) {
        for (name, largest) in &mut self.0 {
            if name.split('.').next() == Some(parameter) && largest.len() == times.len() {
                largest.iter_mut().zip(times).for_each(|(largest, times)| *largest *= times);
            }
        }
    }

    /// The largest distance of an element from what is expected, in units in the last place of the largest magnitude that it
    /// had. What is nearly cancelled keeps the rounding of what it was, and may be many of its own units away.
    ///
    /// Panics where it is above the tolerance for the tensor's name. A tolerance of 0 asks for the same bits, but for the sign of
    /// a zero: in PyTorch it depends on whether an element is in the vectorised part of its tensor.
    pub fn apart(
        &mut self,
        found: &[(String, Tensor)],
        expected: &[(String, Tensor)],
        tolerance: impl Fn(&str) -> f64,
        what: &str,
    ) -> f64 {
        self.see(expected);
        assert_eq!(found.len(), expected.len(), "{what}");
        let mut worst = 0.0_f64;
        for ((name, found), (expected_name, expected)) in found.iter().zip(expected) {
            let about = |tensor: &Tensor| (tensor.dtype(), tensor.shape().to_vec());
            assert_eq!((name, about(found)), (expected_name, about(expected)), "{what}");
            let tolerance = tolerance(name);
            let (values, expected) = (found.to_f64_vec().unwrap(), expected.to_f64_vec().unwrap());
            for (place, (a, b)) in values.iter().zip(expected).enumerate() {
                let units = (a - b).abs() / unit(self.0[name][place], found.dtype());
                assert!(units <= tolerance, "{what}, {name}, element {place}: {a:e} and {b:e}, {units} units");
                worst = worst.max(units);
            }
        }
        worst
    }
}

/// The unit in the last place of a number in its type.
pub fn unit(number: f64, dtype: DType) -> f64 {
    match dtype {
        DType::Float64 => number.max(f64::MIN_POSITIVE).next_up() - number.max(f64::MIN_POSITIVE),
        #[allow(clippy::cast_possible_truncation)]
        _ => {
            let number = (number as f32).max(f32::MIN_POSITIVE);
            f64::from(number.next_up() - number)
        }
    }
}

/// How far numbers are from others, in the 2-norm, as a part of the others.
pub fn apart(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let apart: f64 = found.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum();
    if apart == 0.0 { 0.0 } else { (apart / expected.iter().map(|b| b.powi(2)).sum::<f64>()).sqrt() }
}

/// The same of two tensors of one type and shape.
fn relative(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!((found.dtype(), found.shape()), (expected.dtype(), expected.shape()));
    apart(&found.to_f64_vec().unwrap(), &expected.to_f64_vec().unwrap())
}

/// The largest relative difference of two values, which must have the same keys in the same order, types and shapes.
pub fn differ(found: &Value, expected: &Value, path: &str) -> f64 {
    let pairs = |found: Vec<(String, Value)>, expected: Vec<(String, Value)>| {
        let keys = |entries: &[(String, Value)]| entries.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
        assert_eq!(keys(&found), keys(&expected), "{path}");
        let each = found.iter().zip(&expected);
        each.map(|((key, a), (_, b))| differ(a, b, &format!("{path}.{key}"))).fold(0.0, f64::max)
    };
    let entries = |value: &Value| {
        let entries = value.as_dict().unwrap().entries();
        entries.into_iter().map(|(key, value)| (format!("{key:?}"), value)).collect()
    };
    let items =
        |value: &Value| value.items().unwrap().into_iter().enumerate().map(|(i, item)| (i.to_string(), item)).collect();
    match (found, expected) {
        (Value::Dict(_), Value::Dict(_)) => pairs(entries(found), entries(expected)),
        (Value::List(_), Value::List(_)) => pairs(items(found), items(expected)),
        (Value::Tensor(a), Value::Tensor(b)) => relative(a, b),
        (Value::Float(a), Value::Float(b)) if a == b => 0.0,
        (Value::Float(a), Value::Float(b)) => (a - b).abs() / b.abs(),
        _ => {
            assert_eq!(spell(found, true), spell(expected, true), "{path}");
            0.0
        }
    }
}

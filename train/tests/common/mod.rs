//! Reads the fixtures that `tests/fixtures/sections/train.py` wrote.
#![allow(dead_code, reason = "each test file takes what it needs")]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rekindle_recorder::{DType, Dict, Tensor, Value};
use serde_json::Value as Json;

pub(crate) mod optim;

/// The cases of a file in `tests/fixtures/train`.
pub(crate) fn cases(name: &str) -> Vec<Json> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/train").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn case<'a>(cases: &'a [Json], name: &str) -> &'a Json {
    cases.iter().find(|case| case["name"] == name).unwrap_or_else(|| panic!("there is no case {name}"))
}

/// The bytes of an array.
pub(crate) fn bytes(json: &Json) -> Vec<u8> {
    BASE64_STANDARD.decode(json.as_str().unwrap()).unwrap()
}

pub(crate) fn f32s(json: &Json) -> Vec<f32> {
    bytes(json).as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

pub(crate) fn f64s(json: &Json) -> Vec<f64> {
    bytes(json).as_chunks().0.iter().map(|chunk| f64::from_le_bytes(*chunk)).collect()
}

/// A tensor as the section's `tagged` wrote it.
pub(crate) fn tensor(json: &Json) -> Tensor {
    let dtype: DType = json["tensor"].as_str().unwrap().parse().unwrap();
    let shape: Vec<usize> = json["shape"].as_array().unwrap().iter().map(size).collect();
    Tensor::from_le_bytes(dtype, &shape, bytes(&json["data"])).unwrap()
}

pub(crate) fn size(json: &Json) -> usize {
    usize::try_from(json.as_u64().unwrap()).unwrap()
}

/// A Python value as the section's `tagged` wrote it.
pub(crate) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::None,
        Json::Bool(b) => (*b).into(),
        Json::Number(number) => number.as_i64().map_or_else(|| number.as_f64().unwrap().into(), Value::from),
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => Value::list(items.iter().map(value)),
        Json::Object(tagged) => {
            if let Some(entries) = tagged.get("dict") {
                let entry = |pair: &Json| (value(&pair[0]), value(&pair[1]));
                Dict::from_iter(entries.as_array().unwrap().iter().map(entry)).into()
            } else if let Some(items) = tagged.get("tuple") {
                Value::tuple(items.as_array().unwrap().iter().map(value))
            } else if let Some(text) = tagged.get("float") {
                text.as_str().unwrap().parse::<f64>().unwrap().into()
            } else {
                tensor(json).into()
            }
        }
    }
}

/// A value written out with its types and the order of its keys; tensors by type, shape and, if asked for, bytes.
pub(crate) fn spell(value: &Value, elements: bool) -> String {
    let all = |items: &[Value]| items.iter().map(|item| spell(item, elements)).collect::<Vec<_>>().join(", ");
    match value {
        Value::Dict(dict) => {
            let entry = |(key, value): &(Value, Value)| format!("{}: {}", spell(key, elements), spell(value, elements));
            format!("{{{}}}", dict.entries().iter().map(entry).collect::<Vec<_>>().join(",\n"))
        }
        Value::List(_) => format!("[{}]", all(&value.items().unwrap())),
        Value::Tuple(items) => format!("({})", all(items)),
        Value::Tensor(tensor) => {
            let data = if elements { format!("{:?}", &tensor.to_le_bytes().unwrap()[..]) } else { String::new() };
            format!("<{} {:?} {data}>", tensor.dtype(), tensor.shape())
        }
        other => format!("{other:?}"),
    }
}

/// How many representable numbers lie between two.
pub(crate) fn ulps(a: f32, b: f32) -> u32 {
    let ordered = |x: f32| {
        let bits = x.to_bits().cast_signed();
        if bits < 0 { i32::MIN - bits } else { bits }
    };
    ordered(a).abs_diff(ordered(b))
}

/// The distance of `a` and `b` in units in the last place of `scale`: of the largest value that an element had on its way.
/// What is nearly cancelled keeps the rounding of what it was, and may be many of its own units away.
pub(crate) fn units(a: f32, b: f32, scale: f32) -> f32 {
    let scale = scale.abs().max(f32::MIN_POSITIVE);
    (a - b).abs() / (scale.next_up() - scale)
}

pub(crate) fn ulps64(a: f64, b: f64) -> u64 {
    let ordered = |x: f64| {
        let bits = x.to_bits().cast_signed();
        if bits < 0 { i64::MIN - bits } else { bits }
    };
    ordered(a).abs_diff(ordered(b))
}

/// The largest magnitude that each element of each tensor had on its way.
#[derive(Default)]
pub(crate) struct Largest(std::collections::HashMap<String, Vec<f64>>);

impl Largest {
    pub(crate) fn see(&mut self, tensors: &[(String, Tensor)]) {
        for (name, tensor) in tensors {
            let values = tensor.to_f64_vec().unwrap();
            let largest = self.0.entry(name.clone()).or_insert_with(|| vec![0.0; values.len()]);
            largest.iter_mut().zip(values).for_each(|(largest, value)| *largest = largest.max(value.abs()));
        }
    }

    /// Counts a parameter's elements and those of its state as so many times larger than they were.
    pub(crate) fn grow(&mut self, parameter: &str, times: &[f64]) {
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
    pub(crate) fn apart(
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
fn unit(number: f64, dtype: DType) -> f64 {
    match dtype {
        DType::Float64 => number.max(f64::MIN_POSITIVE).next_up() - number.max(f64::MIN_POSITIVE),
        #[allow(clippy::cast_possible_truncation)]
        _ => {
            let number = (number as f32).max(f32::MIN_POSITIVE);
            f64::from(number.next_up() - number)
        }
    }
}

//! Reads fixtures, writes values out, and says how far numbers are from those that are expected.
#![allow(dead_code, reason = "each test file takes what it needs")]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rekindle_recorder::value::{Global, Object, ObjectData};
use rekindle_recorder::{DType, Dict, Tensor, Value};
use serde_json::Value as Json;

pub(crate) mod optim;
pub(crate) mod runs;

/// The cases of a file in `tests/fixtures/train`.
pub(crate) fn cases(name: &str) -> Vec<Json> {
    serde_json::from_value(fixture(&format!("train/{name}"))).unwrap()
}

/// A JSON file in `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> Json {
    let path = fixture_path(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn fixture_path(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(name)
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
            } else if let Some(counts) = tagged.get("Counter") {
                let entry = |pair: &Json| (value(&pair[0]), value(&pair[1]));
                let counts = Dict::from_iter(counts.as_array().unwrap().iter().map(entry));
                let class = Global::new("collections", "Counter");
                Value::Object(Object::new(ObjectData::call(class, vec![counts.into()])))
            } else if let Some(float) = tagged.get("float") {
                Value::Float(float.as_str().unwrap().parse().unwrap())
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
        Value::Object(object) => {
            let object = object.read();
            format!("{}({})", object.class().unwrap(), all(object.arguments()))
        }
        other => format!("{other:?}"),
    }
}

/// `filled(shape, number)` of the section `models`, as a flat list: numbers from -1 to 1 that anybody can repeat.
#[allow(clippy::cast_precision_loss, reason = "24 bits are left")]
pub(crate) fn filled(count: usize, number: u32) -> Vec<f32> {
    let element = |i: usize| {
        let mut x = u32::try_from(i).unwrap().wrapping_add(number.wrapping_mul(0x9E37_79B1));
        x ^= x >> 16;
        x = x.wrapping_mul(0x85EB_CA6B);
        x ^= x >> 13;
        x = x.wrapping_mul(0xC2B2_AE35);
        x ^= x >> 16;
        (x >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(element).collect()
}

/// What Python's `float.hex` wrote.
pub(crate) fn hex(text: &str) -> f64 {
    let Some((sign, rest)) = text.split_once("0x") else { return text.parse().unwrap() };
    let (mantissa, exponent) = rest.split_once('p').unwrap();
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).unwrap();
    let exponent = exponent.parse::<i32>().unwrap() - 4 * i32::try_from(fraction.len()).unwrap();
    #[allow(clippy::cast_precision_loss, reason = "53 bits are exact, and so is a power of two")]
    let magnitude = digits as f64 * 2.0_f64.powi(exponent);
    if sign == "-" { -magnitude } else { magnitude }
}

// Distances ----------------------------------------------------------------------------------------------------------------

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
pub(crate) fn unit(number: f64, dtype: DType) -> f64 {
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
pub(crate) fn apart(found: &[f64], expected: &[f64]) -> f64 {
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
pub(crate) fn differ(found: &Value, expected: &Value, path: &str) -> f64 {
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

//! Python's values as the fixtures' sections wrote them into JSON, and values written out to be compared.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rekindle_recorder::value::{Global, Object, ObjectData};
use rekindle_recorder::{DType, Dict, Tensor, Value};
use serde_json::Value as Json;

use crate::fixtures;

/// The bytes of an array.
pub fn bytes(json: &Json) -> Vec<u8> {
    BASE64_STANDARD.decode(json.as_str().unwrap()).unwrap()
}

/// The elements of an array of float32.
pub fn f32s(json: &Json) -> Vec<f32> {
    bytes(json).as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

/// The elements of an array of float64.
pub fn f64s(json: &Json) -> Vec<f64> {
    bytes(json).as_chunks().0.iter().map(|chunk| f64::from_le_bytes(*chunk)).collect()
}

/// A tensor as the section's `tagged` wrote it.
pub fn tensor(json: &Json) -> Tensor {
    let dtype: DType = json["tensor"].as_str().unwrap().parse().unwrap();
    let shape: Vec<usize> = json["shape"].as_array().unwrap().iter().map(fixtures::size).collect();
    Tensor::from_le_bytes(dtype, &shape, bytes(&json["data"])).unwrap()
}

/// A Python value as the section's `tagged` wrote it.
pub fn value(json: &Json) -> Value {
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
pub fn spell(value: &Value, elements: bool) -> String {
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

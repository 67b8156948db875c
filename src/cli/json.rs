//! Values as JSON: what JSON cannot hold is a string, as the command's contract says.

use rekindle::Value;
use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};

/// An object whose names stay in their order, that of the file.
pub(super) struct Ordered<'a>(pub(super) Vec<(&'a str, Json)>);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A leaf as JSON: numbers, strings, booleans and null as they are; `"nan"`, `"inf"`, `"b'..'"`, `"<class a.b.C>"` for the rest.
pub(super) fn leaf(value: &Value) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Bool(b) => json!(b),
        Value::Int(i) => json!(i),
        Value::BigInt(i) => json!(i.to_string()),
        Value::Float(x) if x.is_nan() => json!("nan"),
        Value::Float(x) if x.is_infinite() => json!(if *x > 0.0 { "inf" } else { "-inf" }),
        Value::Float(x) => json!(x),
        Value::Complex(re, im) => json!(format!("({re}{im:+}j)")),
        Value::Str(s) => json!(&**s),
        Value::SurrogateStr(bytes) => json!(String::from_utf8_lossy(bytes)),
        Value::Bytes(bytes) => json!(python_bytes(bytes)),
        Value::ByteArray(bytes) => json!(format!("bytearray({})", python_bytes(&bytes.read()))),
        Value::Size(size) => json!(&**size),
        Value::Device(device) => json!(device.to_string()),
        Value::Dtype(dtype) => json!(format!("torch.{dtype}")),
        Value::List(list) if list.read().is_empty() => json!([]),
        Value::Tuple(items) if items.is_empty() => json!([]),
        Value::Dict(dict) if dict.is_empty() => json!({}),
        Value::Set(_) | Value::FrozenSet(_) => json!(format!("<class {}>", class_of_set(value))),
        Value::Global(global) => json!(format!("<class {global}>")),
        other => match other.describe() {
            class if class.starts_with('<') => json!(class),
            class => json!(format!("<{}>", class.trim_start_matches("a ").trim_start_matches("an "))),
        },
    }
}

fn class_of_set(value: &Value) -> &'static str {
    if matches!(value, Value::Set(_)) { "set" } else { "frozenset" }
}

/// Bytes as Python prints them.
fn python_bytes(bytes: &[u8]) -> String {
    format!("b'{}'", bytes.escape_ascii().to_string().replace("\\\"", "\""))
}

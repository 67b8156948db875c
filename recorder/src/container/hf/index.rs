//! The index of shards: `{"metadata": {"total_size": bytes, ...}, "weight_map": {name: file, ...}}`.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::container::named::Metadata;
use crate::{Error, Limits, Result, Value};

/// The key under which the metadata counts the bytes of all tensors.
const TOTAL_SIZE: &str = "total_size";

/// An index as it is read.
pub(super) struct Index {
    /// The texts and numbers of its metadata but for the total size.
    pub(super) metadata: Metadata,
    /// How many bytes it counts in all tensors, those that are tied once.
    pub(super) total_size: Option<u64>,
    /// Each tensor's file, in the order of the file.
    pub(super) weight_map: IndexMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Json {
    #[serde(default)]
    metadata: Option<IndexMap<String, serde_json::Value>>,
    weight_map: IndexMap<String, String>,
}

impl Index {
    pub(super) fn read(file: &[u8], limits: &Limits) -> Result<Self> {
        let len = file.len() as u64;
        if len > limits.value_bytes {
            return Err(Error::limit(format!("an index of {len} bytes"), limits.value_bytes));
        }
        let json: Json = serde_json::from_slice(file).map_err(|error| {
            if error.is_eof() {
                Error::truncated(format!("the index ends early ({error})"))
            } else {
                Error::damaged("the index", format!("it is no index of shards ({error})"))
            }
        })?;
        if json.weight_map.len() as u64 > limits.values {
            return Err(Error::limit(format!("an index of {} tensors", json.weight_map.len()), limits.values));
        }
        let metadata = json.metadata.unwrap_or_default();
        let total_size = metadata.get(TOTAL_SIZE).and_then(serde_json::Value::as_u64);
        let metadata = metadata.into_iter();
        let metadata =
            metadata.filter(|(key, _)| key != TOTAL_SIZE).filter_map(|(key, json)| Some((key, value(&json)?)));
        Ok(Index { metadata: metadata.collect(), total_size, weight_map: json.weight_map })
    }
}

fn value(json: &serde_json::Value) -> Option<Value> {
    match json {
        serde_json::Value::String(text) => Some(text.as_str().into()),
        serde_json::Value::Bool(flag) => Some((*flag).into()),
        serde_json::Value::Number(number) => {
            number.as_i64().map(Value::Int).or_else(|| number.as_f64().map(Value::Float))
        }
        _ => None,
    }
}

fn json(key: &str, value: &Value) -> Result<serde_json::Value> {
    match value {
        Value::Str(text) => Ok(serde_json::Value::from(&**text)),
        Value::Bool(flag) => Ok((*flag).into()),
        Value::Int(number) => Ok((*number).into()),
        Value::Float(number) => Ok((*number).into()),
        other => Err(Error::wrong_type(format!("__metadata__.{key}"), "a text or a number", other.describe())),
    }
}

/// The text of an index, indented by two as Python's `json.dump(..., indent=2)` does.
pub(super) fn text(metadata: &Metadata, total_size: u64, weight_map: IndexMap<String, String>) -> Result<String> {
    let mut all = IndexMap::from([(TOTAL_SIZE.to_owned(), total_size.into())]);
    for (key, value) in metadata {
        all.insert(key.clone(), json(key, value)?);
    }
    let text = serde_json::to_string_pretty(&Json { metadata: Some(all), weight_map });
    text.map(|text| text + "\n").map_err(|error| Error::invalid(error.to_string()))
}

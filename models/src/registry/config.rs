//! `Config`: the settings of a network as words, from the caller (`gpt2(n_layer=2)`), or from what stands beside its weights:
//! transformers' `config.json`, nanoGPT's `model_args`, the `config` of `save_with_config`.

use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::{Error, Value};
use serde_json::Value as Json;

use crate::{ModelError, Result};

/// Settings of a network, `key=value`, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    settings: Vec<(String, String)>,
}

impl Config {
    /// No settings: every network has defaults.
    #[must_use]
    pub fn new() -> Self {
        Config::default()
    }

    /// With this setting, in the place of one of the same key.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.set(key, value);
        self
    }

    /// Puts a setting, in the place of one of the same key.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        match self.settings.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.settings.push((key, value)),
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// A network in words: its name, and its settings in parentheses. A value may have commas and quotes.
    ///
    /// ```
    /// use rekindle_models::Config;
    ///
    /// let (name, config) = Config::call("mlp(sizes=20,32,10)")?;
    /// assert_eq!((name.as_str(), config.get("sizes")), ("mlp", Some("20,32,10")));
    /// assert!(Config::call("mlp(20").is_err());
    /// # Ok::<(), rekindle_models::ModelError>(())
    /// ```
    ///
    /// # Errors
    /// When a parenthesis is left open, or something in them is no `key=value`.
    pub fn call(text: &str) -> Result<(String, Self)> {
        let wrong = |expected: &str| ModelError::InvalidSetting {
            key: "the network".to_owned(),
            value: text.to_owned(),
            expected: expected.to_owned(),
        };
        let Some((name, rest)) = text.split_once('(') else { return Ok((text.trim().to_owned(), Config::new())) };
        let inside = rest.trim_end().strip_suffix(')').ok_or_else(|| wrong("a closing parenthesis"))?;
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in inside.split(',').filter(|part| !part.trim().is_empty()) {
            match (part.split_once('='), pairs.last_mut()) {
                (Some((key, value)), _) => pairs.push((key.trim().to_owned(), value.trim().to_owned())),
                // What has no name is more of the value before it.
                (None, Some((_, value))) => {
                    value.push(',');
                    value.push_str(part.trim());
                }
                (None, None) => return Err(wrong("NAME(key=value, ...)")),
            }
        }
        let plain = |value: String| value.trim_matches(['\'', '"', '[', ']', '(', ')']).to_owned();
        Ok((name.trim().to_owned(), pairs.into_iter().map(|(key, value)| (key, plain(value))).collect()))
    }

    /// What a checkpoint says of its network: transformers' `config.json` in its folder or beside its file, nanoGPT's
    /// `model_args` or the `config` of [`save_with_config`](crate::Network::save_with_config) in it. `None` where nothing is
    /// there. Entries that are no numbers, words or truth values are left out.
    ///
    /// # Errors
    /// When there is a `config.json` that cannot be read.
    pub fn beside(checkpoint: &Checkpoint) -> rekindle_recorder::Result<Option<Self>> {
        // A dict called `config` is the network's where `arch` names it; else it is whatever a program keeps there.
        let keys = if checkpoint.contains("arch") { ["model_args", "config"].as_slice() } else { &["model_args"] };
        for key in keys {
            if let Ok(Value::Dict(dict)) = checkpoint.value(key) {
                let entries = dict.entries();
                let pair = |(key, value): &(Value, Value)| Some((key.as_str()?.to_owned(), of_value(value)?));
                return Ok(Some(entries.iter().filter_map(pair).collect()));
            }
        }
        let Some(path) = checkpoint.path() else { return Ok(None) };
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        let path = folder.join("config.json");
        if !path.is_file() {
            return Ok(None);
        }
        let wrong = |error: String| Error::invalid(error).in_file(&path);
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(format!("it cannot be read: {error}")))?;
        let json: Json = serde_json::from_str(&text).map_err(|error| wrong(format!("it is no JSON: {error}")))?;
        // Another program's file may be called so.
        Ok(Some(Config::from_json(&json)).filter(|config| config.get("model_type").is_some()))
    }

    /// The settings in a `config.json`. Those of rotary embedding stand in an object of their own there, `rope_parameters` or, before
    /// transformers 5, `rope_scaling`; as in transformers they win over what stands beside it, but for the length that some networks keep
    /// there.
    #[must_use]
    pub fn from_json(json: &Json) -> Self {
        let mut config = Config::new();
        for (key, value) in json.as_object().into_iter().flatten() {
            match value {
                // How many there are is `num_labels`.
                Json::Object(labels) if key == "id2label" => config.set("num_labels", labels.len().to_string()),
                Json::Array(names) if key == "architectures" => {
                    config.set(key, names.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(","));
                }
                value => {
                    if let Some(value) = of_json(value) {
                        config.set(key, value);
                    }
                }
            }
        }
        let rope = |key: &str| json.get(key).and_then(Json::as_object).filter(|rope| !rope.is_empty());
        for (key, value) in rope("rope_scaling").or_else(|| rope("rope_parameters")).into_iter().flatten() {
            // Before transformers 4.43 the kind was called `type`.
            let key = if key == "type" { "rope_type" } else { key };
            let kept = key == "original_max_position_embeddings" && config.get(key).is_some();
            if let (false, Some(value)) = (kept, of_json(value)) {
                config.set(key, value);
            }
        }
        config
    }
}

fn of_json(value: &Json) -> Option<String> {
    match value {
        Json::Bool(truth) => Some(truth.to_string()),
        Json::Number(number) => Some(number.to_string()),
        Json::String(word) => Some(word.clone()),
        Json::Null => Some("none".to_owned()),
        Json::Array(numbers) if !numbers.is_empty() && numbers.iter().all(Json::is_number) => {
            Some(numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        }
        Json::Array(_) | Json::Object(_) => None,
    }
}

fn of_value(value: &Value) -> Option<String> {
    match value {
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Str(word) => Some(word.to_string()),
        Value::None => Some("none".to_owned()),
        _ => None,
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Config {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(settings: I) -> Self {
        settings.into_iter().fold(Config::new(), |config, (key, value)| config.with(key, value))
    }
}

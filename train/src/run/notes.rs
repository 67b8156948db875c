//! What a program keeps with its run: values of its own, metrics in progress, and metrics that tell which checkpoint is best.

use indexmap::IndexMap;
use rekindle_recorder::{Dict, Value};

/// What a program keeps with its run.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) values: IndexMap<String, Value>,
    /// Sums, and of how many numbers.
    pub(super) means: IndexMap<String, (f64, i64)>,
    /// Since the last step.
    pub(super) told: IndexMap<String, f64>,
}

impl Notes {
    pub(super) fn values(&self) -> Dict {
        self.values.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
    }

    pub(super) fn means(&self) -> Dict {
        let entry = |(name, (sum, count)): (&String, &(f64, i64))| {
            (name.clone(), Value::list([Value::Float(*sum), Value::Int(*count)]))
        };
        self.means.iter().map(entry).collect()
    }

    pub(super) fn told(&self) -> Value {
        self.told.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Dict>().into()
    }

    /// Takes over what was kept.
    pub(super) fn restore(&mut self, values: Option<&Value>, means: Option<&Value>, told: Option<&Value>) {
        let entries = |value: Option<&Value>| -> Vec<(String, Value)> {
            let entries = value.and_then(Value::as_dict).map(Dict::entries).unwrap_or_default();
            entries.into_iter().filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value))).collect()
        };
        self.values = entries(values).into_iter().collect();
        let mean = |value: &Value| match &value.items()?[..] {
            [sum, count] => Some((sum.as_f64()?, count.as_i64()?)),
            _ => None,
        };
        self.means = entries(means).into_iter().filter_map(|(name, value)| Some((name, mean(&value)?))).collect();
        self.told = entries(told).into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?))).collect();
    }

    /// What was told is of the step before.
    pub(super) fn step(&mut self) {
        self.told.clear();
    }
}

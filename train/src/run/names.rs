//! How the model's tensors are called in a checkpoint, where the user said how its keys are mapped: what is written has the
//! checkpoint's own names again.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;
use rekindle_recorder::{Dict, LoadOptions, LoadReport, Result, StateDict, Value};

use crate::attributes::invalid;

/// Names in the model and in the checkpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// The checkpoint's name of each of the model's, where any differ.
    theirs: HashMap<String, String>,
    /// The checkpoint's names of what did not go into the model.
    others: HashSet<String>,
}

impl Names {
    /// How options map the keys of a state dict.
    ///
    /// # Errors
    /// When two keys become one, or a prefix or pattern fits no key at all.
    pub(super) fn of(load: &LoadOptions, weights: &StateDict) -> Result<Names> {
        if let Some(idle) = load.idle(weights).first() {
            let first = weights.keys().next().unwrap_or_default();
            return Err(invalid(format!("{idle} of the checkpoint's model, whose first is '{first}'")));
        }
        let names = load.names(weights)?;
        let kept: HashSet<&str> = names.iter().map(|(theirs, _)| theirs.as_str()).collect();
        let others = weights.keys().filter(|name| !kept.contains(name)).map(str::to_owned).collect();
        Ok(Names { theirs: names.into_iter().map(|(theirs, own)| (own, theirs)).collect(), others })
    }

    /// Counts what was passed over among what did not go into the model.
    pub(super) fn without(mut self, report: &LoadReport) -> Names {
        let passed = report.unexpected.iter().chain(report.skipped.iter().map(|skipped| &skipped.key));
        self.others.extend(passed.filter_map(|own| self.theirs.get(own)).cloned());
        self
    }

    /// Leaves these of the checkpoint's names out of what is written.
    pub(super) fn without_others(mut self, names: &[String]) -> Names {
        self.others.retain(|name| !names.contains(name));
        self
    }

    /// A name that differs, as it is in the checkpoint and in the model, and how many there are.
    pub(super) fn example(&self) -> Option<(&str, &str, usize)> {
        let differ = || self.theirs.iter().filter(|(own, theirs)| own != theirs);
        let (own, theirs) = differ().min_by_key(|(own, _)| own.as_str())?;
        Some((theirs, own, differ().count()))
    }

    /// The model's state dict under the checkpoint's names, with what did not go into the model.
    pub(super) fn back(&self, model: StateDict, before: &StateDict) -> StateDict {
        if self.example().is_none() && self.others.is_empty() {
            return model;
        }
        let theirs = |own: &str| self.theirs.get(own).map_or_else(|| own.to_owned(), Clone::clone);
        let mut model: IndexMap<String, Value> =
            model.values().map(|(own, value)| (theirs(own), value.clone())).collect();
        // In the checkpoint's order; what it lacks comes last.
        let mut back: Vec<(String, Value)> = Vec::new();
        for (name, value) in before.values() {
            let now = model.shift_remove(name).or_else(|| self.others.contains(name).then(|| value.clone()));
            back.extend(now.map(|now| (name.to_owned(), now)));
        }
        back.into_iter().chain(model).collect()
    }

    /// An optimizer's state dict whose `param_names` are the model's.
    pub(super) fn in_model(&self, optimizer: &Value) -> Value {
        let own: HashMap<&str, &str> =
            self.theirs.iter().map(|(own, theirs)| (theirs.as_str(), own.as_str())).collect();
        renamed(optimizer, |name| own.get(name).map(|own| (*own).to_owned()))
    }

    /// An optimizer's state dict whose `param_names` are the checkpoint's.
    pub(super) fn in_checkpoint(&self, optimizer: &Value) -> Value {
        renamed(optimizer, |name| self.theirs.get(name).cloned())
    }
}

/// An optimizer's state dict with other `param_names`, as far as there are any.
fn renamed(optimizer: &Value, name: impl Fn(&str) -> Option<String>) -> Value {
    let groups = optimizer.as_dict().and_then(|dict| Some((dict, dict.get("param_groups")?.items()?)));
    let Some((dict, groups)) = groups else { return optimizer.clone() };
    let changed = groups.iter().map(|group| {
        let names = group.as_dict().and_then(|group| Some((group, group.get("param_names")?.items()?)));
        let Some((group, names)) = names else { return group.clone() };
        let names: Vec<Value> =
            names.into_iter().map(|old| old.as_str().and_then(&name).map_or(old.clone(), Value::from)).collect();
        copy(group, "param_names", names.into())
    });
    copy(dict, "param_groups", changed.collect::<Vec<_>>().into())
}

/// A dict with another value of one key.
fn copy(dict: &Dict, key: &str, value: Value) -> Value {
    let copy: Dict = dict.entries().into_iter().collect();
    copy.insert(key, value);
    copy.into()
}

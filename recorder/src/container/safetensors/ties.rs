//! Tied tensors in a container without shared memory: names of the tensors left out, each with the one that is kept.
//!
//! The form is that of `safetensors.torch.save_model` and `huggingface_hub`: an entry `name left out: name kept` of the metadata.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::container::named::{self, Metadata, Named};
use crate::container::safetensors::header::FORMAT;
use crate::{Error, Result, Value};

/// The key of a JSON object that maps each name left out to its place in the state dict. Names that are not in it come last.
const PLACES: &str = "rekindle.places";

/// The metadata to write: what the value came with, then the ties.
pub(crate) fn record(named: &Named) -> Result<Metadata> {
    let mut metadata = named.metadata.clone();
    for (left_out, kept) in named.ties() {
        if metadata.contains_key(left_out) {
            let reason = format!(
                "'{left_out}' is tied to '{kept}', and __metadata__ has an entry of its name; remove that entry"
            );
            return Err(Error::invalid(reason));
        }
        metadata.insert(left_out.to_owned(), Value::from(kept));
    }
    let tied = || named.tensors.iter().enumerate().filter(|(_, item)| item.tied.is_some());
    let first = named.tensors.len() - tied().count();
    if tied().any(|(index, _)| index < first) {
        let indices: IndexMap<&str, usize> = tied().map(|(index, item)| (&*item.name, index)).collect();
        // Texts and numbers always become JSON.
        let text = serde_json::to_string(&indices).unwrap_or_default();
        metadata.insert(PLACES.to_owned(), Value::from(text));
    }
    Ok(metadata)
}

/// The root value: tied names put back where they were, the other metadata as an attribute.
pub(crate) fn restore(tensors: IndexMap<Arc<str>, Value>, mut metadata: Metadata) -> Result<Value> {
    let mut tied: Vec<(Arc<str>, Value)> = Vec::new();
    for (key, value) in &metadata {
        let kept = value.as_str().filter(|_| key != FORMAT && !tensors.contains_key(key.as_str()));
        if let Some(tensor) = kept.and_then(|kept| tensors.get(kept)).and_then(Value::as_tensor) {
            tied.push((key.as_str().into(), tensor.alias().into()));
        }
    }
    if tied.is_empty() {
        return Ok(named::root(tensors, metadata));
    }
    let names: HashSet<&str> = tied.iter().map(|(name, _)| &**name).collect();
    metadata.retain(|key, _| !names.contains(key.as_str()));
    let indices = metadata.get(PLACES).and_then(Value::as_str);
    let indices: Option<HashMap<String, usize>> = indices.and_then(|text| serde_json::from_str(text).ok());
    if indices.is_some() {
        metadata.shift_remove(PLACES);
    }
    let indices = indices.unwrap_or_default();
    let index = |(name, _): &(Arc<str>, Value)| indices.get(&**name).copied().unwrap_or(usize::MAX);
    tied.sort_by_key(index);
    let (mut tied, mut kept) = (tied.into_iter().peekable(), tensors.into_iter());
    let mut entries: Vec<(Arc<str>, Value)> = Vec::new();
    loop {
        let next = match tied.next_if(|tied| index(tied) <= entries.len()) {
            Some(tied) => Some(tied),
            None => kept.next().or_else(|| tied.next()),
        };
        match next {
            Some(entry) => entries.push(entry),
            None => return Ok(named::root(entries, metadata)),
        }
    }
}

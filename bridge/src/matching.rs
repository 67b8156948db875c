//! Which tensor of a state dict goes where in a module: by name and shape, through ties, in part where that was asked for.
//! No element is touched but where two names are said to be one.

use std::collections::{HashMap, HashSet};

use crate::layer_rows::LayerRows;
use crate::tree::{Line, Slot, Tree};
use rekindle_recorder::keys::LoadOptions;
use rekindle_recorder::report::{ShapeMismatch, Tie};
use rekindle_recorder::{Error, ErrorKind, LoadReport, Result, StateDict, Tensor, Value};

/// A tensor and the parameter or buffer that it is for.
pub(super) struct Match<'a> {
    pub(super) slot: &'a Slot,
    pub(super) tensor: &'a Tensor,
    /// Only the rows that both have are meant.
    pub(super) partial: bool,
}

/// Which keys match and which do not.
pub(super) fn compare<'a>(
    tree: &'a Tree,
    rows: &LayerRows,
    state_dict: &'a StateDict,
    options: &LoadOptions,
) -> Result<(LoadReport, Vec<Match<'a>>)> {
    let mut report = LoadReport::default();
    let mut matched = Vec::new();
    let mut known = HashSet::new();
    for line in &tree.lines {
        let slot = match line {
            Line::Slot(slot) => slot,
            Line::Constant(name, _) => {
                known.insert(name.as_str());
                continue;
            }
        };
        let name = &slot.tensor.name;
        known.insert(name);
        let value = state_dict.get_value(name).or_else(|| {
            let mut others = rows.tied_with(name).into_iter();
            others.find_map(|other| state_dict.get_value(other))
        });
        let tensor = match value {
            None if slot.optional => continue,
            None => {
                report.missing.push(name.clone());
                continue;
            }
            Some(Value::Tensor(tensor)) => tensor,
            Some(other) => return Err(Error::wrong_type(name, "a tensor", other.describe())),
        };
        let mismatch = || ShapeMismatch::new(name, &slot.tensor.shape, tensor.shape());
        let fits = slot.tensor.takes(tensor.shape());
        let partial = !fits && options.is_partial(name) && same_rows(&slot.tensor.shape, tensor.shape());
        if fits || partial {
            report.loaded.push(name.clone());
            report.partial.extend(partial.then(mismatch));
            matched.push(Match { slot, tensor, partial });
        } else if options.skips_mismatched() {
            report.skipped.push(mismatch());
        } else {
            report.mismatched.push(mismatch());
        }
    }
    let mut views = HashMap::new();
    for Match { slot, tensor, .. } in &matched {
        views.entry(view(tensor)).or_insert(slot.tensor.name.as_str());
    }
    for (key, value) in state_dict.values().filter(|(key, _)| !known.contains(key)) {
        match tied(rows, state_dict, &known, &views, key, value)? {
            Some(with) => report.tied.push(Tie::new(key, with)),
            None => report.unexpected.push(key.to_owned()),
        }
    }
    Ok((report, matched))
}

/// The name that a key which the module lacks is another name of.
fn tied<'a>(
    rows: &'a LayerRows,
    state_dict: &StateDict,
    known: &HashSet<&str>,
    views: &HashMap<View, &'a str>,
    key: &str,
    value: &Value,
) -> Result<Option<&'a str>> {
    let Value::Tensor(tensor) = value else { return Ok(None) };
    if let Some(with) = views.get(&view(tensor)) {
        return Ok(Some(with));
    }
    let Some(with) = rows.tied_with(key).into_iter().find(|name| known.contains(name)) else { return Ok(None) };
    match state_dict.get(with) {
        Some(other) if other.shape() != tensor.shape() || other.to_le_bytes()? != tensor.to_le_bytes()? => {
            let reason = format!(
                "'{key}' and '{with}' are tied in the module, and differ in the state dict; exclude one of them"
            );
            Err(ErrorKind::Invalid(reason).into())
        }
        _ => Ok(Some(with)),
    }
}

/// Whether two shapes differ along the first dimension alone.
fn same_rows(one: &[usize], other: &[usize]) -> bool {
    match (one, other) {
        ([_, a @ ..], [_, b @ ..]) => a == b,
        _ => false,
    }
}

/// What a tensor looks at: equal for two names of one thing.
type View = (usize, rekindle_recorder::DType, usize, Vec<usize>, Vec<usize>);

fn view(tensor: &Tensor) -> View {
    let storage = tensor.storage().filter(|storage| !storage.is_empty());
    let id = storage.map_or_else(|| tensor.id(), rekindle_recorder::Storage::id);
    (id, tensor.dtype(), tensor.offset(), tensor.shape().to_vec(), tensor.stride().unwrap_or_default().to_vec())
}

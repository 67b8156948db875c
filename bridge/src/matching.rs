//! Which tensor of a state dict goes where in a module: by name and shape, through ties, in part where that was asked for.
//! No element is touched but where two names are said to be one.

use std::collections::{HashMap, HashSet};

use crate::layer_rows::LayerRows;
use crate::leaves::Leaves;
use crate::tree::{Line, Slot, Tree};
use rekindle_recorder::keys::LoadOptions;
use rekindle_recorder::report::{ShapeMismatch, Tie};
use rekindle_recorder::tensor::View;
use rekindle_recorder::{Error, LoadReport, Result, StateDict, Tensor, Value};

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
    leaves: &Leaves,
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
        let mut others = rows.tied_with(name);
        if !state_dict.contains(name) {
            others.extend(same_parameter(slot, tree, leaves)?);
        }
        let value = std::iter::once(&**name).chain(others).find_map(|name| state_dict.get_value(name));
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
        views.entry(tensor.view()).or_insert(slot.tensor.name.as_str());
    }
    for (key, value) in state_dict.values().filter(|(key, _)| !known.contains(key)) {
        match tied(rows, state_dict, &known, &views, key, value)? {
            Some(with) => report.tied.push(Tie::new(key, with)),
            None => report.unexpected.push(key.to_owned()),
        }
    }
    Ok((report, matched))
}

/// The other names of a parameter that the module has in several fields.
fn same_parameter<'a>(slot: &Slot, tree: &'a Tree, leaves: &Leaves) -> Result<Vec<&'a str>> {
    let pieces = |slot: &Slot| {
        let pieces = slot.leaves.iter().zip(&slot.tensor.pieces);
        pieces.map(|(&leaf, piece)| (leaves.all[leaf].first, piece.transform)).collect::<Vec<_>>()
    };
    let own = pieces(slot);
    let same = tree.slots().filter(|other| other.leaves != slot.leaves && pieces(other) == own);
    let mut names = Vec::new();
    for other in same {
        let mut all = slot.leaves.iter().chain(&other.leaves);
        if all.try_fold(true, |tied, &leaf| Ok::<_, Error>(tied && leaves.is_tied(&leaves.all[leaf])?))? {
            names.push(other.tensor.name.as_str());
        }
    }
    Ok(names)
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
    if let Some(with) = views.get(&tensor.view()) {
        return Ok(Some(with));
    }
    let Some(with) = rows.tied_with(key).into_iter().find(|name| known.contains(name)) else { return Ok(None) };
    match state_dict.get(with) {
        Some(other) if other.shape() != tensor.shape() || other.to_le_bytes()? != tensor.to_le_bytes()? => {
            let reason = format!(
                "'{key}' and '{with}' are tied in the module, and differ in the state dict; exclude one of them"
            );
            Err(Error::invalid(reason))
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

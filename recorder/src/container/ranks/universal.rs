//! Universal checkpoints, which `DeepSpeed`'s `ds_to_universal.py` makes: in `zero/` a folder for each parameter with its weight,
//! `fp32.pt`, and each of its moments, whole.

use std::path::Path;

use indexmap::IndexMap;

use super::joined;
use super::zero::{self, Zero, full, groups_of, in_order, items, own, size};
use crate::{Dict, Error, Result, Value, io};

/// The folder of the parameters.
pub(super) const ZERO: &str = "zero";
/// What the optimizers of all ranks had alike.
const OPTIMIZER: &str = "optimizer_state.pt";
/// In a parameter's folder, its weight.
const WEIGHT: &str = "fp32";

/// Whether a folder is such a checkpoint.
pub(super) fn detect(folder: &Path) -> bool {
    let inside = folder.join(ZERO);
    let parameter = |name: String| inside.join(name).join(format!("{WEIGHT}.pt")).is_file();
    inside.is_dir() && io::names(&inside).is_ok_and(|names| names.into_iter().any(parameter))
}

/// The model's file with full weights and moments, and what is to be said of it; `open` reads a file.
pub(super) fn merge(
    folder: &Path,
    models: Vec<Value>,
    open: &mut dyn FnMut(&Path) -> Result<Value>,
) -> Result<(Value, Vec<String>)> {
    let models: Vec<Dict> = models.iter().filter_map(|model| model.as_dict().cloned()).collect();
    let Some(model) = models.first().cloned() else { return Err(zero::no_model()) };
    let common = folder.join(ZERO).join(OPTIMIZER);
    let common = if common.is_file() { open(&common)?.as_dict().cloned() } else { None }.unwrap_or_default();
    let shapes = model.get("param_shapes").map(|shapes| groups_of(&shapes)).transpose()?.unwrap_or_default();
    let stage = zero::stage(std::slice::from_ref(&common)).unwrap_or(1);
    let parts = Zero { stage, shapes, gaps: Vec::new(), fp32: Vec::new(), optimizers: vec![common.clone()], models };
    let (mut weights, state) = (parts.untrained(&model)?, Dict::new());
    let step = first_step(&common);
    for (name, entries) in parameters(&folder.join(ZERO), open)? {
        let shape = parts.shapes.iter().find_map(|group| group.get(&name));
        let moments = Dict::new();
        let trained = entries.len() > 1;
        if let Some(step) = step.as_ref().filter(|_| trained && !entries.contains_key("step")) {
            moments.insert("step", own(step));
        }
        for (key, value) in entries {
            // Of stage 3 they lie without a shape.
            let value = match (value.as_tensor(), shape) {
                (Some(tensor), Some(shape)) if key != "step" && tensor.shape() != &shape[..] => {
                    let pieces = vec![(tensor.clone(), 0, tensor.numel())];
                    joined::tensor(&format!("{name}.{key}"), shape.clone(), pieces)?.into()
                }
                (Some(tensor), _) => tensor.detach().into(),
                _ => value,
            };
            if key != WEIGHT {
                moments.insert(key.as_str(), value);
            } else if !weights.contains_key(&name) {
                // Buffers lie here, too, as floats.
                weights.insert(name.clone(), full(&value)?);
            }
        }
        if trained {
            state.insert(name.as_str(), moments);
        }
    }
    let mut notes = Vec::new();
    let weights = in_order(&model, weights, stage == 3, &mut notes)?;
    let groups: Vec<Value> = param_groups(&parts, &common).into_iter().map(Value::from).collect();
    let optimizer = Dict::from_iter([("state", Value::from(state)), ("param_groups", groups.into())]);
    let rest = parts.rest();
    if let Some(rest) = rest.as_dict() {
        rest.remove("param_groups");
    }
    Ok((zero::whole(&model, weights, optimizer.into(), rest), notes))
}

/// Each parameter with what its folder holds.
fn parameters(
    folder: &Path,
    open: &mut dyn FnMut(&Path) -> Result<Value>,
) -> Result<IndexMap<String, IndexMap<String, Value>>> {
    let mut all = IndexMap::new();
    for name in io::names(folder)? {
        let inside = folder.join(&name);
        if !inside.is_dir() {
            continue;
        }
        let mut entries = IndexMap::new();
        for file in io::names(&inside)? {
            let Some(key) = file.strip_suffix(".pt") else { continue };
            let value = open(&inside.join(&file))?;
            let param = value.as_dict().and_then(|dict| dict.get("param"));
            entries.insert(key.to_owned(), param.unwrap_or(value));
        }
        if !entries.contains_key(WEIGHT) {
            return Err(Error::missing(format!("the file {ZERO}/{name}/{WEIGHT}.pt is missing")));
        }
        all.insert(name, entries);
    }
    Ok(all)
}

/// How many steps the optimizer took, where that is kept for all parameters at once.
fn first_step(common: &Dict) -> Option<Value> {
    let inner = common.get("optimizer_state_dict")?;
    let state = inner.as_dict()?.get("state")?;
    let first = state.as_dict()?.entries().into_iter().next()?.1;
    first.as_dict()?.get("step")
}

/// The optimizer's groups, with the names of their parameters.
fn param_groups(parts: &Zero, common: &Dict) -> Vec<Dict> {
    let groups = common.get("param_groups").map(|groups| items(&groups)).unwrap_or_default();
    let named = |group: &Value| {
        let group: Dict = group.as_dict()?.entries().into_iter().collect();
        let places: Vec<usize> = items(&group.get("params")?).iter().map(size).collect();
        let names: Vec<Value> = places
            .into_iter()
            .filter_map(|place| parts.shapes.get(place))
            .flat_map(|group| group.keys().map(|name| Value::from(name.as_str())))
            .collect();
        group.insert("params", Value::list(names));
        Some(group)
    };
    groups.iter().filter_map(named).collect()
}

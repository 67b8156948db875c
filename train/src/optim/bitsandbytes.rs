//! State dicts of bitsandbytes' Adam and `AdamW`, in 8 bits or 32, as those of `torch.optim`: the moments of large parameters are
//! numbers of a table, block by block, times the block's largest magnitude.

use rekindle_recorder::{DType, Dict, Error, Result, Tensor, Value};

use super::registry::{Hyperparameters, OptimizerKind};
use crate::attributes::{Attributes, invalid, wrong_type};

macro_rules! note {
    () => {
        "bitsandbytes' moments are read into float32, and what is written is torch.optim's state"
    };
}

/// What is said of it before the first step.
pub(super) const NOTE: &str = note!();

/// What tells a plan which of the two it is, with that.
pub(crate) const TOLD: &str = concat!("the options; ", note!());

/// Where a parameter's tensors are since 0.49, which FSDP would take apart else.
pub(super) const ASIDE: &str = "__bnb_optimizer_quant_state__";

/// The entries of a parameter's state; those that are put aside are among them.
pub(super) fn entries(state: &Value) -> Option<Vec<(Value, Value)>> {
    let mut entries = Vec::new();
    for (key, value) in state.as_dict()?.entries() {
        match value.as_dict().filter(|_| key.as_str() == Some(ASIDE)) {
            Some(aside) => entries.extend(aside.entries()),
            None => entries.push((key, value)),
        }
    }
    Some(entries)
}

/// The keys of the states that are read: of two moments, quantised in blocks or not at all.
const READ: [&str; 7] = ["step", "state1", "state2", "qmap1", "qmap2", "absmax1", "absmax2"];

/// What all its groups have and only `AdEMAMix` uses.
pub(super) const ADEMAMIX: [&str; 3] = ["alpha", "t_alpha", "t_beta3"];

/// Whether these are a group and the keys of all states of bitsandbytes' Adam: `AdEMAMix` has three betas, LAMB the norms of
/// updates, and others one moment.
pub(super) fn is_adam<'a>(group: &Attributes, mut keys: impl Iterator<Item = &'a str>) -> bool {
    let none = |name| matches!(group.get(name), Some(Value::None) | None);
    let plain = none("t_alpha") && none("t_beta3") && group.float("alpha").map_or(true, |alpha| alpha == 0.0);
    plain && group.pair("betas").is_ok() && ["lr", "eps", "weight_decay"].iter().all(|key| group.contains(key)) && {
        let mut second = false;
        keys.all(|key| {
            second |= key == "state2";
            READ.contains(&key)
        }) && second
    }
}

/// The same state as `torch.optim`'s: `step`, `exp_avg` and `exp_avg_sq`, and groups of this kind. Weights decay by themselves in both
/// of bitsandbytes' classes.
///
/// # Errors
/// When a tensor is missing, or not of the type and size that it must be.
pub(super) fn converted(kind: OptimizerKind, state_dict: &Value) -> Result<Value> {
    let dict = state_dict.as_dict().ok_or_else(|| wrong_type("the optimizer's state", "a dict", state_dict))?;
    let groups = dict.get("param_groups").and_then(|groups| groups.items()).unwrap_or_default();
    let groups = groups.iter().enumerate().map(|(place, group)| {
        let mut group = Attributes::from_value(format!("param_groups[{place}]."), group)?;
        for name in ADEMAMIX {
            group.remove(name);
        }
        let params = group.remove("params").unwrap_or(Value::None);
        let defaults = Hyperparameters::of(kind).defaults;
        for name in defaults.names() {
            group.set_default(name, defaults.get(name).cloned().unwrap_or(Value::None));
        }
        group.set("decoupled_weight_decay", kind == OptimizerKind::AdamW || group.float("weight_decay")? != 0.0);
        group.set("params", params);
        Ok(Value::from(group.to_dict()))
    });
    let groups: Vec<Value> = groups.collect::<Result<_>>()?;
    let states = Dict::new();
    let saved = dict.get("state").and_then(|state| Some(state.as_dict()?.entries())).unwrap_or_default();
    for (id, state) in saved {
        let place = format!("state[{id:?}]");
        let entries = entries(&state).ok_or_else(|| wrong_type(&place, "a dict", &state))?;
        let made = if entries.is_empty() || !matches!(id, Value::Int(_)) { state } else { parameter(&place, entries)? };
        states.insert(id, made);
    }
    let converted = Dict::new();
    for (key, value) in dict.entries() {
        let value = match key.as_str() {
            Some("state") => states.clone().into(),
            Some("param_groups") => Value::from(groups.clone()),
            _ => value,
        };
        converted.insert(key, value);
    }
    Ok(converted.into())
}

/// One parameter's state.
fn parameter(place: &str, entries: Vec<(Value, Value)>) -> Result<Value> {
    let entries = Dict::from_iter(entries);
    let step = entries.get("step").and_then(|step| step.as_f64());
    let step = step.ok_or_else(|| Error::missing_key(format!("{place}.step")))?;
    #[allow(clippy::cast_possible_truncation)]
    let step = Tensor::scalar(step as f32);
    let made = Dict::from_iter([("step", Value::from(step))]);
    for (number, name) in [(1, "exp_avg"), (2, "exp_avg_sq")] {
        made.insert(name, moment(place, &entries, number)?);
    }
    Ok(made.into())
}

/// `state1` or `state2` as `float32`.
fn moment(place: &str, entries: &Dict, number: u8) -> Result<Tensor> {
    let tensor = |name: &str| {
        let key = format!("{name}{number}");
        let value = entries.get(&key).ok_or_else(|| Error::missing_key(format!("{place}.{key}")))?;
        value.as_tensor().cloned().ok_or_else(|| wrong_type(&format!("{place}.{key}"), "a tensor", &value))
    };
    let state = tensor("state")?;
    if state.dtype() != DType::UInt8 {
        return Ok(state);
    }
    let (table, largest) = (tensor("qmap")?.to_f64_vec()?, tensor("absmax")?.to_f64_vec()?);
    let (numel, blocks) = (state.numel(), largest.len());
    let size = SIZES.into_iter().find(|size| numel.div_ceil(*size) == blocks);
    let (Some(size), 256) = (size, table.len()) else {
        return Err(invalid(format!(
            "{place}.state{number} has {numel} elements, {blocks} blocks and a table of {} numbers, which no release of bitsandbytes wrote",
            table.len()
        )));
    };
    let quantised = state.to_vec::<u8>()?;
    #[allow(clippy::cast_possible_truncation)]
    let values = quantised.iter().zip(0..).map(|(code, place): (&u8, usize)| {
        // One product of two float32, rounded once.
        (table[usize::from(*code)] * largest[place / size]) as f32
    });
    Tensor::from_vec(state.shape(), values.collect())
}

/// How many elements a block has: 256, before 0.44 2048, and what else its kernels take.
const SIZES: [usize; 7] = [256, 2048, 4096, 1024, 512, 128, 64];

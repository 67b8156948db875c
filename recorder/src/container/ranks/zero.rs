//! Putting together what `ZeRO` split over the ranks, in stages 1, 2 and 3, as `DeepSpeed`'s `zero_to_fp32.py` does; the moments likewise.
//!
//! In stages 1 and 2 each group of parameters is one long run of elements, cut into a part for each rank; in stage 3 each parameter
//! is cut by itself, its last part filled up, and a rank has its parts one behind the other.

use indexmap::IndexMap;

use super::joined::{self, Flat};
use crate::container::named;
use crate::value::tensor::element_count;
use crate::{DType, Dict, Error, Result, Tensor, Value, rebuild};

/// What the files of the ranks hold, in their order.
pub(super) struct Parts {
    pub(super) models: Vec<Value>,
    pub(super) optimizers: Vec<Value>,
}

/// Parameters by their names, with their shapes.
pub(super) type Shapes = IndexMap<String, Vec<usize>>;

/// What of `mp_rank_00_model_states.pt` describes the parts, and is nothing of the whole.
const OF_PARTS: [&str; 3] = ["param_shapes", "frozen_param_shapes", "frozen_param_fragments"];
/// What of the optimizer's state is the parts.
const PARTITIONS: [&str; 8] = [
    "single_partition_of_fp32_groups",
    "fp32_flat_groups",
    "base_optimizer_state",
    "base_optimizer_state_step",
    "optimizer_state_dict",
    "group_paddings",
    "param_alignment_paddings",
    "param_slice_mappings",
];

/// The model's file with full weights and moments, and what is to be said of it.
pub(super) fn merge(parts: &Parts) -> Result<(Value, Vec<String>)> {
    let model = parts.models.first().and_then(Value::as_dict);
    let Some(model) = model else { return Err(no_model()) };
    let optimizers: Vec<Dict> = parts
        .optimizers
        .iter()
        .filter_map(|file| file.as_dict()?.get("optimizer_state_dict")?.as_dict().cloned())
        .collect();
    if experts_are_split(model) {
        let error = Error::unsupported("merging experts that are split over ranks (AutoEP with ZeRO-3)");
        return Err(error.advise("merge them with DeepSpeed's ds_to_universal.py"));
    }
    let Some(stage) = stage(&optimizers) else {
        if let Some(name) = elsewhere(model)? {
            let what = format!(
                "the weights, such as '{name}', are in the files *_optim_states.pt of all ranks, which are missing"
            );
            return Err(Error::missing(what).advise("copy them here, too"));
        }
        let why = if parts.optimizers.is_empty() {
            "there are no files *_optim_states.pt"
        } else {
            "the optimizer's files hold no part of them"
        };
        let note = format!("the weights are those of `module`, in the precision that it was saved in: {why}");
        return Ok((Value::Dict(model.clone()), vec![note]));
    };
    let zero = Zero::of(stage, model, parts, optimizers)?;
    let mut notes = Vec::new();
    let weights = zero.weights(model, &mut notes)?;
    let optimizer = zero.optimizer(&mut notes)?;
    Ok((whole(model, weights, optimizer, zero.rest()), notes))
}

/// The model's file with the weights, and with the optimizer's state and what else that says, in the places of the parts.
pub(super) fn whole(model: &Dict, weights: Value, optimizer: Value, rest: Value) -> Value {
    let root = Dict::new();
    for (key, value) in model.entries() {
        match key.as_str() {
            Some("module") => drop(root.insert(key, weights.clone())),
            Some("optimizer") => drop(root.insert(key, optimizer.clone())),
            Some(name) if OF_PARTS.contains(&name) => {}
            _ => drop(root.insert(key, value)),
        }
    }
    root.insert("zero_optimizer", rest);
    if root.get("optimizer").is_none() {
        root.insert("optimizer", optimizer);
    }
    root.into()
}

pub(super) fn no_model() -> Error {
    Error::missing("the file mp_rank_00_model_states.pt is missing").advise("copy it here, too")
}

/// A weight that `module` has a place for and no elements of, as in stage 3.
fn elsewhere(model: &Dict) -> Result<Option<String>> {
    let (Some(Value::Dict(module)), Some(shapes)) = (model.get("module"), model.get("param_shapes")) else {
        return Ok(None);
    };
    let named = groups_of(&shapes)?.into_iter().flatten();
    let is_empty =
        |name: &str| module.get(name).is_some_and(|value| value.as_tensor().is_some_and(|it| it.numel() == 0));
    let mut lacking = named.filter(|(name, shape)| element_count(shape) != Some(0) && is_empty(name));
    Ok(lacking.next().map(|(name, _)| name))
}

fn experts_are_split(model: &Dict) -> bool {
    let layers = ["ds_autoep_layers", "autoep_layers"].into_iter().find_map(|key| model.get(key));
    let split = |layer: &Value| {
        layer
            .as_dict()
            .and_then(|layer| layer.get("checkpoint_format"))
            .is_some_and(|format| format.as_str() == Some("zero3_partitioned"))
    };
    layers.is_some_and(|layers| items(&layers).iter().any(split))
}

/// The stage that the optimizer's state says it is of, or has the form of; `None` where it has no parts.
pub(super) fn stage(optimizers: &[Dict]) -> Option<i64> {
    let first = optimizers.first()?;
    let said = first.get("zero_stage").and_then(|stage| enum_value(&stage));
    // The optimizer for bfloat16 says no stage, and cuts as stage 1 does.
    let by_form = if first.get("fp32_flat_groups").is_some() {
        Some(3)
    } else {
        first.get("single_partition_of_fp32_groups").map(|_| 1)
    };
    said.filter(|stage| *stage > 0).or(by_form)
}

/// A number, or a member of an enumeration with a number.
fn enum_value(value: &Value) -> Option<i64> {
    const NAMES: [&str; 4] = ["disabled", "optimizer_states", "gradients", "weights"];
    if let Value::Object(object) = value {
        let object = object.read();
        let by_name = |value: &Value| {
            NAMES.iter().position(|name| value.as_str() == Some(name)).and_then(|i| i64::try_from(i).ok())
        };
        return object.arguments().iter().find_map(|value| value.as_i64().or_else(|| by_name(value)));
    }
    value.as_i64()
}

pub(super) struct Zero {
    pub(super) stage: i64,
    /// The trained parameters of each group, in the order of their elements.
    pub(super) shapes: Vec<Shapes>,
    /// After each parameter of a group so many elements are none.
    pub(super) gaps: Vec<Vec<usize>>,
    /// By rank and group.
    pub(super) fp32: Vec<Vec<Tensor>>,
    pub(super) optimizers: Vec<Dict>,
    pub(super) models: Vec<Dict>,
}

impl Zero {
    fn of(stage: i64, model: &Dict, parts: &Parts, optimizers: Vec<Dict>) -> Result<Self> {
        let ranks = optimizers.len();
        let counts = optimizers.first().and_then(|first| first.get("partition_count"));
        let expected =
            counts.and_then(|count| count.as_i64().or_else(|| items(&count).iter().filter_map(Value::as_i64).max()));
        if let Some(expected) = expected.and_then(|count| usize::try_from(count).ok()).filter(|count| *count != ranks) {
            let reason = format!("{expected} files *_optim_states.pt are expected, and {ranks} are there");
            return Err(Error::missing(reason).advise("copy those of all ranks here"));
        }
        if stage == 3 && parts.models.len() != ranks {
            let reason = format!("{ranks} files *_model_states.pt are expected, and {} are there", parts.models.len());
            return Err(Error::missing(reason).advise("copy those of all ranks here"));
        }
        let key = if stage == 3 { "fp32_flat_groups" } else { "single_partition_of_fp32_groups" };
        let groups = |optimizer: &Dict| {
            let groups =
                optimizer.get(key).ok_or_else(|| Error::damaged("optimizer_state_dict", format!("it has no {key}")))?;
            items(&groups).iter().map(|group| flat(key, group)).collect::<Result<Vec<Tensor>>>()
        };
        let fp32 = optimizers.iter().map(groups).collect::<Result<Vec<_>>>()?;
        let Some(shapes) = model.get("param_shapes") else {
            return Err(Error::damaged(
                "mp_rank_00_model_states.pt",
                "it has no param_shapes, so that nothing says which parameters the ranks have parts of",
            ));
        };
        let shapes = groups_of(&shapes)?;
        let gaps = optimizers.first().and_then(|first| first.get("param_alignment_paddings"));
        let gaps = gaps.map(|gaps| items(&gaps).iter().map(|group| items(group).iter().map(size).collect()).collect());
        let models = parts.models.iter().filter_map(|model| model.as_dict().cloned()).collect();
        Ok(Zero { stage, shapes, gaps: gaps.unwrap_or_default(), fp32, optimizers, models })
    }

    fn ranks(&self) -> usize {
        self.optimizers.len()
    }

    /// The state dict, in the order of the module's.
    fn weights(&self, model: &Dict, notes: &mut Vec<String>) -> Result<Value> {
        let mut found = self.untrained(model)?;
        for (name, tensor) in self.split(&self.fp32, str::to_owned)? {
            found.insert(name, full(&tensor.into())?);
        }
        in_order(model, found, self.stage == 3, notes)
    }

    /// What is in no part that is trained: buffers, and parameters that are not.
    pub(super) fn untrained(&self, model: &Dict) -> Result<IndexMap<String, Value>> {
        let module = model.get("module");
        let buffers = model.get("buffer_names").map(|names| items(&names)).unwrap_or_default();
        let mut found: IndexMap<String, Value> = IndexMap::new();
        for name in buffers.iter().filter_map(Value::as_str) {
            if let Some(buffer) = module.as_ref().and_then(|module| module.as_dict()?.get(name)) {
                found.insert(name.to_owned(), full(&buffer)?);
            }
        }
        self.frozen(&mut found)?;
        Ok(found)
    }

    /// Parameters that are not trained.
    fn frozen(&self, found: &mut IndexMap<String, Value>) -> Result<()> {
        let Some(Value::Dict(shapes)) = self.models.first().and_then(|model| model.get("frozen_param_shapes")) else {
            return Ok(());
        };
        for (name, shape) in shapes_of(&shapes)? {
            let ranks = if self.stage == 3 { &self.models[..] } else { &self.models[..1] };
            let fragment = |model: &Dict| {
                let fragment =
                    model.get("frozen_param_fragments").and_then(|all| all.as_dict()?.get(&name)?.as_tensor().cloned());
                fragment.ok_or_else(|| {
                    Error::damaged(format!("frozen_param_fragments, '{name}'"), "a rank has no part of it")
                })
            };
            let fragments = Flat::of(ranks.iter().map(fragment).collect::<Result<Vec<_>>>()?);
            let pieces = fragments.range(0, element_count(&shape).unwrap_or(usize::MAX));
            found.insert(name.clone(), full(&joined::tensor(&name, shape, pieces)?.into())?);
        }
        Ok(())
    }

    /// Every trained parameter's elements out of the ranks' groups, whatever these hold of them; `called` names the result.
    fn split(&self, groups: &[Vec<Tensor>], called: impl Fn(&str) -> String) -> Result<IndexMap<String, Tensor>> {
        let count = groups.first().map_or(0, Vec::len);
        if groups.iter().any(|rank| rank.len() != count) {
            return Err(Error::damaged("the groups of the ranks", "they have different numbers of groups"));
        }
        if self.stage == 3 { self.by_parameter(groups, called) } else { self.by_group(groups, called) }
    }

    /// In stages 1 and 2.
    fn by_group(&self, groups: &[Vec<Tensor>], called: impl Fn(&str) -> String) -> Result<IndexMap<String, Tensor>> {
        let count = groups.first().map_or(0, Vec::len);
        if count != self.shapes.len() {
            let reason = format!("it names the parameters of {} groups, and the ranks have {count}", self.shapes.len());
            return Err(Error::damaged("param_shapes", reason));
        }
        let mut found = IndexMap::new();
        for (index, shapes) in self.shapes.iter().enumerate() {
            let whole = Flat::of(groups.iter().filter_map(|rank| rank.get(index).cloned()));
            let gaps = self.gaps.get(index);
            if gaps.is_some_and(|gaps| gaps.len() != shapes.len()) {
                return Err(Error::damaged("param_alignment_paddings", "it has another length than param_shapes"));
            }
            let mut offset = 0_usize;
            for (place, (name, shape)) in shapes.iter().enumerate() {
                let numel = element_count(shape).unwrap_or(usize::MAX);
                found.insert(name.clone(), joined::tensor(&called(name), shape.clone(), whole.range(offset, numel))?);
                let gap = gaps.and_then(|gaps| gaps.get(place)).copied().unwrap_or_default();
                offset = offset.saturating_add(numel).saturating_add(gap);
            }
            // How a group is filled up is not to be told exactly: to a multiple of this.
            let unit = 2 * self.ranks().max(1);
            if offset.div_ceil(unit) != whole.len().div_ceil(unit) {
                return Err(uneven(offset, whole.len()));
            }
        }
        Ok(found)
    }

    /// In stage 3.
    fn by_parameter(
        &self,
        groups: &[Vec<Tensor>],
        called: impl Fn(&str) -> String,
    ) -> Result<IndexMap<String, Tensor>> {
        let ranks: Vec<Flat> = groups.iter().map(|rank| Flat::of(rank.iter().cloned())).collect();
        let count = ranks.len().max(1);
        let mut found = IndexMap::new();
        let mut offset = 0_usize;
        for (name, shape) in self.shapes.iter().flatten() {
            let part = element_count(shape).unwrap_or(usize::MAX).div_ceil(count);
            let pieces = ranks.iter().flat_map(|rank| rank.range(offset, part)).collect();
            found.insert(name.clone(), joined::tensor(&called(name), shape.clone(), pieces)?);
            offset = offset.saturating_add(part);
        }
        for rank in &ranks {
            if rank.len() != offset {
                return Err(uneven(offset, rank.len()));
            }
        }
        Ok(found)
    }

    /// The optimizer's state by the names of the parameters.
    fn optimizer(&self, notes: &mut Vec<String>) -> Result<Value> {
        let states: Option<Vec<Inner>> =
            self.optimizers.iter().enumerate().map(|(rank, optimizer)| Inner::of(rank, optimizer)).collect();
        let states = states.filter(|states| states.iter().all(|state| self.fits(state)));
        let Some(states) = states else {
            notes.push("the optimizer's state is not split as the weights are, and is left out".to_owned());
            return Ok(Value::None);
        };
        let Some(first) = states.first() else { return Ok(Value::None) };
        let state =
            Dict::from_iter(self.shapes.iter().flat_map(|group| group.keys()).map(|name| (name.as_str(), Dict::new())));
        let of = |name: &str| state.get(name).and_then(|state| state.as_dict().cloned());
        let keys: Vec<String> =
            first.groups.iter().flat_map(|group| group.keys().cloned()).fold(Vec::new(), |mut keys, key| {
                if !keys.contains(&key) {
                    keys.push(key);
                }
                keys
            });
        for key in keys {
            let parts = states.iter().map(|state| self.moments(state, &key)).collect::<Option<Vec<_>>>();
            if let Some(parts) = parts {
                for (name, tensor) in self.split(&parts, |name| format!("{name}.{key}"))? {
                    of(&name).map(|state| state.insert(key.as_str(), tensor));
                }
                continue;
            }
            for (index, group) in first.groups.iter().enumerate() {
                let Some(value) = group.get(&key) else { continue };
                for name in self.names_of(index) {
                    // Each has one of its own: the optimizer adds to it in place.
                    of(&name).map(|state| state.insert(key.as_str(), own(value)));
                }
            }
        }
        let groups: Vec<Value> = self.param_groups(first, notes).into_iter().map(Value::from).collect();
        let groups = Value::List(crate::value::Shared::new(groups));
        Ok(Dict::from_iter([("state", Value::from(state)), ("param_groups", groups)]).into())
    }

    /// Whether a rank's state has a place for each of its groups.
    fn fits(&self, state: &Inner) -> bool {
        state.groups.is_empty() || state.groups.len() == self.fp32.first().map_or(0, Vec::len)
    }

    /// What a rank has of one kind of moments, cut to what is there of the weights; `None` where it is no such thing.
    fn moments(&self, state: &Inner, key: &str) -> Option<Vec<Tensor>> {
        let rank = self.fp32.get(state.rank)?;
        rank.iter()
            .zip(&state.groups)
            .map(|(weights, group)| {
                let moments = group.get(key)?.as_tensor()?;
                if moments.shape().len() != 1 || moments.numel() < weights.numel() {
                    return None;
                }
                let pieces = Flat::of([moments.clone()]).range(0, weights.numel());
                joined::tensor(key, vec![weights.numel()], pieces).ok()
            })
            .collect()
    }

    /// The parameters of a group of the ranks'.
    fn names_of(&self, group: usize) -> Vec<String> {
        let all = || self.shapes.iter().flat_map(|shapes| shapes.keys().cloned()).collect();
        match self.shapes.get(group) {
            Some(shapes) if self.shapes.len() == self.fp32.first().map_or(0, Vec::len) => {
                shapes.keys().cloned().collect()
            }
            _ => all(),
        }
    }

    /// The optimizer's groups, with the names of their parameters.
    fn param_groups(&self, first: &Inner, notes: &mut Vec<String>) -> Vec<Dict> {
        let known = self.shapes.len() == self.fp32.first().map_or(0, Vec::len);
        if !known && first.param_groups.len() > 1 {
            notes.push(
                "nothing says which parameters belong to which of the optimizer's groups: all are named in each"
                    .to_owned(),
            );
        }
        let named = |(index, group): (usize, &Dict)| {
            let group: Dict = group.entries().into_iter().collect();
            let places: Vec<usize> = if self.stage == 3 {
                group.get("params").map(|params| items(&params).iter().map(size).collect()).unwrap_or_default()
            } else {
                vec![index]
            };
            let mut names: Vec<String> = Vec::new();
            for name in places.into_iter().flat_map(|place| self.names_of(place)) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            let names: Vec<Value> = names.iter().map(|name| Value::from(name.as_str())).collect();
            group.insert("params", Value::List(crate::value::Shared::new(names)));
            group
        };
        first.param_groups.iter().enumerate().map(named).collect()
    }

    /// What else the optimizer's state says.
    pub(super) fn rest(&self) -> Value {
        let rest = Dict::new();
        for (key, value) in self.optimizers.first().map(Dict::entries).unwrap_or_default() {
            match (key.as_str(), &value) {
                (Some(name), _) if PARTITIONS.contains(&name) => {}
                (Some("zero_stage"), _) => drop(rest.insert("zero_stage", self.stage)),
                // An object that is nothing but its attributes, such as the scaler of losses.
                (_, Value::Object(object)) => {
                    let state = object.read().states.first().cloned().unwrap_or(Value::None);
                    rest.insert(key, state);
                }
                _ => drop(rest.insert(key, value)),
            }
        }
        rest.into()
    }
}

/// A state dict in the order of the module's, with the names that share a weight, and what no rank has a part of as `module` has it; where
/// that holds `places` alone, it has none of it either.
pub(super) fn in_order(
    model: &Dict,
    mut found: IndexMap<String, Value>,
    places: bool,
    notes: &mut Vec<String>,
) -> Result<Value> {
    let module = model.get("module");
    let module = module.as_ref().and_then(Value::as_dict).cloned().unwrap_or_default();
    let shared = model.get("shared_params").and_then(|shared| shared.as_dict().map(Dict::entries)).unwrap_or_default();
    for (name, kept) in &shared {
        let (Some(name), Some(kept)) = (name.as_str(), kept.as_str()) else { continue };
        if let Some(tensor) = found.get(kept).and_then(Value::as_tensor).map(Tensor::alias) {
            found.insert(name.to_owned(), tensor.into());
        }
    }
    let (mut halves, mut lost) = (Vec::new(), Vec::new());
    let mut ordered = Dict::ordered();
    for (key, value) in module.entries() {
        let Some(name) = key.as_str() else { continue };
        match (found.shift_remove(name), value.as_tensor()) {
            (Some(value), _) => drop(ordered.insert(name, value)),
            // In stage 3 what stands here is a place without elements.
            (None, Some(tensor)) if places && tensor.numel() == 0 => lost.push(name.to_owned()),
            (None, _) => {
                halves.push(name.to_owned());
                ordered.insert(name, full(&value)?);
            }
        }
    }
    ordered.extend(found);
    ordered.write().state = module.state();
    if !halves.is_empty() {
        notes.push(format!(
            "{}: in no rank's part; as `module` has them, in the precision that it was saved in",
            named::listed(&halves)
        ));
    }
    if !lost.is_empty() {
        notes.push(format!("{}: in no file; left out", named::listed(&lost)));
    }
    Ok(ordered.into())
}

/// The state of the optimizer inside, of one rank.
struct Inner {
    rank: usize,
    /// For each of the rank's groups, what there is by its name.
    groups: Vec<IndexMap<String, Value>>,
    param_groups: Vec<Dict>,
}

impl Inner {
    fn of(rank: usize, optimizer: &Dict) -> Option<Inner> {
        let state = ["base_optimizer_state", "optimizer_state_dict"].into_iter().find_map(|key| optimizer.get(key))?;
        let entries = |dict: &Dict| {
            dict.entries()
                .into_iter()
                .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value)))
                .collect::<IndexMap<_, _>>()
        };
        let Some(dict) = state.as_dict() else {
            // An elastic checkpoint has a list of the groups' states.
            let groups = items(&state).iter().filter_map(Value::as_dict).map(entries).collect();
            return Some(Inner { rank, groups, param_groups: Vec::new() });
        };
        let by_place = dict.get("state")?.as_dict()?.entries();
        let mut groups: Vec<(i64, IndexMap<String, Value>)> = Vec::new();
        for (place, state) in by_place {
            groups.push((place.as_i64()?, entries(state.as_dict()?)));
        }
        groups.sort_by_key(|(place, _)| *place);
        let param_groups = dict.get("param_groups").map(|groups| items(&groups)).unwrap_or_default();
        let param_groups = param_groups.iter().filter_map(|group| group.as_dict().cloned()).collect();
        Some(Inner { rank, groups: groups.into_iter().map(|(_, group)| group).collect(), param_groups })
    }
}

fn uneven(named: usize, there: usize) -> Error {
    let reason = format!("the parameters that param_shapes names take {named} elements, and there are {there}");
    Error::damaged("the parts of the ranks", reason)
}

/// A value that is one parameter's alone.
pub(super) fn own(value: &Value) -> Value {
    let Some(tensor) = value.as_tensor() else { return value.clone() };
    let copy = tensor.to_le_bytes().and_then(|bytes| Tensor::from_le_bytes(tensor.dtype(), tensor.shape(), bytes));
    copy.map_or_else(|_| value.clone(), Value::from)
}

/// A tensor in full precision; whole numbers as they are.
pub(super) fn full(value: &Value) -> Result<Value> {
    match value.as_tensor() {
        Some(tensor) if tensor.dtype().is_floating_point() && tensor.dtype() != DType::Float32 => {
            rebuild::cast(value, DType::Float32)
        }
        _ => Ok(value.clone()),
    }
}

fn flat(key: &str, value: &Value) -> Result<Tensor> {
    match value.as_tensor() {
        Some(tensor) if tensor.shape().len() == 1 => Ok(tensor.clone()),
        _ => Err(Error::damaged(
            key,
            format!("{} is in it, where a tensor of one dimension is expected", value.describe()),
        )),
    }
}

/// The parameters of each group; once they were in one.
pub(super) fn groups_of(shapes: &Value) -> Result<Vec<Shapes>> {
    match shapes {
        Value::Dict(group) => Ok(vec![shapes_of(group)?]),
        groups => items(groups).iter().filter_map(Value::as_dict).map(shapes_of).collect(),
    }
}

fn shapes_of(group: &Dict) -> Result<Shapes> {
    let shape = |(name, shape): (Value, Value)| {
        let name = name.as_str().map(str::to_owned);
        let sizes: Option<Vec<usize>> = match &shape {
            Value::Size(sizes) => sizes.iter().map(|size| usize::try_from(*size).ok()).collect(),
            other => {
                items(other).iter().map(|size| size.as_i64().and_then(|size| usize::try_from(size).ok())).collect()
            }
        };
        name.zip(sizes).ok_or_else(|| Error::damaged("param_shapes", format!("{} is no shape", shape.describe())))
    };
    group.entries().into_iter().map(shape).collect()
}

pub(super) fn size(value: &Value) -> usize {
    value.as_i64().and_then(|size| usize::try_from(size).ok()).unwrap_or_default()
}

/// The items of a list or tuple.
pub(super) fn items(value: &Value) -> Vec<Value> {
    match value {
        Value::List(list) => list.read().clone(),
        Value::Tuple(items) => items.to_vec(),
        _ => Vec::new(),
    }
}

//! `Optimizer.state_dict()` and `load_state_dict()`: the live state to PyTorch's `Value`, key for key, and back.

use std::collections::HashMap;

use burn::module::Module;
use rekindle_burn::NamedParameter;
use rekindle_recorder::value::Key;
use rekindle_recorder::{Dict, Error, Result, Value};

use super::assign::{Known, divide};
use super::bitsandbytes;
use super::group::ParamGroup;
use super::lbfgs::Memory;
use super::optimizer::{Optimizer, StateKey};
use super::registry::{Hyperparameters, OptimizerKind, names};
use super::rule::{Rule, View};
use super::state::ParamState;
use crate::attributes::{Attributes, invalid, wrong_type};

/// What wrappers put before a parameter's name.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

impl Optimizer {
    /// `optimizer.state_dict()`: what PyTorch's own optimizer would store after the same steps, with the same keys in the
    /// same order and the same types. A snapshot: later steps do not change it.
    ///
    /// # Errors
    /// When the model is not the one the optimizer was made for, or state cannot be read from its device.
    pub fn state_dict<M: Module>(&self, model: &M) -> Result<Value> {
        self.check_model(model)?;
        Ok(self.with_groups(self.state()?))
    }

    /// What `state_dict()["state"]` is.
    pub(super) fn state(&self) -> Result<Dict> {
        let state = Dict::new();
        for key in &self.order {
            match key {
                StateKey::Parameter(place) => {
                    let parameter = &self.parameters[*place];
                    let value = match &self.memory {
                        Some(memory) if *place == 0 => memory.to_value(),
                        _ => parameter.state.to_value(&parameter.named)?,
                    };
                    state.insert(*place, value);
                }
                StateKey::Other(key, value) => drop(state.insert(key.clone(), value.clone())),
            }
        }
        Ok(state)
    }

    /// This state beside the groups as they are.
    pub(super) fn with_groups(&self, state: Dict) -> Value {
        let groups: Vec<Value> = self.groups.iter().map(ParamGroup::to_value).collect();
        Dict::from_iter([("state", Value::from(state)), ("param_groups", groups.into())]).into()
    }

    /// `optimizer.load_state_dict(state_dict)`: takes over hyper-parameters and state. Nothing changes unless all of it fits.
    ///
    /// Each id is matched to a parameter by `param_names` where the groups have them; else by its place, the parameters being
    /// in the order of PyTorch's `model.parameters()`. Where the state dict has several groups and this optimizer was made
    /// without saying which parameter belongs to which, the shapes of the moments must leave only one way to divide them.
    ///
    /// As in PyTorch, the loaded hyper-parameters replace the present ones, keys that are missing (older releases had fewer)
    /// are filled in, labels and what schedulers put there are kept, and moments are cast to their parameter's type; `step` is cast to `float32` where
    /// its group is `capturable` or `fused`.
    ///
    /// # Errors
    /// When the state dict is another optimizer's or has a key that the optimizer never has, or its groups or shapes do not fit.
    pub fn load_state_dict<M: Module>(&mut self, model: &M, state_dict: &Value) -> Result<()> {
        self.load(model, state_dict, false)
    }

    /// The same, with keys kept that are nobody's that is known.
    pub(crate) fn load<M: Module>(&mut self, model: &M, state_dict: &Value, foreign_keys: bool) -> Result<()> {
        self.check_model(model)?;
        let saved = Saved::read(self.kind(), state_dict, foreign_keys)?;
        let members = self.members(&saved)?;
        let names = self.groups.first().is_some_and(|group| group.contains("param_names"));

        let groups = members.iter().zip(&saved.groups).map(|(members, group)| {
            let members: Vec<_> = members.iter().map(|&place| self.parameters[place].named.clone()).collect();
            let mut attributes = group.attributes.clone();
            if names && !attributes.contains("param_names") {
                attributes.set("param_names", members.iter().map(|named| named.name.clone()).collect::<Vec<_>>());
            }
            (members, attributes)
        });
        let (hyperparameters, rows) = (self.hyperparameters.clone(), self.rows.clone());
        let mut loaded = Optimizer::arranged(hyperparameters, rows, self.groups_given, groups)?;

        let (rule, elements) = (self.rule(), loaded.elements());
        (rule.clips)(&loaded.groups)?;
        let ids = saved.groups.iter().flat_map(|group| &group.ids);
        let places: HashMap<Key, usize> = ids.cloned().map(Key).zip(0..).collect();
        for (key, value) in saved.state.entries() {
            let Some(&place) = places.get(&Key(key.clone())) else {
                if matches!(key, Value::Int(_)) {
                    return Err(invalid(format!(
                        "state[{key:?}] is of a parameter that is in no group; check that the state dict is whole"
                    )));
                }
                loaded.order.push(StateKey::Other(key, value));
                continue;
            };
            let parameter = &mut loaded.parameters[place];
            let group = &loaded.groups[parameter.group];
            let name = format!("state[{key:?}]");
            if place == 0 && rule.view == View::Closure {
                loaded.memory = Some(Memory::read(&value, elements, parameter.named.dtype, group, &name)?);
            } else {
                parameter.state = ParamState::read(rule, &parameter.named, &value, &name)?;
            }
            if group.is_set("capturable")? || group.is_set("fused")? {
                parameter.state.cast_step();
            }
            if let Some(lacking) = parameter.state.lacks(rule, group)? {
                let advice = format!("{} cannot go on without it", self.kind());
                return Err(Error::missing_key(format!("{name}.{lacking}")).advise(advice));
            }
            loaded.order.push(StateKey::Parameter(place));
        }
        (loaded.op_by_op, loaded.keeps_room) = (self.op_by_op, self.keeps_room);
        let frozen: Vec<String> = self.frozen().map(str::to_owned).collect();
        loaded.parameters.iter_mut().for_each(|parameter| parameter.frozen = frozen.contains(&parameter.named.name));
        *self = loaded;
        Ok(())
    }

    /// The present parameters that make up each saved group, by place.
    fn members(&self, saved: &Saved) -> Result<Vec<Vec<usize>>> {
        let parameters: Vec<NamedParameter> = self.parameters().cloned().collect();
        if let Some(names) = saved.names() {
            return by_name(&parameters, &names);
        }
        if !self.groups_given {
            return divide(&parameters, &saved.shapes(self.rule()));
        }
        let (present, found) = (self.groups.len(), saved.groups.len());
        if present != found {
            return Err(invalid(format!("the optimizer has {present} groups, and the state dict has {found}")));
        }
        self.groups
            .iter()
            .zip(&saved.groups)
            .enumerate()
            .map(|(place, (group, saved))| {
                let (present, found) = (group.params().len(), saved.ids.len());
                if present == found {
                    return Ok(group.params().collect());
                }
                Err(invalid(format!("group {place} has {present} parameters, and in the state dict {found}")))
            })
            .collect()
    }
}

/// The parameters of a model, by place, that make up each group of several optimizers that share it.
///
/// # Errors
/// When neither names nor the shapes of moments tell it.
pub(crate) fn shared_out(
    parameters: &[NamedParameter],
    saved: &[(OptimizerKind, &Value)],
) -> Result<Vec<Vec<Vec<usize>>>> {
    let read = |(kind, saved): &(OptimizerKind, &Value)| Saved::read(*kind, saved, true);
    let all: Vec<Saved> = saved.iter().map(read).collect::<Result<_>>()?;
    let names: Option<Vec<_>> = all.iter().map(Saved::names).collect();
    let members = match names {
        Some(names) => by_name(parameters, &names.concat())?,
        None => {
            let known =
                all.iter().zip(saved).flat_map(|(saved, (kind, _))| saved.shapes(kind.rule())).collect::<Vec<_>>();
            let wanted: usize = known.iter().map(Vec::len).sum();
            // Frozen parameters are the ones that were given to none.
            let trained: Vec<usize> = (0..parameters.len()).filter(|&i| parameters[i].requires_grad).collect();
            if trained.len() == wanted {
                let own: Vec<NamedParameter> = trained.iter().map(|&i| parameters[i].clone()).collect();
                let places = |group: Vec<usize>| group.into_iter().map(|i| trained[i]).collect();
                divide(&own, &known)?.into_iter().map(places).collect()
            } else {
                divide(parameters, &known)?
            }
        }
    };
    let mut members = members.into_iter();
    Ok(all.iter().map(|saved| members.by_ref().take(saved.groups.len()).collect()).collect())
}

/// A state dict, taken apart.
struct Saved {
    groups: Vec<SavedGroup>,
    state: Dict,
}

struct SavedGroup {
    /// All but `params`.
    attributes: Attributes,
    ids: Vec<Value>,
}

impl Saved {
    fn read(kind: OptimizerKind, state_dict: &Value, foreign_keys: bool) -> Result<Self> {
        let recognition = OptimizerKind::recognise(state_dict)?;
        let kinds = &recognition.kinds;
        if !kinds.is_empty() && !kinds.contains(&kind) {
            return Err(invalid(format!(
                "the state dict is {}'s, and the optimizer is {kind}",
                names(kinds, "'s or ")
            )));
        }
        if kinds.is_empty() || !foreign_keys || recognition.foreign.iter().any(|key| key.owner.is_some()) {
            recognition.is_whole()?;
        }
        let converted;
        let state_dict = if recognition.note.is_some() {
            converted = bitsandbytes::converted(kind, state_dict)?;
            &converted
        } else {
            state_dict
        };
        let (rule, defaults) = (kind.rule(), Hyperparameters::of(kind).defaults);
        let dict = state_dict.as_dict().ok_or_else(|| wrong_type("the optimizer's state", "a dict", state_dict))?;
        let part = |name: &str| dict.get(name).ok_or_else(|| Error::missing_key(name));
        let state = part("state")?;
        let state = state.as_dict().ok_or_else(|| wrong_type("state", "a dict", &state))?.clone();
        let groups = part("param_groups")?;
        let groups = groups.items().ok_or_else(|| wrong_type("param_groups", "a list", &groups))?;
        let groups = groups.iter().enumerate().map(|(place, group)| {
            let mut attributes = Attributes::from_value(format!("param_groups[{place}]."), group)?;
            let params = attributes.remove("params").unwrap_or(Value::None);
            let key = format!("param_groups[{place}].params");
            let ids = params.items().ok_or_else(|| wrong_type(&key, "a list", &params))?;
            rule.complete(&mut attributes, &defaults);
            rule.check(&attributes)?;
            Ok(SavedGroup { attributes, ids })
        });
        let groups: Vec<SavedGroup> = groups.collect::<Result<_>>()?;
        let mut seen = HashMap::new();
        for (place, group) in groups.iter().enumerate() {
            for id in &group.ids {
                if let Some(other) = seen.insert(Key(id.clone()), place) {
                    return Err(invalid(format!("parameter {id:?} is in group {other} and again in group {place}")));
                }
            }
        }
        Ok(Saved { groups, state })
    }

    /// The names of each group's parameters, where all groups say them: in `param_names`, or as the ids themselves.
    fn names(&self) -> Option<Vec<Vec<String>>> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let names = |group: &SavedGroup| {
            let ids = || group.ids.iter().map(text).collect();
            match group.attributes.get("param_names").and_then(Value::items) {
                Some(names) if names.len() == group.ids.len() => names.iter().map(text).collect(),
                Some(_) => None,
                None => ids(),
            }
        };
        // Groups without parameters say nothing.
        if self.groups.iter().all(|group| group.ids.is_empty()) {
            return None;
        }
        self.groups.iter().map(names).collect()
    }

    /// The shape of each parameter's moments, group by group.
    fn shapes(&self, rule: &Rule) -> Vec<Vec<Known>> {
        let shape = |id: &Value| {
            let state = self.state.get_key(id)?;
            (rule.parameter_shape)(rule, state.as_dict()?)
        };
        self.groups.iter().map(|group| group.ids.iter().map(shape).collect()).collect()
    }
}

/// What stands before all names, where the model's parameters are a member of what the optimizer was given.
fn common_prefix<'a>(places: &HashMap<&str, usize>, names: &'a [Vec<String>]) -> &'a str {
    let all = names.iter().flatten();
    let Some(first) = all.clone().next() else { return "" };
    let ends = first.match_indices('.').map(|(dot, _)| &first[..=dot]);
    let fits =
        |prefix: &&str| all.clone().all(|name| name.strip_prefix(prefix).is_some_and(|name| places.contains_key(name)));
    if all.clone().all(|name| places.contains_key(name.as_str())) {
        ""
    } else {
        ends.into_iter().find(fits).unwrap_or("")
    }
}

fn by_name(parameters: &[NamedParameter], names: &[Vec<String>]) -> Result<Vec<Vec<usize>>> {
    let places: HashMap<&str, usize> = parameters.iter().map(|named| named.name.as_str()).zip(0..).collect();
    let prefix = common_prefix(&places, names);
    let find = |name: &String| {
        let mut bare = name.strip_prefix(prefix).unwrap_or(name);
        loop {
            if let Some(&place) = places.get(bare) {
                return Ok(place);
            }
            match WRAPPERS.iter().find_map(|wrapper| bare.strip_prefix(wrapper)) {
                Some(rest) => bare = rest,
                None => break,
            }
        }
        let advice = "the model has no such parameter: rename it in 'param_names', or remove all 'param_names' to go by \
                      the order of parameters";
        Err(Error::missing_key(name.clone()).advise(advice))
    };
    let members: Vec<Vec<usize>> = names.iter().map(|group| group.iter().map(find).collect()).collect::<Result<_>>()?;
    let mut seen = vec![false; parameters.len()];
    for &place in members.iter().flatten() {
        if std::mem::replace(&mut seen[place], true) {
            return Err(invalid(format!("'{}' is named twice in 'param_names'", parameters[place].name)));
        }
    }
    Ok(members)
}

//! Optimizers whose state is kept by the names of the parameters, as `torch.distributed.checkpoint.state_dict` gives it: nested
//! (`{'state': {'fc.weight': ...}, 'param_groups': [{'params': ['fc.weight']}]}`) or flattened (`state.fc.weight.exp_avg`,
//! `param_groups.fc.weight.lr`). A run has them as `torch.optim` does, with numbers for the parameters and their names beside.

use std::collections::HashMap;

use crate::run::spellings::{is_optimizer, number, number_like};
use crate::state_dict::module::shallow;
use crate::{Dict, Error, Result, Value, walk};

const STATE: &str = "state.";
const GROUPS: &str = "param_groups.";
const NAMES: &str = "param_names";

/// Whether it is flattened to one dict of dotted names.
pub(super) fn is_flat(value: &Value) -> bool {
    let Some(entries) = value.as_dict().map(Dict::entries) else { return false };
    let begins = |start: &str, key: &Value| key.as_str().is_some_and(|key| key.starts_with(start));
    entries.iter().any(|(key, _)| begins(GROUPS, key))
        && entries.iter().all(|(key, _)| begins(GROUPS, key) || begins(STATE, key))
}

/// Whether the members of its groups are names.
fn is_nested(value: &Value) -> bool {
    let groups = groups(value);
    let members: Vec<Value> = groups.iter().flat_map(members).collect();
    is_optimizer(value) && !members.is_empty() && members.iter().all(|member| member.as_str().is_some())
}

fn groups(optimizer: &Value) -> Vec<Dict> {
    let groups = optimizer.as_dict().and_then(|dict| dict.get("param_groups")?.items()).unwrap_or_default();
    groups.iter().filter_map(|group| group.as_dict().cloned()).collect()
}

fn members(group: &Dict) -> Vec<Value> {
    group.get("params").and_then(|params| params.items()).unwrap_or_default()
}

/// An optimizer's state dict as `torch.optim` has it, with `param_names`; itself where it is not kept by names.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for state of a parameter that is in no group,
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for state in dicts of its own.
pub(super) fn to_ids(value: &Value) -> Result<Value> {
    if is_flat(value) {
        return from_flat(value);
    }
    if !is_nested(value) {
        return Ok(value.clone());
    }
    let (mut ids, mut numbered) = (HashMap::new(), Vec::new());
    for group in groups(value) {
        let (copy, names) = (shallow(&group), members(&group));
        let mut here = Vec::new();
        for name in names.iter().filter_map(Value::as_str) {
            let id = count(ids.len());
            if ids.insert(name.to_owned(), id).is_some() {
                return Err(Error::invalid(format!("the optimizer's groups have '{name}' twice")));
            }
            here.push(Value::Int(id));
        }
        copy.insert("params", Value::list(here));
        copy.insert(NAMES, Value::list(names));
        numbered.push(Value::from(copy));
    }
    let state = Dict::new();
    for (name, values) in
        value.as_dict().and_then(|dict| dict.get("state")?.as_dict().map(Dict::entries)).unwrap_or_default()
    {
        let id = name.as_str().and_then(|name| ids.get(name)).ok_or_else(|| stray(&walk::repr(&name)))?;
        state.insert(*id, values);
    }
    Ok(optimizer(state, numbered))
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn optimizer(state: Dict, groups: Vec<Value>) -> Value {
    let dict = Dict::new();
    dict.insert("state", state);
    dict.insert("param_groups", Value::list(groups));
    dict.into()
}

fn stray(name: &str) -> Error {
    Error::invalid(format!("the optimizer has state for {name}, which is in none of its groups"))
}

/// A parameter that a flattened state dict names, with its options.
struct Member {
    name: String,
    options: Vec<(String, Value)>,
}

/// The parameters whose settings are the same are a group: which were together is not kept.
fn from_flat(value: &Value) -> Result<Value> {
    let entries = value.as_dict().map(Dict::entries).unwrap_or_default();
    let (mut ids, mut all): (HashMap<String, usize>, Vec<Member>) = (HashMap::new(), Vec::new());
    for (key, value) in &entries {
        let Some((name, option)) = key.as_str().and_then(|key| key.strip_prefix(GROUPS)?.rsplit_once('.')) else {
            continue;
        };
        let id = *ids.entry(name.to_owned()).or_insert(all.len());
        if id == all.len() {
            all.push(Member { name: name.to_owned(), options: Vec::new() });
        }
        if option != NAMES {
            all[id].options.push((option.to_owned(), value.clone()));
        }
    }
    let state = Dict::new();
    let mut states: HashMap<usize, Dict> = HashMap::new();
    for (key, value) in &entries {
        let Some(place) = key.as_str().and_then(|key| key.strip_prefix(STATE)) else { continue };
        let (name, what) = place.rsplit_once('.').ok_or_else(|| stray(&format!("'{place}'")))?;
        let Some(id) = ids.get(name) else {
            let nested =
                ids.keys().any(|known| name.strip_prefix(known.as_str()).is_some_and(|rest| rest.starts_with('.')));
            let deeper =
                || Error::unsupported(format!("the optimizer's state '{STATE}{place}', which is in a dict of its own"));
            return Err(if nested { deeper() } else { stray(&format!("'{name}'")) });
        };
        let of = states.entry(*id).or_insert_with(|| {
            let of = Dict::new();
            state.insert(count(*id), of.clone());
            of
        });
        of.insert(what, value.clone());
    }
    let mut groups: Vec<(Vec<(String, String)>, Vec<usize>)> = Vec::new();
    for (id, member) in all.iter().enumerate() {
        let mut settings: Vec<_> =
            member.options.iter().map(|(option, value)| (option.clone(), plain(value))).collect();
        settings.sort();
        match groups.iter_mut().find(|(known, _)| *known == settings) {
            Some((_, members)) => members.push(id),
            None => groups.push((settings, vec![id])),
        }
    }
    let group = |(_, members): (Vec<_>, Vec<usize>)| {
        let group = Dict::new();
        let first = members.first().map(|id| all[*id].options.as_slice()).unwrap_or_default();
        for (option, value) in first {
            group.insert(option.as_str(), value.clone());
        }
        group.insert("params", Value::list(members.iter().map(|id| Value::Int(count(*id)))));
        group.insert(NAMES, Value::list(members.iter().map(|id| Value::from(all[*id].name.as_str()))));
        Value::from(group)
    };
    Ok(optimizer(state, groups.into_iter().map(group).collect()))
}

/// A setting, to be compared with another.
fn plain(value: &Value) -> String {
    number(value).map_or_else(|| walk::repr(value), |number| walk::repr(&number))
}

/// A state dict of `torch.optim` by names again, in the form that `old` has; itself where that is not kept by names.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) where the groups lack `param_names`.
pub(super) fn to_names(now: &Value, old: &Value) -> Result<Value> {
    let flat = is_flat(old);
    if !flat && !is_nested(old) {
        return Ok(now.clone());
    }
    let mut names: HashMap<i64, Value> = HashMap::new();
    for group in groups(now) {
        let (ids, of) = (members(&group), group.get(NAMES).and_then(|names| names.items()).unwrap_or_default());
        if ids.len() != of.len() {
            let reason = "the checkpoint keeps the optimizer's state by names, and the groups lack 'param_names'";
            return Err(Error::invalid(reason));
        }
        names.extend(ids.iter().zip(of).filter_map(|(id, name)| Some((id.as_i64()?, name))));
    }
    let mut states = Vec::new();
    for (id, values) in
        now.as_dict().and_then(|dict| dict.get("state")?.as_dict().map(Dict::entries)).unwrap_or_default()
    {
        let name = id.as_i64().and_then(|id| names.get(&id)).ok_or_else(|| stray(&walk::repr(&id)))?;
        states.push((name.clone(), values));
    }
    if flat { Ok(flattened(now, &states, old)) } else { Ok(nested(now, states, old)) }
}

fn nested(now: &Value, states: Vec<(Value, Value)>, old: &Value) -> Value {
    let state: Dict = states.into_iter().collect();
    let named = groups(old).first().is_some_and(|group| group.get(NAMES).is_some());
    let group = |group: Dict| {
        let copy = Dict::new();
        for (key, value) in group.entries() {
            let value = if key.as_str() == Some("params") { group.get(NAMES).unwrap_or(value) } else { value };
            if named || key.as_str() != Some(NAMES) {
                copy.insert(key, value);
            }
        }
        Value::from(copy)
    };
    optimizer(state, groups(now).into_iter().map(group).collect())
}

fn flattened(now: &Value, states: &[(Value, Value)], old: &Value) -> Value {
    let mut new: Vec<(String, Value)> = Vec::new();
    for (name, values) in states {
        let entries = values.as_dict().map(Dict::entries).unwrap_or_default();
        let key = |what: &Value| Some(format!("{STATE}{}.{}", name.as_str()?, what.as_str()?));
        new.extend(entries.into_iter().filter_map(|(what, value)| Some((key(&what)?, value))));
    }
    for group in groups(now) {
        let options: Vec<_> =
            group.entries().into_iter().filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value))).collect();
        for name in group.get(NAMES).and_then(|names| names.items()).unwrap_or_default() {
            let Some(name) = name.as_str() else { continue };
            let kept = options.iter().filter(|(option, _)| option != "params" && option != NAMES);
            new.extend(kept.map(|(option, value)| (format!("{GROUPS}{name}.{option}"), value.clone())));
        }
    }
    let before = old.as_dict().map(Dict::entries).unwrap_or_default();
    let mut left: HashMap<&str, &Value> = new.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let dict = Dict::new();
    for (key, old) in &before {
        let Some(name) = key.as_str() else { continue };
        let value = match left.remove(name) {
            Some(value) => number_like(value, old).unwrap_or_else(|| value.clone()),
            // What a run does not have: names beside the names.
            None if name.ends_with(".param_names") => old.clone(),
            None => continue,
        };
        dict.insert(name, value);
    }
    for (key, value) in &new {
        if left.contains_key(key.as_str()) {
            dict.insert(key.as_str(), value.clone());
        }
    }
    dict.into()
}

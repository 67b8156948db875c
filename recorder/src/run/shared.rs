//! One optimizer that trains several models: whose its parameters are, the share of one model, and the whole with a share as it is
//! now.

use std::collections::HashMap;
use std::ops::Range;

use crate::state_dict::module;
use crate::{Dict, Error, Result, Value};

/// The most models that are tried in every order.
const MOST: usize = 6;

/// What BatchNorm keeps beside its parameters.
const BUFFERS: [&str; 3] = ["running_mean", "running_var", "num_batches_tracked"];

/// The groups of an optimizer's state dict.
fn groups(optimizer: &Value) -> Vec<Dict> {
    let groups = optimizer.as_dict().and_then(|dict| dict.get("param_groups")?.items()).unwrap_or_default();
    groups.iter().filter_map(|group| group.as_dict().cloned()).collect()
}

fn ids(group: &Dict) -> Vec<Value> {
    group.get("params").and_then(|ids| ids.items()).unwrap_or_default()
}

/// The shape of each of an optimizer's parameters, in the groups' order; `None` where it has no state.
fn shapes(optimizer: &Value) -> Vec<Option<Vec<usize>>> {
    let state = optimizer.as_dict().and_then(|dict| dict.get("state")).and_then(|state| state.as_dict().cloned());
    let shape = |id: &Value| {
        let entries = state.as_ref()?.get_key(id)?.as_dict()?.entries();
        let shapes = entries.iter().filter_map(|(_, value)| Some(value.as_tensor()?.shape().to_vec()));
        shapes.filter(|shape| !shape.is_empty()).max_by_key(|shape| shape.iter().product::<usize>())
    };
    groups(optimizer).iter().flat_map(ids).map(|id| shape(&id)).collect()
}

/// Which of an optimizer's parameters are whose: of each model, those from one place to another in the groups' order, one model's
/// after the other's. `None` where they are not so, or in several ways, or what it keeps is of all together.
pub(super) fn shares(optimizer: &Value, models: &[Vec<(String, Vec<usize>)>]) -> Option<Vec<Range<usize>>> {
    // What LBFGS keeps is of all parameters in a row, and the norm that LAMB brings gradients to is of all together.
    let of_all = |group: &Dict| {
        let norm = group.get("max_grad_norm").is_some_and(|norm| !matches!(norm, Value::None));
        group.get("history_size").is_some() || norm
    };
    if models.len() < 2 || models.len() > MOST || groups(optimizer).iter().any(of_all) {
        return None;
    }
    let own = |model: &Vec<(String, Vec<usize>)>| -> Vec<Vec<usize>> {
        let is_buffer = |name: &str| BUFFERS.contains(&name.rsplit('.').next().unwrap_or_default());
        model.iter().filter(|(name, _)| !is_buffer(name)).map(|(_, shape)| shape.clone()).collect()
    };
    let models: Vec<Vec<Vec<usize>>> = models.iter().map(own).collect();
    let members = shapes(optimizer);
    if members.len() != models.iter().map(Vec::len).sum::<usize>() {
        return None;
    }
    let mut found: Vec<Vec<Range<usize>>> = Vec::new();
    for order in orders(models.len()) {
        let mut ranges = vec![0..0; models.len()];
        let mut from = 0;
        let fits = order.iter().all(|&model| {
            let range = from..from + models[model].len();
            from = range.end;
            ranges[model] = range.clone();
            fit(&models[model], &members[range])
        });
        if fits {
            found.push(ranges);
        }
    }
    let alone = found.len() == 1;
    // Without any state, and with one group, whose each of them is makes no difference.
    let alike = members.iter().all(Option::is_none)
        && groups(optimizer).iter().filter(|group| !ids(group).is_empty()).count() == 1;
    found.into_iter().next().filter(|_| alone || alike)
}

/// Whether each that has a shape can be one of a model's.
fn fit(model: &[Vec<usize>], members: &[Option<Vec<usize>>]) -> bool {
    let mut left: HashMap<&Vec<usize>, usize> = HashMap::new();
    model.iter().for_each(|shape| *left.entry(shape).or_default() += 1);
    members.iter().flatten().all(|shape| {
        left.get_mut(shape).is_some_and(|count| {
            let some = *count > 0;
            *count = count.saturating_sub(1);
            some
        })
    })
}

/// All orders of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    (0..count).fold(vec![Vec::new()], |orders, next| {
        let with = |order: Vec<usize>| {
            (0..=order.len()).map(move |place| {
                let mut order = order.clone();
                order.insert(place, next);
                order
            })
        };
        orders.into_iter().flat_map(with).collect()
    })
}

/// A dict with other values of some keys.
fn with(dict: &Dict, changes: impl IntoIterator<Item = (&'static str, Value)>) -> Dict {
    let copy = module::shallow(dict);
    changes.into_iter().for_each(|(key, value)| drop(copy.insert(key, value)));
    copy
}

/// The places of each group's parameters among all.
fn places(groups: &[Dict]) -> Vec<Range<usize>> {
    let mut from = 0;
    let range = |group: &Dict| {
        let range = from..from + ids(group).len();
        from = range.end;
        range
    };
    groups.iter().map(range).collect()
}

/// The share of an optimizer's state dict that has these of its parameters: all its groups, with those of them alone.
pub(super) fn share(optimizer: &Value, range: &Range<usize>) -> Value {
    let Some(dict) = optimizer.as_dict() else { return optimizer.clone() };
    let all = groups(optimizer);
    let mut kept = Vec::new();
    let cut = all.iter().zip(places(&all)).map(|(group, places)| {
        let own = |key: &str| {
            let items = group.get(key)?.items().filter(|items| items.len() == places.len())?;
            let own = items.into_iter().zip(places.clone()).filter(|(_, place)| range.contains(place));
            Some(own.map(|(item, _)| item).collect::<Vec<_>>())
        };
        let ids = own("params").unwrap_or_default();
        kept.extend(ids.iter().cloned());
        let names = own("param_names").map(|names| ("param_names", names.into()));
        with(group, [("params", ids.into())].into_iter().chain(names)).into()
    });
    let groups: Vec<Value> = cut.collect();
    let state = Dict::ordered();
    if let Some(all) = dict.get("state").as_ref().and_then(Value::as_dict) {
        for id in kept {
            if let Some(of) = all.get_key(&id) {
                state.insert(id, of);
            }
        }
    }
    with(dict, [("state", state.into()), ("param_groups", groups.into())]).into()
}

/// An optimizer's state dict in which these of its parameters have the state that they have in a share of it, and its groups what
/// the share's have.
///
/// # Errors
/// When the share is of other groups or parameters.
pub(super) fn merged(optimizer: &Value, share: &Value, range: &Range<usize>) -> Result<Value> {
    let unlike =
        || Error::invalid("an optimizer that several models share has other groups now than in the checkpoint");
    let (Some(dict), Some(now)) = (optimizer.as_dict(), share.as_dict()) else { return Err(unlike()) };
    let (old, new) = (groups(optimizer), groups(share));
    let (state, new_state) = (Dict::ordered(), now.get("state"));
    if old.len() != new.len() {
        return Err(unlike());
    }
    let mut renamed: Vec<(Value, Value)> = Vec::new();
    let mut changed: Vec<Value> = Vec::new();
    for ((old, new), places) in old.iter().zip(&new).zip(places(&old)) {
        let own: Vec<Value> =
            ids(old).into_iter().zip(places).filter(|(_, place)| range.contains(place)).map(|(id, _)| id).collect();
        if own.len() != ids(new).len() {
            return Err(unlike());
        }
        renamed.extend(own.into_iter().zip(ids(new)));
        let kept = ["params", "param_names"].into_iter().filter_map(|key| Some((key, old.get(key)?)));
        changed.push(with(new, kept).into());
    }
    let of = |id: &Value| new_state.as_ref().and_then(Value::as_dict)?.get_key(id);
    let is_own = |id: &Value| renamed.iter().find(|(old, _)| old.as_i64() == id.as_i64() && id.as_i64().is_some());
    for (id, before) in dict.get("state").as_ref().and_then(Value::as_dict).map(Dict::entries).unwrap_or_default() {
        match is_own(&id) {
            Some((_, new)) => drop(of(new).map(|now| state.insert(id, now))),
            None => drop(state.insert(id, before)),
        }
    }
    // What had no state until now.
    for (old, new) in &renamed {
        if let (None, Some(now)) = (state.get_key(old), of(new)) {
            state.insert(old.clone(), now);
        }
    }
    Ok(with(dict, [("state", state.into()), ("param_groups", changed.into())]).into())
}

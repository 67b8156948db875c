//! Which parameter of a model each id of a state dict stands for. A state dict numbers parameters in the order in which the
//! optimizer was given them, group after group, and does not say more; where groups divide a model's parameters among them,
//! the shapes of the moments tell which is whose.

use std::collections::HashMap;

use rekindle_burn::NamedParameter;
use rekindle_recorder::Result;

use crate::attributes::invalid;

/// A parameter as a state dict knows it: the shape of its moments, where it has any.
pub(super) type Known = Option<Vec<usize>>;

/// Ways to divide that are looked at before giving up.
const WAYS: usize = 200_000;

const ASK: &str =
    "say with `OptimizerBuilder::group`, once a group and in the file's order, which parameters belong to it";

/// Divides parameters, in order, among groups of a file: the one way that keeps the order in each group and fits every
/// shape. Where the file has fewer parameters than there are, some stay out.
///
/// # Errors
/// When there is no such way, or more than one.
pub(super) fn divide(parameters: &[NamedParameter], groups: &[Vec<Known>]) -> Result<Vec<Vec<usize>>> {
    let wanted: usize = groups.iter().map(Vec::len).sum();
    if wanted > parameters.len() {
        return Err(invalid(format!(
            "the optimizer's state is of {wanted} parameters, and the model has {}; check that the model is the one the \
             checkpoint was made with",
            parameters.len()
        )));
    }
    if let [group] = groups
        && wanted == parameters.len()
    {
        // One group of all parameters: their order says it, and a shape that does not fit is an error of its own later.
        return Ok(vec![(0..group.len()).collect()]);
    }
    // What is trained has state: a model's frozen parameters are the ones that were not given to the optimizer.
    if let [group] = groups {
        let trained: Vec<usize> = (0..parameters.len()).filter(|&i| parameters[i].requires_grad).collect();
        if trained.len() == wanted && trained.iter().zip(group).all(|(&i, known)| fits(&parameters[i], known)) {
            return Ok(vec![trained]);
        }
    }
    let full: Vec<usize> = groups.iter().map(Vec::len).collect();
    // Some stay out, and the order may be the other way round: where that fits, too, nothing tells which it was.
    if let [group] = groups
        && group.iter().flatten().count() > 1
    {
        let reversed = vec![group.iter().rev().cloned().collect::<Vec<_>>()];
        let fits = |groups: &[Vec<Known>]| {
            let layers = layers(parameters, groups, parameters.len() - wanted);
            layers.is_ok_and(|layers| layers.last().is_some_and(|last| last.contains_key(&full)))
        };
        if reversed[0] != *group && fits(&reversed) && fits(groups) {
            return Err(invalid(format!(
                "the shapes of the optimizer's {wanted} parameters fit the model's in its order and in the other direction, with others \
                 left out; {ASK}"
            )));
        }
    }
    let layers = layers(parameters, groups, parameters.len() - wanted)?;
    match layers.last().and_then(|last| last.get(&full)) {
        None => Err(invalid(format!(
            "the optimizer's state has {} groups whose shapes do not fit the model's parameters in any order-keeping way; \
             {ASK}, or check that the model is the one the checkpoint was made with",
            groups.len()
        ))),
        Some(Way { several: true, .. }) => Err(invalid(format!(
            "the optimizer's state has {} groups, and more than one way to divide the model's parameters among them fits \
             their shapes; {ASK}",
            groups.len()
        ))),
        Some(_) => Ok(trace(&layers, full)),
    }
}

/// How a number of parameters taken by each group was reached.
struct Way {
    /// The group that took the last parameter; `None` if it stayed out.
    taker: Option<usize>,
    /// Whether there are more ways than this one.
    several: bool,
}

type Layer = HashMap<Vec<usize>, Way>;

/// For each number of parameters dealt out: how many each group may have taken.
fn layers(parameters: &[NamedParameter], groups: &[Vec<Known>], spare: usize) -> Result<Vec<Layer>> {
    let start = Way { taker: None, several: false };
    let mut layers = vec![Layer::from([(vec![0; groups.len()], start)])];
    let mut ways = 0;
    for (dealt, parameter) in parameters.iter().enumerate() {
        let mut next = Layer::new();
        for (taken, way) in &layers[dealt] {
            let out = dealt - taken.iter().sum::<usize>();
            if out < spare {
                reach(&mut next, taken.clone(), None, way);
            }
            for (group, members) in groups.iter().enumerate() {
                if members.get(taken[group]).is_some_and(|known| fits(parameter, known)) {
                    let mut taken = taken.clone();
                    taken[group] += 1;
                    reach(&mut next, taken, Some(group), way);
                }
            }
        }
        ways += next.len();
        if ways > WAYS {
            return Err(invalid(format!(
                "the optimizer's state has {} groups, and there are too many ways to divide the model's parameters among \
                 them; {ASK}",
                groups.len()
            )));
        }
        layers.push(next);
    }
    Ok(layers)
}

fn reach(layer: &mut Layer, taken: Vec<usize>, taker: Option<usize>, from: &Way) {
    let several = from.several;
    layer.entry(taken).and_modify(|way| way.several = true).or_insert(Way { taker, several });
}

fn fits(parameter: &NamedParameter, known: &Known) -> bool {
    known.as_ref().is_none_or(|shape| *shape == parameter.shape)
}

/// The members of each group, followed back from the end.
fn trace(layers: &[Layer], mut taken: Vec<usize>) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); taken.len()];
    for (parameter, layer) in layers[1..].iter().enumerate().rev() {
        if let Some(group) = layer.get(&taken).and_then(|way| way.taker) {
            members[group].push(parameter);
            taken[group] -= 1;
        }
    }
    members.iter_mut().for_each(|group| group.reverse());
    members
}

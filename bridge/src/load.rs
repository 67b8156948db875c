//! Loading a state dict into a copy of a module: what fits is split into Burn's pieces first, then every piece takes its place
//! in one walk.

use burn::module::{Flag, Module, ModuleMapper, Param};
use burn::tensor::{Bool, Int, Tensor as BurnTensor, TensorData};
use rayon::prelude::*;

use crate::data;
use crate::layer_rows::{LayerRows, Role};
use crate::leaves::{self, Leaves};
use crate::matching::{Match, compare};
use crate::tree::{Slot, Tree};
use crate::value::{self, Kind, Value};
use rekindle_recorder::keys::LoadOptions;
use rekindle_recorder::report::Cast;
use rekindle_recorder::{Error, LoadReport, Result, ResultExt as _, StateDict, Tensor};

/// A copy of the module with the state dict in it. The copy shares what was not loaded with the module, which stays as it is.
pub(super) fn loaded<M: Module>(
    module: &M,
    state_dict: &StateDict,
    options: &LoadOptions,
    rows: &LayerRows,
) -> Result<(M, LoadReport)> {
    let state_dict = options.apply(state_dict)?;
    let leaves = Leaves::collect(module, rows)?;
    let tree = Tree::build(rows, &leaves)?;
    let (report, matched) = compare(&tree, &leaves, rows, &state_dict, options)?;
    let mut report = report.into_result(options.is_strict())?;
    if options.takes_requires_grad() && !matched.iter().any(|Match { tensor, .. }| tensor.is_parameter()) {
        let reason = "the state dict does not say which parameters are frozen: `state_dict()` forgets it; save the whole \
                  module or `state_dict(keep_vars=True)`, and read it with `state_dict_keep_vars`";
        return Err(Error::invalid(reason.to_owned()));
    }
    // Everything that can fail comes first.
    let whole = |slot: &Slot, tensor: &Tensor, partial: bool| {
        if partial { overlay(slot, &leaves, tensor) } else { Ok(tensor.clone()) }
    };
    let mut split = Vec::with_capacity(matched.len());
    for Match { slot, tensor, partial } in matched {
        let own = slot.tensor.dtype;
        let adopted = options.adopts_dtype() && own.is_floating_point() && tensor.dtype().is_floating_point();
        let dtype = if adopted { tensor.dtype() } else { own };
        if tensor.dtype() != dtype && slot.saved_dtype != Some(tensor.dtype()) {
            report.cast.push(Cast::new(&slot.tensor.name, tensor.dtype(), dtype));
        }
        let whole = whole(slot, tensor, partial).of_tensor(&*slot.tensor.name)?;
        let requires_grad = (options.takes_requires_grad() && slot.role == Role::Parameter && tensor.is_parameter())
            .then(|| tensor.requires_grad());
        split.push((slot, whole, dtype, requires_grad));
    }
    // All threads read, verify and move elements; of several errors the first in the module's order is told.
    let pieces: Vec<Result<Vec<TensorData>>> = split
        .par_iter()
        .map(|(slot, whole, dtype, _)| {
            let cast = data::cast(whole, *dtype);
            cast.and_then(|cast| slot.tensor.split(&cast)).of_tensor(&*slot.tensor.name)
        })
        .collect();
    let mut plans: Vec<Option<Plan>> = leaves.all.iter().map(|_| None).collect();
    for ((slot, .., requires_grad), pieces) in split.into_iter().zip(pieces) {
        for (&leaf, data) in slot.leaves.iter().zip(pieces?) {
            plans[leaf] = Some(Plan { name: &slot.tensor.name, data, requires_grad });
        }
    }
    let firsts = tie(&leaves, &mut plans)?;
    let values = values(&leaves, plans, &firsts)?;

    let running = leaves.all.iter().any(|leaf| leaf.running);
    let autodiff = leaves.all.iter().any(|leaf| leaf.device.is_autodiff());
    let mut replace = Replace { leaves, values, next: 0, next_flag: 0, pass: Pass::Parameters, error: None };
    let mut loaded = replace.apply(module.clone())?;
    if running {
        // Burn's running states are shared with the clones, and may have updates waiting that would overwrite what is
        // loaded. `valid()` and `train()` make new ones; what else they change is put back in a second pass.
        loaded = if autodiff { loaded.valid().train() } else { loaded.valid() };
        replace.pass = Pass::RunningStates;
        loaded = replace.apply(loaded)?;
    }
    Ok((loaded, report))
}

/// A tensor whose first rows are the file's, as far as both have them, and the rest the module's.
fn overlay(slot: &Slot, leaves: &Leaves, tensor: &Tensor) -> Result<Tensor> {
    let own = slot.read(leaves)?;
    let tensor = data::cast(tensor, own.dtype())?;
    let mut bytes = own.to_le_bytes()?.to_vec();
    let rows = tensor.to_le_bytes()?;
    let length = bytes.len().min(rows.len());
    if let (Some(bytes), Some(rows)) = (bytes.get_mut(..length), rows.get(..length)) {
        bytes.copy_from_slice(rows);
    }
    Tensor::from_le_bytes(own.dtype(), own.shape(), bytes)
}

/// What is loaded into a parameter or buffer.
struct Plan<'a> {
    /// PyTorch's name.
    name: &'a str,
    /// The elements, of the type that the parameter is to have.
    data: TensorData,
    /// Whether it is to be trained, where the file says so.
    requires_grad: Option<bool>,
}

/// Fields that share a parameter get one tensor: for each leaf, the one whose tensor it is to be, itself or one before it.
/// A plan stands with the first of them.
///
/// A file that has another tensor for each belongs to a model that has two, as long as the module does not have two itself:
/// a clone of a module has its parameters' ids, too, and may have gone its own way since.
fn tie(leaves: &Leaves, plans: &mut [Option<Plan>]) -> Result<Vec<usize>> {
    let mut firsts: Vec<usize> = (0..plans.len()).collect();
    for (index, leaf) in leaves.all.iter().enumerate().filter(|(index, leaf)| leaf.first != *index) {
        let Some(plan) = plans[index].take() else { continue };
        match &plans[leaf.first] {
            Some(first) if leaves::is_equal(&first.data, &plan.data) => firsts[index] = leaf.first,
            _ if !leaves.is_tied(leaf)? => plans[index] = Some(plan),
            Some(first) => {
                let (name, with) = (plan.name, first.name);
                return Err(Error::invalid(format!(
                    "'{name}' and '{with}' are one parameter of the module, and differ in the state dict; exclude one of \
                     them, or initialise the second by itself: a clone of a Burn module has the same parameters"
                )));
            }
            None => {
                plans[leaf.first] = Some(plan);
                firsts[index] = leaf.first;
            }
        }
    }
    // What the file has no name for.
    for (index, leaf) in leaves.all.iter().enumerate() {
        let open = firsts[index] == index && leaf.first != index && plans[index].is_none();
        if open && plans[leaf.first].is_some() && leaves.is_tied(leaf)? {
            firsts[index] = leaf.first;
        }
    }
    Ok(firsts)
}

/// The parameters and buffers as they are to be; `None` for what is not loaded.
fn values(leaves: &Leaves, plans: Vec<Option<Plan>>, firsts: &[usize]) -> Result<Vec<Option<Box<dyn Value>>>> {
    let trained: Vec<Option<bool>> = plans.iter().map(|plan| plan.as_ref()?.requires_grad).collect();
    let mut values: Vec<Option<Box<dyn Value>>> = Vec::with_capacity(plans.len());
    for ((leaf, plan), &first) in leaves.all.iter().zip(plans).zip(firsts) {
        let value = match (plan, values.get(first)) {
            (Some(Plan { data, requires_grad, .. }), _) => {
                Some(leaf.value.with_data(data, &leaf.device, leaf.dtype, requires_grad))
            }
            (None, Some(Some(known))) => Some(leaf.value.tied_to(&**known, trained[first]).ok_or_else(astray)?),
            (None, _) => None,
        };
        values.push(value);
    }
    Ok(values)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// All but the running states, which belong to the clones, too.
    Parameters,
    /// The running states, now the module's own; and everything else as the first pass left it.
    RunningStates,
}

/// Puts the values where they belong, in the order of the walk.
struct Replace {
    leaves: Leaves,
    values: Vec<Option<Box<dyn Value>>>,
    next: usize,
    next_flag: usize,
    pass: Pass,
    error: Option<Error>,
}

impl Replace {
    fn apply<M: Module>(&mut self, module: M) -> Result<M> {
        (self.next, self.next_flag) = (0, 0);
        let module = module.map(self);
        match self.error.take() {
            Some(error) => Err(error),
            None if self.next != self.values.len() => Err(astray()),
            None => Ok(module),
        }
    }

    fn put<T: Kind>(&mut self, param: Param<T>) -> Param<T> {
        let index = self.next;
        self.next += 1;
        let known = self.leaves.all.get(index).filter(|leaf| leaf.id == param.id).map(|leaf| {
            let loaded = self.values[index].as_deref();
            match (leaf.running, self.pass) {
                (true, Pass::Parameters) => Some(param.clone()),
                (true, Pass::RunningStates) if loaded.is_none() => {
                    let on_autodiff = leaf.device.is_autodiff();
                    Some(if on_autodiff { param.clone() } else { param.clone().map(T::without_autodiff) })
                }
                _ => value::downcast::<T>(loaded.unwrap_or(&*leaf.value)).cloned(),
            }
        });
        known.flatten().unwrap_or_else(|| {
            self.error.get_or_insert_with(astray);
            param
        })
    }
}

fn astray() -> Error {
    Error::invalid("the module's `map` does not meet the parameters that its `visit` met, so it cannot be loaded")
}

impl ModuleMapper for Replace {
    fn map_float<const D: usize>(&mut self, param: Param<BurnTensor<D>>) -> Param<BurnTensor<D>> {
        self.put(param)
    }

    fn map_int<const D: usize>(&mut self, param: Param<BurnTensor<D, Int>>) -> Param<BurnTensor<D, Int>> {
        self.put(param)
    }

    fn map_bool<const D: usize>(&mut self, param: Param<BurnTensor<D, Bool>>) -> Param<BurnTensor<D, Bool>> {
        self.put(param)
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        let known = self.leaves.flags.get(self.next_flag).filter(|known| known.id == flag.id).cloned();
        self.next_flag += 1;
        known.unwrap_or(flag)
    }
}

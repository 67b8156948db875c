//! Loading a state dict into a copy of a module: what fits is split into Burn's pieces first, then every piece takes its place
//! in one walk.

use burn::module::{Flag, Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Bool, Int, Tensor as BurnTensor, TensorData};

use crate::data;
use crate::layer_rows::{LayerRows, Role};
use crate::leaves::{self, Leaf, Leaves};
use crate::matching::{Match, compare};
use crate::tree::{Slot, Tree};
use rekindle_recorder::keys::LoadOptions;
use rekindle_recorder::report::Cast;
use rekindle_recorder::{Error, ErrorKind, LoadReport, Result, StateDict, Tensor};

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
    let (report, matched) = compare(&tree, rows, &state_dict, options)?;
    let mut report = report.into_result(options.is_strict())?;
    if options.takes_requires_grad() && !matched.iter().any(|Match { tensor, .. }| tensor.is_parameter()) {
        let reason = "the state dict does not say which parameters are frozen: `state_dict()` forgets it; save the whole \
                  module or `state_dict(keep_vars=True)`, and read it with `state_dict_keep_vars`";
        return Err(ErrorKind::Invalid(reason.to_owned()).into());
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
        let pieces = whole(slot, tensor, partial)
            .and_then(|whole| data::cast(&whole, dtype))
            .and_then(|cast| slot.tensor.split(&cast))
            .map_err(|error| slot.blame(error))?;
        let requires_grad = (options.takes_requires_grad() && slot.role == Role::Parameter && tensor.is_parameter())
            .then(|| tensor.requires_grad());
        split.push((slot, pieces, requires_grad));
    }
    let running = leaves.all.iter().any(|leaf| leaf.running);
    let autodiff = leaves.all.iter().any(|leaf| leaf.device.is_autodiff());
    let Leaves { all, flags, .. } = leaves;
    let mut plans: Vec<Plan> =
        all.into_iter().map(|leaf| Plan { leaf, data: None, requires_grad: None, done: None }).collect();
    for (slot, pieces, requires_grad) in split {
        for (&leaf, piece) in slot.leaves.iter().zip(pieces) {
            if let Some(plan) = plans.get_mut(leaf) {
                (plan.data, plan.requires_grad) = (Some(piece), requires_grad);
            }
        }
    }

    let mut replace = Replace { plans, flags, next: 0, next_flag: 0, pass: Pass::Parameters, error: None };
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

/// What becomes of a parameter or buffer.
struct Plan {
    leaf: Leaf,
    /// The elements to load, of the type that the parameter is to have.
    data: Option<TensorData>,
    /// Whether it is to be trained, where the file says so.
    requires_grad: Option<bool>,
    /// What the first pass put in its place.
    done: Option<Box<dyn leaves::Value>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// All but the running states, which belong to the clones, too.
    Parameters,
    /// The running states, now the module's own; and everything else as the first pass left it.
    RunningStates,
}

/// Puts the loaded elements in their places, in the order of the walk.
struct Replace {
    plans: Vec<Plan>,
    flags: Vec<Param<Flag>>,
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
            None if self.next != self.plans.len() => Err(astray()),
            None => Ok(module),
        }
    }

    fn next(&mut self, id: ParamId) -> Option<(&mut Plan, Pass)> {
        let plan = self.plans.get_mut(self.next).filter(|plan| plan.leaf.id == id);
        self.next += 1;
        if plan.is_none() {
            self.error.get_or_insert_with(astray);
        }
        Some((plan?, self.pass))
    }
}

fn astray() -> Error {
    ErrorKind::Invalid(
        "the module's `map` does not meet the parameters that its `visit` met, so it cannot be loaded".to_owned(),
    )
    .into()
}

macro_rules! map {
    ($($map:ident $kind:ty, $keep:expr;)*) => { $(
        fn $map<const D: usize>(&mut self, param: Param<$kind>) -> Param<$kind> {
            let Some((plan, pass)) = self.next(param.id) else { return param };
            let Plan { leaf, data, requires_grad, done } = plan;
            let tensor = |data: TensorData| {
                let dtype = if leaf.dtype.is_float() { data.dtype() } else { leaf.dtype };
                <$kind>::from_data(data, (&leaf.device, dtype))
            };
            if leaf.running {
                return match (pass, data.take()) {
                    (Pass::RunningStates, Some(data)) => Param::initialized(param.id, tensor(data)),
                    (Pass::RunningStates, None) if !leaf.device.is_autodiff() => param.map(<$kind>::without_autodiff),
                    (Pass::RunningStates, None) => param,
                    (Pass::Parameters, elements) => {
                        *data = elements;
                        param
                    }
                };
            }
            let known = done.as_deref().unwrap_or(&*leaf.value).as_any().downcast_ref::<Param<$kind>>();
            let Some(known) = known.cloned() else {
                self.error.get_or_insert_with(astray);
                return param;
            };
            let Some(data) = data.take() else { return known };
            let keep: fn($kind, &$kind) -> $kind = $keep;
            let loaded = if leaves::is_lazy(known.is_initialized(), &known) {
                known.transform_for_load(tensor(data), param.id)
            } else {
                // Mappers work on the form that Burn's records have; this is the form that the layer has.
                let (id, old, mapper) = known.consume();
                Param::from_mapped_value(id, keep(tensor(data), &old), mapper)
            };
            let loaded = match *requires_grad {
                Some(requires_grad) => loaded.set_require_grad(requires_grad),
                None => loaded,
            };
            *done = Some(Box::new(loaded.clone()));
            loaded
        }
    )* };
}

impl ModuleMapper for Replace {
    map! {
        map_float BurnTensor<D>, |new, old| new.set_require_grad(old.is_require_grad());
        map_int BurnTensor<D, Int>, |new, _| new;
        map_bool BurnTensor<D, Bool>, |new, _| new;
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        let known = self.flags.get(self.next_flag).filter(|known| known.id == flag.id).cloned();
        self.next_flag += 1;
        known.unwrap_or(flag)
    }
}

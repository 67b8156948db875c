//! `ModuleStateDict`: `state_dict()`, `load_state_dict()` and `named_parameters()` for every Burn module, as PyTorch's
//! `nn.Module` has them.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use ::burn::module::{Flag, Module, ModuleMapper, Param, ParamId};
use ::burn::tensor::{Bool, Int, Tensor as BurnTensor, TensorData};

use super::data;
use super::layout::{Layout, Role, Transform};
use super::leaves::{self, Leaf, Leaves};
use super::matching::{Match, compare};
use super::named::NamedParameter;
use super::tree::{Line, Slot, Tree};
use crate::keys::LoadOptions;
use crate::report::Cast;
use crate::{Dict, Error, ErrorKind, LoadReport, Result, StateDict, Tensor};

/// What PyTorch's `nn.Module` can do and a Burn module cannot by itself. Every [`Module`] has it.
///
/// Keys are spelled as in PyTorch: fields joined by dots, places in a `Vec` as numbers, the variants of enums left out, and
/// the names within a layer PyTorch's (`weight` for burn-nn's `gamma`). Tensors have PyTorch's shape: a `Linear` has
/// `[out, in]`. Which layer lies how is told by a [`Layout`]; the methods without one use the default, burn-nn's layers.
///
/// ```
/// # use burn::{nn::LinearConfig, tensor::Device};
/// use rekindle_recorder::burn::ModuleStateDict;
///
/// let mut fc = LinearConfig::new(3, 2).init(&Device::flex());
/// let state_dict = fc.state_dict()?;
/// assert_eq!(state_dict.keys().collect::<Vec<_>>(), ["weight", "bias"]);
/// assert_eq!(state_dict.get("weight").map(|weight| weight.shape()), Some(&[2, 3][..]));
/// fc.load_state_dict(&state_dict)?;
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
pub trait ModuleStateDict: Module {
    /// `module.state_dict()`: a snapshot, which later training does not change. Contiguous tensors on the CPU that ask for
    /// no gradient; per module the parameters, then the buffers, then the children, each in the order of the fields.
    ///
    /// `_metadata` has every module that holds something. Of modules without parameters it has those that stand in a `Vec`
    /// or an enum; Burn shows no others.
    ///
    /// # Errors
    /// When a parameter does not lie as its layer's row says, two have one name, or the device does not give the elements.
    fn state_dict(&self) -> Result<StateDict> {
        self.state_dict_with(default_layout())
    }

    /// [`state_dict`](Self::state_dict) by other rows.
    ///
    /// # Errors
    /// As [`state_dict`](Self::state_dict).
    fn state_dict_with(&self, layout: &Layout) -> Result<StateDict> {
        let mut leaves = Leaves::collect(self, layout)?;
        if leaves.all.iter().any(|leaf| leaf.running) {
            // Burn keeps the last update of a running state aside until the next one, or until `valid()` wants it.
            drop(self.valid());
            leaves = Leaves::collect(self, layout)?;
        }
        let tree = Tree::build(layout, &leaves)?;
        let mut state_dict = StateDict::new();
        // Two fields that share a parameter are two names of one storage.
        let mut shared: HashMap<Vec<(ParamId, Transform)>, Tensor> = HashMap::new();
        for line in tree.lines {
            match line {
                Line::Slot(slot) => {
                    let pieces = slot.tensor.pieces.iter().map(|piece| (piece.id, piece.transform)).collect();
                    let mut tensor = read(&slot, &leaves).map_err(|error| about(&slot.tensor.name, error))?;
                    // One id is no proof: each of the two may have been given elements of its own.
                    match shared.get(&pieces) {
                        Some(known) if is_equal(known, &tensor)? => tensor = Tensor::new(known.parts().clone())?,
                        _ => drop(shared.insert(pieces, tensor.clone())),
                    }
                    state_dict.insert(slot.tensor.name, tensor);
                }
                Line::Constant(name, value) => {
                    state_dict.insert(name, value);
                }
            }
        }
        for (alias, name) in layout.ties() {
            if let (false, Some(tensor)) = (state_dict.contains(alias), state_dict.get(name)) {
                let tensor = Tensor::new(tensor.parts().clone())?;
                state_dict.insert(alias, tensor);
            }
        }
        let metadata = Dict::ordered();
        for (module, version) in tree.modules {
            metadata.insert(module, Dict::from_iter([("version", version)]));
        }
        state_dict.set_metadata(metadata);
        Ok(state_dict)
    }

    /// `module.load_state_dict(state_dict)`: strict, as PyTorch's default is. Every key must be in the module and every
    /// parameter in the state dict, with the same shape; otherwise nothing changes. The one exception is
    /// `num_batches_tracked`, which may be missing, or there where the module does not count.
    ///
    /// The module keeps its devices, element types, parameter ids, and what it trains. Elements of another type are
    /// converted, which the report tells. Clones that were made before keep their values.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] with a report of every key; otherwise when a tensor cannot be read or converted, and as
    /// [`state_dict`](Self::state_dict). After an error the module is as it was.
    fn load_state_dict(&mut self, state_dict: &StateDict) -> Result<LoadReport> {
        self.load_state_dict_with(state_dict, &LoadOptions::strict())
    }

    /// [`load_state_dict`](Self::load_state_dict) with keys mapped first, and leniently if so asked: then missing and
    /// unexpected keys are only reported. Other shapes are refused all the same, as PyTorch's `strict=False` does; to pass
    /// over a key, filter it.
    ///
    /// # Errors
    /// As [`load_state_dict`](Self::load_state_dict), and as [`LoadOptions::apply`].
    fn load_state_dict_with(&mut self, state_dict: &StateDict, options: &LoadOptions) -> Result<LoadReport> {
        self.load_state_dict_with_layout(state_dict, options, default_layout())
    }

    /// [`load_state_dict_with`](Self::load_state_dict_with) by other rows.
    ///
    /// # Errors
    /// As [`load_state_dict_with`](Self::load_state_dict_with).
    fn load_state_dict_with_layout(
        &mut self,
        state_dict: &StateDict,
        options: &LoadOptions,
        layout: &Layout,
    ) -> Result<LoadReport> {
        let state_dict = options.apply(state_dict)?;
        let leaves = Leaves::collect(self, layout)?;
        let tree = Tree::build(layout, &leaves)?;
        let (report, matched) = compare(&tree, layout, &state_dict, options)?;
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
            let (name, own) = (&slot.tensor.name, slot.tensor.dtype);
            let adopted = options.adopts_dtype() && own.is_floating_point() && tensor.dtype().is_floating_point();
            let dtype = if adopted { tensor.dtype() } else { own };
            if tensor.dtype() != dtype && slot.saved_dtype != Some(tensor.dtype()) {
                report.cast.push(Cast::new(name, tensor.dtype(), dtype));
            }
            let pieces = whole(slot, tensor, partial)
                .and_then(|whole| data::cast(&whole, dtype))
                .and_then(|cast| slot.tensor.split(&cast))
                .map_err(|error| about(name, error))?;
            let requires_grad =
                (options.takes_requires_grad() && slot.role == Role::Parameter && tensor.is_parameter())
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
        let original = &*self;
        // A backend, or a module's own mapper, may panic: this module is not touched before all is done.
        let loaded = catch_unwind(AssertUnwindSafe(|| -> Result<Self> {
            let mut loaded = replace.apply(original.clone())?;
            if running {
                // Burn's running states are shared with the clones, and may have updates waiting that would overwrite what is
                // loaded. `valid()` and `train()` make new ones; what else they change is put back in a second pass.
                loaded = if autodiff { loaded.valid().train() } else { loaded.valid() };
                replace.pass = Pass::RunningStates;
                loaded = replace.apply(loaded)?;
            }
            Ok(loaded)
        }));
        *self = loaded.unwrap_or_else(|panic| {
            let reason = panic.downcast_ref::<String>().map(String::as_str);
            let reason = reason.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it gave no reason");
            Err(ErrorKind::Invalid(format!("the module could not be loaded, its code panicked: {reason}")).into())
        })?;
        Ok(report)
    }

    /// `module.named_parameters()`: every parameter, trainable or frozen, with PyTorch's name and shape and in PyTorch's
    /// order, and the Burn parameters behind it. No buffers.
    ///
    /// # Errors
    /// When a parameter does not lie as its layer's row says, or two have one name.
    fn named_parameters(&self) -> Result<Vec<NamedParameter>> {
        self.named_parameters_with(default_layout())
    }

    /// [`named_parameters`](Self::named_parameters) by other rows.
    ///
    /// # Errors
    /// As [`named_parameters`](Self::named_parameters).
    fn named_parameters_with(&self, layout: &Layout) -> Result<Vec<NamedParameter>> {
        let tree = Tree::build(layout, &Leaves::collect(self, layout)?)?;
        let slots = tree.lines.into_iter().filter_map(|line| match line {
            Line::Slot(slot) if slot.role == Role::Parameter => Some(slot.tensor),
            _ => None,
        });
        Ok(slots.collect())
    }
}

impl<M: Module> ModuleStateDict for M {}

fn default_layout() -> &'static Layout {
    static DEFAULT: OnceLock<Layout> = OnceLock::new();
    DEFAULT.get_or_init(Layout::default)
}

/// The tensor that PyTorch would have.
fn read(slot: &Slot, leaves: &Leaves) -> Result<Tensor> {
    let pieces = slot.leaves.iter().filter_map(|&leaf| leaves.all.get(leaf)).map(|leaf| leaf.value.data());
    let tensor = slot.tensor.join_owned(pieces.collect::<Result<_>>()?)?;
    match slot.saved_dtype {
        Some(dtype) => data::cast(&tensor, dtype),
        None => Ok(tensor),
    }
}

fn is_equal(one: &Tensor, other: &Tensor) -> Result<bool> {
    Ok(one.dtype() == other.dtype() && one.shape() == other.shape() && one.to_le_bytes()? == other.to_le_bytes()?)
}

/// A tensor whose first rows are the file's, as far as both have them, and the rest the module's.
fn overlay(slot: &Slot, leaves: &Leaves, tensor: &Tensor) -> Result<Tensor> {
    let own = read(slot, leaves)?;
    let tensor = data::cast(tensor, own.dtype())?;
    let mut bytes = own.to_le_bytes()?.to_vec();
    let rows = tensor.to_le_bytes()?;
    let length = bytes.len().min(rows.len());
    if let (Some(bytes), Some(rows)) = (bytes.get_mut(..length), rows.get(..length)) {
        bytes.copy_from_slice(rows);
    }
    Tensor::from_le_bytes(own.dtype(), own.shape(), bytes)
}

/// The same error, said of this tensor where it does not say so itself.
fn about(name: &str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unsupported { what, advice } => {
            ErrorKind::Unsupported { what: format!("{name}: {what}"), advice: advice.clone() }.into()
        }
        ErrorKind::Invalid(what) if !what.starts_with(name) => ErrorKind::Invalid(format!("{name}: {what}")).into(),
        _ => error,
    }
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

//! `ModuleStateDict`: `state_dict()`, `load_state_dict()` and `named_parameters()` for every Burn module, as PyTorch's
//! `nn.Module` has them.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use burn::module::{Module, ParamId};

use crate::layer_rows::{LayerRows, Role, Transform};
use crate::leaves::Leaves;
use crate::load;
use crate::named::NamedParameter;
use crate::tree::{Line, Slot, Tree};
#[cfg(doc)]
use rekindle_recorder::ErrorKind;
use rekindle_recorder::keys::LoadOptions;
use rekindle_recorder::{Dict, Error, LoadReport, Result, StateDict, Tensor};

/// What PyTorch's `nn.Module` can do and a Burn module cannot by itself. Every [`Module`] has it.
///
/// Keys are spelled as in PyTorch: fields joined by dots, places in a `Vec` as numbers, the variants of enums left out, and
/// the names within a layer PyTorch's (`weight` for burn-nn's `gamma`). Tensors have PyTorch's shape: a `Linear` has
/// `[out, in]`. Which layer lies how is told by a [`LayerRows`]; the methods without one use the default, burn-nn's layers.
///
/// ```
/// # use burn::{nn::LinearConfig, tensor::Device};
/// use rekindle_burn::ModuleStateDict;
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
    /// no gradient. Those of Burn's CPU backend that lie as PyTorch's are not copied now (feature `flex`), but when the module
    /// changes, if the snapshot is still there; per module the parameters, then the buffers, then the children, each in the order of the fields.
    ///
    /// `_metadata` has every module that holds something. Of modules without parameters it has those that stand in a `Vec`
    /// or an enum; Burn shows no others.
    ///
    /// # Errors
    /// When a parameter does not lie as its layer's row says, two have one name, or the device does not give the elements.
    fn state_dict(&self) -> Result<StateDict> {
        self.state_dict_with(default_rows())
    }

    /// [`state_dict`](Self::state_dict) by other rows.
    ///
    /// # Errors
    /// As [`state_dict`](Self::state_dict).
    fn state_dict_with(&self, rows: &LayerRows) -> Result<StateDict> {
        guarded("read", || state_dict(self, rows))
    }

    /// `module.load_state_dict(state_dict)`: strict, as PyTorch's default is. Every key must be in the module and every
    /// parameter in the state dict, with the same shape; otherwise nothing changes. The one exception is
    /// `num_batches_tracked`, which may be missing, or there where the module does not count.
    ///
    /// Fields that share a `Param` (tied weights) are one tensor afterwards. One of the names is enough; two that differ in the
    /// state dict are an error. A running state that stands in two places becomes two.
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
        self.load_state_dict_with_rows(state_dict, options, default_rows())
    }

    /// [`load_state_dict_with`](Self::load_state_dict_with) by other rows.
    ///
    /// # Errors
    /// As [`load_state_dict_with`](Self::load_state_dict_with).
    fn load_state_dict_with_rows(
        &mut self,
        state_dict: &StateDict,
        options: &LoadOptions,
        rows: &LayerRows,
    ) -> Result<LoadReport> {
        // This module is not touched before all is done.
        let (module, report) = guarded("loaded", || load::loaded(self, state_dict, options, rows))?;
        *self = module;
        Ok(report)
    }

    /// `module.named_parameters()`: every parameter, trainable or frozen, with PyTorch's name and shape and in PyTorch's
    /// order, and the Burn parameters behind it. No buffers. A parameter that several fields share (tied weights) is there
    /// once, by its first name.
    ///
    /// # Errors
    /// When a parameter does not lie as its layer's row says, two have one name, or one id stands for two parameters: a clone
    /// of a part of the module that is frozen, say, which no optimizer can tell from the part itself.
    fn named_parameters(&self) -> Result<Vec<NamedParameter>> {
        self.named_parameters_with(default_rows())
    }

    /// [`named_parameters`](Self::named_parameters) by other rows.
    ///
    /// # Errors
    /// As [`named_parameters`](Self::named_parameters).
    fn named_parameters_with(&self, rows: &LayerRows) -> Result<Vec<NamedParameter>> {
        guarded("read", || named_parameters(self, rows))
    }
}

impl<M: Module> ModuleStateDict for M {}

fn default_rows() -> &'static LayerRows {
    static DEFAULT: OnceLock<LayerRows> = OnceLock::new();
    DEFAULT.get_or_init(LayerRows::default)
}

/// Runs code of others: a backend, an initialiser, a module's own `visit`, `map` or `Debug` may panic.
fn guarded<T>(what: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let reason = panic.downcast_ref::<String>().map(String::as_str);
        let reason = reason.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it gave no reason");
        Err(Error::invalid(format!("the module could not be {what}, its code panicked: {reason}")))
    })
}

fn state_dict(module: &impl Module, rows: &LayerRows) -> Result<StateDict> {
    let mut leaves = Leaves::collect(module, rows)?;
    if leaves.all.iter().any(|leaf| leaf.running) {
        // Burn keeps the last update of a running state aside until the next one, or until `valid()` wants it.
        drop(module.valid());
        leaves = Leaves::collect(module, rows)?;
    }
    let tree = Tree::build(rows, &leaves)?;
    let mut state_dict = StateDict::new();
    // Two fields that share a parameter are two names of one storage.
    let mut shared: HashMap<Vec<(ParamId, Transform)>, Tensor> = HashMap::new();
    for line in tree.lines {
        match line {
            Line::Slot(slot) => {
                let pieces = slot.tensor.pieces.iter().map(|piece| (piece.id, piece.transform)).collect();
                let mut tensor = slot.read(&leaves)?;
                // One id is no proof: each of the two may have been given elements of its own.
                match shared.get(&pieces) {
                    Some(known) if is_equal(known, &tensor)? => tensor = known.alias(),
                    _ => drop(shared.insert(pieces, tensor.clone())),
                }
                state_dict.insert(slot.tensor.name, tensor);
            }
            Line::Constant(name, value) => {
                state_dict.insert(name, value);
            }
        }
    }
    for (alias, name) in rows.ties() {
        if let (false, Some(tensor)) = (state_dict.contains(alias), state_dict.get(name)) {
            let tensor = tensor.alias();
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

fn named_parameters(module: &impl Module, rows: &LayerRows) -> Result<Vec<NamedParameter>> {
    let leaves = Leaves::collect(module, rows)?;
    let mut named: Vec<NamedParameter> = Vec::new();
    // The Burn parameters of each, with their first occurrence; and of each Burn parameter the index in `named`.
    let (mut listed, mut ids) = (HashSet::new(), HashMap::new());
    for line in Tree::build(rows, &leaves)?.lines {
        let Line::Slot(Slot { tensor, role: Role::Parameter, leaves: indices, .. }) = line else { continue };
        let firsts = indices.iter().map(|&leaf| leaves.all[leaf].first);
        let pieces: Vec<(ParamId, usize)> = tensor.pieces.iter().map(|piece| piece.id).zip(firsts).collect();
        if listed.contains(&pieces) {
            continue;
        }
        let known = pieces.iter().find_map(|(id, _)| ids.insert(*id, named.len()));
        if let Some(known) = known {
            let with = named.get(known).map_or(&tensor.name, |known| &known.name);
            return Err(Error::invalid(format!(
                "'{}' and '{with}' have Burn parameters of one id, and are not one parameter; initialise one of them by \
                 itself: a clone of a Burn module has the same ids",
                tensor.name
            )));
        }
        listed.insert(pieces);
        named.push(tensor);
    }
    Ok(named)
}

fn is_equal(one: &Tensor, other: &Tensor) -> Result<bool> {
    Ok(one.dtype() == other.dtype() && one.shape() == other.shape() && one.to_le_bytes()? == other.to_le_bytes()?)
}

//! `AveragedModel`: an average of a model's weights, and its state dict in the layouts of those who keep one.

use std::collections::HashSet;
use std::sync::Arc;

use burn::module::Module;
use rekindle_burn::{LayerRows, ModuleStateDict as _};
use rekindle_recorder::{Dict, Error, LoadOptions, LoadReport, Result, StateDict, Tensor, Value};

use super::blend::Averaging;
use super::decay::Decay;
use super::forms;
use super::update_bn::update_bn_with_rows;
use crate::attributes::{Attributes, invalid, wrong_type};

/// Whose files an average is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AveragedLayout {
    /// PyTorch's `AveragedModel`: `n_averaged`, then the model's keys after `module.`.
    #[default]
    PyTorch,
    /// mmengine's averaged models: the model's keys after `module.`, and a count `steps`. In a checkpoint of mmengine's
    /// `EMAHook` the average and the model's own weights have changed places: see [`AveragedModel::from_mmengine`].
    MmEngine,
    /// The model's own keys, as timm's `state_dict_ema` has them. It has no count, and takes the first value in as every
    /// other; counts of batches are not averaged but copied.
    Plain,
    /// `torch_ema`'s and diffusers': a list of the parameters, `shadow_params`, with the decay and a count beside it. See
    /// [`AveragedModel::from_list`].
    List,
    /// `ema_pytorch`'s: the model's keys after `ema_model.`, and again after `online_model.` where the weights are kept beside,
    /// a count `step`, and `initted`.
    EmaPytorch,
    /// `LitEma`'s of latent diffusion: the names of the parameters that are trained without their dots, with `decay` and `num_updates`.
    LitEma,
}

/// What becomes of an average's entries that are no parameters, such as the running statistics of batch norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Buffers {
    /// They are averaged like parameters.
    Averaged,
    /// They are copied from the model.
    Copied,
    /// They stay as they were when the average began.
    Kept,
}

const COUNTS: [(AveragedLayout, &str); 2] =
    [(AveragedLayout::PyTorch, "n_averaged"), (AveragedLayout::MmEngine, "steps")];
const PREFIX: &str = "module.";

/// An average of a model's weights: `torch.optim.swa_utils.AveragedModel`.
///
/// It lies in host memory, under PyTorch's names and in PyTorch's shapes, whatever device the model is on. Each update reads
/// the whole model; [`load_into`](Self::load_into) puts the average into a model.
#[derive(Clone, Debug)]
pub struct AveragedModel {
    module: StateDict,
    n_averaged: i64,
    averaging: Averaging,
    buffers: Buffers,
    /// Those that hold whole numbers, the counts of batches.
    counts: Buffers,
    layout: AveragedLayout,
    /// How the model's layers lie.
    rows: Arc<LayerRows>,
    /// What a wrapper has put before the model's names.
    prefix: String,
    /// What it was read from, where that holds more than the average.
    kept: Option<Value>,
    /// The weights that it took in last, where they are kept beside it.
    online: Option<StateDict>,
    /// What `LitEma` has before the model's names.
    spelled: Option<String>,
    /// What is before its own names in the model that it is inside of.
    inside: Option<String>,
    /// Whether it may lack what is not trained.
    partial: bool,
}

impl AveragedModel {
    /// `AveragedModel(model, multi_avg_fn=...)`: a copy of the model, which is not counted as one of the values.
    ///
    /// # Errors
    /// When a decay is out of range, or the model cannot be read from its device.
    pub fn new<M: Module>(model: &M, averaging: Averaging) -> Result<Self> {
        AveragedModel::new_with_rows(model, averaging, LayerRows::default())
    }

    /// [`new`](Self::new) for a model with layers of one's own, which lie as these rows say.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn new_with_rows<M: Module>(model: &M, averaging: Averaging, rows: impl Into<Arc<LayerRows>>) -> Result<Self> {
        averaging.check()?;
        let (rows, layout) = (rows.into(), AveragedLayout::PyTorch);
        let module = model.state_dict_with(&rows)?;
        Ok(AveragedModel::made(module, 0, averaging, layout, rows))
    }

    fn made(
        module: StateDict,
        n_averaged: i64,
        averaging: Averaging,
        layout: AveragedLayout,
        rows: Arc<LayerRows>,
    ) -> Self {
        let (prefix, kept, online, spelled, inside, partial) = (String::new(), None, None, None, None, false);
        // As each package has it by default.
        let (buffers, counts) = match (layout, &averaging) {
            (AveragedLayout::PyTorch | AveragedLayout::MmEngine | AveragedLayout::List | AveragedLayout::LitEma, _) => {
                (Buffers::Copied, Buffers::Copied)
            }
            (AveragedLayout::Plain, Averaging::Decaying(Decay::Timm { .. })) => (Buffers::Averaged, Buffers::Copied),
            (AveragedLayout::EmaPytorch, _) | (_, Averaging::Decaying(_)) => (Buffers::Averaged, Buffers::Kept),
            (AveragedLayout::Plain, _) => (Buffers::Averaged, Buffers::Copied),
        };
        AveragedModel {
            module,
            n_averaged,
            averaging,
            buffers,
            counts,
            layout,
            rows,
            prefix,
            kept,
            online,
            spelled,
            inside,
            partial,
        }
    }

    /// Says what a wrapper has put before the model's names in the average, such as `module.`, as far as it has done so.
    pub(crate) fn wrapped_in(self, prefix: &str) -> Self {
        let wrapped = self.module.keys().all(|name| name.starts_with(prefix));
        AveragedModel { prefix: if wrapped { prefix.to_owned() } else { String::new() }, ..self }
    }

    /// Says that it is inside the model, and what is before its names there.
    pub(crate) fn within(self, inside: Option<String>) -> Self {
        AveragedModel { inside, ..self }
    }

    /// Says that one under the model's own names may lack what is not trained: buffers, and frozen parameters.
    pub(crate) fn partly(self) -> Self {
        AveragedModel { partial: self.layout == AveragedLayout::Plain, ..self }
    }

    /// Whether it may lack some of what the model has: a list has parameters alone, others those alone that are trained.
    fn may_lack_some(&self) -> bool {
        self.partial || matches!(self.layout, AveragedLayout::List | AveragedLayout::LitEma)
    }

    /// Whether it has a parameter of the model.
    pub(crate) fn covers(&self, name: &str) -> bool {
        self.layout == AveragedLayout::List || self.module.contains(&format!("{}{name}", self.prefix))
    }

    /// What is before its names in the model that it is inside of, if it is.
    pub(crate) fn inside(&self) -> Option<&str> {
        self.inside.as_deref()
    }

    /// With another number of values that were taken in.
    pub(crate) fn counted(self, n_averaged: i64) -> Self {
        AveragedModel { n_averaged, ..self }
    }

    /// Sets how the layers of the models lie that the average meets, where some are the user's own. Default: as the rows of
    /// burn-nn's layers say.
    #[must_use]
    pub fn rows(self, rows: impl Into<Arc<LayerRows>>) -> Self {
        AveragedModel { rows: rows.into(), ..self }
    }

    /// Whether buffers (the running statistics of batch norms) are averaged like parameters, `use_buffers=True`, or copied
    /// from the model. Default: copied.
    #[must_use]
    pub fn use_buffers(self, use_buffers: bool) -> Self {
        let buffers = if use_buffers { Buffers::Averaged } else { Buffers::Copied };
        // Counts of a plain one are copied.
        let counts = if self.layout == AveragedLayout::Plain { Buffers::Copied } else { buffers };
        AveragedModel { buffers, counts, ..self }
    }

    /// Goes on with buffers as it did until now, which no file says: it has copied them where they are the model's, and left them as
    /// they were where running statistics are still those of a new batch norm. `up_to_date` says that it took in the model's last
    /// weights; where it did not, buffers that are not the model's tell nothing.
    pub(crate) fn with_buffers_told<M: Module>(mut self, model: &M, up_to_date: bool) -> Result<Self> {
        let current = model.state_dict_with(&self.rows)?;
        let parameters: HashSet<String> =
            model.named_parameters_with(&self.rows)?.into_iter().map(|named| named.name).collect();
        let named = |full: &str| full.strip_prefix(self.prefix.as_str()).unwrap_or(full).to_owned();
        let pairs = self.module.iter().filter_map(|(full, average)| {
            let name = named(full);
            let value = current.get(&name).filter(|_| !parameters.contains(&name))?;
            Some((average.dtype().is_floating_point(), average.to_f64_vec(), value.to_f64_vec(), name))
        });
        let (mut floats, mut equal, mut new, mut same_counts) = (false, true, true, true);
        for (is_float, average, value, name) in pairs {
            let (average, value) = (average?, value?);
            let same =
                average.len() == value.len() && average.iter().zip(&value).all(|(a, b)| a.to_bits() == b.to_bits());
            if !is_float {
                same_counts &= same;
                continue;
            }
            (floats, equal) = (true, equal && same);
            let first = if name.ends_with("running_var") { 1.0 } else { 0.0 };
            new &= average.iter().all(|&element| element.to_bits() == f64::to_bits(first));
        }
        if !floats || self.layout == AveragedLayout::EmaPytorch || self.n_averaged == 0 {
            return Ok(self);
        }
        (self.buffers, self.counts) = match (equal, new) {
            (true, _) => (Buffers::Copied, Buffers::Copied),
            (false, true) => (Buffers::Kept, Buffers::Kept),
            (false, false) if !up_to_date => return Ok(self),
            (false, false) if same_counts => (Buffers::Averaged, Buffers::Copied),
            (false, false) if matches!(self.averaging, Averaging::Decaying(_)) => (Buffers::Averaged, Buffers::Kept),
            (false, false) => (Buffers::Averaged, Buffers::Averaged),
        };
        Ok(self)
    }

    /// In another layout.
    #[must_use]
    pub fn with_layout(self, layout: AveragedLayout) -> Self {
        // A plain one's counts are copied where its other buffers are averaged.
        let plain = layout == AveragedLayout::Plain && self.counts == Buffers::Averaged;
        AveragedModel { layout, counts: if plain { Buffers::Copied } else { self.counts }, ..self }
    }

    /// The average that wrote a state dict, PyTorch's, mmengine's, timm's or `ema_pytorch`'s, told by its keys. How it goes on
    /// averaging, these files do not say.
    ///
    /// # Errors
    /// When it is no state dict of an average, or a decay is out of range.
    pub fn from_state_dict(state_dict: &Value, averaging: Averaging) -> Result<Self> {
        averaging.check()?;
        let rows = Arc::new(LayerRows::default());
        if forms::is_list(state_dict) {
            return Err(invalid(
                "the average is a list of tensors, which a model has the names of: see `AveragedModel::from_list`",
            ));
        }
        let saved = StateDict::from_value(state_dict)?;
        if forms::is_ema_pytorch(&saved) {
            let (module, count) = forms::read_ema_pytorch(&saved)?;
            let made = AveragedModel::made(module, count, averaging, AveragedLayout::EmaPytorch, rows);
            return Ok(AveragedModel { kept: Some(state_dict.clone()), ..made });
        }
        let count = COUNTS.iter().find(|(_, count)| {
            saved.contains(count) && saved.keys().all(|key| key == *count || key.starts_with(PREFIX))
        });
        let Some(&(layout, count)) = count else {
            let (module, layout) = (saved, AveragedLayout::Plain);
            return Ok(AveragedModel::made(module, 1, averaging, layout, rows));
        };
        let value = saved.get_value(count).cloned().unwrap_or(Value::None);
        let number = match &value {
            Value::Tensor(tensor) => tensor.to_vec::<i64>().ok().and_then(|all| all.first().copied()),
            other => other.as_i64(),
        };
        let n_averaged = number.ok_or_else(|| wrong_type(count, "an integer", &value))?;
        let mut module = StateDict::new();
        for (key, value) in saved.values() {
            if let Some(name) = key.strip_prefix(PREFIX) {
                module.insert_value(name, value.clone());
            }
        }
        if let Some(metadata) = saved.metadata().and_then(Value::as_dict) {
            let own = Dict::ordered();
            for (path, versions) in metadata.entries() {
                match path.as_str() {
                    Some("module") => drop(own.insert("", versions)),
                    Some(path) => {
                        if let Some(path) = path.strip_prefix(PREFIX) {
                            own.insert(path, versions);
                        }
                    }
                    None => {}
                }
            }
            module.set_metadata(own);
        }
        Ok(AveragedModel::made(module, n_averaged, averaging, layout, rows))
    }

    /// The average that `torch_ema`'s `ExponentialMovingAverage` or diffusers' `EMAModel` wrote: a list of the parameters of a
    /// model, in its order. How it goes on they do say: [`Decay::told`](super::Decay::told).
    ///
    /// # Errors
    /// When it is none, or has another number of tensors than the model has parameters.
    pub fn from_list<M: Module>(
        state_dict: &Value,
        model: &M,
        averaging: Averaging,
        rows: impl Into<Arc<LayerRows>>,
    ) -> Result<Self> {
        averaging.check()?;
        let rows = rows.into();
        let (module, count) = forms::read_list(state_dict, model, &rows)?;
        let made = AveragedModel::made(module, count, averaging, AveragedLayout::List, rows);
        Ok(AveragedModel { kept: Some(state_dict.clone()), ..made })
    }

    /// The average that latent diffusion's `LitEma` wrote of a model, whose names there begin so. How it goes on it does say.
    ///
    /// # Errors
    /// When it is none, or lacks a parameter that is trained.
    pub(crate) fn from_lit<M: Module>(
        state_dict: &StateDict,
        model: &M,
        before: &str,
        averaging: Averaging,
        rows: Arc<LayerRows>,
    ) -> Result<Self> {
        averaging.check()?;
        let (module, count) = forms::read_lit(state_dict, model, before, &rows)?;
        let made = AveragedModel::made(module, count, averaging, AveragedLayout::LitEma, rows);
        let spelled = Some(before.to_owned());
        Ok(AveragedModel { kept: Some(state_dict.to_value()), spelled, ..made })
    }

    /// The average and the model's own weights of a checkpoint that mmengine's `EMAHook` wrote, from its `state_dict` and
    /// `ema_state_dict`: there the average lies in the first, ready for use, and what was trained in the second.
    ///
    /// # Errors
    /// As [`from_state_dict`](Self::from_state_dict), and when a key of one is not in the other.
    pub fn from_mmengine(state_dict: &StateDict, ema: &Value, averaging: Averaging) -> Result<(Self, StateDict)> {
        let mut average = AveragedModel::from_state_dict(ema, averaging)?;
        if average.layout != AveragedLayout::MmEngine {
            return Err(invalid("the ema_state_dict is not mmengine's: it has no 'steps'"));
        }
        let model = average.exchanged(state_dict)?;
        Ok((average, model))
    }

    /// The `state_dict` and `ema_state_dict` that mmengine's `EMAHook` writes, of this average and the model's own weights.
    ///
    /// # Errors
    /// When a key of one is not in the other.
    pub fn to_mmengine(&self, model: &StateDict) -> Result<(StateDict, Value)> {
        let mut swapped = self.clone().with_layout(AveragedLayout::MmEngine);
        let averaged = swapped.exchanged(model)?;
        Ok((averaged, swapped.state_dict()))
    }

    /// Exchanges the tensors of the average with those of a state dict, which is given back.
    fn exchanged(&mut self, other: &StateDict) -> Result<StateDict> {
        let mut exchanged = other.clone();
        let mut module = self.module.clone();
        for (name, value) in self.module.values() {
            let Some(own) = exchanged.get_value(name).cloned() else {
                let advice = "the average and the model are not of one network";
                return Err(Error::missing_key(name.to_owned()).advise(advice));
            };
            exchanged.insert_value(name, value.clone());
            module.insert_value(name, own);
        }
        self.module = module;
        Ok(exchanged)
    }

    /// Takes the model's weights in: `update_parameters(model)`. The first time they are copied.
    ///
    /// # Errors
    /// When the model has other names or shapes than the average, or its weights cannot be read. Then nothing has changed.
    pub fn update_parameters<M: Module>(&mut self, model: &M) -> Result<()> {
        let current = model.state_dict_with(&self.rows)?;
        let parameters = model.named_parameters_with(&self.rows)?;
        let trained: HashSet<String> =
            parameters.iter().filter(|named| named.requires_grad).map(|named| named.name.clone()).collect();
        let parameters: HashSet<String> = parameters.into_iter().map(|named| named.name).collect();
        let lit = self.layout == AveragedLayout::LitEma;
        let has = |name: &&str| self.module.contains(&format!("{}{name}", self.prefix));
        if let Some(name) = current.keys().find(|name| !has(name)).filter(|_| !self.may_lack_some()) {
            return Err(invalid(format!("the average has no '{name}', which the model has")));
        }
        // A parameter with several names is listed by the first, and averaged under all.
        let tied = current.tied().into_iter().filter(|names| names.iter().any(|name| parameters.contains(*name)));
        let tied: HashSet<&str> = tied.flatten().collect();
        let mut next = self.module.clone();
        let due = self.averaging.is_due(self.n_averaged);
        for (full, average) in self.module.iter() {
            let name = full.strip_prefix(self.prefix.as_str()).unwrap_or(full);
            let is_parameter = parameters.contains(name) || tied.contains(name);
            if lit && !trained.contains(name) {
                continue;
            }
            // mmengine copies buffers at all steps, whether the rest is averaged or not.
            if !due && (self.layout != AveragedLayout::MmEngine || is_parameter || self.buffers != Buffers::Copied) {
                continue;
            }
            let Some(value) = current.get(name) else {
                // A count of batches, which burn-nn's batch norm does not keep.
                if name.ends_with("num_batches_tracked") {
                    continue;
                }
                return Err(invalid(format!("the average has '{name}', which the model has not")));
            };
            if average.shape() != value.shape() {
                let (found, expected) = (value.shape(), average.shape());
                return Err(invalid(format!(
                    "'{name}' has the shape {found:?} in the model and {expected:?} in the average"
                )));
            }
            let taken = match self.taking(average, is_parameter) {
                Buffers::Kept => continue,
                Buffers::Copied => value.clone(),
                Buffers::Averaged => self.averaging.blend(name, average, value, self.n_averaged)?,
            };
            next.insert(full, taken);
        }
        self.online = self.kept.is_some().then_some(current);
        self.module = next;
        self.n_averaged = self.n_averaged.saturating_add(1);
        Ok(())
    }

    /// What becomes of one of its entries at an update.
    fn taking(&self, average: &Tensor, is_parameter: bool) -> Buffers {
        let first = self.n_averaged == 0 && matches!(self.layout, AveragedLayout::PyTorch | AveragedLayout::MmEngine);
        let buffers = if average.dtype().is_floating_point() { self.buffers } else { self.counts };
        match (first, is_parameter) {
            (true, _) => Buffers::Copied,
            (false, true) => Buffers::Averaged,
            (false, false) => buffers,
        }
    }

    /// Whose files it is saved as.
    #[must_use]
    pub fn layout(&self) -> AveragedLayout {
        self.layout
    }

    /// How many values were taken in.
    #[must_use]
    pub fn n_averaged(&self) -> i64 {
        self.n_averaged
    }

    /// The average, under the model's own names: `averaged_model.module.state_dict()`.
    #[must_use]
    pub fn module(&self) -> &StateDict {
        &self.module
    }

    /// All that moves in it, in its own names, for the checkpoints of a run.
    pub(crate) fn whole(&self) -> Value {
        let dict = Dict::new();
        dict.insert("module", self.module.to_value());
        dict.insert("n_averaged", self.n_averaged);
        dict.insert("online", self.online.as_ref().map(StateDict::to_value));
        dict.into()
    }

    /// Goes to where the average was that this is all of.
    ///
    /// # Errors
    /// When it has other names or shapes. Nothing has changed then.
    pub(crate) fn load_whole(&mut self, whole: &Value) -> Result<()> {
        let all = Attributes::from_value("average.", whole)?;
        let read = |name: &str| all.get(name).filter(|value| !matches!(value, Value::None)).map(StateDict::from_value);
        let module = read("module").ok_or_else(|| Error::missing_key("average.module"))??;
        let same = |(a, b): ((&str, &Tensor), (&str, &Tensor))| a.0 == b.0 && a.1.shape() == b.1.shape();
        if module.len() != self.module.len() || !module.iter().zip(self.module.iter()).all(same) {
            return Err(invalid("the average of the run has other names or shapes than the one here"));
        }
        let online = read("online").transpose()?;
        (self.n_averaged, self.module, self.online) = (all.int("n_averaged")?, module, online);
        Ok(())
    }

    /// Puts the average into a model.
    ///
    /// # Errors
    /// When the model has other names or shapes; then it is as it was.
    pub fn load_into<M: Module>(&self, model: &mut M) -> Result<LoadReport> {
        let options = if self.may_lack_some() { LoadOptions::lenient() } else { LoadOptions::strict() };
        let options = if self.prefix.is_empty() { options } else { options.strip_prefix(self.prefix.as_str()) };
        model.load_state_dict_with_rows(&self.module, &options, &self.rows)
    }

    /// `update_bn(loader, averaged_model)`: gives the average the running statistics that its batch norms have over these
    /// batches, see [`update_bn`](super::update_bn). `model` is any model of the same network; it stays as it is.
    ///
    /// # Errors
    /// As [`update_bn`](super::update_bn).
    pub fn update_bn<M: Module, B>(
        &mut self,
        model: &M,
        batches: impl IntoIterator<Item = B>,
        forward: impl FnMut(&M, &B),
    ) -> Result<()> {
        let mut averaged = model.clone();
        self.load_into(&mut averaged)?;
        let state = update_bn_with_rows(averaged, &self.rows, batches, forward)?.state_dict_with(&self.rows)?;
        let buffers =
            |name: &str| ["running_mean", "running_var", "num_batches_tracked"].iter().any(|b| name.ends_with(b));
        for (name, tensor) in state.iter().filter(|(name, _)| buffers(name)) {
            self.module.insert(name, tensor.clone());
        }
        Ok(())
    }

    /// `averaged_model.state_dict()`, in its layout.
    #[must_use]
    pub fn state_dict(&self) -> Value {
        if let Some(kept) = &self.kept {
            let decay = if let Averaging::Decaying(decay) = &self.averaging { Some(decay.largest()) } else { None };
            return match self.layout {
                AveragedLayout::List => forms::write_list(kept, &self.module, self.n_averaged, decay),
                AveragedLayout::LitEma => {
                    let before = self.spelled.as_deref().unwrap_or_default();
                    forms::write_lit(kept, &self.module, before, self.n_averaged, decay)
                }
                _ => forms::write_ema_pytorch(kept, &self.module, self.n_averaged, self.online.as_ref()),
            };
        }
        let Some((_, count)) = COUNTS.iter().find(|(layout, _)| *layout == self.layout) else {
            return self.module.to_value();
        };
        let mut saved = StateDict::new();
        saved.insert(*count, Tensor::scalar(self.n_averaged));
        for (name, value) in self.module.values() {
            saved.insert_value(format!("{PREFIX}{name}"), value.clone());
        }
        if let Some(metadata) = self.module.metadata().and_then(Value::as_dict) {
            let all = Dict::ordered();
            all.insert("", Dict::from_iter([("version", 1)]));
            for (path, versions) in metadata.entries() {
                match path.as_str() {
                    Some("") => drop(all.insert("module", versions)),
                    Some(path) => drop(all.insert(format!("{PREFIX}{path}"), versions)),
                    None => {}
                }
            }
            saved.set_metadata(all);
        }
        saved.to_value()
    }
}

//! All of a run: what no checkpoint of PyTorch's has a place for is kept beside the layout's parts, under the key `rekindle`, so
//! that a run that goes on from there does so to the bit, wherever it was cut. Tensors that the layout has as they are lie there
//! once: here and there they are the same storage.

use std::collections::HashSet;

use burn::module::Module;
use burn::tensor::{DType as BurnDType, Tensor as BurnTensor};
use rekindle_burn::{ModuleStateDict as _, data_to_tensor, tensor_to_data};
use rekindle_random::Generator;
use rekindle_recorder::run::{BESIDE, RunState, with_beside, without_beside};
use rekindle_recorder::{Checkpoint, Dict, Error, LoadOptions, Result, ResultExt as _, StateDict, Tensor, Value};

use super::average::Average;
use super::parts::Run;
use super::several::{AnyRun, gathered};
use super::share::{Items, Passed};
use crate::amp::GradScaler;
use crate::attributes::{Attributes, invalid, wrong_type};
use crate::data::Loader;
use crate::gradients::Pending;
use crate::lr_scheduler::LRScheduler;

/// Of what form it is.
const VERSION: i64 = 1;

/// What of a run is large, read from its device once.
pub(super) struct Now {
    pub(super) model: StateDict,
    pub(super) optimizers: Vec<Value>,
}

impl<M: Module> Run<M> {
    pub(super) fn now(&self) -> Result<Now> {
        let model = self.model();
        let optimizers = self.optimizers().map(|optimizer| optimizer.state_dict(model)).collect::<Result<_>>()?;
        Ok(Now { model: model.state_dict_with(&self.rows)?, optimizers })
    }

    /// The run as a [`checkpoint`](Self::checkpoint) of PyTorch's with all that it needs to go on to the bit beside it, wherever it
    /// is: the place in the epoch, gradients that wait for their step, and what else a layout has no place for. PyTorch's programs
    /// pass over it; [`Run::resume`] takes it up.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn whole_checkpoint(&self) -> Result<Checkpoint> {
        whole_checkpoint_of(&[self])
    }

    /// Goes to where a run of the same model, optimizers, schedulers and loader was when it was saved as a
    /// [`whole_checkpoint`](Self::whole_checkpoint), whatever this one has done: weights, optimizers, schedulers, scaler, average,
    /// generator, loader, steps and epochs, and the user's values are that one's.
    ///
    /// # Errors
    /// When it is none, or the run that it is of has other parts. This run may then be restored in part.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        restore_parts(&mut [self], checkpoint)
    }

    /// What is kept beside the layout's parts.
    pub(super) fn own(&self, now: &Now) -> Result<Value> {
        let own = Dict::new();
        own.insert("step", self.step);
        own.insert("epoch", self.epoch);
        own.insert("ended", self.ended);
        own.insert("model", now.model.to_value());
        own.insert("optimizers", now.optimizers.clone());
        own.insert("schedulers", self.schedulers().map(LRScheduler::whole).collect::<Vec<_>>());
        own.insert("scaler", self.scaler.as_ref().map(GradScaler::state_dict));
        if let Average::Updated(average, _) = &self.average {
            own.insert("average", average.whole());
        }
        let (loader, generator) = self.placed()?;
        own.insert("generator", tensor_of(&generator)?);
        own.insert("loader", loader);
        own.insert("accumulate", i64::try_from(self.accumulate).unwrap_or(i64::MAX));
        own.insert("passed", i64::try_from(self.passed.batches).unwrap_or(i64::MAX));
        let read = |tensor: &BurnTensor<1>| {
            let data = tensor.clone().try_into_data();
            data_to_tensor(data.map_err(|error| invalid(format!("the loss cannot be read: {error:?}")))?)
        };
        own.insert("passed_lost", i64::try_from(self.passed.lost).unwrap_or(i64::MAX));
        own.insert("passed_loss", self.passed.sum.as_ref().map(read).transpose()?.map(Value::from));
        let items = self.passed.items.map(|items| Value::from(vec![items.divided_by, items.count]));
        own.insert("passed_items", items);
        own.insert("loss", self.loss.as_ref().map(read).transpose()?.map(Value::from));
        own.insert("gradients", self.grads.listed(self.model())?);
        own.insert("values", self.notes.values());
        own.insert("means", self.notes.means());
        own.insert("told", self.notes.told());
        own.insert("began", self.began);
        Ok(own.into())
    }

    /// Goes to where the run was that this is all of.
    pub(super) fn restore_own(&mut self, own: &Value) -> Result<()> {
        let all = Attributes::from_value("the run.", own)?;
        let there = |name: &str| all.get(name).filter(|value| !matches!(value, Value::None));
        let items = |name: &str| {
            let value = all.get(name).cloned().unwrap_or(Value::None);
            value.items().ok_or_else(|| wrong_type(&format!("the run.{name}"), "a list", &value))
        };
        let began = there("began").and_then(Value::as_i64);
        if self.origin.is_some() && began != self.began {
            return Err(invalid(
                "the run here began from another checkpoint than the one that is resumed; name another folder for it, or take the \
                 checkpoints away",
            ));
        }

        let weights = there("model").ok_or_else(|| Error::missing_key("the run.model"))?;
        let mut model = self.model().clone();
        load_exactly(&mut model, &StateDict::from_value(weights)?, &self.rows)?;
        let optimizers = items("optimizers")?;
        if optimizers.len() != self.optimizers().count() {
            return Err(invalid(format!(
                "the run had {} optimizers, and here it has {}",
                optimizers.len(),
                self.optimizers().count()
            )));
        }
        let schedulers = items("schedulers")?;
        let mut schedulers = schedulers.iter();
        for ((optimizer, own), saved) in self.trainers().zip(&optimizers) {
            optimizer.load(&model, saved, true)?;
            own.load_whole(&mut schedulers)?;
        }
        if schedulers.next().is_some() {
            return Err(invalid("the run had more schedulers than it has here"));
        }
        self.model = Some(model);
        match (&mut self.scaler, there("scaler")) {
            (Some(scaler), Some(saved)) => scaler.load_state_dict(saved)?,
            (None, None) => {}
            (here, _) => return Err(differs("a scaler of gradients", "with_scaler", here.is_some())),
        }
        match (&mut self.average, there("average")) {
            (Average::Updated(average, _), Some(saved)) => average.load_whole(saved)?,
            (Average::Updated(..), None) => return Err(differs("an average of the weights", "with_average", true)),
            (_, Some(_)) => return Err(differs("an average of the weights", "with_average", false)),
            (_, None) => {}
        }
        match (&mut self.loader, there("loader")) {
            (Some(loader), Some(saved)) => loader.load_state_dict(saved)?,
            // One without epochs has no place but the generator's.
            (None | Some(Loader::Blocks(_)), None) => {}
            (here, _) => return Err(differs("a loader", "with_loader", here.is_some())),
        }
        let generator = there("generator").ok_or_else(|| Error::missing_key("the run.generator"))?;
        *self.generator() = generator_of(generator)?;
        (self.step, self.epoch) = (there("step").and_then(Value::as_i64), all.int("epoch")?);
        self.restore_place(&all)
    }

    /// Takes over what no layout has a place for, of a checkpoint that is resumed by its layout. Its loader comes later.
    pub(super) fn resume_own(&mut self, own: &Value, lossy: bool) -> Result<()> {
        let all = Attributes::from_value("the run.", own)?;
        let there = |name: &str| all.get(name).filter(|value| !matches!(value, Value::None));
        // What the layout has in other types.
        if let (true, Some(weights)) = (lossy, there("model")) {
            let mut model = self.model().clone();
            load_exactly(&mut model, &StateDict::from_value(weights)?, &self.rows)?;
            let saved = there("optimizers").and_then(Value::items).unwrap_or_default();
            let replaced = self.new_optimizer || saved.len() != self.optimizers().count();
            for ((optimizer, _), saved) in self.trainers().zip(&saved).filter(|_| !replaced) {
                // The groups may have been changed.
                let now = optimizer.state_dict(&model)?;
                let states = saved.as_dict().and_then(|saved| saved.get("state"));
                if let (Some(now), Some(states)) = (now.as_dict(), states) {
                    now.insert("state", states);
                }
                optimizer.load(&model, &now, true)?;
            }
            self.model = Some(model);
        }
        if let (Average::Updated(average, _), Some(saved)) = (&mut self.average, there("average")) {
            average.load_whole(saved)?;
        }
        if let Some(generator) = there("generator") {
            *self.generator() = generator_of(generator)?;
        }
        (self.step, self.epoch) = (there("step").and_then(Value::as_i64), all.int("epoch")?);
        self.place.kept = there("loader").cloned();
        self.began = there("began").and_then(Value::as_i64);
        self.restore_place(&all)
    }

    /// Where it is between two steps, and the user's own.
    fn restore_place(&mut self, all: &Attributes) -> Result<()> {
        let there = |name: &str| all.get(name).filter(|value| !matches!(value, Value::None));
        self.ended = all.is_set("ended")?;
        let (passed, accumulate) = (all.int("passed")?, all.int("accumulate")?);
        if passed > 0 && u64::try_from(accumulate).ok() != Some(self.accumulate) {
            return Err(invalid(format!(
                "{passed} of the {accumulate} batches of a step wait for the others, and here a step takes {} (`Run::accumulate`)",
                self.accumulate
            )));
        }
        let device = self.model().devices().into_iter().next().unwrap_or_default();
        let tensor = |name: &str| {
            let read = |value: &Value| {
                let data = tensor_to_data(value.as_tensor().ok_or_else(|| wrong_type(name, "a tensor", value))?)?;
                let dtype: BurnDType = data.dtype();
                Ok::<_, Error>(BurnTensor::<1>::from_data(data, (&device.clone().inner(), dtype)))
            };
            there(name).map(read).transpose()
        };
        let items = there("passed_items").and_then(Value::items).unwrap_or_default();
        let items: Vec<f64> = items.iter().filter_map(Value::as_f64).collect();
        self.passed = Passed {
            batches: u64::try_from(passed).unwrap_or(0),
            // Before it was kept there were none.
            lost: there("passed_lost").and_then(Value::as_i64).and_then(|lost| u64::try_from(lost).ok()).unwrap_or(0),
            sum: tensor("passed_loss")?,
            items: if let [divided_by, count] = items[..] { Some(Items { divided_by, count }) } else { None },
        };
        self.loss = tensor("loss")?;
        self.grads = match there("gradients") {
            Some(list) => Pending::of_list(self.model(), list)?,
            None => Pending::default(),
        };
        self.notes.restore(there("values"), there("means"), there("told"));
        self.before = None;
        Ok(())
    }
}

/// Loads weights that must be the module's own, in its types.
fn load_exactly<M: Module>(model: &mut M, weights: &StateDict, rows: &rekindle_burn::LayerRows) -> Result<()> {
    let report = model.load_state_dict_with_rows(weights, &LoadOptions::strict(), rows)?;
    match report.cast.first() {
        None => Ok(()),
        Some(cast) => Err(invalid(format!(
            "the run computed '{}' in {}, and here it is computed in another type",
            cast.key, cast.from
        ))),
    }
}

/// The error of a part that only one of two runs has.
fn differs(part: &str, with: &str, here: bool) -> Error {
    let (one, other) = if here { ("had not", "has") } else { ("had", "has not") };
    invalid(format!(
        "the run {one} {part}, and here it {other} (`Run::{with}`); a run goes on with the parts that it had"
    ))
}

fn tensor_of(generator: &Generator) -> Result<Tensor> {
    Tensor::from_vec(&[rekindle_random::STATE_SIZE], generator.state().to_vec())
}

fn generator_of(value: &Value) -> Result<Generator> {
    let state = value.as_tensor().ok_or_else(|| wrong_type("the run.generator", "a tensor", value))?;
    Generator::from_state(&state.to_vec::<u8>()?).map_err(|error| invalid(format!("the run.generator: {error}")))
}

/// Several runs as one checkpoint ([`checkpoint_of`](super::checkpoint_of)), with all that each needs to go on to the bit beside it; or one run.
///
/// # Errors
/// As [`checkpoint_of`](super::checkpoint_of).
pub fn whole_checkpoint_of(parts: &[&dyn AnyRun]) -> Result<Checkpoint> {
    let (checkpoint, owns) = match parts {
        [one] => {
            let (checkpoint, own) = one.alone()?;
            (checkpoint, vec![own])
        }
        _ => gathered(parts)?,
    };
    let all = Dict::new();
    for (part, own) in parts.iter().zip(owns) {
        if let Some(own) = own.as_dict() {
            own.insert("lossy", !holds(&checkpoint, own)?);
        }
        all.insert(part.part().unwrap_or_default(), own);
    }
    let beside = Dict::new();
    beside.insert("version", VERSION);
    beside.insert("told", parts.first().map_or(Value::None, |first| first.told_metrics()));
    beside.insert("seal", seal(&checkpoint));
    beside.insert("parts", all);
    Ok(with_beside(&checkpoint, BESIDE, beside))
}

/// Takes several runs, or one, to where they were when they were saved as a [`whole_checkpoint_of`] them: [`Run::restore`].
///
/// # Errors
/// As [`Run::restore`].
pub fn restore_parts(parts: &mut [&mut dyn AnyRun], checkpoint: &Checkpoint) -> Result<()> {
    let mut restore = || {
        let (_, beside) = without_beside(checkpoint, BESIDE);
        let beside = beside.ok_or_else(|| {
            invalid("it has nothing of a run beside the parts of PyTorch's; go on from it with `Run::resume`")
        })?;
        let owns = parts_of(&beside)?;
        if owns.len() != parts.len() {
            return Err(invalid(format!("it is of {} runs, and here are {}", owns.len(), parts.len())));
        }
        for part in parts.iter_mut() {
            let name = part.part().unwrap_or_default().to_owned();
            let own = owns.get(&name).ok_or_else(|| Error::missing_key(format!("{BESIDE}.parts.{name}")))?;
            part.restore_from(&own)?;
        }
        Ok(())
    };
    restore().in_file_if(checkpoint.path())
}

/// What is kept beside, by the names of parts.
fn parts_of(beside: &Value) -> Result<Dict> {
    let all = Attributes::from_value("rekindle.", beside)?;
    let version = all.int("version")?;
    if version != VERSION {
        let what = format!("a run that was kept in form {version}, where this program knows form {VERSION},");
        return Err(Error::unsupported(what).advise("go on with the program that kept it"));
    }
    let parts = all.get("parts").and_then(Value::as_dict).cloned();
    parts.ok_or_else(|| Error::missing_key("rekindle.parts"))
}

/// What a checkpoint that is resumed by its layout keeps beside of a part; and whether the layout has it in other types.
pub(super) enum Kept {
    /// Nothing.
    Nothing,
    /// It is of the checkpoint as it is.
    Own(Value, bool),
    /// It is of a checkpoint that somebody has changed since.
    Stale(Option<Value>),
}

impl Kept {
    /// How many batches make a step of the run that it is of.
    pub(super) fn accumulated(&self) -> Option<i64> {
        let (Kept::Own(own, _) | Kept::Stale(Some(own))) = self else { return None };
        own.as_dict()?.get("accumulate")?.as_i64()
    }
}

/// A checkpoint without what is kept beside, and that.
pub(super) fn unpacked(checkpoint: &Checkpoint, part: Option<&str>) -> Result<(Checkpoint, Kept)> {
    let (plain, beside) = without_beside(checkpoint, BESIDE);
    let Some(beside) = beside else { return Ok((plain, Kept::Nothing)) };
    let owns = parts_of(&beside)?;
    let now = seal(&plain);
    let sealed = beside.as_dict().and_then(|beside| beside.get("seal")).and_then(|seal| seal.as_i64());
    let only = owns.entries().into_iter().map(|(_, own)| own).next().filter(|_| owns.len() == 1);
    let own = owns.get(part.unwrap_or_default()).or(only);
    if sealed != now {
        return Ok((plain, Kept::Stale(own)));
    }
    let lossy = own
        .as_ref()
        .and_then(|own| own.as_dict()?.get("lossy"))
        .is_some_and(|lossy| matches!(lossy, Value::Bool(true)));
    Ok((plain, own.map_or(Kept::Nothing, |own| Kept::Own(own, lossy))))
}

/// Whether a checkpoint holds the weights and the optimizers' states of a run as they are, with every bit.
fn holds(checkpoint: &Checkpoint, own: &Dict) -> Result<bool> {
    let there: HashSet<_> = checkpoint.tensors()?.iter().map(|(_, tensor)| tensor.view()).collect();
    let parts = ["model", "optimizers"].into_iter().filter_map(|name| own.get(name));
    for part in parts {
        let tensors = Checkpoint::from(part).tensors()?;
        // Counts are small, and numbers in either form.
        if tensors.iter().any(|(_, tensor)| !tensor.shape().is_empty() && !there.contains(&tensor.view())) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What tells whether a checkpoint's run is where it was: of where it says that it is, and of some elements of each weight. `None`
/// of a checkpoint that is not understood.
pub(super) fn seal(checkpoint: &Checkpoint) -> Option<i64> {
    /// So many elements of a tensor.
    const SOME: usize = 64;
    let state = RunState::read(checkpoint).ok()?;
    let mut hash = Fnv::default();
    hash.put(&state.epoch.unwrap_or(-1).to_le_bytes());
    hash.put(&state.step.unwrap_or(-1).to_le_bytes());
    if let Some(rng) = &state.rng {
        hash.put(&rng.to_le_bytes().ok()?);
    }
    let models = std::iter::once(&state.model).chain(state.other_models.iter().map(|(_, model)| model));
    for (name, tensor) in models.flat_map(StateDict::iter) {
        hash.put(name.as_bytes());
        let bytes = tensor.to_le_bytes().ok()?;
        let size = tensor.dtype().size().max(1);
        let step = (bytes.len() / size).div_ceil(SOME).max(1);
        bytes.chunks_exact(size).step_by(step).for_each(|element| hash.put(element));
    }
    Some(hash.0.cast_signed())
}

/// FNV-1a: few bytes, and none that somebody would forge.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

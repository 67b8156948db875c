//! `RunState`: one shape for the checkpoints of every way to train. A [`Layout`] says where in a checkpoint each part is; reading
//! gathers the parts, writing back puts them where they came from.
//!
//! - `account.rs`: what each value of a checkpoint is taken for.
//! - `averages.rs`: averages of the weights, told by their names and their shape.
//! - `beside.rs`: what a program keeps beside the parts.
//! - `by_name.rs`: optimizers' states by the names of parameters.
//! - `generators.rs`: the generator's state, told by its shape.
//! - `loaders.rs`: the place in the data, told by its shape.
//! - `of_checkpoint.rs`: the run that a checkpoint is of.
//! - `question.rs`: what is open, and the choices that answer it.
//! - `layout/`: the layouts, told by the keys.
//! - `spellings.rs`: the keys under which people save each part.
//! - `several.rs`: the parts of a run of several models.
//! - `shared.rs`: one optimizer of several models.
//! - `settings.rs`: what settings say of the run's steps.
//! - `told.rs`: what a checkpoint says of how its run was made.
//! - `types.rs`: the element types that a checkpoint had.
//! - `part.rs`: a part of a run of several models.
//! - `path.rs`: paths in a checkpoint, and copies with something else there.
//! - `text.rs`: bytes in texts.
//! - `whole.rs`: optimizers that were pickled whole.
//! - `written.rs`: the parts of a run, written where the checkpoint has them.

mod account;
mod averages;
mod beside;
mod by_name;
mod frozen;
mod generators;
mod layout;
mod loaders;
mod of_checkpoint;
mod part;
mod path;
pub(crate) mod question;
mod settings;
mod several;
mod shared;
mod spellings;
mod text;
mod told;
mod types;
mod whole;
mod written;

#[cfg(doc)]
use crate::ErrorKind;
use crate::checkpoint::Checkpoint;
use crate::state_dict::module;
use crate::{Dict, Error, Result, ResultExt as _, StateDict, Tensor, Value};

pub use crate::container::BESIDE;
pub use account::{Accounted, Taken, account, account_of};
pub use beside::{with_beside, without_beside};
pub use frozen::frozen_setting;
pub use layout::Layout;
pub use part::RunPart;
pub use question::{Choice, Question};
pub use told::{Leftover, Told, ToldAverage, ToldBy, ToldDecay, ToldWarmUp};

use layout::{Paths, Progress};
use path::KeyPath;
use spellings::Role;

/// What a training run needs to go on, whatever the layout of its checkpoint.
///
/// ```
/// # use rekindle_recorder::{Dict, StateDict, Tensor, checkpoint::Checkpoint, run::{Layout, RunState}};
/// # let model = StateDict::from_iter([("fc.weight", Tensor::from_vec(&[1], vec![0.5_f32])?)]);
/// let root = Dict::new(); // {"epoch": 4, "model_state_dict": model, "seed": 1}
/// root.insert("epoch", 4);
/// root.insert("model_state_dict", model);
/// root.insert("seed", 1);
/// let checkpoint = Checkpoint::from(root);
///
/// let mut run = RunState::read(&checkpoint)?;
/// assert_eq!((&run.layout, run.epoch), (&Layout::Tutorial, Some(4)));
/// run.epoch = Some(5);
/// let next = run.write_back(&checkpoint)?; // {"epoch": 5, "model_state_dict": model, "seed": 1}
/// assert_eq!((next.get::<i64>("epoch")?, next.get::<i64>("seed")?), (5, 1));
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
///
/// By default it is an empty run, to be filled and made a checkpoint with [`RunState::to_checkpoint`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RunState {
    /// Where the parts are in the checkpoint.
    pub layout: Layout,
    /// Which part of a run of several models it is; `None` for all of them.
    pub part: Option<RunPart>,
    /// The model's state dict; of several models, the first.
    pub model: StateDict,
    /// The key of that model; empty where the whole file is the model.
    pub model_key: String,
    /// The other models by their keys, such as `modelB_state_dict`.
    pub other_models: Vec<(String, StateDict)>,
    /// The optimizers' state dicts, `{'state': ..., 'param_groups': ...}`, in the file's order.
    pub optimizers: Vec<Value>,
    /// The class of each, such as `torch.optim.adam.Adam`, where it was pickled whole.
    pub optimizer_classes: Vec<Option<String>>,
    /// The schedulers' state dicts, in the file's order.
    pub schedulers: Vec<Value>,
    /// The `GradScaler`'s state dict.
    pub scaler: Option<Value>,
    /// The averaged model, as the file keeps it.
    pub ema: Option<Value>,
    /// Where it is in the file.
    pub ema_place: Option<String>,
    /// Where further averages are.
    pub other_averages: Vec<String>,
    /// How often it was updated, where that is kept beside it (`updates`).
    pub updates: Option<i64>,
    /// The state of PyTorch's CPU generator: `torch.get_rng_state()`, `uint8` of 5056.
    pub rng: Option<Tensor>,
    /// Where that state is in the file, whatever form it has there; `None` where it is not there.
    pub rng_place: Option<String>,
    /// The state of the loader's own generator, once it was [taken](RunState::take_loader_generator).
    pub loader_rng: Option<Tensor>,
    /// Where that state is in the file.
    pub loader_rng_place: Option<String>,
    /// The place in the data: the state dict of a loader, torchdata's or one of this project's. It is there where the checkpoint has
    /// one and no more, or once it was [taken](RunState::take_loader).
    pub loader: Option<Value>,
    /// Where it is in the file, and is written; `None` where it gets a key of its own, `dataloader_state_dict`.
    pub loader_place: Option<String>,
    /// All places of the file that hold one.
    pub loader_places: Vec<String>,
    /// How many epochs are finished. Where the layout does not tell what its number means, that number: most programs save the
    /// epoch that they finished.
    pub epoch: Option<i64>,
    /// Where that number is, once it was [taken](RunState::take_epoch) from a place that was said.
    pub epoch_place: Option<String>,
    /// The number of optimizer steps.
    pub step: Option<i64>,
    /// Where that number is, once it was [taken](RunState::take_step) from a place that was said.
    pub step_place: Option<String>,
    /// How many of these steps were made since the last epoch was finished, where the layout tells it.
    pub step_in_epoch: Option<i64>,
    /// How many steps an epoch has, where the layout tells it.
    pub steps_per_epoch: Option<i64>,
    /// How many batches make a step, where the run that is written says it; else they are as many as before.
    pub batches_per_step: Option<i64>,
    /// The norm that gradients are clipped to, where the file tells it: `torch.nn.utils.clip_grad_norm_`. It is not written.
    pub clip_norm: Option<f64>,
    /// The last loss: a number, or a tensor of no dimensions.
    pub loss: Option<Value>,
    /// How the run was made, as far as the checkpoint says it beside the parts.
    pub told: Told,
}

impl RunState {
    /// Gathers the parts of a run from a checkpoint of any layout that is known.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for an unknown layout, with the keys that there are.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let checkpoint = &beside::plain(checkpoint);
        let root = &layout::view(checkpoint.root());
        let found = layout::find(root);
        found.and_then(|(layout, paths)| read(root, layout, &paths)).in_file_if(checkpoint.path())
    }

    /// The parts of a run: each of its models, with its optimizers, schedulers and average. Which are whose is told by what their
    /// keys have in common (`netG`, `optimizerG`, `schedulerG`), by shapes, or by their order; what nothing tells is open.
    ///
    /// # Errors
    /// As [`RunState::read`].
    pub fn parts(checkpoint: &Checkpoint) -> Result<Vec<RunPart>> {
        let checkpoint = &beside::plain(checkpoint);
        let root = &layout::view(checkpoint.root());
        let (_, paths) = layout::find(root).in_file_if(checkpoint.path())?;
        Ok(several::parts(root, &paths))
    }

    /// Gathers one part of a run of several models. [`write_back`](Self::write_back) leaves the others as they are.
    ///
    /// # Errors
    /// As [`RunState::read`], and [`ErrorKind::MissingKey`] when something of the part is not in the checkpoint.
    pub fn read_part(checkpoint: &Checkpoint, part: &RunPart) -> Result<Self> {
        let checkpoint = &beside::plain(checkpoint);
        let narrowed = || {
            let root = &layout::view(checkpoint.root());
            let (layout, mut paths) = layout::find(root)?;
            paths.narrow(root, part)?;
            read(root, layout, &paths)
        };
        let mut read = narrowed().in_file_if(checkpoint.path())?;
        if let Some(share) = &part.share {
            read.optimizers.iter_mut().for_each(|optimizer| *optimizer = shared::share(optimizer, share));
        }
        Ok(RunState { part: Some(part.clone()), ..read })
    }

    /// A copy of the checkpoint that this run was read from, with the parts as they are now: the same keys in the same order
    /// and spelling, each number and each tensor in the type it had, everything else the same objects. State of an optimizer that
    /// is new has the type that it has of other parameters, or else that of the weights. The checkpoint itself stays as it is.
    ///
    /// A tensor of the model that the checkpoint has under several names (tied weights: `lm_head.weight` is
    /// `transformer.wte.weight`) goes back under all of them, and shares its storage again, whichever of the names the run has.
    ///
    /// A part that the checkpoint had no key for gets one at the end. A layout without room for it leaves it out: `bare` and
    /// `whole-module` hold the model alone. A part that is `None` leaves what is there.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for an unknown layout, [`ErrorKind::Invalid`] when the checkpoint holds another number of models,
    /// optimizers or schedulers, or a number does not fit its type.
    pub fn write_back(&self, checkpoint: &Checkpoint) -> Result<Checkpoint> {
        let checkpoint = &beside::plain(checkpoint);
        let written = || -> Result<Value> {
            let before = &layout::view(checkpoint.root());
            let (layout, mut paths) = layout::find(before)?;
            if let Some(part) = &self.part {
                paths.narrow(before, part)?;
            }
            if let Some(place) = &self.rng_place {
                paths.set(Role::Rng, generator_at(before, place)?);
            }
            for (role, place) in [(Role::Epoch, &self.epoch_place), (Role::Step, &self.step_place)] {
                if let Some(place) = place {
                    paths.set(role, number_at(before, place)?.0);
                }
            }
            let root = match self.part.as_ref().and_then(|part| part.share.as_ref()) {
                Some(share) => {
                    let all = optimizers(before, &paths)?;
                    let merged = all.iter().zip(&self.optimizers).map(|(all, own)| shared::merged(all, own, share));
                    let whole = RunState { optimizers: merged.collect::<Result<_>>()?, ..self.clone() };
                    whole.written(before, &layout, &paths)?
                }
                None => self.written(before, &layout, &paths)?,
            };
            let root = match (&self.loader_rng, &self.loader_rng_place) {
                (Some(state), Some(place)) => {
                    let path = generator_at(before, place)?;
                    let old = path.value(&root).unwrap_or(Value::None);
                    path.replaced(&root, generators::like(state, &old))?
                }
                _ => root,
            };
            Ok(layout::unview(&self.with_loader(root, layout.is_open())?, checkpoint.root()))
        };
        written().map(|root| checkpoint.with_written(root)).in_file_if(checkpoint.path())
    }

    /// A new checkpoint in the `tutorial` layout: `epoch`, `model_state_dict`, `optimizer_state_dict`, ... as far as they are
    /// there.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for more than one optimizer or scheduler, which have no names here; write those into a checkpoint
    /// of your own.
    pub fn to_checkpoint(&self) -> Result<Checkpoint> {
        let root = self.written(&Dict::new().into(), &Layout::Tutorial, &Paths::default())?;
        self.with_loader(root, true).map(Checkpoint::from)
    }

    /// Takes the place in the data from one of those in the checkpoint, and writes it back there.
    ///
    /// # Errors
    /// When there is none; the error lists the places that have one.
    pub fn take_loader(&mut self, checkpoint: &Checkpoint, place: &str) -> Result<()> {
        let known = self.loader_places.iter().any(|known| known == place);
        let path = KeyPath::find(checkpoint.root(), place).filter(|_| known).ok_or_else(|| {
            let none = self.loader_places.is_empty();
            let there =
                if none { "there is none".to_owned() } else { format!("there are {}", self.loader_places.join(", ")) };
            Error::missing_key(place).advise(format!("a loader's state dict is looked for there; {there}"))
        });
        let path = path.in_file_if(checkpoint.path())?;
        let state = path.value(checkpoint.root()).map(loaders::read);
        (self.loader, self.loader_place) = (state, Some(place.to_owned()));
        Ok(())
    }

    /// Takes the generator's state from a place in the checkpoint, and writes it back there.
    ///
    /// # Errors
    /// When there is no state of PyTorch's CPU generator; the error lists the places that have one.
    pub fn take_generator(&mut self, checkpoint: &Checkpoint, place: &str) -> Result<()> {
        (self.rng, self.rng_place) = generator_in(checkpoint, place)?;
        Ok(())
    }

    /// As [`take_generator`](Self::take_generator), for the loader's own generator.
    ///
    /// # Errors
    /// As [`take_generator`](Self::take_generator).
    pub fn take_loader_generator(&mut self, checkpoint: &Checkpoint, place: &str) -> Result<()> {
        (self.loader_rng, self.loader_rng_place) = generator_in(checkpoint, place)?;
        Ok(())
    }

    /// Takes the number of finished epochs from a place in the checkpoint, and writes it back there.
    ///
    /// # Errors
    /// When no whole number is there.
    pub fn take_epoch(&mut self, checkpoint: &Checkpoint, place: &str) -> Result<()> {
        let root = &layout::view(checkpoint.root());
        let (path, number) = number_at(root, place).in_file_if(checkpoint.path())?;
        (self.epoch, self.epoch_place) = (Some(number), Some(path.spelled(root)));
        Ok(())
    }

    /// As [`take_epoch`](Self::take_epoch), for the number of the optimizer's steps.
    ///
    /// # Errors
    /// As [`take_epoch`](Self::take_epoch).
    pub fn take_step(&mut self, checkpoint: &Checkpoint, place: &str) -> Result<()> {
        let root = &layout::view(checkpoint.root());
        let (path, number) = number_at(root, place).in_file_if(checkpoint.path())?;
        (self.step, self.step_place) = (Some(number), Some(path.spelled(root)));
        Ok(())
    }
}

/// A copy of the root in which the models' state dicts are changed, each told with its place, or left out where `change` gives
/// none. They are written as they are given, whatever the old ones looked like: a whole module whose names change becomes its
/// state dict. Gives the places of those, too.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for an unknown layout, and what `change` says.
pub(crate) fn with_models(
    root: &Value,
    mut change: impl FnMut(&str, StateDict) -> Result<Option<StateDict>>,
) -> Result<(Value, Vec<String>)> {
    let before = &layout::view(root);
    let (mut changed, mut modules, mut emptied) = (before.clone(), Vec::new(), Vec::new());
    for (path, old) in layout::find(before)?.1.values(before, Role::Model) {
        let place = path.spelled(before);
        // What hangs on a module's parameters is changed with them.
        let before = StateDict::read(&old, &place, true)?;
        let Some(model) = change(&place, before.clone())? else {
            emptied.push(path.clone());
            continue;
        };
        let new = match module::is_module(&old) {
            true if model.keys().eq(before.keys()) => module::with_state_dict(&old, &model)?,
            true => {
                modules.push(place);
                model.detach().to_value()
            }
            false => model.to_value(),
        };
        changed = path.replaced(&changed, new)?;
    }
    for path in emptied {
        changed = path.removed(&changed)?;
    }
    Ok((layout::unview(&changed, root), modules))
}

fn read(root: &Value, layout: Layout, paths: &Paths) -> Result<RunState> {
    let Progress { epoch, step, step_in_epoch, steps_per_epoch, .. } = progress(root, &layout, paths);
    let (clip_norm, mut told) = (layout.clip_norm(root), layout.told(root));
    settings::tell(root, &layout, clip_norm, &mut told);
    let mut run =
        RunState { layout, epoch, step, step_in_epoch, steps_per_epoch, clip_norm, told, ..RunState::default() };
    for (i, (path, value)) in paths.values(root, Role::Model).enumerate() {
        let key = path.spelled(root);
        let model = StateDict::read(&value, &key, false)?;
        match (i, key) {
            (0, key) => (run.model, run.model_key) = (model, key),
            (_, key) => run.other_models.push((key, model)),
        }
    }
    let values = |role| paths.values(root, role).map(|(_, value)| value);
    run.optimizers = optimizers(root, paths)?;
    run.optimizer_classes = values(Role::Optimizer).map(|value| whole::class_of(&value)).collect();
    run.schedulers = values(Role::Scheduler).collect();
    run.scaler = values(Role::Scaler).next();
    let average = paths.values(root, Role::Ema).next();
    run.told.decay = average.as_ref().and_then(|(path, _)| averages::beside(root, path));
    run.ema_place = average.as_ref().map(|(path, _)| path.spelled(root));
    run.ema = average.map(|(_, value)| value);
    // What counts the updates of one is none.
    let others = averages::all(root).into_iter().filter(|path| !paths.inside(path)).map(|path| path.spelled(root));
    run.other_averages = others.filter(|place| Some(place) != run.ema_place.as_ref()).collect();
    run.updates = values(Role::Updates).next().as_ref().and_then(spellings::whole);
    let generator = paths.values(root, Role::Rng).next();
    run.rng = generator.as_ref().and_then(|(_, value)| generators::tensor(value));
    run.rng_place = generator.map(|(path, _)| path.spelled(root));
    run.loss = values(Role::Loss).next();
    let loaders = places_in_data(root, paths);
    run.loader_places = loaders.iter().map(|path| path.spelled(root)).collect();
    if let [path] = &loaders[..] {
        let state = path.value(root).map(loaders::read);
        (run.loader, run.loader_place) = (state, Some(path.spelled(root)));
    }
    Ok(run)
}

/// The state dicts of a checkpoint's optimizers, as `torch.optim` has them.
fn optimizers(root: &Value, paths: &Paths) -> Result<Vec<Value>> {
    let models: Vec<Value> = paths.values(root, Role::Model).map(|(_, model)| model).collect();
    let state = |(_, value): (&KeyPath, Value)| by_name::to_ids(&whole::to_ids(&value, &models)?);
    paths.values(root, Role::Optimizer).map(state).collect()
}

/// The whole number at a place, and the way there.
fn number_at(root: &Value, place: &str) -> Result<(KeyPath, i64)> {
    let path = KeyPath::find(root, place).ok_or_else(|| Error::missing_key(place))?;
    let value = path.value(root).unwrap_or(Value::None);
    let number =
        spellings::whole(&value).ok_or_else(|| Error::wrong_type(place, "a whole number", value.describe()))?;
    Ok((path, number))
}

/// Where loaders have their state dicts in a checkpoint.
fn places_in_data(root: &Value, paths: &Paths) -> Vec<KeyPath> {
    let parts = [Role::Model, Role::Optimizer, Role::Ema].map(|role| paths.of(role)).concat();
    loaders::all(root, &parts)
}

/// Where the run of a checkpoint is.
fn progress(root: &Value, layout: &Layout, paths: &Paths) -> Progress {
    let number = |role| paths.values(root, role).next().and_then(|(_, value)| spellings::whole(&value));
    layout.progress(root, number(Role::Epoch), number(Role::Step))
}

/// Whether the name of a state says that it is not the run's present one, but kept beside it: `best_model`, `ema`, `teacher`.
#[must_use]
pub fn kept_beside(name: &str) -> bool {
    spellings::is_kept(name)
}

/// Whose a place in a checkpoint says that it is: `g` of `optimizer_G` and `schedulerG`, `0` of `optimizers[0]`; nothing of
/// `optimizer`.
#[must_use]
pub fn owner_of(place: &str) -> String {
    several::stem_of(place)
}

/// A place in a checkpoint, such as `optimizers[0]`, in the spelling that [`walk`](crate::walk) gives it, of any that leads there;
/// `None` where there is nothing.
#[must_use]
pub fn place_of(checkpoint: &Checkpoint, place: &str) -> Option<String> {
    let root = &layout::view(checkpoint.root());
    KeyPath::find(root, place).map(|path| path.spelled(root))
}

/// The path of a generator's state, as it is spelled.
fn generator_at(root: &Value, place: &str) -> Result<KeyPath> {
    let all = generators::all(root, &[]);
    let known = layout::find(root)?.1.of(Role::Rng).into_iter().cloned().collect::<Vec<_>>();
    let meant = KeyPath::find(root, place);
    all.iter().chain(&known).find(|path| meant.as_ref() == Some(path)).cloned().ok_or_else(|| {
        let places: Vec<_> = all.iter().map(|path| path.spelled(root)).collect();
        let advice =
            if places.is_empty() { "there is none".to_owned() } else { format!("there are {}", places.join(", ")) };
        Error::missing_key(place).advise(format!("a state of PyTorch's generator is looked for there; {advice}"))
    })
}

/// The generator's state at a place, and the place as it is spelled.
fn generator_in(checkpoint: &Checkpoint, place: &str) -> Result<(Option<Tensor>, Option<String>)> {
    let root = &layout::view(checkpoint.root());
    let path = generator_at(root, place).in_file_if(checkpoint.path())?;
    Ok((path.value(root).as_ref().and_then(generators::tensor), Some(path.spelled(root))))
}

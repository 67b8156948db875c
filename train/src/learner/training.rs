//! `TorchTraining`: a training of burn-train's as a run of PyTorch's, from its checkpoints and to them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::module::{Module, ParamGroup as BurnGroup, ParamId};
use burn::tensor::Device;
use burn_optim::ModuleOptimizer;
use burn_optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn_train::{Learner, LearnerModel};
use rekindle_burn::LayerRows;
use rekindle_random::Generator;
use rekindle_recorder::run::RunState;
use rekindle_recorder::{Checkpoint, Error, IoResultExt as _, Result, ResultExt as _};

use super::checkpointer::{Kept, Waiting};
use super::checkpointing::TorchCheckpointing;
use super::loader::TorchLoader;
use super::optimizer::{Groups, TorchOptimizer};
use super::place::{Drawn, Place, begin_at};
use super::position::Position;
use super::record::optimizer_record;
use super::scheduler::{TorchScheduler, suits};
use crate::attributes::invalid;
use crate::checkpoints::{CheckpointOptions, Found};
use crate::data::{Batch, Loader};
use crate::lr_scheduler::{LRScheduler, Schedule};
use crate::optim::{Optimizer, ParamGroup};
use crate::parameters::{ids, ids_of};
use crate::run::{ResumeOptions, Run, SchedulePer};

/// A training of burn-train's as a run of PyTorch's: its checkpoints are PyTorch's, one file an epoch, `epoch-3.pt`, which plain
/// `torch.load` opens, with `model_state_dict`, `optimizer_state_dict`, `scheduler_state_dict`, `epoch` and the generator's `rng_state`
/// in the layout of PyTorch's tutorial, or in that of the checkpoint that it went on from.
///
/// It is the three `Checkpointer`s of `SupervisedTraining` at once. Their three records become one file when the third of them
/// arrives, whole or not at all; and a file, the three records.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use burn_train::{LearnerModel, SupervisedTraining};
/// # use burn::data::dataloader::DataLoader;
/// # use rekindle_recorder::Checkpoint;
/// # use rekindle_train::run::ResumeOptions;
/// use rekindle_train::learner::TorchTraining;
///
/// # fn train<M, I>(model: M, train: Arc<dyn DataLoader<I>>, valid: Arc<dyn DataLoader<I>>) -> rekindle_recorder::Result<()>
/// # where M: LearnerModel + burn_train::TrainStep<Input = I> + burn_train::InferenceStep<Input = I>, I: Send + 'static {
/// let training = TorchTraining::resume("runs/digits", Checkpoint::open("run.pt")?, model, ResumeOptions::default())?;
/// training.newest()?; // goes on where the same command was stopped
/// let trained = SupervisedTraining::new("runs/digits", train, valid)
///     .with_custom_checkpointers(training.clone(), training.clone(), training.clone())
///     .checkpoint(training.epoch())
///     .num_epochs(26)
///     .launch(training.learner()?);
/// # Ok(())
/// # }
/// ```
///
/// It holds the weights and the optimizer's state of the last checkpoint, which a [`learner`](Self::learner) begins with, beside those that are
/// trained.
///
/// burn-train saves between epochs, and passes gradients by themselves: what clips the norm of all of them, scales them, or averages
/// weights is [`Run`]'s.
pub struct TorchTraining<M: Module> {
    shared: Arc<Shared<M>>,
}

/// What its clones share.
struct Shared<M> {
    folder: PathBuf,
    state: Mutex<State<M>>,
    place: Place,
    groups: Groups,
}

/// The training as it was when it was read or saved last.
pub(super) struct State<M> {
    pub(super) epoch: usize,
    pub(super) model: M,
    pub(super) optimizer: Optimizer,
    pub(super) at: Position,
    pub(super) rows: Arc<LayerRows>,
    /// What the scheduler was made with, and how often it is stepped.
    schedule: Option<Schedule>,
    per: SchedulePer,
    steps_per_epoch: Option<u64>,
    /// What it went on from, whose layout is written.
    pub(super) origin: Option<Checkpoint>,
    /// What stands before the names of the model's tensors there.
    pub(super) prefix: String,
    /// Records that wait for the others of their epoch.
    pub(super) waiting: Waiting,
}

impl<M: Module> Clone for TorchTraining<M> {
    fn clone(&self) -> Self {
        TorchTraining { shared: Arc::clone(&self.shared) }
    }
}

impl<M: Module> fmt::Debug for TorchTraining<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TorchTraining").field("folder", &self.shared.folder).field("epoch", &self.epoch()).finish()
    }
}

impl<M: Module> TorchTraining<M> {
    /// A training that begins, whose checkpoints are in this folder: with the optimizer, its groups and its hyper-parameters.
    ///
    /// # Errors
    /// When the folder cannot be made, or for an optimizer that burn-optim's interface does not take
    /// ([`TorchOptimizer::new`]).
    pub fn start(folder: impl AsRef<Path>, model: M, optimizer: Optimizer) -> Result<Self> {
        let groups = optimizer.param_groups().to_vec();
        let at = Position { steps: 0, since: 0, scheduler: None, groups, drawn: Drawn::default() };
        let (rows, per) = (optimizer.rows().clone(), SchedulePer::Step);
        Self::new(
            folder.as_ref(),
            State {
                epoch: 0,
                model,
                optimizer,
                at,
                rows,
                schedule: None,
                per,
                steps_per_epoch: None,
                origin: None,
                prefix: String::new(),
                waiting: Waiting::default(),
            },
        )
    }

    /// A training that goes on from a checkpoint of PyTorch's, with the weights in this model; its own checkpoints are in this
    /// folder, in the layout of that one, with whatever else it holds. A `loss` that it holds becomes NaN there: burn-train does not tell it. The
    /// generator's state is added where it has none.
    ///
    /// # Errors
    /// As [`Run::resume_with`]; and for what burn-train's loop does not do: several optimizers, schedulers or parts, a scaler, an average that goes
    /// on, gradients that are clipped by their norm, a checkpoint from the midst of an epoch.
    pub fn resume(folder: impl AsRef<Path>, checkpoint: Checkpoint, model: M, options: ResumeOptions) -> Result<Self> {
        let path = checkpoint.path().map(ToOwned::to_owned);
        resumed(checkpoint, model, options)
            .in_file_if(path.as_deref())
            .and_then(|state| Self::new(folder.as_ref(), state))
    }

    fn new(folder: &Path, state: State<M>) -> Result<Self> {
        std::fs::create_dir_all(folder).doing("cannot make the folder").in_file(folder)?;
        let groups = Groups::new(state.at.groups.clone());
        TorchOptimizer::of_group(state.optimizer.hyperparameters().clone(), groups.clone(), None)?;
        let place = Place::default();
        place.go_to(&state.at.drawn)?;
        let shared = Shared { folder: folder.to_owned(), state: Mutex::new(state), place, groups };
        Ok(TorchTraining { shared: Arc::new(shared) })
    }

    /// With a scheduler, which is stepped after each step of the optimizer or after each epoch.
    ///
    /// # Errors
    /// When an option is out of range; for a scheduler that goes by a metric or by parts of epochs, one whose state does not tell where it
    /// stands, and other ways of stepping it, which burn-train does not know.
    pub fn with_scheduler(self, schedule: impl Into<Schedule>, per: SchedulePer) -> Result<Self> {
        let schedule = schedule.into();
        {
            let state = &mut *self.state();
            let scheduler = LRScheduler::new(schedule.clone(), &mut state.optimizer)?;
            fits(&scheduler, per)?;
            state.at.groups = state.optimizer.param_groups().to_vec();
            (state.at.scheduler, state.schedule, state.per) = (Some(scheduler), Some(schedule), per);
            self.shared.groups.set(&state.at.groups);
        }
        Ok(self)
    }

    /// How many steps of the optimizer an epoch has, for a scheduler that is stepped per epoch: fewer than its batches where gradients
    /// are accumulated. Default: as many as the [training's loader](Self::loader) has batches, or as the checkpoint says.
    #[must_use]
    pub fn steps_per_epoch(self, steps: u64) -> Self {
        self.state().steps_per_epoch = Some(steps).filter(|&steps| steps > 0);
        self
    }

    /// With the generator that layers of the network draw from, such as dropout: it stands for PyTorch's global one, and is saved. A
    /// training that goes on puts it where the checkpoint's was.
    #[must_use]
    pub fn with_shared_generator(self, generator: Arc<Mutex<Generator>>) -> Self {
        if self.state().at.drawn.rng.is_some() {
            let now = self.generator();
            let now = now.lock().unwrap_or_else(PoisonError::into_inner).clone();
            *generator.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
        self.shared.place.set_generator(generator);
        self
    }

    /// What stands for PyTorch's global generator.
    #[must_use]
    pub fn generator(&self) -> Arc<Mutex<Generator>> {
        self.shared.place.generator()
    }

    /// The training's loader, which draws from the [generator](Self::generator) and whose place is saved; `make` makes the learner's
    /// input of a batch on a device.
    ///
    /// # Errors
    /// For a loader without epochs, and where the checkpoint is of one from the midst of an epoch, or of another one.
    pub fn loader<O: Send + 'static>(
        &self,
        loader: impl Into<Loader>,
        make: impl Fn(Batch, &Device) -> Result<O> + Send + Sync + 'static,
    ) -> Result<TorchLoader<O>> {
        let mut loader = loader.into();
        TorchLoader::<O>::has_epochs(&loader)?;
        if let Some(state) = &self.state().at.drawn.loader {
            begin_at(&mut loader, state)?;
        }
        self.shared.place.set_loader(loader);
        Ok(TorchLoader::over(self.shared.place.clone(), make))
    }

    /// The model with the weights of where the training is.
    #[must_use]
    pub fn model(&self) -> M {
        self.state().model.clone()
    }

    /// burn-optim's optimizer of the [model](Self::model) and its clones, with the state of where the training is: each group's
    /// parameters step by its own hyper-parameters, and parameters that are in no group, or frozen, stay as they are.
    ///
    /// # Errors
    /// When state cannot be read from its device.
    pub fn optimizer(&self) -> Result<ModuleOptimizer> {
        let state = self.state();
        let optimizer = &state.optimizer;
        let of =
            |group| TorchOptimizer::of_group(optimizer.hyperparameters().clone(), self.shared.groups.clone(), group);
        let mut burns = ModuleOptimizer::from(of(Some(0))?);
        for (place, members) in groups_of(optimizer).into_iter().enumerate().skip(1) {
            burns = burns.with_group(BurnGroup::from_ids(members), of(Some(place))?, None);
        }
        let left = left_out(&state.model, optimizer);
        if !left.is_empty() {
            burns = burns.with_group(BurnGroup::from_ids(left), of(None)?, None);
        }
        Ok(burns.load_record(optimizer_record(optimizer, &state.model)?))
    }

    /// burn-optim's scheduler of it, with the rate of each group; a constant rate where there is none.
    ///
    /// # Errors
    /// For a scheduler that is stepped per epoch, where nothing says how many steps an epoch has.
    pub fn scheduler(&self) -> Result<ModuleLrScheduler> {
        let state = self.state();
        let (groups, place) = (self.shared.groups.clone(), self.shared.place.clone());
        let first = TorchScheduler::at(state.at.clone(), Some(groups), Some(place))?.every(self.every(&state)?);
        let mut burns = ModuleLrScheduler::new(first.clone());
        for (place, members) in groups_of(&state.optimizer).into_iter().enumerate().skip(1) {
            burns = burns.with_group(BurnGroup::from_ids(members), first.of_group(place));
        }
        Ok(burns)
    }

    /// The learner of model, optimizer and scheduler.
    ///
    /// # Errors
    /// As [`optimizer`](Self::optimizer) and [`scheduler`](Self::scheduler).
    pub fn learner(&self) -> Result<Learner<M>>
    where
        M: LearnerModel,
    {
        Ok(Learner::new(self.model(), self.optimizer()?, self.scheduler()?))
    }

    /// When the training is saved, and which of its checkpoints are kept, those counted in that are in the folder.
    ///
    /// # Errors
    /// When the folder cannot be listed, and for what [`TorchCheckpointing::new`] refuses.
    pub fn checkpointing(&self, options: CheckpointOptions) -> Result<TorchCheckpointing> {
        let epochs = self.kept().epochs()?.into_iter().filter(|&epoch| epoch <= self.epoch());
        TorchCheckpointing::new(options).map(|checkpointing| checkpointing.with_epochs(epochs))
    }

    /// How many epochs are finished: what burn-train's `checkpoint` is told. 0 of a training that begins.
    #[must_use]
    pub fn epoch(&self) -> usize {
        self.state().epoch
    }

    /// How many steps the optimizer has made.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state().at.steps
    }

    /// The file of an epoch's checkpoint.
    #[must_use]
    pub fn path(&self, epoch: usize) -> PathBuf {
        self.kept().path(epoch)
    }

    /// Goes to the newest checkpoint of the folder that is whole, where there is one that is newer than where the training is. Damaged ones are
    /// passed over, and named.
    ///
    /// # Errors
    /// When there are some, and all are damaged; and as [`go_to`](Self::go_to).
    pub fn newest(&self) -> Result<Option<Found>> {
        let Some((epoch, found)) = self.kept().newest(self.epoch())? else { return Ok(None) };
        self.go_to(epoch)?;
        Ok(Some(found))
    }

    /// Goes to an epoch's checkpoint in the folder: the [model](Self::model), the [optimizer](Self::optimizer) and the
    /// [scheduler](Self::scheduler) that are asked for next are as they were there, and so is what is drawn.
    ///
    /// # Errors
    /// When there is none, or it is not of this training.
    pub fn go_to(&self, epoch: usize) -> Result<()> {
        let mut state = self.state();
        if epoch != state.epoch {
            let path = self.kept().path(epoch);
            if !path.exists() {
                return Err(self.kept().missing(epoch));
            }
            state.read(&Checkpoint::open(&path)?, epoch).in_file(&path)?;
        }
        self.shared.place.go_to(&state.at.drawn)?;
        self.shared.groups.set(&state.at.groups);
        Ok(())
    }

    pub(super) fn kept(&self) -> Kept<'_> {
        Kept(&self.shared.folder)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State<M>> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the loader's place is more than the generator's state.
    pub(super) fn keeps_loader(&self) -> bool {
        self.shared.place.is_told()
    }

    /// After how many steps the scheduler is stepped.
    fn every(&self, state: &State<M>) -> Result<u64> {
        if state.at.scheduler.is_none() || state.per == SchedulePer::Step {
            return Ok(1);
        }
        let batches = u64::try_from(self.shared.place.len()).ok().filter(|&batches| batches > 0);
        state.steps_per_epoch.or(batches).ok_or_else(|| {
            invalid(
                "the scheduler is stepped per epoch, and nothing tells how many steps an epoch has; say it with \
                 `TorchTraining::steps_per_epoch`, or take the batches from `TorchTraining::loader`",
            )
        })
    }
}

/// The parameters of each group.
fn groups_of(optimizer: &Optimizer) -> Vec<Vec<ParamId>> {
    let all: Vec<_> = optimizer.parameters().collect();
    let of = |group: &ParamGroup| ids(all[group.params()].iter().copied()).into_iter().collect();
    optimizer.param_groups().iter().map(of).collect()
}

/// The parameters that no step changes: of no group, or frozen.
fn left_out<M: Module>(model: &M, optimizer: &Optimizer) -> Vec<ParamId> {
    let frozen: Vec<&str> = optimizer.frozen().collect();
    let trained = ids(optimizer.parameters().filter(|parameter| !frozen.contains(&&*parameter.name)));
    ids_of(model).into_iter().filter(|id| !trained.contains(id)).collect()
}

/// Refuses a scheduler, or a way of stepping it, that cannot be gone on with from a file.
fn fits(scheduler: &LRScheduler, per: SchedulePer) -> Result<()> {
    suits(scheduler)?;
    if !matches!(per, SchedulePer::Step | SchedulePer::Epoch) {
        let what = format!("a scheduler that is stepped per '{}' in burn-train", per.name());
        return Err(Error::unsupported(what).advise("it may be stepped per step or per epoch; Run knows the others"));
    }
    if !scheduler.is_saved() || scheduler.needs_position() {
        let what = "a scheduler whose state dict does not tell where it stands, in burn-train";
        return Err(Error::unsupported(what).advise("go on with Run, which is told"));
    }
    Ok(())
}

fn resumed<M: Module>(checkpoint: Checkpoint, model: M, options: ResumeOptions) -> Result<State<M>> {
    let (schedule, rows) = (options.schedule.clone(), options.rows.clone().unwrap_or_default());
    let (keeps_average, weights_only) = (options.keep_average, options.weights_only);
    // What a file is told by that is no part of it, or is where its parts would not be looked for again.
    let told = [
        (options.load.is_some(), "load"),
        (options.member.is_some(), "member"),
        (options.rng.is_some(), "rng"),
        (options.loader_rng.is_some(), "loader_rng"),
        (options.loader_state.is_some(), "loader_state"),
        (options.epoch_at.is_some(), "epoch_at"),
        (options.step_at.is_some(), "step_at"),
        (options.steps_made.is_some(), "steps_made"),
    ];
    if let Some((_, name)) = told.into_iter().find(|(there, _)| *there) {
        return Err(Error::unsupported(format!("`ResumeOptions::{name}` in burn-train")).advise("go on with Run"));
    }
    let mut run = Run::resume_with(checkpoint.clone(), model, options)?;
    let state = RunState::read(&checkpoint)?;
    let rng = super::place::state_of(&run.generator_mut())?;
    let plan = run.resumed_by();
    let schedulers: Vec<_> = run.schedulers().cloned().collect();
    let scheduled = plan.and_then(|plan| plan.schedulers.first());
    let several = run.optimizers().count() > 1 || schedulers.len() > 1 || plan.is_some_and(|plan| plan.part.is_some());
    let refused = [
        (several, "several optimizers, schedulers or parts", "go on with Run"),
        (plan.is_some_and(|plan| plan.scaler), "gradients that are scaled", "go on with Run"),
        (
            state.ema.is_some() && !keeps_average && !weights_only,
            "an average of the weights that goes on",
            "go on with Run, or leave it as it is in the file (`ResumeOptions::keep_average(true)`)",
        ),
        (
            plan.is_some_and(|plan| plan.clip_norm.is_some()),
            "gradients that are clipped by the norm of all of them",
            "go on with Run, or leave them as they are (`ResumeOptions::no_clip(true)`)",
        ),
        (
            run.batches_per_step() > 1,
            "`ResumeOptions::accumulate`",
            "say it to the learner with `grads_accumulation`, and divide the loss by it: burn-train adds gradients up",
        ),
        (
            scheduled.is_some_and(|scheduled| scheduled.times > 1),
            "several steps of a scheduler at once",
            "go on with Run",
        ),
        (
            run.waiting_batches() > 0 || state.step_in_epoch.is_some_and(|step| step > 0),
            "a checkpoint from the midst of an epoch",
            "finish the epoch with Run",
        ),
    ];
    if let Some((_, what, advice)) = refused.into_iter().find(|(there, ..)| *there) {
        return Err(Error::unsupported(format!("{what}, in burn-train,")).advise(advice));
    }
    let per = scheduled.map_or(SchedulePer::Step, |scheduled| scheduled.per);
    let scheduler = schedulers.into_iter().next();
    scheduler.iter().try_for_each(|scheduler| fits(scheduler, per))?;
    let epoch = usize::try_from(run.epochs()).map_err(|_| invalid("the checkpoint's number of epochs is below 0"))?;
    let steps_per_epoch = run.known_steps_per_epoch().and_then(|steps| u64::try_from(steps).ok());
    let drawn = Drawn { rng: Some(rng), loader: run.loader_state().cloned() };
    let prefix = plan.map(|plan| plan.prefix.clone()).unwrap_or_default();
    let groups = run.optimizer().param_groups().to_vec();
    let steps = u64::try_from(run.known_steps().unwrap_or(0)).unwrap_or(0);
    let state = State {
        epoch,
        model: run.model().clone(),
        optimizer: run.optimizer().clone(),
        at: Position { steps, since: 0, scheduler, groups, drawn },
        rows,
        schedule,
        per,
        steps_per_epoch,
        origin: (!weights_only).then_some(checkpoint),
        prefix,
        waiting: Waiting::default(),
    };
    state.try_written()?;
    Ok(state)
}

impl<M: Module> State<M> {
    /// Goes to where a checkpoint of this training's is.
    fn read(&mut self, checkpoint: &Checkpoint, epoch: usize) -> Result<()> {
        let there = RunState::read(checkpoint)?;
        let (model, optimizer) = self.loaded(&there)?;
        let scheduler = match (there.schedulers.first(), &self.at.scheduler) {
            (Some(saved), Some(_)) => Some(match &self.schedule {
                Some(schedule) => LRScheduler::resume(schedule.clone(), saved, &optimizer)?,
                None => LRScheduler::from_state_dict(saved, &optimizer)?,
            }),
            (None, None) => None,
            _ => return Err(invalid("the checkpoint has a scheduler and the training none, or the other way round")),
        };
        let counted = optimizer.steps();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
        let counted = counted.map(|steps| steps as u64);
        let steps = there.step.and_then(|steps| u64::try_from(steps).ok()).or(counted);
        let drawn = Drawn { rng: there.rng, loader: there.loader };
        let steps = steps.unwrap_or(0);
        self.at = Position { steps, since: 0, scheduler, groups: optimizer.param_groups().to_vec(), drawn };
        (self.model, self.optimizer, self.epoch) = (model, optimizer, epoch);
        Ok(())
    }
}

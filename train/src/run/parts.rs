//! `Run`: a training run, and what it is made of.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::module::Module;
use burn::tensor::{Gradients, Tensor};
use rekindle_burn::{LayerRows, NamedParameter};
use rekindle_random::Generator;
use rekindle_recorder::run::{Leftover, RunPart};
use rekindle_recorder::{Checkpoint, LoadReport, Result, ResultExt as _};

use super::average::Average;
use super::between::{Before, Rates};
use super::names::Names;
use super::notes::Notes;
use super::options::SchedulePer;
use super::place::Place;
use super::plan::Plan;
use super::schedule::Schedulers;
use super::share::Passed;
use crate::amp::GradScaler;
use crate::attributes::invalid;
use crate::checkpoints::{Checkpoints, Found};
use crate::clip::{ClipGradNorm, clip_grad_norm_, clip_grad_value_};
use crate::data::Loader;
use crate::ema::AveragedModel;
use crate::gradients::Pending;
use crate::lr_scheduler::LRScheduler;
use crate::optim::Optimizer;

/// A training run: model, optimizer, scheduler, loader, generator, and where it is.
///
/// ```no_run
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::Device;
/// use rekindle_recorder::Checkpoint;
/// use rekindle_train::data::{Array, DataLoader, Dataset};
/// use rekindle_train::loss::cross_entropy;
/// use rekindle_train::run::{Run, SchedulePer};
///
/// # fn main() -> Result<(), rekindle_recorder::Error> {
/// # let (images, labels): (Array, Array) = unimplemented!();
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(64, 10).init(&device);
/// let loader = DataLoader::new(Dataset::new(images, labels)?, 64)?.shuffle(true);
///
/// let mut run = Run::resume(Checkpoint::open("run.pt")?, model)?
///     .with_loader(loader)
///     .schedule_per(SchedulePer::Epoch)
///     .until_epoch(26);
/// while let Some(batch) = run.next_batch()? {
///     let logits = run.model().forward(batch.inputs::<2>(&device)?);
///     run.step(cross_entropy(logits, batch.classes::<1>(&device)?)?)?;
///     println!("{} {:?}", run.steps(), run.loss()?);
/// }
/// run.save("run-resumed.pt")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // each is of another part
pub struct Run<M: Module> {
    /// `None` only while a step is made.
    pub(super) model: Option<M>,
    pub(super) optimizer: Optimizer,
    /// Whether it is a new one, in the place of the checkpoint's.
    pub(super) new_optimizer: bool,
    pub(super) schedulers: Schedulers,
    /// Further optimizers of the same model.
    pub(super) beside: Vec<Beside>,
    /// Of several optimizers' schedulers, one's after the other's: which of the checkpoint's each is.
    pub(super) scheduler_places: Vec<usize>,
    pub(super) scaler: Option<GradScaler>,
    pub(super) clip: Option<Clip>,
    /// Of how many batches a step takes the mean.
    pub(super) accumulate: u64,
    /// What becomes of batches that are fewer.
    pub(super) leftover: Leftover,
    /// What was passed through since the last step.
    pub(super) passed: Passed,
    pub(super) average: Average,
    /// What the checkpoint calls the model's tensors.
    pub(super) names: Names,
    /// How the model's layers lie in PyTorch.
    pub(super) rows: Arc<LayerRows>,
    /// Those of the passes since the last step.
    pub(super) grads: Pending,
    pub(super) loader: Option<Loader>,
    /// The place in the data that the run goes on from.
    pub(super) place: Place,
    /// Shared with the network's layers, where they draw from it.
    pub(super) generator: Arc<Mutex<Generator>>,
    /// Which part of a checkpoint of several models it is.
    pub(super) part: Option<RunPart>,
    /// What a run that begins is called among several.
    pub(super) name: Option<String>,
    /// Where the checkpoint has its state, if that was said.
    pub(super) rng_place: Option<String>,
    /// Where the checkpoint has the numbers of epochs and steps, if that was said.
    pub(super) position_at: (Option<String>, Option<String>),
    /// The loader's own, until there is a loader, and where the checkpoint has its state.
    pub(super) loader_rng: (Option<Generator>, Option<String>),
    /// Whether a checkpoint without a generator's state gets one.
    pub(super) add_rng: bool,
    /// Epochs that were finished.
    pub(super) epoch: i64,
    /// Steps that were made. `None` where a checkpoint does not say, until a loader says how many an epoch has.
    pub(super) step: Option<i64>,
    pub(super) loss: Option<Tensor<1>>,
    /// Of a run whose checkpoint counts batches: how many more it has counted than the steps tell.
    pub(super) counts_batches: Option<i64>,
    /// How many of them were made in an epoch that was cut short and counts as finished: the epochs after it begin so much later.
    pub(super) cut: i64,
    /// How many steps an epoch has, where no loader says it.
    pub(super) steps_per_epoch: Option<i64>,
    /// How many batches, where a step takes several and the last one of an epoch takes fewer.
    pub(super) batches_per_epoch: Option<u64>,
    pub(super) until_epoch: Option<i64>,
    pub(super) until_step: Option<i64>,
    /// What the run came from, whose layout it is written back in.
    pub(super) origin: Option<Checkpoint>,
    pub(super) report: Option<LoadReport>,
    pub(super) plan: Option<Plan>,
    /// What is before the model's names in that, where it is a member of what was saved.
    pub(super) member: Option<String>,
    /// Whether it is saved with objects in it that plain `torch.load` refuses.
    pub(super) allow_objects: bool,
    /// Whether it is known that it can be saved as it is, and as it will be at its end.
    pub(super) tried: Tried,
    /// What the program keeps with it.
    pub(super) notes: Notes,
    /// Whether the last step ended an epoch.
    pub(super) ended: bool,
    /// The norm of the gradients of the last step, where they were clipped by it.
    pub(super) grad_norm: Option<f64>,
    /// Rates of the program's own.
    pub(super) rates: Option<Rates>,
    /// Whether its checkpoint kept where a run was that it is no more.
    pub(super) stale: bool,
    /// Whether a step failed amid its changes.
    pub(super) failed: bool,
    /// What tells the checkpoint that it began from.
    pub(super) began: Option<i64>,
    pub(super) checkpoints: Option<Checkpoints>,
    pub(super) went_on: Option<Found>,
    /// Whether anything was done since it was saved in its folder.
    pub(super) unsaved: bool,
    /// The step whose checkpoint has the metric that tells which is best.
    pub(super) saved_metric: Option<i64>,
    /// As it was before the turn of the loop that is under way.
    pub(super) before: Option<Before>,
    /// Whether this turn has come to changing weights.
    pub(super) touched: bool,
}

/// An optimizer of parameters that the run's first one does not have, and its schedulers.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) optimizer: Optimizer,
    pub(super) schedulers: Schedulers,
}

/// How gradients are clipped before a step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Clip {
    Norm(ClipGradNorm),
    Value(f64),
}

impl Clip {
    /// The norm that gradients are clipped to.
    pub(super) fn norm(self) -> Option<f64> {
        match self {
            Clip::Norm(clip) => Some(clip.max_norm),
            Clip::Value(_) => None,
        }
    }

    /// Clips the gradients of these parameters, and gives the norm that they had, where that is looked at.
    pub(super) fn apply<'a, M: Module>(
        self,
        model: &M,
        parameters: impl IntoIterator<Item = &'a NamedParameter>,
        grads: &mut Gradients,
    ) -> Result<Option<f64>> {
        match self {
            Clip::Norm(clip) => clip_grad_norm_(model, parameters, grads, clip).map(Some),
            Clip::Value(value) => clip_grad_value_(model, parameters, grads, value).map(|()| None),
        }
    }
}

/// What is said of a checkpoint whose run went on elsewhere.
pub(super) const STALE: &str = "the file holds where a run of this program was when it was saved here, and its weights or its position \
                                have changed since: it goes on as any other of its layout";

/// What is known to be saved without an error.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried {
    /// All parts as they are.
    pub(super) parts: bool,
    /// The numbers that they will have at the end.
    pub(super) end: bool,
}

impl<M: Module> Run<M> {
    /// A run that begins.
    #[must_use]
    pub fn start(model: M, optimizer: Optimizer) -> Self {
        Run {
            model: Some(model),
            optimizer,
            new_optimizer: false,
            schedulers: Schedulers::default(),
            beside: Vec::new(),
            scheduler_places: Vec::new(),
            scaler: None,
            clip: None,
            accumulate: 1,
            leftover: Leftover::Stepped,
            passed: Passed::default(),
            average: Average::None,
            names: Names::default(),
            rows: Arc::new(LayerRows::default()),
            grads: Pending::default(),
            loader: None,
            place: Place::default(),
            generator: Arc::default(),
            part: None,
            name: None,
            rng_place: None,
            position_at: (None, None),
            loader_rng: (None, None),
            add_rng: false,
            epoch: 0,
            step: Some(0),
            loss: None,
            counts_batches: None,
            cut: 0,
            steps_per_epoch: None,
            batches_per_epoch: None,
            until_epoch: None,
            until_step: None,
            origin: None,
            report: None,
            plan: None,
            member: None,
            allow_objects: false,
            tried: Tried::default(),
            notes: Notes::default(),
            ended: false,
            grad_norm: None,
            rates: None,
            stale: false,
            failed: false,
            began: None,
            checkpoints: None,
            went_on: None,
            unsaved: true,
            saved_metric: None,
            before: None,
            touched: false,
        }
    }

    /// With a scheduler, in the place of any that it has.
    #[must_use]
    pub fn with_scheduler(self, scheduler: LRScheduler) -> Self {
        let made = self.steps();
        Run { schedulers: self.schedulers.replaced(scheduler).since(made), tried: Tried::default(), ..self }
    }

    /// With one more scheduler, which is stepped so often, after those that the run has.
    #[must_use]
    pub fn and_scheduler(self, scheduler: LRScheduler, per: SchedulePer) -> Self {
        let made = self.steps();
        Run { schedulers: self.schedulers.and(scheduler, per, made), tried: Tried::default(), ..self }
    }

    /// How often the scheduler is stepped; of several, each of them. Default: every step.
    #[must_use]
    pub fn schedule_per(self, per: SchedulePer) -> Self {
        let tried = Tried { end: false, ..self.tried };
        Run { schedulers: self.schedulers.stepped_per(per), tried, ..self }
    }

    /// With a scaler of gradients, for half precision: losses are scaled, and steps with gradients that overflowed skipped.
    #[must_use]
    pub fn with_scaler(self, scaler: GradScaler) -> Self {
        Run { scaler: Some(scaler), tried: Tried::default(), ..self }
    }

    /// With gradients clipped by their norm before each step: `clip_grad_norm_(model.parameters(), ...)`.
    #[must_use]
    pub fn with_clip(self, clip: ClipGradNorm) -> Self {
        Run { clip: Some(Clip::Norm(clip)), ..self }
    }

    /// With each element of the gradients brought into the range from `-value` to `value` before each step:
    /// `clip_grad_value_(model.parameters(), value)`. It takes the place of [`with_clip`](Self::with_clip).
    #[must_use]
    pub fn with_clip_value(self, value: f64) -> Self {
        Run { clip: Some(Clip::Value(value)), ..self }
    }

    /// With steps of several batches: [`step`](Self::step) adds up the gradients of the losses, each divided by `batches`, and
    /// makes a step of the optimizer with every `batches`-th loss, as PyTorch programs do with `loss / batches`. With a loader the
    /// last batch of an epoch ends a step, too, with as many as there are, as Lightning and accelerate have it; a loss is
    /// divided by `batches` all the same. 0 is taken for 1.
    ///
    /// Gradients that wait for their step are in [whole checkpoints](Self::whole_checkpoint) only.
    #[must_use]
    pub fn accumulate(self, batches: u64) -> Self {
        Run { accumulate: batches.max(1), ..self }
    }

    /// With an average of the weights, which takes them in after each step. One that is saved as mmengine's changes places
    /// with the model's weights in the checkpoint, as mmengine's `EMAHook` has it.
    #[must_use]
    pub fn with_average(self, average: AveragedModel) -> Self {
        Run { average: Average::Updated(average, SchedulePer::Step.into()), tried: Tried::default(), ..self }
    }

    /// With a model whose layers lie in PyTorch as these rows say, the user's own among them: what is saved has
    /// PyTorch's order. The optimizer and the average have the rows that they were made with. Default: burn-nn's layers.
    #[must_use]
    pub fn with_rows(self, rows: impl Into<Arc<LayerRows>>) -> Self {
        Run { rows: rows.into(), tried: Tried::default(), ..self }
    }

    /// How many steps an epoch has, for a run whose batches come from elsewhere than a [loader](Self::with_loader): an epoch ends
    /// where the number of steps is divided by it. As with a loader, where nothing says how many steps were made, they are those
    /// of the finished epochs.
    #[must_use]
    pub fn steps_per_epoch(self, steps: i64) -> Self {
        let step = self.step.or(Some(self.epoch.saturating_mul(steps)));
        Run { steps_per_epoch: Some(steps).filter(|&steps| steps > 0), step, ..self }
    }

    /// How many steps an epoch has, if anything says it.
    pub(super) fn epoch_length(&self) -> Option<i64> {
        let steps = |loader: &Loader| u64::try_from(loader.len()).map(|batches| batches.div_ceil(self.accumulate));
        let loader = self.loader.as_ref().and_then(|loader| i64::try_from(steps(loader).ok()?).ok());
        loader.or(self.steps_per_epoch).filter(|&steps| steps > 0)
    }

    /// With a generator in this state in the place of PyTorch's global one: `torch.manual_seed(...)`.
    #[must_use]
    pub fn with_generator(self, generator: Generator) -> Self {
        *self.generator() = generator;
        self
    }

    /// With the generator that layers of the network draw from, such as dropout: as in PyTorch they draw from the same one as the
    /// loader, and it is saved with the run. A run that begins draws on from where it is; one that is resumed puts it where the
    /// checkpoint's was.
    ///
    /// A generator that is shared is locked while it is used: whoever holds [`generator_mut`](Self::generator_mut) lets it go
    /// before the network is asked for anything.
    #[must_use]
    pub fn with_shared_generator(self, shared: Arc<Mutex<Generator>>) -> Self {
        if self.origin.is_some() {
            let state = self.generator().clone();
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = state;
        }
        Run { generator: shared, ..self }
    }

    /// [`next_batch`](Self::next_batch) gives none once so many epochs are finished, those before a checkpoint counted in.
    #[must_use]
    pub fn until_epoch(self, epoch: i64) -> Self {
        Run { until_epoch: Some(epoch), tried: Tried { end: false, ..self.tried }, ..self }
    }

    /// [`next_batch`](Self::next_batch) gives none once so many steps are made, those before a checkpoint counted in.
    #[must_use]
    pub fn until_step(self, step: i64) -> Self {
        Run { until_step: Some(step), tried: Tried { end: false, ..self.tried }, ..self }
    }

    /// The model. After a step that failed it is as it was before, or as far as the step came.
    ///
    /// # Panics
    /// In a program that caught a panic in the midst of [`step`](Self::step), and asks for the model that was lost with it.
    #[must_use]
    pub fn model(&self) -> &M {
        match &self.model {
            Some(model) => model,
            None => panic!("the model was lost in a step that panicked"),
        }
    }

    /// The optimizer; of [several](Self::optimizers), the first.
    #[must_use]
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// Where in the checkpoint the run's optimizer is, where it trains the models of other parts, too.
    #[must_use]
    pub fn shared_optimizer(&self) -> Option<&str> {
        self.part.as_ref().filter(|part| part.share.is_some())?.optimizers.first().map(String::as_str)
    }

    /// The optimizer, to change its hyper-parameters.
    pub fn optimizer_mut(&mut self) -> &mut Optimizer {
        &mut self.optimizer
    }

    /// The scheduler, if there is one; of several, the first.
    #[must_use]
    pub fn scheduler(&self) -> Option<&LRScheduler> {
        self.schedulers().next()
    }

    /// The schedulers, in the order in which they are stepped.
    pub fn schedulers(&self) -> impl Iterator<Item = &LRScheduler> {
        self.schedulers.iter().chain(self.beside.iter().flat_map(|beside| beside.schedulers.iter()))
    }

    /// All optimizers of the model, in the checkpoint's order: the [first](Self::optimizer), and those beside it where a checkpoint
    /// has several.
    pub fn optimizers(&self) -> impl Iterator<Item = &Optimizer> {
        std::iter::once(&self.optimizer).chain(self.beside.iter().map(|beside| &beside.optimizer))
    }

    /// All optimizers, each with its schedulers.
    pub(super) fn trainers(&mut self) -> impl Iterator<Item = (&mut Optimizer, &mut Schedulers)> {
        let beside = self.beside.iter_mut().map(|beside| (&mut beside.optimizer, &mut beside.schedulers));
        std::iter::once((&mut self.optimizer, &mut self.schedulers)).chain(beside)
    }

    /// The scaler of gradients, if there is one.
    #[must_use]
    pub fn scaler(&self) -> Option<&GradScaler> {
        self.scaler.as_ref()
    }

    /// The average of the weights, if there is one that was read.
    #[must_use]
    pub fn average(&self) -> Option<&AveragedModel> {
        match &self.average {
            Average::Updated(average, _) | Average::Kept(Some(average)) => Some(average),
            Average::None | Average::Kept(None) => None,
        }
    }

    /// The loader, if there is one.
    #[must_use]
    pub fn loader(&self) -> Option<&Loader> {
        self.loader.as_ref()
    }

    pub(super) fn generator(&self) -> MutexGuard<'_, Generator> {
        self.generator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands for PyTorch's global generator.
    pub fn generator_mut(&mut self) -> MutexGuard<'_, Generator> {
        self.generator()
    }

    /// The model, and the generator that it draws from: `model.forward(inputs, &mut generator)`.
    ///
    /// ```
    /// # use burn::{nn::LinearConfig, tensor::{Device, Tensor, TensorData}};
    /// # use rekindle_train::{Run, optim::{Optimizer, SgdOptions}};
    /// # let device = Device::flex().autodiff();
    /// # let model = LinearConfig::new(3, 2).init(&device);
    /// # let optimizer = Optimizer::sgd(&model, SgdOptions::default())?;
    /// # let mut run = Run::start(model, optimizer);
    /// let (model, mut generator) = run.model_and_generator();
    /// let noise = rekindle_random::randn::<f32>(&mut generator, 12);
    /// let outputs = model.forward(Tensor::<2>::from_data(TensorData::new(noise, [4, 3]), &device));
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    pub fn model_and_generator(&mut self) -> (&M, MutexGuard<'_, Generator>) {
        (self.model(), self.generator())
    }

    /// How the checkpoint's weights went into the model; `None` for a run that was started here.
    #[must_use]
    pub fn load_report(&self) -> Option<&LoadReport> {
        self.report.as_ref()
    }

    /// The plan that it was resumed by; `None` for a run that was started here.
    #[must_use]
    pub fn resumed_by(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// What a user should know of the run before it goes on, a sentence each: what of its checkpoint stays as it is.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        self.average.note().into_iter().chain(self.stale.then_some(STALE))
    }

    /// How many epochs are finished, those before a checkpoint counted in.
    #[must_use]
    pub fn epochs(&self) -> i64 {
        self.epoch
    }

    /// How many steps were made, those before a checkpoint counted in: as the checkpoint says, or the optimizer's own count,
    /// or the finished epochs times the loader's batches.
    #[must_use]
    pub fn steps(&self) -> i64 {
        self.step.unwrap_or(0)
    }

    /// How many steps were made, where that is known: not of a checkpoint that does not say, whose optimizer does not count.
    #[must_use]
    pub fn known_steps(&self) -> Option<i64> {
        self.step
    }

    /// How many steps an epoch has, where the loader, [`steps_per_epoch`](Self::steps_per_epoch) or the checkpoint's layout says
    /// it.
    #[must_use]
    pub fn known_steps_per_epoch(&self) -> Option<i64> {
        self.epoch_length()
    }

    /// The learning rate of each group; of several optimizers, one's after the other's.
    ///
    /// # Errors
    /// When somebody put something else than a number in its place.
    pub fn lr(&self) -> Result<Vec<f64>> {
        self.named(self.optimizers().map(Optimizer::lr).collect::<Result<Vec<_>>>().map(|rates| rates.concat()))
    }

    /// The learning rate of each group in the next step: those that there are, but for schedulers that are stepped before the optimizer
    /// ([`SchedulePer::BeforeStep`]), which set them there.
    ///
    /// # Errors
    /// As [`lr`](Self::lr), and when a scheduler cannot be stepped.
    pub fn next_lr(&self) -> Result<Vec<f64>> {
        let (made, per_epoch) = (self.steps(), self.epoch_length());
        let beside = self.beside.iter().map(|beside| (&beside.optimizer, &beside.schedulers));
        let all = std::iter::once((&self.optimizer, &self.schedulers)).chain(beside);
        let rates = all.map(|(optimizer, schedulers)| schedulers.next(optimizer.param_groups(), made, per_epoch));
        self.named(rates.collect::<Result<Vec<_>>>().map(|rates| rates.concat()))
    }

    /// How many batches a step takes: see [`accumulate`](Self::accumulate).
    #[must_use]
    pub fn batches_per_step(&self) -> u64 {
        self.accumulate
    }

    /// How many batches were passed through since the last step, where a step takes several: their gradients wait for it.
    #[must_use]
    pub fn waiting_batches(&self) -> u64 {
        self.passed.batches
    }

    /// The norm of all gradients together in the last step, before they were clipped by it ([`with_clip`](Self::with_clip)), scaled
    /// down where there is a scaler. A norm to clip to that is infinite measures it, and changes nothing. `None` before the first
    /// step here, and of a run that is not clipped so.
    ///
    /// ```
    /// # use burn::{nn::LinearConfig, tensor::{Device, Tensor}};
    /// # use rekindle_train::{Run, optim::{Optimizer, SgdOptions}};
    /// use rekindle_train::clip::ClipGradNorm;
    /// # let device = Device::flex().autodiff();
    /// # let model = LinearConfig::new(3, 2).init(&device);
    /// # let optimizer = Optimizer::sgd(&model, SgdOptions::default())?;
    ///
    /// let mut run = Run::start(model, optimizer).with_clip(ClipGradNorm::new(f64::INFINITY));
    /// run.step(run.model().forward(Tensor::<2>::ones([4, 3], &device)).sum())?;
    /// assert!((run.grad_norm().unwrap() - 8.0 * f64::sqrt(2.0)).abs() < 1e-6);
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    #[must_use]
    pub fn grad_norm(&self) -> Option<f64> {
        self.grad_norm
    }

    /// The loss of the last step: `loss.item()`. `None` before the first one here.
    ///
    /// # Errors
    /// When it cannot be read from its device.
    pub fn loss(&self) -> Result<Option<f64>> {
        let read = |loss: &Tensor<1>| {
            loss.clone()
                .try_into_scalar::<f64>()
                .map_err(|error| invalid(format!("the loss cannot be read: {error:?}")))
        };
        self.named(self.loss.as_ref().map(read).transpose())
    }

    /// Errors name the file that the run came from, where they name no other.
    pub(super) fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.in_file_if(self.origin.as_ref().and_then(Checkpoint::path))
    }
}

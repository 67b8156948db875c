//! `Run`: the parts of a training run that must survive it, and the verbs of the loop. The loop itself is the user's.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Tensor;
use rekindle_burn::ModuleStateDict as _;
use rekindle_random::Generator;
use rekindle_recorder::checkpoint::{Checkpoint, SaveOptions, SaveReport};
use rekindle_recorder::keys::LoadOptions;
use rekindle_recorder::run::RunState;
use rekindle_recorder::{Error, LoadReport, Result, Tensor as TorchTensor, Value};

use crate::amp::GradScaler;
use crate::attributes::invalid;
use crate::clip::{ClipGradNorm, clip_grad_norm_};
use crate::data::{Batch, DataLoader};
use crate::ema::AveragedModel;
use crate::gradients::Pending;
use crate::lr_scheduler::{LRScheduler, Schedule, SchedulerKind};
use crate::optim::{Hyperparameters, Optimizer, OptimizerKind, Select};

/// How often the scheduler is stepped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchedulePer {
    /// After every step of the optimizer.
    #[default]
    Step,
    /// After the last step of every epoch.
    Epoch,
    /// When the run is told a metric: [`Run::step_scheduler`].
    Metric,
}

/// What [`Run::resume_with`] has to be told where a checkpoint leaves it open.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ResumeOptions {
    /// Which optimizer it was. Default: told by the keys of its state.
    pub optimizer: Option<OptimizerKind>,
    /// Which scheduler it was. Default: told by the keys of its state.
    pub scheduler: Option<SchedulerKind>,
    /// The schedule that the scheduler was made with, where it has functions that no file holds, such as those of
    /// [`transformers`](crate::lr_scheduler::transformers).
    pub schedule: Option<Schedule>,
    /// Which parameters belong to each of the optimizer's groups, in the checkpoint's order. Default: told by their names or
    /// shapes.
    pub groups: Vec<Select>,
    /// How the keys of the model's state dict are mapped to the model's. Default: strict.
    pub load: Option<LoadOptions>,
    /// Seed of the generator where the checkpoint has no generator's state. Default: PyTorch's own default seed.
    pub seed: Option<u64>,
}

/// A training run: model, optimizer, scheduler, loader, generator, and where it is.
///
/// ```no_run
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::Device;
/// use rekindle_recorder::checkpoint::Checkpoint;
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
///     run.step(cross_entropy(logits, batch.classes::<1>(&device)?))?;
///     println!("{} {:?}", run.steps(), run.loss()?);
/// }
/// run.save("run-resumed.pt")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Run<M: Module> {
    /// `None` only while a step is made, and after one that failed.
    model: Option<M>,
    optimizer: Optimizer,
    scheduler: Option<LRScheduler>,
    schedule_per: SchedulePer,
    scaler: Option<GradScaler>,
    clip: Option<ClipGradNorm>,
    average: Option<AveragedModel>,
    /// Those of the passes since the last step.
    grads: Pending,
    loader: Option<DataLoader>,
    generator: Generator,
    /// Epochs that were finished.
    epoch: i64,
    /// Steps that were made. `None` where a checkpoint does not say, until a loader says how many an epoch has.
    step: Option<i64>,
    loss: Option<Tensor<1>>,
    until_epoch: Option<i64>,
    until_step: Option<i64>,
    /// What the run came from, whose layout it is written back in.
    origin: Option<Checkpoint>,
    report: Option<LoadReport>,
}

impl<M: Module> Run<M> {
    /// A run that begins.
    #[must_use]
    pub fn start(model: M, optimizer: Optimizer) -> Self {
        Run {
            model: Some(model),
            optimizer,
            scheduler: None,
            schedule_per: SchedulePer::default(),
            scaler: None,
            clip: None,
            average: None,
            grads: Pending::default(),
            loader: None,
            generator: Generator::default(),
            epoch: 0,
            step: Some(0),
            loss: None,
            until_epoch: None,
            until_step: None,
            origin: None,
            report: None,
        }
    }

    /// A run that goes on from a checkpoint, PyTorch's or one of [`save`](Self::save): its weights are loaded into the model,
    /// its optimizer, scheduler, scaler and generator are made as they were.
    ///
    /// # Errors
    /// When the checkpoint is not one of a training run, the model does not fit it, or it leaves open which optimizer it was
    /// or how parameters are divided into groups; [`Run::resume_with`] takes the answers.
    pub fn resume(checkpoint: Checkpoint, model: M) -> Result<Self> {
        Run::resume_with(checkpoint, model, ResumeOptions::default())
    }

    /// As [`Run::resume`], with answers to what the checkpoint leaves open.
    ///
    /// # Errors
    /// As [`Run::resume`].
    pub fn resume_with(checkpoint: Checkpoint, mut model: M, options: ResumeOptions) -> Result<Self> {
        let state = RunState::read(&checkpoint)?;
        let load = options.load.unwrap_or_else(LoadOptions::strict);
        let report = model.load_state_dict_with(&state.model, &load)?;

        let saved = only(&state.optimizers, "optimizer")?.ok_or_else(|| {
            let advice = "start a new run with its weights instead";
            Error::missing_key("optimizer_state_dict").advise(advice)
        })?;
        let kind = options.optimizer.map_or_else(|| OptimizerKind::infer(saved), Ok)?;
        let mut builder = Optimizer::builder(Hyperparameters::of(kind));
        for select in options.groups {
            builder = builder.group(select, [("lr", 0.0); 0]);
        }
        let mut optimizer = builder.build(&model)?;
        optimizer.load_state_dict(&model, saved)?;

        let mut scheduler = None;
        if let Some(saved) = only(&state.schedulers, "scheduler")? {
            let made = match options.schedule {
                Some(schedule) => LRScheduler::resume(schedule, saved, &optimizer)?,
                None => LRScheduler::from_state_dict(saved, &optimizer)?,
            };
            if let Some(expected) = options.scheduler
                && expected != made.kind()
            {
                return Err(invalid(format!("the checkpoint's scheduler is {}, not {expected}", made.kind())));
            }
            scheduler = Some(made);
        }

        let generator = match (&state.rng, options.seed) {
            (Some(rng), _) => {
                Generator::from_state(&rng.to_vec::<u8>()?).map_err(|error| invalid(format!("rng_state: {error}")))?
            }
            (None, Some(seed)) => Generator::new(seed),
            (None, None) => Generator::default(),
        };
        #[allow(clippy::cast_possible_truncation)]
        let step = state.step.or(optimizer.steps().map(|steps| steps as i64));
        Ok(Run {
            model: Some(model),
            optimizer,
            scheduler,
            schedule_per: SchedulePer::default(),
            scaler: state.scaler.as_ref().map(GradScaler::from_state_dict).transpose()?,
            clip: None,
            average: None,
            grads: Pending::default(),
            loader: None,
            generator,
            epoch: state.epoch.unwrap_or(0),
            step,
            loss: None,
            until_epoch: None,
            until_step: None,
            origin: Some(checkpoint),
            report: Some(report),
        })
    }

    /// With a scheduler.
    #[must_use]
    pub fn with_scheduler(self, scheduler: LRScheduler) -> Self {
        Run { scheduler: Some(scheduler), ..self }
    }

    /// How often the scheduler is stepped. Default: every step.
    #[must_use]
    pub fn schedule_per(self, schedule_per: SchedulePer) -> Self {
        Run { schedule_per, ..self }
    }

    /// With a scaler of gradients, for half precision: losses are scaled, and steps with gradients that overflowed skipped.
    #[must_use]
    pub fn with_scaler(self, scaler: GradScaler) -> Self {
        Run { scaler: Some(scaler), ..self }
    }

    /// With gradients clipped by their norm before each step: `clip_grad_norm_(model.parameters(), ...)`.
    #[must_use]
    pub fn with_clip(self, clip: ClipGradNorm) -> Self {
        Run { clip: Some(clip), ..self }
    }

    /// With an average of the weights, which takes them in after each step.
    #[must_use]
    pub fn with_average(self, average: AveragedModel) -> Self {
        Run { average: Some(average), ..self }
    }

    /// With a loader, which [`next_batch`](Self::next_batch) takes batches from.
    #[must_use]
    pub fn with_loader(self, loader: DataLoader) -> Self {
        let per_epoch = i64::try_from(loader.len()).unwrap_or(i64::MAX);
        let step = self.step.or(Some(self.epoch.saturating_mul(per_epoch)));
        Run { loader: Some(loader), step, ..self }
    }

    /// With this generator in the place of PyTorch's global one: `torch.manual_seed(...)`.
    #[must_use]
    pub fn with_generator(self, generator: Generator) -> Self {
        Run { generator, ..self }
    }

    /// [`next_batch`](Self::next_batch) gives none once so many epochs are finished, those before a checkpoint counted in.
    #[must_use]
    pub fn until_epoch(self, epoch: i64) -> Self {
        Run { until_epoch: Some(epoch), ..self }
    }

    /// [`next_batch`](Self::next_batch) gives none once so many steps are made, those before a checkpoint counted in.
    #[must_use]
    pub fn until_step(self, step: i64) -> Self {
        Run { until_step: Some(step), ..self }
    }

    /// The model.
    ///
    /// # Panics
    /// After a step that failed: the model was lost with it.
    #[must_use]
    pub fn model(&self) -> &M {
        match &self.model {
            Some(model) => model,
            None => panic!("the model was lost in a step that failed"),
        }
    }

    /// The optimizer.
    #[must_use]
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// The optimizer, to change its hyper-parameters.
    pub fn optimizer_mut(&mut self) -> &mut Optimizer {
        &mut self.optimizer
    }

    /// The scheduler, if there is one.
    #[must_use]
    pub fn scheduler(&self) -> Option<&LRScheduler> {
        self.scheduler.as_ref()
    }

    /// The scaler of gradients, if there is one.
    #[must_use]
    pub fn scaler(&self) -> Option<&GradScaler> {
        self.scaler.as_ref()
    }

    /// The average of the weights, if there is one.
    #[must_use]
    pub fn average(&self) -> Option<&AveragedModel> {
        self.average.as_ref()
    }

    /// The loader, if there is one.
    #[must_use]
    pub fn loader(&self) -> Option<&DataLoader> {
        self.loader.as_ref()
    }

    /// What stands for PyTorch's global generator.
    pub fn generator_mut(&mut self) -> &mut Generator {
        &mut self.generator
    }

    /// How the checkpoint's weights went into the model; `None` for a run that was started here.
    #[must_use]
    pub fn load_report(&self) -> Option<&LoadReport> {
        self.report.as_ref()
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

    /// The learning rate of each group.
    ///
    /// # Errors
    /// When somebody put something else than a number in its place.
    pub fn lr(&self) -> Result<Vec<f64>> {
        self.optimizer.lr()
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
        self.loss.as_ref().map(read).transpose()
    }

    /// The next batch of the loader; `None` when the run has come to its end ([`until_epoch`](Self::until_epoch),
    /// [`until_step`](Self::until_step)). Without an end it goes on for ever.
    ///
    /// # Errors
    /// When there is no loader, or it has nothing to sample from.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        loop {
            let reached = |end: Option<i64>, now: i64| end.is_some_and(|end| now >= end);
            if reached(self.until_epoch, self.epoch) || reached(self.until_step, self.steps()) {
                return Ok(None);
            }
            let Some(loader) = &mut self.loader else {
                return Err(invalid("the run has no loader to take a batch from; give it one with `with_loader`"));
            };
            if loader.is_empty() {
                return Err(invalid(
                    "the run's loader has no batches: the data set is empty, or smaller than one batch",
                ));
            }
            match loader.next_batch(&mut self.generator)? {
                Some(batch) => return Ok(Some(batch)),
                // Only if the last batch was not stepped on.
                None => self.finish_epoch()?,
            }
        }
    }

    /// `loss.backward()` without a step: the gradients are kept, and summed with those of the passes before and of the next
    /// [`step`](Self::step). For the mean over several batches divide each loss by their number.
    ///
    /// # Errors
    /// When the model was lost in a step that failed.
    pub fn backward(&mut self, loss: Tensor<1>) -> Result<()> {
        let Some(model) = &self.model else { return Err(lost()) };
        let scaled = match &mut self.scaler {
            Some(scaler) => scaler.scale(loss.clone()),
            None => loss.clone(),
        };
        let grads = scaled.backward();
        self.loss = Some(loss.inner());
        self.grads.add(model, grads);
        Ok(())
    }

    /// `loss.backward()`, `optimizer.step()`, and `scheduler.step()` where it is due: after every step, or after the step on
    /// the last batch of an epoch. Gradients are scaled and clipped, and the average updated, where the run has it so.
    ///
    /// # Errors
    /// When the optimizer's state does not fit the model (which is lost then), the scheduler cannot go on, or gradients
    /// cannot be clipped.
    pub fn step(&mut self, loss: Tensor<1>) -> Result<()> {
        self.backward(loss)?;
        let (Some(model), Some(mut grads)) = (&self.model, self.grads.take()) else { return Err(lost()) };
        if let Some(clip) = self.clip {
            if let Some(scaler) = &mut self.scaler {
                scaler.unscale_(&self.optimizer, model, &mut grads)?;
            }
            clip_grad_norm_(model, self.optimizer.parameters(), &mut grads, clip)?;
        }
        let Some(model) = self.model.take() else { return Err(lost()) };
        let model = match &mut self.scaler {
            Some(scaler) => {
                let (model, _) = scaler.step(&mut self.optimizer, model, grads)?;
                scaler.update()?;
                model
            }
            None => self.optimizer.step(model, grads)?,
        };
        let model = self.model.insert(model);
        if let Some(average) = &mut self.average {
            average.update_parameters(model)?;
        }
        self.step = Some(self.steps() + 1);
        if self.schedule_per == SchedulePer::Step {
            self.schedule()?;
        }
        if let Some(loader) = &mut self.loader
            && loader.is_exhausted()
        {
            loader.end_epoch();
            self.finish_epoch()?;
        }
        Ok(())
    }

    /// `scheduler.step(metric)`: for schedulers that go by a metric, such as the loss on held-back samples.
    ///
    /// # Errors
    /// When there is no scheduler, or it goes by no metric.
    pub fn step_scheduler(&mut self, metric: f64) -> Result<()> {
        match &mut self.scheduler {
            Some(scheduler) => scheduler.step_with_metric(metric, &mut self.optimizer),
            None => {
                Err(invalid("the run has no scheduler that a metric could be told; give it one with `with_scheduler`"))
            }
        }
    }

    fn schedule(&mut self) -> Result<()> {
        match &mut self.scheduler {
            Some(scheduler) => scheduler.step(&mut self.optimizer),
            None => Ok(()),
        }
    }

    fn finish_epoch(&mut self) -> Result<()> {
        self.epoch += 1;
        if self.schedule_per == SchedulePer::Epoch { self.schedule() } else { Ok(()) }
    }

    /// The run as a checkpoint: in the layout that it came in, with everything kept that is not this run's; else in that of
    /// the PyTorch tutorial.
    ///
    /// # Errors
    /// When something cannot be read from its device.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let model = self.model();
        let mut state = RunState::default();
        state.model = model.state_dict()?;
        state.optimizers = vec![self.optimizer.state_dict(model)?];
        state.schedulers = self.scheduler.iter().map(LRScheduler::state_dict).collect();
        state.scaler = self.scaler.as_ref().map(GradScaler::state_dict);
        state.ema = self.average.as_ref().map(AveragedModel::state_dict);
        state.rng = Some(TorchTensor::from_vec(&[rekindle_random::STATE_SIZE], self.generator.state().to_vec())?);
        state.epoch = Some(self.epoch);
        state.loss = self.loss()?.map(Value::from);
        let Some(origin) = &self.origin else { return state.to_checkpoint() };
        // A step that the checkpoint does not tell is told by the optimizer's.
        state.step = RunState::read(origin)?.step.and(self.step);
        state.write_back(origin)
    }

    /// Writes [`checkpoint`](Self::checkpoint) to a file, whole or not at all. A file that is there is replaced.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<SaveReport> {
        self.checkpoint()?.save(path)
    }

    /// As [`save`](Self::save), with options.
    ///
    /// # Errors
    /// As [`save`](Self::save), and when the file exists and is not to be replaced.
    pub fn save_with(&self, path: impl AsRef<Path>, options: &SaveOptions) -> Result<SaveReport> {
        self.checkpoint()?.save_with(path, options)
    }
}

fn lost() -> rekindle_recorder::Error {
    invalid("the model was lost in a step that failed")
}

/// The one state dict of its kind, where there is any.
fn only<'a>(found: &'a [Value], what: &str) -> Result<Option<&'a Value>> {
    match found {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => {
            let what = format!("resuming a run with {} {what}s", several.len());
            let advice = "load each into an `Optimizer` or `LRScheduler` of its own";
            Err(Error::unsupported(what).advise(advice))
        }
    }
}

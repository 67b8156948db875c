//! The turns of the loop: whether there is another one, and the checkpoints that are made between two of them.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;
use rekindle_recorder::{Error, Result, ResultExt as _};

use super::between::{Before, Rates};
use super::parts::Run;
use super::share::Passed;
use crate::attributes::invalid;
use crate::checkpoints::{Checkpoints, Found};
use crate::data::Batch;
use crate::gradients::Pending;

impl<M: Module> Run<M> {
    /// With the checkpoints of a folder: the run goes on from the newest one there that is whole, to the bit, whatever it was made
    /// of; where there is none it begins, and its beginning is saved at once. From then on it is saved as their options say,
    /// between two turns of the loop: when the next batch is asked for, or [`goes_on`](Self::goes_on) is, so that all that a
    /// program did after a step is in it.
    ///
    /// The run must have its parts already, the loader among them. [`went_on`](Self::went_on) tells what was found.
    ///
    /// ```
    /// # use burn::{nn::LinearConfig, tensor::{Device, Tensor}};
    /// # use rekindle_train::{Run, optim::{Optimizer, SgdOptions}};
    /// use rekindle_train::checkpoints::{CheckpointOptions, Checkpoints};
    ///
    /// # let (device, folder) = (Device::flex().autodiff(), tempfile::tempdir().unwrap());
    /// # let folder = folder.path();
    /// let start = || -> Result<_, rekindle_recorder::Error> {
    ///     let model = LinearConfig::new(3, 2).init(&device);
    ///     let optimizer = Optimizer::sgd(&model, SgdOptions::default())?;
    ///     let checkpoints = Checkpoints::new(folder, CheckpointOptions::default().every_steps(2))?;
    ///     Run::start(model, optimizer).with_checkpoints(checkpoints)
    /// };
    /// let mut run = start()?.until_step(3);
    /// while run.goes_on()? {
    ///     let loss = run.model().forward(Tensor::<2>::ones([4, 3], &device)).powf_scalar(2.0).mean();
    ///     run.step(loss)?;
    /// }
    /// run.finish()?;
    /// drop(run);
    ///
    /// let again = start()?;
    /// assert_eq!(again.steps(), 3);
    /// assert!(again.went_on().unwrap().path.ends_with("step-3.pt"));
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// # Errors
    /// When there are checkpoints and none of them is whole: a run does not begin anew by itself. When the newest is of a run of
    /// other parts; and when the first one cannot be written.
    pub fn with_checkpoints(mut self, mut checkpoints: Checkpoints) -> Result<Self> {
        match checkpoints.newest()? {
            Some(found) => {
                self.restore(&found.checkpoint)?;
                self.checkpoints = Some(checkpoints);
                self.went_on = Some(found);
                self.saved_metric = Some(self.steps());
                self.set_rates();
            }
            None => {
                self.checkpoints = Some(checkpoints);
                self.keep()?;
                self.wait()?;
            }
        }
        let in_background = self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.options().in_background);
        self.trainers().for_each(|(optimizer, _)| optimizer.keep_room(in_background));
        self.unsaved = false;
        Ok(self)
    }

    /// The checkpoint of its folder that the run went on from, and which were passed over; `None` where it began.
    #[must_use]
    pub fn went_on(&self) -> Option<&Found> {
        self.went_on.as_ref()
    }

    /// The checkpoints of its folder.
    #[must_use]
    pub fn checkpoints(&self) -> Option<&Checkpoints> {
        self.checkpoints.as_ref()
    }

    /// With learning rates of the program's own: the rate of all groups in each step, by the number of steps that were made
    /// before it, as nanoGPT's loop has it. It takes the place of a scheduler.
    ///
    /// ```
    /// # use burn::{nn::LinearConfig, tensor::{Device, Tensor}};
    /// # use rekindle_train::{Run, optim::{Optimizer, SgdOptions}};
    /// # let device = Device::flex().autodiff();
    /// # let model = LinearConfig::new(3, 2).init(&device);
    /// # let optimizer = Optimizer::sgd(&model, SgdOptions::default())?;
    /// let warm_up = |step: i64| 1e-3 * f64::from(step.min(9) as i32 + 1) / 10.0;
    /// let mut run = Run::start(model, optimizer).with_rates(warm_up);
    /// assert_eq!(run.lr()?, [1e-4]);
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    #[must_use]
    pub fn with_rates(mut self, rate: impl Fn(i64) -> f64 + Send + Sync + 'static) -> Self {
        self.rates = Some(Rates(Arc::new(rate)));
        self.set_rates();
        self
    }

    /// Sets the rates of the next step, where they are the program's own.
    pub(super) fn set_rates(&mut self) {
        let Some(rate) = self.rates.as_ref().map(|rates| (rates.0)(self.steps())) else { return };
        for (optimizer, _) in self.trainers() {
            optimizer.param_groups_mut().iter_mut().for_each(|group| group.set_float("lr", rate));
        }
    }

    /// Whether it has come to its end ([`until_epoch`](Self::until_epoch), [`until_step`](Self::until_step)), or a signal asks it
    /// to end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_at_end() || self.signal().is_some()
    }

    pub(super) fn is_at_end(&self) -> bool {
        let reached = |end: Option<i64>, now: i64| end.is_some_and(|end| now >= end);
        reached(self.until_epoch, self.epoch) || reached(self.until_step, self.steps())
    }

    /// The signal that came and asks the run to end, such as 2 for SIGINT, where its [checkpoints](Self::with_checkpoints) listen.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.checkpoints.as_ref().and_then(Checkpoints::signal)
    }

    /// Whether there is another turn of the loop, for a loop whose batches are its own; [`next_batch`](Self::next_batch) asks it by
    /// itself. Between two turns the run is saved, where it is time to.
    ///
    /// # Errors
    /// The first time, when the run could not be saved at its end; and when a checkpoint could not be written, in the background
    /// that of a turn before.
    pub fn goes_on(&mut self) -> Result<bool> {
        self.try_end()?;
        if self.is_save_due() || self.unsaved && self.signal().is_some() {
            self.keep()?;
        }
        if self.is_done() {
            return Ok(false);
        }
        if self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.options().on_error) {
            let ((loader, generator), loss) = (self.placed()?, self.loss.clone());
            let (waits, unsaved) = (self.grads.any(), self.unsaved);
            self.before = Some(Before { generator, loader, loss, waits, unsaved });
        }
        self.touched = false;
        Ok(true)
    }

    /// Whether the run is saved when the next turn begins: a program that measures it then does so where this says yes. A metric
    /// that it was [told](Self::tell), and that tells which checkpoint is best, is a reason to.
    #[must_use]
    pub fn is_save_due(&self) -> bool {
        self.checkpoints.as_ref().is_some_and(|checkpoints| {
            let told = checkpoints.options().metric.as_ref().and_then(|(name, _)| self.told(name));
            told.is_some() && self.saved_metric != Some(self.steps())
                || self.unsaved && checkpoints.is_due(self.steps(), self.epoch, self.ended)
        })
    }

    /// Saves the run in its folder, where it has one.
    fn keep(&mut self) -> Result<()> {
        if self.failed {
            let what = "a step failed amid its changes, and what is left of the run is not kept; go on from its newest checkpoint";
            return Err(invalid(what));
        }
        let Some(mut checkpoints) = self.checkpoints.take() else { return Ok(()) };
        let metric = checkpoints.options().metric.as_ref().and_then(|(name, _)| self.told(name));
        let kept = self.whole_checkpoint().and_then(|whole| checkpoints.save(self.steps(), metric, whole));
        self.checkpoints = Some(checkpoints);
        kept?;
        self.unsaved = false;
        self.saved_metric = metric.map(|_| self.steps());
        Ok(())
    }

    /// Waits until the checkpoints that were made are on the disk.
    ///
    /// # Errors
    /// When one could not be written.
    pub fn wait(&mut self) -> Result<()> {
        let written = self.checkpoints.as_mut().map_or(Ok(()), Checkpoints::wait);
        self.unsaved |= written.is_err();
        written
    }

    /// Ends the run: saves it in its folder where that has no checkpoint of it as it is, and waits until all is on the disk. Where
    /// a signal asked it to end, the process ends here as the signal asks; what is to be done at the end of a whole run comes
    /// after.
    ///
    /// # Errors
    /// When a checkpoint could not be written.
    pub fn finish(&mut self) -> Result<()> {
        if self.unsaved || self.is_save_due() {
            self.keep()?;
        }
        self.wait()?;
        self.checkpoints.as_mut().map_or(Ok(()), Checkpoints::pass_signal_on)
    }

    /// All turns of the loop: takes each batch, computes its loss, makes a step, and [finishes](Self::finish). Where `loss` fails,
    /// the run is saved in its folder as it was before this batch.
    ///
    /// ```no_run
    /// # use burn::{nn::{Linear, LinearConfig}, tensor::Device};
    /// # use rekindle_train::{Run, loss::cross_entropy, checkpoints::{CheckpointOptions, Checkpoints}};
    /// # fn start() -> Result<Run<Linear>, rekindle_recorder::Error> { unimplemented!() }
    /// # let device = Device::flex().autodiff();
    /// let checkpoints = Checkpoints::new("runs/digits", CheckpointOptions::default().every_steps(100))?;
    /// let mut run = start()?.with_checkpoints(checkpoints)?.until_epoch(26);
    /// run.train(|run, batch| cross_entropy(run.model().forward(batch.inputs::<2>(&device)?), batch.classes::<1>(&device)?))?;
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch), [`step`](Self::step) and [`finish`](Self::finish), and what `loss` fails with.
    pub fn train<E: From<Error>>(
        &mut self,
        mut loss: impl FnMut(&mut Self, &Batch) -> Result<Tensor<1>, E>,
    ) -> Result<(), E> {
        while let Some(batch) = self.next_batch()? {
            match loss(self, &batch) {
                Ok(loss) => self.step(loss)?,
                Err(error) => {
                    self.keep_before()?;
                    return Err(error);
                }
            }
        }
        Ok(self.finish()?)
    }

    /// What a step gives; where it is an error, the run is saved as it was before the turn.
    pub(super) fn or_kept<T>(&mut self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match self.keep_before() {
            Ok(()) => error,
            Err(other) => error.advise(format!("what was done until then could not be saved: {other}")),
        })
    }

    /// Saves the run as it was before this turn, where it has checkpoints, no weight has changed since, and there is none of it.
    /// Where weights have changed the newest checkpoint stays the one to go on from.
    fn keep_before(&mut self) -> Result<()> {
        self.failed = self.touched;
        let Some(before) = self.before.take() else { return Ok(()) };
        if !before.unsaved || before.waits || self.touched {
            return self.wait();
        }
        *self.generator() = before.generator;
        if let (Some(loader), Some(state)) = (&mut self.loader, &before.loader) {
            loader.load_state_dict(state)?;
        }
        (self.grads, self.passed, self.loss) = (Pending::default(), Passed::default(), before.loss);
        self.keep().and_then(|()| self.wait()).at("the run before the step that failed")
    }

    /// What is amiss with the parts that were given, and could not be said then.
    pub(super) fn fits_together(&self) -> Result<()> {
        if self.rates.is_some() && self.schedulers().next().is_some() {
            return Err(invalid(
                "the run has a scheduler, and rates of its own (`Run::with_rates`); leave out one of them",
            ));
        }
        self.place.refused.as_ref().map_or(Ok(()), |refused| Err(invalid(refused.clone())))
    }
}

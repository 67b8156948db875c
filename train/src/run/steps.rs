//! The verbs of the loop: the next batch, a backward pass, a step.

use std::sync::PoisonError;

use burn::module::Module;
use burn::tensor::{DType, FloatDType, Gradients, Tensor};
use rekindle_burn::NamedParameter;
use rekindle_recorder::Result;
use rekindle_recorder::run::Leftover;

use super::average_when::Done;
use super::parts::{Clip, Run};
use super::schedule::Schedulers;
use super::share::{Items, Passed, Share};
use crate::amp::GradScaler;
use crate::attributes::invalid;
use crate::beside::Step;
use crate::clip::{Together, clip_together};
use crate::data::Batch;
use crate::gradients::{Pending, for_each};
use crate::lr_scheduler::SteppedBy;
use crate::optim::{Optimizer, OptimizerKind};

impl<M: Module> Run<M> {
    /// The next batch of the loader; `None` when the run has come to its end ([`until_epoch`](Self::until_epoch),
    /// [`until_step`](Self::until_step)), or a signal asks it to end. Without an end it goes on for ever. Before the batch is taken
    /// the run is saved, where it is time to ([`with_checkpoints`](Self::with_checkpoints)).
    ///
    /// # Errors
    /// When there is no loader, or it has nothing to sample from; the first time, when the run could not be saved at its end; and as [`goes_on`](Self::goes_on).
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        if !self.goes_on()? {
            return Ok(None);
        }
        let batch = self.take_batch();
        self.named(batch)
    }

    fn take_batch(&mut self) -> Result<Option<Batch>> {
        loop {
            if self.is_at_end() {
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
            let mut generator = self.generator.lock().unwrap_or_else(PoisonError::into_inner);
            match loader.next_batch(&mut generator)? {
                Some(batch) => {
                    self.unsaved = true;
                    return Ok(Some(batch));
                }
                // Only if the last batch was not stepped on.
                None => {
                    drop(generator);
                    self.finish_epoch()?;
                }
            }
        }
    }

    /// `loss.backward()` without a step: the gradients are kept, and summed with those of the passes before and of the next
    /// [`step`](Self::step). For the mean over several batches divide each loss by their number.
    ///
    /// # Errors
    /// The first time, when the run could not be saved at its end; and when the loss depends on nothing that is trained.
    pub fn backward(&mut self, loss: Tensor<1>) -> Result<()> {
        self.try_end()?;
        differentiable(&loss)?;
        let scaled = match &mut self.scaler {
            Some(scaler) => scaler.scale(loss.clone()),
            None => loss.clone(),
        };
        let grads = scaled.backward();
        self.loss = Some(loss.inner());
        self.unsaved = true;
        if let Some(model) = &self.model {
            self.grads.add(model, grads);
        }
        Ok(())
    }

    /// `loss.backward()`, `optimizer.step()`, and `scheduler.step()` where it is due: after every step, or after the step on
    /// the last batch of an epoch. Gradients are scaled and clipped, and the average updated, where the run has it so. With
    /// [`accumulate`](Self::accumulate) only every so many calls make a step; [`loss`](Self::loss) is the mean of its losses so
    /// far.
    ///
    /// # Errors
    /// When the optimizer's state does not fit the model, the scheduler cannot go on, or gradients cannot be clipped. The run
    /// is there afterwards, too, with its model.
    pub fn step(&mut self, loss: Tensor<1>) -> Result<()> {
        self.step_of(loss, Share::Batch)
    }

    /// As [`step`](Self::step), of a loss that has another share in the step than one batch of [`accumulate`](Self::accumulate) has:
    /// transformers' Trainer divides the sum of the losses of all tokens of a step by their number, wherever the batches end.
    ///
    /// ```
    /// # use burn::{nn::LinearConfig, tensor::{Device, Tensor}};
    /// # use rekindle_train::{Run, optim::{Optimizer, SgdOptions}};
    /// use rekindle_train::run::Share;
    /// # let device = Device::flex().autodiff();
    /// # let model = LinearConfig::new(3, 2).init(&device);
    /// # let optimizer = Optimizer::sgd(&model, SgdOptions::default())?;
    ///
    /// let mut run = Run::start(model, optimizer).accumulate(2);
    /// for rows in [4, 2] {
    ///     let outputs = run.model().forward(Tensor::<2>::ones([rows, 3], &device));
    ///     run.step_of(outputs.powf_scalar(2.0).sum(), Share::Items(2.0 * rows as f64))?;
    /// }
    /// assert_eq!(run.steps(), 1);
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_of(&mut self, loss: Tensor<1>, share: Share) -> Result<()> {
        // Whose backward pass wants all cores, where there are few.
        let _step = Step::begin_on_few_cores();
        let stepped = self.pass(loss, share).and_then(|due| if due { self.stepped() } else { Ok(()) });
        let stepped = self.named(stepped);
        self.or_kept(stepped)
    }

    /// A backward pass, and whether it is the last one of a step.
    fn pass(&mut self, loss: Tensor<1>, share: Share) -> Result<bool> {
        if self.accumulate <= 1 && share == Share::Batch {
            self.backward(loss)?;
            return Ok(true);
        }
        if self.leftover == Leftover::Dropped && self.begins_epoch() {
            (self.grads, self.passed) = (Pending::default(), Passed::all_but_one(self.accumulate));
        }
        let said = loss.clone().inner();
        // Losses of 16 bits are added up in more.
        let said = if said.dtype() == DType::F64 { said } else { said.cast(FloatDType::F32) };
        let portion = share.portion(self.passed.items, self.accumulate);
        self.backward(if share == Share::Whole { loss } else { loss / portion })?;
        let Passed { batches, lost, sum, items } = std::mem::take(&mut self.passed);
        let sum = sum.map_or(said.clone(), |sum| sum + said);
        self.passed =
            Passed { batches: batches + 1, lost, items: share.counted(items, portion), sum: Some(sum.clone()) };
        self.loss = Some(self.passed.mean(sum, share));
        let ends = match &self.loader {
            _ if self.leftover != Leftover::Stepped => false,
            Some(loader) => loader.is_exhausted(),
            None => self.is_last_of_epoch(),
        };
        let due = self.passed.batches >= self.accumulate || ends;
        if !due {
            self.passed_by()?;
        }
        Ok(due)
    }

    /// What follows a batch that makes no step.
    fn passed_by(&mut self) -> Result<()> {
        if let Some(model) = &self.model {
            self.average.update(model, Done::Batch)?;
        }
        self.trainers().try_for_each(|(optimizer, schedulers)| schedulers.after_batch(optimizer))
    }

    /// A step on the gradients of the passes before it.
    fn stepped(&mut self) -> Result<()> {
        let stepped = self.unscaled(false).and_then(|mut grads| {
            if let (Some(clip), Some(model)) = (self.clip, &self.model) {
                self.grad_norm = clip.apply(model, self.parameters(), &mut grads)?;
            }
            self.stepped_on(grads)
        });
        if let (Err(_), Some(scaler)) = (&stepped, &mut self.scaler) {
            scaler.forget();
        }
        stepped
    }

    /// The parameters of all optimizers.
    fn parameters(&self) -> impl Iterator<Item = &NamedParameter> {
        self.optimizers().flat_map(Optimizer::parameters)
    }

    /// The gradients that wait for a step, divided by what the step's items are more than they were taken for; unscaled where they
    /// are to be clipped, or anyhow.
    fn unscaled(&mut self, anyhow: bool) -> Result<Gradients> {
        let items = std::mem::take(&mut self.passed).items;
        let (Some(model), Some(mut grads)) = (&self.model, self.grads.take()) else {
            return Err(invalid("the model was lost in a step that panicked"));
        };
        if let Some(factor) = items.map(Items::factor).filter(|&factor| factor != 1.0) {
            for_each(model, self.parameters(), &mut grads, |_, grad| grad * factor)?;
        }
        if let (Some(scaler), true) = (&mut self.scaler, anyhow || self.clip.is_some()) {
            scaler.unscale_(&self.optimizer, model, &mut grads)?;
            self.beside.iter().try_for_each(|beside| scaler.unscale_(&beside.optimizer, model, &mut grads))?;
        }
        Ok(grads)
    }

    /// Steps the schedulers that are stepped before the optimizer.
    fn before_step(&mut self) -> Result<()> {
        let (made, per_epoch) = (self.steps(), self.epoch_length());
        self.trainers().try_for_each(|(optimizer, schedulers)| {
            schedulers.before_step(optimizer.param_groups_mut(), made, per_epoch)
        })
    }

    fn stepped_on(&mut self, mut grads: Gradients) -> Result<()> {
        self.before_step()?;
        self.touched = true;
        if let Some(mut model) = self.model.take() {
            let mut done = Ok(());
            let beside = self.beside.iter_mut().map(|beside| &mut beside.optimizer);
            for optimizer in std::iter::once(&mut self.optimizer).chain(beside) {
                (model, done) = match &mut self.scaler {
                    Some(scaler) => {
                        let (model, made) = scaler.try_step(optimizer, model, &mut grads);
                        (model, made.map(drop))
                    }
                    None => optimizer.try_step(model, &mut grads),
                };
                if done.is_err() {
                    break;
                }
            }
            self.model = Some(model);
            done?;
            self.scaler.as_mut().map_or(Ok(()), GradScaler::update)?;
        }
        self.made()
    }

    /// `optimizer.step(closure)`, and all else that [`step`](Self::step) does, for LBFGS: it evaluates the loss of the model as
    /// often as it needs, each time with a backward pass of its own. The other optimizers ask once.
    ///
    /// # Errors
    /// As [`step`](Self::step), and what the closure fails with; for LBFGS also with a scaler of gradients, which takes no
    /// closures, in PyTorch as here, and after a [`backward`](Self::backward) that no step followed. The run is there
    /// afterwards, too, with its model.
    pub fn step_closure(&mut self, mut closure: impl FnMut(&M) -> Result<Tensor<1>>) -> Result<()> {
        self.step_closure_of(|model| closure(model).map(|loss| (loss, Share::Batch)))
    }

    /// As [`step_closure`](Self::step_closure), of losses each with its share in the step: see [`step_of`](Self::step_of).
    ///
    /// # Errors
    /// As [`step_closure`](Self::step_closure).
    pub fn step_closure_of(&mut self, mut closure: impl FnMut(&M) -> Result<(Tensor<1>, Share)>) -> Result<()> {
        if self.optimizer.kind() != OptimizerKind::Lbfgs {
            let loss = self.named(closure(self.model()));
            let (loss, share) = self.or_kept(loss)?;
            return self.step_of(loss, share);
        }
        self.try_end()?;
        let stepped = self.minimized(|model| {
            closure(model).map(|(loss, share)| match share {
                Share::Items(items) => loss / items,
                Share::Batch | Share::Whole => loss,
            })
        });
        let stepped = self.named(stepped);
        self.or_kept(stepped)
    }

    fn minimized(&mut self, mut closure: impl FnMut(&M) -> Result<Tensor<1>>) -> Result<()> {
        if self.scaler.as_ref().is_some_and(GradScaler::is_enabled) {
            return Err(invalid(
                "a GradScaler takes no closures, and LBFGS makes no step without one, in PyTorch as here",
            ));
        }
        if self.grads.take().is_some() {
            return Err(invalid(
                "a `backward` was not followed by a step, and LBFGS makes passes of its own: leave it out",
            ));
        }
        self.before_step()?;
        let Some(model) = self.model.take() else {
            return Err(invalid("the model was lost in a step that panicked"));
        };
        (self.touched, self.unsaved) = (true, true);
        let (clip, mut norm) = (self.clip, None);
        let clipped: Vec<_> = self.optimizer.parameters().filter(|_| clip.is_some()).cloned().collect();
        let mut before = None;
        let (model, done) = self.optimizer.try_step_closure(model, |model| {
            let loss = closure(model)?;
            differentiable(&loss)?;
            let mut grads = loss.backward();
            before.get_or_insert_with(|| loss.clone().inner());
            if let Some(clip) = clip {
                norm = clip.apply(model, &clipped, &mut grads)?;
            }
            Ok((loss, grads))
        });
        self.model = Some(model);
        self.loss = before.or(self.loss.take());
        self.grad_norm = norm;
        done?;
        self.made()
    }

    /// What follows a step of the optimizer.
    fn made(&mut self) -> Result<()> {
        let epoch = self.epoch;
        self.step = Some(self.steps().saturating_add(1));
        self.notes.step();
        let per_epoch = self.epoch_length();
        let made = self.steps();
        let in_epoch = self.counted_in_epoch(made);
        if let Some(model) = &self.model {
            self.average.update(model, Done::Step(made, in_epoch, epoch))?;
        }
        let counted = (made, in_epoch);
        self.trainers().try_for_each(|(optimizer, schedulers)| schedulers.after_step(optimizer, counted, per_epoch))?;
        let ends = self.steps_per_epoch.is_some_and(|per_epoch| self.steps().saturating_sub(self.cut) % per_epoch == 0);
        match &mut self.loader {
            Some(loader) if loader.is_exhausted() => {
                loader.end_epoch();
                self.finish_epoch()?;
            }
            None if ends => self.finish_epoch()?,
            _ => {}
        }
        self.ended = self.epoch > epoch;
        self.set_rates();
        Ok(())
    }

    /// Which of its epoch's a step is, from 1; of all, where it is not known how many an epoch has.
    fn counted_in_epoch(&self, made: i64) -> i64 {
        self.epoch_length()
            .map_or(made, |length| made.saturating_sub(self.cut).saturating_sub(1).rem_euclid(length) + 1)
    }

    /// `scheduler.step(metric)`: for schedulers that go by a metric, such as the loss on held-back samples.
    ///
    /// # Errors
    /// When there is no scheduler, or it goes by no metric.
    pub fn step_scheduler(&mut self, metric: f64) -> Result<()> {
        let several = !self.beside.is_empty();
        let by_metric = |schedulers: &Schedulers| {
            schedulers.iter().any(|scheduler| scheduler.stepped_by() == Some(SteppedBy::Metric))
        };
        let mut told = self.trainers().filter(|(_, schedulers)| !several || by_metric(schedulers));
        let stepped = told.try_for_each(|(optimizer, schedulers)| schedulers.tell(metric, optimizer));
        drop(told);
        self.named(stepped)
    }

    fn finish_epoch(&mut self) -> Result<()> {
        self.epoch = self.epoch.saturating_add(1);
        if let Some(model) = &self.model {
            self.average.update(model, Done::Epoch(self.epoch))?;
        }
        let finished = self.epoch;
        self.trainers().try_for_each(|(optimizer, schedulers)| schedulers.after_epoch(optimizer, finished))
    }
}

/// A step of an optimizer that several models share, each on a loss of its own: as [`Run::step`] of each, but that a norm to which
/// gradients are clipped is of all of them together, as `clip_grad_norm_` has it over the optimizer's parameters, and that gradients of
/// one which overflowed skip the step of all. The first run says how they are clipped. With [`Run::accumulate`] only every so many calls
/// make a step, and the last one of an epoch of any loader.
///
/// # Errors
/// As [`Run::step`]; when there are not as many losses as runs; and when they take different numbers of batches for a step.
pub fn step_together<M: Module>(runs: &mut [&mut Run<M>], losses: Vec<Tensor<1>>) -> Result<()> {
    if runs.len() != losses.len() {
        return Err(invalid(format!("{} runs cannot make a step on {} losses", runs.len(), losses.len())));
    }
    let Some(first) = runs.first() else { return Ok(()) };
    let batches = |run: &Run<M>| (run.accumulate, run.passed.batches);
    if let Some(other) = runs.iter().find(|run| batches(run) != batches(first)) {
        let ((each, passed), (others, theirs)) = (batches(first), batches(other));
        return Err(invalid(format!(
            "runs make their steps together on as many batches each; one takes {each} (`Run::accumulate`) and has passed {passed}, another \
             takes {others} and has passed {theirs}"
        )));
    }
    let mut due = false;
    for (run, loss) in runs.iter_mut().zip(losses) {
        let passed = run.pass(loss, Share::Batch);
        due |= run.named(passed)?;
    }
    if !due {
        return Ok(());
    }
    let stepped = stepped_together(runs);
    if stepped.is_err() {
        runs.iter_mut().filter_map(|run| run.scaler.as_mut()).for_each(GradScaler::forget);
    }
    stepped
}

fn stepped_together<M: Module>(runs: &mut [&mut Run<M>]) -> Result<()> {
    let mut all = Vec::with_capacity(runs.len());
    for run in runs.iter_mut() {
        let unscaled = run.unscaled(true);
        all.push(run.named(unscaled)?);
    }
    if runs.iter().filter_map(|run| run.scaler.as_ref()).any(GradScaler::has_found_inf) {
        runs.iter_mut().filter_map(|run| run.scaler.as_mut()).for_each(GradScaler::skip);
    }
    let clip = runs.first().and_then(|run| run.clip);
    if let Some(Clip::Norm(clip)) = clip {
        let mut together = Vec::with_capacity(runs.len());
        for (run, grads) in runs.iter().zip(&mut all) {
            let Some(model) = &run.model else { return Err(invalid("the model was lost in a step that panicked")) };
            together.push(Together { model, parameters: run.parameters().collect(), grads });
        }
        let norm = clip_together(&mut together, clip)?;
        runs.iter_mut().for_each(|run| run.grad_norm = Some(norm));
    } else if let Some(clip) = clip {
        for (run, grads) in runs.iter_mut().zip(&mut all) {
            let Some(model) = &run.model else { return Err(invalid("the model was lost in a step that panicked")) };
            run.grad_norm = clip.apply(model, run.parameters(), grads)?;
        }
    }
    for (run, grads) in runs.iter_mut().zip(all) {
        let stepped = run.stepped_on(grads);
        run.named(stepped)?;
    }
    Ok(())
}

/// Whether a backward pass leads anywhere. (PyTorch: "element 0 of tensors does not require grad".)
fn differentiable(loss: &Tensor<1>) -> Result<()> {
    if loss.is_tracked() {
        return Ok(());
    }
    Err(invalid("the loss depends on no parameter that is trained: all are frozen, or it was computed apart from them"))
}

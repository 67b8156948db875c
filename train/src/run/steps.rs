//! The verbs of the loop: the next batch, a backward pass, a step.

use std::sync::PoisonError;

use burn::module::Module;
use burn::tensor::{DType, FloatDType, Gradients, Tensor};
use rekindle_burn::NamedParameter;
use rekindle_recorder::Result;

use super::options::SchedulePer;
use super::parts::{Clip, Run};
use super::schedule::Schedulers;
use crate::amp::GradScaler;
use crate::attributes::invalid;
use crate::clip::{Together, clip_together};
use crate::data::{Batch, Loader};
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
        let stepped = self.step_with(loss);
        self.or_kept(stepped)
    }

    fn step_with(&mut self, loss: Tensor<1>) -> Result<()> {
        if self.accumulate > 1 {
            #[allow(clippy::cast_precision_loss)] // a count of batches
            let (share, said) = (self.accumulate as f64, loss.clone().inner());
            // Losses of 16 bits are added up in more.
            let said = if said.dtype() == DType::F64 { said } else { said.cast(FloatDType::F32) };
            self.backward(loss / share)?;
            let (passed, sum) = (self.passed.0 + 1, self.passed.1.take());
            let sum = sum.map_or(said.clone(), |sum| sum + said);
            #[allow(clippy::cast_precision_loss)]
            let mean = sum.clone() / passed as f64;
            (self.loss, self.passed) = (Some(mean), (passed, Some(sum)));
            let ends = self.loader.as_ref().is_some_and(Loader::is_exhausted);
            if passed < self.accumulate && !ends {
                return Ok(());
            }
            self.passed = (0, None);
        } else {
            self.backward(loss)?;
        }
        let stepped = self.stepped();
        if let (Err(_), Some(scaler)) = (&stepped, &mut self.scaler) {
            scaler.forget();
        }
        self.named(stepped)
    }

    fn stepped(&mut self) -> Result<()> {
        let mut grads = self.unscaled()?;
        if let (Some(clip), Some(model)) = (self.clip, &self.model) {
            self.grad_norm = clip.apply(model, self.parameters(), &mut grads)?;
        }
        self.stepped_on(grads)
    }

    /// The parameters of all optimizers.
    fn parameters(&self) -> impl Iterator<Item = &NamedParameter> {
        self.optimizers().flat_map(Optimizer::parameters)
    }

    /// The gradients that wait for a step, as they are where they are to be clipped.
    fn unscaled(&mut self) -> Result<Gradients> {
        let (Some(model), Some(mut grads)) = (&self.model, self.grads.take()) else {
            return Err(invalid("the model was lost in a step that panicked"));
        };
        if let (Some(scaler), Some(_)) = (&mut self.scaler, self.clip) {
            scaler.unscale_(&self.optimizer, model, &mut grads)?;
            self.beside.iter().try_for_each(|beside| scaler.unscale_(&beside.optimizer, model, &mut grads))?;
        }
        Ok(grads)
    }

    fn stepped_on(&mut self, mut grads: Gradients) -> Result<()> {
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
        if self.optimizer.kind() != OptimizerKind::Lbfgs {
            let loss = self.named(closure(self.model()));
            let loss = self.or_kept(loss)?;
            return self.step(loss);
        }
        self.try_end()?;
        let stepped = self.minimized(closure);
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
        if let Some(model) = &self.model {
            self.average.update(model, SchedulePer::Step)?;
        }
        let per_epoch = self.epoch_length();
        self.trainers().try_for_each(|(optimizer, schedulers)| schedulers.after_step(optimizer, per_epoch))?;
        let ends = self.steps_per_epoch.is_some_and(|per_epoch| self.steps() % per_epoch == 0);
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
            self.average.update(model, SchedulePer::Epoch)?;
        }
        self.trainers().try_for_each(|(optimizer, schedulers)| schedulers.after_epoch(optimizer))
    }
}

/// A step of an optimizer that several models share, each on a loss of its own: as [`Run::step`] of each, but that a norm to which
/// gradients are clipped is of all of them together, as `clip_grad_norm_` has it over the optimizer's parameters. The first run says
/// how they are clipped.
///
/// # Errors
/// As [`Run::step`]; and when there are not as many losses as runs.
pub fn step_together<M: Module>(runs: &mut [&mut Run<M>], losses: Vec<Tensor<1>>) -> Result<()> {
    if runs.len() != losses.len() {
        return Err(invalid(format!("{} runs cannot make a step on {} losses", runs.len(), losses.len())));
    }
    let Some(Clip::Norm(clip)) = runs.first().and_then(|run| run.clip) else {
        return runs.iter_mut().zip(losses).try_for_each(|(run, loss)| run.step(loss));
    };
    let mut all = Vec::with_capacity(runs.len());
    for (run, loss) in runs.iter_mut().zip(losses) {
        run.backward(loss)?;
        let unscaled = run.unscaled();
        all.push(run.named(unscaled)?);
    }
    let mut together = Vec::with_capacity(runs.len());
    for (run, grads) in runs.iter().zip(&mut all) {
        let Some(model) = &run.model else { return Err(invalid("the model was lost in a step that panicked")) };
        together.push(Together { model, parameters: run.parameters().collect(), grads });
    }
    let norm = clip_together(&mut together, clip)?;
    for (run, grads) in runs.iter_mut().zip(all) {
        run.grad_norm = Some(norm);
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

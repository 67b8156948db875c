//! The verbs of the loop: the next batch, a backward pass, a step.

use burn::module::Module;
use burn::tensor::{DType, FloatDType, Tensor};
use rekindle_recorder::Result;

use super::options::SchedulePer;
use super::parts::Run;
use super::schedule::Schedulers;
use crate::amp::GradScaler;
use crate::attributes::invalid;
use crate::data::{Batch, Loader};
use crate::lr_scheduler::SteppedBy;
use crate::optim::OptimizerKind;

impl<M: Module> Run<M> {
    /// The next batch of the loader; `None` when the run has come to its end ([`until_epoch`](Self::until_epoch),
    /// [`until_step`](Self::until_step)). Without an end it goes on for ever.
    ///
    /// # Errors
    /// When there is no loader, or it has nothing to sample from; the first time, when the run could not be saved at its end.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        self.try_end()?;
        let batch = self.take_batch();
        self.named(batch)
    }

    fn take_batch(&mut self) -> Result<Option<Batch>> {
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
        let (Some(model), Some(mut grads)) = (&self.model, self.grads.take()) else {
            return Err(invalid("the model was lost in a step that panicked"));
        };
        if let Some(clip) = self.clip {
            if let Some(scaler) = &mut self.scaler {
                scaler.unscale_(&self.optimizer, model, &mut grads)?;
                self.beside.iter().try_for_each(|beside| scaler.unscale_(&beside.optimizer, model, &mut grads))?;
            }
            let beside = self.beside.iter().flat_map(|beside| beside.optimizer.parameters());
            clip.apply(model, self.optimizer.parameters().chain(beside), &mut grads)?;
        }
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
            let loss = self.named(closure(self.model()))?;
            return self.step(loss);
        }
        self.try_end()?;
        let stepped = self.minimized(closure);
        self.named(stepped)
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
        let clip = self.clip;
        let clipped: Vec<_> = self.optimizer.parameters().filter(|_| clip.is_some()).cloned().collect();
        let mut before = None;
        let (model, done) = self.optimizer.try_step_closure(model, |model| {
            let loss = closure(model)?;
            differentiable(&loss)?;
            let mut grads = loss.backward();
            before.get_or_insert_with(|| loss.clone().inner());
            if let Some(clip) = clip {
                clip.apply(model, &clipped, &mut grads)?;
            }
            Ok((loss, grads))
        });
        self.model = Some(model);
        self.loss = before.or(self.loss.take());
        done?;
        self.made()
    }

    /// What follows a step of the optimizer.
    fn made(&mut self) -> Result<()> {
        self.step = Some(self.steps().saturating_add(1));
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

/// Whether a backward pass leads anywhere. (PyTorch: "element 0 of tensors does not require grad".)
fn differentiable(loss: &Tensor<1>) -> Result<()> {
    if loss.is_tracked() {
        return Ok(());
    }
    Err(invalid("the loss depends on no parameter that is trained: all are frozen, or it was computed apart from them"))
}

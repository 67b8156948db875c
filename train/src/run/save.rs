//! The run as a checkpoint: what is saved, and the trial that says before the first step whether it can be.

use std::path::Path;

use burn::module::Module;
use rekindle_burn::ModuleStateDict as _;
use rekindle_recorder::checkpoint::{SaveOptions, SaveReport};
use rekindle_recorder::run::RunState;
use rekindle_recorder::{Checkpoint, Error, ErrorKind, Result, Tensor, Value};

use super::members::with_member;
use super::parts::Run;
use super::resume::position::take;
use super::schedule::Ahead;
use super::whole::Now;
use crate::amp::GradScaler;
use crate::data::Loader;

/// Whether an optimizer's state dict is of one that was in evaluation mode.
fn is_evaluating(optimizer: &Value) -> bool {
    let groups = optimizer.as_dict().and_then(|dict| dict.get("param_groups")?.items()).unwrap_or_default();
    groups.iter().any(|group| {
        let mode = group.as_dict().and_then(|group| group.get("train_mode"));
        matches!(mode, Some(Value::Bool(false)))
    })
}

impl<M: Module> Run<M> {
    /// The run as a checkpoint: in the layout that it came in, with everything kept that is not this run's; else in that of
    /// the PyTorch tutorial.
    ///
    /// # Errors
    /// When something cannot be read from its device.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        self.named(self.now().and_then(|now| self.written(&self.state_of(&now)?)))
    }

    /// The state of the run in the layout that it came in.
    pub(super) fn written(&self, state: &RunState) -> Result<Checkpoint> {
        match &self.origin {
            Some(origin) => state.write_back(origin),
            None => state.to_checkpoint(),
        }
    }

    pub(super) fn state_of(&self, now: &Now) -> Result<RunState> {
        let model = self.model();
        let there = self.origin.as_ref().map(|origin| self.there(origin)).transpose()?;
        let mut state = RunState::default();
        state.part.clone_from(&self.part);
        // With the weights that are trained, or evaluated, as the file had them.
        let evaluates =
            !self.new_optimizer && there.as_ref().is_some_and(|there| there.optimizers.iter().any(is_evaluating));
        let weights = if evaluates {
            let mut evaluated = model.clone();
            for optimizer in self.optimizers() {
                let (model, saved) = optimizer.evaluated(&evaluated)?;
                state.optimizers.push(saved);
                evaluated = model;
            }
            evaluated.state_dict_with(&self.rows)?
        } else {
            state.optimizers.clone_from(&now.optimizers);
            now.model.clone()
        };
        (state.model, state.ema) = self.average.saved(weights)?;
        state.schedulers = self.saved_schedulers();
        state.scaler = self.scaler.as_ref().map(GradScaler::state_dict);
        // What is written of it is where it was, or is asked for; a run that began here has it, too.
        let (loader, generator) = if self.keeps_place() { self.placed()? } else { (None, self.generator().clone()) };
        (state.loader, state.loader_place) = (loader, self.place.at.clone());
        state.rng = Some(Tensor::from_vec(&[rekindle_random::STATE_SIZE], generator.state().to_vec())?);
        state.epoch = Some(self.epoch);
        state.loss = self.loss()?.map(Value::from);
        // What the checkpoint has no place for, or something else in, is not put there; a step that it does not tell is told
        // by the optimizer's.
        if let Some(there) = there {
            state.updates = there.updates.and(self.average.updates());
            state.epoch = there.epoch.and(state.epoch);
            state.step = there.step.and(self.counted_step());
            state.loss = state.loss.filter(|_| there.loss.is_some());
            if there.rng.is_none() && self.rng_place.is_none() && !self.add_rng {
                state.rng = None;
            }
            state.rng_place.clone_from(&self.rng_place);
            (state.epoch_place, state.step_place) = (there.epoch_place, there.step_place);
            state.step_in_epoch = self.step_in_epoch();
            state.steps_per_epoch = self.epoch_length();
            state.batches_per_step = i64::try_from(self.accumulate).ok().filter(|&batches| batches > 1);
            // A program that makes its scheduler again keeps none.
            if there.schedulers.is_empty() && !there.layout.keeps_scheduler() {
                state.schedulers.clear();
            }
            if let (Some(place), Some(own)) = (&self.loader_rng.1, self.loader.as_ref().and_then(Loader::own_generator))
            {
                state.loader_rng = Some(Tensor::from_vec(&[rekindle_random::STATE_SIZE], own.state().to_vec())?);
                state.loader_rng_place = Some(place.clone());
            }
            state.model = match &self.member {
                Some(member) => with_member(&there.model, member, &state.model),
                None => self.names.back(state.model, &there.model),
            };
            state.model = self.average.put_inside(state.model)?;
            for optimizer in &mut state.optimizers {
                *optimizer = self.names.in_checkpoint(optimizer);
            }
        }
        Ok(state)
    }

    /// What a checkpoint holds of the schedulers, in its order.
    fn saved_schedulers(&self) -> Vec<Value> {
        let beside = self.beside.iter().flat_map(|beside| beside.schedulers.saved());
        let saved = self.schedulers.saved().into_iter().chain(beside);
        if self.beside.is_empty() {
            return saved.collect();
        }
        let mut placed: Vec<(usize, Value)> = self.scheduler_places.iter().copied().zip(saved).collect();
        placed.sort_by_key(|(place, _)| *place);
        placed.into_iter().map(|(_, saved)| saved).collect()
    }

    /// What the checkpoint that it came from has of this run.
    fn there(&self, origin: &Checkpoint) -> Result<RunState> {
        let mut there = match &self.part {
            Some(part) => RunState::read_part(origin, part),
            None => RunState::read(origin),
        }?;
        let (epoch, step) = &self.position_at;
        take(&mut there, origin, (epoch.as_deref(), step.as_deref()))?;
        Ok(there)
    }

    /// Steps since the last epoch was finished, where it is known how many an epoch has: whole ones, however many batches each took.
    fn step_in_epoch(&self) -> Option<i64> {
        match &self.loader {
            Some(loader) => i64::try_from(loader.taken() as u64 / self.accumulate).ok(),
            None => Some(self.steps().saturating_sub(self.cut).rem_euclid(self.epoch_length()?)),
        }
    }

    /// Writes [`checkpoint`](Self::checkpoint) to a file, whole or not at all. A file that is there is replaced.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<SaveReport> {
        self.save_with(path, &SaveOptions::default().allow_objects(self.allow_objects))
    }

    /// As [`save`](Self::save), with options.
    ///
    /// # Errors
    /// As [`save`](Self::save), and when the file exists and is not to be replaced.
    pub fn save_with(&self, path: impl AsRef<Path>, options: &SaveOptions) -> Result<SaveReport> {
        self.checkpoint()?.save_with(path, options).map_err(with_objects)
    }

    /// Tries what [`save_with`](Self::save_with) would do ([`Checkpoint::try_save_with`]), so that what stands in the way, such as
    /// a format that cannot hold an optimizer, a folder that is not there or a disk that is full, is known before the work
    /// and not after it.
    ///
    /// # Errors
    /// As [`save_with`](Self::save_with), but that a file may be there.
    pub fn try_save(&self, path: impl AsRef<Path>, options: &SaveOptions) -> Result<()> {
        self.named(self.fits_together())?;
        self.named(self.try_schedule())?;
        self.checkpoint()?.try_save_with(path, options).map_err(with_objects)
    }

    /// Makes sure, once, that the run can be saved as it will be at its end.
    ///
    /// # Errors
    /// What saving it then would fail with.
    pub(super) fn try_end(&mut self) -> Result<()> {
        let fits = self.fits_together();
        self.named(fits)?;
        if !self.tried.parts {
            self.named(self.try_parts())?;
            self.tried.parts = true;
        }
        if !self.tried.end {
            self.named(self.try_numbers())?;
            self.named(self.try_schedule())?;
            self.tried.end = true;
        }
        Ok(())
    }

    /// Whether a checkpoint can be made of all parts, plain `torch.load` opens it, and what it keeps of the one it came from
    /// can be read.
    pub(super) fn try_parts(&self) -> Result<()> {
        self.checkpoint()?.check(self.allow_objects).map_err(with_objects)
    }

    /// Whether the schedulers can take all steps to the end.
    fn try_schedule(&self) -> Result<()> {
        let ahead = Ahead {
            steps: self.until_step.map(|end| end.saturating_sub(self.steps())),
            epochs: self.until_epoch.map(|end| end.saturating_sub(self.epoch)),
            per_epoch: self.epoch_length(),
            batches: i64::try_from(self.accumulate).unwrap_or(i64::MAX),
            is_told: matches!(self.loader, Some(Loader::Stream(_))),
            now: (self.steps(), self.epoch),
        };
        self.schedulers.check(self.optimizer.param_groups(), ahead)?;
        let beside = &self.beside;
        beside.iter().try_for_each(|beside| beside.schedulers.check(beside.optimizer.param_groups(), ahead))
    }

    /// Whether the checkpoint that the run came from can hold the numbers of its end, which may be too large for their types.
    fn try_numbers(&self) -> Result<()> {
        let Some(origin) = &self.origin else { return Ok(()) };
        let end = |until: Option<i64>, now: i64| until.unwrap_or_default().max(now.saturating_add(1));
        let mut state = self.there(origin)?;
        state.epoch = state.epoch.map(|_| end(self.until_epoch, self.epoch));
        state.step = state.step.map(|_| end(self.until_step, self.steps()));
        state.write_back(origin).map(drop)
    }
}

/// A run is written whole: of what plain `torch.load` refuses nothing is left out.
fn with_objects(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Refused { .. } => {
            error.advise("take it out, or pass `ResumeOptions::allow_objects(true)` to write it all the same")
        }
        _ => error,
    }
}

//! burn-train's way to the checkpoints of a training: three records become one file, and a file three records.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::ModuleRecord;
use burn_optim::OptimizerRecord;
use burn_optim::lr_scheduler::LrSchedulerRecord;
use burn_train::checkpoint::{Checkpoint as Record, Checkpointer, CheckpointerError};
use rekindle_burn::ModuleStateDict as _;
use rekindle_recorder::run::RunState;
use rekindle_recorder::{Checkpoint, Error, IoResultExt as _, LoadOptions, Result, ResultExt as _, StateDict, Value};

use super::position::Position;
use super::record::{load_optimizer_record, of_scalars, optimizer_record, to_scalars};
use super::training::{State, TorchTraining};
use crate::attributes::invalid;
use crate::checkpoints::{Found, newest_of};
use crate::optim::Optimizer;

/// The folder of the checkpoints.
#[derive(Clone, Copy)]
pub(super) struct Kept<'a>(pub(super) &'a Path);

impl Kept<'_> {
    pub(super) fn path(self, epoch: usize) -> PathBuf {
        self.0.join(format!("epoch-{epoch}.pt"))
    }

    /// The epochs that have a checkpoint, in order.
    pub(super) fn epochs(self) -> Result<Vec<usize>> {
        let names = std::fs::read_dir(self.0)
            .and_then(|names| names.map(|name| Ok(name?.file_name())).collect::<std::io::Result<Vec<_>>>());
        let names = names.doing("cannot list the folder").in_file(self.0)?;
        let epoch = |name: &std::ffi::OsString| {
            let epoch = name.to_str()?.strip_prefix("epoch-")?.strip_suffix(".pt")?.parse().ok()?;
            (self.path(epoch).file_name() == Some(name)).then_some(epoch)
        };
        let mut epochs: Vec<usize> = names.iter().filter_map(epoch).collect();
        epochs.sort_unstable();
        Ok(epochs)
    }

    /// The newest that is whole, of those after an epoch.
    pub(super) fn newest(self, after: usize) -> Result<Option<(usize, Found)>> {
        let epochs: Vec<usize> = self.epochs()?.into_iter().rev().take_while(|&epoch| epoch > after).collect();
        let paths: Vec<PathBuf> = epochs.iter().map(|&epoch| self.path(epoch)).collect();
        let Some(found) = newest_of(self.0, &paths)? else { return Ok(None) };
        let place = paths.iter().position(|path| *path == found.path);
        Ok(place.and_then(|place| epochs.get(place)).map(|&epoch| (epoch, found)))
    }

    pub(super) fn missing(self, epoch: usize) -> Error {
        let there: Vec<String> = self.epochs().unwrap_or_default().iter().map(ToString::to_string).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        invalid(format!("there is no checkpoint of epoch {epoch} here; there are {there}")).in_file(self.0)
    }

    fn remove(self, epoch: usize) -> Result<()> {
        let path = self.path(epoch);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).doing("cannot remove a checkpoint that is not kept").in_file(&path)
            }
            _ => Ok(()),
        }
    }
}

/// What has arrived of an epoch's three records, and how many of the three were told to delete it.
#[derive(Default)]
struct Arrived {
    model: Option<ModuleRecord>,
    optimizer: Option<OptimizerRecord>,
    scheduler: Option<LrSchedulerRecord>,
    deleted: usize,
}

/// Each of burn-train's checkpointers has a thread of its own, so that records arrive in any order, and those of an epoch that is to be
/// deleted may still be on their way: what is done is done when the third was told.
#[derive(Default)]
pub(super) struct Waiting(BTreeMap<usize, Arrived>);

/// One of the three records.
trait Third: Record {
    /// Puts it to the others.
    fn arrive(self, arrived: &mut Arrived);

    /// That of where a training is.
    fn of<M: Module>(state: &State<M>) -> Result<Self>;
}

impl Third for ModuleRecord {
    fn arrive(self, arrived: &mut Arrived) {
        arrived.model = Some(self);
    }

    fn of<M: Module>(state: &State<M>) -> Result<Self> {
        Ok(state.model.clone().into_record())
    }
}

impl Third for OptimizerRecord {
    fn arrive(self, arrived: &mut Arrived) {
        arrived.optimizer = Some(self);
    }

    fn of<M: Module>(state: &State<M>) -> Result<Self> {
        optimizer_record(&state.optimizer, &state.model)
    }
}

impl Third for LrSchedulerRecord {
    fn arrive(self, arrived: &mut Arrived) {
        arrived.scheduler = Some(self);
    }

    fn of<M: Module>(state: &State<M>) -> Result<Self> {
        let record = to_scalars(&state.at.to_value())?;
        // One for each group, as burn-optim's scheduler of several has them.
        let groups = 0..state.at.groups.len().max(1);
        Ok(groups.fold(LrSchedulerRecord::new(), |all, place| all.with_record(&place.to_string(), record.clone())))
    }
}

impl<M: Module> TorchTraining<M> {
    fn arrived<R: Third>(&self, epoch: usize, record: R) -> Result<()> {
        let state = &mut *self.state();
        let arrived = state.waiting.0.entry(epoch).or_default();
        record.arrive(arrived);
        let (Some(_), Some(_), Some(_)) = (&arrived.model, &arrived.optimizer, &arrived.scheduler) else {
            return Ok(());
        };
        let Some(Arrived { model: Some(model), optimizer: Some(optimizer), scheduler: Some(scheduler), deleted }) =
            state.waiting.0.remove(&epoch)
        else {
            return Ok(());
        };
        if deleted > 0 {
            state.waiting.0.entry(epoch).or_default().deleted = deleted;
        }
        state.take(epoch, model, optimizer, &scheduler)?;
        let keeps_loader = self.keeps_loader();
        let path = self.kept().path(epoch);
        state.checkpoint(keeps_loader).and_then(|checkpoint| checkpoint.save(&path).map(drop)).in_file_if(Some(&path))
    }

    fn deleted(&self, epoch: usize) -> Result<()> {
        let state = &mut *self.state();
        let arrived = state.waiting.0.entry(epoch).or_default();
        arrived.deleted += 1;
        if arrived.deleted < 3 {
            return Ok(());
        }
        state.waiting.0.remove(&epoch);
        self.kept().remove(epoch)
    }

    fn restored<R: Third>(&self, epoch: usize) -> Result<R> {
        self.go_to(epoch)?;
        R::of(&self.state())
    }
}

impl<M: Module> State<M> {
    /// Goes to where a learner is.
    fn take(
        &mut self,
        epoch: usize,
        model: ModuleRecord,
        optimizer: OptimizerRecord,
        scheduler: &LrSchedulerRecord,
    ) -> Result<()> {
        let model = self.model.clone().try_load_record(model);
        let model = model.map_err(|error| invalid(format!("the learner's model is not the training's: {error}")))?;
        let at = self.at.read(&of_scalars(&scheduler.record("0"))?)?;
        load_optimizer_record(&mut self.optimizer, &model, optimizer, &at.groups)?;
        (self.epoch, self.model, self.at) = (epoch, model, at);
        Ok(())
    }

    /// The checkpoint of where the training is.
    pub(super) fn checkpoint(&self, keeps_loader: bool) -> Result<Checkpoint> {
        let mut run = self.origin.as_ref().map(RunState::read).transpose()?.unwrap_or_default();
        let began = self.origin.is_none();
        let Position { steps, scheduler, drawn, .. } = &self.at;
        run.model = self.model.state_dict_with(&self.rows)?;
        run.optimizers = vec![self.optimizer.state_dict(&self.model)?];
        let saved = scheduler.iter().filter(|scheduler| scheduler.is_saved());
        // A program that makes its scheduler again keeps none.
        let keeps = began || !run.schedulers.is_empty() || run.layout.keeps_scheduler();
        run.schedulers = saved.filter(|_| keeps).map(crate::lr_scheduler::LRScheduler::state_dict).collect();
        let epoch = i64::try_from(self.epoch).ok();
        run.epoch = if began { epoch } else { run.epoch.and(epoch) };
        // Where neither the file nor the optimizer counts steps, as SGD does not.
        let counts = run.step.is_some() || self.optimizer.steps().is_none();
        run.step = i64::try_from(*steps).ok().filter(|_| counts);
        run.step_in_epoch = Some(0);
        // burn-train does not tell its checkpointers the loss.
        run.loss = run.loss.map(|_| Value::Float(f64::NAN));
        run.rng.clone_from(&drawn.rng);
        run.loader = drawn.loader.clone().filter(|_| keeps_loader || run.loader_place.is_some());
        // What they are in the file, they stay.
        (run.ema, run.updates, run.scaler) = (None, None, None);
        match &self.origin {
            Some(origin) => run.write_back(origin),
            None => run.to_checkpoint(),
        }
    }

    /// Makes sure that it can be written, and read again.
    ///
    /// # Errors
    /// When plain `torch.load` would refuse it, or the model's tensors have other names there.
    pub(super) fn try_written(&self) -> Result<()> {
        let checkpoint = self.checkpoint(false)?;
        checkpoint.check(false)?;
        let there = RunState::read(&checkpoint)?;
        self.loaded(&there).map_err(|error| {
            error.advise(
                "burn-train's checkpoints have the model under its own names; go on with Run, which maps them back",
            )
        })?;
        let lacks = [
            (self.at.drawn.rng.is_some() && there.rng.is_none(), "generator's state"),
            (self.at.scheduler.is_some() && there.schedulers.is_empty(), "scheduler"),
        ];
        if let Some((_, part)) = lacks.into_iter().find(|(lacks, _)| *lacks) {
            let what = format!("the layout '{}', which has no place for a {part}, in burn-train", there.layout);
            return Err(Error::unsupported(what).advise("go on with Run"));
        }
        let names = |state_dict: &StateDict| state_dict.keys().map(str::to_owned).collect::<Vec<_>>();
        let before = self.origin.as_ref().map(RunState::read).transpose()?;
        if before.is_some_and(|before| names(&before.model) != names(&there.model)) {
            let what = "a model with other tensors than the checkpoint's, in burn-train,";
            return Err(Error::unsupported(what).advise("go on with Run, which keeps what is beside it"));
        }
        Ok(())
    }

    /// The model and the optimizer of a checkpoint.
    pub(super) fn loaded(&self, there: &RunState) -> Result<(M, Optimizer)> {
        let mut model = self.model.clone();
        let options = match &self.prefix[..] {
            "" => LoadOptions::strict(),
            prefix => LoadOptions::strict().strip_prefix(prefix),
        };
        model.load_state_dict_with_rows(&there.model, &options, &self.rows)?;
        let [saved] = &there.optimizers[..] else {
            let count = there.optimizers.len();
            return Err(invalid(format!("the checkpoint has {count} optimizers, and the training has one")));
        };
        let mut optimizer = self.optimizer.clone();
        optimizer.load_state_dict(&model, saved)?;
        Ok((model, optimizer))
    }
}

fn told(error: Error) -> CheckpointerError {
    CheckpointerError::Unknown(error.to_string())
}

impl<M: Module + 'static, R: Third> Checkpointer<R> for TorchTraining<M> {
    fn save(&self, epoch: usize, record: R) -> std::result::Result<(), CheckpointerError> {
        self.arrived(epoch, record).map_err(told)
    }

    fn delete(&self, epoch: usize) -> std::result::Result<(), CheckpointerError> {
        self.deleted(epoch).map_err(told)
    }

    fn restore(&self, epoch: usize) -> std::result::Result<R, CheckpointerError> {
        self.restored(epoch).map_err(told)
    }
}

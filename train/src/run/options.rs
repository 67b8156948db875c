//! `ResumeOptions`: what a run that is resumed has to be told where its checkpoint leaves it open.

use std::sync::Arc;

use rekindle_burn::LayerRows;
use rekindle_recorder::LoadOptions;

use crate::ema::Averaging;
use crate::lr_scheduler::{Schedule, SchedulerKind};
use crate::optim::{OptimizerKind, Select};

/// How often the scheduler is stepped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchedulePer {
    /// After every step of the optimizer.
    #[default]
    Step,
    /// After the last step of every epoch.
    Epoch,
    /// When the run is told a metric: [`Run::step_scheduler`](super::Run::step_scheduler).
    Metric,
}

/// What [`Run::resume_with`](super::Run::resume_with) has to be told where a checkpoint leaves it open.
///
/// ```
/// use rekindle_recorder::LoadOptions;
/// use rekindle_train::ema::Averaging;
/// use rekindle_train::optim::OptimizerKind;
/// use rekindle_train::run::ResumeOptions;
///
/// let options = ResumeOptions::default()
///     .optimizer(OptimizerKind::AdamW)
///     .group("*.weight")
///     .group("*.bias")
///     .average(Averaging::Ema { decay: 0.999 })
///     .load(LoadOptions::strict().strip_prefix("module."));
/// ```
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
    /// Which parameters belong to each of the optimizer's groups, in the checkpoint's order, as
    /// [`OptimizerBuilder::group`](crate::optim::OptimizerBuilder::group) selects them. Default: told by their names or shapes.
    pub groups: Vec<Select>,
    /// How the keys of the model's state dict are mapped to the model's. Default: strict.
    pub load: Option<LoadOptions>,
    /// Seed of the generator where the checkpoint has no generator's state. Default: PyTorch's own default seed.
    pub seed: Option<u64>,
    /// How the average of the weights goes on, which no file says. Default: an average that the checkpoint has stays as it is,
    /// and [`Run::notes`](super::Run::notes) says so. Where it has none, one begins.
    pub average: Option<Averaging>,
    /// How the model's layers lie in PyTorch, where some are the user's own. It is used for the weights, the optimizer's
    /// state and the average, both ways. Default: burn-nn's layers.
    pub rows: Option<Arc<LayerRows>>,
    /// Whether the run is to be saved with objects in it that plain `torch.load` refuses to open. Default false: a checkpoint
    /// that holds one is refused before the first step.
    pub allow_objects: bool,
}

impl ResumeOptions {
    /// Says which optimizer it was.
    #[must_use]
    pub fn optimizer(self, optimizer: impl Into<Option<OptimizerKind>>) -> Self {
        ResumeOptions { optimizer: optimizer.into(), ..self }
    }

    /// Says which scheduler it was.
    #[must_use]
    pub fn scheduler(self, scheduler: impl Into<Option<SchedulerKind>>) -> Self {
        ResumeOptions { scheduler: scheduler.into(), ..self }
    }

    /// Says which schedule the scheduler was made with.
    #[must_use]
    pub fn schedule(self, schedule: impl Into<Schedule>) -> Self {
        ResumeOptions { schedule: Some(schedule.into()), ..self }
    }

    /// Says which parameters belong to the next group of the optimizer: called once a group, in the checkpoint's order.
    #[must_use]
    pub fn group(mut self, select: impl Into<Select>) -> Self {
        self.groups.push(select.into());
        self
    }

    /// Sets how the keys of the model's state dict are mapped to the model's.
    #[must_use]
    pub fn load(self, load: LoadOptions) -> Self {
        ResumeOptions { load: Some(load), ..self }
    }

    /// Sets the seed of the generator where the checkpoint has no generator's state.
    #[must_use]
    pub fn seed(self, seed: impl Into<Option<u64>>) -> Self {
        ResumeOptions { seed: seed.into(), ..self }
    }

    /// Says how the average of the weights goes on.
    #[must_use]
    pub fn average(self, average: impl Into<Option<Averaging>>) -> Self {
        ResumeOptions { average: average.into(), ..self }
    }

    /// Sets how the model's layers lie in PyTorch.
    #[must_use]
    pub fn rows(self, rows: impl Into<Arc<LayerRows>>) -> Self {
        ResumeOptions { rows: Some(rows.into()), ..self }
    }

    /// Sets whether the run is to be saved with objects in it that plain `torch.load` refuses to open.
    #[must_use]
    pub fn allow_objects(self, allow_objects: bool) -> Self {
        ResumeOptions { allow_objects, ..self }
    }
}

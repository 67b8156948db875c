//! `ResumeOptions`: what a run that is resumed has to be told where its checkpoint leaves it open.

use std::sync::Arc;

use rekindle_burn::LayerRows;
use rekindle_recorder::LoadOptions;

use crate::ema::Averaging;
use crate::lr_scheduler::{Schedule, SchedulerKind};
use crate::optim::{OptimizerKind, Select};
use crate::options::options;

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
    /// After every step of the optimizer, to the part of the epochs that is done: `scheduler.step(epoch + batch / batches)`, as
    /// `CosineAnnealingWarmRestarts` is stepped. The run must know how many steps an epoch has.
    Fraction,
}

options! {
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
    #[derive(Debug)]
    ResumeOptions {
        /// Which part of a run of several models goes on: what the keys of its parts have in common, such as `G` of `netG` and
        /// `optimizerG`, or the model's key. The others are kept as they are. Default: the only one, or asked for.
        part: Option<String> = None, |part: impl Into<Option<String>>| part.into();
        /// Where in the checkpoint the model's optimizer is, such as `optimizers[0]`, where there are several. Default: told by
        /// their keys, shapes or order.
        optimizer_at: Option<String> = None, |place: impl Into<Option<String>>| place.into();
        /// Where in the checkpoint the optimizer's scheduler is, where there are several.
        scheduler_at: Option<String> = None, |place: impl Into<Option<String>>| place.into();
        /// Where in the checkpoint the average of the weights is that goes on, where there are several.
        average_at: Option<String> = None, |place: impl Into<Option<String>>| place.into();
        /// Which optimizer it was. Default: told by the keys of its state.
        optimizer: Option<OptimizerKind> = None, |optimizer: impl Into<Option<OptimizerKind>>| optimizer.into();
        /// Which scheduler it was. Default: told by the keys of its state.
        scheduler: Option<SchedulerKind> = None, |scheduler: impl Into<Option<SchedulerKind>>| scheduler.into();
        /// The schedule that the scheduler was made with, where it has functions that no file holds, such as those of
        /// [`transformers`](crate::lr_scheduler::transformers).
        schedule: Option<Schedule> = None, |schedule: impl Into<Schedule>| Some(schedule.into());
        /// Which parameters belong to each of the optimizer's groups, in the checkpoint's order, as
        /// [`OptimizerBuilder::group`](crate::optim::OptimizerBuilder::group) selects them. Default: told by their names or
        /// shapes.
        groups: Vec<Select> = Vec::new();
        /// How the keys of the model's state dict are mapped to the model's. Default: strict.
        load: Option<LoadOptions> = None, |load: LoadOptions| Some(load);
        /// What is before the model's names in the checkpoint, where the model is a member of what was saved: `net.` for a
        /// `LightningModule`'s `self.net`. What is beside it stays as it is. Default: told by names and shapes in the layouts that
        /// have members.
        member: Option<String> = None, |member: impl Into<Option<String>>| member.into();
        /// Whether the checkpoint's scheduler is left as it is, and the learning rates, too. Default false.
        no_scheduler: bool = false;
        /// How often the scheduler is stepped; of several, each of them. Default: told by the file, or asked for.
        schedule_per: Vec<SchedulePer> = Vec::new(), |per: impl Into<Option<SchedulePer>>| per.into().into_iter().collect();
        /// How far the scheduler has come, where its state does not say it, such as timm's: the epoch or update that it was
        /// stepped to last. Default: told by the learning rates in the file.
        schedule_at: Option<i64> = None, |at: impl Into<Option<i64>>| at.into();
        /// Parameters that are not trained: they get no update, and no state.
        frozen: Vec<Select> = Vec::new();
        /// Parameters that are trained from now on, whatever the checkpoint has for them.
        trained: Vec<Select> = Vec::new();
        /// Where in the checkpoint the state of PyTorch's CPU generator is, such as `extra.torch_state`. Default: it is found
        /// by its shape.
        rng: Option<String> = None, |place: impl Into<Option<String>>| place.into();
        /// Seed of the generator where the checkpoint has no generator's state. Default: PyTorch's own default seed.
        seed: Option<u64> = None, |seed: impl Into<Option<u64>>| seed.into();
        /// How often the average of the weights is updated. Default: told by its count, or asked for.
        average_per: Option<SchedulePer> = None, |per: impl Into<Option<SchedulePer>>| per.into();
        /// Whether the checkpoint's average stays as it is, though its file says how it goes on. Default false.
        keep_average: bool = false;
        /// How the average of the weights goes on, which few files say: `torch_ema`'s and diffusers' do, and a mean
        /// (`swa_model`). Default: an average that the checkpoint has stays as
        /// it is, and [`Run::notes`](super::Run::notes) says so. Where it has none, one begins.
        average: Option<Averaging> = None, |average: impl Into<Option<Averaging>>| average.into();
        /// How the model's layers lie in PyTorch, where some are the user's own. It is used for the weights, the optimizer's
        /// state and the average, both ways. Default: burn-nn's layers.
        rows: Option<Arc<LayerRows>> = None, |rows: impl Into<Arc<LayerRows>>| Some(rows.into());
        /// Whether the run is to be saved with objects in it that plain `torch.load` refuses to open. Default false: a
        /// checkpoint that holds one is refused before the first step.
        allow_objects: bool = false;
    }
}

impl ResumeOptions {
    /// Says which parameters belong to the next group of the optimizer: called once a group, in the checkpoint's order.
    #[must_use]
    pub fn group(mut self, select: impl Into<Select>) -> Self {
        self.groups.push(select.into());
        self
    }

    /// Says which parameters are not trained; called again, more of them.
    #[must_use]
    pub fn freeze(mut self, select: impl Into<Select>) -> Self {
        self.frozen.push(select.into());
        self
    }

    /// Says how often each of several schedulers is stepped, in the file's order.
    #[must_use]
    pub fn schedules_per(mut self, per: impl IntoIterator<Item = SchedulePer>) -> Self {
        self.schedule_per = per.into_iter().collect();
        self
    }

    /// Says which parameters are trained from now on; called again, more of them.
    #[must_use]
    pub fn unfreeze(mut self, select: impl Into<Select>) -> Self {
        self.trained.push(select.into());
        self
    }
}

impl SchedulePer {
    /// All there are.
    pub const ALL: [SchedulePer; 4] =
        [SchedulePer::Step, SchedulePer::Epoch, SchedulePer::Metric, SchedulePer::Fraction];

    /// Its name in lower case, as it is said to the command.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SchedulePer::Step => "step",
            SchedulePer::Epoch => "epoch",
            SchedulePer::Metric => "metric",
            SchedulePer::Fraction => "fraction",
        }
    }
}

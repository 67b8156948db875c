//! `ResumeOptions`: what a run that is resumed has to be told where its checkpoint leaves it open.

use std::borrow::Cow;
use std::sync::Arc;

use rekindle_burn::LayerRows;
use rekindle_recorder::{Error, LoadOptions, Result, Value};

use super::norms::BatchNorms;
use crate::attributes::invalid;
use crate::call::value_of;
use crate::ema::Averaging;
use crate::lr_scheduler::{Schedule, SchedulerKind};
use crate::optim::{Hyperparameters, OptimizerKind, Select};

/// How often the scheduler is stepped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchedulePer {
    /// After every step of the optimizer.
    #[default]
    Step,
    /// After the last step of every epoch.
    Epoch,
    /// After every so many steps: where their number is divided by it, as Lightning has it with a `frequency`.
    Steps(u32),
    /// After the last step of every so many epochs.
    Epochs(u32),
    /// After every batch, of which several make a step ([`Run::accumulate`](super::Run::accumulate)): so that the rate of a step is that of
    /// its last batch.
    Batch,
    /// Before every step of the optimizer, as the programs of `BasicSR` step their schedulers, and as ignite calls its own at the beginning
    /// of an iteration.
    BeforeStep,
    /// Before the first step of every epoch.
    BeforeEpoch,
    /// When the run is told a metric: [`Run::step_scheduler`](super::Run::step_scheduler).
    Metric,
    /// After every step of the optimizer, to the part of the epochs that is done: `scheduler.step(epoch + batch / batches)`, as
    /// `CosineAnnealingWarmRestarts` is stepped. The run must know how many steps an epoch has.
    Fraction,
}

/// What becomes of entries of a checkpoint's model that the model lacks: PyTorch's unexpected keys, such as a criterion's weights, a
/// metric's buffers, or a copy of the weights inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unexpected {
    /// They stay in the checkpoint as they are.
    Keep,
    /// They are left out of what is written.
    Drop,
}

rekindle_recorder::settings! {
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
    pub struct ResumeOptions {
        /// Which part of a run of several models goes on: what the keys of its parts have in common, such as `G` of `netG` and
        /// `optimizerG`, or the model's key. The others are kept as they are. Default: the only one, or asked for.
        part(impl Into<Option<String>>): Option<String> = None,
        /// Where in the checkpoint the model's optimizer is, such as `optimizers[0]`, where there are several. Default: told by
        /// their keys, shapes or order.
        optimizer_at(impl Into<Option<String>>): Option<String> = None,
        /// Where in the checkpoint the optimizer's scheduler is, where there are several.
        scheduler_at(impl Into<Option<String>>): Option<String> = None,
        /// Where in the checkpoint the average of the weights is that goes on, where there are several.
        average_at(impl Into<Option<String>>): Option<String> = None,
        /// Which optimizer it was. Default: told by the keys of its state.
        optimizer(impl Into<Option<OptimizerKind>>): Option<OptimizerKind> = None,
        /// Which scheduler it was. Default: told by the keys of its state.
        scheduler(impl Into<Option<SchedulerKind>>): Option<SchedulerKind> = None,
        /// A new optimizer in the place of the checkpoint's: the weights are kept, the moments are left out, and its groups are
        /// as they are said. Default: the checkpoint's goes on.
        new_optimizer(impl Into<Hyperparameters> => Some): Option<Hyperparameters> = None,
        /// Whether a new run begins with the checkpoint's weights, and nothing else of it: at epoch 0 and step 0, with a
        /// [`new_optimizer`](ResumeOptions::new_optimizer). It is saved in the layout of PyTorch's tutorial, under the model's own
        /// names. Default false.
        weights_only: bool = false,
        /// Learning rates in the place of the optimizer's: one for all groups, or one for each. A scheduler that goes on sets
        /// them itself, so that it has to be said what becomes of it. Default: as the checkpoint has them.
        lr(impl IntoIterator<Item = f64>; Vec::from_iter): Vec<f64> = Vec::new(),
        /// Other entries of groups that are changed: which group's, which, and to what, as [`set`](ResumeOptions::set) says
        /// them.
        changes: Vec<(String, String, Value)> = Vec::new(),
        /// The schedule that the scheduler was made with, where it has functions that no file holds, such as those of
        /// [`transformers`](crate::lr_scheduler::transformers): it goes on at its position. Where the checkpoint has no
        /// scheduler, or one of another kind, a new one begins, at its first step.
        schedule(impl Into<Schedule> => Some): Option<Schedule> = None,
        /// Whether the [`schedule`](ResumeOptions::schedule) begins anew even where the checkpoint has a scheduler of its kind.
        /// Default false.
        new_schedule: bool = false,
        /// Which parameters belong to each of the optimizer's groups, in the checkpoint's order, as
        /// [`OptimizerBuilder::group`](crate::optim::OptimizerBuilder::group) selects them. Default: told by their names or
        /// shapes.
        groups: Vec<Select> = Vec::new(),
        /// Whether parameters that are in none of the groups are left out, rather than an error: frozen parts of a model, which
        /// its optimizer was never given. Default false.
        rest_frozen: bool = false,
        /// In which order the optimizer has its parameters, where it is not the model's: by names or patterns, as [`Select`] has
        /// them; those that one pattern fits are in the model's order. It names all of the optimizer's parameters. Default: told
        /// by their names, or the model's order.
        order(impl IntoIterator<Item = String>; Vec::from_iter): Vec<String> = Vec::new(),
        /// How the keys of the model's state dict are mapped to the model's, and back where the run is saved: what is left out
        /// stays in the checkpoint as it is. Default: strict.
        load(LoadOptions => Some): Option<LoadOptions> = None,
        /// What is before the model's names in the checkpoint, where the model is a member of what was saved: `net.` for a
        /// `LightningModule`'s `self.net`. What is beside it stays as it is. Default: told by names and shapes in the layouts that
        /// have members.
        member(impl Into<Option<String>>): Option<String> = None,
        /// What becomes of entries of the checkpoint's model that the model lacks, where it has all of the model's. Default: asked for;
        /// in the layouts that have members they stay as they are.
        unexpected(impl Into<Option<Unexpected>>): Option<Unexpected> = None,
        /// Whether the checkpoint's scheduler is left as it is, and the learning rates, too. Default false.
        no_scheduler: bool = false,
        /// How often the scheduler is stepped; of several, each of them. Default: told by the file, or asked for.
        schedule_per(impl Into<Option<SchedulePer>>; each): Vec<SchedulePer> = Vec::new(),
        /// How far the scheduler has come, where its state does not say it, such as timm's: the epoch or update that it was
        /// stepped to last. Default: told by the learning rates in the file.
        schedule_at(impl Into<Option<i64>>): Option<i64> = None,
        /// What the 2-norm of all gradients together is clipped to before each step, above 0: `clip_grad_norm_`. Default: as the
        /// checkpoint says; they are not clipped where it says nothing.
        clip_norm(impl Into<Option<f64>>): Option<f64> = None,
        /// Whether gradients are not clipped, even where the checkpoint says that they were. Default false.
        no_clip: bool = false,
        /// What each element of the gradients is clipped to before each step, above 0: `clip_grad_value_`. Default: they are
        /// not clipped.
        clip_value(impl Into<Option<f64>>): Option<f64> = None,
        /// How many batches a step takes the mean of: see [`Run::accumulate`](super::Run::accumulate). Default 1; asked
        /// for where the checkpoint says that a step took several.
        accumulate(impl Into<Option<u64>>): Option<u64> = None,
        /// Whether batch norms of which the checkpoint does not tell it are trained or kept in evaluation; where it tells of all, what
        /// is said is of all of them. Default: as they have counted batches, or asked for.
        batch_norm(impl Into<Option<BatchNorms>>): Option<BatchNorms> = None,
        /// Parameters that are not trained: they get no update, and no state.
        frozen: Vec<Select> = Vec::new(),
        /// Parameters that are trained from now on, whatever the checkpoint has for them.
        trained: Vec<Select> = Vec::new(),
        /// Where in the checkpoint the number of finished epochs is, such as `[2]` of a tuple. Default: told by its key, or asked for.
        epoch_at(impl Into<Option<String>>): Option<String> = None,
        /// Where in the checkpoint the number of steps is. Default: told by its key, or asked for.
        step_at(impl Into<Option<String>>): Option<String> = None,
        /// How many steps were made, where nothing in the checkpoint tells it, as of SGD: where it was saved amid an epoch, whatever
        /// goes by epochs depends on it. It is not written. Default: as the checkpoint tells; where it does not, a multiple of
        /// an epoch's.
        steps_made(impl Into<Option<i64>>): Option<i64> = None,
        /// Whether numbers of which nothing tells what they count stay as they are. Default false: they are asked about.
        keep_numbers: bool = false,
        /// Where in the checkpoint the state of PyTorch's CPU generator is, such as `extra.torch_state`. Default: it is found
        /// by its shape.
        rng(impl Into<Option<String>>): Option<String> = None,
        /// Where in the checkpoint the state of the loader's own generator is, that of `DataLoader(generator=...)`: the loader
        /// draws from it, and its state is written back there. Default: the loader draws from the run's generator; what looks
        /// like a loader's is asked about.
        loader_rng(impl Into<Option<String>>): Option<String> = None,
        /// Whether the loader draws from the run's generator, whatever looks like a state of its own. Default false.
        no_loader_rng: bool = false,
        /// Where in the checkpoint the loader's state dict is, such as `dataloader_state_dict`, where there are several: the
        /// [loader](super::Run::with_loader) goes on from there, and its state is written back. Default: told by its shape,
        /// torchdata's `StatefulDataLoader`'s or that of [`DataLoader::state_dict`](crate::data::DataLoader::state_dict).
        loader_state(impl Into<Option<String>>): Option<String> = None,
        /// Whether the loader begins an epoch, whatever place in the data the checkpoint has. Default false.
        no_loader_state: bool = false,
        /// Whether a checkpoint without a loader's state gets one, as `dataloader_state_dict`, so that whoever goes on is in the midst
        /// of an epoch where this run was. Default false: it stays without.
        add_loader: bool = false,
        /// Whether a checkpoint without a generator's state gets one. Default false: it stays without.
        add_rng: bool = false,
        /// Seed of the generator where the checkpoint has no generator's state. Default: PyTorch's own default seed.
        seed(impl Into<Option<u64>>): Option<u64> = None,
        /// How often the average of the weights is updated. Default: told by its count, or asked for.
        average_per(impl Into<Option<SchedulePer>>): Option<SchedulePer> = None,
        /// Whether the checkpoint's average stays as it is, though its file says how it goes on. Default false.
        keep_average: bool = false,
        /// How the average of the weights goes on, which few files say: `torch_ema`'s and diffusers' do, and a mean
        /// (`swa_model`). Default: an average that the checkpoint has stays as
        /// it is, and [`Run::notes`](super::Run::notes) says so. Where it has none, one begins.
        average(impl Into<Option<Averaging>>): Option<Averaging> = None,
        /// How the model's layers lie in PyTorch, where some are the user's own. It is used for the weights, the optimizer's
        /// state and the average, both ways. Default: burn-nn's layers.
        rows(impl Into<Arc<LayerRows>> => Some): Option<Arc<LayerRows>> = None,
        /// Whether the run is to be saved with objects in it that plain `torch.load` refuses to open. Default false: a
        /// checkpoint that holds one is refused before the first step.
        allow_objects: bool = false,
    }
}

impl ResumeOptions {
    /// Says which parameters belong to the next group of the optimizer: called once a group, in the checkpoint's order.
    #[must_use]
    pub fn group(mut self, select: impl Into<Select>) -> Self {
        self.groups.push(select.into());
        self
    }

    /// Changes an entry of a group, such as `weight_decay`: of the group of this number (`0`), at this place in the checkpoint
    /// (`optimizer.param_groups[0]`) or of this `name`, or of all with `*`. A name that reads like another of these is quoted,
    /// `['0']`. Called again, more of them.
    ///
    /// ```
    /// use rekindle_train::run::ResumeOptions;
    ///
    /// let options = ResumeOptions::default().set("*", "weight_decay", 0.01).set("1", "lr", 1e-4);
    /// ```
    #[must_use]
    pub fn set(mut self, group: impl Into<String>, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.changes.push((group.into(), key.into(), value.into()));
        self
    }

    /// As [`set`](ResumeOptions::set), in words: `GROUP.KEY=V` with a value as Python spells it, such as
    /// `0.betas=(0.9, 0.95)` or `['0'].lr=0.1` of a group that is called 0.
    ///
    /// # Errors
    /// When it is none of that form.
    pub fn set_parsed(self, text: &str) -> Result<Self> {
        let spelled =
            || invalid(format!("'{text}' is no GROUP.KEY=V (`ResumeOptions::set`), such as 0.weight_decay=0.01"));
        let (group, rest) = match quoted_group(text.trim_start()) {
            Some((group, rest)) => (group, rest),
            None => {
                let (place, _) = text.split_once('=').ok_or_else(spelled)?;
                let (group, _) = place.rsplit_once('.').ok_or_else(spelled)?;
                (group.trim(), &text[group.len() + 1..])
            }
        };
        let (key, value) = rest.split_once('=').ok_or_else(spelled)?;
        let key = key.trim();
        if group.is_empty() || key.is_empty() {
            return Err(spelled());
        }
        Ok(self.set(group, key, value_of(value.trim())?))
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

/// A group by its name in quotes at the beginning of a text, `['a.b']`, and what follows the dot behind it.
fn quoted_group(text: &str) -> Option<(&str, &str)> {
    ["']", "\"]"].into_iter().filter(|end| text.starts_with(&format!("[{}", &end[..1]))).find_map(|end| {
        let (name, rest) = text.split_once(&format!("{end}."))?;
        Some((&text[..name.len() + end.len()], rest))
    })
}

/// How often it is said of a scheduler, if at all.
fn each(per: impl Into<Option<SchedulePer>>) -> Vec<SchedulePer> {
    per.into().into_iter().collect()
}

impl SchedulePer {
    /// All there are, but those of several steps or epochs.
    pub const ALL: [SchedulePer; 7] = [
        SchedulePer::Step,
        SchedulePer::Epoch,
        SchedulePer::Batch,
        SchedulePer::BeforeStep,
        SchedulePer::BeforeEpoch,
        SchedulePer::Metric,
        SchedulePer::Fraction,
    ];

    /// Its name in lower case, as it is said to the command: `epoch`, `2-epochs`.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        match self {
            SchedulePer::Step => "step".into(),
            SchedulePer::Epoch => "epoch".into(),
            SchedulePer::Batch => "batch".into(),
            SchedulePer::BeforeStep => "before-step".into(),
            SchedulePer::BeforeEpoch => "before-epoch".into(),
            SchedulePer::Metric => "metric".into(),
            SchedulePer::Fraction => "fraction".into(),
            SchedulePer::Steps(each) => format!("{each}-steps").into(),
            SchedulePer::Epochs(each) => format!("{each}-epochs").into(),
        }
    }

    /// How a sentence says it: `per step`, `per 2 steps`, `before every step`.
    #[must_use]
    pub fn says(self) -> String {
        match self {
            SchedulePer::BeforeStep => "before every step".to_owned(),
            SchedulePer::BeforeEpoch => "before every epoch".to_owned(),
            per => format!("per {}", per.name().replace('-', " ")),
        }
    }

    /// Whether it goes by epochs, or parts of them.
    #[must_use]
    pub fn is_by_epochs(self) -> bool {
        use SchedulePer::{BeforeEpoch, Epoch, Epochs, Fraction};
        matches!(self, Epoch | Epochs(_) | BeforeEpoch | Fraction)
    }

    /// Whether the scheduler is stepped before the optimizer, and not after it.
    #[must_use]
    pub fn is_before(self) -> bool {
        matches!(self, SchedulePer::BeforeStep | SchedulePer::BeforeEpoch)
    }
}

impl std::str::FromStr for SchedulePer {
    type Err = Error;

    /// Takes the [name](SchedulePer::name).
    fn from_str(name: &str) -> Result<Self> {
        let several = || {
            let (each, what) = name.split_once('-')?;
            let each = each.parse::<u32>().ok().filter(|&each| each > 0)?;
            match what {
                "steps" => Some(SchedulePer::Steps(each)),
                "epochs" => Some(SchedulePer::Epochs(each)),
                _ => None,
            }
        };
        SchedulePer::ALL.into_iter().find(|per| per.name() == name).or_else(several).ok_or_else(|| {
            let names = SchedulePer::ALL.map(SchedulePer::name).join(", ");
            invalid(format!("a scheduler is stepped per {names}, 2-steps or 2-epochs, and not per '{name}'"))
        })
    }
}

//! `LRScheduler`: what all schedulers have in common (`class LRScheduler` of `torch/optim/lr_scheduler.py`), and the table of
//! those that are here.

use rekindle_recorder::{Error, ErrorKind, Result, Value};

use super::cosine_annealing_lr::CosineAnnealing;
use super::step_lr::Step;
use crate::attributes::{Attributes, invalid};
use crate::optim::Optimizer;

/// One scheduler's formula. It keeps nothing itself: its numbers are in the attributes.
pub(crate) trait Rule: Send + Sync + std::fmt::Debug {
    /// Which one it is.
    fn kind(&self) -> SchedulerKind;

    /// Refuses attributes that it cannot compute with.
    fn check(&self, attributes: &Attributes) -> Result<()>;

    /// `get_lr()` of one group.
    fn lr(&self, attributes: &Attributes, now: &Now) -> Result<f64>;
}

/// Where a scheduler stands when it computes a group's learning rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// `last_epoch`, already counted on.
    pub(crate) epoch: i64,
    /// `_step_count`, already counted on.
    pub(crate) step_count: i64,
    /// Whether it is the step that the constructor makes.
    pub(crate) initial: bool,
    /// The group's learning rate.
    pub(crate) lr: f64,
    /// The group's learning rate when the scheduler was made.
    pub(crate) base: f64,
}

/// A scheduler of `torch.optim.lr_scheduler`. `Display` gives its name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SchedulerKind {
    /// `StepLR`.
    StepLR,
    /// `CosineAnnealingLR`.
    CosineAnnealingLR,
}

impl SchedulerKind {
    /// All there are.
    pub const ALL: &'static [SchedulerKind] = &[SchedulerKind::StepLR, SchedulerKind::CosineAnnealingLR];

    fn rule(self) -> &'static dyn Rule {
        match self {
            SchedulerKind::StepLR => &Step,
            SchedulerKind::CosineAnnealingLR => &CosineAnnealing,
        }
    }

    /// The name in `torch.optim.lr_scheduler`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SchedulerKind::StepLR => "StepLR",
            SchedulerKind::CosineAnnealingLR => "CosineAnnealingLR",
        }
    }

    /// Which scheduler wrote this state dict, told by its keys.
    ///
    /// # Errors
    /// When the keys are those of a scheduler that is not here, or of none.
    pub fn infer(state_dict: &Value) -> Result<Self> {
        let attributes = Attributes::from_value("scheduler.", state_dict)?;
        let fits = |keys: &[&str]| keys.iter().all(|key| attributes.contains(key));
        match SIGNATURES.iter().find(|(_, keys)| fits(keys)) {
            Some((name, _)) => name.parse(),
            None => {
                let keys = attributes.names().collect::<Vec<_>>().join(", ");
                Err(invalid(format!("no scheduler of torch.optim.lr_scheduler has a state of {keys}")))
            }
        }
    }
}

impl std::fmt::Display for SchedulerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for SchedulerKind {
    type Err = Error;

    /// Takes the name in `torch.optim.lr_scheduler`, in any case.
    fn from_str(name: &str) -> Result<Self> {
        SchedulerKind::ALL.iter().copied().find(|kind| kind.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let names = SchedulerKind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
            let advice = format!("; there are {names}");
            ErrorKind::Unsupported { what: format!("the scheduler {name}"), advice }.into()
        })
    }
}

/// A scheduler's name and keys that only its state dict has. In this order: the first that fits is it.
const SIGNATURES: &[(&str, &[&str])] = &[
    ("LambdaLR or MultiplicativeLR", &["lr_lambdas"]),
    ("StepLR", &["step_size", "gamma"]),
    ("MultiStepLR", &["milestones", "gamma"]),
    ("ConstantLR", &["factor", "total_iters"]),
    ("LinearLR", &["start_factor", "end_factor"]),
    ("PolynomialLR", &["power", "total_iters"]),
    ("CosineAnnealingLR", &["T_max", "eta_min"]),
    ("CosineAnnealingWarmRestarts", &["T_0", "T_mult"]),
    ("CyclicLR", &["max_lrs", "step_ratio"]),
    ("OneCycleLR", &["total_steps", "cycle_momentum"]),
    ("ReduceLROnPlateau", &["patience", "cooldown"]),
    ("SequentialLR", &["_milestones", "_schedulers"]),
    ("ChainedScheduler", &["_schedulers"]),
    ("SWALR", &["anneal_epochs"]),
    // Its key is some others' too.
    ("ExponentialLR", &["gamma"]),
];

/// How a scheduler of `torch.optim.lr_scheduler` is set: made from the options of one, such as
/// [`CosineAnnealingLR`](super::CosineAnnealingLR).
#[derive(Clone, Debug)]
pub struct Schedule {
    pub(super) rule: &'static dyn Rule,
    pub(super) attributes: Attributes,
}

impl Schedule {
    pub(super) fn new(kind: SchedulerKind, entries: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let mut attributes = Attributes::new("scheduler.");
        entries.into_iter().for_each(|(name, value)| attributes.set(name, value));
        Schedule { rule: kind.rule(), attributes }
    }
}

/// A scheduler of `torch.optim.lr_scheduler` at work.
///
/// It holds no optimizer: the one whose learning rates it changes is given to each [`step`](LRScheduler::step).
#[derive(Clone, Debug)]
pub struct LRScheduler {
    rule: &'static dyn Rule,
    /// What Python's object has in its `__dict__`, but for the optimizer.
    attributes: Attributes,
}

impl LRScheduler {
    /// `torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, ...)`: puts `initial_lr` into the groups and makes the initial
    /// step, as PyTorch does.
    ///
    /// To go on from a checkpoint use [`LRScheduler::from_state_dict`], which leaves the learning rates alone.
    ///
    /// # Errors
    /// When an option is out of range.
    pub fn new(schedule: impl Into<Schedule>, optimizer: &mut Optimizer) -> Result<Self> {
        LRScheduler::with_last_epoch(schedule, optimizer, -1)
    }

    /// `...LR(optimizer, ..., last_epoch=last_epoch)`: from 0 on, the groups must have `initial_lr` already.
    ///
    /// # Errors
    /// As [`LRScheduler::new`], and when a group lacks `initial_lr`.
    pub fn with_last_epoch(schedule: impl Into<Schedule>, optimizer: &mut Optimizer, last_epoch: i64) -> Result<Self> {
        let Schedule { rule, mut attributes } = schedule.into();
        rule.check(&attributes)?;
        let mut base_lrs = Vec::new();
        for group in optimizer.param_groups_mut() {
            group.lr()?;
            if last_epoch == -1
                && let Some(lr) = group.get("lr").cloned()
            {
                group.set_default("initial_lr", lr);
            }
            group.float("initial_lr")?;
            base_lrs.extend(group.get("initial_lr").cloned());
        }
        attributes.set("base_lrs", base_lrs);
        attributes.set("last_epoch", last_epoch);
        attributes.set("_step_count", 0);
        attributes.set("_is_initial", true);
        let mut scheduler = LRScheduler { rule, attributes };
        scheduler.step(optimizer)?;
        scheduler.attributes.set("_is_initial", false);
        Ok(scheduler)
    }

    /// The scheduler that wrote a state dict, as it then was. The optimizer's learning rates stay as they are: they are part
    /// of the optimizer's own state dict, and it does not matter which of the two is loaded first.
    ///
    /// # Errors
    /// When the state dict is that of no scheduler that is here, or of an optimizer with another number of groups.
    pub fn from_state_dict(state_dict: &Value, optimizer: &Optimizer) -> Result<Self> {
        let rule = SchedulerKind::infer(state_dict)?.rule();
        let mut attributes = Attributes::new("scheduler.");
        attributes.update(Attributes::from_value("scheduler.", state_dict)?);
        // Releases before 2.8 did not have it; it only ever differs inside a constructor.
        attributes.set_default("_is_initial", false);
        let scheduler = LRScheduler { rule, attributes };
        scheduler.check(optimizer.param_groups().len())?;
        Ok(scheduler)
    }

    /// Which scheduler it is.
    #[must_use]
    pub fn kind(&self) -> SchedulerKind {
        self.rule.kind()
    }

    /// `scheduler.step()`: counts on, and sets the learning rate of each group.
    ///
    /// # Errors
    /// When the optimizer has another number of groups than the one the scheduler was made for, or the formula divides by
    /// zero.
    pub fn step(&mut self, optimizer: &mut Optimizer) -> Result<()> {
        self.check(optimizer.param_groups().len())?;
        let mut now = Now {
            epoch: self.attributes.int("last_epoch")?.saturating_add(1),
            step_count: self.attributes.int("_step_count")?.saturating_add(1),
            initial: self.attributes.flag("_is_initial")?,
            lr: 0.0,
            base: 0.0,
        };
        let bases = self.attributes.floats("base_lrs")?;
        let rates = optimizer.param_groups().iter().zip(bases).map(|(group, base)| {
            now.lr = group.lr()?;
            now.base = base;
            self.rule.lr(&self.attributes, &now)
        });
        let rates: Vec<f64> = rates.collect::<Result<_>>()?;
        for (group, lr) in optimizer.param_groups_mut().iter_mut().zip(rates) {
            group.set_lr(lr);
        }
        self.attributes.set("_step_count", now.step_count);
        self.attributes.set("last_epoch", now.epoch);
        self.attributes.set("_get_lr_called_within_step", false);
        let last: Vec<Value> = optimizer.param_groups().iter().filter_map(|group| group.get("lr").cloned()).collect();
        self.attributes.set("_last_lr", last);
        Ok(())
    }

    /// How often it was stepped since it was made: `last_epoch`.
    ///
    /// # Errors
    /// Never, as long as nobody puts something else in its place.
    pub fn last_epoch(&self) -> Result<i64> {
        self.attributes.int("last_epoch")
    }

    /// `get_last_lr()`: the learning rates that it set last.
    ///
    /// # Errors
    /// When it was loaded from a release that did not keep them.
    pub fn last_lr(&self) -> Result<Vec<f64>> {
        self.attributes.floats("_last_lr")
    }

    /// `scheduler.state_dict()`: every attribute of PyTorch's object but the optimizer, in its order.
    #[must_use]
    pub fn state_dict(&self) -> Value {
        self.attributes.to_dict().into()
    }

    /// `scheduler.load_state_dict(state_dict)`. Unknown keys are kept. The optimizer's learning rates stay as they are.
    /// Nothing changes unless all of it fits.
    ///
    /// # Errors
    /// When the state dict is another scheduler's, or that of an optimizer with another number of groups.
    pub fn load_state_dict(&mut self, state_dict: &Value) -> Result<()> {
        let found = SchedulerKind::infer(state_dict)?;
        if found != self.kind() {
            return Err(invalid(format!("the state dict is {found}'s, and the scheduler is {}", self.kind())));
        }
        let mut loaded = self.clone();
        loaded.attributes.update(Attributes::from_value("scheduler.", state_dict)?);
        loaded.check(self.attributes.floats("base_lrs")?.len())?;
        *self = loaded;
        Ok(())
    }

    /// Whether the attributes are such that it can go on.
    fn check(&self, groups: usize) -> Result<()> {
        self.rule.check(&self.attributes)?;
        self.attributes.int("last_epoch")?;
        self.attributes.int("_step_count")?;
        self.attributes.flag("_is_initial")?;
        let bases = self.attributes.floats("base_lrs")?.len();
        if bases == groups {
            return Ok(());
        }
        Err(invalid(format!("the scheduler is for an optimizer of {bases} groups, and this one has {groups}")))
    }
}

//! `Schedule`: how a scheduler is set, before there is one; and the construction of one.

use std::fmt;
use std::sync::Arc;

use rekindle_recorder::{Result, Value};

use super::arguments::Arguments;
use super::formula::real;
use super::options::{Function, PLACE};
use super::scheduler::{Class, LRScheduler};
use crate::attributes::{Attributes, invalid};
use crate::optim::{Optimizer, ParamGroup};

/// Attributes of a scheduler, in order.
pub(crate) type Entries = Vec<(&'static str, Value)>;

/// What a schedule can be set by, as `options!` lists it: none, where it is made of functions or of other schedules.
pub(crate) trait Fields {
    /// The options by the names that Python has for them.
    fn entries(&self) -> Entries {
        Vec::new()
    }
}

/// Makes a schedule of arguments in words; which are left over is seen by [`Arguments::finish`].
pub(crate) type Make = fn(&mut Arguments) -> Result<Schedule>;

/// How options are said in words: not at all, where they are functions.
pub(crate) trait InWords {
    const MAKE: Option<Make> = None;
}

/// A scheduler's options, and what its constructor does with them.
pub(crate) trait Options: Fields + Send + Sync + fmt::Debug {
    /// Refuses what PyTorch's constructor refuses.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The attributes that PyTorch's constructor sets before it calls that of the base class, in order, which most often are
    /// the options; and what it puts into the groups, if the `last_epoch` is -1: else it goes on from there.
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        Ok(self.entries())
    }

    /// What it sets afterwards.
    fn finish(&self, _attributes: &mut Attributes, _groups: usize) -> Result<()> {
        Ok(())
    }

    /// The attributes that its state dict never has, for a scheduler that goes on from one.
    fn unsaved(&self, _groups: &[ParamGroup]) -> Result<Entries> {
        Ok(Vec::new())
    }

    /// The functions that it calls.
    fn functions(&self, _groups: usize) -> Result<Vec<Function>> {
        Ok(Vec::new())
    }

    /// The schedulers that it is made of, which are constructed first, in this order.
    fn children(&self) -> &[Schedule] {
        &[]
    }
}

/// Attributes with these put in, each in its place if there is one of its name, else at the end.
pub(super) fn with(mut entries: Entries, others: impl IntoIterator<Item = (&'static str, Value)>) -> Entries {
    for (name, value) in others {
        match entries.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => entries.push((name, value)),
        }
    }
    entries
}

/// Refuses a number that is no part of another.
pub(super) fn from_0_to_1(what: &str, number: f64) -> Result<()> {
    if (0.0..=1.0).contains(&number) {
        return Ok(());
    }
    Err(invalid(format!("{what} must be from 0 to 1, and is {number}")))
}

/// How a scheduler is set: made from the options of one, such as [`CosineAnnealingLR`](super::CosineAnnealingLR).
#[derive(Clone, Debug)]
pub struct Schedule {
    pub(super) class: &'static Class,
    pub(super) options: Arc<dyn Options>,
}

impl Schedule {
    pub(crate) fn construct(&self, groups: &mut [ParamGroup], last_epoch: i64) -> Result<LRScheduler> {
        let children = self.options.children().iter().map(|child| child.construct(groups, last_epoch));
        let children = children.collect::<Result<_>>()?;
        let mut attributes = Attributes::new(PLACE);
        self.options.check()?;
        for (name, value) in self.options.attributes(groups, last_epoch)? {
            attributes.set(name, value);
        }
        let functions = self.options.functions(groups.len())?;
        let mut scheduler =
            LRScheduler { class: self.class, attributes, functions, children, position: None, way: None };
        self.class.rule.construct(&mut scheduler, groups, last_epoch)?;
        self.options.finish(&mut scheduler.attributes, groups.len())?;
        scheduler.check(groups.len())?;
        Ok(scheduler)
    }
}

impl LRScheduler {
    /// `torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, ...)`: puts `initial_lr` into the groups and makes the initial
    /// step, as PyTorch does.
    ///
    /// To go on from a checkpoint use [`LRScheduler::from_state_dict`], which leaves the learning rates alone.
    ///
    /// # Errors
    /// When an option is out of range; then nothing has changed.
    pub fn new(schedule: impl Into<Schedule>, optimizer: &mut Optimizer) -> Result<Self> {
        LRScheduler::with_last_epoch(schedule, optimizer, -1)
    }

    /// A schedule whose position is in no state dict, such as timm's and nanoGPT's, at that position: sets the rates that
    /// hold there, as their own scripts do when they go on.
    ///
    /// # Errors
    /// As [`LRScheduler::new`], and as [`step_to`](LRScheduler::step_to).
    pub fn at(schedule: impl Into<Schedule>, position: i64, optimizer: &mut Optimizer) -> Result<Self> {
        let mut groups = optimizer.param_groups().to_vec();
        let mut scheduler = schedule.into().construct(&mut groups, -1)?;
        scheduler.class.rule.step_to(&mut scheduler, &mut groups, real(position))?;
        optimizer.param_groups_mut().clone_from_slice(&groups);
        Ok(scheduler)
    }

    /// `...LR(optimizer, ..., last_epoch=last_epoch)`: from 0 on, the groups must have `initial_lr` already.
    ///
    /// # Errors
    /// As [`LRScheduler::new`]; when a group lacks `initial_lr`; and from 0 on for schedulers that cannot be made so.
    pub fn with_last_epoch(schedule: impl Into<Schedule>, optimizer: &mut Optimizer, last_epoch: i64) -> Result<Self> {
        let mut groups = optimizer.param_groups().to_vec();
        let scheduler = schedule.into().construct(&mut groups, last_epoch)?;
        optimizer.param_groups_mut().clone_from_slice(&groups);
        Ok(scheduler)
    }
}

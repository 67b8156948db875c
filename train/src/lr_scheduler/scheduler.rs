//! `LRScheduler`: a scheduler at work, and what all have in common; and `Rule`, what each does in its own way.

use std::fmt;

use rekindle_recorder::{Error, Result, Value};

use super::options::{Function, SteppedBy};
use super::schedule::Make;
use crate::attributes::{Attributes, invalid};
use crate::optim::{Optimizer, ParamGroup};

/// A scheduler of `torch.optim.lr_scheduler` at work.
///
/// It holds no optimizer: the one whose learning rates it changes is given to each [`step`](LRScheduler::step).
///
/// In PyTorch a scheduler must be constructed before the optimizer's state is loaded, since its constructor overwrites the
/// learning rates. Here the order does not matter: what goes on from a state dict is made by
/// [`from_state_dict`](LRScheduler::from_state_dict) or [`resume`](LRScheduler::resume), which change no learning rate.
#[derive(Clone, Debug)]
pub struct LRScheduler {
    pub(super) class: &'static Class,
    /// What Python's object has in its `__dict__`, but for the optimizer, functions and other schedulers.
    pub(super) attributes: Attributes,
    pub(super) functions: Vec<Function>,
    pub(super) children: Vec<LRScheduler>,
    /// How far it has come, where the attributes do not have it.
    pub(super) position: Option<i64>,
    /// How its user computes parts of epochs, once that is told: a place in `parts.rs`.
    pub(super) way: Option<usize>,
}

/// A class of PyTorch's: a row of the table in `kind.rs`.
pub(crate) struct Class {
    /// Which row.
    pub(super) row: usize,
    pub(super) name: &'static str,
    /// Where Python imports it from.
    pub(super) package: &'static str,
    pub(super) rule: &'static dyn Rule,
    /// How its options are made of words.
    pub(super) make: Option<Make>,
    /// Keys that its state dict always has.
    pub(super) tell: &'static [&'static str],
    /// Keys that it had in some release.
    pub(super) own: &'static [&'static str],
    /// Keys that it shares with the other classes of its package.
    pub(super) shared: &'static [&'static str],
    /// The key that PyTorch's `state_dict()` puts last, for what it takes out of the attributes first.
    pub(super) tail: Option<Tail>,
}

impl Class {
    /// What it is called in words: nanoGPT's loop is no class of Python's.
    pub(super) fn word(&self) -> &'static str {
        if self.package == "nanoGPT" { "nanogpt" } else { self.name }
    }
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What a state dict holds last, and under which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// The states of a function for each group: `None`, or the attributes of a callable object.
    Functions(&'static str),
    /// That of one function.
    Function(&'static str),
    /// The state dicts of the schedulers it is made of.
    Schedulers(&'static str),
    /// The same, each with a name before it.
    Named(&'static str),
    /// The state dict of the one scheduler that it is made of.
    One(&'static str),
}

impl Tail {
    pub(super) fn key(self) -> &'static str {
        match self {
            Tail::Functions(key) | Tail::Function(key) | Tail::Schedulers(key) | Tail::Named(key) | Tail::One(key) => {
                key
            }
        }
    }

    /// The attribute that has the names of the schedulers in `Named`.
    pub(super) const NAMES: &'static str = "names";
}

/// What a scheduler does. It keeps nothing itself: its numbers are in the scheduler's attributes.
///
/// A scheduler that got an error may be left half stepped: steps are made on a copy.
pub(crate) trait Rule: Send + Sync {
    /// Whether its steps go by a metric.
    fn by_metric(&self) -> bool {
        false
    }

    /// Whether an epoch is counted by a step of its own, before the metric is told.
    fn counts_before_metric(&self) -> bool {
        false
    }

    /// The rest of the constructor, once its own attributes are there.
    fn construct(&self, scheduler: &mut LRScheduler, _groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        scheduler.only_fresh(last_epoch)
    }

    /// Refuses what it cannot go on with, for an optimizer of so many groups.
    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()>;

    /// Refuses what it cannot have been saved with, beyond [`check`](Self::check).
    fn check_loaded(&self, _scheduler: &LRScheduler, _groups: usize) -> Result<()> {
        Ok(())
    }

    /// `step()`, with the metric where one was given.
    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], metric: Option<f64>) -> Result<()>;

    /// `step(epoch)`, for an epoch that need not be whole.
    fn step_to(&self, scheduler: &mut LRScheduler, _groups: &mut [ParamGroup], _epoch: f64) -> Result<()> {
        Err(scheduler.no_epochs())
    }

    /// Whether it computes rates from its epoch alone, wherever it is: `get_lr()`.
    fn is_formula(&self) -> bool {
        false
    }

    /// Gives the groups what `get_lr()` says at the epoch that it stands at, which it does not count.
    fn set_rates(&self, scheduler: &mut LRScheduler, _groups: &mut [ParamGroup]) -> Result<()> {
        Err(invalid(format!("{} computes no rates but where it is stepped", scheduler.class.name)))
    }

    /// `_update_lr(0)`: what `SequentialLR` does when the turn comes to a scheduler, which does not go by a metric. Most that are no
    /// formula fail there in PyTorch with `NotImplementedError`.
    fn begin_turn(&self, scheduler: &mut LRScheduler, _groups: &mut [ParamGroup]) -> Result<()> {
        let name = scheduler.class.name;
        Err(invalid(format!(
            "SequentialLR cannot go over to a {name}, in PyTorch as here; let it be the first of its schedulers"
        )))
    }

    /// Brings what an older release wrote into today's form.
    fn complete(&self, _attributes: &mut Attributes) {}

    /// How far it has come.
    fn position(&self, scheduler: &LRScheduler) -> Option<i64> {
        scheduler.attributes.int("last_epoch").ok()
    }

    /// Whether its position is in no state dict, and must be said.
    fn told_position(&self) -> bool {
        false
    }

    /// What it is stepped by, where that is known.
    fn stepped_by(&self, _scheduler: &LRScheduler) -> Option<SteppedBy> {
        self.by_metric().then_some(SteppedBy::Metric)
    }

    /// Whether it has a state dict at all.
    fn is_saved(&self) -> bool {
        true
    }

    /// The only attributes that its state dict has, where those are not all.
    fn kept(&self) -> Option<&'static [&'static str]> {
        None
    }

    /// What a state dict with the class's keys has that the class never had, beyond keys: a value of another type.
    fn foreign(&self, _attributes: &Attributes) -> Option<&'static str> {
        None
    }
}

impl LRScheduler {
    /// The schedulers that a `SequentialLR` or `ChainedScheduler` is made of.
    #[must_use]
    pub fn schedulers(&self) -> &[LRScheduler] {
        &self.children
    }

    /// `scheduler.step()`: counts on, and sets the learning rate of each group, and its momentum where the scheduler moves
    /// that.
    ///
    /// # Errors
    /// When the optimizer has another number of groups than the one the scheduler was made for, the schedule has come to its
    /// end, the formula divides by zero, or the scheduler goes by a metric. Then nothing has changed.
    pub fn step(&mut self, optimizer: &mut Optimizer) -> Result<()> {
        self.stepped(optimizer, |next, groups| next.step_groups(groups, None))
    }

    /// `scheduler.step(metric)`: as [`step`](Self::step), for `ReduceLROnPlateau` and what goes by a
    /// metric as it does. mmengine's runner calls `step()` besides, which counts.
    ///
    /// # Errors
    /// As [`step`](Self::step), and when the scheduler goes by no metric.
    pub fn step_with_metric(&mut self, metric: f64, optimizer: &mut Optimizer) -> Result<()> {
        self.stepped(optimizer, |next, groups| next.step_groups(groups, Some(metric)))
    }

    /// Tells it the metric of what was done since it was told last, as the programs do that train with it.
    ///
    /// # Errors
    /// As [`step_with_metric`](Self::step_with_metric).
    pub(crate) fn tell(&mut self, metric: f64, optimizer: &mut Optimizer) -> Result<()> {
        self.stepped(optimizer, |next, groups| {
            if next.class.rule.counts_before_metric() {
                next.step_groups(groups, None)?;
            }
            next.step_groups(groups, Some(metric))
        })
    }

    /// `scheduler.step(epoch)`: to an epoch that need not be whole, such as `epoch + batch / batches`, for
    /// `CosineAnnealingWarmRestarts`. (The other schedulers' `step(epoch)` PyTorch has deprecated.)
    ///
    /// # Errors
    /// As [`step`](Self::step), for a negative epoch, and for other schedulers.
    pub fn step_to(&mut self, epoch: f64, optimizer: &mut Optimizer) -> Result<()> {
        self.stepped(optimizer, |next, groups| next.class.rule.step_to(next, groups, epoch))
    }

    fn stepped(
        &mut self,
        optimizer: &mut Optimizer,
        step: impl FnOnce(&mut LRScheduler, &mut [ParamGroup]) -> Result<()>,
    ) -> Result<()> {
        self.stepped_over(optimizer.param_groups_mut(), step)
    }

    fn stepped_over(
        &mut self,
        groups: &mut [ParamGroup],
        step: impl FnOnce(&mut LRScheduler, &mut [ParamGroup]) -> Result<()>,
    ) -> Result<()> {
        // On a copy, so that an error leaves everything as it was.
        let (mut next, mut stepped) = (self.clone(), groups.to_vec());
        next.check(stepped.len())?;
        step(&mut next, &mut stepped)?;
        groups.clone_from_slice(&stepped);
        *self = next;
        Ok(())
    }

    /// As [`step`](Self::step), over groups that are of no optimizer here.
    pub(crate) fn step_alone(&mut self, groups: &mut [ParamGroup]) -> Result<()> {
        self.stepped_over(groups, |next, groups| next.step_groups(groups, None))
    }

    pub(super) fn step_groups(&mut self, groups: &mut [ParamGroup], metric: Option<f64>) -> Result<()> {
        let Class { name, rule, .. } = self.class;
        if metric.is_some() && !rule.by_metric() {
            return Err(invalid(format!("{name} takes no metric; step it without one")));
        }
        rule.step(self, groups, metric)
    }

    /// `_initial_step()`: the step of the constructor.
    pub(super) fn initial_step(&mut self, groups: &mut [ParamGroup]) -> Result<()> {
        self.attributes.set("_step_count", 0);
        self.attributes.set("_is_initial", true);
        self.check(groups.len())?;
        self.step_groups(groups, None)?;
        self.attributes.set("_is_initial", false);
        Ok(())
    }

    /// Refuses a `last_epoch` where PyTorch's constructor takes none, or makes nothing useful of it.
    pub(super) fn only_fresh(&self, last_epoch: i64) -> Result<()> {
        if last_epoch == -1 {
            return Ok(());
        }
        Err(invalid(format!("{} cannot be made from a last_epoch; go on from its state dict", self.class.name)))
    }

    /// What it is stepped by, where a flag says whether it counts epochs.
    pub(super) fn stepped_by_flag(&self, name: &str) -> Option<SteppedBy> {
        let epochs = self.attributes.flag(name).ok()?;
        Some(if epochs { SteppedBy::Epoch } else { SteppedBy::Step })
    }

    /// An error about a scheduler that counts whole steps only.
    pub(super) fn no_epochs(&self) -> Error {
        invalid(format!("{} cannot be stepped to an epoch; step it without one", self.class.name))
    }

    pub(super) fn check(&self, groups: usize) -> Result<()> {
        self.class.rule.check(self, groups)
    }

    /// How often it was stepped since it was made: `last_epoch`. A `ChainedScheduler` does not count.
    ///
    /// # Errors
    /// For a `ChainedScheduler`.
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
        let dict = self.attributes.to_dict();
        if let Some(kept) = self.class.rule.kept() {
            let others: Vec<_> = self.attributes.names().filter(|name| !kept.contains(name)).collect();
            others.into_iter().for_each(|name| drop(dict.remove(name)));
        }
        if let Some(tail) = self.class.tail {
            let mut children = self.children.iter().map(LRScheduler::state_dict);
            let state = match tail {
                Tail::Functions(_) => Value::list(self.functions.iter().map(Function::state)),
                Tail::Function(_) => self.functions.first().map_or(Value::None, Function::state),
                Tail::Schedulers(_) => Value::list(children),
                Tail::Named(_) => {
                    let names = dict.remove(Tail::NAMES).and_then(|names| names.items()).unwrap_or_default();
                    Value::list(names.into_iter().zip(children).map(|(name, state)| Value::tuple(vec![name, state])))
                }
                Tail::One(_) => children.next().unwrap_or(Value::None),
            };
            dict.insert(tail.key(), state);
        }
        dict.into()
    }
}

/// Refuses an optimizer with fewer groups than a scheduler was made for. Those that were added since are the formula's matter.
pub(super) fn check_groups(expected: usize, found: usize) -> Result<()> {
    if expected <= found {
        return Ok(());
    }
    Err(invalid(format!("the scheduler is for an optimizer of {expected} groups, and this one has {found}")))
}

/// Notes the first value of a number in each group, unless it is there: `initial_lr`. Gives the noted ones.
pub(super) fn put_initial(name: &str, groups: &mut [ParamGroup]) -> Result<Vec<f64>> {
    let initial = format!("initial_{name}");
    let put = |group: &mut ParamGroup| {
        let value = group.float(name)?;
        group.set_default(&initial, value);
        group.float(&initial)
    };
    groups.iter_mut().map(put).collect()
}

/// The groups' learning rates, each as it lies there.
pub(super) fn rates(groups: &[ParamGroup]) -> Vec<Value> {
    groups.iter().filter_map(|group| group.get("lr").cloned()).collect()
}

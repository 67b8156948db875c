//! `LRScheduler`: a scheduler at work: construction, steps and state dicts, which all schedulers have in common.

use rekindle_recorder::{Result, Value};

use super::kind::{SchedulerKind, Tail, candidates, names};
use super::schedule::{Function, PLACE, Schedule};
use crate::attributes::{Attributes, invalid, wrong_type};
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
    kind: SchedulerKind,
    /// What Python's object has in its `__dict__`, but for the optimizer, functions and other schedulers.
    pub(super) attributes: Attributes,
    pub(super) functions: Vec<Function>,
    pub(super) children: Vec<LRScheduler>,
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

    /// `...LR(optimizer, ..., last_epoch=last_epoch)`: from 0 on, the groups must have `initial_lr` already.
    ///
    /// # Errors
    /// As [`LRScheduler::new`]; when a group lacks `initial_lr`; and from 0 on for schedulers that cannot be made so.
    pub fn with_last_epoch(schedule: impl Into<Schedule>, optimizer: &mut Optimizer, last_epoch: i64) -> Result<Self> {
        let mut groups = optimizer.param_groups().to_vec();
        let scheduler = LRScheduler::constructed(&schedule.into(), &mut groups, last_epoch)?;
        optimizer.param_groups_mut().clone_from_slice(&groups);
        Ok(scheduler)
    }

    fn constructed(schedule: &Schedule, groups: &mut [ParamGroup], last_epoch: i64) -> Result<Self> {
        let options = schedule.options();
        let children = options.children().iter().map(|child| LRScheduler::constructed(child, groups, last_epoch));
        let children = children.collect::<Result<_>>()?;
        let attributes = options.attributes(groups, last_epoch == -1)?;
        let functions = options.functions(groups.len())?;
        let mut scheduler = LRScheduler { kind: schedule.kind(), attributes, functions, children };
        options.construct(&mut scheduler, groups, last_epoch)?;
        scheduler.check(groups.len())?;
        Ok(scheduler)
    }

    /// The constructor of PyTorch's base class.
    pub(super) fn construct(&mut self, groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        let mut base_lrs = Vec::new();
        for group in groups.iter_mut() {
            group.lr()?;
            if last_epoch == -1
                && let Some(lr) = group.get("lr").cloned()
            {
                group.set_default("initial_lr", lr);
            }
            group.float("initial_lr")?;
            base_lrs.extend(group.get("initial_lr").cloned());
        }
        self.attributes.set("base_lrs", base_lrs);
        self.attributes.set("last_epoch", last_epoch);
        self.initial_step(groups)
    }

    /// Refuses a `last_epoch` where PyTorch's constructor takes none, or makes nothing useful of it.
    pub(super) fn only_fresh(&self, last_epoch: i64) -> Result<()> {
        if last_epoch == -1 {
            return Ok(());
        }
        Err(invalid(format!("{} cannot be made from a last_epoch; go on from its state dict", self.kind)))
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

    /// The scheduler that wrote a state dict, as it then was. The optimizer's learning rates stay as they are: they are part
    /// of the optimizer's own state dict, and it does not matter which of the two is loaded first.
    ///
    /// # Errors
    /// When the state dict is that of no scheduler that is known, of an optimizer with another number of groups, or of a
    /// scheduler with functions, which no file holds: see [`resume`](LRScheduler::resume). Whether a `CyclicLR` of a plain
    /// mode had a function of its own, its state dict does not tell.
    pub fn from_state_dict(state_dict: &Value, optimizer: &Optimizer) -> Result<Self> {
        LRScheduler::restored(None, state_dict, optimizer.param_groups())
    }

    /// The scheduler that wrote a state dict, made with the schedule that it was made with, for functions that the state dict
    /// lacks. Everything else is as the state dict says; the optimizer's learning rates stay as they are.
    ///
    /// # Errors
    /// As [`from_state_dict`](LRScheduler::from_state_dict), and when the state dict is another scheduler's.
    pub fn resume(schedule: impl Into<Schedule>, state_dict: &Value, optimizer: &Optimizer) -> Result<Self> {
        LRScheduler::restored(Some(&schedule.into()), state_dict, optimizer.param_groups())
    }

    fn restored(schedule: Option<&Schedule>, state_dict: &Value, groups: &[ParamGroup]) -> Result<Self> {
        let mut attributes = Attributes::from_value(PLACE, state_dict)?;
        let kind = match schedule {
            None => SchedulerKind::infer(state_dict)?,
            Some(schedule) => {
                let found = candidates(&attributes)?;
                if !found.contains(&schedule.kind()) {
                    let (found, expected) = (names(&found, " or "), schedule.kind());
                    return Err(invalid(format!("the state dict is {found}'s, and the scheduler is {expected}")));
                }
                schedule.kind()
            }
        };
        let tail = kind.tail().and_then(|tail| Some((tail, attributes.remove(tail.key())?)));
        // Releases before 2.8 did not have it; it only ever differs inside a constructor.
        if attributes.contains("_step_count") {
            attributes.set_default("_is_initial", false);
        }
        kind.rule().complete(&mut attributes);
        let mut functions = match schedule {
            Some(schedule) => schedule.options().functions(groups.len())?,
            None => Vec::new(),
        };
        let mut children = Vec::new();
        match tail {
            Some((Tail::Functions(key), states)) => {
                let states = items(key, &states)?;
                if states.len() == functions.len() {
                    functions.iter_mut().zip(states).for_each(|(function, state)| function.load(state));
                } else {
                    return Err(invalid(format!(
                        "the scheduler is for an optimizer of {} groups, and this one has {}",
                        states.len(),
                        functions.len()
                    )));
                }
            }
            Some((Tail::Function(key), state)) => match functions.first_mut() {
                Some(function) => function.load(state),
                None if matches!(state, Value::None) => {}
                None => {
                    return Err(invalid(format!(
                        "{PLACE}{key} is an object's, which no file holds; go on with `LRScheduler::resume` and a function in \
                         its place"
                    )));
                }
            },
            Some((Tail::Schedulers(key), states)) => {
                let states = items(key, &states)?;
                let schedules = schedule.map(|schedule| schedule.options().children());
                if let Some(schedules) = schedules
                    && schedules.len() != states.len()
                {
                    let (found, expected) = (states.len(), schedules.len());
                    return Err(invalid(format!(
                        "the state dict is that of {found} schedulers, and here are {expected}"
                    )));
                }
                for (place, state) in states.iter().enumerate() {
                    let schedule = schedules.and_then(|schedules| schedules.get(place));
                    children.push(LRScheduler::restored(schedule, state, groups)?);
                }
            }
            None => {}
        }
        let scheduler = LRScheduler { kind, attributes, functions, children };
        scheduler.check(groups.len())?;
        kind.rule().check_loaded(&scheduler, groups.len())?;
        Ok(scheduler)
    }

    /// Which scheduler it is.
    #[must_use]
    pub fn kind(&self) -> SchedulerKind {
        self.kind
    }

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

    /// `scheduler.step(metric)`: as [`step`](Self::step), for `ReduceLROnPlateau`.
    ///
    /// # Errors
    /// As [`step`](Self::step), and when the scheduler goes by no metric.
    pub fn step_with_metric(&mut self, metric: f64, optimizer: &mut Optimizer) -> Result<()> {
        self.stepped(optimizer, |next, groups| next.step_groups(groups, Some(metric)))
    }

    /// `scheduler.step(epoch)`: to an epoch that need not be whole, such as `epoch + batch / batches`, for
    /// `CosineAnnealingWarmRestarts`. (The other schedulers' `step(epoch)` PyTorch has deprecated.)
    ///
    /// # Errors
    /// As [`step`](Self::step), for a negative epoch, and for other schedulers.
    pub fn step_to(&mut self, epoch: f64, optimizer: &mut Optimizer) -> Result<()> {
        self.stepped(optimizer, |next, groups| next.kind.rule().step_to(next, groups, epoch))
    }

    fn stepped(
        &mut self,
        optimizer: &mut Optimizer,
        step: impl FnOnce(&mut LRScheduler, &mut [ParamGroup]) -> Result<()>,
    ) -> Result<()> {
        // On a copy, so that an error leaves everything as it was.
        let (mut next, mut groups) = (self.clone(), optimizer.param_groups().to_vec());
        next.check(groups.len())?;
        step(&mut next, &mut groups)?;
        optimizer.param_groups_mut().clone_from_slice(&groups);
        *self = next;
        Ok(())
    }

    pub(super) fn step_groups(&mut self, groups: &mut [ParamGroup], metric: Option<f64>) -> Result<()> {
        self.kind.rule().step(self, groups, metric)
    }

    pub(super) fn check(&self, groups: usize) -> Result<()> {
        self.kind.rule().check(self, groups)
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
        if let Some(tail) = self.kind.tail() {
            let state = match tail {
                Tail::Functions(_) => Value::list(self.functions.iter().map(Function::state)),
                Tail::Function(_) => self.functions.first().map_or(Value::None, Function::state),
                Tail::Schedulers(_) => Value::list(self.children.iter().map(LRScheduler::state_dict)),
            };
            dict.insert(tail.key(), state);
        }
        dict.into()
    }
}

fn items(key: &str, value: &Value) -> Result<Vec<Value>> {
    value.items().ok_or_else(|| wrong_type(&format!("{PLACE}{key}"), "a list", value))
}

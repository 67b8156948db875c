//! `Rule`: what a scheduler does in a step; and `Base`, the step that most share (`class LRScheduler` of
//! `torch/optim/lr_scheduler.py`), around a formula.

use rekindle_recorder::{Result, Value};

use super::scheduler::LRScheduler;
use crate::attributes::{Attributes, invalid};
use crate::optim::ParamGroup;

/// What a scheduler does. It keeps nothing itself: its numbers are in the scheduler's attributes.
///
/// A scheduler that got an error may be left half stepped: steps are made on a copy.
pub(crate) trait Rule: Send + Sync + std::fmt::Debug {
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
        Err(invalid(format!("{} cannot be stepped to an epoch; step it without one", scheduler.kind())))
    }

    /// `_update_lr(0)`: what `SequentialLR` does when the turn comes to a scheduler.
    fn begin_turn(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup]) -> Result<()>;

    /// Brings what an older release wrote into today's form.
    fn complete(&self, _attributes: &mut Attributes) {}
}

/// A scheduler's formula, where all else is the base class's.
pub(crate) trait Formula: Send + Sync + std::fmt::Debug {
    /// Refuses options that it cannot compute with, for an optimizer of so many groups.
    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()>;

    /// `get_lr()` of one group.
    fn lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64>;

    /// `_get_closed_form_lr()` of one group at epoch 0; the same as [`lr`](Self::lr) where PyTorch has none.
    fn first_lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        self.lr(scheduler, now)
    }

    /// The group's momentum, where the scheduler moves that, too.
    fn momentum(&self, _scheduler: &LRScheduler, _now: &Now) -> Result<Option<f64>> {
        Ok(None)
    }

    /// As [`Rule::complete`].
    fn complete(&self, _attributes: &mut Attributes) {}
}

/// Where a scheduler stands when it computes a group's learning rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now<'a> {
    /// `last_epoch`, already counted on.
    pub(crate) epoch: i64,
    /// `_step_count`, already counted on.
    pub(crate) step_count: i64,
    /// Whether it is the step that the constructor makes.
    pub(crate) initial: bool,
    /// The group, and its place among the groups.
    pub(crate) group: &'a ParamGroup,
    pub(crate) place: usize,
    /// The group's learning rate.
    pub(crate) lr: f64,
    /// The group's learning rate when the scheduler was made.
    pub(crate) base: f64,
}

/// The scheduler of a formula.
#[derive(Debug)]
pub(crate) struct Base<F>(pub(crate) F);

impl<F: Formula> Rule for Base<F> {
    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        check_base(scheduler, groups)?;
        self.0.check(scheduler, groups)
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], metric: Option<f64>) -> Result<()> {
        refuse_metric(scheduler, metric)?;
        let steps = scheduler.attributes.int("_step_count")?.saturating_add(1);
        scheduler.attributes.set("_step_count", steps);
        let epoch = scheduler.attributes.int("last_epoch")?.saturating_add(1);
        update(scheduler, groups, epoch, |scheduler, now| {
            Ok((self.0.lr(scheduler, now)?, self.0.momentum(scheduler, now)?))
        })
    }

    fn begin_turn(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup]) -> Result<()> {
        update(scheduler, groups, 0, |scheduler, now| {
            Ok((self.0.first_lr(scheduler, now)?, self.0.momentum(scheduler, now)?))
        })
    }

    fn complete(&self, attributes: &mut Attributes) {
        self.0.complete(attributes);
    }
}

/// Refuses attributes of the base class that cannot be gone on with.
pub(super) fn check_base(scheduler: &LRScheduler, groups: usize) -> Result<()> {
    let attributes = &scheduler.attributes;
    attributes.int("last_epoch")?;
    attributes.int("_step_count")?;
    attributes.flag("_is_initial")?;
    check_groups(attributes.floats("base_lrs")?.len(), groups)
}

/// Refuses an optimizer with another number of groups than a scheduler was made for.
pub(super) fn check_groups(expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(invalid(format!("the scheduler is for an optimizer of {expected} groups, and this one has {found}")))
}

pub(super) fn refuse_metric(scheduler: &LRScheduler, metric: Option<f64>) -> Result<()> {
    match metric {
        None => Ok(()),
        Some(_) => Err(invalid(format!("{} takes no metric; step it without one", scheduler.kind()))),
    }
}

/// `_update_lr()`: computes every group's learning rate and momentum, then sets them.
pub(super) fn update(
    scheduler: &mut LRScheduler,
    groups: &mut [ParamGroup],
    epoch: i64,
    compute: impl Fn(&LRScheduler, &Now) -> Result<(f64, Option<f64>)>,
) -> Result<()> {
    scheduler.attributes.set("last_epoch", epoch);
    let step_count = scheduler.attributes.int("_step_count")?;
    let initial = scheduler.attributes.flag("_is_initial")?;
    let bases = scheduler.attributes.floats("base_lrs")?;
    let values = groups.iter().zip(bases).enumerate().map(|(place, (group, base))| {
        let now = Now { epoch, step_count, initial, group, place, lr: group.lr()?, base };
        compute(scheduler, &now)
    });
    let values: Vec<_> = values.collect::<Result<_>>()?;
    for (group, (lr, momentum)) in groups.iter_mut().zip(values) {
        group.set_lr(lr);
        if let Some(momentum) = momentum {
            set_momentum(group, momentum);
        }
    }
    scheduler.attributes.set("_get_lr_called_within_step", false);
    scheduler.attributes.set("_last_lr", rates(groups));
    Ok(())
}

/// The groups' learning rates, each as it lies there.
pub(super) fn rates(groups: &[ParamGroup]) -> Vec<Value> {
    groups.iter().filter_map(|group| group.get("lr").cloned()).collect()
}

/// Whether the momentum is the first of `betas`, as Adam has it, for all groups; an error where there is neither.
pub(super) fn uses_beta1(groups: &[ParamGroup]) -> Result<bool> {
    let all = |name| groups.iter().all(|group| group.contains(name));
    match (all("betas"), all("momentum")) {
        (true, _) => Ok(true),
        (false, true) => Ok(false),
        (false, false) => Err(invalid("the optimizer has neither momentum nor betas; switch `cycle_momentum` off")),
    }
}

/// Puts a momentum where the group has it: into `momentum`, or the first place of `betas`.
pub(super) fn set_momentum(group: &mut ParamGroup, momentum: f64) {
    match group.get("betas").and_then(Value::items) {
        Some(betas) => {
            group.set("betas", Value::tuple(std::iter::once(momentum.into()).chain(betas.into_iter().skip(1))));
        }
        None => group.set("momentum", momentum),
    }
}

/// An `int` as Python converts it to a `float`; epochs are far below 2^53.
#[allow(clippy::cast_precision_loss)]
pub(super) fn real(number: i64) -> f64 {
    number as f64
}

/// Python's `/`, which refuses to divide by zero.
pub(super) fn divide(scheduler: &LRScheduler, a: f64, b: f64) -> Result<f64> {
    if b == 0.0 { Err(uncomputable(scheduler, "it divides by zero")) } else { Ok(a / b) }
}

/// Python's `**` of two floats, which refuses what overflows.
pub(super) fn power(scheduler: &LRScheduler, base: f64, exponent: f64) -> Result<f64> {
    let result = base.powf(exponent);
    if result.is_finite() || !base.is_finite() || !exponent.is_finite() {
        return Ok(result);
    }
    Err(uncomputable(scheduler, &format!("{base} to the power of {exponent} is not a number that there is")))
}

fn uncomputable(scheduler: &LRScheduler, why: &str) -> rekindle_recorder::Error {
    let epoch = scheduler.attributes.int("last_epoch").unwrap_or_default();
    invalid(format!("{} has no learning rate at epoch {epoch}: {why}", scheduler.kind()))
}

//! PyTorch's base class (`class LRScheduler` of `torch/optim/lr_scheduler.py`) around a formula: what most schedulers do alike.

use std::marker::PhantomData;

use rekindle_recorder::{Error, Result};

use super::formula::{Computed, Failure, Formula, Given, Now};
use super::momentum::set_momentum;
use super::number::Number;
use super::options::SteppedBy;
use super::scheduler::{LRScheduler, Rule, check_groups, rates};
use crate::attributes::{Attributes, invalid};
use crate::optim::ParamGroup;

struct Base<F>(PhantomData<fn() -> F>);

/// The rule of a formula's scheduler.
pub(super) const fn base<F: Formula>() -> &'static dyn Rule {
    &Base::<F>(PhantomData)
}

impl<F: Formula> Base<F> {
    fn read(scheduler: &LRScheduler, groups: usize) -> Result<F> {
        let given = Given { attributes: &scheduler.attributes, functions: &scheduler.functions, groups };
        F::read(&given).map_err(|failure| blame(scheduler, failure))
    }

    /// `_update_lr()`: computes every group's learning rate and momentum, then sets them.
    fn update(
        scheduler: &mut LRScheduler,
        groups: &mut [ParamGroup],
        epoch: i64,
        lr: impl Fn(&F, &Now) -> Computed<Number>,
    ) -> Result<()> {
        scheduler.attributes.set("last_epoch", epoch);
        Self::compute(scheduler, groups, epoch, lr)?;
        scheduler.attributes.set("_last_lr", rates(groups));
        Ok(())
    }

    /// `get_lr()` of every group, which gets it.
    fn compute(
        scheduler: &mut LRScheduler,
        groups: &mut [ParamGroup],
        epoch: i64,
        lr: impl Fn(&F, &Now) -> Computed<Number>,
    ) -> Result<()> {
        let formula = Self::read(scheduler, groups.len())?;
        let step_count = scheduler.attributes.int("_step_count")?;
        let initial = scheduler.attributes.flag("_is_initial")?;
        let bases = Number::list(&scheduler.attributes, "base_lrs")?;
        let values = groups.iter().enumerate().map(|(index, group)| {
            let now = Now { epoch, step_count, initial, lr: Number::of(group, "lr")?, bases: &bases, group, index };
            Ok((lr(&formula, &now)?, formula.momentum(&now)?))
        });
        let values: Vec<_> = values.collect::<Computed<_>>().map_err(|failure| blame(scheduler, failure))?;
        for (group, (lr, momentum)) in groups.iter_mut().zip(values) {
            lr.put(group, "lr");
            if let Some(momentum) = momentum {
                set_momentum(group, momentum);
            }
        }
        scheduler.attributes.set("_get_lr_called_within_step", false);
        Ok(())
    }
}

/// Says whose formula failed, and when.
pub(super) fn blame(scheduler: &LRScheduler, failure: Failure) -> Error {
    match failure {
        Failure::Refused(error) => error,
        Failure::NoNumber(why) => {
            let epoch = scheduler.attributes.int("last_epoch").unwrap_or_default();
            invalid(format!("{} has no learning rate at epoch {epoch}: {why}", scheduler.class.name))
        }
    }
}

impl<F: Formula> Rule for Base<F> {
    fn construct(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
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
        scheduler.attributes.set("base_lrs", base_lrs);
        scheduler.attributes.set("last_epoch", last_epoch);
        scheduler.initial_step(groups)
    }

    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        let attributes = &scheduler.attributes;
        attributes.int("last_epoch")?;
        attributes.int("_step_count")?;
        attributes.flag("_is_initial")?;
        check_groups(attributes.floats("base_lrs")?.len(), groups)?;
        Self::read(scheduler, groups).map(drop)
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], _metric: Option<f64>) -> Result<()> {
        let epoch = F::count(&mut scheduler.attributes)?;
        Self::update(scheduler, groups, epoch, F::lr)
    }

    fn step_to(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], epoch: f64) -> Result<()> {
        match F::count_to(&mut scheduler.attributes, epoch)? {
            Some(epoch) => Self::update(scheduler, groups, epoch, F::lr),
            None => Err(scheduler.no_epochs()),
        }
    }

    fn is_formula(&self) -> bool {
        true
    }

    fn set_rates(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup]) -> Result<()> {
        let epoch = scheduler.attributes.int("last_epoch")?;
        Self::compute(scheduler, groups, epoch, F::lr)
    }

    fn begin_turn(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup]) -> Result<()> {
        Self::update(scheduler, groups, 0, F::first_lr)
    }

    fn complete(&self, attributes: &mut Attributes) {
        F::complete(attributes);
    }

    fn stepped_by(&self, _scheduler: &LRScheduler) -> Option<SteppedBy> {
        F::STEPPED_BY
    }

    fn kept(&self) -> Option<&'static [&'static str]> {
        F::KEPT
    }

    fn foreign(&self, attributes: &Attributes) -> Option<&'static str> {
        F::foreign(attributes)
    }
}

//! `cosine_annealing_warmup.CosineAnnealingWarmupRestarts` (katsura): up in a straight line, down along half a cosine wave, and
//! again, each time longer and less high.

use super::prelude::*;

options! {
    /// `CosineAnnealingWarmupRestarts(optimizer, first_cycle_steps, cycle_mult, max_lr, min_lr, warmup_steps, gamma)`.
    #[derive(Copy, PartialEq)]
    pub struct CosineAnnealingWarmupRestarts;

    /// From 0.1 to 0.001, without a warm-up.
    pub fn new(
        /// Steps of the first cycle.
        first_cycle_steps: i64,
    );

    /// How many times as long each cycle is than the one before, its warm-up apart. Default 1.
    cycle_mult: f64 = 1.0,
    /// The highest learning rate of the first cycle. Default 0.1.
    max_lr: f64 = 0.1,
    /// The lowest, which it begins with. Default 0.001.
    min_lr: f64 = 0.001,
    /// Steps of each cycle's warm-up. Default 0.
    warmup_steps: i64 = 0,
    /// Which part of its highest learning rate each cycle has of the one before. Default 1.
    gamma: f64 = 1.0,
}

impl Options for CosineAnnealingWarmupRestarts {
    fn attributes(&self, _groups: &mut [ParamGroup], last_epoch: i64) -> Result<Entries> {
        if self.warmup_steps >= self.first_cycle_steps {
            return Err(invalid(
                "CosineAnnealingWarmupRestarts's warmup_steps must be fewer than its first_cycle_steps",
            ));
        }
        Ok(vec![
            ("first_cycle_steps", self.first_cycle_steps.into()),
            ("cycle_mult", self.cycle_mult.into()),
            ("base_max_lr", self.max_lr.into()),
            ("max_lr", self.max_lr.into()),
            ("min_lr", self.min_lr.into()),
            ("warmup_steps", self.warmup_steps.into()),
            ("gamma", self.gamma.into()),
            ("cur_cycle_steps", self.first_cycle_steps.into()),
            ("cycle", 0.into()),
            ("step_in_cycle", last_epoch.into()),
        ])
    }
}

pub(super) struct Restarts;

fn rate(attributes: &Attributes, base: f64) -> Computed<f64> {
    let (step, warmup) = (attributes.int("step_in_cycle")?, attributes.int("warmup_steps")?);
    let max = attributes.float("max_lr")?;
    if step == -1 {
        return Ok(base);
    }
    if step < warmup {
        return Ok(divide((max - base) * real(step), real(warmup))? + base);
    }
    let length = attributes.int("cur_cycle_steps")?.saturating_sub(warmup);
    let part = divide(PI * real(step.saturating_sub(warmup)), real(length))?;
    Ok(base + (max - base) * (1.0 + part.cos()) / 2.0)
}

/// `step()`.
fn count(attributes: &mut Attributes) -> Computed<()> {
    let epoch = attributes.int("last_epoch")?.saturating_add(1);
    let mut step = attributes.int("step_in_cycle")?.saturating_add(1);
    let length = attributes.int("cur_cycle_steps")?;
    let mut cycle = attributes.int("cycle")?;
    if step >= length {
        cycle = cycle.saturating_add(1);
        step = step.saturating_sub(length);
        let warmup = attributes.int("warmup_steps")?;
        #[allow(clippy::cast_possible_truncation)]
        let longer = (real(length.saturating_sub(warmup)) * attributes.float("cycle_mult")?) as i64;
        attributes.set("cur_cycle_steps", longer.saturating_add(warmup));
    }
    attributes.set("cycle", cycle);
    attributes.set("step_in_cycle", step);
    attributes.set("max_lr", attributes.float("base_max_lr")? * power(attributes.float("gamma")?, real(cycle))?);
    attributes.set("last_epoch", epoch);
    Ok(())
}

impl Rule for Restarts {
    fn construct(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        scheduler.only_fresh(last_epoch)?;
        put_initial("lr", groups)?;
        let min_lr = scheduler.attributes.float("min_lr")?;
        let attributes = &mut scheduler.attributes;
        attributes.set("base_lrs", vec![min_lr; groups.len()]);
        attributes.set("last_epoch", last_epoch);
        attributes.set("_step_count", 0);
        attributes.set("_is_initial", false);
        count(attributes).map_err(|failure| blame(scheduler, failure))?;
        groups.iter_mut().for_each(|group| group.set("lr", min_lr));
        Ok(())
    }

    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        let attributes = &scheduler.attributes;
        for name in ["first_cycle_steps", "warmup_steps", "cur_cycle_steps", "cycle", "step_in_cycle", "last_epoch"] {
            attributes.int(name)?;
        }
        for name in ["cycle_mult", "base_max_lr", "max_lr", "gamma"] {
            attributes.float(name)?;
        }
        check_groups(attributes.floats("base_lrs")?.len(), groups)
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], _metric: Option<f64>) -> Result<()> {
        count(&mut scheduler.attributes).map_err(|failure| blame(scheduler, failure))?;
        // A group that was added keeps its rate, since there is none for it.
        for (group, base) in groups.iter_mut().zip(scheduler.attributes.floats("base_lrs")?) {
            let lr = rate(&scheduler.attributes, base).map_err(|failure| blame(scheduler, failure))?;
            group.set("lr", lr);
        }
        Ok(())
    }
}

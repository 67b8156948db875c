//! nanoGPT's `get_lr(it)`: a learning rate that the training loop sets itself before each step, and keeps in no file.

use super::prelude::*;

options! {
    /// nanoGPT's schedule: up in a straight line, then half a cosine wave down to `min_lr`, then that. It goes on with
    /// [`LRScheduler::at`] the file's `iter_num`, and its state belongs into no file.
    #[derive(Copy, PartialEq)]
    pub struct NanoGpt;

    /// `warmup_iters`, `lr_decay_iters`, `learning_rate` and `min_lr` of nanoGPT's configuration.
    pub fn new(
        /// Steps of the warm-up.
        warmup_iters: i64,
        /// The step at which `min_lr` is reached.
        lr_decay_iters: i64,
        /// The highest learning rate.
        learning_rate: f64,
        /// The lowest.
        min_lr: f64,
    );

    /// Whether the rate changes at all: else it is `learning_rate`. Default true.
    decay_lr: bool = true,
    /// Whether the warm-up begins at 0, as in nanoGPT before 2024; it then went by `it / warmup_iters`, and has since gone by
    /// `(it + 1) / (warmup_iters + 1)`. Default false.
    from_zero: bool = false,
}

impl NanoGpt {
    /// From the `config` of nanoGPT's checkpoint, which has every option by its name.
    ///
    /// # Errors
    /// When one of them is missing or no number.
    pub fn from_config(config: &Value) -> Result<Self> {
        let config = Attributes::from_value("config.", config)?;
        let numbers = NanoGpt::new(
            config.int("warmup_iters")?,
            config.int("lr_decay_iters")?,
            config.float("learning_rate")?,
            config.float("min_lr")?,
        );
        Ok(numbers.decay_lr(config.flag("decay_lr")?))
    }

    /// Whether a `config` sets learning rates at all: it has one of the schedule's own options.
    pub(crate) fn is_in(config: &Value) -> bool {
        let Some(config) = config.as_dict() else { return false };
        ["decay_lr", "warmup_iters", "lr_decay_iters", "min_lr"].iter().any(|key| config.get(key).is_some())
    }

    /// `get_lr(it)`.
    #[must_use]
    pub fn lr(&self, it: i64) -> f64 {
        let NanoGpt { warmup_iters, lr_decay_iters, learning_rate, min_lr, decay_lr, from_zero } = *self;
        if !decay_lr {
            return learning_rate;
        }
        if it < warmup_iters {
            return if from_zero {
                learning_rate * real(it) / real(warmup_iters)
            } else {
                learning_rate * real(it.saturating_add(1)) / real(warmup_iters.saturating_add(1))
            };
        }
        if it > lr_decay_iters {
            return min_lr;
        }
        let decay_ratio = real(it.saturating_sub(warmup_iters)) / real(lr_decay_iters.saturating_sub(warmup_iters));
        let coeff = 0.5 * (1.0 + (PI * decay_ratio).cos());
        min_lr + coeff * (learning_rate - min_lr)
    }
}

impl Options for NanoGpt {}

pub(super) struct Loop;

impl Loop {
    fn to(scheduler: &mut LRScheduler, groups: &mut [ParamGroup], it: i64) -> Result<()> {
        let options = NanoGpt::from_config(&scheduler.attributes.to_dict().into())?;
        let lr = options.from_zero(scheduler.attributes.flag("from_zero")?).lr(it);
        if !lr.is_finite() {
            return Err(invalid(format!(
                "nanoGPT's schedule has no learning rate at iteration {it}: it divides by zero"
            )));
        }
        scheduler.position = Some(it);
        groups.iter_mut().for_each(|group| group.set("lr", lr));
        Ok(())
    }
}

impl Rule for Loop {
    fn construct(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        scheduler.only_fresh(last_epoch)?;
        Loop::to(scheduler, groups, 0)
    }

    fn check(&self, scheduler: &LRScheduler, _groups: usize) -> Result<()> {
        scheduler.attributes.flag("from_zero").map(drop)
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], _metric: Option<f64>) -> Result<()> {
        match scheduler.position {
            Some(it) => Loop::to(scheduler, groups, it.saturating_add(1)),
            None => Err(invalid(format!("{PLACE}position is not said; say it (`LRScheduler::set_position`)"))),
        }
    }

    fn step_to(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], epoch: f64) -> Result<()> {
        Loop::to(scheduler, groups, whole(epoch, "nanoGPT's schedule")?)
    }

    fn position(&self, scheduler: &LRScheduler) -> Option<i64> {
        scheduler.position
    }

    fn told_position(&self) -> bool {
        true
    }

    fn stepped_by(&self, _scheduler: &LRScheduler) -> Option<SteppedBy> {
        Some(SteppedBy::Step)
    }

    fn is_saved(&self) -> bool {
        false
    }

    fn kept(&self) -> Option<&'static [&'static str]> {
        Some(&[])
    }
}

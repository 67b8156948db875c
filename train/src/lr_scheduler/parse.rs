//! `NAME(...)`: a schedule in words, such as `CosineAnnealingLR(T_max=50)` or `transformers.cosine(warmup=100, total=1000)`.

use std::str::FromStr;

use rekindle_recorder::{Error, Result};

use super::arguments::Arguments;
use super::detectron2::SolverWarmup;
use super::kind::CLASSES;
use super::schedule::{Make, Schedule};
use super::torchtitan::WarmupStableDecay;
use super::transformers::Along::{Cosine, Linear};
use super::{transformers, yolo};
use crate::call::Call;

/// The formulas of others' `LambdaLR`s and loops, beside the schedulers by the names of their classes.
const FORMULAS: &[(&str, Make)] = &[
    ("detectron2.multi_step", |given| {
        let (steps, max_iter) = (given.required("steps")?, given.required("max_iter")?);
        let gamma = given.optional("gamma", || 0.1)?;
        Ok(solver_warmup(given)?.multi_step(steps, max_iter, gamma)?.into())
    }),
    ("detectron2.cosine", |given| {
        let (max_iter, end) = (given.required("max_iter")?, given.optional("end_value", || 0.0)?);
        Ok(solver_warmup(given)?.cosine(max_iter, end)?.into())
    }),
    ("torchtitan", |given| {
        let default = WarmupStableDecay::new(given.required("total_steps")?);
        let schedule = WarmupStableDecay {
            warmup_steps: given.optional("warmup_steps", || default.warmup_steps)?,
            decay_ratio: given.optional("decay_ratio", || None)?,
            decay_type: given.optional("decay_type", || default.decay_type.clone())?,
            min_lr_factor: given.optional("min_lr_factor", || default.min_lr_factor)?,
            ..default
        };
        Ok(schedule.schedule()?.into())
    }),
    ("transformers.constant", |_| Ok(transformers::constant_schedule().into())),
    ("transformers.constant_with_warmup", |given| {
        Ok(transformers::constant_schedule_with_warmup(given.required("num_warmup_steps")?).into())
    }),
    ("transformers.linear", |given| {
        let (warmup, total) = warmup_and_total(given)?;
        Ok(transformers::linear_schedule_with_warmup(warmup, total).into())
    }),
    ("transformers.cosine", |given| {
        let (warmup, total) = warmup_and_total(given)?;
        let cycles = given.optional("num_cycles", || 0.5)?;
        Ok(transformers::cosine_schedule_with_warmup(warmup, total, cycles).into())
    }),
    ("transformers.cosine_with_restarts", |given| {
        let (warmup, total) = warmup_and_total(given)?;
        let cycles = given.optional("num_cycles", || 1.0)?;
        Ok(transformers::cosine_with_hard_restarts_schedule_with_warmup(warmup, total, cycles).into())
    }),
    ("transformers.cosine_with_min_lr", |given| {
        let (warmup, total) = warmup_and_total(given)?;
        let cycles = given.optional("num_cycles", || 0.5)?;
        let rate = given.required("min_lr_rate")?;
        Ok(transformers::cosine_with_min_lr_schedule_with_warmup(warmup, total, cycles, rate).into())
    }),
    ("transformers.cosine_warmup_with_min_lr", |given| {
        let (warmup, total) = warmup_and_total(given)?;
        let cycles = given.optional("num_cycles", || 0.5)?;
        let (rate, first) = (given.required("min_lr_rate")?, given.optional("warmup_lr_rate", || None)?);
        Ok(transformers::cosine_with_min_lr_schedule_with_warmup_lr_rate(warmup, total, cycles, rate, first).into())
    }),
    ("transformers.polynomial", |given| {
        let (warmup, total) = warmup_and_total(given)?;
        let (end, power) = (given.optional("lr_end", || 1e-7)?, given.optional("power", || 1.0)?);
        let lr = given.required("learning_rate")?;
        Ok(transformers::polynomial_decay_schedule_with_warmup(lr, warmup, total, end, power).into())
    }),
    ("transformers.inverse_sqrt", |given| {
        let (warmup, timescale) = (given.required("num_warmup_steps")?, given.optional("timescale", || None)?);
        Ok(transformers::inverse_sqrt_schedule(warmup, timescale).into())
    }),
    ("transformers.warmup_stable_decay", |given| {
        let (warmup, decay) = (given.required("num_warmup_steps")?, given.required("num_decay_steps")?);
        let total: Option<i64> = given.optional("num_training_steps", || None)?;
        let stable = match (given.optional("num_stable_steps", || None)?, total) {
            (Some(stable), _) => stable,
            (None, Some(total)) => total.saturating_sub(warmup).saturating_sub(decay),
            (None, None) => given.required("num_stable_steps")?,
        };
        let (up, down) = (given.optional("warmup_type", || Linear)?, given.optional("decay_type", || Cosine)?);
        let (min, cycles) = (given.optional("min_lr_ratio", || 0.0)?, given.optional("num_cycles", || 0.5)?);
        Ok(transformers::wsd_schedule(warmup, stable, decay, up, down, min, cycles).into())
    }),
    ("yolov5.linear", |given| Ok(yolo::linear(given.required("lrf")?, given.required("epochs")?).into())),
    ("yolov5.cosine", |given| Ok(yolo::one_cycle(given.required("lrf")?, given.required("epochs")?).into())),
    ("ultralytics.linear", |given| Ok(yolo::linear_to_end(given.required("lrf")?, given.required("epochs")?).into())),
    ("ultralytics.cosine", |given| Ok(yolo::one_cycle(given.required("lrf")?, given.required("epochs")?).into())),
];

/// detectron2's defaults for what is not said.
fn solver_warmup(given: &mut Arguments) -> Result<SolverWarmup> {
    let method: String = given.optional("warmup_method", || "linear".to_owned())?;
    Ok(SolverWarmup {
        factor: given.optional("warmup_factor", || 0.001)?,
        iters: given.optional("warmup_iters", || 1000)?,
        linear: method == "linear",
        rescale_interval: given.optional("rescale_interval", || false)?,
    })
}

fn warmup_and_total(given: &mut Arguments) -> Result<(i64, i64)> {
    Ok((given.required("num_warmup_steps")?, given.required("num_training_steps")?))
}

/// Every name, with what it makes of its arguments.
fn names() -> impl Iterator<Item = (&'static str, Make)> {
    let classes = CLASSES.iter().filter_map(|class| Some((class.word(), class.make?)));
    classes.chain(FORMULAS.iter().copied())
}

impl Schedule {
    /// The names that a schedule can be made from by [`FromStr`]: those of the schedulers' classes, and of formulas such as
    /// `transformers.cosine`, `yolov5.linear` and `nanogpt`.
    pub fn names() -> impl Iterator<Item = &'static str> {
        names().map(|(name, _)| name)
    }
}

impl FromStr for Schedule {
    type Err = Error;

    /// Takes `NAME(...)`, with the arguments of Python's constructor by name or by place: numbers, words, lists and, for
    /// `SequentialLR` and `ChainedScheduler`, other schedules.
    ///
    /// ```
    /// use rekindle_train::lr_scheduler::Schedule;
    ///
    /// let cosine: Schedule = "transformers.cosine(warmup=100, total=1000)".parse()?;
    /// let text = "SequentialLR([LinearLR(0.1, total_iters=5), CosineAnnealingLR(T_max=45)], milestones=[5])";
    /// let warmed_up: Schedule = text.parse()?;
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    fn from_str(text: &str) -> Result<Self> {
        let Call { name, given } = Call::read(text)?;
        let Some((name, make)) = names().find(|(known, _)| known.eq_ignore_ascii_case(name)) else {
            let advice = format!("there are {}", Schedule::names().collect::<Vec<_>>().join(", "));
            return Err(Error::unsupported(format!("the schedule '{name}'")).advise(advice));
        };
        let mut arguments = Arguments::new(name, given);
        let schedule = make(&mut arguments)?;
        arguments.finish()?;
        Ok(schedule)
    }
}

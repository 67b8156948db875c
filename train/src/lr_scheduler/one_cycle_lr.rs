//! `torch.optim.lr_scheduler.OneCycleLR`: the learning rate goes up to a bound and down to almost nothing, once, and the
//! momentum the other way.

use std::f64::consts::PI;

use rekindle_recorder::{Dict, Result, Value};

use super::cyclic_lr::put_momenta;
use super::kind::SchedulerKind;
use super::rule::{Formula, Now, divide, real, uses_beta1};
use super::schedule::{Options, PLACE, PerGroup, Schedule, attributes};
use super::scheduler::LRScheduler;
use super::swa_lr::modernise;
use crate::attributes::{Attributes, invalid, wrong_type};
use crate::optim::ParamGroup;

/// `OneCycleLR(optimizer, max_lr, total_steps, ...)`: from `max_lr / div_factor` up to `max_lr`, then down to the first over
/// `final_div_factor`. It puts `initial_lr`, `max_lr`, `min_lr`, `max_momentum` and `base_momentum` into the groups.
#[derive(Clone, Debug, PartialEq)]
pub struct OneCycleLR {
    /// The highest learning rate of each group.
    pub max_lr: PerGroup,
    /// Steps in all, beyond which it cannot be stepped: in PyTorch also given as `epochs * steps_per_epoch`.
    pub total_steps: i64,
    /// The part of the steps that go up. Default 0.3.
    pub pct_start: f64,
    /// The curve. Default: a cosine.
    pub anneal_strategy: AnnealStrategy,
    /// Whether the momentum (or the first of `betas`) goes down while the learning rate goes up. Default true.
    pub cycle_momentum: bool,
    /// The lowest momentum. Default 0.85.
    pub base_momentum: PerGroup,
    /// The highest momentum. Default 0.95.
    pub max_momentum: PerGroup,
    /// Which part of `max_lr` it begins with. Default 25.
    pub div_factor: f64,
    /// Which part of that it ends with. Default 1e4.
    pub final_div_factor: f64,
    /// Whether it goes down as slowly as up, and only then to the end. Default false.
    pub three_phase: bool,
}

/// The curve from one learning rate to another: `anneal_strategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnnealStrategy {
    /// `"cos"`: half a cosine wave.
    #[default]
    Cos,
    /// `"linear"`: a straight line.
    Linear,
}

impl AnnealStrategy {
    pub(super) fn name(self) -> &'static str {
        match self {
            AnnealStrategy::Cos => "cos",
            AnnealStrategy::Linear => "linear",
        }
    }

    pub(super) fn of(scheduler: &LRScheduler, attribute: &str) -> Result<Self> {
        match &*scheduler.attributes.text(attribute)? {
            "cos" => Ok(AnnealStrategy::Cos),
            "linear" => Ok(AnnealStrategy::Linear),
            other => Err(invalid(format!("{PLACE}{attribute} is '{other}', where 'cos' or 'linear' is expected"))),
        }
    }

    /// The number at a part of the way from `start` to `end`.
    fn between(self, start: f64, end: f64, part: f64) -> f64 {
        match self {
            AnnealStrategy::Cos => {
                let cos_out = (PI * part).cos() + 1.0;
                end + (start - end) / 2.0 * cos_out
            }
            AnnealStrategy::Linear => (end - start) * part + start,
        }
    }
}

impl OneCycleLR {
    /// Up to `max_lr` and down again in `total_steps` steps.
    pub fn new(max_lr: impl Into<PerGroup>, total_steps: i64) -> Self {
        OneCycleLR {
            max_lr: max_lr.into(),
            total_steps,
            pct_start: 0.3,
            anneal_strategy: AnnealStrategy::Cos,
            cycle_momentum: true,
            base_momentum: 0.85.into(),
            max_momentum: 0.95.into(),
            div_factor: 25.0,
            final_div_factor: 1e4,
            three_phase: false,
        }
    }

    /// `_schedule_phases`.
    fn phases(&self) -> Value {
        let up = ["initial_lr", "max_lr", "max_momentum", "base_momentum"];
        let first = self.pct_start * real(self.total_steps) - 1.0;
        let last = self.total_steps.saturating_sub(1);
        let phase = |end_step: Value, [start_lr, end_lr, start_momentum, end_momentum]: [&'static str; 4]| {
            Value::from(Dict::from_iter([
                ("end_step", end_step),
                ("start_lr", start_lr.into()),
                ("end_lr", end_lr.into()),
                ("start_momentum", start_momentum.into()),
                ("end_momentum", end_momentum.into()),
            ]))
        };
        Value::list(if self.three_phase {
            let second = 2.0 * self.pct_start * real(self.total_steps) - 2.0;
            vec![
                phase(first.into(), up),
                phase(second.into(), ["max_lr", "initial_lr", "base_momentum", "max_momentum"]),
                phase(last.into(), ["initial_lr", "min_lr", "max_momentum", "max_momentum"]),
            ]
        } else {
            vec![phase(first.into(), up), phase(last.into(), ["max_lr", "min_lr", "base_momentum", "max_momentum"])]
        })
    }
}

impl From<OneCycleLR> for Schedule {
    fn from(options: OneCycleLR) -> Self {
        Schedule::new(options)
    }
}

impl Options for OneCycleLR {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::OneCycleLR
    }

    fn attributes(&self, groups: &mut [ParamGroup], fresh: bool) -> Result<Attributes> {
        let (total_steps, pct_start) = (self.total_steps, self.pct_start);
        if total_steps <= 0 {
            return Err(invalid(format!("OneCycleLR's total_steps must be at least 1, and is {total_steps}")));
        }
        if !(0.0..=1.0).contains(&pct_start) {
            return Err(invalid(format!("OneCycleLR's pct_start must be from 0 to 1, and is {pct_start}")));
        }
        let max_lrs = self.max_lr.of("max_lr", groups.len())?;
        if self.div_factor == 0.0 || self.final_div_factor == 0.0 {
            return Err(invalid("OneCycleLR's div_factor and final_div_factor must not be 0"));
        }
        if fresh {
            for (group, max_lr) in groups.iter_mut().zip(max_lrs) {
                let initial_lr = max_lr / self.div_factor;
                group.set("initial_lr", initial_lr);
                group.set("max_lr", max_lr);
                group.set("min_lr", initial_lr / self.final_div_factor);
            }
        }
        let mut attributes = attributes([
            ("total_steps", total_steps.into()),
            ("_schedule_phases", self.phases()),
            ("_anneal_func_type", self.anneal_strategy.name().into()),
            ("cycle_momentum", self.cycle_momentum.into()),
        ]);
        if self.cycle_momentum {
            attributes.set("use_beta1", uses_beta1(groups)?);
            put_momenta(groups, fresh, &self.base_momentum, &self.max_momentum)?;
        }
        Ok(attributes)
    }
}

#[derive(Debug)]
pub(super) struct OneCycle;

/// The phase that a step is in, how far it is into that, and the attribute that a key of the phase names.
fn phase(scheduler: &LRScheduler, step: i64) -> Result<(f64, Dict)> {
    let key = format!("{PLACE}_schedule_phases");
    let phases = scheduler.attributes.get("_schedule_phases").cloned().unwrap_or(Value::None);
    let all = phases.items().ok_or_else(|| wrong_type(&key, "a list", &phases))?;
    let mut start = 0.0;
    for (place, phase) in all.iter().enumerate() {
        let dict = phase.as_dict().ok_or_else(|| wrong_type(&key, "a list of dicts", phase))?;
        let end_step = dict.get("end_step").unwrap_or(Value::None);
        let end =
            end_step.as_f64().ok_or_else(|| wrong_type(&format!("{key}[{place}].end_step"), "a number", &end_step))?;
        if real(step) <= end || place + 1 == all.len() {
            return Ok((divide(scheduler, real(step) - start, end - start)?, dict.clone()));
        }
        start = end;
    }
    Err(invalid(format!("{key} is empty")))
}

/// What the group has under the names that a phase says, at its part of the way.
fn between(scheduler: &LRScheduler, now: &Now, start: &str, end: &str) -> Result<f64> {
    let (part, phase) = phase(scheduler, now.epoch)?;
    let bound = |key: &str| match phase.get(key).as_ref().and_then(Value::as_str) {
        Some(name) => now.group.float(name),
        None => Err(invalid(format!("{PLACE}_schedule_phases has a phase without '{key}'"))),
    };
    Ok(AnnealStrategy::of(scheduler, "_anneal_func_type")?.between(bound(start)?, bound(end)?, part))
}

impl Formula for OneCycle {
    fn check(&self, scheduler: &LRScheduler, _groups: usize) -> Result<()> {
        scheduler.attributes.int("total_steps")?;
        scheduler.attributes.flag("cycle_momentum")?;
        AnnealStrategy::of(scheduler, "_anneal_func_type").map(drop)
    }

    fn lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        let (total, step) = (scheduler.attributes.int("total_steps")?, now.epoch);
        if step > total {
            return Err(invalid(format!(
                "OneCycleLR has come to its end: step {step} was asked for, and it was made for {total} steps; make a new \
                 scheduler, or train no further"
            )));
        }
        between(scheduler, now, "start_lr", "end_lr")
    }

    fn momentum(&self, scheduler: &LRScheduler, now: &Now) -> Result<Option<f64>> {
        if !scheduler.attributes.flag("cycle_momentum")? {
            return Ok(None);
        }
        between(scheduler, now, "start_momentum", "end_momentum").map(Some)
    }

    fn complete(&self, attributes: &mut Attributes) {
        modernise(attributes, "_anneal_func_type");
    }
}

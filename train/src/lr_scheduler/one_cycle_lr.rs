//! `torch.optim.lr_scheduler.OneCycleLR`: the learning rate goes up to a bound and down to almost nothing, once, and the
//! momentum the other way.

use super::anneal::{AnnealStrategy, modernise};
use super::momentum::{put_momenta, uses_beta1};
use super::prelude::*;

options! {
    /// `OneCycleLR(optimizer, max_lr, total_steps, ...)`: from `max_lr / div_factor` up to `max_lr`, then down to the first
    /// over `final_div_factor`. It puts `initial_lr`, `max_lr`, `min_lr`, `max_momentum` and `base_momentum` into the groups.
    #[derive(PartialEq)]
    pub struct OneCycleLR;

    /// Up to `max_lr` and down again in `total_steps` steps.
    pub fn new(
        /// The highest learning rate of each group.
        max_lr(impl Into<PerGroup>): PerGroup,
        /// Steps in all, beyond which it cannot be stepped: in PyTorch also given as `epochs * steps_per_epoch`.
        total_steps: i64,
    );

    /// The part of the steps that go up. Default 0.3.
    pct_start: f64 = 0.3,
    /// The curve. Default: a cosine.
    anneal_strategy: AnnealStrategy = AnnealStrategy::Cos,
    /// Whether the momentum (or the first of `betas`) goes down while the learning rate goes up. Default true.
    cycle_momentum: bool = true,
    /// The lowest momentum. Default 0.85.
    base_momentum(impl Into<PerGroup>): PerGroup = 0.85.into(),
    /// The highest momentum. Default 0.95.
    max_momentum(impl Into<PerGroup>): PerGroup = 0.95.into(),
    /// Which part of `max_lr` it begins with. Default 25.
    div_factor: f64 = 25.0,
    /// Which part of that it ends with. Default 1e4.
    final_div_factor: f64 = 1e4,
    /// Whether it goes down as slowly as up, and only then to the end. Default false.
    three_phase: bool = false,
}

impl OneCycleLR {
    /// `_schedule_phases`.
    fn phases(&self) -> Value {
        let first = self.pct_start * real(self.total_steps) - 1.0;
        if !self.three_phase {
            return two_phases(first, self.total_steps);
        }
        let second = 2.0 * self.pct_start * real(self.total_steps) - 2.0;
        Value::list([
            phase(first.into(), UP),
            phase(second.into(), ["max_lr", "initial_lr", "base_momentum", "max_momentum"]),
            phase(self.total_steps.saturating_sub(1).into(), ["initial_lr", "min_lr", "max_momentum", "max_momentum"]),
        ])
    }
}

const UP: [&str; 4] = ["initial_lr", "max_lr", "max_momentum", "base_momentum"];

/// Up until a step, then down.
fn two_phases(up: f64, total_steps: i64) -> Value {
    let down = ["max_lr", "min_lr", "base_momentum", "max_momentum"];
    Value::list([phase(up.into(), UP), phase(total_steps.saturating_sub(1).into(), down)])
}

/// A phase's last step, and the names of what it goes from and to.
fn phase(end_step: Value, [start_lr, end_lr, start_momentum, end_momentum]: [&'static str; 4]) -> Value {
    Value::from(Dict::from_iter([
        ("end_step", end_step),
        ("start_lr", start_lr.into()),
        ("end_lr", end_lr.into()),
        ("start_momentum", start_momentum.into()),
        ("end_momentum", end_momentum.into()),
    ]))
}

impl Options for OneCycleLR {
    fn check(&self) -> Result<()> {
        if self.total_steps <= 0 {
            return Err(invalid(format!("OneCycleLR's total_steps must be at least 1, and is {}", self.total_steps)));
        }
        from_0_to_1("OneCycleLR's pct_start", self.pct_start)
    }

    fn attributes(&self, groups: &mut [ParamGroup], last_epoch: i64) -> Result<Entries> {
        let fresh = last_epoch == -1;
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
        let mut attributes: Entries = vec![
            ("total_steps", self.total_steps.into()),
            ("_schedule_phases", self.phases()),
            ("_anneal_func_type", self.anneal_strategy.name().into()),
            ("cycle_momentum", self.cycle_momentum.into()),
        ];
        if self.cycle_momentum {
            attributes.push(("use_beta1", uses_beta1(groups)?.into()));
            put_momenta(groups, fresh, &self.base_momentum, &self.max_momentum)?;
        }
        Ok(attributes)
    }
}

pub(super) struct OneCycle {
    total_steps: i64,
    /// `_schedule_phases`, as the state dict has them.
    phases: Value,
    strategy: AnnealStrategy,
    cycle_momentum: bool,
}

impl OneCycle {
    /// How far a step is into the phase that it is in, and that phase.
    fn phase(&self, step: i64) -> Computed<(f64, Dict)> {
        let key = format!("{PLACE}_schedule_phases");
        let all = self.phases.items().ok_or_else(|| wrong_type(&key, "a list", &self.phases))?;
        let mut start = 0.0;
        for (index, phase) in all.iter().enumerate() {
            let dict = phase.as_dict().ok_or_else(|| wrong_type(&key, "a list of dicts", phase))?;
            let end_step = dict.get("end_step").unwrap_or(Value::None);
            let end = end_step
                .as_f64()
                .ok_or_else(|| wrong_type(&format!("{key}[{index}].end_step"), "a number", &end_step))?;
            if real(step) <= end || index + 1 == all.len() {
                return Ok((divide(real(step) - start, end - start)?, dict.clone()));
            }
            start = end;
        }
        Err(invalid(format!("{key} is empty")).into())
    }

    /// What the group has under the names that the phase says, at its part of the way.
    fn between(&self, now: &Now, start: &str, end: &str) -> Computed<Number> {
        let (part, phase) = self.phase(now.epoch)?;
        let bound = |key: &str| match phase.get(key).as_ref().and_then(Value::as_str) {
            Some(name) => Number::of(now.group, name),
            None => Err(invalid(format!("{PLACE}_schedule_phases has a phase without '{key}'"))),
        };
        Ok(self.strategy.between(bound(start)?, bound(end)?, part))
    }
}

impl Formula for OneCycle {
    fn read(given: &Given) -> Computed<Self> {
        let attributes = given.attributes;
        Ok(OneCycle {
            total_steps: attributes.int("total_steps")?,
            cycle_momentum: attributes.flag("cycle_momentum")?,
            strategy: AnnealStrategy::read(attributes, "_anneal_func_type")?,
            phases: attributes.get("_schedule_phases").cloned().unwrap_or(Value::None),
        })
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        let (total, step) = (self.total_steps, now.epoch);
        if step > total {
            return Err(invalid(format!(
                "OneCycleLR has come to its end: step {step} was asked for, and it was made for {total} steps; make a new \
                 scheduler, or train no further"
            ))
            .into());
        }
        self.between(now, "start_lr", "end_lr")
    }

    fn momentum(&self, now: &Now) -> Computed<Option<Number>> {
        if !self.cycle_momentum {
            return Ok(None);
        }
        self.between(now, "start_momentum", "end_momentum").map(Some)
    }

    fn complete(attributes: &mut Attributes) {
        modernise(attributes, "_anneal_func_type");
        // Releases before 1.7 had two phases, and kept their lengths.
        if let (Ok(up), Ok(total)) = (attributes.float("step_size_up"), attributes.int("total_steps")) {
            attributes.set_default("_schedule_phases", two_phases(up, total));
        }
    }
}

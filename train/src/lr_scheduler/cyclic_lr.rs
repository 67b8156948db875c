//! `torch.optim.lr_scheduler.CyclicLR`: the learning rate goes up and down between two bounds, and the momentum the other way.

use rekindle_recorder::Result;

use super::kind::SchedulerKind;
use super::rule::{Formula, Now, divide, power, real, set_momentum, uses_beta1};
use super::schedule::{Function, Options, PerGroup, Schedule, attributes};
use super::scheduler::LRScheduler;
use crate::attributes::{Attributes, invalid};
use crate::optim::ParamGroup;

/// `CyclicLR(optimizer, base_lr, max_lr, ...)`: from `base_lr` to `max_lr` and back, over and over.
#[derive(Clone, Debug)]
pub struct CyclicLR {
    /// The lower bound of each group's learning rate, which it begins with.
    pub base_lr: PerGroup,
    /// The upper bound, before it is scaled.
    pub max_lr: PerGroup,
    /// Steps from the lower bound to the upper. Default 2000.
    pub step_size_up: i64,
    /// Steps back. Default `None`: as many as up.
    pub step_size_down: Option<i64>,
    /// How the height of the cycles changes. Default: it does not.
    pub scale: CyclicScale,
    /// Kept as the attribute `gamma`; only [`CyclicScale::ExpRange`] uses it. Default 1.
    pub gamma: f64,
    /// Whether the momentum (or the first of `betas`) goes down while the learning rate goes up. Default true.
    pub cycle_momentum: bool,
    /// The lower bound of the momentum. Default 0.8.
    pub base_momentum: PerGroup,
    /// The upper bound of the momentum. Default 0.9.
    pub max_momentum: PerGroup,
}

/// How the height of the cycles changes: `mode`, or `scale_fn` and `scale_mode`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum CyclicScale {
    /// `mode="triangular"`: not at all.
    #[default]
    Triangular,
    /// `mode="triangular2"`: half as high every cycle.
    Triangular2,
    /// `mode="exp_range"`: times `gamma` every step.
    ExpRange,
    /// `scale_fn=..., scale_mode="cycle"`: a factor by the number of the cycle, from 1.
    Cycle(Function),
    /// `scale_fn=..., scale_mode="iterations"`: a factor by the number of steps.
    Iterations(Function),
}

impl CyclicLR {
    /// Between two bounds, in 2000 steps up and 2000 down.
    pub fn new(base_lr: impl Into<PerGroup>, max_lr: impl Into<PerGroup>) -> Self {
        CyclicLR {
            base_lr: base_lr.into(),
            max_lr: max_lr.into(),
            step_size_up: 2000,
            step_size_down: None,
            scale: CyclicScale::Triangular,
            gamma: 1.0,
            cycle_momentum: true,
            base_momentum: 0.8.into(),
            max_momentum: 0.9.into(),
        }
    }
}

impl From<CyclicLR> for Schedule {
    fn from(options: CyclicLR) -> Self {
        Schedule::new(options)
    }
}

const CYCLE: &str = "cycle";
const ITERATIONS: &str = "iterations";

impl CyclicScale {
    /// `mode` and `scale_mode`.
    fn modes(&self) -> (&'static str, &'static str) {
        match self {
            CyclicScale::Triangular | CyclicScale::Cycle(_) => ("triangular", CYCLE),
            CyclicScale::Triangular2 => ("triangular2", CYCLE),
            CyclicScale::ExpRange => ("exp_range", ITERATIONS),
            CyclicScale::Iterations(_) => ("triangular", ITERATIONS),
        }
    }
}

impl Options for CyclicLR {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::CyclicLR
    }

    fn attributes(&self, groups: &mut [ParamGroup], fresh: bool) -> Result<Attributes> {
        if fresh {
            let base_lrs = self.base_lr.of("base_lr", groups.len())?;
            groups.iter_mut().zip(base_lrs).for_each(|(group, lr)| group.set_lr(lr));
        }
        let up = real(self.step_size_up);
        let total_size = up + self.step_size_down.map_or(up, real);
        if total_size == 0.0 {
            return Err(invalid("CyclicLR's cycles must have at least one step"));
        }
        let (mode, scale_mode) = self.scale.modes();
        let mut attributes = attributes([
            ("max_lrs", self.max_lr.of("max_lr", groups.len())?.into()),
            ("total_size", total_size.into()),
            ("step_ratio", (up / total_size).into()),
            ("mode", mode.into()),
            ("gamma", self.gamma.into()),
            ("scale_mode", scale_mode.into()),
            ("cycle_momentum", self.cycle_momentum.into()),
        ]);
        if self.cycle_momentum {
            attributes.set("use_beta1", uses_beta1(groups)?);
            put_momenta(groups, fresh, &self.base_momentum, &self.max_momentum)?;
            attributes.set("base_momentums", self.base_momentum.of("base_momentum", groups.len())?);
            attributes.set("max_momentums", self.max_momentum.of("max_momentum", groups.len())?);
        }
        Ok(attributes)
    }

    fn construct(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        scheduler.construct(groups, last_epoch)?;
        scheduler.attributes.set("base_lrs", self.base_lr.of("base_lr", groups.len())?);
        Ok(())
    }

    fn functions(&self, _groups: usize) -> Result<Vec<Function>> {
        Ok(match &self.scale {
            CyclicScale::Cycle(function) | CyclicScale::Iterations(function) => vec![function.clone()],
            CyclicScale::Triangular | CyclicScale::Triangular2 | CyclicScale::ExpRange => Vec::new(),
        })
    }
}

/// Begins with the upper momentum, and writes both bounds into the groups.
pub(super) fn put_momenta(groups: &mut [ParamGroup], fresh: bool, base: &PerGroup, max: &PerGroup) -> Result<()> {
    let max = max.of("max_momentum", groups.len())?;
    let base = base.of("base_momentum", groups.len())?;
    if fresh {
        for (group, (max, base)) in groups.iter_mut().zip(max.into_iter().zip(base)) {
            set_momentum(group, max);
            group.set("max_momentum", max);
            group.set("base_momentum", base);
        }
    }
    Ok(())
}

#[derive(Debug)]
pub(super) struct Cyclic;

/// Where in a cycle an epoch is, from 0 at the lower bound to 1 at the upper, and the factor of the height.
fn height(scheduler: &LRScheduler, epoch: i64) -> Result<(f64, f64)> {
    let attributes = &scheduler.attributes;
    let turns = divide(scheduler, real(epoch), attributes.float("total_size")?)?;
    let cycle = (1.0 + turns).floor();
    let x = 1.0 + turns - cycle;
    let ratio = attributes.float("step_ratio")?;
    let part = if x <= ratio { divide(scheduler, x, ratio)? } else { divide(scheduler, x - 1.0, ratio - 1.0)? };

    #[allow(clippy::cast_possible_truncation)]
    let count = if attributes.text("scale_mode")? == CYCLE { cycle as i64 } else { epoch };
    let factor = match (scheduler.functions.first(), &*attributes.text("mode")?) {
        (Some(function), _) => function.call(count),
        (None, "triangular") => 1.0,
        (None, "triangular2") => divide(scheduler, 1.0, power(scheduler, 2.0, real(count) - 1.0)?)?,
        (None, "exp_range") => power(scheduler, attributes.float("gamma")?, real(count))?,
        (None, mode) => return Err(unknown_mode(mode)),
    };
    Ok((part, factor))
}

fn unknown_mode(mode: &str) -> rekindle_recorder::Error {
    invalid(format!("CyclicLR's mode '{mode}' needs a function, which no file holds; go on with `LRScheduler::resume`"))
}

impl Formula for Cyclic {
    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        let attributes = &scheduler.attributes;
        let mut lists = vec!["max_lrs"];
        if attributes.flag("cycle_momentum")? {
            lists.extend(["base_momentums", "max_momentums"]);
        }
        for name in lists {
            let found = attributes.floats(name)?.len();
            if found != groups {
                return Err(invalid(format!(
                    "CyclicLR's {name} are for {found} groups, and the optimizer has {groups}"
                )));
            }
        }
        attributes.float("gamma")?;
        height(scheduler, 0)?;
        if scheduler.functions.is_empty() {
            let (mode, scale_mode) = (attributes.text("mode")?, attributes.text("scale_mode")?);
            let scales = [CyclicScale::Triangular, CyclicScale::Triangular2, CyclicScale::ExpRange];
            if !scales.iter().any(|scale| scale.modes() == (&mode, &scale_mode)) {
                return Err(unknown_mode(&mode));
            }
        }
        Ok(())
    }

    fn lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        let (part, factor) = height(scheduler, now.epoch)?;
        let max = bound(scheduler, "max_lrs", now)?;
        let base_height = (max - now.base) * part;
        Ok(now.base + base_height * factor)
    }

    fn momentum(&self, scheduler: &LRScheduler, now: &Now) -> Result<Option<f64>> {
        if !scheduler.attributes.flag("cycle_momentum")? {
            return Ok(None);
        }
        let (part, factor) = height(scheduler, now.epoch)?;
        let (base, max) = (bound(scheduler, "base_momentums", now)?, bound(scheduler, "max_momentums", now)?);
        let base_height = (max - base) * part;
        Ok(Some(max - base_height * factor))
    }
}

fn bound(scheduler: &LRScheduler, name: &str, now: &Now) -> Result<f64> {
    let bounds = scheduler.attributes.floats(name)?;
    bounds.get(now.place).copied().ok_or_else(|| invalid(format!("CyclicLR has no {name} for group {}", now.place)))
}

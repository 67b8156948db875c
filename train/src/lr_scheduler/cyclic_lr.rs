//! `torch.optim.lr_scheduler.CyclicLR`: the learning rate goes up and down between two bounds, and the momentum the other way.

use super::arguments::Argument;
use super::momentum::{put_momenta, uses_beta1};
use super::prelude::*;

options! {
    /// `CyclicLR(optimizer, base_lr, max_lr, ...)`: from `base_lr` to `max_lr` and back, over and over.
    pub struct CyclicLR;

    /// Between two bounds, in 2000 steps up and 2000 down.
    pub fn new(
        /// The lower bound of each group's learning rate, which it begins with.
        base_lr(impl Into<PerGroup>): PerGroup,
        /// The upper bound, before it is scaled.
        max_lr(impl Into<PerGroup>): PerGroup,
    );

    /// Steps from the lower bound to the upper. Default 2000.
    step_size_up: i64 = 2000,
    /// Steps back. Default `None`: as many as up.
    step_size_down(i64 => Some): Option<i64> = None,
    /// How the height of the cycles changes. Default: it does not.
    scale: CyclicScale = CyclicScale::Triangular,
    /// Kept as the attribute `gamma`; only [`CyclicScale::ExpRange`] uses it. Default 1.
    gamma: f64 = 1.0,
    /// Whether the momentum (or the first of `betas`) goes down while the learning rate goes up. Default true.
    cycle_momentum: bool = true,
    /// The lower bound of the momentum. Default 0.8.
    base_momentum(impl Into<PerGroup>): PerGroup = 0.8.into(),
    /// The upper bound of the momentum. Default 0.9.
    max_momentum(impl Into<PerGroup>): PerGroup = 0.9.into(),
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

impl From<CyclicScale> for Value {
    /// `mode`.
    fn from(scale: CyclicScale) -> Self {
        scale.modes().0.into()
    }
}

impl Argument for CyclicScale {
    const EXPECTED: &'static str = "'triangular', 'triangular2' or 'exp_range'";

    fn read(value: &Value) -> Option<Self> {
        let text = value.as_str()?;
        let plain = [CyclicScale::Triangular, CyclicScale::Triangular2, CyclicScale::ExpRange];
        plain.into_iter().find(|scale| scale.modes().0 == text)
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
    fn function(&self) -> Option<&Function> {
        match self {
            CyclicScale::Cycle(function) | CyclicScale::Iterations(function) => Some(function),
            CyclicScale::Triangular | CyclicScale::Triangular2 | CyclicScale::ExpRange => None,
        }
    }

    /// What a state dict's modes mean, with the function where there is one.
    fn read(given: &Given) -> Result<Self> {
        let (mode, scale_mode) = (given.attributes.text("mode")?, given.attributes.text("scale_mode")?);
        match given.functions.first().cloned() {
            Some(function) if scale_mode == CYCLE => return Ok(CyclicScale::Cycle(function)),
            Some(function) => return Ok(CyclicScale::Iterations(function)),
            None => {}
        }
        let plain = [CyclicScale::Triangular, CyclicScale::Triangular2, CyclicScale::ExpRange];
        plain.into_iter().find(|scale| scale.modes() == (&mode, &scale_mode)).ok_or_else(|| {
            invalid(format!(
                "CyclicLR's mode '{mode}' needs a function, which no file holds; go on with `LRScheduler::resume`"
            ))
        })
    }
}

impl Options for CyclicLR {
    fn attributes(&self, groups: &mut [ParamGroup], last_epoch: i64) -> Result<Entries> {
        let fresh = last_epoch == -1;
        if fresh {
            let base_lrs = self.base_lr.of("base_lr", groups.len())?;
            groups.iter_mut().zip(base_lrs).for_each(|(group, lr)| lr.put(group, "lr"));
        }
        let up = real(self.step_size_up);
        let total_size = up + self.step_size_down.map_or(up, real);
        if total_size == 0.0 {
            return Err(invalid("CyclicLR's cycles must have at least one step"));
        }
        let (mode, scale_mode) = self.scale.modes();
        let mut attributes: Entries = vec![
            ("max_lrs", values(self.max_lr.of("max_lr", groups.len())?)),
            ("total_size", total_size.into()),
            ("step_ratio", (up / total_size).into()),
            ("mode", mode.into()),
            ("gamma", self.gamma.into()),
            ("scale_mode", scale_mode.into()),
            ("cycle_momentum", self.cycle_momentum.into()),
        ];
        if self.cycle_momentum {
            attributes.push(("use_beta1", uses_beta1(groups)?.into()));
            let (base, max) = put_momenta(groups, fresh, &self.base_momentum, &self.max_momentum)?;
            attributes.extend([("base_momentums", values(base)), ("max_momentums", values(max))]);
        }
        Ok(attributes)
    }

    fn finish(&self, attributes: &mut Attributes, groups: usize) -> Result<()> {
        attributes.set("base_lrs", values(self.base_lr.of("base_lr", groups)?));
        Ok(())
    }

    fn functions(&self, _groups: usize) -> Result<Vec<Function>> {
        Ok(self.scale.function().cloned().into_iter().collect())
    }
}

pub(super) struct Cyclic {
    max_lrs: Vec<Number>,
    /// The lower and the upper bounds, where the momentum moves.
    momenta: Option<(Vec<Number>, Vec<Number>)>,
    total_size: f64,
    step_ratio: f64,
    scale: CyclicScale,
    gamma: f64,
}

impl Cyclic {
    /// The number of the cycle that an epoch is in, and where in it that is: from 0 at the lower bound to 1 at the upper.
    fn cycle(&self, epoch: i64) -> Computed<(i64, f64)> {
        let turns = divide(real(epoch), self.total_size)?;
        let cycle = (1.0 + turns).floor();
        let x = 1.0 + turns - cycle;
        let ratio = self.step_ratio;
        let part = if x <= ratio { divide(x, ratio)? } else { divide(x - 1.0, ratio - 1.0)? };
        #[allow(clippy::cast_possible_truncation)]
        Ok((cycle as i64, part))
    }

    /// What an epoch takes from the lower bound to the upper, scaled.
    fn height(&self, epoch: i64, base: Number, max: Number) -> Computed<Number> {
        let (cycle, part) = self.cycle(epoch)?;
        let factor = match &self.scale {
            CyclicScale::Triangular => 1.0,
            CyclicScale::Triangular2 => divide(1.0, power(2.0, real(cycle) - 1.0)?)?,
            CyclicScale::ExpRange => power(self.gamma, real(epoch))?,
            CyclicScale::Cycle(function) => function.call(cycle),
            CyclicScale::Iterations(function) => function.call(epoch),
        };
        let base_height = (max - base) * part;
        Ok(base_height * factor)
    }
}

/// One bound for each group: no less, so that each group's index is one of theirs.
fn bounds(given: &Given, name: &str) -> Result<Vec<Number>> {
    let (bounds, groups) = (Number::list(given.attributes, name)?, given.groups);
    if bounds.len() == groups {
        return Ok(bounds);
    }
    Err(invalid(format!("CyclicLR's {name} are for {} groups, and the optimizer has {groups}", bounds.len())))
}

impl Formula for Cyclic {
    fn read(given: &Given) -> Computed<Self> {
        let attributes = given.attributes;
        let max_lrs = bounds(given, "max_lrs")?;
        let momenta = if attributes.flag("cycle_momentum")? {
            Some((bounds(given, "base_momentums")?, bounds(given, "max_momentums")?))
        } else {
            None
        };
        let formula = Cyclic {
            max_lrs,
            momenta,
            gamma: attributes.float("gamma")?,
            total_size: attributes.float("total_size")?,
            step_ratio: attributes.float("step_ratio")?,
            scale: CyclicScale::read(given)?,
        };
        formula.cycle(0)?;
        Ok(formula)
    }

    fn lr(&self, now: &Now) -> Computed<Number> {
        Ok(now.base()? + self.height(now.epoch, now.base()?, self.max_lrs[now.index])?)
    }

    fn momentum(&self, now: &Now) -> Computed<Option<Number>> {
        let Some((base, max)) = &self.momenta else { return Ok(None) };
        let (base, max) = (base[now.index], max[now.index]);
        Ok(Some(max - self.height(now.epoch, base, max)?))
    }
}

//! `torch.optim.swa_utils.SWALR`: the learning rate goes to a fixed one, for the averaging that follows.

use std::f64::consts::PI;

use rekindle_recorder::{Result, Value};

use super::kind::SchedulerKind;
use super::one_cycle_lr::AnnealStrategy;
use super::rule::{Formula, Now, real};
use super::schedule::{Options, PerGroup, Schedule, attributes};
use super::scheduler::LRScheduler;
use crate::attributes::{Attributes, invalid};
use crate::optim::ParamGroup;

/// `SWALR(optimizer, swa_lr, anneal_epochs, anneal_strategy)`: to `swa_lr` in `anneal_epochs` epochs from wherever the
/// learning rate is. It puts `swa_lr` into the groups.
#[derive(Clone, Debug, PartialEq)]
pub struct SWALR {
    /// The learning rate of each group that it goes to.
    pub swa_lr: PerGroup,
    /// Epochs until then. Default 10.
    pub anneal_epochs: i64,
    /// The curve. Default: a cosine.
    pub anneal_strategy: AnnealStrategy,
}

impl SWALR {
    /// To `swa_lr` in 10 epochs.
    pub fn new(swa_lr: impl Into<PerGroup>) -> Self {
        SWALR { swa_lr: swa_lr.into(), anneal_epochs: 10, anneal_strategy: AnnealStrategy::Cos }
    }
}

impl From<SWALR> for Schedule {
    fn from(options: SWALR) -> Self {
        Schedule::new(options)
    }
}

impl Options for SWALR {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::SWALR
    }

    fn attributes(&self, groups: &mut [ParamGroup], _fresh: bool) -> Result<Attributes> {
        if self.anneal_epochs < 0 {
            return Err(invalid(format!("SWALR's anneal_epochs must be at least 0, and is {}", self.anneal_epochs)));
        }
        let swa_lrs = self.swa_lr.of("swa_lr", groups.len())?;
        groups.iter_mut().zip(swa_lrs).for_each(|(group, lr)| group.set("swa_lr", lr));
        Ok(attributes([
            ("_anneal_strategy", self.anneal_strategy.name().into()),
            ("anneal_epochs", self.anneal_epochs.into()),
        ]))
    }
}

/// Names the curve where a release before 2.0 kept the function itself, `anneal_func`, which plain `torch.load` refuses.
pub(super) fn modernise(attributes: &mut Attributes, name: &str) {
    if attributes.contains(name) {
        return;
    }
    let function = match attributes.get("anneal_func") {
        Some(Value::Global(global)) => global.name.to_string(),
        // `getattr(class, name)`.
        Some(Value::Object(object)) => {
            let object = object.read();
            object.arguments().last().and_then(Value::as_str).unwrap_or_default().to_owned()
        }
        _ => return,
    };
    let strategy = match &*function {
        known if known.ends_with("_annealing_cos") || known.ends_with("_cosine_anneal") => AnnealStrategy::Cos,
        known if known.ends_with("_annealing_linear") || known.ends_with("_linear_anneal") => AnnealStrategy::Linear,
        _ => return,
    };
    attributes.remove("anneal_func");
    attributes.set(name, strategy.name());
}

#[derive(Debug)]
pub(super) struct Swa;

/// How much of the final learning rate there is at a part of the way.
fn anneal(strategy: AnnealStrategy, part: f64) -> f64 {
    match strategy {
        AnnealStrategy::Cos => (1.0 - (PI * part).cos()) / 2.0,
        AnnealStrategy::Linear => part,
    }
}

impl Formula for Swa {
    fn check(&self, scheduler: &LRScheduler, _groups: usize) -> Result<()> {
        AnnealStrategy::of(scheduler, "_anneal_strategy")?;
        scheduler.attributes.int("anneal_epochs").map(drop)
    }

    fn lr(&self, scheduler: &LRScheduler, now: &Now) -> Result<f64> {
        let strategy = AnnealStrategy::of(scheduler, "_anneal_strategy")?;
        let epochs = scheduler.attributes.int("anneal_epochs")?;
        let swa_lr = now.group.float("swa_lr")?;
        let step = now.step_count.saturating_sub(1);
        let step = if epochs == 0 { step.max(1) } else { step };
        let part = |step: i64| (real(step) / real(epochs.max(1))).clamp(0.0, 1.0);
        // The learning rate without what the step before mixed in.
        let before = anneal(strategy, part(step.saturating_sub(1)));
        #[allow(clippy::float_cmp)]
        let own = if before == 1.0 { swa_lr } else { (now.lr - before * swa_lr) / (1.0 - before) };
        let alpha = anneal(strategy, part(step));
        Ok(swa_lr * alpha + own * (1.0 - alpha))
    }

    fn complete(&self, attributes: &mut Attributes) {
        modernise(attributes, "_anneal_strategy");
    }
}

//! `torch.optim.lr_scheduler.ReduceLROnPlateau`: the learning rate shrinks by a factor when a metric has stopped getting
//! better.

use super::options::word_argument;
use super::prelude::*;

options! {
    /// `ReduceLROnPlateau(optimizer, mode, factor, patience, ...)`: times `factor` after `patience` steps without a better
    /// metric. Stepped with [`LRScheduler::step_with_metric`].
    ///
    /// Unlike the others it puts no `initial_lr` into the groups, and goes on when a group is added, unless each has a
    /// `min_lr` of its own.
    #[derive(PartialEq)]
    pub struct ReduceLROnPlateau;

    /// Which metric is better. Default: a lower one.
    mode: PlateauMode = PlateauMode::Min,
    /// The factor, below 1. Default 0.1.
    factor: f64 = 0.1,
    /// How many steps without a better metric are borne. Default 10.
    patience: i64 = 10,
    /// By how much a metric must be better to count. Default 1e-4.
    threshold: f64 = 1e-4,
    /// Whether `threshold` is a part of the best metric, or a difference. Default: a part.
    threshold_mode: ThresholdMode = ThresholdMode::Rel,
    /// Steps after a change in which none is counted. Default 0.
    cooldown: i64 = 0,
    /// The lowest learning rate. Default `None`: 0.
    min_lr(impl Into<PerGroup> => Some): Option<PerGroup> = None,
    /// A change by this much or less is not made. Default 1e-8.
    eps: f64 = 1e-8,
}

/// Which metric is better: `mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlateauMode {
    /// `"min"`: a lower one, such as a loss.
    #[default]
    Min,
    /// `"max"`: a higher one, such as an accuracy.
    Max,
}

/// What a `threshold` is: `threshold_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThresholdMode {
    /// `"rel"`: a part of the best metric.
    #[default]
    Rel,
    /// `"abs"`: a difference to it.
    Abs,
}

impl Word for PlateauMode {
    const WORDS: [(&'static str, Self); 2] = [("min", PlateauMode::Min), ("max", PlateauMode::Max)];
}

impl Word for ThresholdMode {
    const WORDS: [(&'static str, Self); 2] = [("rel", ThresholdMode::Rel), ("abs", ThresholdMode::Abs)];
}

word_argument! { PlateauMode: "'min' or 'max'"; ThresholdMode: "'rel' or 'abs'"; }

impl Options for ReduceLROnPlateau {
    fn attributes(&self, groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        if self.factor >= 1.0 {
            return Err(invalid(format!("ReduceLROnPlateau's factor must be below 1, and is {}", self.factor)));
        }
        let (default_min_lr, min_lrs) = match &self.min_lr {
            None => (Value::Int(0), vec![Value::Int(0); groups.len()]),
            Some(min_lr) => {
                let each = min_lr.of("min_lr", groups.len())?.into_iter().map(Value::from).collect();
                (min_lr.same().map_or(Value::None, Value::from), each)
            }
        };
        let worst = match self.mode {
            PlateauMode::Min => f64::INFINITY,
            PlateauMode::Max => f64::NEG_INFINITY,
        };
        Ok(vec![
            ("factor", self.factor.into()),
            ("default_min_lr", default_min_lr),
            ("min_lrs", Value::list(min_lrs)),
            ("patience", self.patience.into()),
            ("cooldown", self.cooldown.into()),
            ("eps", self.eps.into()),
            ("last_epoch", Value::Int(0)),
            ("_last_lr", Value::list(rates(groups))),
            ("mode_worse", worst.into()),
            ("mode", self.mode.name().into()),
            ("threshold", self.threshold.into()),
            ("threshold_mode", self.threshold_mode.name().into()),
            ("best", worst.into()),
            ("cooldown_counter", Value::Int(0)),
            ("num_bad_epochs", Value::Int(0)),
        ])
    }
}

pub(super) struct Plateau;

pub(super) fn is_better(attributes: &Attributes, metric: f64, best: f64) -> Result<bool> {
    let threshold = attributes.float("threshold")?;
    let modes = (PlateauMode::read(attributes, "mode")?, ThresholdMode::read(attributes, "threshold_mode")?);
    Ok(match modes {
        (PlateauMode::Min, ThresholdMode::Rel) => metric < best * (1.0 - threshold),
        (PlateauMode::Min, ThresholdMode::Abs) => metric < best - threshold,
        (PlateauMode::Max, ThresholdMode::Rel) => metric > best * (threshold + 1.0),
        (PlateauMode::Max, ThresholdMode::Abs) => metric > best + threshold,
    })
}

/// What `step(metric)` counts, once it is known whether the metric is better than the best: whether the rates are due to shrink. Its
/// names are those of mmengine's class, too.
pub(super) fn is_due(attributes: &mut Attributes, metric: f64, better: bool) -> Result<bool> {
    let mut bad = attributes.int("num_bad_epochs")?;
    if better {
        attributes.set("best", metric);
        bad = 0;
    } else {
        bad = bad.saturating_add(1);
    }
    let cooldown = attributes.int("cooldown_counter")?;
    if cooldown > 0 {
        attributes.set("cooldown_counter", cooldown - 1);
        bad = 0;
    }
    let due = bad > attributes.int("patience")?;
    if due {
        attributes.set("cooldown_counter", attributes.int("cooldown")?);
        bad = 0;
    }
    attributes.set("num_bad_epochs", bad);
    Ok(due)
}

/// What a number shrinks to; `None` where that is too little a change.
pub(super) fn shrunk(old: f64, factor: f64, lowest: f64, eps: f64) -> Option<f64> {
    let new = old * factor;
    let new = if lowest > new { lowest } else { new };
    (old - new > eps).then_some(new)
}

/// `_reduce_lr()`.
fn reduce(attributes: &mut Attributes, groups: &mut [ParamGroup]) -> Result<()> {
    let mut min_lrs = attributes.floats("min_lrs")?;
    if min_lrs.len() != groups.len() {
        let default = attributes.get("default_min_lr").cloned().unwrap_or(Value::None);
        attributes.set("min_lrs", Value::list(vec![default; groups.len()]));
        min_lrs = attributes.floats("min_lrs")?;
    }
    let (factor, eps) = (attributes.float("factor")?, attributes.float("eps")?);
    for (group, min_lr) in groups.iter_mut().zip(min_lrs) {
        if let Some(new) = shrunk(group.lr()?, factor, min_lr, eps) {
            group.set_lr(new);
        }
    }
    Ok(())
}

/// `step(metric)`, but for `_last_lr`.
pub(super) fn judge(attributes: &mut Attributes, groups: &mut [ParamGroup], metric: f64) -> Result<()> {
    attributes.set("last_epoch", attributes.int("last_epoch")?.saturating_add(1));
    let better = is_better(attributes, metric, attributes.float("best")?)?;
    if is_due(attributes, metric, better)? {
        reduce(attributes, groups)?;
    }
    Ok(())
}

/// Refuses what [`judge`] cannot go on with.
pub(super) fn check(attributes: &Attributes, groups: usize) -> Result<()> {
    for name in ["factor", "eps", "best"] {
        attributes.float(name)?;
    }
    for name in ["last_epoch", "patience", "cooldown", "cooldown_counter", "num_bad_epochs"] {
        attributes.int(name)?;
    }
    is_better(attributes, 0.0, 0.0)?;
    match (attributes.floats("min_lrs")?.len(), attributes.get("default_min_lr")) {
        // A group was added.
        (1.., Some(Value::Int(_) | Value::Float(_))) if groups > 0 => Ok(()),
        (found, _) if found < groups => Err(wrong_count("min_lr", found, groups)),
        (found, _) => check_groups(found, groups),
    }
}

impl Rule for Plateau {
    fn by_metric(&self) -> bool {
        true
    }

    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        check(&scheduler.attributes, groups)
    }

    fn check_loaded(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        let attributes = &scheduler.attributes;
        let last = if attributes.contains("_last_lr") { "_last_lr" } else { "min_lrs" };
        check_groups(attributes.floats(last)?.len(), groups)
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], metric: Option<f64>) -> Result<()> {
        let Some(metric) = metric else {
            return Err(invalid("ReduceLROnPlateau goes by a metric; step it with `step_with_metric`"));
        };
        judge(&mut scheduler.attributes, groups, metric)?;
        scheduler.attributes.set("_last_lr", rates(groups));
        Ok(())
    }
}

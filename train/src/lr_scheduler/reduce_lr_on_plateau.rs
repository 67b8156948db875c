//! `torch.optim.lr_scheduler.ReduceLROnPlateau`: the learning rate shrinks by a factor when a metric has stopped getting
//! better.

use rekindle_recorder::{Result, Value};

use super::kind::SchedulerKind;
use super::rule::{Rule, check_groups, rates};
use super::schedule::{Options, PLACE, PerGroup, Schedule, attributes};
use super::scheduler::LRScheduler;
use crate::attributes::{Attributes, invalid};
use crate::optim::ParamGroup;

/// `ReduceLROnPlateau(optimizer, mode, factor, patience, ...)`: times `factor` after `patience` steps without a better
/// metric. Stepped with [`LRScheduler::step_with_metric`].
///
/// Unlike the others it puts no `initial_lr` into the groups, and goes on when a group is added, unless each has a `min_lr`
/// of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceLROnPlateau {
    /// Which metric is better. Default: a lower one.
    pub mode: PlateauMode,
    /// The factor, below 1. Default 0.1.
    pub factor: f64,
    /// How many steps without a better metric are borne. Default 10.
    pub patience: i64,
    /// By how much a metric must be better to count. Default 1e-4.
    pub threshold: f64,
    /// Whether `threshold` is a part of the best metric, or a difference. Default: a part.
    pub threshold_mode: ThresholdMode,
    /// Steps after a change in which none is counted. Default 0.
    pub cooldown: i64,
    /// The lowest learning rate. Default `None`: 0.
    pub min_lr: Option<PerGroup>,
    /// A change by this much or less is not made. Default 1e-8.
    pub eps: f64,
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

impl Default for ReduceLROnPlateau {
    fn default() -> Self {
        ReduceLROnPlateau {
            mode: PlateauMode::Min,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            threshold_mode: ThresholdMode::Rel,
            cooldown: 0,
            min_lr: None,
            eps: 1e-8,
        }
    }
}

impl From<ReduceLROnPlateau> for Schedule {
    fn from(options: ReduceLROnPlateau) -> Self {
        Schedule::new(options)
    }
}

impl Options for ReduceLROnPlateau {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::ReduceLROnPlateau
    }

    fn attributes(&self, groups: &mut [ParamGroup], _fresh: bool) -> Result<Attributes> {
        if self.factor >= 1.0 {
            return Err(invalid(format!("ReduceLROnPlateau's factor must be below 1, and is {}", self.factor)));
        }
        let (default_min_lr, min_lrs) = match &self.min_lr {
            None => (Value::Int(0), vec![Value::Int(0); groups.len()]),
            Some(min_lr) => {
                let each = min_lr.of("min_lr", groups.len())?.into_iter().map(Value::Float).collect();
                (min_lr.same().map_or(Value::None, Value::Float), each)
            }
        };
        let (mode, worst) = match self.mode {
            PlateauMode::Min => (MIN, f64::INFINITY),
            PlateauMode::Max => (MAX, f64::NEG_INFINITY),
        };
        let threshold_mode = match self.threshold_mode {
            ThresholdMode::Rel => REL,
            ThresholdMode::Abs => ABS,
        };
        Ok(attributes([
            ("factor", self.factor.into()),
            ("default_min_lr", default_min_lr),
            ("min_lrs", Value::list(min_lrs)),
            ("patience", self.patience.into()),
            ("cooldown", self.cooldown.into()),
            ("eps", self.eps.into()),
            ("last_epoch", Value::Int(0)),
            ("_last_lr", Value::list(rates(groups))),
            ("mode_worse", worst.into()),
            ("mode", mode.into()),
            ("threshold", self.threshold.into()),
            ("threshold_mode", threshold_mode.into()),
            ("best", worst.into()),
            ("cooldown_counter", Value::Int(0)),
            ("num_bad_epochs", Value::Int(0)),
        ]))
    }

    fn construct(&self, scheduler: &mut LRScheduler, _groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        scheduler.only_fresh(last_epoch)
    }
}

const MIN: &str = "min";
const MAX: &str = "max";
const REL: &str = "rel";
const ABS: &str = "abs";

#[derive(Debug)]
pub(super) struct Plateau;

fn one_of(attributes: &Attributes, name: &str, known: [&'static str; 2]) -> Result<&'static str> {
    let text = attributes.text(name)?;
    known.into_iter().find(|known| *known == text).ok_or_else(|| {
        invalid(format!("{PLACE}{name} is '{text}', where '{}' or '{}' is expected", known[0], known[1]))
    })
}

fn is_better(attributes: &Attributes, metric: f64, best: f64) -> Result<bool> {
    let threshold = attributes.float("threshold")?;
    let modes = (one_of(attributes, "mode", [MIN, MAX])?, one_of(attributes, "threshold_mode", [REL, ABS])?);
    Ok(match modes {
        (MIN, REL) => metric < best * (1.0 - threshold),
        (MIN, _) => metric < best - threshold,
        (_, REL) => metric > best * (threshold + 1.0),
        _ => metric > best + threshold,
    })
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
        let old = group.lr()?;
        let new = old * factor;
        let new = if min_lr > new { min_lr } else { new };
        if old - new > eps {
            group.set_lr(new);
        }
    }
    Ok(())
}

impl Rule for Plateau {
    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        let attributes = &scheduler.attributes;
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
            (found, _) => check_groups(found, groups),
        }
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
        let attributes = &mut scheduler.attributes;
        attributes.set("last_epoch", attributes.int("last_epoch")?.saturating_add(1));
        let mut bad = attributes.int("num_bad_epochs")?;
        if is_better(attributes, metric, attributes.float("best")?)? {
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
        if bad > attributes.int("patience")? {
            reduce(attributes, groups)?;
            attributes.set("cooldown_counter", attributes.int("cooldown")?);
            bad = 0;
        }
        attributes.set("num_bad_epochs", bad);
        attributes.set("_last_lr", rates(groups));
        Ok(())
    }

    fn begin_turn(&self, scheduler: &mut LRScheduler, _groups: &mut [ParamGroup]) -> Result<()> {
        Err(invalid(format!("{} goes by a metric, and cannot take turns with others", scheduler.kind())))
    }
}

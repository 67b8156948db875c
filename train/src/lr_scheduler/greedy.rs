//! transformers' `GreedyLR`: the learning rate grows while a metric gets better, shrinks where it has stopped to, and begins anew where it
//! has been at its lowest for long.

use super::prelude::*;
use super::reduce_lr_on_plateau::{PlateauMode, ThresholdMode, is_better, shrunk};

options! {
    /// `GreedyLR(optimizer, mode, factor, patience, ...)`: divided by `factor` after `patience` steps with a better metric, and times
    /// `factor` after as many without. Stepped with [`LRScheduler::step_with_metric`].
    #[derive(PartialEq)]
    pub struct GreedyLR;

    /// Which metric is better. Default: a lower one.
    mode: PlateauMode = PlateauMode::Min,
    /// The factor, below 1. Default 0.95.
    factor: f64 = 0.95,
    /// After how many steps of a kind the learning rate changes. Default 10.
    patience: i64 = 10,
    /// By how much a metric must be better to count. Default 1e-6.
    threshold: f64 = 1e-6,
    /// Whether `threshold` is a part of the best metric, or a difference. Default: a difference.
    threshold_mode: ThresholdMode = ThresholdMode::Abs,
    /// Steps after it shrank in which none is counted. Default 0.
    cooldown: i64 = 0,
    /// Steps after it grew in which none is counted. Default 0.
    warmup: i64 = 0,
    /// The lowest learning rate. Default 0.001.
    min_lr(impl Into<PerGroup>): PerGroup = PerGroup::from(1e-3),
    /// The highest learning rate. Default 1.
    max_lr(impl Into<PerGroup>): PerGroup = PerGroup::from(1.0),
    /// A change by this much or less is not made. Default 1e-8.
    eps: f64 = 1e-8,
    /// Whether it goes by the mean of the last metrics. Default: no.
    smooth: bool = false,
    /// How many metrics that is the mean of. Default 50.
    window_size: i64 = 50,
    /// After how many times at the lowest learning rate it begins anew. Default 500.
    reset_start: i64 = 500,
}

/// The metrics that the mean is taken of.
const MEAN: &str = "_streaming_avg";

fn worst(mode: PlateauMode) -> f64 {
    if mode == PlateauMode::Min { f64::INFINITY } else { f64::NEG_INFINITY }
}

fn no_metrics(size: i64) -> Value {
    let mean = Dict::new();
    mean.insert("window_size", size);
    mean.insert("values", Vec::<f64>::new());
    mean.insert("sum", 0.0);
    mean.into()
}

impl Options for GreedyLR {
    fn attributes(&self, groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        if self.factor >= 1.0 {
            return Err(invalid(format!("GreedyLR's factor must be below 1, and is {}", self.factor)));
        }
        let count = groups.len();
        let mean = self.smooth.then(|| (MEAN, no_metrics(self.window_size)));
        let own = [
            ("factor", self.factor.into()),
            ("min_lrs", values(self.min_lr.of("min_lr", count)?)),
            ("max_lrs", values(self.max_lr.of("max_lr", count)?)),
            ("patience", self.patience.into()),
            ("verbose", false.into()),
            ("cooldown", self.cooldown.into()),
            ("warmup", self.warmup.into()),
            ("cooldown_counter", 0.into()),
            ("warmup_counter", 0.into()),
            ("mode", self.mode.name().into()),
            ("threshold", self.threshold.into()),
            ("threshold_mode", self.threshold_mode.name().into()),
            ("best", worst(self.mode).into()),
            ("num_bad_epochs", 0.into()),
            ("num_good_epochs", 0.into()),
            ("eps", self.eps.into()),
            ("last_epoch", 0.into()),
            ("smooth", self.smooth.into()),
            ("window_size", self.window_size.into()),
            ("reset_start", self.reset_start.into()),
            ("reset_start_original", self.reset_start.into()),
            ("_last_lr", rates(groups).into()),
            ("_init_lrs", rates(groups).into()),
        ];
        Ok(own.into_iter().chain(mean).collect())
    }
}

pub(super) struct Greedy;

/// The mean of the last metrics, with this one.
fn smoothed(attributes: &mut Attributes, metric: f64) -> Result<f64> {
    let size = attributes.int("window_size")?;
    let mean = attributes.get(MEAN).cloned().unwrap_or_else(|| no_metrics(size));
    let mut mean = Attributes::from_value(format!("{PLACE}{MEAN}."), &mean)?;
    let (mut metrics, mut sum) = (mean.floats("values")?, mean.float("sum")? + metric);
    metrics.push(metric);
    if real(i64::try_from(metrics.len()).unwrap_or(i64::MAX)) > mean.float("window_size")? {
        sum -= metrics.remove(0);
    }
    let now = sum / real(i64::try_from(metrics.len()).unwrap_or(i64::MAX));
    mean.set("values", metrics);
    mean.set("sum", sum);
    attributes.set(MEAN, mean.to_dict());
    Ok(now)
}

/// `_reduce_lr()`.
fn reduce(attributes: &mut Attributes, groups: &mut [ParamGroup]) -> Result<()> {
    let (factor, eps) = (attributes.float("factor")?, attributes.float("eps")?);
    let mut at_lowest = true;
    for (group, lowest) in groups.iter_mut().zip(attributes.floats("min_lrs")?) {
        if let Some(new) = shrunk(group.lr()?, factor, lowest, eps) {
            group.set("lr", new);
        }
        at_lowest &= group.lr()? <= lowest;
    }
    if at_lowest {
        let left = attributes.int("reset_start")?.saturating_sub(1);
        attributes.set("reset_start", left);
        if left <= 0 {
            begin_anew(attributes, groups)?;
        }
    }
    Ok(())
}

/// `_reset()`.
fn begin_anew(attributes: &mut Attributes, groups: &mut [ParamGroup]) -> Result<()> {
    let first = attributes.get("_init_lrs").and_then(Value::items).unwrap_or_default();
    groups.iter_mut().zip(first).for_each(|(group, first)| group.set("lr", first));
    attributes.set("best", worst(PlateauMode::read(attributes, "mode")?));
    for counter in ["num_bad_epochs", "num_good_epochs", "cooldown_counter", "warmup_counter"] {
        attributes.set(counter, 0);
    }
    attributes.set("reset_start", attributes.int("reset_start_original")?);
    if attributes.flag("smooth")? {
        attributes.set(MEAN, no_metrics(attributes.int("window_size")?));
    }
    Ok(())
}

/// `_increase_lr()`.
fn increase(attributes: &mut Attributes, groups: &mut [ParamGroup]) -> Result<()> {
    let (factor, eps) = (attributes.float("factor")?, attributes.float("eps")?);
    for (group, highest) in groups.iter_mut().zip(attributes.floats("max_lrs")?) {
        let (old, new) = (group.lr()?, group.lr()? / factor);
        let new = if highest < new { highest } else { new };
        if new - old > eps {
            group.set("lr", new);
        }
    }
    attributes.set("reset_start", attributes.int("reset_start_original")?);
    Ok(())
}

/// `step(metrics)`, but for `_last_lr`.
fn judge(attributes: &mut Attributes, groups: &mut [ParamGroup], metric: f64) -> Result<()> {
    let metric = if attributes.flag("smooth")? { smoothed(attributes, metric)? } else { metric };
    attributes.set("last_epoch", attributes.int("last_epoch")?.saturating_add(1));
    for counter in ["cooldown_counter", "warmup_counter"] {
        let left = attributes.int(counter)?;
        if left > 0 {
            attributes.set(counter, left - 1);
            attributes.set("num_bad_epochs", 0);
            attributes.set("num_good_epochs", 0);
            return Ok(());
        }
    }
    let (good, bad) = if is_better(attributes, metric, attributes.float("best")?)? {
        attributes.set("best", metric);
        (attributes.int("num_good_epochs")?.saturating_add(1), 0)
    } else {
        (0, attributes.int("num_bad_epochs")?.saturating_add(1))
    };
    attributes.set("num_good_epochs", good);
    attributes.set("num_bad_epochs", bad);
    let patience = attributes.int("patience")?;
    if good > patience {
        increase(attributes, groups)?;
        attributes.set("warmup_counter", attributes.int("warmup")?);
        attributes.set("num_good_epochs", 0);
    } else if bad > patience {
        reduce(attributes, groups)?;
        attributes.set("cooldown_counter", attributes.int("cooldown")?);
        attributes.set("num_bad_epochs", 0);
    }
    Ok(())
}

impl Rule for Greedy {
    fn by_metric(&self) -> bool {
        true
    }

    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        let attributes = &scheduler.attributes;
        for name in ["factor", "eps", "best", "threshold"] {
            attributes.float(name)?;
        }
        for name in [
            "patience",
            "cooldown",
            "warmup",
            "cooldown_counter",
            "warmup_counter",
            "num_bad_epochs",
            "num_good_epochs",
            "last_epoch",
            "window_size",
            "reset_start",
            "reset_start_original",
        ] {
            attributes.int(name)?;
        }
        attributes.flag("smooth")?;
        is_better(attributes, 0.0, 0.0)?;
        for name in ["min_lrs", "max_lrs", "_init_lrs"] {
            let found = attributes.floats(name)?.len();
            if found != groups {
                return Err(wrong_count(name, found, groups));
            }
        }
        Ok(())
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], metric: Option<f64>) -> Result<()> {
        let Some(metric) = metric else {
            return Err(invalid("GreedyLR goes by a metric; step it with `step_with_metric`"));
        };
        judge(&mut scheduler.attributes, groups, metric)?;
        scheduler.attributes.set("_last_lr", rates(groups));
        Ok(())
    }
}

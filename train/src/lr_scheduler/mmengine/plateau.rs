//! mmengine's `ReduceOnPlateauParamScheduler`: PyTorch's `ReduceLROnPlateau` for any number in the groups, from `begin` to `end`.

use super::base::{common, mmengine_options, prepared, put_betas};
use crate::lr_scheduler::prelude::*;
use crate::lr_scheduler::reduce_lr_on_plateau::{is_due, shrunk};

mmengine_options! {
    /// `ReduceOnPlateauParamScheduler(optimizer, param_name, monitor, rule, factor, patience, ...)`, which is mmengine's
    /// `ReduceOnPlateauLR` and `ReduceOnPlateauMomentum`: times `factor` after `patience` epochs without a better metric.
    ///
    /// mmengine's runner steps it after each epoch, which counts, and with the metric once that is known.
    #[derive(PartialEq)]
    pub struct ReduceOnPlateauParamScheduler;

    /// The metric's name among those of the evaluation. Default `"loss"`.
    monitor(impl Into<String>): String = "loss".to_owned(),
    /// Whether a metric is better where it is `"less"` or `"greater"`. Default: less.
    rule(impl Into<String>): String = "less".to_owned(),
    /// The factor, below 1. Default 0.1.
    factor: f64 = 0.1,
    /// How many epochs without a better metric are borne. Default 10.
    patience: i64 = 10,
    /// By how much a metric must be better to count. Default 1e-4.
    threshold: f64 = 1e-4,
    /// Whether `threshold` is a part of the best metric, `"rel"`, or a difference, `"abs"`. Default: a part.
    threshold_rule(impl Into<String>): String = "rel".to_owned(),
    /// Epochs after a change in which none is counted. Default 0.
    cooldown: i64 = 0,
    /// The lowest value. Default `None`: 0.
    min_value(impl Into<PerGroup> => Some): Option<PerGroup> = None,
    /// A change by this much or less is not made. Default 1e-8.
    eps: f64 = 1e-8,
}

impl Options for ReduceOnPlateauParamScheduler {
    fn attributes(&self, groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let refused = |what: String| Err(invalid(format!("ReduceOnPlateauParamScheduler's {what}")));
        if self.factor >= 1.0 {
            return refused(format!("factor must be below 1, and is {}", self.factor));
        }
        if self.threshold < 0.0 {
            return refused(format!("threshold must be 0 or more, and is {}", self.threshold));
        }
        if !self.by_epoch {
            return refused("by_epoch must be true".to_owned());
        }
        let worst = if self.rule == "greater" { -super::base::INF } else { super::base::INF };
        let min_values = match &self.min_value {
            None => Value::list(vec![Value::Float(0.0); groups.len()]),
            Some(each) => values(each.of("min_value", groups.len())?),
        };
        let own = [
            ("last_step", Value::Int(-1)),
            ("_global_step", 0.into()),
            ("verbose", false.into()),
            ("factor", self.factor.into()),
            ("min_values", min_values),
            ("patience", self.patience.into()),
            ("cooldown", self.cooldown.into()),
            ("cooldown_counter", 0.into()),
            ("rule_worse", worst.into()),
            ("best", worst.into()),
            ("num_bad_epochs", 0.into()),
            ("eps", self.eps.into()),
            ("monitor", (&*self.monitor).into()),
            ("rule", (&*self.rule).into()),
            ("threshold", self.threshold.into()),
            ("threshold_rule", (&*self.threshold_rule).into()),
        ];
        Ok(common(self).chain(own).collect())
    }
}

pub(in crate::lr_scheduler) struct MmPlateau;

/// `_is_better()`.
fn is_better(attributes: &Attributes, metric: f64, best: f64) -> Result<bool> {
    let threshold = attributes.float("threshold")?;
    let (rule, threshold_rule) = (attributes.text("rule")?, attributes.text("threshold_rule")?);
    Ok(match (&*rule, &*threshold_rule) {
        ("less", "rel") => metric < best * (1.0 - threshold),
        ("less", "abs") => metric < best - threshold,
        ("greater", "rel") => metric > best * (threshold + 1.0),
        ("greater", "abs") => metric > best + threshold,
        _ => {
            return Err(invalid(format!(
                "{PLACE}rule is '{rule}' and {PLACE}threshold_rule '{threshold_rule}', where 'less' or 'greater', and 'rel' or \
                 'abs' are expected"
            )));
        }
    })
}

/// `step(metrics)`, with the metric that it goes by.
fn judge(attributes: &mut Attributes, groups: &mut [ParamGroup], metric: f64) -> Result<()> {
    let (name, count) = (attributes.text("param_name")?, attributes.int("_global_step")?);
    // mmengine's wrapper of an optimizer with several groups has one more, which no parameter is in.
    let mut others: Vec<f64> = attributes.floats("_last_value")?.into_iter().skip(groups.len()).collect();
    if attributes.int("begin")? <= count && count < attributes.int("end")? {
        attributes.set("last_step", attributes.int("last_step")?.saturating_add(1));
        let better = is_better(attributes, metric, attributes.float("best")?)?;
        if is_due(attributes, metric, better)? {
            let (factor, eps) = (attributes.float("factor")?, attributes.float("eps")?);
            let mut lowest = attributes.floats("min_values")?.into_iter();
            for (group, lowest) in groups.iter_mut().zip(&mut lowest) {
                if let Some(new) = shrunk(group.float(&name)?, factor, lowest, eps) {
                    group.set(&name, new);
                }
            }
            for (value, lowest) in others.iter_mut().zip(lowest) {
                *value = shrunk(*value, factor, lowest, eps).unwrap_or(*value);
            }
        }
    }
    let own = groups.iter().filter_map(|group| group.get(&name).cloned());
    let all: Vec<Value> = own.chain(others.into_iter().map(Value::Float)).collect();
    attributes.set("_last_value", all);
    Ok(())
}

impl Rule for MmPlateau {
    fn by_metric(&self) -> bool {
        true
    }

    fn counts_before_metric(&self) -> bool {
        true
    }

    fn position(&self, scheduler: &LRScheduler) -> Option<i64> {
        scheduler.attributes.int("_global_step").ok()
    }

    fn construct(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        let name = prepared(scheduler, groups, last_epoch)?;
        put_initial(&name, groups)?;
        let last: Vec<Value> = groups.iter().filter_map(|group| group.get(&name).cloned()).collect();
        scheduler.attributes.set("_last_value", last);
        Ok(())
    }

    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        let attributes = &scheduler.attributes;
        for name in
            ["begin", "end", "last_step", "_global_step", "patience", "cooldown", "cooldown_counter", "num_bad_epochs"]
        {
            attributes.int(name)?;
        }
        for name in ["factor", "eps"] {
            attributes.float(name)?;
        }
        attributes.text("param_name")?;
        is_better(attributes, 0.0, attributes.float("best")?)?;
        let last = attributes.floats("_last_value")?.len();
        for count in [attributes.floats("min_values")?.len(), last] {
            check_groups(count.saturating_sub(usize::from(groups > 1)), groups)?;
        }
        Ok(())
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], metric: Option<f64>) -> Result<()> {
        let attributes = &mut scheduler.attributes;
        match metric {
            None => attributes.set("_global_step", attributes.int("_global_step")?.saturating_add(1)),
            Some(metric) => judge(attributes, groups, metric)?,
        }
        put_betas(attributes, groups)
    }
}

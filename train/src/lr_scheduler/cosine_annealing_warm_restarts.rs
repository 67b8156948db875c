//! `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`: half a cosine wave down, and down again from the top, each time as
//! long as before or longer.

use std::f64::consts::PI;

use rekindle_recorder::{Result, Value};

use super::kind::SchedulerKind;
use super::rule::{Now, Rule, check_base, divide, real, refuse_metric, update};
use super::schedule::{Options, Schedule, attributes};
use super::scheduler::LRScheduler;
use crate::attributes::{Attributes, invalid};
use crate::optim::ParamGroup;

/// `CosineAnnealingWarmRestarts(optimizer, T_0, T_mult, eta_min)`: down to `eta_min` in `t_0` epochs, then from the top in
/// `t_mult` times as many, and so on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CosineAnnealingWarmRestarts {
    /// Epochs until the first restart: `T_0`.
    pub t_0: i64,
    /// How many times as long each period is than the one before: `T_mult`. Default 1.
    pub t_mult: i64,
    /// The lowest learning rate. Default 0.
    pub eta_min: f64,
}

impl CosineAnnealingWarmRestarts {
    /// Down to 0 every `t_0` epochs.
    #[must_use]
    pub fn new(t_0: i64) -> Self {
        CosineAnnealingWarmRestarts { t_0, t_mult: 1, eta_min: 0.0 }
    }

    /// Longer every time.
    #[must_use]
    pub fn t_mult(self, t_mult: i64) -> Self {
        CosineAnnealingWarmRestarts { t_mult, ..self }
    }

    /// Down to another learning rate.
    #[must_use]
    pub fn eta_min(self, eta_min: f64) -> Self {
        CosineAnnealingWarmRestarts { eta_min, ..self }
    }
}

impl From<CosineAnnealingWarmRestarts> for Schedule {
    fn from(options: CosineAnnealingWarmRestarts) -> Self {
        Schedule::new(options)
    }
}

impl Options for CosineAnnealingWarmRestarts {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::CosineAnnealingWarmRestarts
    }

    fn attributes(&self, _groups: &mut [ParamGroup], _fresh: bool) -> Result<Attributes> {
        let CosineAnnealingWarmRestarts { t_0, t_mult, eta_min } = *self;
        Ok(attributes([
            ("T_0", t_0.into()),
            ("T_i", t_0.into()),
            ("T_mult", t_mult.into()),
            ("eta_min", eta_min.into()),
            ("T_cur", Value::Int(-1)),
        ]))
    }

    fn construct(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        scheduler.attributes.set("T_cur", last_epoch);
        scheduler.construct(groups, last_epoch)
    }
}

#[derive(Debug)]
pub(super) struct WarmRestarts;

/// Rates as `T_cur` and `T_i` say; the first is a fraction after a step to one.
fn lr(scheduler: &LRScheduler, now: &Now) -> Result<(f64, Option<f64>)> {
    let attributes = &scheduler.attributes;
    let (t_cur, t_i, eta_min) = (attributes.float("T_cur")?, attributes.float("T_i")?, attributes.float("eta_min")?);
    Ok((eta_min + (now.base - eta_min) * (1.0 + divide(scheduler, PI * t_cur, t_i)?.cos()) / 2.0, None))
}

/// Two numbers by one of two operations: of `int`s where both are, else of `float`s.
fn arithmetic(a: &Value, b: &Value, ints: fn(i64, i64) -> Option<i64>, floats: fn(f64, f64) -> f64) -> Option<Value> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => ints(*a, *b).map(Value::Int),
        (a, b) => Some(Value::Float(floats(a.as_f64()?, b.as_f64()?))),
    }
}

impl Rule for WarmRestarts {
    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        check_base(scheduler, groups)?;
        let attributes = &scheduler.attributes;
        attributes.float("T_cur")?;
        attributes.float("eta_min")?;
        for name in ["T_0", "T_i", "T_mult"] {
            let number = attributes.float(name)?;
            if !(number >= 1.0 && number.is_finite()) {
                return Err(invalid(format!("{}'s {name} must be at least 1, and is {number}", scheduler.kind())));
            }
        }
        Ok(())
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], metric: Option<f64>) -> Result<()> {
        refuse_metric(scheduler, metric)?;
        let last = scheduler.attributes.int("last_epoch")?;
        let attributes = &mut scheduler.attributes;
        if last < 0 {
            let t_0 = attributes.get("T_0").cloned().unwrap_or(Value::None);
            attributes.set("T_i", t_0);
            attributes.set("T_cur", 0);
            return update(scheduler, groups, 0, lr);
        }
        let number = |name: &str| attributes.get(name).cloned().unwrap_or(Value::None);
        let (t_cur, t_i, t_mult) = (number("T_cur"), number("T_i"), number("T_mult"));
        let next = arithmetic(&t_cur, &Value::Int(1), i64::checked_add, |a, b| a + b);
        let next = next.ok_or_else(too_large)?;
        if next.as_f64() >= t_i.as_f64() {
            // Neither is negative, so Python's remainder is Rust's.
            let rest = arithmetic(&next, &t_i, i64::checked_rem, |a, b| a % b).ok_or_else(too_large)?;
            attributes.set("T_cur", rest);
            attributes.set("T_i", arithmetic(&t_i, &t_mult, i64::checked_mul, |a, b| a * b).ok_or_else(too_large)?);
        } else {
            attributes.set("T_cur", next);
        }
        update(scheduler, groups, last.saturating_add(1), lr)
    }

    fn step_to(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], epoch: f64) -> Result<()> {
        if !(0.0..1e15).contains(&epoch) {
            return Err(invalid(format!("CosineAnnealingWarmRestarts cannot be stepped to epoch {epoch}")));
        }
        let (t_0, t_mult) = (scheduler.attributes.int("T_0")?, scheduler.attributes.int("T_mult")?);
        let (first, longer) = (real(t_0), real(t_mult));
        let attributes = &mut scheduler.attributes;
        if epoch < first {
            attributes.set("T_i", t_0);
            attributes.set("T_cur", epoch);
        } else if t_mult == 1 {
            attributes.set("T_cur", epoch % first);
        } else {
            // How many periods are over: their lengths are a geometric series.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let over = ((epoch / first * (longer - 1.0) + 1.0).ln() / longer.ln()) as u32;
            let grown = t_mult.checked_pow(over).ok_or_else(too_large)?;
            let before = t_0.checked_mul(grown - 1).ok_or_else(too_large)?;
            attributes.set("T_cur", epoch - real(before) / (longer - 1.0));
            attributes.set("T_i", t_0.checked_mul(grown).ok_or_else(too_large)?);
        }
        #[allow(clippy::cast_possible_truncation)]
        update(scheduler, groups, epoch.floor() as i64, lr)
    }

    fn begin_turn(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup]) -> Result<()> {
        update(scheduler, groups, 0, lr)
    }
}

fn too_large() -> rekindle_recorder::Error {
    invalid("CosineAnnealingWarmRestarts counts beyond 64 bits")
}

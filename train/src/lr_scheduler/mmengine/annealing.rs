//! mmengine's schedulers that go down to a lowest value: `CosineAnnealingParamScheduler`, `CosineRestartParamScheduler` and
//! `PolyParamScheduler`.

use super::base::{Here, INF, Values, common, mmengine_options};
use crate::lr_scheduler::prelude::*;

mmengine_options! {
    /// `CosineAnnealingParamScheduler(optimizer, param_name, T_max, eta_min, eta_min_ratio, ...)`: half a cosine wave down.
    #[derive(PartialEq)]
    pub struct CosineAnnealingParamScheduler;

    /// Steps from the highest to the lowest value: `T_max`. Default `None`: from `begin` to `end`.
    t_max(i64 => Some): Option<i64> = None,
    /// The lowest value. Default `None`: 0, unless there is a ratio.
    eta_min(f64 => Some): Option<f64> = None,
    /// The lowest value as a part of the first. Default `None`.
    eta_min_ratio(f64 => Some): Option<f64> = None,
}

mmengine_options! {
    /// `CosineRestartParamScheduler(optimizer, param_name, periods, restart_weights, eta_min, eta_min_ratio, ...)`: half a
    /// cosine wave down in each of the periods, each from its weight of the first value.
    #[derive(PartialEq)]
    pub struct CosineRestartParamScheduler;

    /// Down to 0.
    pub fn new(
        /// Steps of each period.
        periods(impl Into<Vec<i64>>): Vec<i64>,
    );

    /// The part of the first value that each period begins with. Default: one period, with all of it.
    restart_weights(impl Into<Vec<f64>>): Vec<f64> = vec![1.0],
    /// The lowest value. Default `None`: 0, unless there is a ratio.
    eta_min(f64 => Some): Option<f64> = None,
    /// The lowest value as a part of the first. Default `None`.
    eta_min_ratio(f64 => Some): Option<f64> = None,
}

mmengine_options! {
    /// `PolyParamScheduler(optimizer, param_name, eta_min, power, ...)`: down along a power of what is left.
    #[derive(PartialEq)]
    pub struct PolyParamScheduler;

    /// The lowest value. Default 0.
    eta_min: f64 = 0.0,
    /// The power. Default 1: a straight line.
    power: f64 = 1.0,
}

/// `eta_min` or `eta_min_ratio`.
#[derive(Clone, Copy)]
enum Lowest {
    Value(f64),
    Ratio(f64),
}

impl Lowest {
    /// Their attributes: one of the two is `None`.
    fn attributes(eta_min: Option<f64>, ratio: Option<f64>) -> Result<(Value, Value)> {
        match (eta_min, ratio) {
            (Some(_), Some(_)) => Err(invalid("either eta_min or eta_min_ratio is given, not both")),
            (None, None) => Ok((Value::Float(0.0), Value::None)),
            (eta_min, ratio) => Ok((eta_min.into(), ratio.into())),
        }
    }

    fn read(attributes: &Attributes) -> Result<Self> {
        match attributes.get("eta_min_ratio") {
            None | Some(Value::None) => attributes.float("eta_min").map(Lowest::Value),
            Some(_) => attributes.float("eta_min_ratio").map(Lowest::Ratio),
        }
    }

    fn of(self, base: f64) -> f64 {
        match self {
            Lowest::Value(value) => value,
            Lowest::Ratio(ratio) => base * ratio,
        }
    }
}

/// From the value of the step before to that of this one, on half a cosine wave of such a length.
fn along(step: i64, length: f64, value: f64, lowest: f64) -> Computed<f64> {
    let before = 1.0 + (PI * real(step.saturating_sub(1)) / length).cos();
    Ok(divide(1.0 + (PI * real(step) / length).cos(), before)? * (value - lowest) + lowest)
}

impl Options for CosineAnnealingParamScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let (eta_min, ratio) = Lowest::attributes(self.eta_min, self.eta_min_ratio)?;
        let whole = self.end.saturating_sub(self.begin);
        let t_max = self.t_max.filter(|t_max| *t_max != 0).unwrap_or(whole);
        Ok(with(self.entries(), [("T_max", t_max.into()), ("eta_min", eta_min), ("eta_min_ratio", ratio)]))
    }
}

pub(in crate::lr_scheduler) struct MmCosine {
    t_max: f64,
    lowest: Lowest,
}

impl Values for MmCosine {
    fn read(attributes: &Attributes) -> Computed<Self> {
        let t_max = attributes.float("T_max")?;
        if t_max == 0.0 || !t_max.is_finite() {
            return Err(invalid(format!("CosineAnnealingParamScheduler's T_max must not be {t_max}")).into());
        }
        Ok(MmCosine { t_max, lowest: Lowest::read(attributes)? })
    }

    fn value(&self, now: &Here) -> Computed<Option<f64>> {
        let (t_max, Some(base)) = (self.t_max, now.base) else { return Ok(None) };
        if now.step == 0 {
            return Ok(None);
        }
        let lowest = self.lowest.of(base);
        if (real(now.step) - 1.0 - t_max) % (2.0 * t_max) == 0.0 {
            return Ok(Some(now.value + (base - lowest) * (1.0 - (PI / t_max).cos()) / 2.0));
        }
        along(now.step, t_max, now.value, lowest).map(Some)
    }
}

impl Options for CosineRestartParamScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let (eta_min, ratio) = Lowest::attributes(self.eta_min, self.eta_min_ratio)?;
        let sums = self.periods.iter().scan(0_i64, |sum, period| {
            *sum = sum.saturating_add(*period);
            Some(*sum)
        });
        let own = [
            ("periods", self.periods.clone().into()),
            ("eta_min", eta_min),
            ("eta_min_ratio", ratio),
            ("restart_weights", self.restart_weights.clone().into()),
            ("cumulative_periods", sums.collect::<Vec<_>>().into()),
        ];
        Ok(own.into_iter().chain(common(self)).collect())
    }
}

pub(in crate::lr_scheduler) struct CosineRestart {
    /// Each period's length, end and weight.
    periods: Vec<(i64, i64, f64)>,
    lowest: Lowest,
}

impl Values for CosineRestart {
    fn read(attributes: &Attributes) -> Computed<Self> {
        let (lengths, ends) = (attributes.ints("periods")?, attributes.ints("cumulative_periods")?);
        let weights = attributes.floats("restart_weights")?;
        if lengths.len() != weights.len() || ends.len() != lengths.len() {
            return Err(invalid("CosineRestartParamScheduler needs as many restart_weights as periods").into());
        }
        let periods = lengths.into_iter().zip(ends).zip(weights).map(|((length, end), weight)| (length, end, weight));
        Ok(CosineRestart { periods: periods.collect(), lowest: Lowest::read(attributes)? })
    }

    fn value(&self, now: &Here) -> Computed<Option<f64>> {
        let Some(base) = now.base else { return Ok(None) };
        let Some(&(length, end, weight)) = self.periods.iter().find(|(_, end, _)| now.step < *end) else {
            return Ok(None);
        };
        let step = now.step.saturating_sub(end.saturating_sub(length));
        if step == 0 {
            return Ok(Some(base * weight));
        }
        along(step, real(length), now.value, self.lowest.of(base)).map(Some)
    }
}

impl Options for PolyParamScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let total = self.end.min(INF).saturating_sub(self.begin).saturating_sub(1);
        let own = [("eta_min", self.eta_min.into()), ("power", self.power.into()), ("total_iters", total.into())];
        Ok(own.into_iter().chain(common(self)).collect())
    }
}

impl Values for PolyParamScheduler {
    fn read(attributes: &Attributes) -> Computed<Self> {
        let options = PolyParamScheduler::default().end(attributes.int("total_iters")?);
        Ok(options.eta_min(attributes.float("eta_min")?).power(attributes.float("power")?))
    }

    fn value(&self, now: &Here) -> Computed<Option<f64>> {
        if now.step == 0 {
            return Ok(None);
        }
        // Here `end` is `total_iters`.
        let left = real(self.end.saturating_sub(now.step).saturating_add(1));
        let kept = power(1.0 - divide(1.0, left)?, self.power)?;
        Ok(Some((now.value - self.eta_min) * kept + self.eta_min))
    }
}

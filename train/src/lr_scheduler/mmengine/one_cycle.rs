//! mmengine's `OneCycleParamScheduler`: up to a bound and down to almost nothing, once.

use rekindle_recorder::value::{Global, Object, ObjectData};

use super::base::{Here, Values, common, mmengine_options};
use crate::attributes::number;
use crate::lr_scheduler::anneal::AnnealStrategy;
use crate::lr_scheduler::prelude::*;

mmengine_options! {
    /// `OneCycleParamScheduler(optimizer, param_name, eta_max, total_steps, ...)`: from `eta_max / div_factor` up to `eta_max`,
    /// then down to the first over `final_div_factor`.
    #[derive(PartialEq)]
    pub struct OneCycleParamScheduler;

    /// The highest value. Default 0.
    eta_max: f64 = 0.0,
    /// Steps in all. Default `None`: from `begin` to `end`.
    total_steps(i64 => Some): Option<i64> = None,
    /// The part of the steps that go up. Default 0.3.
    pct_start: f64 = 0.3,
    /// The curve. Default: a cosine.
    anneal_strategy: AnnealStrategy = AnnealStrategy::Cos,
    /// Which part of `eta_max` it begins with. Default 25.
    div_factor: f64 = 25.0,
    /// Which part of that it ends with. Default 1e4.
    final_div_factor: f64 = 1e4,
    /// Whether it goes down as slowly as up, and only then to the end. Default false.
    three_phase: bool = false,
}

/// The static method that mmengine keeps, as Python's pickle finds it.
fn function(strategy: AnnealStrategy) -> Value {
    let class = Global::new("mmengine.optim.scheduler.param_scheduler", "OneCycleParamScheduler");
    let name = if strategy == AnnealStrategy::Cos { "_annealing_cos" } else { "_annealing_linear" };
    let arguments = vec![Value::Global(class), name.into()];
    Value::Object(Object::new(ObjectData::call(Global::new("builtins", "getattr"), arguments)))
}

impl Options for OneCycleParamScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let total = self.total_steps.unwrap_or(self.end.saturating_sub(self.begin));
        if total <= 0 || !(0.0..=1.0).contains(&self.pct_start) {
            return Err(invalid("OneCycleParamScheduler's total_steps must be above 0, and its pct_start from 0 to 1"));
        }
        if self.div_factor == 0.0 || self.final_div_factor == 0.0 {
            return Err(invalid("OneCycleParamScheduler's div_factor and final_div_factor must not be 0"));
        }
        let name = &self.param_name;
        let phase = |end_step: Value, from: &str, to: &str| {
            let (start, end) = (format!("start_{name}"), format!("end_{name}"));
            let (from, to) = (format!("{from}_{name}"), format!("{to}_{name}"));
            let entries: [(&str, Value); 3] =
                [("end_step", end_step), (&start, (&*from).into()), (&end, (&*to).into())];
            Value::from(Dict::from_iter(entries))
        };
        let first = Value::Float(self.pct_start * real(total) - 1.0);
        let last = Value::Int(total - 1);
        let phases = if self.three_phase {
            let second = Value::Float(2.0 * self.pct_start * real(total) - 2.0);
            vec![phase(first, "initial", "max"), phase(second, "max", "initial"), phase(last, "initial", "min")]
        } else {
            vec![phase(first, "initial", "max"), phase(last, "max", "min")]
        };
        let own = [
            ("eta_max", self.eta_max.into()),
            ("div_factor", self.div_factor.into()),
            ("final_div_factor", self.final_div_factor.into()),
            ("total_steps", total.into()),
            ("anneal_func", function(self.anneal_strategy)),
            ("_schedule_phases", Value::list(phases)),
        ];
        Ok(own.into_iter().chain(common(self)).collect())
    }
}

pub(in crate::lr_scheduler) struct OneCycleParam {
    total_steps: i64,
    strategy: AnnealStrategy,
    /// Each phase's last step, and the names of what it goes from and to.
    phases: Vec<(f64, String, String)>,
}

impl Values for OneCycleParam {
    fn read(attributes: &Attributes) -> Computed<Self> {
        let name = attributes.text("param_name")?;
        let strategy = AnnealStrategy::of_function(attributes.get("anneal_func"))
            .ok_or_else(|| invalid("OneCycleParamScheduler's anneal_func is none of mmengine's"))?;
        let all = attributes.get("_schedule_phases").and_then(Value::items).unwrap_or_default();
        let phases: Option<Vec<_>> = all
            .iter()
            .map(|phase| {
                let dict = phase.as_dict()?;
                let text = |key: String| dict.get(&key)?.as_str().map(str::to_owned);
                let end = number(&dict.get("end_step")?)?;
                Some((end, text(format!("start_{name}"))?, text(format!("end_{name}"))?))
            })
            .collect();
        let phases = phases.filter(|phases| !phases.is_empty());
        let phases = phases.ok_or_else(|| invalid("OneCycleParamScheduler's _schedule_phases are none"))?;
        Ok(OneCycleParam { total_steps: attributes.int("total_steps")?, strategy, phases })
    }

    fn value(&self, now: &Here) -> Computed<Option<f64>> {
        let (total, step) = (self.total_steps, now.step);
        if step > total {
            return Err(invalid(format!(
                "OneCycleParamScheduler has come to its end: step {step} was asked for, and it was made for {total} steps"
            ))
            .into());
        }
        let Some(group) = now.group else { return Ok(None) };
        let mut start_step = 0.0;
        for (index, (end, from, to)) in self.phases.iter().enumerate() {
            if real(step) <= *end || index + 1 == self.phases.len() {
                let part = divide(real(step) - start_step, end - start_step)?;
                let (from, to) = (group.float(from)?, group.float(to)?);
                return Ok(Some(self.strategy.between(from.into(), to.into(), part).value()));
            }
            start_step = *end;
        }
        Ok(None)
    }

    fn prepare(&self, groups: &mut [ParamGroup], attributes: &Attributes) -> Result<()> {
        let name = attributes.text("param_name")?;
        let max = attributes.float("eta_max")?;
        let initial = max / attributes.float("div_factor")?;
        let min = initial / attributes.float("final_div_factor")?;
        for group in groups.iter_mut() {
            group.set(&format!("initial_{name}"), initial);
            group.set(&format!("max_{name}"), max);
            group.set(&format!("min_{name}"), min);
        }
        Ok(())
    }
}

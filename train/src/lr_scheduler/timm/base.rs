//! timm's base class (`class Scheduler` of `timm/scheduler/scheduler.py`) around the rates at an epoch or update: the warm-up,
//! the noise, and the groups' `lr_scale`.

use std::marker::PhantomData;

use rekindle_random::{Generator, rand, randn};

use crate::lr_scheduler::prelude::*;

/// Options of one of timm's schedulers: its own, then those that all have.
macro_rules! timm_options {
    ($($own:tt)*) => {
        $crate::lr_scheduler::options::options! {
            $($own)*
            /// Whether it counts epochs; else it counts the optimizer's updates. Default true.
            t_in_epochs: bool = true,
            /// From which epoch or update on the rates are noisy, and until which if there are two. Default `None`: never.
            noise_range_t(impl Into<Vec<i64>> => Some): Option<Vec<i64>> = None,
            /// The most that the noise is, as a part of the rate. Default 0.67.
            noise_pct: f64 = 0.67,
            /// The standard deviation of the noise. Default 1.
            noise_std: f64 = 1.0,
            /// What the noise of an epoch or update is drawn by, with that added. Default 42.
            noise_seed: i64 = 42,
        }
    };
}
pub(super) use timm_options;

/// `noise_range_t` as timm takes it: one number, or a pair.
pub(super) fn range(range: Value) -> Value {
    match range.items().as_deref() {
        Some([from]) => from.clone(),
        _ => range,
    }
}

/// What one of timm's schedulers computes.
pub(crate) trait Rates: Sized + 'static {
    /// Takes the options from the scheduler's attributes, and refuses those that timm refuses.
    fn read(attributes: &Attributes) -> Computed<Self>;

    /// The rates at an epoch or update past the warm-up, from the ones that the groups had at first.
    fn rates(&self, t: i64, bases: &[f64]) -> Computed<Vec<f64>>;

    /// The rates that the warm-up goes to, where those are not the first ones.
    fn warmup_to(&self, _warmup_t: i64, bases: &[f64]) -> Computed<Vec<f64>> {
        Ok(bases.to_vec())
    }

    /// A value that the class never had under a key that it has.
    fn foreign(_attributes: &Attributes) -> Option<&'static str> {
        None
    }

    /// Whether `warmup_prefix` is an option: else the warm-up comes before everything anyhow, or counts, as `rates` says.
    const PREFIX: bool = true;
}

struct Timm<F>(PhantomData<fn() -> F>);

/// The rule of a scheduler of timm's.
pub(in crate::lr_scheduler) const fn timm<F: Rates>() -> &'static dyn Rule {
    &Timm::<F>(PhantomData)
}

/// What the base class keeps: before the class's own, in order, and the warm-up among them.
pub(in crate::lr_scheduler) const KEYS: &[&str] = &[
    "param_group_field",
    "_initial_param_group_field",
    "base_values",
    "metric",
    "t_in_epochs",
    "noise_range_t",
    "noise_pct",
    "noise_type",
    "noise_std",
    "noise_seed",
    "warmup_t",
    "warmup_lr_init",
    "warmup_prefix",
    "warmup_steps",
];

/// How many of them come before the class's own.
const FIRST: usize = 10;

impl<F: Rates> Timm<F> {
    /// The rates at an epoch or update, noise included.
    fn rates(scheduler: &LRScheduler, t: i64) -> Result<Vec<f64>> {
        let attributes = &scheduler.attributes;
        let bases = attributes.floats("base_values")?;
        let warmup_t = attributes.int("warmup_t")?;
        let rates = if t < warmup_t {
            let (from, steps) = (attributes.float("warmup_lr_init")?, attributes.floats("warmup_steps")?);
            steps.into_iter().map(|step| from + real(t) * step).collect()
        } else {
            let prefix = F::PREFIX && attributes.flag("warmup_prefix")?;
            let t = if prefix { t.saturating_sub(warmup_t) } else { t };
            let formula = F::read(attributes).map_err(|failure| blame(scheduler, failure))?;
            formula.rates(t, &bases).map_err(|failure| blame(scheduler, failure))?
        };
        match noise(attributes, t)? {
            Some(noise) => Ok(rates.into_iter().map(|rate| rate + rate * noise).collect()),
            None => Ok(rates),
        }
    }

    fn to(scheduler: &mut LRScheduler, groups: &mut [ParamGroup], t: i64) -> Result<()> {
        scheduler.position = Some(t);
        let rates = Self::rates(scheduler, t)?;
        update_groups(groups, rates)
    }
}

/// `update_groups()`: a group that was added keeps its rate, since there is none for it.
pub(super) fn update_groups(groups: &mut [ParamGroup], rates: impl IntoIterator<Item = f64>) -> Result<()> {
    for (group, rate) in groups.iter_mut().zip(rates) {
        let scaled = if group.contains("lr_scale") { rate * group.float("lr_scale")? } else { rate };
        group.set("lr", scaled);
    }
    Ok(())
}

/// What the rates of an epoch or update are made larger by, as a part of themselves, if they are noisy.
pub(super) fn noise(attributes: &Attributes, t: i64) -> Result<Option<f64>> {
    let noisy = match attributes.get("noise_range_t") {
        None | Some(Value::None) => false,
        Some(Value::List(_) | Value::Tuple(_)) => match attributes.floats("noise_range_t")?[..] {
            [from, until] => from <= real(t) && real(t) < until,
            _ => return Err(invalid(format!("{PLACE}noise_range_t is a list that is no pair"))),
        },
        Some(_) => real(t) >= attributes.float("noise_range_t")?,
    };
    if !noisy {
        return Ok(None);
    }
    let (std, most) = (attributes.float("noise_std")?, attributes.float("noise_pct")?);
    let mut generator = Generator::new(attributes.int("noise_seed")?.wrapping_add(t).cast_unsigned());
    if attributes.text("noise_type")? != "normal" {
        let drawn = rand::<f32>(&mut generator, 1).first().copied().map_or(0.0, f64::from);
        return Ok(Some(2.0 * (drawn - 0.5) * most));
    }
    // timm draws until it fits; what fits almost never will not be waited for.
    for _ in 0..100_000 {
        let drawn = randn::<f32>(&mut generator, 1).first().copied().map_or(0.0, f64::from) * std;
        if drawn.abs() < most {
            return Ok(Some(drawn));
        }
    }
    Err(invalid(format!("noise of {std} is never below {most}")))
}

impl<F: Rates> Rule for Timm<F> {
    fn construct(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        scheduler.only_fresh(last_epoch)?;
        let bases = put_initial("lr", groups)?;
        let own = std::mem::replace(&mut scheduler.attributes, Attributes::new(PLACE));
        let attributes = &mut scheduler.attributes;
        let (first, _) = KEYS.split_at(FIRST);
        for &name in first {
            let value = match name {
                "param_group_field" => "lr".into(),
                "_initial_param_group_field" => "initial_lr".into(),
                "base_values" => bases.clone().into(),
                "noise_type" => "normal".into(),
                "noise_range_t" => range(own.get(name).cloned().unwrap_or(Value::None)),
                _ => own.get(name).cloned().unwrap_or(Value::None),
            };
            attributes.set(name, value);
        }
        for name in own.names().filter(|name| !first.contains(name)) {
            attributes.set(name, own.get(name).cloned().unwrap_or(Value::None));
        }
        update_groups(groups, bases.iter().copied())?;
        scheduler.position = Some(0);
        let warmup_t = scheduler.attributes.int("warmup_t")?;
        if warmup_t == 0 {
            scheduler.attributes.set("warmup_steps", vec![Value::Int(1); bases.len()]);
            return Ok(());
        }
        let from = scheduler.attributes.float("warmup_lr_init")?;
        let read = F::read(&scheduler.attributes);
        let steps = read
            .and_then(|formula| formula.warmup_to(warmup_t, &bases))
            .and_then(|to| to.into_iter().map(|to| divide(to - from, real(warmup_t))).collect::<Computed<Vec<f64>>>());
        let steps = steps.map_err(|failure| blame(scheduler, failure))?;
        scheduler.attributes.set("warmup_steps", steps);
        update_groups(groups, std::iter::repeat_n(from, groups.len()).collect::<Vec<_>>())
    }

    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        let attributes = &scheduler.attributes;
        let bases = attributes.floats("base_values")?;
        check_groups(bases.len(), groups)?;
        if attributes.text("param_group_field")? != "lr" {
            return Err(invalid(format!("{} moves something else than the learning rate", scheduler.class.name)));
        }
        attributes.flag("t_in_epochs")?;
        F::read(attributes).map(drop).map_err(|failure| blame(scheduler, failure))
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], _metric: Option<f64>) -> Result<()> {
        let Some(position) = scheduler.position else {
            return Err(invalid(format!(
                "the state of timm's {} does not say how far it has come; say it (`LRScheduler::set_position`)",
                scheduler.class.name
            )));
        };
        Self::to(scheduler, groups, position.saturating_add(1))
    }

    fn step_to(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], epoch: f64) -> Result<()> {
        let t = whole(epoch, scheduler.class.name)?;
        Self::to(scheduler, groups, t)
    }

    fn begin_turn(&self, _scheduler: &mut LRScheduler, _groups: &mut [ParamGroup]) -> Result<()> {
        Err(invalid("SequentialLR takes schedulers of torch.optim.lr_scheduler only"))
    }

    fn position(&self, scheduler: &LRScheduler) -> Option<i64> {
        scheduler.position
    }

    fn foreign(&self, attributes: &Attributes) -> Option<&'static str> {
        F::foreign(attributes)
    }

    fn told_position(&self) -> bool {
        true
    }

    fn stepped_by(&self, scheduler: &LRScheduler) -> Option<SteppedBy> {
        scheduler.stepped_by_flag("t_in_epochs")
    }
}

//! mmengine's base class (`class _ParamScheduler` of `mmengine/optim/scheduler/param_scheduler.py`) around the values at a step.

use std::marker::PhantomData;

use crate::lr_scheduler::momentum::{set_momentum, uses_beta1};
use crate::lr_scheduler::prelude::*;

/// mmengine's `INF`.
pub(super) const INF: i64 = 1_000_000_000;

/// Options of one of mmengine's schedulers: its own, then those that all have.
macro_rules! mmengine_options {
    ($($own:tt)*) => {
        $crate::lr_scheduler::options::options! {
            $($own)*
            /// Which number of the groups: `"lr"` or `"momentum"`. Default: the learning rate.
            param_name(impl Into<String>): String = "lr".to_owned(),
            /// The step that it begins at. Default 0.
            begin: i64 = 0,
            /// The step that it ends before. Default 1,000,000,000, which is mmengine's never.
            end: i64 = $crate::lr_scheduler::mmengine::base::INF,
            /// Whether it is stepped after each epoch, and not after each iteration. Default true.
            by_epoch: bool = true,
        }
    };
}
pub(super) use mmengine_options;

/// The attributes of the options that all have, for `Options::attributes`.
pub(super) fn common(options: &impl Fields) -> impl Iterator<Item = (&'static str, Value)> {
    options.entries().into_iter().filter(|(name, _)| ["param_name", "begin", "end", "by_epoch"].contains(name))
}

/// What one of mmengine's schedulers computes.
pub(crate) trait Values: Sized + 'static {
    /// Takes the options from the scheduler's attributes.
    fn read(attributes: &Attributes) -> Computed<Self>;

    /// The value of a group at a step of its own, from 0; `None` where the group keeps what it has.
    fn value(&self, now: &Here) -> Computed<Option<f64>>;

    /// What the constructor puts into the groups.
    fn prepare(&self, _groups: &mut [ParamGroup], _attributes: &Attributes) -> Result<()> {
        Ok(())
    }
}

/// Where a scheduler is when it computes a group's value.
pub(crate) struct Here<'a> {
    /// `last_step`, already counted on.
    pub(super) step: i64,
    /// What the group has.
    pub(super) value: f64,
    /// What it had at first; `None` for a group that was added.
    pub(super) base: Option<f64>,
    /// What else it has; `None` for the `base_param_settings` of mmengine's wrapper.
    pub(super) group: Option<&'a Attributes>,
}

struct Mmengine<F>(PhantomData<fn() -> F>);

/// The rule of a scheduler of mmengine's.
pub(in crate::lr_scheduler) const fn mmengine<F: Values>() -> &'static dyn Rule {
    &Mmengine::<F>(PhantomData)
}

impl<F: Values> Mmengine<F> {
    fn read(scheduler: &LRScheduler) -> Result<F> {
        F::read(&scheduler.attributes).map_err(|failure| blame(scheduler, failure))
    }

    fn count_on(scheduler: &mut LRScheduler, groups: &mut [ParamGroup]) -> Result<()> {
        let name = scheduler.attributes.text("param_name")?;
        let count = scheduler.attributes.int("_global_step")?.saturating_add(1);
        scheduler.attributes.set("_global_step", count);
        let mut values = groups.iter().map(|group| group.float(&name)).collect::<Result<Vec<_>>>()?;
        let bases = scheduler.attributes.floats("base_values")?;
        // mmengine's wrapper of an optimizer with several groups has one more, which no parameter is in.
        if bases.len() > groups.len() && scheduler.attributes.contains("_last_value") {
            values.extend(scheduler.attributes.floats("_last_value")?.into_iter().skip(groups.len()));
        }
        if scheduler.attributes.int("begin")? <= count && count < scheduler.attributes.int("end")? {
            let step = scheduler.attributes.int("last_step")?.saturating_add(1);
            scheduler.attributes.set("last_step", step);
            let formula = Self::read(scheduler)?;
            let computed = values.iter().enumerate().map(|(index, value)| {
                let group = groups.get(index).map(|group| &**group);
                formula.value(&Here { step, value: *value, base: bases.get(index).copied(), group })
            });
            let computed = computed.collect::<Computed<Vec<_>>>().map_err(|failure| blame(scheduler, failure))?;
            for (index, new) in computed.into_iter().enumerate() {
                let Some(new) = new else { continue };
                if let Some(group) = groups.get_mut(index) {
                    group.set(&name, new);
                }
                if let Some(value) = values.get_mut(index) {
                    *value = new;
                }
            }
        }
        scheduler.attributes.set("_last_value", Value::list(values.into_iter().map(Value::Float)));
        put_betas(&scheduler.attributes, groups)
    }
}

/// What every constructor begins with, once the attributes are there; gives the name of the number that is moved.
pub(super) fn prepared(scheduler: &mut LRScheduler, groups: &mut [ParamGroup], last_epoch: i64) -> Result<String> {
    scheduler.only_fresh(last_epoch)?;
    let own = std::mem::replace(&mut scheduler.attributes, Attributes::new(PLACE));
    let name = own.text("param_name")?;
    if name == "momentum" {
        let betas = uses_beta1(groups)?;
        scheduler.attributes.set("use_betas", betas);
        if betas {
            for group in groups.iter_mut() {
                let first = group.pair("betas")?.0;
                group.set("momentum", first);
            }
        }
    }
    for key in own.names() {
        scheduler.attributes.set(key, own.get(key).cloned().unwrap_or(Value::None));
    }
    let (begin, end) = (own.int("begin")?, own.int("end")?);
    if end <= begin {
        return Err(invalid(format!("{}'s end must be after its begin", scheduler.class.name)));
    }
    Ok(name)
}

/// Where the momentum is the first of `betas`: puts what was computed there, too.
pub(super) fn put_betas(attributes: &Attributes, groups: &mut [ParamGroup]) -> Result<()> {
    if attributes.is_set("use_betas")? {
        let name = attributes.text("param_name")?;
        for group in groups {
            let momentum = Number::of(group, &name)?;
            set_momentum(group, momentum);
        }
    }
    Ok(())
}

impl<F: Values> Rule for Mmengine<F> {
    fn construct(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        let name = prepared(scheduler, groups, last_epoch)?;
        Self::read(scheduler)?.prepare(groups, &scheduler.attributes)?;
        let bases = put_initial(&name, groups)?;
        let attributes = &mut scheduler.attributes;
        attributes.set("base_values", bases);
        attributes.set("last_step", -1);
        attributes.set("_global_step", -1);
        attributes.set("verbose", false);
        Self::count_on(scheduler, groups)
    }

    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        let attributes = &scheduler.attributes;
        for name in ["begin", "end", "last_step", "_global_step"] {
            attributes.int(name)?;
        }
        attributes.flag("by_epoch")?;
        // One more, where mmengine's wrapper had its own.
        check_groups(attributes.floats("base_values")?.len().saturating_sub(usize::from(groups > 1)), groups)?;
        Self::read(scheduler).map(drop)
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], _metric: Option<f64>) -> Result<()> {
        Self::count_on(scheduler, groups)
    }

    fn position(&self, scheduler: &LRScheduler) -> Option<i64> {
        scheduler.attributes.int("_global_step").ok()
    }

    fn stepped_by(&self, scheduler: &LRScheduler) -> Option<SteppedBy> {
        scheduler.stepped_by_flag("by_epoch")
    }
}

//! `ConcatScheduler`: schedulers that follow one another, each for so many events; and `ParamGroupScheduler`: several that are called
//! together, most often one for each group.

use super::common;
use crate::lr_scheduler::chained_scheduler::schedules;
use crate::lr_scheduler::prelude::*;
use crate::lr_scheduler::schedule::Schedule;

/// `ConcatScheduler(schedulers, durations)`: each of the schedulers for so many events, the last one without an end.
/// `create_lr_scheduler_with_warmup` makes one.
#[derive(Clone, Debug)]
pub struct ConcatScheduler {
    schedulers: Vec<Schedule>,
    durations: Vec<i64>,
}

impl ConcatScheduler {
    /// The schedulers, and how many events each but the last one is called at.
    pub fn new(schedulers: impl Into<Vec<Schedule>>, durations: impl Into<Vec<i64>>) -> Self {
        ConcatScheduler { schedulers: schedulers.into(), durations: durations.into() }
    }
}

impl Fields for ConcatScheduler {}

impl InWords for ConcatScheduler {
    const MAKE: Option<Make> = Some(|given| {
        let schedulers = schedules(given)?;
        Ok(ConcatScheduler::new(schedulers, given.required::<Vec<i64>>("durations")?).into())
    });
}

impl Options for ConcatScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        let first = self.durations.first().copied().unwrap_or(-1);
        let own = [
            ("_current_duration", first.into()),
            ("durations", self.durations.clone().into()),
            ("_scheduler_index", 0.into()),
        ];
        Ok(common("lr").into_iter().chain(own).collect())
    }

    fn children(&self) -> &[Schedule] {
        &self.schedulers
    }
}

/// Refuses schedulers that are none of ignite's.
fn check_children(scheduler: &LRScheduler, groups: usize) -> Result<()> {
    let name = scheduler.class.name;
    if scheduler.children.is_empty() {
        return Err(invalid(format!("{name} needs at least one scheduler")));
    }
    for child in &scheduler.children {
        if !child.counts_events() {
            return Err(invalid(format!("{name} takes ignite's schedulers only, and {} is none", child.class.name)));
        }
        child.check(groups)?;
    }
    Ok(())
}

/// The entry that a scheduler sets: its own, or that of the first one that it is made of.
fn param_name(scheduler: &LRScheduler) -> Option<String> {
    let own = || scheduler.attributes.text("param_name").ok();
    own()
        .filter(|_| scheduler.children.is_empty())
        .or_else(|| scheduler.children.iter().find_map(param_name))
        .or_else(own)
}

pub(in crate::lr_scheduler) struct Concat;

impl Rule for Concat {
    fn construct(&self, scheduler: &mut LRScheduler, _groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        scheduler.only_fresh(last_epoch)?;
        if let Some(name) = param_name(scheduler) {
            scheduler.attributes.set("param_name", name);
        }
        Ok(())
    }

    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        let attributes = &scheduler.attributes;
        let (durations, index) = (attributes.ints("durations")?, attributes.int("_scheduler_index")?);
        attributes.int("_current_duration")?;
        let count = scheduler.children.len();
        if durations.len() + 1 != count || usize::try_from(index).map_or(true, |index| index >= count) {
            let durations = durations.len();
            return Err(invalid(format!(
                "ConcatScheduler has {count} schedulers and {durations} durations, of which number {index} is called; it needs one \
                 duration less than schedulers"
            )));
        }
        check_children(scheduler, groups)
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], _metric: Option<f64>) -> Result<()> {
        let attributes = &mut scheduler.attributes;
        let (mut index, mut left) = (attributes.int("_scheduler_index")?, attributes.int("_current_duration")?);
        if left == 0 {
            index = index.saturating_add(1);
            let durations = attributes.ints("durations")?;
            left = usize::try_from(index).ok().and_then(|index| durations.get(index).copied()).unwrap_or(-1);
            attributes.set("_scheduler_index", index);
        }
        attributes.set("_current_duration", left.saturating_sub(1));
        let child = usize::try_from(index).ok().and_then(|index| scheduler.children.get_mut(index));
        let child = child.ok_or_else(|| invalid("ConcatScheduler has no scheduler after its last one"))?;
        child.step_groups(groups, None)
    }

    fn position(&self, scheduler: &LRScheduler) -> Option<i64> {
        let attributes = &scheduler.attributes;
        let (index, left) = (attributes.int("_scheduler_index").ok()?, attributes.int("_current_duration").ok()?);
        let (durations, index) = (attributes.ints("durations").ok()?, usize::try_from(index).ok()?);
        let before = durations.iter().take(index).try_fold(0_i64, |sum, duration| sum.checked_add(*duration))?;
        before.checked_add(durations.get(index).copied().unwrap_or(-1).checked_sub(left)?)
    }
}

/// `ParamGroupScheduler(schedulers)`: calls each of the schedulers, most often one for each group.
#[derive(Clone, Debug)]
pub struct ParamGroupScheduler {
    schedulers: Vec<Schedule>,
}

impl ParamGroupScheduler {
    /// The schedulers, in order.
    pub fn new(schedulers: impl Into<Vec<Schedule>>) -> Self {
        ParamGroupScheduler { schedulers: schedulers.into() }
    }
}

impl Fields for ParamGroupScheduler {}

impl InWords for ParamGroupScheduler {
    const MAKE: Option<Make> = Some(|given| Ok(ParamGroupScheduler::new(schedules(given)?).into()));
}

impl Options for ParamGroupScheduler {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        Ok(Vec::new())
    }

    fn children(&self) -> &[Schedule] {
        &self.schedulers
    }
}

pub(in crate::lr_scheduler) struct OfGroups;

impl Rule for OfGroups {
    fn construct(&self, scheduler: &mut LRScheduler, _groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        scheduler.only_fresh(last_epoch)?;
        let names: Vec<Value> =
            scheduler.children.iter().map(|child| param_name(child).map_or(Value::None, Value::from)).collect();
        scheduler.attributes.set(Tail::NAMES, Value::list(names));
        Ok(())
    }

    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        check_children(scheduler, groups)
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], _metric: Option<f64>) -> Result<()> {
        scheduler.children.iter_mut().try_for_each(|child| child.step_groups(groups, None))
    }

    fn position(&self, scheduler: &LRScheduler) -> Option<i64> {
        scheduler.children.first().and_then(LRScheduler::position)
    }
}

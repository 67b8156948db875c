//! `torch.optim.lr_scheduler.ChainedScheduler`: several schedulers stepped one after the other.

use super::arguments::Arguments;
use super::prelude::*;
use super::schedule::Schedule;
use super::scheduler::Class;

/// `ChainedScheduler(schedulers)`: steps each of its schedulers in turn, so that those that multiply the learning rate
/// multiply each other's. They are constructed in this order, as PyTorch's are before they are handed over.
#[derive(Clone, Debug)]
pub struct ChainedScheduler {
    schedulers: Vec<Schedule>,
}

impl ChainedScheduler {
    /// The schedulers, in order.
    pub fn new(schedulers: impl Into<Vec<Schedule>>) -> Self {
        ChainedScheduler { schedulers: schedulers.into() }
    }
}

impl Fields for ChainedScheduler {}

impl InWords for ChainedScheduler {
    const MAKE: Option<Make> = Some(|given| Ok(ChainedScheduler::new(schedules(given)?).into()));
}

/// A list of calls, which stand as their texts until here.
pub(super) fn schedules(given: &mut Arguments) -> Result<Vec<Schedule>> {
    let items = given.take("schedulers").and_then(|list| list.items());
    let items = items.ok_or_else(|| invalid("schedulers must be a list, such as [LinearLR(), StepLR(30)]"))?;
    items.iter().map(|item| item.as_str().unwrap_or_default().parse()).collect()
}

impl Options for ChainedScheduler {
    fn attributes(&self, groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        refuse_by_metric("ChainedScheduler", self.schedulers.iter().map(|schedule| schedule.class))?;
        Ok(vec![("_last_lr", rates(groups).into())])
    }

    fn children(&self) -> &[Schedule] {
        &self.schedulers
    }
}

/// Refuses schedulers of which one goes by a metric, and an empty list of them.
pub(super) fn refuse_by_metric(name: &str, mut children: impl ExactSizeIterator<Item = &'static Class>) -> Result<()> {
    if children.len() == 0 {
        return Err(invalid(format!("{name} needs at least one scheduler")));
    }
    match children.find(|child| child.rule.by_metric()) {
        Some(child) => Err(invalid(format!("{name} cannot have a {}, which goes by a metric", child.name))),
        None => Ok(()),
    }
}

pub(super) fn check_children(scheduler: &LRScheduler, groups: usize) -> Result<()> {
    refuse_by_metric(scheduler.class.name, scheduler.children.iter().map(|child| child.class))?;
    scheduler.children.iter().try_for_each(|child| child.check(groups))
}

pub(super) struct Chained;

impl Rule for Chained {
    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        check_groups(scheduler.attributes.floats("_last_lr")?.len(), groups)?;
        check_children(scheduler, groups)
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], _metric: Option<f64>) -> Result<()> {
        for child in &mut scheduler.children {
            child.step_groups(groups, None)?;
        }
        scheduler.attributes.set("_last_lr", rates(groups));
        Ok(())
    }

    fn position(&self, scheduler: &LRScheduler) -> Option<i64> {
        scheduler.children.first().and_then(LRScheduler::position)
    }
}

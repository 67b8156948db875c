//! `torch.optim.lr_scheduler.ChainedScheduler`: several schedulers stepped one after the other.

use rekindle_recorder::Result;

use super::kind::SchedulerKind;
use super::rule::{Rule, check_groups, rates, refuse_metric};
use super::schedule::{Options, Schedule, attributes};
use super::scheduler::LRScheduler;
use super::sequential_lr::not_in_turn;
use crate::attributes::{Attributes, invalid};
use crate::optim::ParamGroup;

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

impl From<ChainedScheduler> for Schedule {
    fn from(options: ChainedScheduler) -> Self {
        Schedule::new(options)
    }
}

impl Options for ChainedScheduler {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::ChainedScheduler
    }

    fn attributes(&self, groups: &mut [ParamGroup], _fresh: bool) -> Result<Attributes> {
        refuse_by_metric(self.kind(), self.schedulers.iter().map(Schedule::kind))?;
        Ok(attributes([("_last_lr", rates(groups).into())]))
    }

    fn construct(&self, scheduler: &mut LRScheduler, _groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        scheduler.only_fresh(last_epoch)
    }

    fn children(&self) -> &[Schedule] {
        &self.schedulers
    }
}

/// Refuses schedulers of which one goes by a metric, and an empty list of them.
pub(super) fn refuse_by_metric(
    kind: SchedulerKind,
    mut children: impl ExactSizeIterator<Item = SchedulerKind>,
) -> Result<()> {
    if children.len() == 0 {
        return Err(invalid(format!("{kind} needs at least one scheduler")));
    }
    if children.any(|child| child == SchedulerKind::ReduceLROnPlateau) {
        return Err(invalid(format!("{kind} cannot have a ReduceLROnPlateau, which goes by a metric")));
    }
    Ok(())
}

pub(super) fn check_children(scheduler: &LRScheduler, groups: usize) -> Result<()> {
    refuse_by_metric(scheduler.kind(), scheduler.children.iter().map(LRScheduler::kind))?;
    scheduler.children.iter().try_for_each(|child| child.check(groups))
}

#[derive(Debug)]
pub(super) struct Chained;

impl Rule for Chained {
    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        check_groups(scheduler.attributes.floats("_last_lr")?.len(), groups)?;
        check_children(scheduler, groups)
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], metric: Option<f64>) -> Result<()> {
        refuse_metric(scheduler, metric)?;
        for child in &mut scheduler.children {
            child.step_groups(groups, None)?;
        }
        scheduler.attributes.set("_last_lr", rates(groups));
        Ok(())
    }

    fn begin_turn(&self, scheduler: &mut LRScheduler, _groups: &mut [ParamGroup]) -> Result<()> {
        Err(not_in_turn(scheduler.kind()))
    }
}

//! `torch.optim.lr_scheduler.SequentialLR`: schedulers that take turns, each until a milestone.

use super::chained_scheduler::{check_children, refuse_by_metric, schedules};
use super::prelude::*;
use super::schedule::Schedule;

/// `SequentialLR(optimizer, schedulers, milestones)`: the first scheduler until the first milestone, then the second, and so
/// on. The schedulers are constructed in this order, as PyTorch's are before they are handed over.
///
/// ```
/// use rekindle_train::lr_scheduler::{CosineAnnealingLR, LinearLR, SequentialLR};
///
/// let warmup = LinearLR::default().start_factor(0.1).total_iters(10);
/// let schedule = SequentialLR::new([warmup.into(), CosineAnnealingLR::new(50).into()], [10]);
/// ```
#[derive(Clone, Debug)]
pub struct SequentialLR {
    schedulers: Vec<Schedule>,
    milestones: Vec<i64>,
}

impl SequentialLR {
    /// The schedulers, and the epochs at which each but the first begins, in ascending order.
    pub fn new(schedulers: impl Into<Vec<Schedule>>, milestones: impl Into<Vec<i64>>) -> Self {
        SequentialLR { schedulers: schedulers.into(), milestones: milestones.into() }
    }
}

impl Fields for SequentialLR {}

impl InWords for SequentialLR {
    const MAKE: Option<Make> = Some(|given| {
        let schedulers = schedules(given)?;
        Ok(SequentialLR::new(schedulers, given.required::<Vec<i64>>("milestones")?).into())
    });
}

impl Options for SequentialLR {
    fn attributes(&self, _groups: &mut [ParamGroup], _last_epoch: i64) -> Result<Entries> {
        refuse_by_metric("SequentialLR", self.schedulers.iter().map(|schedule| schedule.class))?;
        Ok(vec![("_milestones", self.milestones.clone().into()), ("last_epoch", 0.into())])
    }

    fn children(&self) -> &[Schedule] {
        &self.schedulers
    }
}

/// `recursive_undo()`: takes one from the counts of all schedulers within.
fn undo(scheduler: &mut LRScheduler) -> Result<()> {
    for child in &mut scheduler.children {
        if child.children.is_empty() {
            let epoch = child.attributes.int("last_epoch")?;
            child.attributes.set("last_epoch", epoch.saturating_sub(1));
        } else {
            undo(child)?;
        }
    }
    Ok(())
}

/// Whose turn an epoch is, and whether it begins with it.
fn turn(scheduler: &LRScheduler, epoch: i64) -> Result<(usize, bool)> {
    let milestones = scheduler.attributes.ints("_milestones")?;
    let turn = milestones.partition_point(|milestone| *milestone <= epoch);
    Ok((turn, turn.checked_sub(1).and_then(|before| milestones.get(before)) == Some(&epoch)))
}

fn child(scheduler: &mut LRScheduler, turn: usize) -> Result<&mut LRScheduler> {
    let count = scheduler.children.len();
    scheduler.children.get_mut(turn).ok_or_else(|| wrong_milestones(count, turn))
}

fn wrong_milestones(schedulers: usize, milestones: usize) -> Error {
    invalid(format!(
        "SequentialLR has {schedulers} schedulers and {milestones} milestones; one less is needed than schedulers"
    ))
}

fn keep_last_lr(scheduler: &mut LRScheduler, turn: usize) -> Result<()> {
    if let Some(last) = child(scheduler, turn)?.attributes.get("_last_lr").cloned() {
        scheduler.attributes.set("_last_lr", last);
    }
    Ok(())
}

pub(super) struct Sequential;

impl Rule for Sequential {
    fn construct(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], last_epoch: i64) -> Result<()> {
        scheduler.only_fresh(last_epoch)?;
        // Undoes what the schedulers' constructors did.
        for group in groups.iter_mut() {
            let initial = group.float("initial_lr")?;
            group.set_lr(initial);
        }
        undo(scheduler)?;
        let (turn, _) = turn(scheduler, 0)?;
        child(scheduler, turn)?.initial_step(groups)?;
        keep_last_lr(scheduler, turn)
    }

    fn check(&self, scheduler: &LRScheduler, groups: usize) -> Result<()> {
        scheduler.attributes.int("last_epoch")?;
        let milestones = scheduler.attributes.ints("_milestones")?;
        if milestones.len() + 1 != scheduler.children.len() {
            return Err(wrong_milestones(scheduler.children.len(), milestones.len()));
        }
        check_children(scheduler, groups)
    }

    fn step(&self, scheduler: &mut LRScheduler, groups: &mut [ParamGroup], _metric: Option<f64>) -> Result<()> {
        let epoch = scheduler.attributes.int("last_epoch")?.saturating_add(1);
        scheduler.attributes.set("last_epoch", epoch);
        let (turn, begins) = turn(scheduler, epoch)?;
        let child = child(scheduler, turn)?;
        if begins {
            child.class.rule.begin_turn(child, groups)?;
        } else {
            child.step_groups(groups, None)?;
        }
        keep_last_lr(scheduler, turn)
    }
}

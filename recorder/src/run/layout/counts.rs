//! Where frameworks keep the epoch and the step besides the numbers that are found at once.

use super::frameworks::{RUNNING_EPOCH, RUNNING_ITER, TRAINERS, number, put};
use super::progress::{Progress, Settle};
use crate::{Result, Value};

/// detectron2's trainers count in several places, all with the index of the finished iteration.
pub(super) const DETECTRON2: Settle = Settle {
    read: |_, told| told,
    write: |root, before, now| TRAINERS.iter().try_fold(root, |root, place| moved(root, place, before.step, now.step)),
};

/// mmengine's `message_hub` has the indices of the epoch and the iteration that ran last. `max_iters` is `max_epochs` times the
/// batches of an epoch.
pub(super) const MMENGINE: Settle = Settle {
    read: |root, told| {
        let info = |name| number(root, &["message_hub", "runtime_info", name]);
        let epochs = info("max_epochs").filter(|&epochs| epochs > 1);
        let per_epoch =
            epochs.and_then(|epochs| info("max_iters").filter(|max| max % epochs == 0)?.checked_div(epochs));
        in_epochs_of(told, per_epoch)
    },
    write: |root, before, now| {
        let root = moved(root, RUNNING_EPOCH, before.epoch, now.epoch)?;
        moved(root, RUNNING_ITER, before.step, now.step)
    },
};

/// ignite's trainer has the iteration, and how many an epoch has; some have the epoch in its place.
pub(super) const IGNITE: Settle = Settle {
    read: |root, told| {
        let per_epoch = number(root, &["trainer", "epoch_length"]).filter(|&length| length > 0);
        let step = told.step.or_else(|| told.epoch?.checked_mul(per_epoch?));
        let epoch = step.zip(per_epoch).map(|(step, length)| step / length);
        in_epochs_of(Progress { epoch: epoch.or(told.epoch), step, ..told }, per_epoch)
    },
    write: |root, _, _| Ok(root),
};

/// With epochs of so many steps, where the steps that were made fit them.
fn in_epochs_of(told: Progress, steps_per_epoch: Option<i64>) -> Progress {
    let since = |per_epoch: i64| told.step?.checked_sub(told.epoch?.checked_mul(per_epoch)?);
    let fits =
        |per_epoch: &i64| *per_epoch > 0 && since(*per_epoch).is_some_and(|since| (0..*per_epoch).contains(&since));
    let steps_per_epoch = steps_per_epoch.filter(fits);
    Progress { steps_per_epoch, step_in_epoch: steps_per_epoch.and_then(since), ..told }
}

/// A copy in which a counter, if it is there, has moved as far as the run has.
fn moved(root: Value, place: &[&str], before: Option<i64>, now: Option<i64>) -> Result<Value> {
    match (number(&root, place), before, now) {
        (Some(counter), Some(before), Some(now)) => {
            put(root, place, counter.saturating_add(now.saturating_sub(before)))
        }
        _ => Ok(root),
    }
}

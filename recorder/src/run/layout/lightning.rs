//! Lightning's `.ckpt`: the number of finished epochs, of batches and of steps is in `loops.fit_loop`, several times, and that is
//! where `Trainer.fit(ckpt_path=...)` goes on. `epoch` and `global_step` are for people.
//!
//! Counters go up in the order ready, started, processed, completed. What is saved while an epoch ends has `processed` one more
//! than `completed`; what is saved after a batch has so for the batch.

use super::frameworks::{at, number, put};
use super::paths::{Paths, way};
use super::progress::{Progress, Settle};
use super::tutorial::tutorial;
use crate::run::spellings::Role;
use crate::run::told::Told;
use crate::{Result, Value};

pub(super) const COUNTS: Settle = Settle { read, write };

/// Its counters.
const EPOCHS: &[&str] = &["loops", "fit_loop", "epoch_progress"];
const BATCHES: &[&str] = &["loops", "fit_loop", "epoch_loop.batch_progress"];
const STEPPED: &[&str] = &["loops", "fit_loop", "epoch_loop.state_dict", "_batches_that_stepped"];
const SCHEDULER: &[&str] = &["loops", "fit_loop", "epoch_loop.scheduler_progress"];
/// One of them counts, as the optimization is automatic or manual.
const STEPS: [&[&str]; 5] = [
    &["loops", "fit_loop", "epoch_loop.automatic_optimization.optim_progress", "optimizer", "step"],
    &["loops", "fit_loop", "epoch_loop.automatic_optimization.optim_progress", "optimizer", "zero_grad"],
    &["loops", "fit_loop", "epoch_loop.manual_optimization.optim_step_progress"],
    // Before 2.0.
    &["loops", "fit_loop", "epoch_loop.batch_loop.optimizer_loop.optim_progress", "optimizer", "step"],
    &["loops", "fit_loop", "epoch_loop.batch_loop.optimizer_loop.optim_progress", "optimizer", "zero_grad"],
];

/// The parts. With the `WeightAveraging` callback the average is in `state_dict`, and the weights are in `current_model_state`.
pub(super) fn lightning(root: &Value) -> Option<Paths> {
    if !is_ours(root) {
        return None;
    }
    at(root, &["state_dict"])?;
    let mut paths = tutorial(root)?;
    if let (Some(_), Some(_)) = (at(root, &["current_model_state"]), at(root, &["averaging_state"])) {
        paths.forget(Role::Model);
        paths.forget(Role::Ema);
        paths.push(Role::Model, way(&["current_model_state"]));
        paths.push(Role::Ema, way(&["state_dict"]));
    }
    paths.all_in(root, Role::Scheduler, "lr_schedulers");
    paths.all_in(root, Role::Optimizer, "optimizer_states");
    if at(root, &["loops"]).is_some() {
        paths.push(Role::Position, way(&["loops"]));
    }
    Some(paths)
}

/// Told by its version, which 0.8 misspelt; before, nothing but Lightning kept these together.
fn is_ours(root: &Value) -> bool {
    let there = |name: &&str| at(root, &[name]).is_some();
    ["pytorch-lightning_version", "pytorch-ligthning_version"].iter().any(there)
        || ["epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers"].iter().all(there)
}

fn counter(root: &Value, place: &[&str], of: &str, what: &str) -> Option<i64> {
    number(root, &[place, &[of, what]].concat())
}

/// How many batches make a step: those of `accumulate_grad_batches`.
fn batches_per_step(root: &Value, steps: i64) -> Option<i64> {
    let batches = counter(root, BATCHES, "total", "processed")?;
    (steps > 0 && batches % steps == 0).then(|| batches / steps).filter(|&each| each > 0)
}

/// What its counts say of how the run was made.
pub(super) fn told(root: &Value) -> Told {
    let steps = number(root, &["global_step"]);
    let accumulated = steps.and_then(|steps| batches_per_step(root, steps));
    Told { by: "loops".to_owned(), accumulated, ..Told::default() }
}

/// Whether an epoch was begun and is not finished: its batches are not all processed.
fn is_amid(root: &Value) -> Option<bool> {
    let begun = counter(root, EPOCHS, "current", "started")? > counter(root, EPOCHS, "current", "processed")?;
    let last = matches!(at(root, &[BATCHES, &["is_last_batch"]].concat())?, Value::Bool(true));
    Some(begun && !(last && counter(root, BATCHES, "current", "processed")? > 0))
}

fn read(root: &Value, told: Progress) -> Progress {
    let found = || {
        let steps = told.step?;
        let (amid, batches) = (is_amid(root)?, counter(root, BATCHES, "current", "processed")?);
        let begun = counter(root, EPOCHS, "current", "started")?;
        let epochs = if amid { begun.checked_sub(1)? } else { begun };
        let in_epoch = batches_per_step(root, steps).map(|each| batches / each);
        // Amid an epoch those before tell how many steps one has.
        let before = || {
            let before = steps.checked_sub(in_epoch?)?;
            (epochs > 0 && before % epochs == 0).then(|| before / epochs)
        };
        Some(Progress {
            epoch: Some(epochs),
            step: Some(steps),
            step_in_epoch: if amid { in_epoch } else { Some(0) },
            steps_per_epoch: if amid { before() } else { in_epoch }.filter(|&steps| steps > 0),
        })
    };
    found().unwrap_or(told)
}

fn write(root: Value, before: &Progress, now: &Progress) -> Result<Value> {
    let (Some(epochs), Some(was)) = (now.epoch, before.epoch) else { return Ok(root) };
    let (Some(steps), Some(steps_before)) = (now.step, before.step) else { return Ok(root) };
    let (made, ended) = (steps.saturating_sub(steps_before), epochs.saturating_sub(was));
    if (ended, made) == (0, 0) {
        // `epoch` is the number of completed ones.
        let completed = counter(&root, EPOCHS, "current", "completed");
        return put(root, &["epoch"], completed.unwrap_or(epochs));
    }
    let each = batches_per_step(&root, steps_before).unwrap_or(1);
    let since = before.step_in_epoch.unwrap_or(0).saturating_add(made);
    let in_epoch = now.step_in_epoch.unwrap_or(if ended > 0 { 0 } else { since });
    let amid = in_epoch > 0;
    // In an epoch, or in all of the last one.
    let here = if amid { in_epoch } else { now.steps_per_epoch.or(before.steps_per_epoch).unwrap_or(since) };
    // What was saved while an epoch ended is saved so again.
    let early = !amid && before.step_in_epoch == Some(0) && {
        let current = |what| counter(&root, EPOCHS, "current", what);
        current("processed").zip(current("completed")).is_some_and(|(processed, completed)| processed > completed)
    };
    let completed = if early { epochs.saturating_sub(1) } else { epochs };
    let begun = if amid { epochs.saturating_add(1) } else { epochs };

    let mut root = put(root, &["epoch"], completed)?;
    for (what, value) in [("ready", begun), ("started", begun), ("processed", epochs), ("completed", completed)] {
        // Fits before this one are in the total.
        let [total, current] = ["total", "current"].map(|of| counter(&root, EPOCHS, of, what).unwrap_or(0));
        root = put(root, &[EPOCHS, &["total", what]].concat(), value.saturating_add(total.saturating_sub(current)))?;
        root = put(root, &[EPOCHS, &["current", what]].concat(), value)?;
    }
    let batches = counter(&root, BATCHES, "total", "processed").unwrap_or(0).saturating_add(made.saturating_mul(each));
    for (of, value) in [("total", batches), ("current", here.saturating_mul(each))] {
        for what in ["ready", "started", "processed", "completed"] {
            let value = if amid && what == "completed" { value.saturating_sub(1) } else { value };
            root = put(root, &[BATCHES, &[of, what]].concat(), value)?;
        }
    }
    if at(&root, BATCHES).is_some() {
        root = way(&[BATCHES, &["is_last_batch"]].concat()).replaced(&root, Value::Bool(!amid))?;
    }
    // This one counts after what is saved after a batch.
    if let Some(stepped) = number(&root, STEPPED) {
        let behind = i64::from(steps_before.saturating_sub(stepped) == 1);
        root = put(root, STEPPED, stepped.saturating_add(behind + made - i64::from(amid)))?;
    }
    for place in STEPS {
        if counter(&root, place, "total", "completed").is_none_or(|counted| counted != steps_before) {
            continue;
        }
        for what in ["ready", "started", "completed"] {
            root = put(root, &[place, &["total", what]].concat(), steps)?;
            root = put(root, &[place, &["current", what]].concat(), here)?;
        }
    }
    // Schedulers are stepped with the steps, or with the epochs.
    let scheduled = counter(&root, SCHEDULER, "total", "completed").unwrap_or(0);
    let times = |count: i64| (count > 0 && scheduled % count == 0).then(|| scheduled / count);
    let (more, current) = match (times(steps_before), times(was)) {
        (Some(schedulers), _) => (schedulers.saturating_mul(made), schedulers.saturating_mul(here)),
        (None, Some(schedulers)) => (schedulers.saturating_mul(ended), if amid { 0 } else { schedulers }),
        (None, None) => return Ok(root),
    };
    for what in ["ready", "completed"] {
        root = put(root, &[SCHEDULER, &["total", what]].concat(), scheduled.saturating_add(more))?;
        root = put(root, &[SCHEDULER, &["current", what]].concat(), current)?;
    }
    Ok(root)
}

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
/// How often the average of `WeightAveraging` was updated.
const AVERAGED: &[&str] = &["averaging_state", "n_averaged"];
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

/// What the callbacks keep, which is theirs: that of `StochasticWeightAveraging` has the scheduler's state once more.
const CALLBACKS: &str = "callbacks";

/// The parts. With the `WeightAveraging` callback the average is in `state_dict`, and the weights are in `current_model_state`.
pub(super) fn lightning(root: &Value) -> Option<Paths> {
    at(root, &["pytorch-lightning_version"])?;
    at(root, &["state_dict"])?;
    let mut paths = tutorial(root)?;
    paths.leave_out(CALLBACKS);
    if let (Some(_), Some(_)) = (at(root, &["current_model_state"]), at(root, &["averaging_state"])) {
        paths.forget(Role::Model);
        paths.forget(Role::Ema);
        paths.push(Role::Model, way(&["current_model_state"]));
        paths.push(Role::Ema, way(&["state_dict"]));
        paths.forget(Role::Updates);
        if number(root, AVERAGED).is_some() {
            paths.push(Role::Updates, way(AVERAGED));
        }
    }
    paths.all_in(root, Role::Scheduler, "lr_schedulers");
    paths.all_in(root, Role::Optimizer, "optimizer_states");
    if at(root, &["loops"]).is_some() {
        paths.push(Role::Position, way(&["loops"]));
    }
    Some(paths)
}

/// How many optimizers make a step on each batch: those of a `LightningModule` with several, which each count in `global_step`.
fn optimizers(root: &Value) -> i64 {
    let states = at(root, &["optimizer_states"]).and_then(|states| states.items());
    states.and_then(|states| i64::try_from(states.len()).ok()).unwrap_or(1).max(1)
}

/// How many steps all optimizers have counted together.
fn all_steps(root: &Value) -> Option<i64> {
    STEPS.iter().filter_map(|place| counter(root, place, "total", "completed")).max().filter(|&steps| steps > 0)
}

/// The steps that were made, of what all optimizers counted: where each of several made as many, those of one; else as many as there
/// were batches.
fn steps_of_each(root: &Value, counted: i64) -> i64 {
    let several = optimizers(root);
    let (each, batches) = (counted / several, counter(root, BATCHES, "total", "processed"));
    match batches {
        _ if several == 1 => counted,
        Some(batches) if counted % several != 0 || each == 0 || batches % each != 0 => batches,
        _ => each,
    }
}

fn counter(root: &Value, place: &[&str], of: &str, what: &str) -> Option<i64> {
    number(root, &[place, &[of, what]].concat())
}

/// Where it is in the batches.
struct Place {
    /// Epochs that are finished.
    epochs: i64,
    /// Batches of the present one, if it was begun.
    begun: Option<i64>,
    /// How many batches an epoch has, where one was finished.
    length: Option<i64>,
}

impl Place {
    fn read(root: &Value) -> Option<Place> {
        let batches = |of: &str| counter(root, BATCHES, of, "processed");
        let (amid, here) = (is_amid(root)?, batches("current")?);
        let started = counter(root, EPOCHS, "current", "started")?;
        let epochs = if amid { started.checked_sub(1)? } else { started };
        let before = || batches("total")?.checked_sub(here).filter(|before| epochs > 0 && before % epochs == 0);
        let length = if amid { before().map(|before| before / epochs) } else { Some(here) };
        Some(Place { epochs, begun: Some(here).filter(|_| amid), length: length.filter(|&length| length > 0) })
    }

    /// How many batches may have made a step, the fewest first: those of `accumulate_grad_batches`, of which the last step of an epoch
    /// takes what is left.
    fn each(&self, steps: i64) -> Option<i64> {
        let begun = self.begun.unwrap_or(0);
        let most = self.length.unwrap_or(begun).max(begun);
        let of = |each: i64| {
            let whole = self.length.map_or(0, |length| (length + each - 1) / each);
            self.epochs.saturating_mul(whole).saturating_add(begun / each)
        };
        (1..=most.min(100_000)).find(|&each| of(each) == steps)
    }
}

/// How many batches make a step.
fn batches_per_step(root: &Value, steps: i64) -> Option<i64> {
    let even = || {
        let batches = counter(root, BATCHES, "total", "processed")?;
        (steps > 0 && batches % steps == 0).then(|| batches / steps).filter(|&each| each > 0)
    };
    Place::read(root).and_then(|place| place.each(steps)).filter(|_| steps > 0).or_else(even)
}

/// What its counts say of how the run was made.
pub(super) fn told(root: &Value) -> Told {
    let steps = number(root, &["global_step"]).map(|counted| steps_of_each(root, counted));
    let accumulated = steps.and_then(|steps| batches_per_step(root, steps));
    let batches_per_epoch = Place::read(root).and_then(|place| place.length);
    Told { by: "loops".to_owned(), accumulated, batches_per_epoch, ..Told::default() }
}

/// Whether an epoch was begun and is not finished: its batches are not all processed.
fn is_amid(root: &Value) -> Option<bool> {
    let begun = counter(root, EPOCHS, "current", "started")? > counter(root, EPOCHS, "current", "processed")?;
    let last = matches!(at(root, &[BATCHES, &["is_last_batch"]].concat())?, Value::Bool(true));
    Some(begun && !(last && counter(root, BATCHES, "current", "processed")? > 0))
}

fn read(root: &Value, told: Progress) -> Progress {
    let told = Progress { step: told.step.map(|counted| steps_of_each(root, counted)), ..told };
    let found = || {
        let (steps, place) = (told.step?, Place::read(root)?);
        let each = batches_per_step(root, steps);
        let in_epoch = |begun: i64| each.map(|each| begun / each);
        Some(Progress {
            epoch: Some(place.epochs),
            step: Some(steps),
            step_in_epoch: place.begun.map_or(Some(0), in_epoch),
            steps_per_epoch: place.length.zip(each).map(|(length, each)| (length + each - 1) / each),
            batches_per_step: each,
        })
    };
    found().unwrap_or(told)
}

fn write(root: Value, before: &Progress, now: &Progress) -> Result<Value> {
    let (Some(epochs), Some(was)) = (now.epoch, before.epoch) else { return Ok(root) };
    let (Some(steps), Some(steps_before)) = (now.step, before.step) else { return Ok(root) };
    let (made, ended) = (steps.saturating_sub(steps_before), epochs.saturating_sub(was));
    // All optimizers count.
    let several = optimizers(&root);
    let counted_before = if several > 1 { all_steps(&root).unwrap_or(steps_before) } else { steps_before };
    let counted = counted_before.saturating_add(made.saturating_mul(several));
    let root = if several > 1 { put(root, &["global_step"], counted)? } else { root };
    if (ended, made) == (0, 0) {
        // `epoch` is the number of completed ones.
        let completed = counter(&root, EPOCHS, "current", "completed");
        return put(root, &["epoch"], completed.unwrap_or(epochs));
    }
    let each = now.batches_per_step.or(before.batches_per_step).unwrap_or(1);
    let length = Place::read(&root).and_then(|place| place.length);
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
    // A whole epoch has all of its batches, however many were left for its last step.
    let in_batches = |epochs: i64, steps: i64| match length {
        Some(length) => epochs.saturating_mul(length).saturating_add(steps.saturating_mul(each).min(length)),
        None => steps.saturating_mul(each),
    };
    let more = match length {
        Some(_) => {
            let begun = before.step_in_epoch.unwrap_or(0);
            in_batches(ended, in_epoch).saturating_sub(in_batches(0, begun))
        }
        None => made.saturating_mul(each),
    };
    let batches = counter(&root, BATCHES, "total", "processed").unwrap_or(0).saturating_add(more);
    for (of, value) in [("total", batches), ("current", in_batches(0, here))] {
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
        if counter(&root, place, "total", "completed").is_none_or(|known| known != counted_before) {
            continue;
        }
        // Where it is by hand, the present epoch is not counted by itself.
        let by_hand = place.iter().any(|key| key.contains("manual"));
        let mine = if by_hand { counted } else { here };
        for what in ["ready", "started", "completed"] {
            root = put(root, &[place, &["total", what]].concat(), counted)?;
            root = put(root, &[place, &["current", what]].concat(), mine)?;
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

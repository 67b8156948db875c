//! Learning rates that a program sets by hand, over those that its scheduler has set: a warm-up, which no state dict has.

use rekindle_recorder::Value;
use rekindle_recorder::run::{Layout, Question, RunState, ToldWarmUp};

use crate::attributes::number;
use crate::lr_scheduler::{LRScheduler, Schedule, SchedulerKind};
use crate::optim::{Optimizer, ParamGroup};
use crate::run::schedule::warmed_up;

/// Whether the groups have other rates than any of the file's schedulers has set last, as far as they say what that was.
pub(super) fn is_set(schedulers: &[Value], groups: &[ParamGroup]) -> bool {
    let last =
        |saved: &Value| -> Option<Vec<f64>> { saved.as_dict()?.get("_last_lr")?.items()?.iter().map(number).collect() };
    let rates: Option<Vec<f64>> = groups.iter().map(|group| group.lr().ok()).collect();
    let Some(rates) = rates else { return false };
    // A group that was added since has none there.
    let same = |last: &Vec<f64>| last.iter().zip(&rates).all(|(last, rate)| last.to_bits() == rate.to_bits());
    let all: Option<Vec<_>> = schedulers.iter().map(last).collect();
    all.is_some_and(|all| !all.is_empty() && !all.iter().any(same))
}

/// Whether the groups have other rates than a scheduler comes to whose rates each follow from the one before: whoever changed one has
/// changed all that came after it.
pub(super) fn is_apart(scheduler: &LRScheduler, groups: &[ParamGroup]) -> bool {
    let near = |(rate, group): (&f64, &ParamGroup)| group.lr().is_ok_and(|lr| (lr - rate).abs() <= 1e-6 * rate.abs());
    scheduler.by_itself(groups).is_some_and(|rates| !rates.iter().zip(groups).all(near))
}

/// In how many iterations `BasicSR` warms the rates up, where those after so many steps are of its warm-up.
pub(super) fn warm_up(groups: &[ParamGroup], step: i64) -> Option<i64> {
    let rates = groups.iter().map(|group| Some((group.float("initial_lr").ok()?, group.lr().ok()?)));
    let rates: Vec<(f64, f64)> = rates.collect::<Option<_>>()?;
    let (initial, lr) = rates.iter().find(|(initial, lr)| *initial > 0.0 && *lr > 0.0)?;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // counts
    let about = (initial * step as f64 / lr).round() as i64;
    let fits = |iterations: &i64| {
        let same = |(initial, lr): &(f64, f64)| warmed_up(*initial, step, *iterations).to_bits() == lr.to_bits();
        *iterations > step && rates.iter().all(same)
    };
    (about.saturating_sub(1)..=about.saturating_add(1)).find(fits)
}

/// The question of what becomes of rates that nobody knows who set.
pub(super) fn ask(kind: SchedulerKind) -> Question {
    let what = format!(
        "the learning rates of the groups are not those that {kind} gives by itself: the program sets them by hand, too, as for a \
         warm-up, and no file says how"
    );
    Question::new(what)
        .or(format!("ResumeOptions::scheduler({kind})"), "to go on as it does from there, with nothing by hand")
        .or("ResumeOptions::no_scheduler(true)", "to leave the learning rates as they are")
        .or(
            "ResumeOptions::schedule(NAME(..))",
            "with `ResumeOptions::new_schedule(true)` beside it, to begin a new one",
        )
}

/// Whether the groups have the rates that a schedule has at a position.
fn fits(schedule: &Schedule, position: i64, optimizer: &Optimizer) -> bool {
    let Ok(rates) = optimizer.lr() else { return false };
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs();
    let mut there = optimizer.clone();
    let made = LRScheduler::with_last_epoch(schedule.clone(), &mut there, position.saturating_sub(1));
    made.is_ok() && there.lr().is_ok_and(|lr| lr.iter().zip(&rates).all(|(lr, rate)| near(*lr, *rate)))
}

/// Whether the groups have other rates than a schedule has at a position, or had at the one before it: it was another one, or its program's
/// warm-up sets them by hand.
pub(super) fn is_off(schedule: &Schedule, position: i64, optimizer: &Optimizer) -> bool {
    // Where it is no schedule of PyTorch's, nothing is known.
    let known =
        LRScheduler::with_last_epoch(schedule.clone(), &mut optimizer.clone(), position.saturating_sub(1)).is_ok();
    known && !fits(schedule, position, optimizer) && !fits(schedule, position.saturating_sub(1), optimizer)
}

/// Where the schedule of a program stands that steps it at an epoch's end, before it saves: the next epoch has the file's rates. `YOLOv5`
/// begins its count with -1, and so stands one behind the epochs.
pub(super) fn stands_at(schedule: &Schedule, finished: i64, optimizer: &Optimizer) -> i64 {
    let behind = finished.saturating_sub(1);
    if fits(schedule, behind, optimizer) { behind } else { finished }
}

/// Whether a program may be in a warm-up that its rates do not show, because its scheduler sets them when an epoch ends: the momentum
/// shows it, which only the warm-up sets, or how far the run has come.
pub(super) fn is_warming(told: ToldWarmUp, groups: &[ParamGroup], state: &RunState) -> bool {
    let momenta: Vec<f64> = groups.iter().filter_map(|group| group.float("momentum").ok()).collect();
    match (told.momentum, &momenta[..]) {
        (Some(end), [_, ..]) => momenta.iter().any(|momentum| momentum.to_bits() != end.to_bits()),
        // What people write has few digits; what is computed amid a warm-up has many.
        (None, [_, ..]) => momenta.iter().any(|momentum| format!("{momentum}").len() > "0.1234".len()),
        _ if state.layout != Layout::YoloV5 => false,
        // Where none is told it is of 3 epochs, and of 5 at most.
        _ => {
            #[allow(clippy::cast_precision_loss)] // counts
            let epochs = state.epoch.map_or(0.0, |epoch| epoch as f64);
            epochs < told.epochs.unwrap_or(5.0) || state.updates.unwrap_or(0) <= told.least
        }
    }
}

/// The question of what becomes of a warm-up.
pub(super) fn ask_warming(state: &RunState, position: i64) -> Question {
    let so_far = match (state.epoch, state.updates) {
        (Some(epoch), Some(updates)) => format!("after epoch {epoch} and {updates} updates"),
        _ => "here".to_owned(),
    };
    let what = format!(
        "{} may still warm up {so_far}: it sets the learning rates, the momentum and how many batches make a step by hand then, \
         which does not go on",
        state.layout
    );
    Question::new(what)
        .or(
            format!("ResumeOptions::schedule_at({position})"),
            "to go on by the schedule alone, with the momentum of the file (`ResumeOptions::set`)",
        )
        .or("ResumeOptions::no_scheduler(true)", "to leave the learning rates as they are")
}

/// The question of what becomes of rates that a schedule does not have where the file stands.
pub(super) fn ask_off(layout: &Layout, schedule: &Schedule, position: i64) -> Question {
    let kind = schedule.kind();
    let what = format!(
        "the learning rates of the file are not those of this {kind} at epoch {position} or the one before: it was made otherwise, or \
         {layout} warms up, which it does by hand, and which does not go on"
    );
    Question::new(what)
        .or(
            format!("ResumeOptions::schedule_at({position})"),
            "to go on by it alone, from there, with the momentum of the file (`ResumeOptions::set`)",
        )
        .or("ResumeOptions::no_scheduler(true)", "to leave the learning rates as they are")
}

//! Learning rates that a program sets by hand, over those that its scheduler has set: a warm-up, which no state dict has.

use rekindle_recorder::run::{Layout, Question, RunState, ToldBy, ToldWarmUp};
use rekindle_recorder::{Dict, Result, Value};

use crate::attributes::{invalid, number};
use crate::lr_scheduler::{LRScheduler, Schedule, SchedulerKind};
use crate::optim::{Optimizer, ParamGroup};
use crate::run::schedule::warmed_up;

/// No scheduler is stepped more often to where it stands.
const TIMES: i64 = 10_000_000;

/// How many positions are looked at for those that have the rates of a file, and how many of these are offered.
const LOOKED_AT: i64 = 20_000;
const OFFERED: usize = 3;

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

/// What tells that something has set the learning rates of a run that has no scheduler: the `initial_lr` that one puts into the groups, a setting
/// that speaks of one or of another rate, or a rate that nobody writes.
pub(super) fn missing(state: &RunState, file: &Value, groups: &[ParamGroup], begun: bool) -> Option<String> {
    // One that says that it has none is believed.
    let says_none = |dict: &Dict| {
        let none = |(key, value): &(Value, Value)| {
            matches!(value, Value::None) && key.as_str().is_some_and(|key| key.to_lowercase().contains("sched"))
        };
        dict.entries().iter().any(none)
    };
    let told_none = file.as_dict().is_some_and(says_none);
    if !told_none && groups.iter().any(|group| group.contains("initial_lr")) {
        let what =
            "the groups have the `initial_lr` that a scheduler puts there, and the file has no scheduler's state";
        return Some(what.to_owned());
    }
    // Lightning says itself that there is none.
    let told_none = told_none || state.layout == Layout::Lightning;
    if let Some((place, value)) = state.told.scheduling.as_ref().filter(|_| !told_none) {
        let what =
            format!("a setting speaks of a schedule ({place} is {value}), and the file has no scheduler's state");
        return Some(what);
    }
    let rates: Vec<f64> = groups.iter().filter_map(|group| group.lr().ok()).filter(|&lr| lr > 0.0).collect();
    if !begun || rates.is_empty() {
        return None;
    }
    let none = "and the file has no scheduler's state: the program may set it by hand";
    if let Some(told) = state.told.rate.as_ref().filter(|told| told.number > 0.0)
        && !rates.iter().any(|&lr| (lr - told.number).abs() <= 1e-6 * told.number)
    {
        let ToldBy { place, number } = told;
        return Some(format!("the learning rate is {} where a setting speaks of {number} ({place}), {none}", rates[0]));
    }
    let computed = rates.iter().find(|&&lr| !is_written(lr))?;
    Some(format!("the learning rate is {computed}, which nobody writes so, {none}"))
}

/// A schedule that was stepped so often, over groups that have its rates by then; and what has to be said where they have others.
///
/// # Errors
/// When it cannot be made or stepped so often.
pub(super) fn stepped(
    schedule: &Schedule,
    times: i64,
    optimizer: &mut Optimizer,
    state: &RunState,
) -> Result<(LRScheduler, Option<Question>)> {
    if !(0..=TIMES).contains(&times) {
        let what = format!("a scheduler is stepped 0 to {TIMES} times, and not {times} (`ResumeOptions::schedule_at`)");
        return Err(invalid(what));
    }
    let groups = optimizer.param_groups().to_vec();
    let same = groups.windows(2).all(|pair| pair[0].lr().ok() == pair[1].lr().ok());
    // Where no scheduler was, the setting has what the rates began with.
    let base = state.told.rate.as_ref().filter(|_| same).map(|told| told.number);
    for group in optimizer.param_groups_mut() {
        match (group.get("initial_lr").cloned(), base) {
            (Some(base), _) => group.set("lr", base),
            (None, Some(base)) => group.set_lr(base),
            (None, None) => {}
        }
    }
    let near = |(now, file): (&ParamGroup, &ParamGroup)| {
        now.lr().and_then(|now| file.lr().map(|file| (now - file).abs() <= 1e-6 * file.abs())).unwrap_or(false)
    };
    let fits = |optimizer: &Optimizer| optimizer.param_groups().iter().zip(&groups).all(near);
    let mut scheduler = LRScheduler::new(schedule.clone(), optimizer)?;
    let (mut other, mut then) = (scheduler.clone(), optimizer.clone());
    (0..times).try_for_each(|_| scheduler.step(optimizer))?;
    let question = (!fits(optimizer)).then(|| {
        let kind = schedule.kind();
        let what =
            format!("the learning rates of the file are not those of this {kind} where it was stepped {times} times");
        let mut question = Question::new(what);
        let mut offered = 0;
        for at in 0..LOOKED_AT {
            if fits(&then) {
                question = question.or(format!("ResumeOptions::schedule_at({at})"), "where they are");
                offered += 1;
            }
            if offered == OFFERED || other.step(&mut then).is_err() {
                break;
            }
        }
        question.or("ResumeOptions::no_scheduler(true)", "to leave the learning rates as they are")
    });
    // They stay as the file has them.
    for (group, file) in optimizer.param_groups_mut().iter_mut().zip(groups.clone()) {
        let initial = group.get("initial_lr").cloned();
        *group = file;
        if let Some(initial) = initial {
            group.set("initial_lr", initial);
        }
    }
    Ok((scheduler, question))
}

/// Whether people write a number so: with few digits. What a schedule computes has many.
fn is_written(number: f64) -> bool {
    const MOST: usize = 7;
    let digits = |text: String| {
        let digits =
            text.split('e').next().unwrap_or_default().chars().filter(char::is_ascii_digit).collect::<String>();
        digits.trim_matches('0').len()
    };
    // One that was kept in float32 has as many as it has there.
    #[allow(clippy::cast_possible_truncation)]
    let single = number as f32;
    digits(format!("{number:e}")) <= MOST || f64::from(single) == number && digits(format!("{single:e}")) <= MOST
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
